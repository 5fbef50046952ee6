//! Duplicates of a container's ends of pipes, held in case its shim dies: the container's next
//! write does not end it by SIGPIPE then, its input does not end, and what it has written gets
//! into its log.
//!
//! A container has two of these (three with an open stdin, one with a terminal), and a pod one
//! for all of its containers. A read end keeps nobody from seeing an end, and goes with the end of
//! its container.

use super::ContainerAt;
use crate::error::{Context, Error};
use crate::host_paths::Look;
use crate::steps::run_step;
use crate::table::Pipes;
use rrun_shim_protocol::remaining_output::{self, ReadEnds};
use rrun_shim_protocol::{Reply, Request, log_journal};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

impl ContainerAt {
    /// Asks the shim for duplicates. Without them its end takes the container's last words with it.
    pub(crate) async fn hold_pipes(&self) {
        let container = self.container.id.to_string();
        match self.at.ask(Request::LogPipes { container }, Vec::new()).await {
            Ok((Reply::LogPipes { stdout, stderr, stdin }, fds)) => {
                let mut fds = fds.into_iter();
                let Some(pipe) = fds.next() else { return };
                let mut next = |sent: bool| if sent { fds.next() } else { None };
                self.container.set_pipes(Some(Pipes {
                    shim_pipe: self.at.pod.hold_shim_pipe(pipe),
                    stdout: next(stdout),
                    stderr: next(stderr),
                    stdin: next(stdin),
                }));
            }
            Ok(_) => {}
            Err(refusal) => {
                tracing::debug!(container = %self.container.id, error = %refusal.error, "pipes");
            }
        }
    }

    /// Logs what the container has written and its shim, which is dead, has not. Every process of
    /// the container must be dead too.
    pub(crate) async fn log_rest(&self) {
        let Some(pipes) = self.container.set_pipes(None) else { return };
        let log = PathBuf::from(&self.container.record().log_path);
        if log.as_os_str().is_empty() {
            return;
        }
        let journal = log_journal::path(&self.at.pod.dirs.run, self.container.id.as_str());
        let work = async {
            let Pipes { shim_pipe, stdout, stderr, .. } = pipes;
            let own = || shim_pipe.try_clone().context(|| "duplicate a pipe");
            let (has_stdout, mut ends) = (stdout.is_some(), vec![own()?]);
            ends.extend(stdout.into_iter().chain(stderr));
            // In a thread that can be left behind: whoever gives up waiting gives up no place.
            let append = move |look: &Look, ends: &[OwnedFd]| {
                let (at, mut ends) = (log.display().to_string(), ends.iter());
                let tee = ends.next().ok_or_else(|| Error::internal("no pipe of the shim"))?;
                let stdout = if has_stdout { ends.next() } else { None };
                let ends = ReadEnds { tee, stdout, stderr: ends.next() };
                let append = || remaining_output::log(&journal, &log, &ends);
                look.at(&at, || append().context(|| format!("append to {at}")))
            };
            self.at.engine.host_paths.append(&self.at.pod.id, ends, append).await
        };
        if let Err(error) = run_step("engine.give-up.log", work).await {
            tracing::warn!(container = %self.container.id, %error, "its last output is lost");
        }
    }
}
