//! Programs that may refuse an image before it is pulled, by containerd's bin-dir convention.
//!
//! Every file of a folder is such a program. It is called with the name and the digest that a pull
//! has found for it, and has the descriptor on its standard input; with 0 it lets the image pass,
//! with any other code it refuses, and standard output says why. All must let it pass. One that
//! cannot be run, or is not done in time, refuses.
//!
//! Every pull asks them, of an image that is here already too. What is imported comes from the hands
//! of whoever may change the folder, and is not looked at.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use rrun_blocking::Pool;
use rrun_blocking::program::{Most, Program, Written};
use rrun_sys::root::{RelPath, RootDir, Rule};
use serde_json::json;

use crate::error::{Context, Error, Kind, Result};
use crate::manifest::Descriptor;
use crate::reference::Reference;

/// Folders that are read, and programs that are started.
static FOLDERS: Pool = Pool::new(16);
/// So much is read of what a program says.
const MOST: Most = Most { stdout: 32 << 10, stderr: 32 << 10 };

/// Where the programs are, and how they are called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verifiers {
    /// Their folder; one that is not there has none.
    pub bin_dir: PathBuf,
    /// So many are called, the first by name; `None`: all.
    pub max: Option<usize>,
    /// How long each may take.
    pub timeout: Duration,
}

impl Default for Verifiers {
    fn default() -> Verifiers {
        Verifiers {
            bin_dir: "/opt/containerd/image-verifier/bin".into(),
            max: Some(10),
            timeout: Duration::from_secs(10),
        }
    }
}

/// The programs that are asked about an image.
pub(crate) struct Programs {
    paths: Vec<PathBuf>,
    timeout: Duration,
}

impl Programs {
    /// Reads the folder.
    ///
    /// # Errors
    /// `Denied` for a folder or a program that others than root may change, and for what is no
    /// program; else of the disk.
    pub(crate) async fn of(verifiers: Verifiers) -> Result<Programs> {
        let what = format!("image verifiers {}", verifiers.bin_dir.display());
        let timeout = verifiers.timeout;
        let paths = FOLDERS.run(move || find(&verifiers)).await.context(what)?;
        Ok(Programs { paths, timeout })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// Asks all of them about an image, one after the other.
    ///
    /// # Errors
    /// `Denied` with the first refusal, `Unavailable` for one that is not done in time.
    pub(crate) async fn ask(&self, name: &Reference, image: &Descriptor) -> Result<()> {
        let (media_type, digest, size) = (&image.media_type, image.digest.to_string(), image.size);
        let descriptor = json!({"mediaType": media_type, "digest": digest, "size": size});
        let descriptor = format!("{descriptor}\n").into_bytes();
        let args = [
            "-name",
            &name.to_string(),
            "-digest",
            &digest,
            "-stdin-media-type",
            "application/vnd.oci.descriptor.v1+json",
        ]
        .map(str::to_owned);
        for path in &self.paths {
            let verifier = path.file_name().unwrap_or_default().to_string_lossy();
            let what = format!("image verifier {verifier}");
            let (path, args) = (path.clone(), args.clone());
            let started = FOLDERS.run(move || start(&path, &args)).await.context(&what)?;
            let ended = started.end(&descriptor, MOST, self.timeout).await.context(&what)?;
            for line in text(&ended.stderr).lines() {
                tracing::info!(%verifier, image = %name, "{}", rrun_error::printable_line(line));
            }
            let reason = text(&ended.stdout);
            if !ended.status.success() {
                let why = format!("it refuses the image ({}): {reason}", ended.how());
                return Err(Error::new(Kind::Denied, why).context(what));
            }
            let reason = rrun_error::printable_line(&reason);
            tracing::debug!(%verifier, image = %name, reason, "the image may pass");
        }
        Ok(())
    }
}

fn start(path: &Path, args: &[String]) -> Result<Program> {
    let mut command = Command::new(path);
    command.args(args);
    rrun_sys::limit::hand_down(&mut command);
    Program::start(command).context("start")
}

/// Without blanks around it.
fn text(written: &Written) -> String {
    let mut text = String::from_utf8_lossy(&written.bytes).trim().to_owned();
    if written.dropped > 0 {
        text.push_str(&format!(" ({} bytes more)", written.dropped));
    }
    text
}

/// The programs, by name, each of which can be run and is nobody's but root's.
fn find(verifiers: &Verifiers) -> Result<Vec<PathBuf>> {
    let dir = &verifiers.bin_dir;
    let folder = match File::open(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        opened => opened?,
    };
    let found = folder.metadata()?;
    if !found.is_dir() {
        return Err(denied("it is no directory"));
    }
    check_owner(&found)?;
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        names.push(entry?.file_name());
    }
    names.sort();
    let most = verifiers.max.unwrap_or(usize::MAX);
    if names.len() > most {
        let (all, folder) = (names.len(), dir.display());
        tracing::warn!(%folder, "of {all} image verifiers the first {most} are called");
        names.truncate(most);
    }
    let root = RootDir::open(dir, Rule::Beneath)?;
    for name in &names {
        check(&root, name.as_encoded_bytes()).context(name.to_string_lossy())?;
    }
    Ok(names.iter().map(|name| dir.join(name)).collect())
}

/// Opened as a path alone: a FIFO would block, and a device act. A link may lead to another program
/// of the folder, and nowhere else.
fn check(root: &RootDir, name: &[u8]) -> Result<()> {
    let opened = root.open_at(&RelPath::parse(name)?, OFlag::O_PATH, Mode::empty());
    let file = match opened {
        Err(e) if e.raw_os_error() == Some(nix::libc::EXDEV) => {
            return Err(denied("it is a link that leads out of the folder"));
        }
        opened => File::from(opened?),
    };
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(denied("it is no regular file"));
    }
    check_owner(&found)?;
    match found.permissions().mode() & 0o111 {
        0 => Err(denied("it is not executable")),
        _ => Ok(()),
    }
}

fn check_owner(found: &Metadata) -> Result<()> {
    let us = nix::unistd::geteuid().as_raw();
    if found.uid() != 0 && found.uid() != us {
        return Err(denied(&format!("it belongs to uid {}", found.uid())));
    }
    match found.mode() & 0o022 {
        0 => Ok(()),
        _ => Err(denied(&format!("others may write to it (mode {:04o})", found.mode() & 0o7777))),
    }
}

fn denied(why: &str) -> Error {
    Error::new(Kind::Denied, why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn names(bin_dir: &Path) -> Result<Vec<String>> {
        let verifiers = Verifiers { bin_dir: bin_dir.to_owned(), ..Verifiers::default() };
        let found = find(&verifiers)?;
        let name = |path: PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
        Ok(found.into_iter().map(name).collect())
    }

    fn program(path: &Path) {
        fs::write(path, "#!/bin/sh\n").unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn a_folder_that_is_not_there_has_none_and_the_first_by_name_are_called() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(names(&folder.path().join("none")).unwrap(), [""; 0]);
        for name in ["b", "a", "10", "c"] {
            program(&folder.path().join(name));
        }
        symlink("a", folder.path().join("again")).unwrap();
        assert_eq!(names(folder.path()).unwrap(), ["10", "a", "again", "b", "c"]);
        let bin_dir = folder.path().to_owned();
        let first = Verifiers { bin_dir, max: Some(2), ..Verifiers::default() };
        assert_eq!(find(&first).unwrap().len(), 2);
    }

    #[test]
    fn what_others_may_change_or_is_no_program_is_refused_by_name() {
        type Harm = (fn(&Path), &'static str);
        let harms: [Harm; 8] = [
            (
                |at| nix::unistd::mkfifo(&at.join("x"), Mode::S_IRWXU).unwrap(),
                "x: it is no regular",
            ),
            (|at| symlink("/dev/zero", at.join("x")).unwrap(), "x: it is a link that leads out"),
            (|at| symlink("../x", at.join("x")).unwrap(), "x: it is a link that leads out"),
            (|at| fs::create_dir(at.join("x")).unwrap(), "x: it is no regular file"),
            (|at| fs::write(at.join("x"), "").unwrap(), "x: it is not executable"),
            (|at| symlink("gone", at.join("x")).unwrap(), "x: ENOENT"),
            (
                |at| {
                    program(&at.join("x"));
                    fs::set_permissions(at.join("x"), fs::Permissions::from_mode(0o777)).unwrap();
                },
                "x: others may write to it (mode 0777)",
            ),
            (
                |at| fs::set_permissions(at, fs::Permissions::from_mode(0o1777)).unwrap(),
                "others may write to it (mode 1777)",
            ),
        ];
        for (harm, why) in harms {
            let folder = tempfile::tempdir().unwrap();
            program(&folder.path().join("good"));
            harm(folder.path());
            let error = names(folder.path()).unwrap_err().to_string();
            assert!(error.contains(why), "{error} instead of {why}");
        }
        let folder = tempfile::tempdir().unwrap();
        program(&folder.path().join("file"));
        let error = names(&folder.path().join("file")).unwrap_err();
        assert_eq!((error.kind(), error.to_string()), (Kind::Denied, "it is no directory".into()));
    }
}
