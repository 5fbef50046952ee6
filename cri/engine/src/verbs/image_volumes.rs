//! Images that are volumes of a container.

use super::PodAt;
use crate::error::{Context, Error, Result};
use crate::model::{ContainerConfig, MountSpec};
use crate::ports::Ports;
use rrun_images::Lower;
use std::os::fd::OwnedFd;

/// The first word of what a client is told, by which a kubelet knows what has failed (`errors.go` of
/// cri-api).
const FAILED: &str = "ImageVolumeMountFailed";

/// Images that are volumes, on their way to be mounted.
pub(crate) struct ImageVolumes {
    container: String,
    all: Vec<ImageVolume>,
}

struct ImageVolume {
    container_path: String,
    image_id: String,
    sub_path: String,
    layers: Vec<Lower>,
}

impl ImageVolumes {
    /// Finds the images, in the order of their mounts.
    pub(crate) async fn find(at: &PodAt, config: &ContainerConfig) -> Result<ImageVolumes> {
        let mut volumes = ImageVolumes { container: config.name.clone(), all: Vec::new() };
        for mount in &config.mounts {
            let Some(image) = &mount.image else { continue };
            let found = at.engine.ports.images.find(&image.image).await;
            let found = found.map_err(|error| volumes.failed(&mount.container_path, error))?;
            volumes.all.push(ImageVolume {
                container_path: mount.container_path.clone(),
                image_id: found.id,
                sub_path: mount.image_sub_path.clone(),
                layers: Vec::new(),
            });
        }
        Ok(volumes)
    }

    /// The mounts of a container, with the images that were found: by their ids, by which a kubelet
    /// knows that they are in use.
    pub(crate) fn on_record(&self, mounts: &[MountSpec]) -> Vec<MountSpec> {
        let mut mounts = mounts.to_vec();
        let asked = mounts.iter_mut().filter_map(|mount| mount.image.as_mut());
        for (image, volume) in asked.zip(&self.all) {
            let given = std::mem::replace(&mut image.image, volume.image_id.clone());
            image.image_ref.clone_from(&volume.image_id);
            if image.user_specified.is_empty() {
                image.user_specified = given;
            }
        }
        mounts
    }

    /// Leases each to the container.
    pub(crate) async fn lease(&mut self, ports: &Ports, holder: &str) -> Result<()> {
        for at in 0..self.all.len() {
            let volume = &self.all[at];
            let layers = ports.images.view(holder, &volume.image_id).await;
            let layers = layers.map_err(|error| self.failed(&volume.container_path, error))?;
            self.all[at].layers = layers;
        }
        Ok(())
    }

    /// Mounts each, in their order.
    pub(crate) async fn mount(&self, at: &PodAt) -> Result<Vec<OwnedFd>> {
        let (host, ids) = (&at.engine.ports.host, at.pod.config.id_maps());
        let mut mounts = Vec::with_capacity(self.all.len());
        for volume in &self.all {
            let mount = host.view(&volume.layers, &volume.sub_path, ids.as_ref()).await;
            let mount = mount.context(|| format!("image {}", volume.image_id));
            mounts.push(mount.map_err(|error| self.failed(&volume.container_path, error))?);
        }
        Ok(mounts)
    }

    fn failed(&self, container_path: &str, error: Error) -> Error {
        let error = error.context(format!("mount {container_path}"));
        error.context(format!("create container {}", self.container)).context(FAILED)
    }
}

/// Whether an error tells first that such a volume could not be mounted, and then what was being done.
pub(crate) fn is_told(error: &Error) -> bool {
    error.chain().next() == Some(FAILED)
}
