//! `rrun image inspect`, `history`, `tag`, `verify` and `export`: what only the store of this machine tells.

use crate::args::Output;
use crate::context::Context;
use crate::images::{self, size, store, time};
use crate::table;
use crate::terminal::tell;
use anyhow::{Context as _, Result, anyhow, bail};
use rrun_images::{
    Digest, ExportTo, Exported, Image, LayerState, LayerUsage, Reference, Store, Verified,
};
use serde_json::{Value, json};
use std::fs::File;
use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;

/// What a command is shown in, unless it is asked for whole.
const COMMAND_CHARS: usize = 60;

pub async fn local(context: &Context) -> Result<Store> {
    if let Some(endpoint) = &context.endpoint {
        bail!("{endpoint}: a CRI server does not tell that of its images; its own tool does");
    }
    store(context).await
}

pub async fn found(store: &Store, image: &str) -> Result<Image> {
    let found = store.find(image).await?;
    found.ok_or_else(|| anyhow!("image {image}: not found (rrun images)"))
}

async fn document(store: &Store, image: &Image) -> Result<Value> {
    Ok(serde_json::from_slice(&store.document(&image.id).await?)?)
}

/// Prints images as a JSON array, with the field names that docker and podman have.
pub async fn inspect(context: &Context, images: &[String]) -> Result<ExitCode> {
    let store = local(context).await?;
    let (mut all, mut failed) = (Vec::new(), Vec::new());
    for image in images {
        match found(&store, image).await {
            Ok(image) => all.push(described(&image, &document(&store, &image).await?)),
            Err(error) => failed.push(format!("{error:#}")),
        }
    }
    table::write(&crate::json::pretty(&all)?)?;
    // What is there is told all the same, as docker and podman do.
    if failed.is_empty() { Ok(ExitCode::SUCCESS) } else { bail!(failed.join("\nrrun: ")) }
}

fn described(image: &Image, document: &Value) -> Value {
    let field = |name: &str| document.get(name).cloned().unwrap_or(Value::Null);
    let holders: Vec<String> = image.holders.iter().map(ToString::to_string).collect();
    json!({
        "Id": image.id.to_string(),
        "RepoTags": image.tags,
        "RepoDigests": image.digests,
        "Created": field("created"),
        "Author": field("author"),
        "Architecture": field("architecture"),
        "Variant": field("variant"),
        "Os": field("os"),
        "Size": image.size,
        "Config": field("config"),
        "RootFS": {
            "Type": "layers",
            "Layers": document.pointer("/rootfs/diff_ids").cloned().unwrap_or(json!([])),
        },
        "History": field("history"),
        "FirstDetected": time(image.first_detected),
        "LastUsed": time(image.last_used),
        "Pinned": image.pinned,
        "UsedBy": holders,
    })
}

/// Prints an image's history. A step that made a layer has that layer's size.
pub async fn history(
    context: &Context,
    image: &str,
    no_trunc: bool,
    output: Option<Output>,
) -> Result<ExitCode> {
    let store = local(context).await?;
    let image = found(&store, image).await?;
    let usage = store.disk_usage().await?.into_iter().find(|usage| usage.id == image.id);
    let mut steps =
        steps(&document(&store, &image).await?, &usage.map_or_else(Vec::new, |usage| usage.layers));
    steps.reverse();
    if output.is_some() {
        table::write(&crate::json::pretty(&steps)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let text = |step: &Value, name: &str| step[name].as_str().unwrap_or_default().to_owned();
    let row = |step: &Value| {
        let bytes = step["size"].as_u64().map_or_else(|| "-".to_owned(), size);
        let command = text(step, "createdBy").split_whitespace().collect::<Vec<_>>().join(" ");
        let command = if no_trunc { command } else { shortened(command) };
        [text(step, "created"), bytes, command, text(step, "comment")]
    };
    let mut rows = vec![["CREATED", "SIZE", "CREATED BY", "COMMENT"].map(String::from)];
    rows.extend(steps.iter().map(row));
    table::print(&rows)?;
    Ok(ExitCode::SUCCESS)
}

/// The steps of a history, the oldest first. One of whose layer nothing is known has no size.
fn steps(document: &Value, layers: &[LayerUsage]) -> Vec<Value> {
    let none = Vec::new();
    let steps = document.get("history").and_then(Value::as_array).unwrap_or(&none);
    let ids = document.pointer("/rootfs/diff_ids").and_then(Value::as_array).unwrap_or(&none);
    let mut ids = ids.iter().filter_map(Value::as_str);
    let step = |step: &Value| {
        let is_empty = step.get("empty_layer").and_then(Value::as_bool).unwrap_or(false);
        let layer = if is_empty { None } else { ids.next() };
        let bytes = if is_empty { Some(0) } else { bytes_of(layers, layer) };
        let text = |name: &str| step.get(name).and_then(Value::as_str).unwrap_or_default();
        json!({
            "created": text("created"),
            "createdBy": text("created_by"),
            "comment": text("comment"),
            "size": bytes,
            "layer": layer,
        })
    };
    steps.iter().map(step).collect()
}

fn shortened(text: String) -> String {
    match text.chars().count() > COMMAND_CHARS {
        true => text.chars().take(COMMAND_CHARS - 1).chain(['…']).collect(),
        false => text,
    }
}

fn bytes_of(layers: &[LayerUsage], id: Option<&str>) -> Option<u64> {
    let id = id?.parse().ok()?;
    layers.iter().find(|layer| layer.diff_id.as_ref() == Some(&id)).map(|layer| layer.bytes)
}

/// Gives an image other names: all of them, or none where one is no name.
pub async fn tag(context: &Context, image: &str, names: &[String]) -> Result<ExitCode> {
    let names: Vec<Reference> = names.iter().map(|name| name.parse()).collect::<Result<_, _>>()?;
    if let Some(name) = names.iter().find(|name| name.digest().is_some()) {
        bail!("tag {image} as {name}: want a name and a tag, no digest");
    }
    let store = local(context).await?;
    for name in names {
        store.tag(image, &name).await?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Takes names from the images that have them.
pub async fn untag(context: &Context, names: Vec<String>) -> Result<ExitCode> {
    let store = local(context).await?;
    let untag = async |name: &String| -> Result<()> {
        store.untag(&name.parse()?).await?;
        Ok(())
    };
    let mut failed = Vec::new();
    for name in &names {
        if let Err(error) = untag(name).await {
            failed.push(format!("{error:#}"));
        }
    }
    if failed.is_empty() { Ok(ExitCode::SUCCESS) } else { bail!(failed.join("\nrrun: ")) }
}

/// Looks at every layer of images, and fetches those anew that are damaged. 1 if one is still.
pub async fn verify(context: &Context, images: Vec<String>, repair: bool) -> Result<ExitCode> {
    let store = local(context).await?;
    let images = match images.is_empty() {
        true => store.list().await?.iter().map(|image| image.id.to_string()).collect(),
        false => images,
    };
    let mut rows = vec![["IMAGE", "LAYER", "STATE"].map(String::from)];
    let mut failed = Vec::new();
    for name in images {
        let image = found(&store, &name).await?;
        let id = image.id.to_string();
        let mut layers = store.verify(&id).await?;
        let damaged: Vec<Digest> = layers.iter().filter(is_damaged).map(digest).collect();
        if repair && !damaged.is_empty() {
            match store.repair(&id, &damaged, &images::known()).await {
                Ok(()) => layers = store.verify(&id).await?,
                Err(error) => failed.push(error.to_string()),
            }
        }
        let shown = image.tags.first().or(image.digests.first()).unwrap_or(&id);
        for layer in layers {
            let state = match &layer.state {
                LayerState::Whole if damaged.contains(&layer.diff_id) => "fetched anew".to_owned(),
                LayerState::Whole => "whole".to_owned(),
                LayerState::Unknown => "unknown: it has a path more than once".to_owned(),
                LayerState::Damaged(why) => format!("damaged: {why}"),
            };
            rows.push([shown.clone(), layer.diff_id.to_string(), state]);
        }
    }
    table::print(&rows)?;
    if !failed.is_empty() {
        bail!(failed.join("\nrrun: "));
    }
    let is_left = rows.iter().any(|[_, _, state]| state.starts_with("damaged"));
    Ok(if is_left { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

fn is_damaged(layer: &&Verified) -> bool {
    matches!(layer.state, LayerState::Damaged(_))
}

fn digest(layer: &Verified) -> Digest {
    layer.diff_id.clone()
}

/// Writes images to a file, a folder, or standard output.
pub async fn export(context: &Context, images: &[String], output: &Path) -> Result<ExitCode> {
    let store = local(context).await?;
    let is_folder = output.as_os_str().as_encoded_bytes().ends_with(b"/") || output.is_dir();
    let to = if output == Path::new("-") {
        if std::io::stdout().is_terminal() {
            bail!("export: a terminal takes no tar: want --output FILE");
        }
        ExportTo::Tar(std::io::stdout().as_fd().try_clone_to_owned()?.into())
    } else if is_folder {
        ExportTo::Folder(output.to_owned())
    } else {
        let file = File::create(output).with_context(|| output.display().to_string())?;
        ExportTo::Tar(file)
    };
    let is_file = !is_folder && output != Path::new("-");
    let done = store.export(images, to).await;
    if done.is_err() && is_file {
        // The first error is the one to tell, and half a tar is none.
        let _ = std::fs::remove_file(output);
    }
    for Exported { name, digest, lost } in done? {
        for lost in lost {
            tell(format_args!(
                "{name}: written as {digest}, with its layers not compressed: where that is imported it \
                 is not found as {lost}"
            ));
        }
    }
    Ok(ExitCode::SUCCESS)
}
