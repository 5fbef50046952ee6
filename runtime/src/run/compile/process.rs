//! The process itself. What comes after the release, in order:
//!
//! 1. Standard descriptors to the user, session and terminal, everything else close-on-exec.
//! 2. Limits: raising one needs what is given up later.
//! 3. Without `no_new_privs` a filter needs CAP_SYS_ADMIN, so it is loaded before that goes, and
//!    must allow what follows here. With it, the filter is the last thing before execve.
//! 4. Working directory as root; as the user later, if root may not (NFS).
//! 5. Bounding set while CAP_SETPCAP is there; groups, group, user; the sets, which the user's
//!    change would have emptied without `PR_SET_KEEPCAPS`; the ambient set, which must be within
//!    permitted and inheritable.
//! 6. Hooks of the start, as the user, inside the container. Then the program is looked for likewise.

use super::Compiler;
use super::text::c_string;
use crate::plan::{Hooks, Process};
use crate::run::Caller;
use crate::{Context, Error, Kind, Result};
use rrun_sys::program::{
    CredentialOp, DescriptorOp, ExecOp, FileOp, Limit, Reg, Sets, Strings, TerminalOp,
};
use std::ffi::{CStr, CString};

/// Where the label that a process takes at its execve is written.
const ATTR_EXEC: &CStr = c"thread-self/attr/exec";

/// Where programs are looked for when the environment does not say.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

impl Compiler<'_> {
    /// What is set through the host's procfs: the OOM score, security labels, and the keyring
    /// that takes its label from them.
    pub(super) fn oom_score_and_labels(&mut self, process: &Process) -> Result<()> {
        if let Some(adjustment) = process.oom_score_adj {
            let value = adjustment.to_string().into_bytes().into();
            let path = c"thread-self/oom_score_adj".into();
            let op = FileOp::Value { proc: self.proc, path, value, lenient: true };
            self.program.step(format!("set oom_score_adj {adjustment}"), op);
        }
        if let Some(profile) = &process.apparmor {
            // Its own directory exists since 5.8; the older name is shared with other modules.
            let paths = vec![c"thread-self/attr/apparmor/exec".into(), ATTR_EXEC.into()];
            let value = format!("exec {profile}").into_bytes().into();
            let op = FileOp::Label { proc: self.proc, paths, value };
            self.program.step(format!("set AppArmor profile {profile}"), op);
        }
        if let Some(label) = &process.selinux {
            let value = label.as_bytes().into();
            let op = FileOp::Label { proc: self.proc, paths: vec![ATTR_EXEC.into()], value };
            self.program.step(format!("set SELinux label {label}"), op);
            // A keyring of another label could not be searched from inside.
            let paths = vec![c"thread-self/attr/keycreate".into()];
            let op = FileOp::Label { proc: self.proc, paths, value: label.as_bytes().into() };
            self.program.step(format!("set SELinux label {label} of keys"), op);
        }
        if let Some(name) = &process.keyring {
            let op = CredentialOp::SessionKeyring(c_string(name.as_str()).context(|| "keyring")?);
            self.program.step("join the session keyring", op);
        }
        Ok(())
    }

    pub(super) fn terminal(&mut self, process: &Process, root: Option<Reg>) {
        if process.terminal {
            let (uid, size) = (process.user.uid, process.terminal_size);
            let op = TerminalOp::Open { root, uid, size, console: root.is_some() };
            self.program.step("open the terminal", op);
        }
    }

    /// Says that the program is missing before the release, for a caller whose start is another
    /// command. A relative path starts at a directory that is entered later.
    pub(super) fn expect_program(&mut self, process: &Process) -> Result<()> {
        let (candidates, search) = candidates(process)?;
        let name = process.args.first().map_or("", String::as_str);
        if search || name.starts_with('/') {
            self.program.step(name, ExecOp::Expect { candidates, search });
        }
        Ok(())
    }

    /// From the release to execve.
    pub(super) fn process(&mut self, process: &Process, hooks: Option<&Hooks>) -> Result<()> {
        if !process.terminal {
            let uid = process.user.uid;
            self.program.step("give stdio to the user", DescriptorOp::OwnStdio { uid });
        }
        let terminal = process.terminal;
        self.program.step("begin a session", TerminalOp::Session { terminal });
        let cwd = c_string(process.cwd.as_str()).context(|| "working directory")?;
        let label = format!("enter {}", process.cwd);
        self.program.step(label.as_str(), ExecOp::Enter(cwd.clone()));
        self.identity_before_filter(process)?;
        self.program.step(label.as_str(), ExecOp::EnterAgain(cwd));
        self.program.step(label, ExecOp::CheckDirectory);
        if let Some(hooks) = hooks {
            self.hooks_of_start(hooks)?;
        }
        let (candidates, search) = candidates(process)?;
        let name = process.args.first().map_or("", String::as_str);
        self.program.step(name, ExecOp::Find { candidates: candidates.clone(), search });
        self.late_filter(process);
        let arguments = process.args.iter().map(|arg| c_string(arg.as_str()));
        let arguments: Vec<CString> = arguments.collect::<Result<_>>().context(|| "arguments")?;
        let environment = process.env.iter().map(|entry| c_string(entry.as_slice()));
        let environment: Vec<CString> =
            environment.collect::<Result<_>>().context(|| "environment")?;
        let (arguments, environment) = (Strings::from(arguments), Strings::from(environment));
        self.program.step(name, ExecOp::Run { candidates, arguments, environment });
        Ok(())
    }

    /// Who a process without a working directory of its own is.
    pub(super) fn identity(&mut self, process: &Process) -> Result<()> {
        self.identity_before_filter(process)?;
        self.late_filter(process);
        Ok(())
    }

    fn identity_before_filter(&mut self, process: &Process) -> Result<()> {
        let others = self.beside.inherited.end();
        self.program.step("close on exec", DescriptorOp::CloseOnExec(others));
        for limit in &process.rlimits {
            let op = Limit { resource: limit.resource, soft: limit.soft, hard: limit.hard };
            self.program.step(format!("set limit {}", limit.resource), CredentialOp::Limit(op));
        }
        self.program.step("set umask", CredentialOp::Umask(process.user.umask.unwrap_or(0o022)));
        if process.no_new_privileges {
            self.program.step("set no_new_privs", CredentialOp::NoNewPrivileges);
        } else {
            self.filter(process);
        }
        let sets = &process.capabilities;
        self.program.step("drop bounding capabilities", CredentialOp::Bounding(sets.bounding));
        self.program.step("keep capabilities", CredentialOp::KeepCapabilities);
        let user = &process.user;
        let groups = user.groups.as_slice().into();
        let denied = self.beside.caller != Caller::Root;
        let op = CredentialOp::Ids { groups, gid: user.gid, uid: user.uid, denied };
        self.program.step(format!("become user {}:{}", user.uid, user.gid), op);
        let op = Sets {
            effective: sets.effective,
            permitted: sets.permitted,
            inheritable: sets.inheritable,
        };
        self.program.step("set capabilities", CredentialOp::Sets(op));
        self.program.step("set ambient capabilities", CredentialOp::Ambient(sets.ambient));
        Ok(())
    }

    fn late_filter(&mut self, process: &Process) {
        if process.no_new_privileges {
            self.filter(process);
        }
    }

    fn filter(&mut self, process: &Process) {
        if let Some(seccomp) = &process.seccomp {
            self.load_filter(seccomp);
        }
    }
}

/// Where the program may be, and whether that comes from `PATH`.
fn candidates(process: &Process) -> Result<(Vec<CString>, bool)> {
    let name = process.args.first().filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| Error::new(Kind::Invalid, "no command specified"))?;
    if name.contains('/') {
        return Ok((vec![c_string(name.as_str())?], false));
    }
    // The last one wins, as it does for whoever appends.
    let path = process.env.iter().rev().find_map(|entry| entry.strip_prefix(b"PATH="));
    let path = path.unwrap_or(DEFAULT_PATH.as_bytes());
    let mut all = Vec::new();
    // A relative directory would make it depend on the working directory what is executed.
    for directory in path.split(|byte| *byte == b':').filter(|dir| dir.starts_with(b"/")) {
        all.push(c_string([directory, b"/", name.as_bytes()].concat())?);
    }
    Ok((all, true))
}
