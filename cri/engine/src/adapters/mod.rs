//! The traits of [`crate::ports`] over the crates that make images, networks and shims, and over the
//! kernel.

mod block_device;
mod criu;
mod host;
mod images;
mod interfaces;
mod network;
mod process;
mod shims;
mod view;

use crate::config::{CgroupDriver, Config};
use crate::error::{Context, Error, Kind, Result};
use crate::ports::{NoPlugins, Ports};
use rrun_runtime::systemd::Slice;
use std::sync::Arc;

impl Ports {
    /// The ports of this machine, without plugins. Blocks: looks at the host.
    ///
    /// # Errors
    /// When the shim's program is not there, no control groups are mounted, or systemd is to make
    /// them and cannot be reached.
    pub fn of_host(
        config: &Config,
        images: rrun_images::Store,
        network: rrun_cni::Network,
    ) -> Result<Ports> {
        if config.cgroup_driver == CgroupDriver::Systemd {
            let reached = rrun_runtime::systemd::check();
            reached.map_err(|error| Error::from_chain(Kind::Unavailable, error.chain()))?;
            Slice::of_path(&config.cgroup_parent)
                .map_err(|error| Error::from_chain(Kind::Invalid, error.chain()))
                .context(|| "cgroup.parent")?;
        }
        let host = Arc::new(host::KernelHost::new(&config.cgroup_root, &images.bare())?);
        let shims = shims::RealShims::new(config, host.layout().clone())?;
        let images = Arc::new(images::StoreImages::new(images));
        let network = Arc::new(network::HostNetwork(network));
        let plugins = Arc::new(NoPlugins);
        Ok(Ports { images, network, shims: Arc::new(shims), host, plugins })
    }
}
