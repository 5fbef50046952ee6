//! A container's folder below `--root`: `made.json` and `state.json`, the socket that its program
//! waits at, and the filter that its execs get.

use crate::first_process::ProcessStart;
use crate::id::Id;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use oci_spec::runtime::Process;
use rrun_runtime::cgroup::Resources;
use rrun_runtime::plan::{CgroupDir, Cgroups, Listener, Seccomp};
use rrun_runtime::planning::RuntimeHooks;
use rrun_runtime::systemd::{self, Scope};
use rrun_runtime::{Context, Error, Kind, Result, cgroup};
use rrun_sys::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs::{DirBuilder, File, TryLockError};
use std::io::{ErrorKind, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The version of [`Record`] that this code writes.
const VERSION: u16 = 1;

/// What is known of a container between two commands.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    version: u16,
    pub id: String,
    pub oci_version: String,
    pub bundle: PathBuf,
    pub rootfs: PathBuf,
    pub created: String,
    #[serde(default)]
    pub annotations: HashMap<String, String>,
    /// Name of its session keyring; `None` where it has none of its own.
    #[serde(default)]
    pub keyring: Option<String>,
    /// Its groups, written down before they are made, without what is written to them.
    pub groups: Cgroups,
    /// The group of the scope that it is, where systemd made it.
    #[serde(default)]
    pub scope: Option<PathBuf>,
    /// What limits it.
    pub resources: Resources,
    /// Those of them that were not there before: they go with the container.
    pub made: Vec<CgroupDir>,
    /// The process as the configuration had it at create: the bundle may be changed since.
    pub process: Process,
    /// Its first process; absent while it is being made.
    pub init: Option<ProcessStart>,
    /// Its processes end with the first one.
    pub own_pids: bool,
    /// Namespaces of it that are somebody else's, as `/proc/<pid>/ns` calls them.
    #[serde(default)]
    pub joined: Vec<String>,
    /// Flags of the filter in `seccomp.bpf`, if there is one.
    pub seccomp_flags: Option<u32>,
    /// Who answers what it leaves to somebody.
    #[serde(default)]
    pub listener: Option<Listener>,
    /// The hooks of its configuration that this program runs.
    #[serde(default)]
    pub hooks: RuntimeHooks,
}

impl Record {
    /// A record of a container that is about to be made.
    pub fn new(id: &Id, bundle: PathBuf) -> Record {
        Record {
            version: VERSION,
            id: id.as_str().to_owned(),
            oci_version: String::new(),
            bundle,
            rootfs: PathBuf::new(),
            created: Timestamp::now().to_string(),
            annotations: HashMap::new(),
            keyring: None,
            groups: Cgroups::default(),
            scope: None,
            resources: Resources::default(),
            made: Vec::new(),
            process: Process::default(),
            init: None,
            own_pids: true,
            joined: Vec::new(),
            seccomp_flags: None,
            listener: None,
            hooks: RuntimeHooks::default(),
        }
    }

    /// The groups in which whatever is found is the container's. Without a PID namespace of its
    /// own its processes outlive the first one in groups that it did not make, too: those were
    /// empty when it came.
    pub fn own_groups(&self) -> Cgroups {
        if self.own_pids || self.init.is_none() {
            return Cgroups { dirs: self.made.clone(), ..Cgroups::default() };
        }
        self.groups.clone()
    }

    /// Refuses what is done by control groups to one that has none.
    pub fn check_groups(&self) -> Result<()> {
        if self.groups.dirs.is_empty() {
            let text = "it has no control group (--cgroup-manager disabled)";
            return Err(Error::new(Kind::Invalid, text));
        }
        Ok(())
    }

    /// The scope that it is, where systemd made it.
    pub fn scope(&self) -> Option<Scope> {
        self.scope.as_deref().and_then(Scope::of_path)
    }

    /// Whose its scope is, for systemd and people.
    pub fn description(&self) -> String {
        format!("rrun-oci container {}", self.id)
    }

    /// Gives back the groups that were made for it. Whatever is in a scope is killed.
    pub fn release_groups(&self) -> Result<()> {
        if let Some(scope) = self.scope() {
            let made = Cgroups { dirs: self.made.clone(), ..Cgroups::default() };
            if !systemd::stop(&scope, &self.description(), &made)? {
                return Ok(());
            }
        }
        cgroup::remove_patiently(&self.made)
    }
}

/// A container's folder. Whoever makes or removes the container holds a lock on it.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    id: String,
    file: File,
}

/// How an attempt to lock a folder ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Locked {
    /// It is the caller's until the [`Folder`] is dropped.
    Here,
    /// Another process makes or removes the container.
    Elsewhere,
    /// It was removed meanwhile; what has its name now, if anything, is another container's.
    Gone,
}

impl Folder {
    /// Makes the folder and locks it: whoever succeeds owns the id.
    pub fn make(root: &Path, id: &Id) -> Result<Folder> {
        let path = root.join(id.as_str());
        let mut builder = DirBuilder::new();
        builder.mode(0o700);
        match builder.create(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                DirBuilder::new().mode(0o711).recursive(true).create(root)?;
                builder.create(&path)
            }
            other => other,
        }
        .map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => {
                Error::new(Kind::Exists, format!("container with given ID already exists: {id}"))
            }
            _ => Error::from(error).context(format!("make {}", path.display())),
        })?;
        let folder = Folder::at(path, id)?;
        match folder.lock()? {
            Locked::Here => Ok(folder),
            // Who removes it came first, and found nothing in it.
            _ => Err(Error::new(Kind::Ended, "it was deleted while it was being made")),
        }
    }

    /// Opens the folder of a container that is there.
    pub fn open(root: &Path, id: &Id) -> Result<Folder> {
        Folder::at(root.join(id.as_str()), id)
    }

    fn at(path: PathBuf, id: &Id) -> Result<Folder> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        match open(&path, flags, Mode::empty()) {
            Ok(fd) => Ok(Folder { path, id: id.as_str().to_owned(), file: File::from(fd) }),
            // The words that containerd and podman look for.
            Err(nix::errno::Errno::ENOENT) => {
                Err(Error::new(Kind::NotFound, format!("container {id} does not exist")))
            }
            Err(errno) => Err(errno).context(|| format!("open {}", path.display())),
        }
    }

    /// Locks the folder, if nobody else has. It is not removed by others then, and who makes a
    /// container has done so or has taken it back.
    pub fn lock(&self) -> Result<Locked> {
        let context = || format!("lock {}", self.path.display());
        match self.file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(Locked::Elsewhere),
            Err(TryLockError::Error(error)) => return Err(error).context(context),
        }
        let own = self.file.metadata().context(context)?;
        match std::fs::symlink_metadata(&self.path) {
            Ok(there) if (there.dev(), there.ino()) == (own.dev(), own.ino()) => Ok(Locked::Here),
            Ok(_) => Ok(Locked::Gone),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Locked::Gone),
            Err(error) => Err(error).context(context),
        }
    }

    /// The socket that the program waits at until its start. Named through the descriptor, as a
    /// socket's path has 107 bytes and `--root` may be long.
    pub fn start_socket(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}/start.sock", self.file.as_raw_fd()))
    }

    /// Reads the record: as it was before anything was made where `state.json` is not there, because
    /// the container is still being made, or because somebody has removed it.
    pub fn read(&self) -> Result<Record> {
        match self.read_from("state.json") {
            Err(error) if error.kind() == Kind::NotFound => self.read_from("made.json"),
            read => read,
        }
    }

    fn read_from(&self, name: &str) -> Result<Record> {
        let path = self.path.join(name);
        let context = || format!("read {}", path.display());
        let json = rrun_sys::record::read(&path).context(context)?;
        let record: Record = serde_json::from_slice(&json)
            .map_err(|error| Error::new(Kind::Invalid, error.to_string()))
            .context(context)?;
        if record.version > VERSION {
            let text = format!("version {} is newer than this program", record.version);
            return Err(Error::new(Kind::Invalid, text)).context(context);
        }
        // A folder that was copied: what the record tells of is another container's.
        if record.id != self.id {
            let text = format!("it is the state of {}", record.id);
            return Err(Error::new(Kind::Invalid, text))
                .context(|| format!("state of {}", self.id));
        }
        Ok(record)
    }

    /// Writes what is about to be made, by which a container can be taken back whatever becomes of
    /// `state.json`.
    pub fn write_made(&self, record: &Record) -> Result<()> {
        self.write_to("made.json", record)
    }

    /// Writes the record of a container that is there, whole or not at all.
    pub fn write(&self, record: &Record) -> Result<()> {
        self.write_to("state.json", record)
    }

    fn write_to(&self, name: &str, record: &Record) -> Result<()> {
        let json = serde_json::to_vec(record)
            .map_err(|error| Error::new(Kind::Invalid, error.to_string()))?;
        write_whole(&self.path.join(name), &json)
    }

    /// Keeps the filter for execs.
    pub fn write_filter(&self, seccomp: &Seccomp) -> Result<()> {
        write_whole(&self.path.join("seccomp.bpf"), &seccomp.filter)
    }

    /// The filter for execs.
    pub fn read_filter(&self, record: &Record) -> Result<Option<Seccomp>> {
        let Some(flags) = record.seccomp_flags else { return Ok(None) };
        let path = self.path.join("seccomp.bpf");
        let filter =
            rrun_sys::record::read(&path).context(|| format!("read {}", path.display()))?;
        Ok(Some(Seccomp { filter, flags, listener: record.listener.clone() }))
    }

    /// Removes the folder; one that is gone is done.
    pub fn remove(path: &Path) -> Result<()> {
        match std::fs::remove_dir_all(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).context(|| format!("remove {}", path.display()))
            }
            _ => Ok(()),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Writes a file beside its place and renames it. The folder may be one that others write to, so
/// what has the name beside is never opened: a link there would lead to any file.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let context = || format!("write {}", path.display());
    let Some(name) = path.file_name() else {
        return Err(Error::new(Kind::Invalid, "it names no file")).context(context);
    };
    let beside = path.with_file_name(format!(".{}.{}", name.display(), std::process::id()));
    let written = write_new(&beside, bytes).and_then(|()| std::fs::rename(&beside, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&beside);
    }
    written.context(context)
}

fn write_new(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    // Left by a process of that number which was killed here.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // O_EXCL, which follows no link.
    File::create_new(path)?.write_all(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_that_waits_where_a_file_is_written_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("precious"), "precious").unwrap();
        let beside = at(&format!(".pid.{}", std::process::id()));
        std::os::unix::fs::symlink(at("precious"), &beside).unwrap();
        std::os::unix::fs::symlink(at("precious"), at("pid")).unwrap();
        for pid in ["1", "23"] {
            write_whole(&at("pid"), pid.as_bytes()).unwrap();
            assert_eq!(std::fs::read_to_string(at("pid")).unwrap(), pid);
            // A stale one is in nobody's way.
            std::fs::write(&beside, "longer than that").unwrap();
        }
        assert_eq!(std::fs::read_to_string(at("precious")).unwrap(), "precious");
        assert!(!at("pid").is_symlink());
    }

    #[test]
    fn what_cannot_be_written_leaves_no_file_beside() {
        let folder = tempfile::tempdir().unwrap();
        let full = folder.path().join("full");
        std::fs::create_dir_all(full.join("inside")).unwrap();
        for (path, why) in [(full.clone(), "EISDIR"), (full.join(".."), "it names no file")] {
            let error = write_whole(&path, b"1").unwrap_err().to_string();
            assert!(error.ends_with(why), "{error}");
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        assert_eq!(std::fs::read_dir(full).unwrap().count(), 1);
    }
}
