//! `rrun run --detach`: the two halves.
//!
//! The half in front starts the same program again and waits until that says on its standard
//! output which pod it has taken up, or ends. What it says on standard error until then is passed
//! on. Afterwards the background half is tied to nothing of ours.

use crate::context::Context;
use crate::{args, many};
use anyhow::{Context as _, Result, bail};
use rrun_pod::supervise::{Entry, Store};
use std::fs::File;
use std::io::Write;
use std::process::{ExitCode, Stdio};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::Command;

/// Starts a background half for each pod, and waits until the pods are accepted.
pub async fn detach(context: &Context, args: args::Run) -> Result<ExitCode> {
    let asked = many::read(context, &args)?;
    if asked.pods.len() > 1 {
        many::print_notes(&asked.pods);
    }
    for pod in &asked.pods {
        let command = asked.command(pod, &["--background"])?;
        let done = start(command, asked.input.as_deref()).await?;
        if done != ExitCode::SUCCESS {
            return Ok(done);
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn start(mut command: Command, input: Option<&[u8]>) -> Result<ExitCode> {
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
    if !accepted.is_empty() {
        print!("{accepted}");
        return Ok(ExitCode::SUCCESS);
    }
    let code = child.wait().await?.code();
    Ok(ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(2)))
}

/// In the background half: the pod is accepted.
pub fn accepted(store: &Store, pod: &Entry) -> Result<()> {
    // Ours alone from now on: what is logged goes beside the pod's records.
    let null = File::options().read(true).write(true).open("/dev/null").context("/dev/null")?;
    let path = store.diagnostics(pod);
    let stderr = rrun_sys::record::append(&path, 0o600);
    let stderr = stderr.with_context(|| format!("open {}", path.display()))?;
    println!("{}", pod.uid);
    std::io::stdout().flush()?;
    nix::unistd::dup2_stdin(&null)?;
    nix::unistd::dup2_stdout(&null)?;
    nix::unistd::dup2_stderr(&stderr)?;
    Ok(())
}
