//! ADD and DEL of a network of plugins.

use super::answer::addresses;
use super::capability::runtime_config;
use super::conf::{Network, Plugin};
use super::exec;
use crate::attachment::{Attached, Attachment};
use crate::config::Settings;
use crate::error::{Context, Error, Result};
use crate::netlink::{Socket, route};
use nix::sys::statfs::{FsType, statfs};
use rrun_blocking::Blocking;
use rrun_sys::netns::run_in;
use rrun_sys::step::{self, Point};
use serde_json::Value;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::watch;

/// `NSFS_MAGIC`: the file system that a pinned namespace is of.
const NSFS: FsType = FsType(0x6e73_6673);

/// Whether every plugin is in one of `dirs`.
///
/// # Errors
/// `NotFound`, naming the first that is not.
pub fn check(dirs: &[PathBuf], network: &Network) -> Result<()> {
    for plugin in &network.plugins {
        exec::find(dirs, kind(plugin))
            .context(|| format!("network {}: plugin {}", network.name, kind(plugin)))?;
    }
    Ok(())
}

/// Where plugins are, and how long each may take.
pub struct Runner {
    settings: Blocking<watch::Receiver<Settings>>,
    timeout: Duration,
}

impl Runner {
    /// At most `at_once` calls wait for a disk or the kernel at a time.
    pub fn new(settings: watch::Receiver<Settings>, timeout: Duration, at_once: usize) -> Runner {
        Runner { settings: Blocking::new(settings, at_once), timeout }
    }

    /// Runs the plugins in order, each with the result of the one before.
    pub async fn add(&self, network: &Network, a: &Attachment) -> Result<Attached> {
        let netns = a.netns.clone();
        let up = move || step::run("cni.add.loopback", || loopback_up(&netns));
        self.settings.call(move |_| up()).await?;
        let mut result = None;
        for plugin in &network.plugins {
            let input = input(network, plugin, a, result.take());
            let answer = self.call("ADD", plugin, a, (&a.netns, &input)).await?;
            let answer: Value = serde_json::from_slice(&answer)
                .map_err(|e| Error::invalid(format!("result: {e}")))
                .context(|| format!("plugin {}", kind(plugin)))?;
            result = Some(answer);
        }
        let result = result.unwrap_or_default().to_string();
        let ips = addresses(&result).context(|| format!("network {}", network.name))?;
        Ok(Attached { ips, result })
    }

    /// Runs the plugins backwards, with what is on record of the ADD.
    pub async fn del(&self, network: &Network, a: &Attachment, result: Option<&str>) -> Result<()> {
        let result: Option<Value> = result
            .filter(|_| network.del_has_result())
            .and_then(|result| serde_json::from_str(result).ok());
        // Empty tells plugins that there is nothing to look into any more.
        let path = a.netns.clone();
        let is_nsfs = move || statfs(&path).is_ok_and(|fs| fs.filesystem_type() == NSFS);
        let pinned = self.settings.call(move |_| is_nsfs()).await;
        let netns = if pinned { a.netns.as_path() } else { Path::new("") };
        for plugin in network.plugins.iter().rev() {
            let input = input(network, plugin, a, result.clone());
            self.call("DEL", plugin, a, (netns, &input)).await?;
        }
        Ok(())
    }

    async fn call(
        &self,
        verb: &str,
        plugin: &Plugin,
        a: &Attachment,
        (netns, input): (&Path, &[u8]),
    ) -> Result<Vec<u8>> {
        let kind = kind(plugin);
        let step = format!("cni.{}.plugin.{kind}", verb.to_ascii_lowercase());
        let call = async {
            let (name, env) = (kind.to_owned(), env(verb, a, netns));
            let start = move |settings: &watch::Receiver<Settings>| {
                let dirs = settings.borrow().bin_dirs.clone();
                let path = dirs.iter().map(|dir| dir.display().to_string());
                let path = ("CNI_PATH", path.collect::<Vec<_>>().join(":"));
                exec::start(&exec::find(&dirs, &name)?, &[&env[..], &[path]].concat())
            };
            exec::answer(self.settings.call(start).await?, input, self.timeout).await
        };
        step::pass(&step, Point::Before);
        let answer = call.await.context(|| format!("plugin {kind}"))?;
        step::pass(&step, Point::After);
        Ok(answer)
    }
}

/// The variables of the CNI specification, except `CNI_PATH`.
fn env(verb: &str, a: &Attachment, netns: &Path) -> [(&'static str, String); 5] {
    let args = format!(
        "IgnoreUnknown=1;K8S_POD_NAMESPACE={};K8S_POD_NAME={};\
         K8S_POD_INFRA_CONTAINER_ID={};K8S_POD_UID={}",
        a.pod_namespace, a.pod_name, a.id, a.pod_uid
    );
    [
        ("CNI_COMMAND", verb.to_owned()),
        ("CNI_CONTAINERID", a.id.clone()),
        ("CNI_NETNS", netns.display().to_string()),
        ("CNI_IFNAME", a.ifname.clone()),
        ("CNI_ARGS", args),
    ]
}

/// What a plugin reads: its own object with the list's name and version, the result so far, and
/// what it asked for by its capabilities.
fn input(network: &Network, plugin: &Plugin, a: &Attachment, previous: Option<Value>) -> Vec<u8> {
    let mut object = plugin.clone();
    object.insert("name".into(), network.name.clone().into());
    object.insert("cniVersion".into(), network.version.clone().into());
    if let Some(previous) = previous {
        object.insert("prevResult".into(), previous);
    }
    if let Some(config) = runtime_config(plugin, a) {
        object.insert("runtimeConfig".into(), config);
    }
    Value::Object(object).to_string().into_bytes()
}

fn kind(plugin: &Plugin) -> &str {
    plugin.get("type").and_then(Value::as_str).unwrap_or_default()
}

fn loopback_up(netns: &Path) -> Result<()> {
    let enter = || netns.display();
    let file = File::open(netns).context(enter)?;
    run_in(&file, || route::loopback_up(&mut Socket::route()?)).context(enter)?
}
