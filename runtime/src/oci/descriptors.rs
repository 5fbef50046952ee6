//! Descriptors of the caller that the program gets: those of `--preserve-fds`, and sockets of an
//! activation.

use crate::cli::Command;
use crate::invalid;
use oci_spec::runtime::Process;
use rrun_runtime::Result;
use rrun_sys::inherited::Inherited;

/// What the caller has given for the program.
#[derive(Debug, Default)]
pub struct Given {
    pub inherited: Inherited,
    /// How many of them are sockets of an activation, which come first.
    sockets: u32,
}

/// Finds them. To be called before anything is opened: see [`Inherited::take`].
///
/// # Errors
/// One that the command line counts is not open.
pub fn given(command: &Command) -> Result<Given> {
    let (asked, sockets) = match command {
        Command::Create(options) => (options.preserve_fds, activated()),
        Command::Run(options) => (options.create.preserve_fds, activated()),
        // Nobody is activated by an exec.
        Command::Exec(options) => (options.preserve_fds, 0),
        _ => return Ok(Given::default()),
    };
    match Inherited::take(sockets.saturating_add(asked)) {
        Ok(inherited) => Ok(Given { inherited, sockets }),
        Err(gap) => {
            Err(invalid(format!("--preserve-fds, LISTEN_FDS: descriptor {gap} is not open")))
        }
    }
}

impl Given {
    /// Tells the program of the sockets: it is the first process where it has a PID namespace, and
    /// that is what callers of runc expect it to be told everywhere.
    pub fn announce(&self, process: &mut Process) {
        if self.sockets == 0 {
            return;
        }
        let env = process.env_mut().get_or_insert_default();
        env.extend([format!("LISTEN_FDS={}", self.sockets), "LISTEN_PID=1".to_owned()]);
        if let Ok(names) = std::env::var("LISTEN_FDNAMES") {
            env.push(format!("LISTEN_FDNAMES={names}"));
        }
    }
}

fn activated() -> u32 {
    let variable = |name| std::env::var(name).unwrap_or_default();
    sockets(&variable("LISTEN_PID"), &variable("LISTEN_FDS"), std::process::id())
}

/// sd_listen_fds(3): they are for the process that LISTEN_PID names.
fn sockets(pid: &str, fds: &str, own: u32) -> u32 {
    if pid.parse() == Ok(own) { fds.parse().unwrap_or(0) } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::sockets;

    #[test]
    fn sockets_are_for_the_process_that_is_named() {
        assert_eq!(sockets("7", "3", 7), 3);
        for (pid, fds) in [("8", "3"), ("", "3"), ("7", ""), ("7", "-1"), ("x", "y")] {
            assert_eq!(sockets(pid, fds, 7), 0, "{pid:?} {fds:?}");
        }
    }
}
