//! `rrun image du`: what images take of the disk, and what removing them would free.

use crate::args::Output;
use crate::context::Context;
use crate::image::{found, local};
use crate::images::{short, size};
use crate::table;
use anyhow::{Result, anyhow};
use rrun_images::{Image, ImageUsage, LayerUsage};
use serde_json::{Value, json};
use std::process::ExitCode;

/// Prints what each image takes, or each layer of one.
pub async fn disk_usage(
    context: &Context,
    image: Option<&str>,
    output: Option<Output>,
) -> Result<ExitCode> {
    let store = local(context).await?;
    let images = match image {
        Some(image) => vec![found(&store, image).await?],
        None => store.list().await?.to_vec(),
    };
    let usage = store.disk_usage().await?;
    let of = |image: &Image| usage.iter().find(|usage| usage.id == image.id).cloned();
    let all: Vec<(Image, ImageUsage)> =
        images.into_iter().filter_map(|image| Some((image.clone(), of(&image)?))).collect();
    if output.is_some() {
        let images: Vec<Value> = all.iter().map(as_json).collect();
        let info = store.fs_info().await?;
        let found = json!({"images": images, "bytes": info.bytes, "inodes": info.inodes});
        table::write(&crate::json::pretty(&found)?)?;
    } else if image.is_some() {
        let (image, usage) = all.first().ok_or_else(|| anyhow!("it was removed meanwhile"))?;
        table::print(&layer_rows(&usage.layers))?;
        table::write(&format!("{}\n", freed(image, usage)))?;
    } else {
        table::print(&image_rows(&all))?;
        let bytes = size(store.fs_info().await?.bytes);
        table::write(&format!("{bytes} in all, what is shared counted once\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What goes with a layer's only image.
fn freed_of(layer: &LayerUsage) -> u64 {
    if layer.users == 1 { layer.bytes } else { 0 }
}

/// What the removal of an image would do.
fn freed(image: &Image, usage: &ImageUsage) -> String {
    let exclusive = usage.exclusive_bytes();
    let (bytes, shared) = (size(exclusive), size(usage.bytes() - exclusive));
    let text = format!("rrun rmi would free {bytes}; {shared} are shared with others");
    match image.holders.as_slice() {
        [] => text,
        holders => {
            let names: Vec<String> = holders.iter().map(ToString::to_string).collect();
            format!("{text}; nothing before these have ended: {}", names.join(", "))
        }
    }
}

fn image_rows(all: &[(Image, ImageUsage)]) -> Vec<[String; 6]> {
    let head = ["IMAGE", "ID", "SIZE", "SHARED", "FREED BY RMI", "USED BY"].map(String::from);
    let mut rows = vec![head];
    for (image, usage) in all {
        let name = image.tags.first().or(image.digests.first());
        let exclusive = usage.exclusive_bytes();
        rows.push([
            name.cloned().unwrap_or_else(|| "<none>".to_owned()),
            short(&image.id.to_string()),
            size(usage.bytes()),
            size(usage.bytes() - exclusive),
            size(exclusive),
            image.holders.len().to_string(),
        ]);
    }
    rows[1..].sort();
    rows
}

fn name(layer: &LayerUsage) -> String {
    layer.diff_id.as_ref().map_or_else(|| "(directories)".to_owned(), ToString::to_string)
}

fn layer_rows(layers: &[LayerUsage]) -> Vec<[String; 5]> {
    let head = ["LAYER", "SIZE", "FILES", "IMAGES", "FREED BY RMI"].map(String::from);
    let row = |layer: &LayerUsage| {
        let (bytes, freed) = (size(layer.bytes), size(freed_of(layer)));
        [name(layer), bytes, layer.inodes.to_string(), layer.users.to_string(), freed]
    };
    std::iter::once(head).chain(layers.iter().rev().map(row)).collect()
}

fn as_json((image, usage): &(Image, ImageUsage)) -> Value {
    let layer = |layer: &LayerUsage| {
        json!({
            "layer": layer.diff_id.as_ref().map(ToString::to_string),
            "bytes": layer.bytes,
            "inodes": layer.inodes,
            "images": layer.users,
            "freed": freed_of(layer),
        })
    };
    let holders: Vec<String> = image.holders.iter().map(ToString::to_string).collect();
    json!({
        "id": image.id.to_string(),
        "repoTags": image.tags,
        "repoDigests": image.digests,
        "bytes": usage.bytes(),
        "freed": usage.exclusive_bytes(),
        "usedBy": holders,
        "layers": usage.layers.iter().rev().map(layer).collect::<Vec<_>>(),
    })
}
