//! Runtime handlers: the built-in one, and those that stand for the command line of another OCI
//! runtime.

use crate::error::{Context, Error, Result};
use rrun_shim_protocol::program;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The name of the built-in handler, which needs none.
pub const BUILT_IN: &str = "rrun";

/// The command line of an OCI runtime, as runc spells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandLine {
    /// The program: an absolute path.
    pub path: PathBuf,
    /// Options before the verb.
    pub args: Vec<String>,
    /// How many seconds one call may take.
    pub timeout: u64,
}

/// Handlers by name, without the built-in one.
pub type Handlers = BTreeMap<String, CommandLine>;

/// Who makes the containers of `handler`; `None` is the built-in one.
///
/// # Errors
/// `Invalid` for one that is not known, with those that are.
pub fn find(handlers: &Handlers, handler: &str) -> Result<Option<CommandLine>> {
    if handler.is_empty() || handler == BUILT_IN {
        return Ok(None);
    }
    if let Some(line) = handlers.get(handler) {
        return Ok(Some(line.clone()));
    }
    let mut known: Vec<&str> = handlers.keys().map(String::as_str).chain([BUILT_IN]).collect();
    known.sort_unstable();
    let known = known.join(", ");
    Err(Error::invalid(format!("runtime handler {handler:?} is not known, but {known}")))
}

impl CommandLine {
    /// Refuses a program that is not there or cannot be executed. Blocks.
    ///
    /// # Errors
    /// `FailedPrecondition`, with its path.
    pub(crate) fn is_there(&self) -> Result<()> {
        let executable = std::fs::metadata(&self.path).and_then(|found| {
            match found.is_file() && found.permissions().mode() & 0o111 != 0 {
                true => Ok(()),
                false => Err(io::Error::other("it cannot be executed")),
            }
        });
        let failed = |error: io::Error| Error::precondition(rrun_error::reason(&error));
        executable.map_err(failed).context(|| self.path.display().to_string())
    }

    /// A call that needs no records, such as `features`; its own words follow.
    pub fn call(&self, verb: &str) -> Command {
        self.call_with(&self.args, verb)
    }

    /// As [`CommandLine::call`], with `options` before the verb.
    pub(crate) fn call_with(&self, options: &[String], verb: &str) -> Command {
        let mut command = Command::new(&self.path);
        program::calls(&mut command, options, None, verb);
        command
    }

    /// What comes before each verb: where the runtime keeps its records, and who makes groups.
    pub(crate) fn options(&self, root: &Path, systemd: bool) -> Vec<String> {
        let mut options = self.args.clone();
        options.extend(["--root".to_owned(), root.to_string_lossy().into_owned()]);
        options.extend(systemd.then(|| "--systemd-cgroup".to_owned()));
        options
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_is_not_known_is_refused_with_those_that_are() {
        let line = CommandLine { path: "/r".into(), args: vec!["--x".into()], timeout: 30 };
        let handlers = Handlers::from(["runc", "crun"].map(|name| (name.into(), line.clone())));
        assert_eq!(find(&handlers, "").unwrap(), None);
        assert_eq!(find(&handlers, BUILT_IN).unwrap(), None);
        assert_eq!(find(&handlers, "crun").unwrap(), Some(line.clone()));
        let words = find(&handlers, "kata").unwrap_err().to_string();
        assert_eq!(words, "runtime handler \"kata\" is not known, but crun, rrun, runc");
        let options = line.options(Path::new("/run/x"), true);
        assert_eq!(options, ["--x", "--root", "/run/x", "--systemd-cgroup"]);
        let call = line.call_with(&options, "delete");
        let words: Vec<_> = call.get_args().collect();
        assert_eq!(words, ["--x", "--root", "/run/x", "--systemd-cgroup", "delete"]);
        let environment: Vec<_> = call.get_envs().map(|(name, _)| name).collect();
        assert_eq!(environment, ["PATH"]);
    }
}
