//! Processes into an image.

use super::external::{self, DESCRIPTORS};
use super::groups;
use super::message::{PageServer, Type, Wanted};
use super::options::{Folders, Options};
use super::shared;
use super::worker::Worker;
use crate::plan::Cgroups;
use crate::{Context, Error, Kind, Result, cgroup};
use rrun_sys::step;
use std::io::Write;
use std::os::fd::BorrowedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

/// What is dumped, and how.
#[derive(Clone, Debug)]
pub struct Dump<'a> {
    /// What a restore has too.
    pub options: &'a Options,
    /// The first process, as this process sees it. It does not end meanwhile.
    pub pid: i32,
    /// The folder that is its root, where that has a path here.
    pub root: Option<&'a Path>,
    /// Its groups.
    pub groups: &'a Cgroups,
    /// Namespaces of it that are somebody else's, as `/proc/<pid>/ns` calls them.
    pub joined: &'a [String],
    /// Where mounts are in it that are somebody else's, though the mount table here has them not: those
    /// that it has are known.
    pub external: &'a [PathBuf],
    /// Overlays are somebody else's, wherever they are.
    pub external_overlays: bool,
    /// The processes go on afterwards, and do not end.
    pub leave_running: bool,
    /// Memory alone, for a later dump which names this one as its parent; the processes go on.
    pub pre_dump: bool,
    /// Folder of an earlier image, seen from the folder of this one.
    pub parent: Option<PathBuf>,
    /// Connections that are about to be made are left out.
    pub tcp_skip_in_flight: bool,
    /// Files that are removed and still open get a name again.
    pub link_remap: bool,
    /// Who takes the pages of memory, at an address and a port.
    pub page_server: Option<(String, u16)>,
    /// Descriptor of this process that gets a byte when memory can be fetched.
    pub status_fd: Option<i32>,
    /// Descriptors that criu has open until it ends, however this process ends: a lock, for one.
    pub held: Vec<BorrowedFd<'a>>,
}

/// Dumps a tree of processes, and blocks until that is done. `still` is called when all is in the image
/// and the processes stand still yet, and can let the dump fail. A dump that fails leaves the processes
/// running. So does this process when it ends meanwhile: criu has a process group of its own, so that
/// no terminal ends it halfway, and lets the processes go on when nobody answers it. Step
/// `runtime.checkpoint.dump`.
///
/// # Errors
/// The folders; what `still` says; what criu says, with the path of its log.
pub fn dump(dump: &Dump<'_>, mut still: impl FnMut() -> Result<()>) -> Result<()> {
    let kind = if dump.pre_dump { Type::SinglePreDump } else { Type::Dump };
    let copy = |fd: &BorrowedFd<'_>| fd.try_clone_to_owned().context(|| "duplicate a descriptor");
    step::run("runtime.checkpoint.dump", || {
        let held = dump.held.iter().map(copy).collect::<Result<Vec<_>>>()?;
        let was_frozen = cgroup::is_frozen(dump.groups)?;
        let worker = Worker::start(&dump.options.criu, |command| {
            command.process_group(0);
            rrun_sys::command::hand_on(command, held);
        })?;
        let folders = Folders::open(dump.options, "dump.log", worker.pid())?;
        let wanted = wanted(dump, &folders)?;
        let shared = if dump.pre_dump { Vec::new() } else { shared(dump)? };
        let done =
            worker.ask((kind, wanted), &folders, |notice, _| match notice.script.as_deref() {
                Some("post-dump") => {
                    shared::note(&dump.options.images, dump.pid, &shared)?;
                    still()
                }
                _ => Ok(()),
            });
        if done.is_err() && !was_frozen {
            // Left by a criu that was killed: nobody else thaws them.
            cgroup::thaw(dump.groups)?;
        }
        done
    })
}

/// The mounts that are somebody else's, though the mount table here has them not.
fn shared(dump: &Dump<'_>) -> Result<Vec<PathBuf>> {
    let container = external::mounted(&dump.pid.to_string())?;
    let of_host = external::mounts(&container, &external::mounted("self")?);
    let is_one = |target: &&PathBuf| {
        !of_host.contains(*target) && container.iter().any(|mount| mount.target == **target)
    };
    Ok(dump.external.iter().filter(is_one).cloned().collect())
}

fn wanted(dump: &Dump<'_>, folders: &Folders) -> Result<Wanted> {
    let text = |path: &Path| {
        let text = path.to_str().map(str::to_owned);
        text.ok_or_else(|| Error::new(Kind::Invalid, format!("{path:?} is not UTF-8")))
    };
    let mut wanted = Wanted {
        pid: Some(dump.pid),
        root: dump.root.map(text).transpose()?,
        leave_running: Some(dump.leave_running),
        tcp_skip_in_flight: Some(dump.tcp_skip_in_flight),
        link_remap: Some(dump.link_remap),
        parent: dump.parent.as_deref().map(text).transpose()?,
        // A later image takes from here what has not changed since.
        track_mem: Some(dump.pre_dump || dump.parent.is_some()),
        freeze_cgroup: cgroup::freezer(dump.groups).as_deref().map(text).transpose()?,
        page_server: dump.page_server.as_ref().map(|(address, port)| PageServer {
            address: Some(address.clone()),
            port: Some((*port).into()),
        }),
        status_fd: dump.status_fd,
        ..dump.options.wanted(folders, groups::mode(dump.options.cgroups, dump.pid, dump.groups)?)
    };
    for kind in dump.joined.iter().filter(|kind| *kind == "net" || *kind == "pid") {
        wanted.external.push(external::namespace(dump.pid, kind)?);
    }
    if dump.pre_dump {
        return Ok(wanted);
    }
    let container = external::mounted(&dump.pid.to_string())?;
    let mut targets = external::mounts(&container, &external::mounted("self")?);
    let is_mounted = |target: &&PathBuf| container.iter().any(|mount| mount.target == **target);
    targets.extend(dump.external.iter().filter(is_mounted).cloned());
    if dump.external_overlays {
        targets.extend(external::overlays(&container));
    }
    for target in &targets {
        let target = text(target)?;
        wanted.external.push(format!("mnt[{target}]:{target}"));
    }
    let (listed, keys) = external::descriptors(dump.pid)?;
    wanted.external.extend(keys);
    let list = dump.options.images.join(DESCRIPTORS);
    let json = serde_json::Value::from(listed).to_string();
    rrun_sys::record::create(&list, 0o600)
        .and_then(|mut file| file.write_all(json.as_bytes()))
        .context(|| format!("write {}", list.display()))?;
    Ok(wanted)
}
