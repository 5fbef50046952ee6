//! Images that are volumes (`getImageVolumes`, `toKubeContainerImageVolumes`).

use std::collections::BTreeMap;

use rrun_cri_api::v1;

use super::pull::ImageRequest;
use super::worker::PodWorker;
use crate::events::Reason;
use crate::model::{Container, VolumeSource};
use crate::status::StartFailure;

/// What the runtime mounts for each volume that is an image, by the volume's name, or why it is not
/// here.
pub(super) type ImageVolumes = BTreeMap<String, Result<v1::ImageSpec, StartFailure>>;

impl PodWorker {
    /// Sees that the image of each volume is here, by its policy, before anything is started. One
    /// that cannot be had keeps nothing but the containers that mount it.
    pub(super) async fn image_volumes(&mut self, sandbox: &v1::PodSandboxConfig) -> ImageVolumes {
        let pod = self.pod.clone();
        let mut volumes = ImageVolumes::new();
        for volume in &pod.spec.volumes {
            let VolumeSource::Image { reference, pull_policy } = &volume.source else { continue };
            // It is the pod's, as the events are that tell of it.
            let want =
                ImageRequest { container: None, image: reference, policy: *pull_policy, sandbox };
            let found = self.ensure_image(want).await.map(|image| v1::ImageSpec {
                image: image.reference,
                user_specified_image: reference.clone(),
                annotations: pod.meta.annotations.clone(),
                runtime_handler: pod.spec.runtime_class.clone().unwrap_or_default(),
                ..Default::default()
            });
            volumes.insert(volume.name.clone(), found);
        }
        volumes
    }

    /// A container waits with the reason of the last of its volumes whose image is not here.
    pub(super) fn check_image_volumes(
        &self,
        container: &Container,
        volumes: &ImageVolumes,
    ) -> Result<(), StartFailure> {
        let mut last = Ok(());
        for mount in &container.mounts {
            if let Some(Err(failure)) = volumes.get(&mount.name) {
                let text = format!("Error: {}", failure.reason);
                self.events.warning(Some(&container.name), Reason::Failed, text);
                last = Err(failure.clone());
            }
        }
        last
    }
}
