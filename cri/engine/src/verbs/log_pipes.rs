//! Duplicates of a container's ends of pipes, held in case its shim dies: the container's next
//! write does not end it by SIGPIPE then, its input does not end, and what it has written gets
//! into its log.
//!
//! A container has two of these (three with an open stdin, one with a terminal), and a pod one
//! for all of its containers. A read end keeps nobody from seeing an end, and goes with the end of
//! its container.

use super::ContainerAt;
use crate::blocking::blocking;
use crate::error::{Context, Error, Kind};
use crate::steps::run_step;
use crate::table::Pipes;
use rrun_shim_protocol::remaining_output::{self, ReadEnds};
use rrun_shim_protocol::{Reply, Request, log_journal};
use std::path::PathBuf;
use std::time::Duration;

/// How long the log may take; its disk may be frozen.
const PATIENCE: Duration = Duration::from_secs(10);

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
        let work = blocking(move || {
            let Pipes { shim_pipe, stdout, stderr, .. } = &pipes;
            let ends =
                ReadEnds { tee: shim_pipe, stdout: stdout.as_ref(), stderr: stderr.as_ref() };
            remaining_output::log(&journal, &log, &ends)
                .context(|| format!("append to {}", log.display()))
        });
        let work = async {
            let late = |_| {
                Err(Error::new(
                    Kind::Timeout,
                    format!("append to the log: not done in {PATIENCE:?}"),
                ))
            };
            tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(late)
        };
        if let Err(error) = run_step("engine.give-up.log", work).await {
            tracing::warn!(container = %self.container.id, %error, "its last output is lost");
        }
    }
}
