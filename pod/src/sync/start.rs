//! Starting one container: back-off, image, config, create, start, postStart.

use std::path::{Path, PathBuf};

use rrun_cri_api::v1;

use super::actions::KillReason;
use super::image_volumes::ImageVolumes;
use super::kill::ContainerToKill;
use super::observe::{Observed, RunState};
use super::pending::told;
use super::pull::{Image, ImageRequest, failure};
use super::worker::PodWorker;
use crate::clock::Timestamp;
use crate::env::{self, Environment};
use crate::env_file;
use crate::error::{Context, Error, Kind, Result};
use crate::events::Reason;
use crate::model::{Container, EnvSource, SubPath, VolumeMount, VolumeSource};
use crate::node::{PodPlace, SubPathRequest};
use crate::resize::Figures;
use crate::state::crash_key;
use crate::status::StartFailure;
use crate::translate::container::{self, Parts};
use crate::{hosts, security};

const HOSTS: &str = "/etc/hosts";

/// The sandbox that containers are started in.
pub(super) struct SandboxContext<'a> {
    pub sandbox: &'a str,
    pub config: &'a v1::PodSandboxConfig,
    pub place: &'a PodPlace,
    pub image_volumes: &'a ImageVolumes,
    pub seen: &'a Observed,
}

/// A start that failed, and when it may be tried again (`None`: with the next sync).
pub(super) struct Failed {
    pub failure: StartFailure,
    pub retry_at: Option<Timestamp>,
}

impl From<StartFailure> for Failed {
    fn from(failure: StartFailure) -> Self {
        Failed { failure, retry_at: None }
    }
}

impl PodWorker {
    /// Starts a container and runs its postStart hook.
    pub(super) async fn start(
        &mut self,
        c: &Container,
        context: &SandboxContext<'_>,
    ) -> Result<(), Failed> {
        self.crash_backoff(c, context.seen)?;
        self.check_image_volumes(c, context.image_volumes)?;
        let want = ImageRequest {
            container: Some(&c.name),
            image: &c.image,
            policy: c.pull_policy,
            sandbox: context.config,
        };
        let image =
            self.ensure_image(want).await.inspect_err(|f| self.event_failed(c, &f.message))?;
        let config = match self.describe(c, context, image).await {
            Ok(config) => config,
            Err(e) => {
                let text = e.to_string();
                self.event_failed(c, &text);
                return Err(failure("CreateContainerConfigError", text).into());
            }
        };
        let request = v1::CreateContainerRequest {
            pod_sandbox_id: context.sandbox.to_owned(),
            config: Some(config),
            sandbox_config: Some(context.config.clone()),
        };
        let figures = Figures::of(&self.pod, c);
        self.actuated.containers.insert(c.name.clone(), figures);
        let call = self.cri.create_container(request);
        let id = match self.told(format!("CreateContainer {}", c.name), call).await {
            Ok(reply) => reply.container_id,
            Err(e) => {
                self.event_failed(c, e.message());
                return Err(failure("CreateContainerError", e.message()).into());
            }
        };
        self.events.normal(Some(&c.name), Reason::Created, "Container created");
        let request = v1::StartContainerRequest { container_id: id.clone() };
        let call = self.cri.start_container(request);
        if let Err(e) = self.told(format!("StartContainer {}", c.name), call).await {
            self.event_failed(c, e.message());
            return Err(failure("RunContainerError", e.message()).into());
        }
        self.events.normal(Some(&c.name), Reason::Started, "Container started");
        self.post_start(c, &id).await
    }

    fn event_failed(&self, c: &Container, text: &str) {
        self.events.warning(Some(&c.name), Reason::Failed, format!("Error: {text}"));
    }

    async fn post_start(&mut self, c: &Container, id: &str) -> Result<(), Failed> {
        let Some(hook) = &c.lifecycle.post_start else { return Ok(()) };
        let call = self.hook(id, c, hook);
        let done = self.told(format!("the postStart hook of {}", c.name), call).await;
        let Err(e) = done else { return Ok(()) };
        // The event does not tell the text: it may hold what only the container should know.
        self.events.warning(Some(&c.name), Reason::FailedPostStartHook, "PostStartHook failed");
        let target = ContainerToKill {
            id,
            name: &c.name,
            message: "FailedPostStartHook".to_owned(),
            reason: KillReason::Other,
            grace: None,
        };
        if let Err(e) = self.kill_container(target, None).await {
            tracing::warn!(pod = %self.pod.meta.name, container = %c.name, "{e}");
        }
        Err(failure("PostStartHookError", e.to_string()).into())
    }

    /// A container that ended a short while ago waits for its turn.
    fn crash_backoff(&mut self, c: &Container, seen: &Observed) -> Result<(), Failed> {
        let ended =
            |run: &&super::observe::Run| run.name == c.name && run.state == RunState::Exited;
        let Some(finished) = seen.runs.iter().find(ended).map(|run| run.finished_at) else {
            return Ok(());
        };
        let key = crash_key(c);
        let now = self.clock.now();
        if let Some(wait) = self.crashes.waiting_since(&key, finished, now) {
            let meta = &self.pod.meta;
            let pod = format!("{}_{}({})", meta.name, meta.namespace, meta.uid);
            let event = format!("Back-off restarting failed container {} in pod {pod}", c.name);
            self.events.warning(Some(&c.name), Reason::BackOff, event);
            let text = format!(
                "back-off {} restarting failed container={} pod={pod}",
                go_duration(wait),
                c.name
            );
            return Err(Failed {
                failure: failure("CrashLoopBackOff", text),
                retry_at: Some(finished.after(wait)),
            });
        }
        self.crashes.next(&key, finished, now);
        Ok(())
    }

    /// What the files say that the container takes variables from.
    async fn file_values(&self, c: &Container, place: &PodPlace) -> Result<env::FileValues> {
        let mut values = env::FileValues::new();
        for var in &c.env {
            let EnvSource::File(reference) = &var.source else { continue };
            // As the kubelet, which makes no volume that no container mounts.
            let mut mounts = self.pod.spec.all().flat_map(|(_, c)| &c.mounts);
            let is_mounted = mounts.any(|mount| mount.name == reference.volume);
            let root = place.volumes.get(&reference.volume).filter(|_| is_mounted);
            let root = root.ok_or_else(|| {
                let name = &reference.volume;
                let text = format!("cannot find the volume {name:?} referenced by FileKeyRef");
                Error::new(Kind::NotFound, text)
            })?;
            let what = || format!("couldn't parse env file {:?}", reference.path);
            let text = self.node.read_in(root, &reference.path, env_file::LONGEST).await;
            let text = text.context(what)?;
            let value = env_file::value(&String::from_utf8_lossy(&text), &reference.key);
            let value = value.map_err(|fault| Error::new(Kind::Invalid, fault)).context(what)?;
            values.insert(reference.clone(), value);
        }
        Ok(values)
    }

    /// The container's config; what is wrong here is `CreateContainerConfigError`.
    async fn describe(
        &mut self,
        c: &Container,
        context: &SandboxContext<'_>,
        image: Image,
    ) -> Result<v1::ContainerConfig> {
        let logs = self.node.log_folder(context.place, &c.name).await?;
        let restart_count = match context.seen.latest(&c.name) {
            Some(run) => run.restart_count + 1,
            None => logs,
        };
        let pod = self.pod.clone();
        let files = self.file_values(c, context.place).await?;
        let node = self.node.facts();
        let environment = env::environment(&pod, c, &self.addresses, node, &files)?;
        let mounts = self.mounts(c, context, &environment, restart_count).await?;
        security::check_non_root(&pod, c, &image.user)?;
        let parts = Parts {
            pod: &pod,
            container: c,
            restart_count,
            image_ref: image.reference,
            image_user: image.user,
            environment,
            mounts,
            users: context.place.users,
            target: self.target(&c.name, context.seen)?,
        };
        container::config(parts, self.node.facts())
    }

    /// The run whose processes an ephemeral container is to see, if it names a container.
    fn target(&self, name: &str, seen: &Observed) -> Result<Option<String>> {
        let all = self.ephemeral.borrow();
        let added = all.iter().find(|added| added.name == *name);
        let Some(target) = added.and_then(|added| added.target.as_ref()) else { return Ok(None) };
        let runs = seen.latest(target).filter(|run| run.state == RunState::Running);
        let text = || format!("unable to find target container {target}");
        let run = runs.ok_or_else(|| Error::new(Kind::NotFound, text()))?;
        Ok(Some(run.id.clone()))
    }

    async fn mounts(
        &mut self,
        c: &Container,
        context: &SandboxContext<'_>,
        environment: &Environment,
        run: u32,
    ) -> Result<Vec<v1::Mount>> {
        let mut mounts = Vec::with_capacity(c.mounts.len() + 2);
        for (index, mount) in c.mounts.iter().enumerate() {
            let sub = sub_path(mount, environment)?;
            let made = self.volume_mount(c, (index, mount), context, sub).await;
            mounts.push(made.context(|| format!("mount {}", mount.name))?);
        }
        let uid = &self.pod.meta.uid;
        let own = c.mounts.iter().any(|m| container::same_path(&m.mount_path, HOSTS));
        if !own && !self.addresses.pod.is_empty() {
            let path = self.write_hosts().await?;
            mounts.push(container::file_mount(HOSTS, &path));
        }
        let path = self.node.message_file(uid, &c.name, run).await?;
        mounts.push(container::file_mount(&c.termination_message_path, &path));
        Ok(mounts)
    }

    /// Writes the pod's hosts file; its path.
    pub(super) async fn write_hosts(&self) -> Result<PathBuf> {
        let host =
            if self.pod.spec.host_network { self.node.host_hosts().await? } else { String::new() };
        let content = hosts::content(&self.pod, &self.addresses, &host);
        self.node.write_hosts(&self.pod.meta.uid, content).await
    }

    async fn volume_mount(
        &self,
        c: &Container,
        (index, mount): (usize, &VolumeMount),
        context: &SandboxContext<'_>,
        sub: String,
    ) -> Result<v1::Mount> {
        let recursive = self.runtime.mounts_recursively_read_only(&self.pod);
        if let Some(Ok(image)) = context.image_volumes.get(&mount.name) {
            return Ok(container::image_mount(mount, image.clone(), sub, recursive));
        }
        let volume = self.pod.spec.volumes.iter().find(|v| v.name == mount.name);
        let source = volume.map(|v| &v.source);
        let missing =
            || crate::error::Error::new(crate::error::Kind::NotFound, "the volume is not there");
        let root = context.place.volumes.get(&mount.name).ok_or_else(missing)?;
        let path = if sub.is_empty() {
            root.clone()
        } else {
            let request = SubPathRequest {
                uid: &self.pod.meta.uid,
                volume: &mount.name,
                root,
                path: &sub,
                container: &c.name,
                index,
            };
            self.node.sub_path(request).await?
        };
        let mut made = container::mount(mount, &path, recursive);
        // Files that the engine brings up to date are not the container's to write.
        made.readonly |= matches!(
            source,
            Some(VolumeSource::Projected { .. } | VolumeSource::Claim { read_only: true, .. })
        );
        Ok(made)
    }

    /// Makes the pod's sandbox; its id.
    pub(super) async fn make_sandbox(&mut self, config: &v1::PodSandboxConfig) -> Result<String> {
        let request = v1::RunPodSandboxRequest {
            config: Some(config.clone()),
            runtime_handler: self.pod.spec.runtime_class.clone().unwrap_or_default(),
        };
        let cri = self.cri.clone();
        // In a task of its own: an order to stop ends our waiting, and what is half made is in no
        // list of the runtime. Who ends the pod waits for it.
        let call = tokio::spawn(async move { cri.run_pod_sandbox(request).await });
        let (saved, pending) = (self.saved.clone(), self.call("RunPodSandbox"));
        let made = told(&saved, pending, self.making.insert(call)).await;
        self.making = None;
        let reply = made.map_err(|e| Error::new(Kind::Internal, format!("run sandbox: {e}")))?;
        Ok(reply.map_err(|e| Error::status("run sandbox", &e))?.pod_sandbox_id)
    }
}

/// `10s`, `1m20s`, as Go prints whole seconds.
fn go_duration(time: std::time::Duration) -> String {
    let (minutes, seconds) = (time.as_secs() / 60, time.as_secs() % 60);
    if minutes == 0 { format!("{seconds}s") } else { format!("{minutes}m{seconds}s") }
}

/// The path in a volume, in the kubelet's words if it is none. An expansion may bring in what the
/// manifest's check could not see.
fn sub_path(mount: &VolumeMount, environment: &Environment) -> Result<String> {
    let path = match &mount.sub_path {
        SubPath::Whole => return Ok(String::new()),
        SubPath::Path(path) => path.clone(),
        SubPath::Expr(text) => environment.expand_strictly(text)?,
    };
    let why = if Path::new(&path).is_absolute() {
        format!("error SubPath `{path}` must not be an absolute path")
    } else if path.split('/').any(|part| part == "..") {
        format!("unable to provision SubPath `{path}`: must not contain '..'")
    } else {
        return Ok(path);
    };
    Err(crate::error::Error::new(crate::error::Kind::Invalid, why))
}
