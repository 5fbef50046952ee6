//! Images, RPC by RPC.

use super::{Service, required, to_status};
use crate::convert;
use bytes::Bytes;
use prost::Message;
use rrun_cri_api::{Answer, v1};
use rrun_engine::stats::FsUsage;
use rrun_images::{Event, Holder, HolderKind, Image, Origin, Reference};
use std::collections::BTreeMap;
use std::mem::take;
use std::sync::{Arc, PoisonError};
use tokio::sync::mpsc;
use tonic::Status;

/// All images as they were listed last, each as it is sent: whoever asks for a node's images does so
/// again and again.
#[derive(Default)]
pub(super) struct Sent {
    images: Arc<[Image]>,
    parts: Vec<Part>,
}

/// A part of an answer.
enum Part {
    /// Images behind each other that nobody holds.
    Free(Bytes),
    /// The place of one that somebody holds: whether that is a pod of ours may change without a new
    /// list.
    Held(usize),
}

impl Service {
    pub(super) async fn images_listed(
        &self,
        filter: Option<v1::ImageFilter>,
    ) -> Result<v1::ListImagesResponse, Status> {
        let images = match name_in(filter) {
            Some(name) => self.images.find(&name).await.map_err(to_status)?.into_iter().collect(),
            None => self.images.list().await.map_err(to_status)?,
        };
        Ok(v1::ListImagesResponse {
            images: images.iter().map(|found| self.image(found)).collect(),
        })
    }

    /// The same as it is sent.
    pub(super) async fn images_encoded(
        &self,
        filter: Option<v1::ImageFilter>,
    ) -> Result<Answer<v1::ListImagesResponse>, Status> {
        if let Some(name) = name_in(filter) {
            let found = self.images.find(&name).await.map_err(to_status)?;
            return Ok(Answer::Encoded(found.iter().map(|image| self.encoded(image)).collect()));
        }
        let images = self.images.list().await.map_err(to_status)?;
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&sent.images, &images) {
            *sent = Sent { parts: self.parts(&images), images };
        }
        let part = |part: &Part| match part {
            Part::Free(part) => part.clone(),
            Part::Held(at) => self.encoded(&sent.images[*at]),
        };
        Ok(Answer::Encoded(sent.parts.iter().map(part).collect()))
    }

    fn parts(&self, images: &[Image]) -> Vec<Part> {
        let (mut parts, mut free) = (Vec::new(), Vec::new());
        for (at, image) in images.iter().enumerate() {
            if image.holders.is_empty() {
                free.extend_from_slice(&self.encoded(image));
            } else {
                parts.extend([Part::Free(take(&mut free).into()), Part::Held(at)]);
            }
        }
        parts.push(Part::Free(free.into()));
        parts
    }

    /// A list of one: such lists behind each other are the list of all.
    fn encoded(&self, image: &Image) -> Bytes {
        v1::ListImagesResponse { images: vec![self.image(image)] }.encode_to_vec().into()
    }

    /// A missing image is no error: the answer has none then.
    pub(super) async fn image_found(
        &self,
        spec: Option<v1::ImageSpec>,
        verbose: bool,
    ) -> Result<v1::ImageStatusResponse, Status> {
        let name = required(spec, "image")?.image;
        let found = self.images.find(&name).await.map_err(to_status)?;
        let info = match &found {
            Some(found) if verbose => {
                let document = self.images.document(&found.id).await.map_err(to_status)?;
                let document: serde_json::Value =
                    serde_json::from_slice(&document).unwrap_or_default();
                let spec = serde_json::json!({ "imageSpec": document });
                BTreeMap::from([("info".to_owned(), spec.to_string())])
            }
            _ => BTreeMap::new(),
        };
        Ok(v1::ImageStatusResponse { image: found.map(|found| self.image(&found)), info })
    }

    pub(super) async fn image_pulled(
        &self,
        request: v1::PullImageRequest,
    ) -> Result<v1::PullImageResponse, Status> {
        let name = convert::image_to_pull(required(request.image, "image")?, &self.handlers());
        let name = name.map_err(to_status)?;
        let reference: Reference = name.parse().map_err(to_status)?;
        let auth = request.auth.map(convert::credentials);
        let (sender, mut events) = mpsc::unbounded_channel();
        let pulled = self.images.pull(&reference, auth.as_ref(), Some(sender)).await;
        let image = pulled.map_err(to_status)?;
        // One of several who wait for the same pull hears its events.
        while let Ok(event) = events.try_recv() {
            match event {
                Event::Recorded { summary } => tracing::info!("image {name}: pulled in {summary}"),
                Event::UpToDate { digest } => {
                    tracing::debug!("image {name}: here already, as {digest}");
                }
                _ => {}
            }
        }
        Ok(v1::PullImageResponse { image_ref: image.id.to_string() })
    }

    /// Removes the image under all of its names; an unknown one is removed. Containers that use it
    /// do not hinder that, as in containerd: their layers go with the last of them.
    pub(super) async fn image_removed(
        &self,
        spec: Option<v1::ImageSpec>,
    ) -> Result<v1::RemoveImageResponse, Status> {
        let name = required(spec, "image")?.image;
        let origin = if self.has_kubelet() { Origin::Kubelet } else { Origin::Client };
        if self.images.remove(&name, origin).await.map_err(to_status)? {
            tracing::info!("image {name}: removed for a {} (rrun why-removed)", origin.as_str());
        }
        Ok(v1::RemoveImageResponse {})
    }

    /// An image that a pod of somebody else holds is shown as pinned, as those are that the
    /// configuration pins: our client's collector of
    /// images, which knows its own containers alone, would take it for unused.
    fn image(&self, image: &Image) -> v1::Image {
        let is_foreign = |holder: &Holder| match holder.kind() {
            HolderKind::Container => !self.engine.has_container(&self.owner, holder.name()),
            _ => true,
        };
        let (uid, username) = user(&image.config.user);
        v1::Image {
            id: image.id.to_string(),
            repo_tags: image.tags.clone(),
            repo_digests: image.digests.clone(),
            size: image.size,
            uid: uid.map(|value| v1::Int64Value { value }),
            username,
            // Annotations are those of a request, and an image has none.
            spec: Some(v1::ImageSpec { image: image.id.to_string(), ..Default::default() }),
            pinned: image.pinned || image.holders.iter().any(is_foreign),
        }
    }

    pub(super) async fn image_usage(&self) -> Result<v1::ImageFsInfoResponse, Status> {
        let info = self.images.fs_info().await.map_err(to_status)?;
        let images = FsUsage {
            at: rrun_sys::time::now(),
            mountpoint: info.mountpoint,
            bytes: info.bytes,
            inodes: info.inodes,
            file_system: None,
        };
        let none = || FsUsage { bytes: 0, inodes: 0, ..images.clone() };
        let containers = self.engine.writable_layers().unwrap_or_else(none);
        Ok(v1::ImageFsInfoResponse {
            image_filesystems: vec![convert::filesystem(&images)],
            container_filesystems: vec![convert::filesystem(&containers)],
        })
    }
}

/// Which image alone is asked for.
fn name_in(filter: Option<v1::ImageFilter>) -> Option<String> {
    let name = filter.and_then(|filter| filter.image).map(|spec| spec.image);
    name.filter(|name| !name.is_empty())
}

/// The user part of an image's `User`: an id or a name, never both.
fn user(text: &str) -> (Option<i64>, String) {
    let user = text.split_once(':').map_or(text, |(user, _)| user);
    match user.parse() {
        Ok(id) => (Some(id), String::new()),
        Err(_) => (None, user.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::user;

    #[test]
    fn the_user_of_an_image_is_an_id_or_a_name_without_its_group() {
        assert_eq!(user("1002"), (Some(1002), String::new()));
        let (uid, username) = user("1003:1004");
        assert_eq!((uid, username.as_str()), (Some(1003), ""));
        assert_eq!(user("www-data:1004"), (None, "www-data".to_owned()));
        assert_eq!(user(""), (None, String::new()));
    }
}
