//! `rrun image inspect`, `history`, `du`, `tag`, `verify` and `export`: what only the store of this machine tells.

use crate::context::Context;
use crate::images::{self, size, store};
use crate::table;
use anyhow::{Context as _, Result, anyhow, bail};
use rrun_images::{
    Digest, ExportTo, Image, ImageUsage, LayerState, LayerUsage, Reference, Store, Verified,
};
use serde_json::{Value, json};
use std::fs::File;
use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

/// What a command is shown in, unless it is asked for whole.
const COMMAND_CHARS: usize = 60;

pub async fn local(context: &Context) -> Result<Store> {
    if let Some(endpoint) = &context.endpoint {
        bail!("{endpoint}: a CRI server does not tell that of its images; its own tool does");
    }
    store(context).await
}

async fn found(store: &Store, image: &str) -> Result<Image> {
    let found = store.find(image).await?;
    found.ok_or_else(|| anyhow!("image {image}: not found (rrun images)"))
}

fn document(image: &Image) -> Result<Value> {
    Ok(serde_json::from_slice(&image.document)?)
}

/// Prints images as a JSON array, with the field names that docker and podman have.
pub async fn inspect(context: &Context, images: &[String]) -> Result<ExitCode> {
    let store = local(context).await?;
    let mut all = Vec::new();
    for image in images {
        all.push(described(&found(&store, image).await?)?);
    }
    let text = serde_json::to_string_pretty(&all)?;
    table::write(&format!("{text}\n"))?;
    Ok(ExitCode::SUCCESS)
}

fn described(image: &Image) -> Result<Value> {
    let document = document(image)?;
    let field = |name: &str| document.get(name).cloned().unwrap_or(Value::Null);
    let holders: Vec<String> = image.holders.iter().map(ToString::to_string).collect();
    let seconds = |time: SystemTime| time.duration_since(UNIX_EPOCH).map(|since| since.as_secs());
    let (last_used, first_detected) = (seconds(image.last_used)?, seconds(image.first_detected)?);
    Ok(json!({
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
        "FirstDetected": first_detected,
        "LastUsed": last_used,
        "Pinned": image.pinned,
        "UsedBy": holders,
    }))
}

/// Prints an image's history. A step that made a layer has that layer's size.
pub async fn history(context: &Context, image: &str, no_trunc: bool) -> Result<ExitCode> {
    let store = local(context).await?;
    let image = found(&store, image).await?;
    let document = document(&image)?;
    let usage = store.disk_usage().await?.into_iter().find(|usage| usage.id == image.id);
    let layers = usage.map_or_else(Vec::new, |usage| usage.layers);
    let text = |step: &Value, name: &str| {
        step.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let none = Vec::new();
    let steps = document.get("history").and_then(Value::as_array).unwrap_or(&none);
    let ids = document.pointer("/rootfs/diff_ids").and_then(Value::as_array).unwrap_or(&none);
    let mut ids = ids.iter().filter_map(Value::as_str);
    let mut rows = Vec::new();
    for step in steps {
        let is_empty = step.get("empty_layer").and_then(Value::as_bool).unwrap_or(false);
        let bytes = if is_empty { Some(0) } else { bytes_of(&layers, ids.next()) };
        let mut command = text(step, "created_by").split_whitespace().collect::<Vec<_>>().join(" ");
        if !no_trunc && command.chars().count() > COMMAND_CHARS {
            command = command.chars().take(COMMAND_CHARS - 1).chain(['…']).collect();
        }
        let bytes = bytes.map_or_else(|| "-".to_owned(), size);
        rows.push([text(step, "created"), bytes, command, text(step, "comment")]);
    }
    rows.push(["CREATED", "SIZE", "CREATED BY", "COMMENT"].map(String::from));
    rows.reverse();
    table::print(&rows)?;
    Ok(ExitCode::SUCCESS)
}

fn bytes_of(layers: &[LayerUsage], id: Option<&str>) -> Option<u64> {
    let id = id?.parse().ok()?;
    layers.iter().find(|layer| layer.diff_id.as_ref() == Some(&id)).map(|layer| layer.bytes)
}

/// Prints what each image takes, or each layer of one.
pub async fn disk_usage(context: &Context, image: Option<&str>) -> Result<ExitCode> {
    let store = local(context).await?;
    let usage = store.disk_usage().await?;
    match image {
        Some(image) => {
            let image = found(&store, image).await?;
            let usage = usage.iter().find(|usage| usage.id == image.id);
            table::print(&layer_rows(usage.map_or(&[], |usage| &usage.layers)))?;
        }
        None => {
            let images = store.list().await?;
            table::print(&image_rows(&images, &usage))?;
            let bytes = size(store.fs_info().await?.bytes);
            table::write(&format!("{bytes} in all, what is shared counted once\n"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn image_rows(images: &[Image], usage: &[ImageUsage]) -> Vec<[String; 6]> {
    let head = ["IMAGE", "ID", "SIZE", "SHARED", "FREED BY RMI", "USED BY"].map(String::from);
    let mut rows = vec![head];
    for image in images {
        let Some(usage) = usage.iter().find(|usage| usage.id == image.id) else { continue };
        let name = image.tags.first().or(image.digests.first());
        let short = image.id.digest().hex().chars().take(12).collect();
        let exclusive = usage.exclusive_bytes();
        rows.push([
            name.cloned().unwrap_or_else(|| "<none>".to_owned()),
            short,
            size(usage.bytes()),
            size(usage.bytes() - exclusive),
            size(exclusive),
            image.holders.len().to_string(),
        ]);
    }
    rows[1..].sort();
    rows
}

fn layer_rows(layers: &[LayerUsage]) -> Vec<[String; 4]> {
    let head = ["LAYER", "SIZE", "FILES", "IMAGES"].map(String::from);
    let row = |layer: &LayerUsage| {
        let name =
            layer.diff_id.as_ref().map_or_else(|| "(directories)".to_owned(), |id| id.to_string());
        [name, size(layer.bytes), layer.inodes.to_string(), layer.users.to_string()]
    };
    std::iter::once(head).chain(layers.iter().rev().map(row)).collect()
}

/// Gives an image another name.
pub async fn tag(context: &Context, image: &str, name: &str) -> Result<ExitCode> {
    let name: Reference = name.parse()?;
    local(context).await?.tag(image, &name).await?;
    Ok(ExitCode::SUCCESS)
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
    done?;
    Ok(ExitCode::SUCCESS)
}
