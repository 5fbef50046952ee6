//! Opens the parts that the handlers join.

use crate::config::{Config, Files};
use crate::current::Current;
use crate::service::Parts;
use rrun_engine::ports::{NoPlugins, Plugins, Ports};
use rrun_engine::{CgroupDriver, Engine, Parents, PodGroups, Recovery, Takeover};
use rrun_images::gc::Policy;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Opens images, networks and the engine, in this order: recovery needs the first two. Pods that
/// `takeover` names are served; what their recovery met is logged.
///
/// # Errors
/// The part that cannot be opened, and why. A broken record is none.
pub async fn open(current: &Current, takeover: Takeover) -> Result<Parts, String> {
    open_with_plugins(current, takeover, Arc::new(NoPlugins)).await
}

/// The same, with plugins that are told what happens.
///
/// # Errors
/// As [`open`].
pub async fn open_with_plugins(
    current: &Current,
    takeover: Takeover,
    plugins: Arc<dyn Plugins>,
) -> Result<Parts, String> {
    let (parts, recovery) = recovered(current, takeover, plugins).await?;
    tracing::info!("{} pods are served again", recovery.pods.len());
    for (what, why) in &recovery.quarantined {
        tracing::warn!("quarantined {what}: {why}");
    }
    for (what, why) in &recovery.not_undone {
        tracing::warn!("not undone: {what}: {why}");
    }
    Ok(parts)
}

/// The same, with what recovery met.
pub(crate) async fn open_with(
    current: &Current,
    takeover: Takeover,
) -> Result<(Parts, Recovery), String> {
    recovered(current, takeover, Arc::new(NoPlugins)).await
}

async fn recovered(
    current: &Current,
    takeover: Takeover,
    plugins: Arc<dyn Plugins>,
) -> Result<(Parts, Recovery), String> {
    // A pod has some ten descriptors here, an exec as many.
    rrun_sys::limit::raise_files();
    let images = images(current).await?;
    let network = rrun_cni::Network::open(network(current)?)
        .await
        .map_err(|error| format!("open networks: {error}"))?;
    let config = engine(current, takeover)?;
    let ports = Ports::of_host(&config, images.clone(), network.clone());
    let ports = ports.map_err(|error| format!("open the engine: {error}"))?;
    let opened = Engine::open(config, Ports { plugins, ..ports }).await;
    let (engine, recovery) = opened.map_err(|error| format!("open the engine: {error}"))?;
    Ok((Parts { engine, images, network }, recovery))
}

/// Opens the images alone.
///
/// # Errors
/// Why they cannot be opened.
pub async fn images(current: &Current) -> Result<rrun_images::Store, String> {
    let opened = rrun_images::Store::open(image_store(current)).await;
    opened.map_err(|error| format!("open images: {error}"))
}

/// Where images are, and how they are pulled.
pub fn image_store(current: &Current) -> rrun_images::Config {
    rrun_images::Config {
        root: current.config().root.join("images"),
        certs_dirs: current.of_images(),
        pinned: current.of_pins(),
        verifiers: current.of_verifiers(),
        stall: rrun_images::Stall {
            time: Duration::from_secs(current.config().images.stall_timeout),
            bytes: current.config().images.stall_bytes,
        },
        ranges: rrun_images::Ranges {
            bytes: current.config().images.range_bytes,
            at_once: current.config().images.ranges_at_once,
        },
        downloads_per_registry: current.config().images.downloads_per_registry,
        layers: current.config().images.layers,
        largest_ratio: current.config().images.largest_ratio,
    }
}

/// Ids of the containers on record, of whatever process.
///
/// # Errors
/// Why nobody can tell.
pub fn containers(config: &Config) -> Result<BTreeSet<String>, String> {
    let found = rrun_engine::containers_on_record(&config.root, &config.run);
    let found = found.map_err(|error| error.to_string())?;
    Ok(found.into_iter().map(|id| id.to_string()).collect())
}

/// The control groups of pods whose owner limits them as a whole, which `rrun` makes.
pub(crate) fn pod_groups(current: &Current) -> Result<PodGroups, String> {
    let cgroup = &current.config().cgroup;
    let parents = Parents {
        path: cgroup.parent(CgroupDriver::Cgroupfs),
        slice: cgroup.parent(CgroupDriver::Systemd),
    };
    let groups = PodGroups::of_host(&cgroup.mount, cgroup.driver(), parents);
    groups.map_err(|error| error.to_string())
}

/// Reads the files of a configuration that a daemon can be started with: whoever starts one, has it
/// read them again, or says what is to be thought of them, does so by this alone.
///
/// # Errors
/// What is wrong, with the file and line, or the key.
pub fn load(path: Option<&Path>) -> Result<(Files, Config), String> {
    let files = Files::read(path).map_err(|error| error.to_string())?;
    let config = files.config().map_err(|error| error.to_string())?;
    check(&config)?;
    Ok((files, config))
}

/// Refuses what each key for itself does not tell.
fn check(config: &Config) -> Result<(), String> {
    let of_network = network(&Current::new(config.clone()))?;
    of_network.check().map_err(|error| format!("config: network: {error}"))?;
    image_gc(config)?;
    config.streaming.open_tls()?;
    config.cgroup.check(config.cgroup.driver())
}

/// When images are collected.
///
/// # Errors
/// Names the key.
pub fn image_gc(config: &Config) -> Result<Policy, String> {
    let images = &config.images;
    let [min, max] =
        [images.image_minimum_gc_age, images.image_maximum_gc_age].map(Duration::from_secs);
    let (high, low) =
        (images.image_gc_high_threshold_percent, images.image_gc_low_threshold_percent);
    Policy::new(high, low, min, max).map_err(|error| format!("config: images.{error}"))
}

/// Where networks are on record, and the built-in bridge.
pub(crate) fn network(current: &Current) -> Result<rrun_cni::Config, String> {
    let config = current.config();
    let settings = &config.network;
    let refused = |key, error| format!("config: network.{key}: {error}");
    let subnet = settings.subnet.as_ref().map(|text| text.parse()).transpose();
    let subnet6 = settings.subnet6.as_ref().map(|text| text.parse()).transpose();
    Ok(rrun_cni::Config {
        settings: current.of_network(),
        state_dir: config.root.join("network"),
        bridge: settings.bridge.clone(),
        subnet: subnet.map_err(|error: rrun_cni::Error| refused("subnet", error))?,
        subnet6: subnet6.map_err(|error: rrun_cni::Error| refused("subnet6", error))?,
        table: table(&settings.bridge),
        ..rrun_cni::Config::default()
    })
}

/// Two bridges on one machine must not share a table: each writes its own rules there.
fn table(bridge: &str) -> String {
    let default = Config::default().network.bridge;
    if bridge == default { "rrun".to_owned() } else { format!("rrun-{bridge}") }
}

/// Where pods are.
pub(crate) fn engine(current: &Current, takeover: Takeover) -> Result<rrun_engine::Config, String> {
    let config = current.config();
    let host = rrun_engine::Config::of_host();
    let driver = config.cgroup.driver();
    config.cgroup.check(driver)?;
    Ok(rrun_engine::Config {
        root: config.root.clone(),
        run: config.run.clone(),
        netns_dir: config.network.netns_dir.clone(),
        cgroup_root: config.cgroup.mount.clone(),
        cgroup_driver: driver,
        cgroup_parent: config.cgroup.parent(driver),
        shim: config.shim.clone().unwrap_or_else(|| host.shim.clone()),
        settings: current.of_engine(),
        takeover,
        ..host
    })
}
