//! The images of a runtime that nobody runs.

use std::sync::atomic::Ordering;
use std::time::Duration;

use rrun_cri_api::v1::*;
use tonic::Status;

use super::FakeCri;

impl FakeCri {
    pub(super) async fn do_image_status(
        &self,
        r: ImageStatusRequest,
    ) -> Result<ImageStatusResponse, Status> {
        let name = r.image.unwrap().image;
        let bad = self.bad_pulls.lock().unwrap().contains_key(&name);
        let image = (!bad).then(|| Image { id: "sha256:id".into(), ..Default::default() });
        Ok(ImageStatusResponse { image, ..Default::default() })
    }

    pub(super) async fn do_pull_image(
        &self,
        r: PullImageRequest,
    ) -> Result<PullImageResponse, Status> {
        let name = r.image.unwrap().image;
        self.note(format!("pull {name}"));
        tokio::time::sleep(Duration::from_secs(self.pull_takes.load(Ordering::Relaxed))).await;
        let user = r.auth.map(|auth| auth.username);
        self.shown.lock().unwrap().push(user.clone());
        if self.private.lock().unwrap().get(&name).is_some_and(|only| Some(only) != user.as_ref()) {
            let who = user.unwrap_or_else(|| "nobody".to_owned());
            return Err(Status::permission_denied(format!("{who} may not pull it")));
        }
        let mut bad = self.bad_pulls.lock().unwrap();
        match bad.get_mut(&name) {
            Some(0) | None => {
                bad.remove(&name);
                Ok(PullImageResponse { image_ref: "sha256:id".into() })
            }
            Some(left) => {
                *left -= 1;
                Err(Status::unknown("no such host"))
            }
        }
    }
}
