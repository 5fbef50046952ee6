//! A look through the whole store, and what can be done about what is found.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use rrun_blocking::Blocking;

use crate::api::Store;
use crate::credentials::Known;
use crate::digest::ImageId;
use crate::error::{Context, Error, Result};
use crate::pull;
use crate::store::{
    Config, Containers, Disk, Fault, Finding, Found, Hash, LayerKey, Look, Remedy, before_opening,
    look,
};

/// A repair shows what it could not see before: so often it is looked again.
const ROUNDS: usize = 4;

/// What is asked for.
pub struct Check {
    /// Whether the content of every layer is hashed.
    pub hash: bool,
    /// Ids of the containers on record; it is asked after the leases were read.
    pub containers: Containers,
    /// Whether what is wrong is to be put right, and who asks the registries then.
    pub repair: Option<Known>,
}

/// What became of a finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// No repair was asked for.
    Found,
    /// It is right again, and what was done.
    Repaired(String),
    /// It could not be put right, and why.
    Left(String),
}

/// What was found, and what was done.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What was wrong.
    pub findings: Vec<(Finding, Outcome)>,
    /// What is not wrong and should be known.
    pub notes: BTreeSet<String>,
    /// Layers that were hashed.
    pub hashed: usize,
}

/// Looks through the store of `config`, while others may have it open, and puts right what it can
/// if that is asked for; else nothing is changed. What somebody works on is passed over.
///
/// # Errors
/// `Unavailable` where the records cannot be read now or are of another version; else of the disk.
/// What is wrong with the store is none.
pub async fn fsck(config: Config, check: Check) -> Result<Report> {
    let what = format!("image store {}", config.root.display());
    let Check { hash, containers, repair } = check;
    let looker = Looker { root: config.root.clone(), containers };
    let first = looker.look(if hash { Hash::All } else { Hash::No }).await.context(&what)?;
    let mut report =
        Report { findings: Vec::new(), notes: first.notes.clone(), hashed: first.hashed };
    let Some(known) = repair else {
        let found = first.found.into_iter().map(|one| (one.finding, Outcome::Found));
        report.findings.extend(found);
        return Ok(report);
    };
    let mut outcomes: BTreeMap<Finding, Outcome> = BTreeMap::new();
    let mut left = first;
    for _ in 0..ROUNDS {
        let is_new = |one: &Found| !outcomes.contains_key(&one.finding);
        if !left.found.iter().any(is_new) {
            break;
        }
        let done = repair_all(&config, &left, &known).await;
        let next = looker.look(Hash::These(hashed(&left))).await.context(&what)?;
        let remain: BTreeSet<&Finding> = next.found.iter().map(|one| &one.finding).collect();
        for (one, done) in left.found.iter().zip(done) {
            let outcome = match done {
                Err(e) => Outcome::Left(e.to_string()),
                Ok(words) if remain.contains(&one.finding) => {
                    Outcome::Left(format!("it is still so, though it was {words}"))
                }
                Ok(words) => Outcome::Repaired(words.to_owned()),
            };
            outcomes.insert(one.finding.clone(), outcome);
        }
        report.notes.extend(next.notes.iter().cloned());
        left = next;
    }
    for one in left.found {
        let seen_last = || Outcome::Left("it was seen at the last look alone".to_owned());
        outcomes.entry(one.finding).or_insert_with(seen_last);
    }
    report.findings.extend(outcomes);
    Ok(report)
}

struct Looker {
    root: PathBuf,
    containers: Containers,
}

impl Looker {
    async fn look(&self, hash: Hash) -> Result<Look> {
        let (root, containers) = (self.root.clone(), Arc::clone(&self.containers));
        Blocking::new((), 1).call(move |()| look(&root, &containers, &hash)).await
    }
}

/// The layers that are worth a second look.
fn hashed(look: &Look) -> BTreeSet<LayerKey> {
    let key = |one: &Found| match &one.remedy {
        Remedy::Fetch(key) => Some(key.clone()),
        _ => None,
    };
    look.found.iter().filter_map(key).collect()
}

/// What was done about each finding, in their order.
async fn repair_all(config: &Config, look: &Look, known: &Known) -> Vec<Result<&'static str>> {
    let (root, found) = (config.root.clone(), look.found.clone());
    let before = Blocking::new((), 1).call(move |()| before_opening(&root, &found)).await;
    let store = match Store::open(config.clone()).await {
        Ok(store) => store,
        Err(e) => return look.found.iter().map(|_| Err(e.clone())).collect(),
    };
    let mut fetched = BTreeMap::new();
    let mut all = Vec::new();
    for (one, before) in look.found.iter().zip(before) {
        let done = match (&one.remedy, before) {
            (_, Some(done)) => done,
            (Remedy::Nothing(why), None) => Err(Error::invalid(why)),
            (Remedy::Open, None) => Ok(swept(one.finding.fault)),
            (Remedy::Layers(id), None) => list_anew(store.disk(), id).await,
            (Remedy::Fetch(key), None) => match fetched.get(key) {
                Some(done) => Result::clone(done),
                None => {
                    let done = fetch(&store, key, known).await;
                    fetched.insert(key.clone(), done.clone());
                    done
                }
            },
            (remedy, None) => {
                let remedy = remedy.clone();
                store.disk().run(move |disk| disk.mend(&remedy)).await
            }
        };
        all.push(done);
    }
    if let Err(e) = store.empty_trash().await {
        tracing::warn!(error = %e, "what was removed is not deleted yet");
    }
    all
}

/// What the opening of a store does about it.
fn swept(fault: Fault) -> &'static str {
    match fault {
        Fault::Directory => "made",
        Fault::Lease => "ended",
        Fault::Layer => "forgotten, with its images: pull them again",
        _ => "removed",
    }
}

/// Records the layers that the config of an image has.
async fn list_anew(disk: &Disk, id: &ImageId) -> Result<&'static str> {
    let of = id.clone();
    let (keys, parts) = disk.run(move |disk| disk.by_config(&of)).await?;
    let layers = Arc::new(disk.run(Disk::open_layers).await?);
    if !pull::commit(disk, keys.clone(), Arc::new(parts), layers).await? {
        // Those that are missing are found at the next look.
        let of = id.clone();
        disk.run(move |disk| disk.set_layers(&of, &keys)).await?;
    }
    Ok("written anew from its config")
}

/// Fetches a layer for an image that has it.
async fn fetch(store: &Store, key: &LayerKey, known: &Known) -> Result<&'static str> {
    let disk = store.disk();
    let wanted = key.clone();
    let images = disk.run(move |disk| disk.images_with(&wanted)).await?;
    let mut failed = None;
    for image in &images {
        let done = match key.diff_id() {
            Some(layer) => {
                let wanted = key.clone();
                let is_known = disk.run(move |disk| disk.has_row(&wanted)).await?;
                let layers = is_known.then_some(layer);
                store.repair(&image.to_string(), layers.as_slice(), known).await
            }
            None => {
                let wanted = key.clone();
                disk.run(move |disk| disk.drop_useless(&wanted)).await?;
                list_anew(disk, image).await.map(drop)
            }
        };
        match done {
            Ok(()) => return Ok("fetched or made anew"),
            Err(e) => failed = Some(e),
        }
    }
    let wanted = key.clone();
    let is_dropped = disk.run(move |disk| disk.drop_useless(&wanted)).await?;
    match failed {
        Some(e) => Err(e),
        None if is_dropped => Ok("removed: no image has it"),
        None => Err(Error::not_found("no image has it any more")),
    }
}
