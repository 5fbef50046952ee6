//! `rrun pull`: into the store of this machine, or with `--endpoint` into that of a CRI server.

pub mod view;

use crate::args::{Output, Pull};
use crate::context::Context;
use crate::images::{from_status, of_registry, shown, size, spec, store};
use crate::runtime::connect;
use crate::terminal::tell;
use anyhow::{Result, bail};
use rrun_cri_api::{Cri, v1};
use rrun_error::printable_line;
use rrun_images::{Credentials, Event, Reference, Store};
use rrun_pod::credentials;
use serde_json::{Value, json};
use std::process::ExitCode;
use tokio::sync::mpsc;
use view::{LOOK, View, short};

/// How it tells what happens.
enum Told {
    /// Not at all.
    Nothing,
    /// On standard error: bars on a terminal, else a line for each layer.
    People(View),
    /// On standard output.
    Json,
}

/// Pulls an image and tells its progress; a CRI server tells none. As for a pod, each of the node's
/// credentials that fits is shown in turn, and none at all only if none fits.
pub async fn pull(context: &Context, args: &Pull) -> Result<ExitCode> {
    let reference: Reference = args.reference.parse()?;
    let mut told = match args.output {
        Some(Output::Json) => Told::Json,
        None if args.quiet => Told::Nothing,
        None => Told::People(View::new(true)),
    };
    let mut failed: Vec<String> = Vec::new();
    for auth in of_registry(&reference).await {
        match pull_as(context, &reference, auth, &mut told).await {
            Ok(id) => {
                match told {
                    Told::Json => println!("{}", json!({ "event": "pulled", "id": id })),
                    _ => println!("{id}"),
                }
                return Ok(ExitCode::SUCCESS);
            }
            Err(error) => failed.push(format!("{error:#}")),
        }
    }
    failed.dedup();
    bail!(failed.join("\nrrun: "))
}

async fn pull_as(
    context: &Context,
    reference: &Reference,
    known: Option<credentials::Known>,
    told: &mut Told,
) -> Result<String> {
    let Some(endpoint) = &context.endpoint else {
        let who = known.map(shown);
        return pull_here(&store(context).await?, reference, who, told).await;
    };
    let image = spec(&reference.to_string());
    let auth = known.map(|known| known.auth);
    let request = v1::PullImageRequest { image, auth, ..Default::default() };
    let reply = connect(endpoint).await?.pull_image(request).await;
    Ok(reply.map_err(|status| from_status(&status))?.image_ref)
}

async fn pull_here(
    store: &Store,
    reference: &Reference,
    who: Option<Credentials>,
    told: &mut Told,
) -> Result<String> {
    let (sender, mut events) = mpsc::unbounded_channel();
    let mut pulled = std::pin::pin!(store.pull(reference, who.as_ref(), Some(sender)));
    let mut look = tokio::time::interval(LOOK);
    let done = loop {
        tokio::select! {
            // What has happened is told before the end is.
            biased;
            Some(event) = events.recv() => told.event(store, &event),
            _ = look.tick() => told.look(store),
            done = &mut pulled => break done,
        }
    };
    while let Ok(event) = events.try_recv() {
        told.event(store, &event);
    }
    if let Told::People(view) = told {
        view.end().iter().for_each(tell);
    }
    Ok(done?.id.to_string())
}

impl Told {
    fn event(&mut self, store: &Store, event: &Event) {
        match (&mut *self, event) {
            (Told::Nothing, _) => {}
            (Told::Json, _) => print!("{}", crate::json::line(&as_json(event)).unwrap_or_default()),
            (Told::People(view), Event::UpToDate { digest }) => {
                view.aside(|| tell(format_args!("{digest}: all is here already")));
            }
            (Told::People(view), Event::Resumed { layer, bytes, reason }) => {
                let (layer, reason) = (short(layer), printable_line(reason));
                let at = size(*bytes);
                view.aside(|| tell(format_args!("{layer}: again from {at}: {reason}")));
            }
            (Told::People(_), _) => self.look(store),
        }
    }

    fn look(&mut self, store: &Store) {
        if let Told::People(view) = self {
            view.look(&store.pulling()).iter().for_each(tell);
        }
    }
}

fn as_json(event: &Event) -> Value {
    match event {
        Event::Resolved { digest, layers } => {
            let layers: Vec<Value> = layers
                .iter()
                .map(|(digest, size)| json!({ "digest": digest.to_string(), "size": size }))
                .collect();
            json!({ "event": "resolved", "digest": digest.to_string(), "layers": layers })
        }
        Event::UpToDate { digest } => {
            json!({ "event": "upToDate", "digest": digest.to_string() })
        }
        Event::Present { layer } => json!({ "event": "present", "layer": layer.to_string() }),
        Event::Waiting { layer, on } => {
            json!({ "event": "waiting", "layer": layer.to_string(), "on": on.as_str() })
        }
        Event::Downloaded { layer, bytes } => {
            json!({ "event": "downloaded", "layer": layer.to_string(), "bytes": bytes })
        }
        Event::Resumed { layer, bytes, reason } => json!({
            "event": "resumed", "layer": layer.to_string(), "bytes": bytes, "reason": reason,
        }),
        Event::Fetched { layer } => json!({ "event": "fetched", "layer": layer.to_string() }),
        Event::Unpacked { layer } => json!({ "event": "unpacked", "layer": layer.to_string() }),
        Event::Recording => json!({ "event": "recording" }),
        Event::Recorded { summary } => json!({
            "event": "recorded",
            "layers": summary.layers,
            "present": summary.present,
            "bytes": summary.bytes,
            "seconds": {
                "resolve": summary.resolve.as_secs_f64(),
                "download": summary.download.as_secs_f64(),
                "unpack": summary.unpack.as_secs_f64(),
                "record": summary.record.as_secs_f64(),
            },
        }),
    }
}
