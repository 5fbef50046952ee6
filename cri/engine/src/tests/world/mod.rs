//! Stand-ins for images, network, shims and kernel: they only remember.

mod plugins;
mod shims;

use crate::error::{Error, Kind, Result};
use crate::groups;
use crate::id::PodId;
use crate::ports::Attachment;
use crate::ports::*;
use crate::stats::{Counts, FsUsage, InterfaceUsage, Stats};
use async_trait::async_trait;
use rrun_images::Lower;
use rrun_runtime::plan::{Cgroups, IdMaps};
use rrun_shim_protocol::*;
use rrun_sys::kernel::Feature;
use shims::{FakeShims, group_of};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use tokio::sync::{Notify, Semaphore, mpsc, watch};

pub(crate) struct World {
    rootfs: PathBuf,
    state: Mutex<State>,
    /// Held back by a test: a network that takes its time.
    pub(crate) network_gate: Semaphore,
    /// Held back by a test: a writable layer with a million files.
    pub(crate) layer_gate: Semaphore,
    /// A question of a container is answered.
    answered: Notify,
    /// What the kernel has, where a test says so.
    feature: OnceLock<Feature>,
}

#[derive(Default)]
struct State {
    leases: BTreeSet<String>,
    attached: BTreeSet<String>,
    groups: BTreeSet<String>,
    shims: BTreeMap<PathBuf, ShimState>,
    unexecutable: bool,
    broken_network: bool,
    broken_images: bool,
    /// Walks of writable layers that were begun.
    layer_walks: usize,
    /// Containers whose figures for metrics were read.
    counted: usize,
    /// How often an image was told of its use.
    uses_noted: usize,
    hung: bool,
    /// Shims take a create and do not answer it.
    hung_creates: bool,
    /// Nor a start.
    hung_starts: bool,
    /// Groups with a process that does not die.
    undying: BTreeSet<String>,
    /// How often a removal of a group is still told that it is busy, with nobody in it.
    busy: usize,
    /// Why the profile of those that ask for none cannot be loaded.
    no_default_profile: Option<Error>,
    no_systemd: bool,
    /// Processes that were placed.
    placed: Vec<i32>,
    /// The answer to a container that has asked.
    answer: Option<Option<AskRefusal>>,
    /// AppArmor profiles of the reapers that were asked for.
    reapers: Vec<Option<String>>,
    /// Images that were leased to be looked at, and to whom.
    viewed: Vec<(String, String)>,
    plugins: plugins::Told,
}

#[derive(Default)]
struct ShimState {
    containers: BTreeMap<String, ContainerState>,
    listeners: Vec<mpsc::UnboundedSender<Event>>,
}

impl State {
    /// Whether a create never ends, and what waits for its end.
    fn hangs(&mut self, run_dir: &Path, request: &Request) -> bool {
        match request {
            Request::Create(create) if self.hung_creates => {
                self.undying.insert(group_of(run_dir, &create.container));
                self.groups.insert(group_of(run_dir, &create.container));
                true
            }
            Request::Start { .. } => self.hung_starts,
            Request::Stop { container, .. } => self.undying.contains(&group_of(run_dir, container)),
            _ => false,
        }
    }
}

impl World {
    pub(crate) fn new(rootfs: &Path) -> Arc<World> {
        Arc::new(World {
            rootfs: rootfs.to_owned(),
            state: Mutex::default(),
            network_gate: Semaphore::new(Semaphore::MAX_PERMITS),
            layer_gate: Semaphore::new(Semaphore::MAX_PERMITS),
            answered: Notify::new(),
            feature: OnceLock::new(),
        })
    }

    pub(crate) fn ports(world: &Arc<World>) -> Ports {
        Ports {
            images: world.clone(),
            network: world.clone(),
            shims: Arc::new(FakeShims(world.clone())),
            host: world.clone(),
            plugins: world.clone(),
        }
    }

    fn state<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.state.lock().unwrap())
    }

    pub(crate) fn remains(&self) -> Vec<String> {
        self.state(|state| {
            let mut left: Vec<String> = Vec::new();
            left.extend(state.leases.iter().map(|lease| format!("lease {lease}")));
            left.extend(state.viewed.iter().map(|(by, image)| format!("image {image} of {by}")));
            left.extend(state.attached.iter().map(|entry| format!("attachment {entry}")));
            // The node's own, made once.
            let groups = state.groups.iter().filter(|group| *group != "/rrun/shims");
            left.extend(groups.map(|group| format!("group {group}")));
            left.extend(state.shims.keys().map(|shim| format!("shim {}", shim.display())));
            left
        })
    }

    pub(crate) fn lease(&self, holder: &str) {
        self.state(|state| state.leases.insert(holder.to_owned()));
    }

    pub(crate) fn counted(&self) -> usize {
        self.state(|state| state.counted)
    }

    pub(crate) fn layer_walks(&self) -> usize {
        self.state(|state| state.layer_walks)
    }

    pub(crate) fn uses_noted(&self) -> usize {
        self.state(|state| state.uses_noted)
    }

    pub(crate) fn set_unexecutable(&self) {
        self.state(|state| state.unexecutable = true);
    }

    pub(crate) fn set_broken_network(&self, broken: bool) {
        self.state(|state| state.broken_network = broken);
    }

    pub(crate) fn set_broken_images(&self, broken: bool) {
        self.state(|state| state.broken_images = broken);
    }

    /// No shim answers: what it was asked for is not done.
    pub(crate) fn set_hung(&self, hung: bool) {
        self.state(|state| state.hung = hung);
    }

    /// What a shim makes hangs in the kernel.
    pub(crate) fn set_hung_creates(&self, hung: bool) {
        self.state(|state| state.hung_creates = hung);
    }

    /// A shim takes starts and does not answer them.
    pub(crate) fn set_hung_starts(&self, hung: bool) {
        self.state(|state| state.hung_starts = hung);
    }

    /// A container that does not die when it is killed.
    pub(crate) fn set_undying(&self, pod: &PodId, container: &str, undying: bool) {
        let group = format!("/rrun/{pod}/{container}");
        self.state(|state| match undying {
            true => state.undying.insert(group),
            false => state.undying.remove(&group),
        });
    }

    /// So many removals of groups find them busy, though all in them have died.
    pub(crate) fn set_busy(&self, removals: usize) {
        self.state(|state| state.busy = removals);
    }

    /// The machine has AppArmor, and cannot load the profile of those that ask for none.
    pub(crate) fn set_no_default_profile(&self, why: Error) {
        self.state(|state| state.no_default_profile = Some(why));
    }

    /// What the kernel has, from now on.
    pub(crate) fn set_feature(&self, feature: Feature) {
        self.feature.set(feature).unwrap();
    }

    /// systemd makes no scope any more.
    pub(crate) fn set_no_systemd(&self) {
        self.state(|state| state.no_systemd = true);
    }

    /// The processes that were placed so far.
    pub(crate) fn placed(&self) -> Vec<i32> {
        self.state(|state| state.placed.clone())
    }

    /// The AppArmor profiles of the reapers so far.
    pub(crate) fn reaper_apparmor(&self) -> Vec<Option<String>> {
        self.state(|state| state.reapers.clone())
    }

    /// The shim of the pod dies.
    pub(crate) fn kill_shim(&self, pod: &PodId) {
        self.state(|state| state.shims.retain(|dir, _| !dir.ends_with(pod.as_str())));
    }

    /// All shims are gone, and whatever else does not outlive a boot.
    pub(crate) fn reboot(&self) {
        self.state(|state| {
            state.shims.clear();
            state.groups.clear();
        });
    }

    /// A start that was asked for long ago is carried out.
    pub(crate) fn start(&self, container: &str) {
        self.state(|state| {
            for shim in state.shims.values_mut() {
                if let Some(state) = shim.containers.get_mut(container) {
                    *state = ContainerState::Running { started_at: 7 };
                }
            }
        });
    }

    /// A container ends by itself.
    pub(crate) fn end(&self, container: &str, code: i32) {
        self.state(|state| {
            for (dir, shim) in &mut state.shims {
                if shim.containers.contains_key(container) {
                    shim.end(dir, container, code);
                }
            }
        });
    }
}

impl ShimState {
    fn end(&mut self, run_dir: &Path, container: &str, code: i32) -> Exit {
        let exit = Exit { code, at: 99, ..Exit::default() };
        std::fs::create_dir_all(exit_record::folder(run_dir)).unwrap();
        exit_record::write(run_dir, container, 1, &exit).unwrap();
        let state = ContainerState::Exited { started_at: 1, exit: exit.clone() };
        self.containers.insert(container.to_owned(), state);
        let event = Event::Exited { container: container.to_owned(), exit: exit.clone() };
        self.listeners.retain(|listener| listener.send(event.clone()).is_ok());
        exit
    }
}

#[async_trait]
impl Images for World {
    async fn find(&self, reference: &str) -> Result<ImageInfo> {
        if reference == "missing" {
            return Err(Error::not_found("image missing: not found"));
        }
        let config = ImageConfig { entrypoint: vec!["/bin/web".into()], ..ImageConfig::default() };
        Ok(ImageInfo { id: "sha256:1".into(), reference: "web@sha256:2".into(), config })
    }

    async fn prepare(&self, holder: &str, _: &str, _: Option<&IdMaps>) -> Result<RootfsDirs> {
        self.lease(holder);
        Ok(RootfsDirs { lower: Vec::new(), upper: PathBuf::new(), work: PathBuf::new() })
    }

    async fn view(&self, holder: &str, image_id: &str) -> Result<Vec<Lower>> {
        self.state(|state| {
            if !state.leases.contains(holder) {
                return Err(Error::new(Kind::Internal, "nothing would give it back"));
            }
            state.viewed.push((holder.to_owned(), image_id.to_owned()));
            Ok(["/layer", "/empty"].map(|path| PathBuf::from(path).into()).into())
        })
    }

    async fn let_go(&self, holder: &str, image_id: &str) -> Result<()> {
        self.state(|state| {
            state.viewed.retain(|(by, image)| by != holder || image != image_id);
            Ok(())
        })
    }

    async fn checkpoint(&self, _: &str) -> Result<Option<rrun_images::Checkpoint>> {
        Ok(None)
    }

    async fn release(&self, holder: &str) -> Result<()> {
        self.state(|state| {
            if state.broken_images {
                return Err(Error::new(Kind::Internal, "store broken"));
            }
            state.leases.remove(holder);
            state.viewed.retain(|(by, _)| by != holder);
            Ok(())
        })
    }

    async fn holders(&self) -> Result<Vec<String>> {
        Ok(self.state(|state| state.leases.iter().cloned().collect()))
    }

    async fn used(&self, _: &str) -> Result<()> {
        self.state(|state| state.uses_noted += 1);
        Ok(())
    }

    async fn writable_usage(&self, _: &str) -> Result<FsUsage> {
        self.state(|state| state.layer_walks += 1);
        let _open = self.layer_gate.acquire().await;
        let mountpoint = "/layers".into();
        let (at, bytes, inodes) = (rrun_sys::time::now(), 4096, 2);
        Ok(FsUsage { at, mountpoint, bytes, inodes, file_system: None })
    }
}

#[async_trait]
impl Network for World {
    async fn add(&self, attachment: Attachment) -> Result<Vec<IpAddr>> {
        assert!(attachment.netns.exists(), "attached before it is pinned");
        self.state(|state| state.attached.insert(attachment.id));
        let _permit = self.network_gate.acquire().await.unwrap();
        Ok(vec!["10.1.0.2".parse().unwrap()])
    }

    async fn del(&self, pod: &PodId) -> Result<()> {
        self.state(|state| {
            if state.broken_network {
                return Err(Error::new(Kind::Internal, "plugin broken"));
            }
            state.attached.remove(pod.as_str());
            Ok(())
        })
    }

    async fn attached(&self) -> Result<Vec<String>> {
        Ok(self.state(|state| state.attached.iter().cloned().collect()))
    }
}

#[async_trait]
impl Host for World {
    fn features(&self) -> &[Feature] {
        self.feature.get().map_or(&[], std::slice::from_ref)
    }

    async fn overlay(&self, _: &RootfsDirs, _: Option<&IdMaps>) -> Result<OwnedFd> {
        Ok(std::fs::File::open(&self.rootfs).unwrap().into())
    }

    async fn view(&self, layers: &[Lower], sub_path: &str, _: Option<&IdMaps>) -> Result<OwnedFd> {
        match (layers, sub_path) {
            ([_, ..], "missing") => Err(Error::not_found("not found in the image")),
            ([_, ..], _) => Ok(std::fs::File::open(&self.rootfs).unwrap().into()),
            ([], _) => Err(Error::internal("mounted without a lease")),
        }
    }

    async fn criu(&self) -> Result<PathBuf> {
        Err(Error::new(Kind::Unimplemented, "no criu in this world"))
    }

    async fn dump(&self, _: Dump) -> Result<()> {
        Err(Error::internal("no criu in this world"))
    }

    async fn thaw_group(&self, _: &str) -> Result<()> {
        Ok(())
    }

    async fn unpin(&self, path: &Path) -> Result<()> {
        crate::dirs::remove_file(path)
    }

    async fn make_group(&self, cgroup: &str) -> Result<()> {
        if groups::scope(cgroup).is_none() {
            self.state(|state| state.groups.insert(cgroup.to_owned()));
        }
        Ok(())
    }

    async fn place(&self, cgroup: &str, _: &Cgroups, pid: i32) -> Result<()> {
        self.state(|state| {
            if state.no_systemd {
                return Err(Error::new(Kind::Internal, "systemd says no"));
            }
            state.groups.insert(cgroup.to_owned());
            state.placed.push(pid);
            Ok(())
        })
    }

    async fn tell_limits(&self, _: &str, _: &Cgroups) -> Result<()> {
        Ok(())
    }

    async fn kill_group(&self, cgroup: &str) -> Result<()> {
        // The inits of a container that lives there end without a record if nobody watches.
        let _ = cgroup;
        Ok(())
    }

    async fn remove_group(&self, cgroup: &str) -> Result<()> {
        let below = format!("{cgroup}/");
        let inside = |group: &String| group == cgroup || group.starts_with(&below);
        self.state(|state| {
            let busy = state.busy > 0;
            state.busy = state.busy.saturating_sub(1);
            if busy || state.undying.iter().any(inside) {
                return Err(Error::internal(format!("remove {cgroup}: EBUSY")));
            }
            state.groups.retain(|group| !inside(group));
            Ok(())
        })
    }

    async fn move_processes(&self, cgroup: &str, to: &str) -> Result<Vec<i32>> {
        assert_eq!(to, "/");
        Ok(self.state(|state| state.undying.remove(cgroup).then_some(3).into_iter().collect()))
    }

    async fn ensure_apparmor(&self, profile: &str) -> Result<()> {
        let ours = profile == crate::apparmor::DEFAULT;
        match self.state(|state| state.no_default_profile.clone()) {
            Some(error) if ours => Err(error),
            _ if ours || profile == "loaded" => Ok(()),
            _ => Err(Error::invalid(format!("AppArmor profile {profile} is not loaded"))),
        }
    }

    fn pidfd(&self, _: i32) -> Option<OwnedFd> {
        None
    }

    async fn pid_namespace(&self, _: &Arc<OwnedFd>, _: i32) -> Result<OwnedFd> {
        Err(Error::precondition("its process has ended"))
    }

    async fn exit_code(&self, _: &Arc<OwnedFd>) -> Option<i32> {
        None
    }

    async fn usage(&self, cgroups: Vec<String>) -> Vec<Option<Stats>> {
        cgroups.iter().map(|_| Some(Stats::default())).collect()
    }

    async fn counts(&self, containers: Vec<(String, i32)>) -> Vec<Option<Counts>> {
        self.state(|state| state.counted += containers.len());
        containers.iter().map(|_| Some(Counts::default())).collect()
    }

    async fn interfaces(&self, netns: Vec<PathBuf>) -> Vec<Vec<InterfaceUsage>> {
        netns.iter().map(|_| vec![InterfaceUsage::default()]).collect()
    }
}
