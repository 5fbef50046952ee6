//! The execution of one plugin: environment, configuration on stdin, answer on stdout, a time that
//! it may take.

use super::answer::failure;
use crate::error::{Context, Error, Kind, Result};
use rrun_blocking::program::{Most, Program};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// More than any plugin says; what is beyond is not kept.
const MOST: Most = Most { stdout: 8 << 20, stderr: 64 << 10 };

/// A plugin's file: the first of its name in `dirs`.
pub fn find(dirs: &[PathBuf], name: &str) -> Result<PathBuf> {
    dirs.iter().map(|dir| dir.join(name)).find(|path| path.is_file()).ok_or_else(|| {
        let dirs: Vec<_> = dirs.iter().map(|dir| dir.display().to_string()).collect();
        Error::new(Kind::NotFound, format!("not found in [{}]", dirs.join(" ")))
    })
}

/// Starts a plugin. Blocks.
pub fn start(program: &Path, env: &[(&str, String)]) -> Result<Program> {
    let mut command = Command::new(program);
    command.envs(env.iter().map(|(name, value)| (name, value)));
    rrun_sys::limit::hand_down(&mut command);
    Program::start(command).context(|| program.display())
}

/// Lets a plugin run to its end: what it wrote to stdout.
///
/// # Errors
/// What the plugin says; `Timeout`.
pub async fn answer(plugin: Program, stdin: &[u8], limit: Duration) -> Result<Vec<u8>> {
    let ended = plugin.end(stdin, MOST, limit).await?;
    match ended.status.success() {
        true => Ok(ended.stdout.bytes),
        false => Err(failure(&ended.how(), &ended.stdout.bytes, &ended.stderr.bytes)),
    }
}
