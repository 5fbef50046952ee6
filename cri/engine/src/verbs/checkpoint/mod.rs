//! CheckpointContainer: the processes of a container, and what it has changed of its image, in an
//! archive; the container goes on.
//!
//! criu stops the processes, and lets them go on, whatever becomes of this process: it does so when it
//! is done, when something fails, and when nobody answers it any more. So nobody here ever stops or
//! kills it, nor the processes. Who does not want to wait for it goes away, and what it has made is
//! removed when it has ended; a daemon that finds a checkpoint of an earlier one does the same.

mod archive;
mod documents;
mod folder;
mod left;

pub(crate) use left::take_over;

use super::{ContainerAt, PodAt};
use crate::blocking::blocking;
use crate::error::{Context, Error, Kind, Result};
use crate::id::Owner;
use crate::model::NamespaceMode;
use crate::phase::ContainerPhase;
use crate::ports::Dump;
use crate::sessions::Barred;
use crate::steps::{List, Step, Verb};
use crate::table::Shared;
use archive::Location;
use documents::Documents;
use folder::Folder;
use rrun_blocking::Shares;
use rrun_images::{Ids, Shift};
use rrun_runtime::plan::{IdMaps, IdRange};
use rrun_sys::step;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use tracing::Instrument;

/// How many are made at a time, and one of each container.
static AT_ONCE: LazyLock<Shares> = LazyLock::new(|| Shares::new(4, 1));

/// How long what is executed in the container may take to end: probes do.
const PATIENCE: Duration = Duration::from_secs(2);

/// As good as for ever.
const LONG: Duration = Duration::from_secs(365 * 24 * 3600);

struct CheckpointContainer {
    made: Made,
    criu: PathBuf,
    documents: Option<Documents>,
    claim: Arc<Claim>,
    /// Until criu has ended.
    barred: Barred,
}

/// What is made on the way.
struct Made {
    at: ContainerAt,
    folder: Folder,
    location: Location,
}

impl Verb for CheckpointContainer {
    type OnRecord = Made;

    fn on_record(&self) -> &Made {
        &self.made
    }
}

static CHECKPOINT_CONTAINER: List<CheckpointContainer> = List {
    intent: &[Step {
        name: "engine.checkpoint-container.folder",
        apply: |verb| Box::pin(verb.folder()),
        undo: Some(|made| Box::pin(made.remove())),
    }],
    effects: &[
        Step {
            name: "engine.checkpoint-container.dump",
            apply: |verb| Box::pin(verb.dump()),
            // In the folder.
            undo: None,
        },
        Step {
            name: "engine.checkpoint-container.archive",
            apply: |verb| Box::pin(verb.archive()),
            // Known by the folder, and removed before it.
            undo: None,
        },
        Step {
            name: "engine.checkpoint-container.publish",
            apply: |verb| Box::pin(verb.publish()),
            undo: None,
        },
        Step {
            name: "engine.checkpoint-container.clean",
            apply: |verb| Box::pin(verb.clean()),
            undo: None,
        },
    ],
};

/// Whether the archive is wanted, or there: whoever decides first does.
#[derive(Default)]
struct Claim(AtomicU8);

impl Claim {
    const GIVEN_UP: u8 = 1;
    const PUBLISHED: u8 = 2;

    fn decide(&self, as_what: u8) -> bool {
        let order = Ordering::SeqCst;
        self.0.compare_exchange(0, as_what, order, order).is_ok_and(|before| before == 0)
    }

    fn check(&self) -> Result<()> {
        match self.0.load(Ordering::SeqCst) {
            Claim::GIVEN_UP => Err(Error::new(Kind::Cancelled, "nobody waits for it any more")),
            _ => Ok(()),
        }
    }
}

/// Gives up when it is dropped: the client has gone.
struct Waits(Arc<Claim>);

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.decide(Claim::GIVEN_UP);
    }
}

/// Makes a checkpoint.
pub(crate) async fn checkpoint(
    engine: &Arc<Shared>,
    owner: &Owner,
    id: &str,
    (location, limit): (&str, Option<Duration>),
) -> Result<()> {
    let (pod, container) = engine.table.container(owner, id).context(|| "checkpoint container")?;
    let what = format!("checkpoint container {}", container.config.name);
    let at = PodAt { engine: Arc::clone(engine), pod }.with(&container);
    let waits = Waits(Arc::default());
    let (claim, location) = (Arc::clone(&waits.0), location.to_owned());
    let made = made(at.clone(), location, claim).instrument(at.span("CheckpointContainer"));
    // In a task of its own: it must not be left halfway.
    let mut task = tokio::spawn(made);
    let done = match tokio::time::timeout(limit.unwrap_or(LONG), &mut task).await {
        Ok(done) => done,
        Err(_) if waits.0.decide(Claim::GIVEN_UP) => {
            let message = format!("not done after {:?}", limit.unwrap_or(LONG));
            return Err(Error::new(Kind::Timeout, message).context(what));
        }
        // It is at its place by now.
        Err(_) => task.await,
    };
    done.unwrap_or_else(|error| Err(Error::internal(error.to_string()))).context(|| what)
}

async fn made(at: ContainerAt, location: String, claim: Arc<Claim>) -> Result<()> {
    check_running(&at)?;
    if at.container.record().program.is_some() {
        let handler = &at.at.pod.record().handler;
        let message = format!("checkpoints of containers of the runtime handler {handler:?}");
        return Err(Error::new(Kind::Unimplemented, message));
    }
    let name = folder::temporary_name(&at.container.id);
    let location = blocking(move || Location::of(&location, &name)).await?;
    let criu = at.at.engine.ports.host.criu().await?;
    let busy = |_| Error::new(Kind::Timeout, "too many checkpoints are being made");
    let _place = AT_ONCE.take(at.container.id.as_str(), LONG).await.map_err(busy)?;
    claim.check()?;
    let barred = at.container.sessions.bar()?;
    if tokio::time::timeout(PATIENCE, barred.quiet()).await.is_err() {
        return Err(Error::precondition("something is being executed in it"));
    }
    let folder = Folder::of(&at.at.pod.dirs, &at.container.id);
    let made = Made { at, folder, location };
    let mut verb = CheckpointContainer { made, criu, documents: None, claim, barred };
    let ran = CHECKPOINT_CONTAINER.run(&mut verb).await;
    drop(verb.barred);
    ran.map_err(|(error, not_undone)| {
        for (step, why) in not_undone {
            tracing::warn!(step, %why, "a checkpoint is not taken back");
        }
        error
    })
}

fn check_running(at: &ContainerAt) -> Result<()> {
    match at.container.record().phase {
        ContainerPhase::Running => Ok(()),
        phase => {
            let message = format!("it is {phase:?}, not Running");
            Err(Error::precondition(message.to_lowercase()))
        }
    }
}

impl CheckpointContainer {
    /// Within the pod's queue, so that nothing is made of a pod that is removed meanwhile.
    async fn folder(&mut self) -> Result<()> {
        let (at, folder) = (self.made.at.clone(), self.made.folder.clone());
        let (queue, temporary) = (at.at.pod.queue.clone(), self.made.location.temporary());
        let make = async move {
            check_running(&at)?;
            blocking(move || folder.make(&temporary)).await
        };
        queue.run(make).await
    }

    async fn dump(&mut self) -> Result<()> {
        let at = &self.made.at;
        let (host, images) = (&at.at.engine.ports.host, &at.at.engine.ports.images);
        let ended = || Error::precondition("it has ended");
        let init = at.container.pidfd().ok_or_else(ended)?;
        let record = at.container.record();
        let maps = at.at.pod.config.id_maps();
        let layers = images.prepare(record.id.as_str(), &record.image_id, maps.as_ref()).await?;
        let lower = host.view(&layers.lower, "", None).await?;
        let folder = self.made.folder.clone();
        let held = blocking(move || folder.lock()).await?;
        let held: OwnedFd = held.ok_or_else(|| Error::internal("its folder is locked"))?.into();
        let (folder, claim) = (self.made.folder.clone(), Arc::clone(&self.claim));
        let ids = maps.as_ref().map(shifts).transpose()?;
        let still = move || {
            claim.check()?;
            step::run("engine.checkpoint-container.changes", || {
                folder.write_changes(&layers.upper, lower, ids)
            })
        };
        let dump = Dump {
            criu: self.criu.clone(),
            init,
            cgroup: record.cgroup.clone(),
            joined: self.joined(),
            images: self.made.folder.images(),
            work: self.made.folder.files(),
            held,
            still: Box::new(still),
        };
        // Of before: what it is when the archive is written may be something else.
        self.documents = Some(Documents::of(at));
        host.dump(dump).await
    }

    /// Namespaces of it that are not its own.
    fn joined(&self) -> Vec<String> {
        let (pod, container) = (&self.made.at.at.pod.config, &self.made.at.container.config);
        let pid = match container.security.namespaces.pid {
            NamespaceMode::Pod => pod.security.namespaces.pid,
            own => own,
        };
        let has_network = crate::files::has_network(pod).then_some("net");
        let shares = matches!(pid, NamespaceMode::Pod | NamespaceMode::Target).then_some("pid");
        has_network.into_iter().chain(shares).map(str::to_owned).collect()
    }

    async fn archive(&mut self) -> Result<()> {
        self.claim.check()?;
        let documents = self.documents.take();
        let documents = documents.ok_or_else(|| Error::internal("nothing is dumped"))?;
        let spec = self.made.at.at.pod.dirs.spec(&self.made.at.container.id);
        let (folder, location) = (self.made.folder.clone(), self.made.location.clone());
        blocking(move || {
            documents.write(&spec, &folder.files())?;
            archive::write(&folder.files(), documents.log(), &location.temporary())
        })
        .await
    }

    async fn publish(&self) -> Result<()> {
        if !self.claim.decide(Claim::PUBLISHED) {
            return self.claim.check();
        }
        let location = self.made.location.clone();
        blocking(move || location.publish()).await
    }

    /// The archive is there: what cannot be removed here is removed by a later daemon.
    async fn clean(&self) -> Result<()> {
        if let Err(error) = self.made.remove().await {
            tracing::warn!(container = %self.made.at.container.id, %error, "a checkpoint's folder");
        }
        Ok(())
    }
}

impl Made {
    async fn remove(&self) -> Result<()> {
        let (folder, temporary) = (self.folder.clone(), self.location.temporary());
        blocking(move || folder.remove(Some(&temporary))).await
    }
}

/// The one range of a pod, of users and of groups.
fn shifts(ids: &IdMaps) -> Result<Ids> {
    let shift = |ranges: &[IdRange]| match ranges {
        [IdRange { inside: 0, outside, count }] => Ok(Shift { first: *outside, count: *count }),
        _ => Err(Error::internal("ids are not one range from 0 on")),
    };
    Ok(Ids { users: shift(&ids.users)?, groups: shift(&ids.groups)? })
}
