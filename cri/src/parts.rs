//! Opens the parts that the handlers join.

use crate::config::{Config, NetworkMode};
use crate::service::Parts;
use rrun_engine::ports::Ports;
use rrun_engine::{CgroupDriver, Engine, Takeover};

/// Opens images, networks and the engine, in this order: recovery needs the first two. Pods that
/// `takeover` names are served; what their recovery met is logged.
///
/// # Errors
/// The part that cannot be opened, and why. A broken record is none.
pub async fn open(config: &Config, takeover: Takeover) -> Result<Parts, String> {
    // A pod has some ten descriptors here, an exec as many.
    rrun_sys::limit::raise_files();
    let images = images(config).await?;
    let network = rrun_cni::Network::open(network(config)?)
        .await
        .map_err(|error| format!("open networks: {error}"))?;
    let settings = engine(config, takeover)?;
    let ports = Ports::of_host(&settings, images.clone(), network.clone());
    let ports = ports.map_err(|error| format!("open the engine: {error}"))?;
    let opened = Engine::open(settings, ports).await;
    let (engine, recovery) = opened.map_err(|error| format!("open the engine: {error}"))?;
    tracing::info!("{} pods are served again", recovery.pods.len());
    for (what, why) in &recovery.quarantined {
        tracing::warn!("quarantined {what}: {why}");
    }
    for (what, why) in &recovery.not_undone {
        tracing::warn!("not undone: {what}: {why}");
    }
    Ok(Parts { engine, images, network })
}

/// Opens the images alone.
///
/// # Errors
/// Why they cannot be opened.
pub async fn images(config: &Config) -> Result<rrun_images::Store, String> {
    rrun_images::Store::open(rrun_images::Config {
        root: config.root.join("images"),
        certs_dirs: config.images.certs_dirs.clone(),
    })
    .await
    .map_err(|error| format!("open images: {error}"))
}

fn network(config: &Config) -> Result<rrun_cni::Config, String> {
    let settings = &config.network;
    let mode = match settings.mode {
        NetworkMode::Auto => rrun_cni::Mode::Auto,
        NetworkMode::Cni => rrun_cni::Mode::Cni,
        NetworkMode::Builtin => rrun_cni::Mode::Builtin,
    };
    let subnet = settings.subnet.as_ref().map(|subnet| {
        subnet.parse().map_err(|error| format!("config: network.subnet: {subnet}: {error}"))
    });
    Ok(rrun_cni::Config {
        mode,
        conf_dir: settings.conf_dir.clone(),
        bin_dirs: settings.bin_dirs.clone(),
        state_dir: config.root.join("network"),
        bridge: settings.bridge.clone(),
        subnet: subnet.transpose()?,
        table: table(&settings.bridge),
        ..rrun_cni::Config::default()
    })
}

/// Two bridges on one machine must not share a table: each writes its own rules there.
fn table(bridge: &str) -> String {
    let default = Config::default().network.bridge;
    if bridge == default { "rrun".to_owned() } else { format!("rrun-{bridge}") }
}

fn engine(config: &Config, takeover: Takeover) -> Result<rrun_engine::Config, String> {
    let host = rrun_engine::Config::of_host();
    let driver = match takeover {
        // Its groups are made by whoever runs the pod.
        Takeover::Pod(..) => CgroupDriver::Cgroupfs,
        Takeover::Owner(_) => config.cgroup.driver(),
    };
    if matches!(takeover, Takeover::Owner(_)) {
        config.cgroup.check(driver)?;
    }
    Ok(rrun_engine::Config {
        root: config.root.clone(),
        run: config.run.clone(),
        netns_dir: config.network.netns_dir.clone(),
        cgroup_root: config.cgroup.mount.clone(),
        cgroup_driver: driver,
        cgroup_parent: config.cgroup.parent(driver),
        shim: config.shim.clone().unwrap_or_else(|| host.shim.clone()),
        seccomp_profiles: config.seccomp.profiles.clone(),
        log: rrun_engine::LogLimits {
            drain_timeout: std::time::Duration::from_secs(config.log.drain_timeout),
            drain_bytes: config.log.drain_bytes,
        },
        takeover,
        ..host
    })
}
