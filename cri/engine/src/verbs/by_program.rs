//! Containers that are made by the command line of another OCI runtime: what it needs, and how it
//! forgets them. The shim calls it for all else.

use super::ContainerAt;
use crate::blocking::blocking;
use crate::dirs;
use crate::error::{Context, Result};
use crate::groups;
use crate::handlers::{self, CommandLine};
use crate::host_paths::Look;
use crate::id::PodId;
use crate::record;
use crate::spec::{self, ForProgram};
use crate::steps::run_step;
use crate::table::Shared;
use rrun_blocking::Shares;
use rrun_blocking::program::{Most, Program as Running};
use rrun_error::{printable_line, reason};
use rrun_runtime::plan::Plan;
use rrun_shim_protocol::{AttachmentSource, Program};
use serde_json::Value;
use std::sync::LazyLock;
use std::time::Duration;
use tokio::time::timeout;

/// How much of what a program says is told.
const MOST: Most = Most { stdout: 4096, stderr: 4096 };

/// How long a program may take to forget a container: a removal waits for it.
const FORGETS: Duration = Duration::from_secs(10);

/// Who starts programs may wait for the disk that they are on: each program has a share of these.
static STARTS: LazyLock<Shares> = LazyLock::new(|| Shares::new(64, 8));

/// Who makes the containers of a pod's handler, if not shims.
pub(crate) async fn find(
    engine: &Shared,
    pod: &PodId,
    handler: &str,
) -> Result<Option<CommandLine>> {
    let Some(line) = handlers::find(&engine.settings().handlers, handler)? else { return Ok(None) };
    let wanted = line.clone();
    let look = move |look: &Look| look.at(&wanted.path.to_string_lossy(), || wanted.is_there());
    let there = engine.host_paths.look(pod, look).await;
    there.context(|| format!("runtime handler {handler:?}"))?;
    Ok(Some(line))
}

impl ContainerAt {
    /// Makes the bundle of a container that another runtime makes, and says how it is called. Blocks.
    pub(crate) fn bundle_for_program(&self, json: &Value, plan: &Plan) -> Result<Option<Program>> {
        let record = self.container.record();
        let Some(line) = &record.program else { return Ok(None) };
        let (pod_dirs, bundle) = (&self.at.pod.dirs, self.at.pod.dirs.bundle(&record.id));
        let ForProgram { json, attachments } = spec::for_program(json, plan, &bundle);
        // The configuration has the variables of the container's environment.
        dirs::make_private(&bundle)?;
        for attachment in &attachments {
            match attachment.source {
                AttachmentSource::Namespace(_) => {
                    dirs::make(attachment.path.parent().unwrap_or(&bundle))?;
                    record::replace(&attachment.path, b"")?;
                }
                _ => dirs::make(&attachment.path)?,
            }
        }
        record::replace(&bundle.join("config.json"), json.to_string().as_bytes())?;
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
        let options = line.options(&root, systemd);
        let forget = async {
            let forgotten = match timeout(FORGETS, delete(line, &options, record.id.as_str())).await
            {
                Ok(forgotten) => forgotten,
                Err(_) => Err(format!("not done after {} s, killed", FORGETS.as_secs())),
            };
            if let Err(why) = forgotten {
                let program = line.path.display();
                tracing::warn!(container = %record.id, "{program}: delete: {why}");
            }
            let left = root.join(record.id.as_str());
            blocking(move || dirs::remove_all(&left)).await
        };
        run_step("engine.remove-init.program", forget).await
    }
}

/// Dropped, the program is killed.
async fn delete(line: &CommandLine, options: &[String], container: &str) -> Result<(), String> {
    let mut command = line.call_with(options, "delete");
    command.args(["--force", container]);
    let start = move || Running::start(command);
    let started = STARTS.run(&line.path.to_string_lossy(), FORGETS, start).await;
    let started = started.map_err(|_| "others of its calls have not begun".to_owned())?;
    let words = |error: std::io::Error| reason(&error);
    let ended = started.map_err(words)?.end(b"", MOST, FORGETS).await.map_err(words)?;
    match ended.status.success() {
        true => Ok(()),
        false => {
            let said = String::from_utf8_lossy(&ended.stderr.bytes);
            Err(format!("{}: {}", ended.how(), printable_line(said.trim())))
        }
    }
}
