//! Getting a container's image (`pkg/kubelet/images/image_manager.go`).

use std::collections::BTreeSet;

use rrun_cri_api::{Cri, v1};
use tonic::{Code, Status};

use super::worker::PodWorker;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::events::Reason;
use crate::model::{Pod, PullPolicy};
use crate::node::Node;
use crate::pull_records::{Access, PulledImage, VerificationPolicy, credential_hash, must_pull};
use crate::registry;
use crate::security::ImageUser;
use crate::status::StartFailure;

/// An image that is here.
#[derive(Clone, Debug)]
pub(super) struct Image {
    /// What containers are made from.
    pub reference: String,
    /// Who it runs as.
    pub user: ImageUser,
}

/// What is asked for, by whom.
#[derive(Clone, Copy)]
pub(super) struct ImageRequest<'a> {
    /// `None`: the pod, for a volume.
    pub container: Option<&'a str>,
    pub image: &'a str,
    pub policy: PullPolicy,
    pub sandbox: &'a v1::PodSandboxConfig,
}

pub(super) fn failure(reason: &str, message: impl Into<String>) -> StartFailure {
    StartFailure { reason: reason.to_owned(), message: message.into() }
}

impl PodWorker {
    /// Makes sure that an image is here, by its policy.
    pub(super) async fn ensure_image(
        &mut self,
        want: ImageRequest<'_>,
    ) -> Result<Image, StartFailure> {
        let Some(image) = registry::with_default_tag(want.image) else {
            let message = format!(
                "Failed to apply default image tag {:?}: couldn't parse image name",
                want.image
            );
            self.events.warning(want.container, Reason::InspectFailed, &message);
            return Err(failure("InvalidImageName", message));
        };
        if want.policy != PullPolicy::Always {
            match self.inspect(&image).await {
                Ok(Some(found)) if !self.must_pull(want.image, &found.reference).await => {
                    let text = format!(
                        "Container image {:?} already present on machine and can be accessed by \
                         the pod",
                        want.image
                    );
                    self.events.normal(want.container, Reason::Pulled, text);
                    return Ok(found);
                }
                // Nor is told that it is here to one that may not use it.
                Ok(_) if want.policy == PullPolicy::Never => {
                    let text = format!(
                        "Container image {:?} is not present with pull policy of Never",
                        want.image
                    );
                    self.events.warning(want.container, Reason::ErrImageNeverPull, &text);
                    return Err(failure("ErrImageNeverPull", text));
                }
                Ok(_) => {}
                Err(e) => {
                    let text = format!("Failed to inspect image {image:?}: {}", e.message());
                    self.events.warning(want.container, Reason::InspectFailed, &text);
                    return Err(failure("ImageInspectError", text));
                }
            }
        }
        self.pull(&image, want).await
    }

    async fn pull(&mut self, image: &str, want: ImageRequest<'_>) -> Result<Image, StartFailure> {
        let name = want.container;
        if self.pulls.backoff.waiting_since_update(want.image, self.clock.now()).is_some() {
            let mut text = format!("Back-off pulling image {:?}", want.image);
            self.events.normal(name, Reason::BackOff, &text);
            if let Some(last) = self.pulls.errors.get(want.image) {
                text = format!("{text}: {last}");
            }
            return Err(failure("ImagePullBackOff", text));
        }
        self.pulls.errors.remove(want.image);
        self.events.normal(name, Reason::Pulling, format!("Pulling image {:?}", want.image));
        let begun = self.clock.now();
        let uid = self.pod.meta.uid.clone();
        if let Err(e) = self.node.pull_begins(&uid, want.image).await {
            let text = format!(
                "Failed to record image pull intent for container image {:?}: {e}",
                want.image
            );
            return Err(failure("ErrImagePull", text));
        }
        let call = self.pull_with_credentials(image, want.sandbox);
        let pulled = self.told(format!("PullImage {}", want.image), call).await;
        let on_record = pulled.as_ref().ok().map(|(id, access)| PulledImage {
            id: id.clone(),
            access: access.clone(),
            at: self.clock.now(),
        });
        if let Err(e) = self.node.pull_ends(&uid, want.image, on_record).await {
            tracing::warn!(pod = %self.pod.meta.name, "record of the pull of {}: {e}", want.image);
        }
        match pulled {
            Ok((reference, _)) => {
                let took = self.clock.now().since(begun);
                let text = format!("Successfully pulled image {:?} in {took:.3?}", want.image);
                self.events.normal(name, Reason::Pulled, text);
                let user = match self.inspect(&reference).await {
                    Ok(found) => found.map(|f| f.user).unwrap_or_default(),
                    Err(e) => return Err(failure("ImageInspectError", e.message())),
                };
                Ok(Image { reference, user })
            }
            Err(e) => {
                let text = format!("Failed to pull image {:?}: {}", want.image, e.message());
                self.events.warning(name, Reason::Failed, text);
                let now = self.clock.now();
                self.pulls.backoff.next(want.image, now, now);
                let failed = pull_failure(want.image, &e);
                let last = format!("{}: {}", failed.reason, failed.message);
                self.pulls.errors.insert(want.image.to_owned(), last);
                Err(failed)
            }
        }
    }

    /// Each credential that fits in turn, the pod's before the node's; none at all only when none
    /// fits, so that what a registry says of the credentials is what the person reads.
    /// Answers the image's id and who may use it.
    async fn pull_with_credentials(
        &self,
        image: &str,
        sandbox: &v1::PodSandboxConfig,
    ) -> Result<(String, Access), Status> {
        let mut failed = Vec::new();
        for (name, auth) in registry::of_secrets(&self.pod, image) {
            let access = Access::Credentials([credential_hash(&auth)].into());
            match self.pull_as(image, Some(auth), sandbox).await {
                Ok(id) => return Ok((id, access)),
                Err(e) => {
                    let of = format!("secret {}/{name}", self.pod.meta.namespace);
                    failed.push(with_source(&e, &of));
                }
            }
        }
        let node = self.node.credentials(image).await;
        for missing in &node.missing {
            tracing::warn!(pod = %self.pod.meta.name, "credentials that are missing: {missing}");
        }
        for known in node.known {
            match self.pull_as(image, Some(known.auth), sandbox).await {
                Ok(id) => return Ok((id, Access::Everyone)),
                Err(e) => failed.push(with_source(&e, &format!("the node: {}", known.source))),
            }
        }
        if failed.is_empty() {
            match self.pull_as(image, None, sandbox).await {
                Ok(id) => return Ok((id, Access::Everyone)),
                Err(e) => failed.push(e),
            }
        }
        Err(all_of(&failed, &node.missing))
    }

    async fn pull_as(
        &self,
        image: &str,
        auth: Option<v1::AuthConfig>,
        sandbox: &v1::PodSandboxConfig,
    ) -> Result<String, Status> {
        let image = Some(self.image_spec(image));
        let sandbox_config = Some(sandbox.clone());
        let request = v1::PullImageRequest { image, auth, sandbox_config };
        let id = self.cri.pull_image(request).await?.image_ref;
        if id.is_empty() {
            return Err(Status::internal("the runtime answered an empty image reference"));
        }
        Ok(id)
    }

    /// Whether an image that is here is to be pulled all the same, because nothing says that this
    /// pod may use it.
    async fn must_pull(&self, image: &str, id: &str) -> bool {
        if *self.verification == VerificationPolicy::NeverVerify {
            return false;
        }
        let pulled = match self.node.pulled(image, id).await {
            Ok(pulled) => pulled,
            Err(e) => {
                tracing::warn!(pod = %self.pod.meta.name, "record of the pull of {image}: {e}");
                return true;
            }
        };
        let own = registry::of_secrets(&self.pod, image);
        let hashes: Vec<String> = own.iter().map(|(_, auth)| credential_hash(auth)).collect();
        must_pull(&self.verification, image, &pulled, &hashes)
    }

    fn image_spec(&self, image: &str) -> v1::ImageSpec {
        image_spec(&self.pod, image)
    }

    async fn inspect(&self, image: &str) -> Result<Option<Image>, Status> {
        Ok(find(&*self.cri, &self.pod, image).await?.map(|found| {
            // An image that names nobody runs as root.
            let uid = match (&found.uid, found.username.is_empty()) {
                (Some(uid), _) => Some(uid.value),
                (None, true) => Some(0),
                (None, false) => None,
            };
            let name = if found.uid.is_none() { found.username } else { String::new() };
            Image { reference: found.id, user: ImageUser { uid, name } }
        }))
    }
}

/// Takes the pulls off the record that a pod began and did not see the end of, because it was ended
/// meanwhile or its process was killed. What came of one all the same is for nobody who does not
/// show that he may pull it (`writePulledRecordIfChanged` for what was in flight at a restart).
pub(crate) async fn settle(
    cri: &dyn Cri,
    node: &dyn Node,
    pod: &Pod,
    at: Timestamp,
) -> crate::error::Result<()> {
    let uid = &pod.meta.uid;
    for name in node.pulls_of(uid).await? {
        let here = match registry::with_default_tag(&name) {
            Some(image) => find(cri, pod, &image).await,
            None => Ok(None),
        };
        let here = here.map_err(|e| Error::status("image status", &e))?;
        let nobody = Access::Credentials(BTreeSet::new());
        let pulled = here.map(|found| PulledImage { id: found.id, access: nobody, at });
        node.pull_ends(uid, &name, pulled).await?;
    }
    Ok(())
}

fn image_spec(pod: &Pod, image: &str) -> v1::ImageSpec {
    v1::ImageSpec {
        image: image.to_owned(),
        annotations: pod.meta.annotations.clone(),
        runtime_handler: pod.spec.runtime_class.clone().unwrap_or_default(),
        ..Default::default()
    }
}

async fn find(cri: &dyn Cri, pod: &Pod, image: &str) -> Result<Option<v1::Image>, Status> {
    let request = v1::ImageStatusRequest { image: Some(image_spec(pod, image)), verbose: false };
    Ok(cri.image_status(request).await?.image.filter(|found| !found.id.is_empty()))
}

/// A runtime is not told whose credentials it was given.
fn with_source(answer: &Status, of: &str) -> Status {
    Status::new(answer.code(), format!("{} (credentials of {of})", answer.message()))
}

/// What each credential was answered, the same once (`NewAggregate`), and why there were no others.
fn all_of(failed: &[Status], missing: &[Error]) -> Status {
    let mut texts: Vec<&str> = Vec::new();
    for status in failed {
        if !texts.contains(&status.message()) {
            texts.push(status.message());
        }
    }
    let mut text = match texts[..] {
        [only] => only.to_owned(),
        _ => format!("[{}]", texts.join(", ")),
    };
    if !missing.is_empty() {
        let missing: Vec<String> = missing.iter().map(Error::to_string).collect();
        text = format!("{text} (missing credentials: {})", missing.join(", "));
    }
    Status::new(failed.last().map_or(Code::Internal, Status::code), text)
}

/// A runtime tells two kinds of failure by the text's first word (cri-api `errors.go`).
fn pull_failure(image: &str, error: &Status) -> StartFailure {
    let text = error.message();
    if text.starts_with("RegistryUnavailable") {
        let why = text.trim_start_matches("RegistryUnavailable").trim_start_matches(": ");
        failure(
            "RegistryUnavailable",
            format!("image pull failed for {image} because the registry is unavailable: {why}"),
        )
    } else if text.starts_with("SignatureValidationFailed") {
        let why = text.trim_start_matches("SignatureValidationFailed").trim_start_matches(": ");
        failure(
            "SignatureValidationFailed",
            format!("image pull failed for {image} because the signature validation failed: {why}"),
        )
    } else {
        failure("ErrImagePull", text)
    }
}
