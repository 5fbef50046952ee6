//! Containers that are made by the command line of another OCI runtime: what it needs, and how it
//! forgets them. The shim calls it for all else.

use super::ContainerAt;
use crate::blocking::blocking;
use crate::dirs;
use crate::error::{Context, Error, Result};
use crate::groups;
use crate::handlers::{self, CommandLine};
use crate::record;
use crate::spec::{self, ForProgram};
use crate::steps::run_step;
use crate::table::Shared;
use rrun_blocking::program::{Most, Program as Running};
use rrun_runtime::plan::Plan;
use rrun_shim_protocol::{AttachmentSource, Program};
use serde_json::Value;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

/// How much of what a program says is told.
const MOST: Most = Most { stdout: 4096, stderr: 4096 };

/// Who makes the containers of a handler, if not shims.
pub(crate) async fn find(engine: &Shared, handler: &str) -> Result<Option<CommandLine>> {
    let line = handlers::find(&engine.settings().handlers, handler)?;
    if let Some(line) = &line {
        line.is_there().await.context(|| format!("runtime handler {handler:?}"))?;
    }
    Ok(line)
}

impl ContainerAt {
    /// Makes the bundle of a container that another runtime makes, and says how it is called. Blocks.
    pub(crate) fn bundle_for_program(&self, json: &Value, plan: &Plan) -> Result<Option<Program>> {
        let record = self.container.record();
        let Some(line) = &record.program else { return Ok(None) };
        let (pod_dirs, bundle) = (&self.at.pod.dirs, self.at.pod.dirs.bundle(&record.id));
        let ForProgram { json, attachments } = spec::for_program(json, plan, &bundle);
        for attachment in &attachments {
            match attachment.source {
                AttachmentSource::Namespace(_) => {
                    dirs::make(attachment.path.parent().unwrap_or(&bundle))?;
                    record::replace(&attachment.path, b"")?;
                }
                _ => dirs::make(&attachment.path)?,
            }
        }
        let config = bundle.join("config.json");
        record::replace(&config, json.to_string().as_bytes())?;
        // With the variables of its environment.
        for (path, mode) in [(&config, 0o600), (&bundle, 0o700)] {
            let set = fs::set_permissions(path, Permissions::from_mode(mode));
            set.context(|| format!("mode of {}", path.display()))?;
        }
        let systemd = groups::scope(&record.cgroup).is_some();
        Ok(Some(Program {
            path: line.path.clone(),
            args: line.options(&pod_dirs.programs(), systemd),
            bundle,
            attachments,
            timeout_ms: line.timeout.saturating_mul(1000),
        }))
    }

    /// Has the runtime that made the container forget it. What it had is ended by now, so that nobody
    /// is kept from a removal by a program that fails, hangs or is gone.
    pub(crate) async fn forget_by_program(&self) -> Result<()> {
        let record = self.container.record();
        let Some(line) = &record.program else { return Ok(()) };
        let (root, systemd) =
            (self.at.pod.dirs.programs(), groups::scope(&record.cgroup).is_some());
        let mut command = Command::new(&line.path);
        command.args(line.options(&root, systemd)).args(["delete", "--force", record.id.as_str()]);
        let forget = async {
            let started = blocking(move || Running::start(command).context(|| "start")).await?;
            let ended = started.end(b"", MOST, Duration::from_secs(line.timeout)).await;
            let ended = ended.context(|| "delete")?;
            match ended.status.success() {
                true => Ok(()),
                false => {
                    let said = String::from_utf8_lossy(&ended.stderr.bytes).trim().to_owned();
                    Err(Error::internal(format!("delete: {}: {said}", ended.how())))
                }
            }
        };
        let forget = async {
            if let Err(error) = forget.await {
                let program = line.path.display();
                tracing::warn!(container = %record.id, "{program}: {error}");
            }
            let left = root.join(record.id.as_str());
            blocking(move || dirs::remove_all(&left)).await
        };
        run_step("engine.remove-init.program", forget).await
    }
}
