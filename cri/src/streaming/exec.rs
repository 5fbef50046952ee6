//! Exec and attach: one command, its streams, its end.

use std::collections::HashMap;

use rrun_cri_api::v1::{AttachRequest, ExecRequest};
use tokio::sync::watch;
use tokio::time::timeout;

use super::spdy::{Session, Stream};
use super::status::{self, Exit};
use super::wire::Wire;
use super::{BoxReader, BoxWriter, Context, STREAMS_WITHIN, Stdio, resize};

/// What runs at the other end.
pub(super) enum Job {
    Exec(ExecRequest),
    Attach(AttachRequest),
}

/// Which streams a client asked for.
#[derive(Clone, Copy)]
pub(super) struct Wants {
    pub(super) stdin: bool,
    pub(super) stdout: bool,
    pub(super) stderr: bool,
    pub(super) tty: bool,
}

impl Job {
    pub(super) fn wants(&self) -> Wants {
        match self {
            Job::Exec(r) => {
                Wants { stdin: r.stdin, stdout: r.stdout, stderr: r.stderr, tty: r.tty }
            }
            Job::Attach(r) => {
                Wants { stdin: r.stdin, stdout: r.stdout, stderr: r.stderr, tty: r.tty }
            }
        }
    }

    /// Runs until the command ends or the server shuts down. To be dropped when the client goes.
    pub(super) async fn run(self, stdio: Stdio, context: &Context) -> Exit {
        let backend = &context.backend;
        let run = async {
            match self {
                Job::Exec(r) => backend.exec(r, stdio).await,
                Job::Attach(r) => backend.attach(r, stdio).await.map(|()| 0),
            }
        };
        tokio::select! {
            outcome = run => outcome,
            () = context.shutdown.cancelled() => Err("the runtime is shutting down".to_owned()),
        }
    }
}

/// Serves a connection that was upgraded to SPDY.
pub(super) async fn over_spdy(
    wire: Wire,
    early: &[u8],
    protocol: &str,
    job: Job,
    context: &Context,
) {
    let wants = job.wants();
    let expected = expected(wants, protocol);
    let (reader, writer) = wire.split();
    let mut session = Session::start(reader, writer, early);
    let collected = timeout(STREAMS_WITHIN, collect(&mut session, &expected)).await;
    let Ok(Some(mut streams)) = collected else { return };
    session.refuse_more();

    let (size, sizes) = watch::channel(None);
    let (mut keep, mut reset) = (HashMap::new(), Vec::new());
    let mut stdin: Option<BoxReader> = None;
    let mut sizing = None;
    for (kind, stream) in streams.drain() {
        let stream = stream.used();
        match kind {
            "stdin" => stdin = Some(Box::new(stream.reader)),
            "resize" => sizing = Some(resize::pump(stream.reader, size.clone())),
            _ => {
                keep.insert(kind, stream.writer);
                continue;
            }
        }
        reset.push(stream.writer);
    }
    let writer = |kind| -> Option<BoxWriter> { Some(Box::new(keep.get(kind)?.bytes())) };
    let stdio = Stdio { stdin, stdout: writer("stdout"), stderr: writer("stderr"), size: sizes };

    let outcome = tokio::select! {
        outcome = job.run(stdio, context) => outcome,
        () = session.gone() => return,
        () = forever_after(sizing) => return,
    };
    let told = match protocol {
        "v4.channel.k8s.io" => status::json(&outcome),
        _ => status::text(&outcome),
    };
    // Nothing is lost in this order: the client returns when output and status are at their end.
    for kind in ["stdout", "stderr"] {
        if let Some(writer) = keep.get(kind) {
            writer.finish(Vec::new()).await;
        }
    }
    if let Some(writer) = keep.get("error") {
        writer.finish(told).await;
    }
    for writer in reset {
        writer.reset().await;
    }
    session.close().await;
}

/// The streams that a client opens; v1 and v2 know no resize.
fn expected(wants: Wants, protocol: &str) -> Vec<&'static str> {
    let resizes = matches!(protocol, "v4.channel.k8s.io" | "v3.channel.k8s.io");
    let table = [
        ("error", true),
        ("stdin", wants.stdin),
        ("stdout", wants.stdout),
        ("stderr", wants.stderr),
        ("resize", wants.tty && resizes),
    ];
    table.into_iter().filter_map(|(kind, wanted)| wanted.then_some(kind)).collect()
}

/// Takes streams until all that are expected are there; others are reset. `None`: client gone.
async fn collect(
    session: &mut Session,
    expected: &[&'static str],
) -> Option<HashMap<&'static str, Stream>> {
    let mut streams = HashMap::new();
    while streams.len() < expected.len() {
        let stream = session.accept().await?;
        let kind = stream.headers.get("streamtype").unwrap_or_default();
        match expected.iter().find(|e| **e == kind && !streams.contains_key(*e)) {
            Some(kind) => {
                streams.insert(*kind, stream);
            }
            None => stream.writer.reset().await,
        }
    }
    Some(streams)
}

/// Drives `work` if there is any, and never resolves.
pub(super) async fn forever_after(work: Option<impl Future<Output = ()>>) {
    if let Some(work) = work {
        work.await;
    }
    std::future::pending().await
}
