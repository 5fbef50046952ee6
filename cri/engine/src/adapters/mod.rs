//! The ports over the real crates.

mod host;
mod images;
mod interfaces;
mod network;
mod process;
mod shims;

use crate::config::Config;
use crate::error::Result;
use crate::ports::Ports;
use std::sync::Arc;

impl Ports {
    /// The ports of this machine. Blocks: looks at the host.
    ///
    /// # Errors
    /// When the shim's program is not there, or no control groups are mounted.
    pub fn of_host(
        config: &Config,
        images: rrun_images::Store,
        network: rrun_cni::Network,
    ) -> Result<Ports> {
        let host = Arc::new(host::KernelHost::new(&config.cgroup_root)?);
        let shims = shims::RealShims::new(config, host.layout().clone())?;
        let images = Arc::new(images::StoreImages::new(images));
        let network = Arc::new(network::HostNetwork(network));
        Ok(Ports { images, network, shims: Arc::new(shims), host })
    }
}
