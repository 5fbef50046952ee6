//! The image service, one delegation per RPC.

use tonic::{Request, Response, Status, async_trait};

use super::Service;
use crate::v1::image_service_server::ImageService;
use crate::v1::*;
use crate::{Cri, Messages};

type Answer<T> = Result<Response<T>, Status>;

#[async_trait]
impl<C: Cri + 'static> ImageService for Service<C> {
    type StreamImagesStream = Messages<StreamImagesResponse>;

    async fn list_images(&self, r: Request<ListImagesRequest>) -> Answer<ListImagesResponse> {
        self.call("ListImages", r, |cri, r| async move { cri.list_images(r).await }).await
    }

    async fn stream_images(
        &self,
        r: Request<StreamImagesRequest>,
    ) -> Answer<Messages<StreamImagesResponse>> {
        self.stream("StreamImages", r, |cri, r| async move { cri.stream_images(r).await }).await
    }

    async fn image_status(&self, r: Request<ImageStatusRequest>) -> Answer<ImageStatusResponse> {
        self.call("ImageStatus", r, |cri, r| async move { cri.image_status(r).await }).await
    }

    async fn pull_image(&self, r: Request<PullImageRequest>) -> Answer<PullImageResponse> {
        self.lose("PullImage", r, |cri, r| async move { cri.pull_image(r).await }).await
    }

    async fn remove_image(&self, r: Request<RemoveImageRequest>) -> Answer<RemoveImageResponse> {
        self.call("RemoveImage", r, |cri, r| async move { cri.remove_image(r).await }).await
    }

    async fn image_fs_info(&self, r: Request<ImageFsInfoRequest>) -> Answer<ImageFsInfoResponse> {
        self.call("ImageFsInfo", r, |cri, r| async move { cri.image_fs_info(r).await }).await
    }
}
