//! One more process in a container.

use super::process;
use crate::error::{Error, Result};
use crate::id::ContainerId;
use crate::record::ContainerRecord;
use crate::session::ExecRequest;
use oci_spec::runtime::Process;
use rrun_runtime::plan::{Cgroups, ExecPlan, Seccomp};
use rrun_runtime::planning::Host;
use serde_json::json;

/// What a command with a terminal has where its container says nothing else.
const TERM: &str = "TERM=xterm";

/// What the execs in a container have in common: made once, from its configuration.
pub(crate) struct ExecTemplate {
    process: Process,
    groups: Cgroups,
    seccomp: Option<Seccomp>,
    env: Vec<Vec<u8>>,
    keyring: String,
    /// Its user outside of the pod's user namespace.
    outside: Option<u32>,
}

/// The session keyring of a container, by the name that other runtimes give it too.
pub(crate) fn keyring(container: &ContainerId) -> String {
    format!("_ses.{container}")
}

impl ExecTemplate {
    pub(crate) fn new(
        (process, outside): (Process, Option<u32>),
        groups: Cgroups,
        seccomp: Option<Seccomp>,
        container: &ContainerRecord,
    ) -> ExecTemplate {
        let text = process.env().as_deref().unwrap_or_default();
        let env = process::bytes(text, &container.config.envs);
        let keyring = keyring(&container.id);
        ExecTemplate { process, groups, seccomp, env, keyring, outside }
    }

    /// The process as another runtime's command line is told it.
    pub(crate) fn process(&self, request: &ExecRequest) -> Result<String> {
        let mut process = self.process.clone();
        process.set_args(Some(request.command.clone())).set_terminal(Some(request.tty));
        process.set_console_size(None);
        if request.tty && !self.has_term() {
            let mut env = process.env().clone().unwrap_or_default();
            env.push(TERM.to_owned());
            process.set_env(Some(env));
        }
        let json = serde_json::to_value(&process);
        let mut json = json.map_err(|error| Error::internal(format!("the process: {error}")))?;
        if let Some((rows, columns)) = request.size.filter(|_| request.tty) {
            json["consoleSize"] = json!({"height": rows, "width": columns});
        }
        Ok(json.to_string())
    }

    fn has_term(&self) -> bool {
        self.env.iter().any(|var| var.starts_with(b"TERM="))
    }

    pub(crate) fn plan(&self, request: &ExecRequest, host: &Host) -> Result<ExecPlan> {
        let mut process = self.process.clone();
        process.set_args(Some(request.command.clone())).set_terminal(Some(request.tty));
        process.set_console_size(None);
        let seccomp = self.seccomp.clone();
        let plan = rrun_runtime::planning::exec_plan(&process, &self.groups, host, seccomp);
        let mut plan = plan?;
        plan.process.env = self.env.clone();
        plan.process.user.outside = self.outside;
        plan.process.keyring = Some(self.keyring.clone());
        plan.process.terminal_size = request.size.filter(|_| request.tty);
        if request.tty && !self.has_term() {
            plan.process.env.push(TERM.as_bytes().to_vec());
        }
        Ok(plan)
    }
}
