//! All plugins: they come and go, and are asked in their order.

use crate::api::{
    Container, ContainerEviction, ContainerRequest, ContainerUpdate, CreateContainerResponse,
    Empty, Event, LinuxResources, PodRequest, PodSandbox, StopContainerResponse,
    UpdateContainerRequest, UpdateContainerResponse, UpdateContainersRequest,
    UpdateContainersResponse, UpdatePodSandboxRequest, ValidateContainerAdjustmentResponse,
};
use crate::config::Config;
use crate::connection::Asked;
use crate::error::{Error, Kind, Result};
use crate::launch::Installed;
use crate::merge::{Answer, Merge};
use crate::plugin::{Plugin, decode, is_update, unknown};
use crate::synchronize::synchronize;
use crate::{launch, ttrpc};
use async_trait::async_trait;
use prost::Message;
use rrun_error::reason;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc};

/// How many plugins may be there or on their way.
const MOST: usize = 64;

/// Between two tries to accept, when there are no descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// Who has the pods and containers.
#[async_trait]
pub trait Runtime: Send + Sync {
    /// Those that are there, also those that plugins have heard of and no list shows yet. Called while no
    /// plugin comes or goes, so it only notes which they are.
    fn mark(&self) -> Box<dyn Known>;

    /// Changes containers, and stops others; those that cannot be changed come back.
    async fn change(
        &self,
        updates: Vec<ContainerUpdate>,
        evictions: Vec<ContainerEviction>,
    ) -> Vec<ContainerUpdate>;
}

/// Pods and containers that were noted.
#[async_trait]
pub trait Known: Send {
    /// What there is to tell of those that are still there.
    async fn describe(self: Box<Self>) -> (Vec<PodSandbox>, Vec<Container>);
}

/// Something that happens.
#[derive(Clone, Debug)]
pub enum Notice {
    /// To a pod, and there is no more to say.
    Pod(Event, PodSandbox),
    /// A pod's limits change.
    UpdatePod(Box<UpdatePodSandboxRequest>),
    /// A container is made.
    Create(PodSandbox, Box<Container>),
    /// To a container, and there is no more to say.
    Container(Event, PodSandbox, Box<Container>),
    /// A container's limits change.
    Update(PodSandbox, Box<Container>, Box<LinuxResources>),
}

/// The plugins of a node.
pub struct Plugins {
    config: Config,
    required: Vec<String>,
    runtime: OnceLock<Arc<dyn Runtime>>,
    /// By index and name. Locked for single look-ups only.
    all: Mutex<Vec<Arc<Plugin>>>,
    places: Arc<Semaphore>,
    /// The socket that it listens at.
    listens: OnceLock<PathBuf>,
}

impl Plugins {
    /// None yet. No container is made without those of `required`, by their names.
    pub fn new(config: Config, required: Vec<String>) -> Arc<Plugins> {
        let places = Arc::new(Semaphore::new(MOST));
        let (runtime, all, listens) = (OnceLock::new(), Mutex::default(), OnceLock::new());
        Arc::new(Plugins { config, required, runtime, all, places, listens })
    }

    /// Starts those that are installed and waits for them, then listens for others.
    ///
    /// # Errors
    /// When it cannot be listened. An installed plugin that does not come is told in the log.
    pub async fn start(self: &Arc<Self>, runtime: Arc<dyn Runtime>) -> io::Result<()> {
        let _ = self.runtime.set(runtime);
        for name in launch::installed(&self.config).await {
            let come = async {
                let (stream, installed) = launch::start(&self.config, name.clone()).await?;
                self.welcome(stream, Some(installed)).await
            };
            if let Err(error) = come.await {
                tracing::warn!("NRI: installed plugin {}-{}: {error}", name.0, name.1);
            }
        }
        let Some(socket) = &self.config.socket else { return Ok(()) };
        let listener = listen(socket)?;
        let _ = self.listens.set(socket.clone());
        tokio::spawn(Arc::clone(self).accept(listener));
        Ok(())
    }

    /// Ends the connections, and the plugins that were started.
    pub fn stop(&self) {
        let all = std::mem::take(&mut *self.list());
        all.iter().for_each(|plugin| plugin.close());
        // One at which another process listens is not ours.
        if let Some(socket) = self.listens.get() {
            let _ = fs::remove_file(socket);
        }
    }

    /// Whether a plugin wants to hear of it.
    pub fn hear(&self, event: Event) -> bool {
        let is_required = event == Event::CreateContainer && !self.required.is_empty();
        is_required || self.list().iter().any(|plugin| plugin.hears(event))
    }

    /// Tells the plugins, one after the other, and puts together what they ask for.
    ///
    /// # Errors
    /// `Refused` by one of them, `Invalid` where two want different things.
    pub async fn tell(&self, notice: Notice) -> Result<Answer> {
        let nothing = Ok(Answer::default());
        match notice {
            Notice::Pod(event, pod) => {
                self.tell_all::<Empty>(event, &PodRequest { pod: Some(pod) }).await?;
                nothing
            }
            Notice::UpdatePod(request) => {
                self.tell_all::<Empty>(Event::UpdatePodSandbox, &*request).await?;
                nothing
            }
            Notice::Create(pod, container) => self.create(pod, *container).await,
            Notice::Container(event, pod, container) => {
                let id = container.id.clone();
                let request = ContainerRequest { pod: Some(pod), container: Some(*container) };
                if event != Event::StopContainer {
                    self.tell_all::<Empty>(event, &request).await?;
                    return nothing;
                }
                let mut merge = Merge::of_change(&id);
                for plugin in self.who_hear(event) {
                    let answer =
                        plugin.ask::<StopContainerResponse>(method(event), &request).await?;
                    merge.updates(answer.unwrap_or_default().update, &plugin.name())?;
                }
                Ok(merge.done())
            }
            Notice::Update(pod, container, resources) => {
                self.update(pod, *container, *resources).await
            }
        }
    }

    async fn tell_all<A: Message + Default>(
        &self,
        event: Event,
        request: &impl Message,
    ) -> Result<()> {
        for plugin in self.who_hear(event) {
            plugin.ask::<A>(method(event), request).await?;
        }
        Ok(())
    }

    async fn create(&self, pod: PodSandbox, container: Container) -> Result<Answer> {
        let event = Event::CreateContainer;
        // At one moment: a required plugin that has gone since is not there.
        let plugins = self.who_hear(event);
        let here = self.list().clone();
        let is_here = |name: &String| here.iter().any(|plugin| plugin.base == *name);
        if let Some(missing) = self.required.iter().find(|name| !is_here(name)) {
            let text = format!("NRI plugin {missing} is required and not connected");
            return Err(Error::new(Kind::Refused, text));
        }
        let mut merge = Merge::of_create(container);
        for plugin in &plugins {
            let request = ContainerRequest {
                pod: Some(pod.clone()),
                container: Some(merge.container().clone()),
            };
            let answer = plugin.ask::<CreateContainerResponse>(method(event), &request).await?;
            let CreateContainerResponse { adjust, update, evict } = answer.unwrap_or_default();
            let name = plugin.name();
            if let Some(adjust) = adjust {
                merge.adjust(adjust, &name)?;
            }
            merge.updates(update, &name)?;
            merge.evictions(evict);
        }
        let event = Event::ValidateContainerAdjustment;
        let validators: Vec<_> = here.iter().filter(|plugin| plugin.hears(event)).collect();
        if !validators.is_empty() && merge.has_changed() {
            let asked = plugins.iter().map(|plugin| (plugin.base.clone(), plugin.index.clone()));
            let request = merge.validation(pod, asked);
            for plugin in validators {
                type Verdict = ValidateContainerAdjustmentResponse;
                let verdict = plugin.ask::<Verdict>(method(event), &request).await?;
                if let Some(Verdict { reject: true, reason }) = verdict {
                    let what = format!("NRI plugin {} rejects the container", plugin.name());
                    return Err(Error::new(Kind::Refused, reason).context(what));
                }
            }
        }
        Ok(merge.done())
    }

    async fn update(
        &self,
        pod: PodSandbox,
        container: Container,
        resources: LinuxResources,
    ) -> Result<Answer> {
        let event = Event::UpdateContainer;
        let mut merge = Merge::of_update(&container.id, resources);
        for plugin in self.who_hear(event) {
            let request = UpdateContainerRequest {
                pod: Some(pod.clone()),
                container: Some(container.clone()),
                linux_resources: merge.resources().cloned(),
            };
            let answer = plugin.ask::<UpdateContainerResponse>(method(event), &request).await?;
            let UpdateContainerResponse { update, evict } = answer.unwrap_or_default();
            merge.updates(update, &plugin.name())?;
            merge.evictions(evict);
        }
        Ok(merge.done())
    }

    fn who_hear(&self, event: Event) -> Vec<Arc<Plugin>> {
        self.list().iter().filter(|plugin| plugin.hears(event)).cloned().collect()
    }

    fn list(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Plugin>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn accept(self: Arc<Self>, listener: UnixListener) {
        loop {
            // Nobody closes it.
            let Ok(place) = Arc::clone(&self.places).acquire_owned().await else { return };
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            let plugins = Arc::clone(&self);
            tokio::spawn(async move {
                match plugins.welcome(stream, None).await {
                    Ok(plugin) => plugin.closed().await,
                    Err(error) => tracing::warn!("NRI: a plugin is not taken: {error}"),
                }
                drop(place);
            });
        }
    }

    /// Registers a plugin, and tells it what there is. What happens from the moment on in which that is
    /// noted waits for it.
    async fn welcome(
        self: &Arc<Self>,
        stream: UnixStream,
        installed: Option<Installed>,
    ) -> Result<Arc<Plugin>> {
        let (plugin, asked) = Plugin::meet(stream, installed, &self.config).await?;
        let name = plugin.name();
        let plugin = Arc::new(plugin);
        let runtime = self.runtime.get().map(Arc::clone);
        let runtime = runtime.ok_or_else(|| Error::new(Kind::Closed, "nothing is served yet"))?;
        tokio::spawn(serve(asked, Arc::clone(&runtime), name.clone()));
        let turn = plugin.hold().await;
        let known = {
            let mut all = self.list();
            all.push(Arc::clone(&plugin));
            all.sort_by(|a, b| (&a.index, &a.base).cmp(&(&b.index, &b.base)));
            runtime.mark()
        };
        tokio::spawn(Arc::clone(self).forget(Arc::clone(&plugin)));
        let (pods, containers) = known.describe().await;
        let limit = self.config.registration_timeout;
        let told = synchronize(&plugin, pods, containers, limit).await;
        let updates = told.map_err(|error| {
            plugin.close();
            error.context("Synchronize").context(name.as_str())
        })?;
        drop(turn);
        tracing::info!("NRI: plugin {name} is connected");
        if !updates.is_empty() {
            runtime.change(updates, Vec::new()).await;
        }
        Ok(plugin)
    }

    async fn forget(self: Arc<Self>, plugin: Arc<Plugin>) {
        plugin.closed().await;
        self.list().retain(|other| !Arc::ptr_eq(other, &plugin));
        tracing::info!("NRI: plugin {} has gone", plugin.name());
    }
}

/// Answers what a plugin asks unasked.
async fn serve(mut asked: mpsc::Receiver<Asked>, runtime: Arc<dyn Runtime>, name: String) {
    while let Some((request, answer)) = asked.recv().await {
        let done = match is_update(&request) {
            false => Err(unknown(&request.service, &request.method)),
            true => match decode::<UpdateContainersRequest>(&request.payload) {
                Err(error) => {
                    Err(ttrpc::Status { code: ttrpc::INTERNAL, message: error.to_string() })
                }
                Ok(UpdateContainersRequest { update, evict }) => {
                    tracing::info!("NRI: plugin {name} changes containers");
                    let failed = runtime.change(update, evict).await;
                    Ok(UpdateContainersResponse { failed }.encode_to_vec())
                }
            },
        };
        let _ = answer.send(done);
    }
}

fn method(event: Event) -> &'static str {
    match event {
        Event::RunPodSandbox => "RunPodSandbox",
        Event::UpdatePodSandbox => "UpdatePodSandbox",
        Event::PostUpdatePodSandbox => "PostUpdatePodSandbox",
        Event::StopPodSandbox => "StopPodSandbox",
        Event::RemovePodSandbox => "RemovePodSandbox",
        Event::CreateContainer => "CreateContainer",
        Event::PostCreateContainer => "PostCreateContainer",
        Event::StartContainer => "StartContainer",
        Event::PostStartContainer => "PostStartContainer",
        Event::UpdateContainer => "UpdateContainer",
        Event::PostUpdateContainer => "PostUpdateContainer",
        Event::StopContainer => "StopContainer",
        Event::RemoveContainer => "RemoveContainer",
        Event::ValidateContainerAdjustment => "ValidateContainerAdjustment",
        Event::Unknown | Event::Last => "StateChange",
    }
}

/// Whoever may connect may change every container: root alone.
fn listen(socket: &Path) -> io::Result<UnixListener> {
    let named = |error: io::Error| {
        io::Error::new(error.kind(), format!("{}: {}", socket.display(), reason(&error)))
    };
    let made = || -> io::Result<UnixListener> {
        if let Some(folder) = socket.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        // Another runtime's plugins are not ours to take.
        if std::os::unix::net::UnixStream::connect(socket).is_ok() {
            let text = "another process listens there";
            return Err(io::Error::new(io::ErrorKind::AddrInUse, text));
        }
        match fs::remove_file(socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(socket)?;
        fs::set_permissions(socket, fs::Permissions::from_mode(0o600))?;
        Ok(listener)
    };
    made().map_err(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nothing;

    #[async_trait]
    impl Runtime for Nothing {
        fn mark(&self) -> Box<dyn Known> {
            unreachable!("no plugin comes")
        }

        async fn change(
            &self,
            updates: Vec<ContainerUpdate>,
            _: Vec<ContainerEviction>,
        ) -> Vec<ContainerUpdate> {
            updates
        }
    }

    #[tokio::test]
    async fn a_socket_at_which_another_process_listens_is_left_to_it_at_the_end_too() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("nri.sock");
        let config = || Config {
            socket: Some(socket.clone()),
            plugins: folder.path().join("none"),
            plugin_configs: folder.path().join("none"),
            registration_timeout: Duration::from_secs(1),
            request_timeout: Duration::from_secs(1),
            runtime_name: String::new(),
            runtime_version: String::new(),
        };
        let others = UnixListener::bind(&socket).unwrap();
        let plugins = Plugins::new(config(), Vec::new());
        let refused = plugins.start(Arc::new(Nothing)).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
        plugins.stop();
        assert!(socket.exists(), "it is theirs");

        // What nobody listens at is taken, and goes with us.
        drop(others);
        let plugins = Plugins::new(config(), Vec::new());
        plugins.start(Arc::new(Nothing)).await.unwrap();
        plugins.stop();
        assert!(!socket.exists());
    }
}
