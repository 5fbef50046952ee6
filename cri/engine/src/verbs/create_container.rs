//! CreateContainer.

mod checkpoint;
mod configuration;

use super::image_volumes::{self, ImageVolumes};
use super::{ContainerAt, PodAt, by_program};
use crate::blocking::blocking;
use crate::check;
use crate::dirs;
use crate::error::{Context, Error, Kind, Result};
use crate::event::EventKind;
use crate::groups;
use crate::id::{ContainerId, Owner};
use crate::jobs::Digest;
use crate::model::ContainerConfig;
use crate::phase::{ContainerPhase, PodPhase};
use crate::ports::{ImageInfo, Moment, Refusal, RootfsDirs};
use crate::record::ContainerRecord;
use crate::spec::{self, OnHost};
use crate::status::LinuxUser;
use crate::steps::{List, Step, Verb, run_step};
use crate::table::{Container, Shared};
use rrun_runtime::cgroup::Resources as Limits;
use rrun_runtime::plan::Plan;
use rrun_runtime::planning::RuntimeHooks;
use rrun_shim_protocol::{Create, LogSpec, Program, Reply, Request, exit_record};
use rrun_sys::time;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tracing::{Instrument, Span};

/// How long who makes a container waits for others that are taken back.
const TAKING_BACK: Duration = Duration::from_secs(2);

/// A container on its way.
pub(crate) struct CreateContainer {
    at: ContainerAt,
    image: Arc<ImageInfo>,
    checkpoint: Option<checkpoint::Source>,
    layers: Option<RootfsDirs>,
    rootfs: Option<Arc<OwnedFd>>,
    volumes: ImageVolumes,
    volume_mounts: Vec<OwnedFd>,
    on_host: Arc<OnHost>,
    apparmor: Option<String>,
    planned: Option<Planned>,
    pid: i32,
}

/// A container that is planned.
struct Planned {
    plan: Plan,
    user: LinuxUser,
    /// What limits it.
    limits: Limits,
    /// The PID namespace of the container that it targets.
    target: Option<OwnedFd>,
    /// The hooks that are not the shim's business.
    hooks: Option<RuntimeHooks>,
    /// Who makes it, if not the shim.
    program: Option<Program>,
}

impl Verb for CreateContainer {
    type OnRecord = ContainerAt;

    fn on_record(&self) -> &ContainerAt {
        &self.at
    }
}

pub(crate) static CREATE_CONTAINER: List<CreateContainer> = List {
    intent: &[Step {
        name: "engine.create-container.record",
        apply: |new| Box::pin(new.intent()),
        undo: Some(|at| Box::pin(at.remove_record())),
    }],
    effects: &[
        Step {
            name: "engine.create-container.rootfs",
            apply: |new| Box::pin(new.rootfs()),
            undo: Some(|at| Box::pin(at.release_rootfs())),
        },
        Step {
            name: "engine.create-container.checkpoint",
            apply: |new| Box::pin(new.unpack_checkpoint()),
            undo: Some(|at| Box::pin(at.undo_checkpoint())),
        },
        Step {
            name: "engine.create-container.overlay",
            apply: |new| Box::pin(new.overlay()),
            // Detached: it goes with its descriptor.
            undo: None,
        },
        Step {
            name: "engine.create-container.volume-leases",
            apply: |new| Box::pin(new.lease_volumes()),
            // Given back with the root file system.
            undo: None,
        },
        Step {
            name: "engine.create-container.volumes",
            apply: |new| Box::pin(new.mount_volumes()),
            // Detached, too.
            undo: None,
        },
        Step {
            name: "engine.create-container.apparmor",
            apply: |new| Box::pin(new.apparmor()),
            // Other containers have it too.
            undo: None,
        },
        Step {
            name: "engine.create-container.spec",
            apply: |new| Box::pin(new.spec()),
            undo: Some(|at| Box::pin(at.take_back_spec())),
        },
        Step {
            name: "engine.create-container.init",
            apply: |new| Box::pin(new.init()),
            undo: Some(|at| Box::pin(at.remove_init())),
        },
        Step {
            name: "engine.create-container.restored",
            apply: |new| Box::pin(new.forget_checkpoint()),
            // With the checkpoint.
            undo: None,
        },
        Step {
            name: "engine.create-container.created",
            apply: |new| Box::pin(new.created()),
            undo: None,
        },
    ],
};

/// Makes a container, or joins the job that does.
pub(crate) async fn create(
    engine: &Arc<Shared>,
    owner: &Owner,
    pod: &str,
    config: ContainerConfig,
) -> Result<ContainerId> {
    let what = format!("create container {}", config.name);
    let pod = engine.table.pod(owner, pod).context(|| what.clone())?;
    let at = PodAt { engine: Arc::clone(engine), pod };
    let (lsm, handlers) = (&engine.config.lsm, engine.settings().handlers);
    check::container(&at.pod.config, &config, lsm, &handlers).context(|| what.clone())?;
    let digest = config_digest(&config)?;
    let key = (at.pod.id.clone(), config.name.clone(), config.attempt);
    let id =
        engine.container_jobs.join(key, digest, || make(at, config)).await.map_err(|error| {
            match image_volumes::is_told(&error) {
                true => error,
                false => error.context(what.clone()),
            }
        })?;
    match engine.table.container(owner, id.as_str()) {
        Ok((_, container)) if container.record().phase == ContainerPhase::Created => Ok(id),
        _ => {
            let message = format!("container {id} has been started");
            Err(Error::new(Kind::Exists, message).context(what))
        }
    }
}

/// What tells two configs under one name apart.
pub(crate) fn config_digest(config: &ContainerConfig) -> Result<Digest> {
    Digest::of(config)
}

async fn make(at: PodAt, config: ContainerConfig) -> Result<ContainerId> {
    let span = at.span("CreateContainer");
    made(at, config).instrument(span).await
}

/// Beside the pod's queue: a store that stalls and a path that hangs keep this container waiting,
/// and nothing else of the pod. Only a stop of the pod waits for the containers that are being
/// made, and not for long.
async fn made(at: PodAt, config: ContainerConfig) -> Result<ContainerId> {
    check_ready(&at)?;
    let (checkpoint, image) = checkpoint::find(&at, &config).await?;
    let image = Arc::new(image);
    let volumes = ImageVolumes::find(&at, &config).await?;
    let config = Arc::new(config);
    let on_host = Arc::new(look_up(&at, &config).await?);
    at.undo_half_made_beside(TAKING_BACK).await;
    // Counted before the look at the phase: a stop changes that first, and then waits.
    let counted = at.pod.making();
    check_ready(&at)?;
    let program = by_program::find(&at.engine, &at.pod.id, &at.pod.record().handler).await?;
    let base = checkpoint.as_ref().map(checkpoint::Source::base);
    let intent = intent(&at, Arc::clone(&config), (&image, &volumes))?;
    let record = ContainerRecord { program, base, ..intent };
    let container = Arc::new(Container::new(record, &at.pod));
    Span::current().record("container", tracing::field::display(&container.id));
    let mut verb = CreateContainer {
        at: at.with(&container),
        image,
        checkpoint,
        layers: None,
        rootfs: None,
        volumes,
        volume_mounts: Vec::new(),
        on_host,
        apparmor: None,
        planned: None,
        pid: 0,
    };
    if let Err((error, not_undone)) = CREATE_CONTAINER.run(&mut verb).await {
        // The next verb that makes or stops something here tries again.
        let _ = at.keep_half_made(&container, not_undone);
        drop(counted);
        return Err(named(&at, &config, error).await);
    }
    at.engine.table.add_container(&at.pod, &container);
    verb.at.is_listed();
    at.engine.container_made.notify_one();
    at.tell(EventKind::Created, Some(&container.id));
    verb.at.note_to_plugins(Moment::CreatedContainer).await;
    Ok(container.id.clone())
}

/// A path that has answered when it was looked at may hang by now, and what was made with it: it is
/// told by name.
async fn named(at: &PodAt, config: &ContainerConfig, error: Error) -> Error {
    if error.kind() != Kind::Timeout {
        return error;
    }
    let sources = config.mounts.iter().filter(|mount| mount.image.is_none());
    let mut paths: Vec<String> = sources.map(|mount| mount.host_path.clone()).collect();
    paths.push(at.pod.config.log_directory.clone());
    match at.engine.host_paths.hanging_among(&at.pod.id, paths).await {
        Some(path) => error.context(path),
        None => error,
    }
}

fn check_ready(at: &PodAt) -> Result<()> {
    match at.pod.record().phase {
        PodPhase::Ready => Ok(()),
        _ => Err(Error::precondition(format!("pod {} is not ready", at.pod.id))),
    }
}

/// Looks at the host; what it makes there stays.
async fn look_up(at: &PodAt, config: &Arc<ContainerConfig>) -> Result<OnHost> {
    let (config, settings) = (Arc::clone(config), at.engine.settings());
    let log = at.pod.config.log_directory.clone();
    let look = at.engine.host_paths.look(&at.pod.id, move |look| {
        // The shim makes it where it is missing.
        look.at(&log, || Ok(Path::new(&log).exists())).context(|| "log directory")?;
        spec::look_up(look, &config, &settings)
    });
    let found = run_step("engine.create-container.sources", look).await?;
    // Where it is looked up, nothing can be said: there are no descriptors.
    found.cdi.broken.iter().for_each(|file| tracing::warn!("{file}"));
    Ok(found)
}

/// The record before the first effect, with every name that an undo needs.
fn intent(
    at: &PodAt,
    config: Arc<ContainerConfig>,
    (image, volumes): (&ImageInfo, &ImageVolumes),
) -> Result<ContainerRecord> {
    let id = ContainerId::random()?;
    let log = &at.pod.config.log_directory;
    let log_path = match log.is_empty() || config.log_path.is_empty() {
        true => String::new(),
        false => Path::new(log).join(&config.log_path).to_string_lossy().into_owned(),
    };
    Ok(ContainerRecord {
        pod: at.pod.id.clone(),
        phase: ContainerPhase::Making,
        created_at: time::now(),
        started_at: 0,
        exit: None,
        image_id: image.id.clone(),
        image_ref: image.reference.clone(),
        base: None,
        pid: 0,
        cgroup: groups::of_container(&at.pod.record().cgroup, &id),
        log_path,
        mounts: volumes.on_record(&config.mounts),
        resources: config.resources.clone().unwrap_or_default(),
        limits: Limits::default(),
        user: LinuxUser::default(),
        stop_signal: spec::stop_signal(config.stop_signal, &image.config.stop_signal)?,
        hooks: false,
        program: None,
        config,
        id,
    })
}

impl CreateContainer {
    async fn intent(&self) -> Result<()> {
        self.at.container.record.change(|_| {}).await
    }

    async fn rootfs(&mut self) -> Result<()> {
        let images = &self.at.at.engine.ports.images;
        let (id, ids) = (self.at.container.id.as_str(), self.at.at.pod.config.id_maps());
        let layers = images.prepare(id, &self.image.id, ids.as_ref()).await;
        self.layers = Some(layers.context(|| "rootfs")?);
        Ok(())
    }

    async fn overlay(&mut self) -> Result<()> {
        let layers = self.layers.as_ref().ok_or_else(|| Error::internal("no layers"))?;
        let (host, ids) = (&self.at.at.engine.ports.host, self.at.at.pod.config.id_maps());
        let mount = host.overlay(layers, ids.as_ref()).await.context(|| "rootfs")?;
        self.rootfs = Some(Arc::new(mount));
        Ok(())
    }

    async fn lease_volumes(&mut self) -> Result<()> {
        self.volumes.lease(&self.at.at.engine.ports, self.at.container.id.as_str()).await
    }

    async fn mount_volumes(&mut self) -> Result<()> {
        self.volume_mounts = self.volumes.mount(&self.at.at).await?;
        Ok(())
    }

    async fn apparmor(&mut self) -> Result<()> {
        let lsm = &self.at.at.engine.config.lsm;
        let meant = spec::apparmor(&self.at.container.config.security, lsm)?;
        self.apparmor = self.at.at.apparmor(meant).await?;
        Ok(())
    }

    async fn init(&mut self) -> Result<()> {
        let (record, restore) = (self.at.container.record(), self.restore());
        let planned = self.planned.as_mut().ok_or_else(|| Error::internal("no plan"))?;
        let limits = self.at.at.engine.settings().log;
        let log = (!record.log_path.is_empty()).then(|| LogSpec {
            path: PathBuf::from(&record.log_path),
            drain_timeout_ms: u64::try_from(limits.drain_timeout.as_millis()).ok(),
            drain_bytes: Some(limits.drain_bytes),
        });
        let request = Request::Create(Create {
            container: record.id.to_string(),
            plan: planned.plan.clone(),
            log,
            stdin: record.config.stdin,
            stdin_once: record.config.stdin_once,
            program: planned.program.take(),
            restore,
        });
        let rootfs = self.rootfs.take().ok_or_else(|| Error::internal("no rootfs"))?;
        let rootfs = Arc::into_inner(rootfs).ok_or_else(|| Error::internal("rootfs in use"))?;
        let at = self.at.clone();
        let _asks = at.expect_asks(&planned.plan.cgroups, planned.hooks.as_ref());
        // In the order in which the plan has them.
        let fds = std::iter::once(rootfs).chain(planned.target.take());
        let fds = fds.chain(std::mem::take(&mut self.volume_mounts)).collect();
        match self.at.at.ask(request, fds).await.map_err(Error::from)? {
            (Reply::Created { pid, clamped }, mut fds) => {
                self.pid = pid;
                self.at.warn_of_clamped(&clamped);
                self.at.container.set_pidfd(fds.pop());
                self.at.hold_pipes().await;
                Ok(())
            }
            (other, _) => Err(Error::internal(format!("shim said {other:?}"))),
        }
    }

    async fn created(&mut self) -> Result<()> {
        let pid = self.pid;
        let planned = self.planned.take().ok_or_else(|| Error::internal("no plan"))?;
        let change = move |record: &mut ContainerRecord| {
            record.phase = ContainerPhase::Created;
            record.pid = pid;
            record.user = planned.user;
            record.limits = planned.limits;
        };
        self.at.container.record.change(change).await
    }
}

/// How each effect on a container is taken back, from its record alone.
impl ContainerAt {
    /// The PID namespace of the container that this one wants to share it with.
    async fn target_namespace(&self) -> Result<Option<OwnedFd>> {
        let namespaces = &self.container.config.security.namespaces;
        if namespaces.pid != crate::model::NamespaceMode::Target {
            return Ok(None);
        }
        let id = &namespaces.target_id;
        let (pod, target) = self.at.engine.table.container(&self.at.pod.owner, id)?;
        let record = target.record();
        if pod.id != self.at.pod.id {
            return Err(Error::invalid(format!("target container {id} is in another pod")));
        }
        let none = || Error::precondition(format!("target container {id} does not run"));
        if record.phase != ContainerPhase::Running {
            return Err(none());
        }
        let pidfd = target.pidfd().ok_or_else(none)?;
        let namespace = self.at.engine.ports.host.pid_namespace(&pidfd, record.pid).await;
        namespace.map(Some).context(|| format!("target container {id}"))
    }

    pub(crate) async fn remove_record(&self) -> Result<()> {
        let path = self.at.pod.dirs.container(&self.container.id);
        self.at.pod.disk.run(move || dirs::remove_file(&path)).await
    }

    pub(crate) async fn release_rootfs(&self) -> Result<()> {
        self.at.engine.ports.images.release(self.container.id.as_str()).await
    }

    async fn take_back_spec(&self) -> Result<()> {
        self.untell_create().await;
        // Of a container that could not be made, too, as the runtime specification has it.
        self.run_stop_hooks().await?;
        self.remove_spec().await
    }

    pub(crate) async fn remove_spec(&self) -> Result<()> {
        let dirs = &self.at.pod.dirs;
        let (path, bundle) = (dirs.spec(&self.container.id), dirs.bundle(&self.container.id));
        let remove = move || dirs::remove_all(&bundle).and_then(|()| dirs::remove_file(&path));
        self.at.pod.disk.run(remove).await
    }

    /// Has the shim forget the container, or does without a shim, and removes its group and exit
    /// record.
    pub(crate) async fn remove_init(&self) -> Result<()> {
        let record = self.container.record();
        if self.at.pod.shim().is_some() {
            let container = record.id.to_string();
            let stop = Request::Stop { container: container.clone(), signal: 9, grace_ms: 0 };
            for request in [stop, Request::Delete { container }] {
                match self.at.ask(request, Vec::new()).await {
                    Ok(_) => {}
                    // It may make it yet: only its own end is one of the container too.
                    Err(Refusal { error, .. }) if error.kind() == Kind::Timeout => {
                        return Err(error);
                    }
                    // It may never have heard of it.
                    Err(Refusal { error, .. }) => tracing::debug!(%error, "remove init"),
                }
            }
        }
        self.at.engine.end_group(&record.cgroup).await?;
        self.forget_by_program().await?;
        let (run, id) = (self.at.pod.dirs.run.clone(), self.container.id.clone());
        let remove = blocking(move || {
            exit_record::remove(&run, id.as_str()).context(|| format!("exit record of {id}"))
        });
        run_step("engine.remove-init.exit-record", remove).await
    }
}
