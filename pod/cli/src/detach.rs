//! `rrun run --detach`: the two halves.
//!
//! The half in front starts the same program again and waits until that says on its standard
//! output which pod it has taken up, or ends. What it says on standard error until then is passed
//! on. Afterwards the background half is tied to nothing of ours.

use crate::context::Context;
use crate::{args, jobs, many};
use anyhow::{Context as _, Result, bail};
use rrun_pod::model::Pod;
use rrun_pod::supervise::{Entry, Store};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::process::{ExitCode, Stdio};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};

/// Starts a background half for each pod, and waits until the pods are accepted.
pub async fn detach(context: &Context, args: args::Run) -> Result<ExitCode> {
    let asked = many::read(context, &args)?;
    if asked.has_several_processes() {
        many::print_notes(&asked.pods);
    }
    let mut jobs = BTreeSet::new();
    for pod in &asked.pods {
        if pod.job.as_ref().is_some_and(|job| !jobs.insert(jobs::full_name(job))) {
            continue;
        }
        match begin(&asked, pod).await? {
            Ok(accepted) => print!("{accepted}"),
            Err(code) => return Ok(code),
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Starts the background half for a pod, or for the Job that it is of: a Job has a process that makes
/// its pods, and each of them its own. What it has accepted, or how it has ended instead.
pub async fn begin(asked: &many::Asked, pod: &Pod) -> Result<Result<String, ExitCode>> {
    let command = match pod.job.as_ref().map(|job| jobs::full_name(job)) {
        None => asked.command(pod, &["--background"])?,
        Some(job) => asked.again(&["--background", "--job", &job])?,
    };
    let mut started = start(command, asked.input.as_deref()).await?;
    if started.accepted.is_empty() {
        let code = started.child.wait().await?.code();
        let code = code.and_then(|code| u8::try_from(code).ok()).unwrap_or(2);
        return Ok(Err(ExitCode::from(code)));
    }
    Ok(Ok(started.accepted))
}

/// A background half, and the line that says what it has accepted: empty if it ends instead.
pub struct Started {
    pub child: Child,
    pub accepted: String,
}

/// Starts a background half, and passes on what it says until it has accepted its pod.
pub async fn start(mut command: Command, input: Option<&[u8]>) -> Result<Started> {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().context("start the background half")?;
    let (Some(stdout), Some(mut stderr)) = (child.stdout.take(), child.stderr.take()) else {
        bail!("start the background half: it has no pipes");
    };
    many::give(&mut child, input).await;
    let mut said = Vec::new();
    let mut accepted = String::new();
    // Both end when the pod is accepted: the background half lets go of them then.
    let mut stdout = BufReader::new(stdout);
    let both = tokio::join!(stdout.read_line(&mut accepted), stderr.read_to_end(&mut said));
    (both.0.and(both.1)).context("hear from the background half")?;
    std::io::stderr().write_all(&said).context("pass on what it said")?;
    Ok(Started { child, accepted })
}

/// In the background half: the pod is accepted.
pub async fn accepted(store: &Store, pod: &Entry) -> Result<()> {
    // Ours alone from now on: what is logged goes beside the pod's records.
    let null = File::options().read(true).write(true).open("/dev/null").context("/dev/null")?;
    let stderr = store.diagnostics(pod).await?;
    println!("{}", pod.uid);
    std::io::stdout().flush()?;
    nix::unistd::dup2_stdin(&null)?;
    nix::unistd::dup2_stdout(&null)?;
    nix::unistd::dup2_stderr(&stderr)?;
    Ok(())
}
