//! The shim of an earlier commit of this repository, for tests of an upgrade.

use crate::place;
use anyhow::{Context, Result, bail};
use nix::fcntl::{Flock, FlockArg};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// `rrun-shim` of the commit that `tests/upgrade/commit` names. It is built in the cache, once.
/// `None`: this checkout has no history to take it from (an unpacked archive, `git clone --depth`).
///
/// # Errors
/// A history that is whole and lacks the commit; a build that fails.
pub fn shim() -> Result<Option<PathBuf>> {
    let pinned = place::workspace().join("tests/upgrade/commit");
    let text = fs::read_to_string(&pinned).with_context(|| pinned.display().to_string())?;
    let mut lines = text.lines().filter(|line| !line.starts_with('#'));
    let commit = lines.next().with_context(|| format!("{}: no commit", pinned.display()))?;
    let folder = place::cache().join("upgrade");
    fs::create_dir_all(&folder)?;
    let program = folder.join(format!("rrun-shim-{commit}"));
    // Suites run side by side.
    let lock = File::create(folder.join("lock"))?;
    let _locked = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, errno)| errno)?;
    if !program.exists() {
        if !has_history()? {
            return Ok(None);
        }
        build(commit, &folder, &program).with_context(|| format!("rrun-shim of {commit}"))?;
    }
    Ok(Some(program))
}

fn git() -> Command {
    let mut git = Command::new("git");
    git.arg("-C").arg(place::workspace());
    git
}

/// Whether this checkout is a repository with its whole history.
fn has_history() -> Result<bool> {
    let shallow = git().args(["rev-parse", "--is-shallow-repository"]).output().context("git")?;
    Ok(shallow.stdout.trim_ascii() == b"false")
}

fn build(commit: &str, folder: &Path, program: &Path) -> Result<()> {
    let source = folder.join(commit);
    unpack(commit, &source)?;
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--locked", "--package", "rrun-shim", "--bins", "--target-dir"]);
    run(cargo.arg(folder.join("target")).current_dir(&source))?;
    // By rename: a build that is interrupted leaves no half of a program under its name.
    let copy = program.with_extension("new");
    fs::copy(folder.join("target/debug/rrun-shim"), &copy)?;
    fs::rename(copy, program)?;
    fs::remove_dir_all(source)?;
    Ok(())
}

/// The tree of `commit` in `folder`.
fn unpack(commit: &str, folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    fs::create_dir_all(folder)?;
    let mut archive = git().args(["archive", commit]).stdout(Stdio::piped()).spawn()?;
    let tar = archive.stdout.take().context("git archive has no output")?;
    run(Command::new("tar").arg("-x").arg("-C").arg(folder).stdin(tar))?;
    let status = archive.wait()?;
    if !status.success() {
        bail!("git archive: {status}");
    }
    Ok(())
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?}: {}\n{said}", output.status);
    }
    Ok(())
}
