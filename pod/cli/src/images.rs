//! `rrun images`, `image import` and `rmi`: in the store of this machine, or with
//! `--endpoint` in that of a CRI server.

use crate::args::ImageList;
use crate::context::Context;
use crate::runtime::connect;
use crate::table;
use crate::terminal::tell;
use anyhow::{Result, anyhow, bail};
use futures::FutureExt;
use rrun_cri::current::Current;
use rrun_cri::parts;
use rrun_cri_api::{Cri, v1};
use rrun_images::{Credentials, Known, Origin, Reference, Store};
use rrun_pod::clock::Timestamp;
use rrun_pod::credentials::{self, NodeCredentials};
use rrun_pod::node::forget_pull;
use serde_json::{Value, json};
use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use tonic::Status;

/// So many digits of an id name an image at least.
const SHORTEST_ID: usize = 4;

pub async fn store(context: &Context) -> Result<Store> {
    let current = Current::new(context.config.as_ref().clone());
    parts::images(&current).await.map_err(|error| anyhow!(error))
}

/// What a CRI server says.
pub fn from_status(status: &Status) -> anyhow::Error {
    anyhow!("{}", status.message())
}

/// An image by its name.
pub fn spec(image: &str) -> Option<v1::ImageSpec> {
    Some(v1::ImageSpec { image: image.to_owned(), ..Default::default() })
}

/// An image in a list.
struct Listed {
    id: String,
    tags: Vec<String>,
    digests: Vec<String>,
    bytes: u64,
    pinned: bool,
}

/// Lists the images.
pub async fn list(context: &Context, args: &ImageList) -> Result<ExitCode> {
    let mut all = listed(context).await?;
    if let Some(wanted) = &args.image {
        all.retain(|image| is_meant(image, wanted));
    }
    if args.output.is_some() {
        let all: Vec<Value> = all.iter().map(as_json).collect();
        table::write(&crate::json::pretty(&all)?)?;
    } else if args.quiet {
        let ids: String = all.iter().map(|image| format!("{}\n", image.id)).collect();
        table::write(&ids)?;
    } else {
        let mut rows: Vec<[String; 4]> = all.iter().flat_map(|image| rows(image, args)).collect();
        rows.sort();
        rows.insert(0, ["IMAGE", "DIGEST", "ID", "SIZE"].map(String::from));
        match args.digests {
            true => table::print(&rows)?,
            false => table::print(&rows.into_iter().map(without_digest).collect::<Vec<_>>())?,
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn listed(context: &Context) -> Result<Vec<Listed>> {
    let Some(endpoint) = &context.endpoint else {
        let all = store(context).await?.list().await?;
        let all = all.iter().map(|image| Listed {
            id: image.id.to_string(),
            tags: image.tags.clone(),
            digests: image.digests.clone(),
            bytes: image.size,
            pinned: image.pinned,
        });
        return Ok(all.collect());
    };
    let request = v1::ListImagesRequest::default();
    let reply = connect(endpoint).await?.list_images(request).await;
    let all =
        reply.map_err(|status| from_status(&status))?.images.into_iter().map(|image| Listed {
            id: image.id,
            tags: image.repo_tags,
            digests: image.repo_digests,
            bytes: image.size,
            pinned: image.pinned,
        });
    Ok(all.collect())
}

/// As docker's: a name without a tag means all tags of it.
fn is_meant(image: &Listed, wanted: &str) -> bool {
    let hex = |id: &str| id.trim_start_matches("sha256:").to_owned();
    if hex(wanted).len() >= SHORTEST_ID && hex(&image.id).starts_with(&hex(wanted)) {
        return true;
    }
    let Ok(reference) = wanted.parse::<Reference>() else { return false };
    let is_whole = wanted.rsplit('/').next().is_some_and(|last| last.contains([':', '@']));
    let (whole, name) = (reference.to_string(), reference.name());
    let has = |of_image: &String| match is_whole {
        true => *of_image == whole,
        false => of_image.strip_prefix(&name).is_some_and(|rest| rest.starts_with([':', '@'])),
    };
    image.tags.iter().chain(&image.digests).any(has)
}

/// With crictl's names.
fn as_json(image: &Listed) -> Value {
    json!({
        "id": image.id,
        "repoTags": image.tags,
        "repoDigests": image.digests,
        "size": image.bytes,
        "pinned": image.pinned,
    })
}

/// One row for each name of an image.
fn rows(image: &Listed, args: &ImageList) -> Vec<[String; 4]> {
    let id = if args.no_trunc { image.id.clone() } else { short(&image.id) };
    let row = |name: &str| {
        // The digest by which it was pulled from there, or else from anywhere.
        let repository = name.rsplit_once([':', '@']).map_or(name, |(repository, _)| repository);
        let from_there = image.digests.iter().find(|one| one.starts_with(repository));
        let digest = from_there.or(image.digests.first());
        let digest = digest.and_then(|one| one.rsplit_once('@')).map_or("<none>", |(_, d)| d);
        [name.to_owned(), digest.to_owned(), id.clone(), size(image.bytes)]
    };
    let names = if image.tags.is_empty() { &image.digests } else { &image.tags };
    match names.is_empty() {
        true => vec![row("<none>")],
        false => names.iter().map(|name| row(name)).collect(),
    }
}

fn without_digest([name, _, id, size]: [String; 4]) -> [String; 3] {
    [name, id, size]
}

/// The digits of an id that tables show.
pub fn short(id: &str) -> String {
    id.trim_start_matches("sha256:").chars().take(12).collect()
}

/// Each of the node's credentials that fits, or none. Why there are no others is told.
pub async fn of_registry(reference: &Reference) -> Vec<Option<credentials::Known>> {
    let NodeCredentials { known, missing } = credentials::of_node(&reference.name()).await;
    for error in missing {
        tell(format_args!("missing credentials: {error}"));
    }
    match known.is_empty() {
        true => vec![None],
        false => known.into_iter().map(Some).collect(),
    }
}

/// As the store takes them.
pub fn shown(known: credentials::Known) -> Credentials {
    Credentials { source: known.source, ..rrun_cri::convert::credentials(known.auth) }
}

/// The node's credentials that fit, for whoever fetches layers anew.
pub fn known() -> Known {
    Arc::new(|reference| {
        let known = async move { of_registry(&reference).await };
        Box::pin(known.map(|known| known.into_iter().map(|one| one.map(shown)).collect()))
    })
}

/// Imports an OCI layout or an archive of `docker save`.
pub async fn import(context: &Context, layout: &Path, name: Option<&str>) -> Result<ExitCode> {
    if let Some(endpoint) = &context.endpoint {
        bail!("{endpoint}: a CRI server takes no images from files; its own tool does");
    }
    let name: Option<Reference> = name.map(str::parse).transpose()?;
    // What comes through a pipe.
    let layout = if layout == Path::new("-") {
        if std::io::stdin().is_terminal() {
            bail!("import: a terminal gives no tar: want a file, or one on standard input");
        }
        Path::new("/dev/stdin")
    } else {
        layout
    };
    for imported in store(context).await?.import_layout(layout, name.as_ref()).await? {
        for name in &imported.names {
            println!("{name}");
        }
        if imported.names.is_empty() {
            println!("{}", imported.image.id);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Removes images, each under all of its names. One that cannot be removed keeps no other.
pub async fn remove(context: &Context, images: &[String]) -> Result<ExitCode> {
    let mut failed = Vec::new();
    for image in images {
        if let Err(error) = remove_one(context, image).await {
            failed.push(format!("{error:#}"));
        }
    }
    if failed.is_empty() { Ok(ExitCode::SUCCESS) } else { bail!(failed.join("\nrrun: ")) }
}

async fn remove_one(context: &Context, image: &str) -> Result<()> {
    let removed = match &context.endpoint {
        Some(endpoint) => remove_there(endpoint, image).await?,
        None => {
            let store = store(context).await?;
            let found = store.find(image).await?;
            store.remove(image, Origin::Person).await?;
            // Nobody else may be there who would free the space.
            store.empty_trash().await?;
            found.map(|found| found.id.to_string())
        }
    };
    let Some(id) = removed else { bail!("image {image}: not found (rrun images)") };
    forget_pull(&context.pulls(context.endpoint.as_deref()), &id)?;
    Ok(())
}

/// The id of what was removed. A removal of what is not there succeeds over CRI, so it is looked at
/// first.
async fn remove_there(endpoint: &str, image: &str) -> Result<Option<String>> {
    let cri = connect(endpoint).await?;
    let request = v1::ImageStatusRequest { image: spec(image), verbose: false };
    let found = cri.image_status(request).await.map_err(|status| from_status(&status))?.image;
    let Some(found) = found.filter(|found| !found.id.is_empty()) else { return Ok(None) };
    let request = v1::RemoveImageRequest { image: spec(&found.id) };
    cri.remove_image(request).await.map_err(|status| from_status(&status))?;
    Ok(Some(found.id))
}

/// As the API has times.
pub fn time(at: SystemTime) -> String {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_nanos(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)).to_string()
}

/// `12.3 MiB`
pub fn size(bytes: u64) -> String {
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
