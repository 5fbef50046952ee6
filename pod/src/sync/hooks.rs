//! postStart and preStop (`pkg/kubelet/lifecycle/handlers.go`).

use rrun_cri_api::v1;

use super::worker::PodWorker;
use crate::error::{Error, Kind, Result};
use crate::events::Reason;
use crate::model::{Container, Handler, HttpGet};
use crate::probe::{self, Fetch};

impl PodWorker {
    /// Runs a hook in the run `id`. No time limit: a hook is bounded by the grace, or not at all.
    pub(super) async fn hook(&self, id: &str, container: &Container, hook: &Handler) -> Result<()> {
        match hook {
            Handler::Exec(command) => {
                let request = v1::ExecSyncRequest {
                    container_id: id.to_owned(),
                    cmd: command.clone(),
                    timeout: 0,
                };
                let reply =
                    self.cri.exec_sync(request).await.map_err(|e| Error::status("exec", &e))?;
                if reply.exit_code == 0 {
                    return Ok(());
                }
                let output = [reply.stdout, reply.stderr].concat();
                let text = String::from_utf8_lossy(&output);
                let why = format!(
                    "Exec lifecycle hook ({command:?}) for Container {:?} in Pod {:?} failed - error: command exited with {}, message: {text:?}",
                    container.name, self.pod.meta.name, reply.exit_code
                );
                Err(Error::new(Kind::Invalid, why))
            }
            Handler::HttpGet(get) => self.http_hook(container, get).await,
            Handler::Sleep(time) => {
                tokio::time::sleep(*time).await;
                Ok(())
            }
            Handler::TcpSocket { .. } | Handler::Grpc { .. } => {
                Err(Error::new(Kind::Invalid, "not a hook"))
            }
        }
    }

    /// The answer's status code does not count.
    async fn http_hook(&self, container: &Container, get: &HttpGet) -> Result<()> {
        let address = self.addresses.pod.first().cloned().unwrap_or_default();
        let host = if get.host.is_empty() { address } else { get.host.clone() };
        if host.is_empty() {
            return Err(Error::new(Kind::Unavailable, "the pod has no address"));
        }
        let port = probe::port(&get.port, container)
            .ok_or_else(|| Error::new(Kind::Invalid, format!("no port {:?}", get.port)))?;
        let fetch = Fetch { get, host: &host, port, timeout: None, agent: probe::HOOK_AGENT };
        if probe::hook(&fetch).await? {
            let text = format!(
                "request to HTTPS lifecycle hook {host}:{port} got HTTP response, retry with HTTP succeeded"
            );
            self.events.warning(Some(&container.name), Reason::LifecycleHttpFallback, text);
        }
        Ok(())
    }
}
