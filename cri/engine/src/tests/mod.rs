//! The engine over stand-ins for its ports: what they hold is what would be left behind.

mod apparmor;
mod faults;
mod fsck;
mod hung;
mod life;
mod metrics;
mod plugins;
mod recovery;
mod spans;
mod systemd;
mod user_namespaces;
mod world;

use crate::config::{Config, LogLimits, Lsm, Settings, Takeover};
use crate::handlers::Handlers;
use crate::model::{ContainerConfig, ImageSpec, MountSpec, PodConfig};
use crate::{CgroupDriver, Engine, Owner, PodId, Recovery};
use std::path::Path;
use std::sync::Arc;
use tokio::sync::watch;
use world::World;

/// A machine: folders, and what its ports hold. Engines come and go on it.
pub(super) struct Machine {
    folder: tempfile::TempDir,
    pub(super) lsm: Lsm,
    driver: CgroupDriver,
    pub(super) world: Arc<World>,
}

impl Machine {
    pub(super) fn new() -> Machine {
        Machine::with(CgroupDriver::Cgroupfs)
    }

    /// One whose control groups are made by this one.
    pub(super) fn with(driver: CgroupDriver) -> Machine {
        let folder = tempfile::tempdir().unwrap();
        let rootfs = folder.path().join("rootfs");
        std::fs::create_dir_all(rootfs.join("etc")).unwrap();
        std::fs::write(rootfs.join("etc/passwd"), "web:x:33:34::/srv:\n").unwrap();
        Machine { world: World::new(&rootfs), lsm: Lsm::default(), driver, folder }
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn config(&self) -> Config {
        let at = |name: &str| self.path().join(name);
        let settings = Settings {
            seccomp_profiles: at("seccomp"),
            cdi_spec_dirs: vec![at("cdi")],
            log: LogLimits::default(),
            handlers: Handlers::new(),
            restore_checkpoints: false,
        };
        Config {
            root: at("lib"),
            run: at("run"),
            netns_dir: at("netns"),
            settings: watch::channel(settings).1,
            cgroup_root: "/sys/fs/cgroup".into(),
            cgroup_driver: self.driver,
            cgroup_parent: match self.driver {
                CgroupDriver::Cgroupfs => "/rrun".into(),
                CgroupDriver::Systemd => "rrun.slice".into(),
            },
            shim: at("shim"),
            lsm: self.lsm,
            takeover: Takeover::Owner(Owner::Cri),
        }
    }

    pub(super) async fn open(&self) -> (Engine, Recovery) {
        Engine::open(self.config(), World::ports(&self.world)).await.unwrap()
    }

    /// Runs one life of a process: whatever runs at its end dies there.
    pub(super) fn life<T>(&self, work: impl AsyncFnOnce(Engine, Recovery) -> T) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (engine, recovery) = self.open().await;
            work(engine, recovery).await
        })
    }

    /// Everything that is left of pods, by name. What is removed and not deleted yet is deleted first,
    /// as the next engine does.
    pub(super) fn remains(&self) -> Vec<String> {
        let mut left = self.world.remains();
        for folder in ["lib/pods", "run/pods", "netns", "lib/quarantine"] {
            crate::dirs::delete_all_removed(&self.path().join(folder));
            let Ok(entries) = std::fs::read_dir(self.path().join(folder)) else { continue };
            left.extend(entries.map(|e| format!("{folder}/{:?}", e.unwrap().file_name())));
        }
        left
    }
}

pub(super) fn pod(name: &str) -> PodConfig {
    PodConfig {
        name: name.into(),
        namespace: "default".into(),
        uid: format!("uid-{name}"),
        ..PodConfig::default()
    }
}

pub(super) fn container(name: &str) -> ContainerConfig {
    ContainerConfig {
        name: name.into(),
        image: ImageSpec { image: "web".into(), ..ImageSpec::default() },
        ..ContainerConfig::default()
    }
}

/// The same with an image for a volume, and with a folder of one.
pub(super) fn container_with_volumes(name: &str) -> ContainerConfig {
    let image = ImageSpec { image: "web".into(), ..ImageSpec::default() };
    let whole = MountSpec {
        container_path: "/data".into(),
        readonly: true,
        image: Some(image),
        ..MountSpec::default()
    };
    let folder =
        MountSpec { container_path: "/a".into(), image_sub_path: "a".into(), ..whole.clone() };
    ContainerConfig { mounts: vec![whole, folder], ..container(name) }
}

pub(super) async fn run(engine: &Engine, name: &str) -> PodId {
    engine.run_pod(&Owner::Cri, pod(name), "").await.unwrap()
}

/// A pod with one container that runs.
pub(super) async fn running(engine: &Engine, name: &str) -> (PodId, crate::ContainerId) {
    let pod = run(engine, name).await;
    let id = engine.create_container(&Owner::Cri, pod.as_str(), container("c")).await.unwrap();
    engine.start_container(&Owner::Cri, id.as_str()).await.unwrap();
    (pod, id)
}
