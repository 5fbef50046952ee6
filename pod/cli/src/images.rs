//! `rrun images`, `pull`, `image import` and `rmi`.

use crate::ps::table;
use anyhow::{Result, anyhow, bail};
use rrun_cri::config::Config;
use rrun_cri::rooms;
use rrun_images::{Digest, Event, Image, Reference, Store};
use std::collections::HashMap;
use std::path::Path;
use std::process::ExitCode;
use tokio::sync::mpsc;

fn store(config: &Config) -> Result<Store> {
    rooms::images(config).map_err(|error| anyhow!(error))
}

/// Lists the images.
pub fn list(config: &Config) -> Result<ExitCode> {
    let mut rows = vec![["IMAGE", "ID", "SIZE"].map(String::from)];
    for image in store(config)?.list()? {
        let id: String =
            image.id.to_string().trim_start_matches("sha256:").chars().take(12).collect();
        let names = if image.tags.is_empty() { &image.digests } else { &image.tags };
        let none = ["<none>".to_owned()];
        for name in if names.is_empty() { &none[..] } else { &names[..] } {
            rows.push([name.clone(), id.clone(), size(image.size)]);
        }
    }
    table(&rows);
    Ok(ExitCode::SUCCESS)
}

/// Pulls an image and tells its progress on standard error.
pub async fn pull(config: &Config, reference: &str) -> Result<ExitCode> {
    let reference: Reference = reference.parse()?;
    let store = store(config)?;
    let (sender, mut events) = mpsc::unbounded_channel();
    let teller = tokio::spawn(async move {
        let mut sizes = HashMap::new();
        while let Some(event) = events.recv().await {
            tell(event, &mut sizes);
        }
    });
    let image = store.pull(&reference, None, Some(sender)).await?;
    teller.await?;
    println!("{}", image.id);
    Ok(ExitCode::SUCCESS)
}

fn tell(event: Event, sizes: &mut HashMap<Digest, u64>) {
    let short = |layer: &Digest| {
        let text = layer.to_string();
        text.split(':').next_back().unwrap_or_default().chars().take(12).collect::<String>()
    };
    match event {
        Event::Resolved { digest, layers } => {
            eprintln!("{digest}: {} layers", layers.len());
            sizes.extend(layers);
        }
        Event::UpToDate { digest } => eprintln!("{digest}: all is here already"),
        Event::Present { layer } => eprintln!("{}: already here", short(&layer)),
        Event::Downloaded { layer, bytes } => {
            let whole = sizes.get(&layer).copied().unwrap_or(bytes);
            eprintln!("{}: {} of {}", short(&layer), size(bytes), size(whole));
        }
        Event::Resumed { layer, bytes, reason } => {
            eprintln!("{}: again from {}: {reason}", short(&layer), size(bytes));
        }
        Event::Unpacked { layer } => eprintln!("{}: unpacked", short(&layer)),
    }
}

/// Imports an OCI layout.
pub async fn import(config: &Config, layout: &Path, name: Option<&str>) -> Result<ExitCode> {
    let name: Option<Reference> = name.map(str::parse).transpose()?;
    for image in store(config)?.import_layout(layout, name.as_ref()).await? {
        println!("{}", called(&image));
    }
    Ok(ExitCode::SUCCESS)
}

fn called(image: &Image) -> String {
    image.tags.first().or(image.digests.first()).cloned().unwrap_or_else(|| image.id.to_string())
}

/// Removes an image under all of its names.
pub fn remove(config: &Config, image: &str) -> Result<ExitCode> {
    if !store(config)?.remove(image)? {
        bail!("image {image}: not found");
    }
    Ok(ExitCode::SUCCESS)
}

/// `12.3 MiB`
fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "KiB", "MiB"] {
        if value < 1024.0 {
            return if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1024.0;
    }
    format!("{value:.1} GiB")
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_have_the_largest_unit_that_fits() {
        let all = [0, 1023, 1536, 5 << 20, 3 << 40].map(size);
        assert_eq!(all, ["0 B", "1023 B", "1.5 KiB", "5.0 MiB", "3072.0 GiB"]);
    }
}
