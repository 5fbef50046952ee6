//! Where deaths happen: in a life, or in a start that has something to recover.

use crate::kubelet::{Life, Shape};
use crate::walk::Walk;
use anyhow::{Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rrun_tests::sandbox::Sandbox;
use std::fmt;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

/// What goes on while a point is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scene {
    /// A life.
    Life(Shape),
    /// A life whose shim dies, the daemon beside it.
    ShimDies(Shape),
    /// The first start on a machine: its points are in every start.
    FirstStart,
    /// A start after a death at this point of a life.
    Died(Shape, &'static str),
    /// A start after the death of the daemon and of a shim with a running container.
    ShimLost(Shape),
    /// A start on another boot.
    Rebooted,
    /// A start that finds a pod's record torn.
    TornPod,
    /// A start that finds a container's record torn.
    TornContainer,
}

/// All of them, each with the fewest points that it must have: some tenth below what it has, so
/// that one which ends early, or steps that are no longer named, do not pass as a walk of less.
/// Lives come first: what they reach is not walked again in the other kind of life.
pub const SCENES: [(Scene, usize); 16] = [
    (Scene::Life(Shape::Plain), 205),
    (Scene::Life(Shape::Shared), 225),
    (Scene::Life(Shape::Plugins), 190),
    (Scene::Life(Shape::Program), 180),
    (Scene::ShimDies(Shape::Plain), 130),
    (Scene::ShimDies(Shape::Shared), 136),
    (Scene::ShimDies(Shape::Program), 120),
    (Scene::FirstStart, 21),
    (Scene::Died(Shape::Shared, "engine.run-pod.ready:before"), 64),
    (Scene::Died(Shape::Plain, "engine.create-container.created:before"), 59),
    (Scene::Died(Shape::Plain, "engine.remove-container.removing:after"), 45),
    (Scene::Died(Shape::Plain, "engine.remove-pod.removing:after"), 30),
    (Scene::ShimLost(Shape::Plain), 33),
    (Scene::Rebooted, 68),
    (Scene::TornPod, 65),
    (Scene::TornContainer, 52),
];

impl fmt::Display for Scene {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scene::Life(Shape::Program) => f.write_str("life by program"),
            Scene::Life(_) => f.write_str("life"),
            Scene::ShimDies(Shape::Program) => f.write_str("shim dies by program"),
            Scene::ShimDies(_) => f.write_str("shim dies"),
            Scene::FirstStart => f.write_str("first start"),
            Scene::Died(_, point) => {
                let verb = point.split('.').nth(1).unwrap_or_default();
                write!(f, "start, {verb} cut")
            }
            Scene::ShimLost(_) => f.write_str("start, shim lost"),
            Scene::Rebooted => f.write_str("start, rebooted"),
            Scene::TornPod => f.write_str("start, pod torn"),
            Scene::TornContainer => f.write_str("start, cont. torn"),
        }
    }
}

impl Scene {
    /// The pod in it.
    pub fn shape(self) -> Shape {
        match self {
            Scene::Life(shape) | Scene::ShimDies(shape) => shape,
            Scene::Died(shape, _) | Scene::ShimLost(shape) => shape,
            _ => Shape::Plain,
        }
    }

    /// The points are those of a start.
    pub fn is_start(self) -> bool {
        !matches!(self, Scene::Life(_) | Scene::ShimDies(_))
    }

    /// Whether the pod is asked for again afterwards; else it was about to go.
    pub fn rises(self) -> bool {
        !matches!(self, Scene::FirstStart)
            && !matches!(self, Scene::Died(_, point) if point.contains(".remove-"))
    }
}

/// A plugin that makes a file for each attachment.
const PLUGIN: &str = r#"#!/bin/sh
cat >/dev/null
case $CNI_COMMAND in
ADD) : >"/run/fake-$CNI_CONTAINERID"
    echo '{"cniVersion": "1.0.0", "ips": [{"address": "10.98.0.2/24"}]}' ;;
DEL) rm -f "/run/fake-$CNI_CONTAINERID" ;;
esac
"#;

/// The file that leads pods to the plugin, while it is there.
const CONFLIST: &str = "/etc/cni/net.d/10-fake.conflist";
const NETWORK: &str =
    r#"{ "cniVersion": "1.0.0", "name": "fake", "plugins": [{ "type": "fake" }] }"#;

/// Makes the plugin, and the folder of the file.
pub fn add_plugin(sandbox: &Sandbox) -> Result<()> {
    std::fs::create_dir_all(sandbox.inside("/etc/cni/net.d"))?;
    let folder = sandbox.inside("/opt/cni/bin");
    std::fs::create_dir_all(&folder)?;
    let plugin = folder.join("fake");
    std::fs::write(&plugin, PLUGIN)?;
    Ok(std::fs::set_permissions(&plugin, Permissions::from_mode(0o755))?)
}

impl Walk {
    /// Brings things to where the scene begins: before the start of a daemon. What is needed for
    /// it runs with `environment`.
    pub async fn set(
        &mut self,
        scene: Scene,
        life: &mut Life,
        environment: &[(&str, &str)],
    ) -> Result<()> {
        if scene.shape() == Shape::Plugins {
            std::fs::write(self.harness.sandbox().inside(CONFLIST), NETWORK)?;
        }
        match scene {
            Scene::Life(_) | Scene::ShimDies(_) | Scene::FirstStart => {}
            Scene::Died(_, point) => {
                let kill = [("RRUN_KILL_AT", point)];
                self.harness.restart_with(&[&kill, environment].concat()).await?;
                let lived = match life.up(&self.harness.client).await {
                    Ok(()) => life.down(&self.harness.client).await,
                    cut => cut,
                };
                ensure!(lived.is_err(), "{point}: nobody has died there");
            }
            _ => {
                self.harness.restart_with(environment).await?;
                life.up(&self.harness.client).await?;
            }
        }
        self.harness.kill();
        match scene {
            Scene::ShimLost(_) => self.kill_shim(life)?,
            Scene::FirstStart => self.move_stores(|store, aside| (store, aside))?,
            Scene::Rebooted => self.harness.sandbox().reboot()?,
            Scene::TornPod => std::fs::write(self.state_of(life).join("pod.json"), "rrun pod")?,
            Scene::TornContainer => {
                let name = format!("containers/{}.json", life.container());
                std::fs::write(self.state_of(life).join(name), "rrun container")?;
            }
            _ => {}
        }
        Ok(())
    }

    /// What is asked of the daemon once it has started; false in `rises` when the pod is up.
    pub async fn play(&self, scene: Scene, life: &mut Life, rises: &mut bool) -> Result<()> {
        let client = &self.harness.client;
        match scene {
            Scene::Life(_) => {
                life.up(client).await?;
                *rises = false;
                life.down(client).await
            }
            Scene::ShimDies(_) => {
                life.up(client).await?;
                self.kill_shim(life)?;
                life.lost(client).await
            }
            _ => Ok(()),
        }
    }

    /// Takes away what the scene itself has made.
    pub fn strike(&mut self, scene: Scene) -> Result<()> {
        if scene.shape() == Shape::Plugins {
            std::fs::remove_file(self.harness.sandbox().inside(CONFLIST))?;
        }
        match scene {
            Scene::FirstStart => {
                self.harness.kill();
                for store in self.stores() {
                    std::fs::remove_dir_all(store)?;
                }
                self.move_stores(|store, aside| (aside, store))
            }
            Scene::Rebooted => self.harness.sandbox().end_reboot(),
            Scene::TornPod | Scene::TornContainer => {
                Ok(std::fs::remove_dir_all(self.harness.sandbox().state().join("quarantine"))?)
            }
            _ => Ok(()),
        }
    }

    /// What a daemon makes at its first start.
    fn stores(&self) -> [PathBuf; 2] {
        let sandbox = self.harness.sandbox();
        [sandbox.state().join("images"), sandbox.state().join("network")]
    }

    fn move_stores(&self, way: impl Fn(PathBuf, PathBuf) -> (PathBuf, PathBuf)) -> Result<()> {
        for store in self.stores() {
            let name = store.file_name().unwrap_or_default();
            let (from, to) = way(store.clone(), self.harness.sandbox().root().join(name));
            std::fs::rename(from, to)?;
        }
        Ok(())
    }

    fn state_of(&self, life: &Life) -> PathBuf {
        self.harness.sandbox().state().join("pods").join(life.pod())
    }

    fn kill_shim(&self, life: &Life) -> Result<()> {
        let run = self.harness.sandbox().run().join("rrun/pods").join(life.pod());
        let pid = std::fs::read_to_string(run.join("shim.pid"))?.trim().parse()?;
        Ok(kill(Pid::from_raw(pid), Signal::SIGKILL)?)
    }
}
