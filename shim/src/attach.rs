//! What the shim's program is executed as before it becomes the program of an OCI runtime: attaches
//! what that is to find, in a mount namespace that ends with it, so that none of it is in the host's
//! table of mounts.

use nix::fcntl::{AT_FDCWD, OFlag, open};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::stat::Mode;
use nix::unistd::getppid;
use rrun_error::reason;
use rrun_runtime::run::namespace;
use rrun_sys::mount::{self, MountAttr};
use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// The first argument; the log and the shim's process id follow.
pub const FLAG: &str = "--call";
/// A detached mount: descriptor, path.
pub const MOUNT: &str = "--mount";
/// A namespace: descriptor, path.
pub const NAMESPACE: &str = "--namespace";
/// A folder of a mount namespace: its descriptor, the folder's name, path.
pub const POD_DIR: &str = "--pod-dir";

/// What the arguments after [`FLAG`] say.
#[derive(Default)]
pub struct Wanted {
    pub mounts: Vec<(i32, PathBuf)>,
    pub namespaces: Vec<(i32, PathBuf)>,
    pub pod_dirs: Vec<(i32, PathBuf, PathBuf)>,
    program: Vec<OsString>,
}

/// Attaches and becomes the program. What fails is appended to the log.
pub fn main(mut args: impl Iterator<Item = OsString>) -> ExitCode {
    let log = args.next().unwrap_or_default();
    let shim = args.next().unwrap_or_default();
    let error = match parse(args).and_then(|wanted| become_program(&wanted, &shim)) {
        Ok(never) => match never {},
        Err(words) => words,
    };
    if let Ok(mut file) = rrun_sys::record::append(Path::new(&log), 0o600) {
        let _ = writeln!(file, "{error}");
    }
    ExitCode::FAILURE
}

fn parse(mut args: impl Iterator<Item = OsString>) -> Result<Wanted, String> {
    let mut wanted = Wanted::default();
    while let Some(flag) = args.next() {
        let mut next = || args.next().ok_or_else(|| "an argument is missing".to_owned());
        let flag = flag.to_string_lossy().into_owned();
        if flag == "--" {
            wanted.program = args.collect();
            return Ok(wanted);
        }
        let number = next()?.to_string_lossy().into_owned();
        let fd = number.parse().map_err(|_| format!("{flag}: {number} is no number"))?;
        match flag.as_str() {
            MOUNT => wanted.mounts.push((fd, next()?.into())),
            NAMESPACE => wanted.namespaces.push((fd, next()?.into())),
            POD_DIR => wanted.pod_dirs.push((fd, next()?.into(), next()?.into())),
            _ => return Err(format!("{flag}: unknown")),
        }
    }
    Err("no program".to_owned())
}

fn become_program(wanted: &Wanted, shim: &OsStr) -> Result<std::convert::Infallible, String> {
    prepare(shim)?;
    attach(wanted)?;
    let (program, args) = wanted.program.split_first().ok_or_else(|| "no program".to_owned())?;
    let error = Command::new(program).args(args).exec();
    Err(format!("execute {}: {}", program.to_string_lossy(), reason(&error)))
}

/// Leaves what is the shim's own and not its children's, and ends with the shim.
pub fn prepare(shim: &OsStr) -> Result<(), String> {
    let words = |what: &'static str| move |error: nix::Error| format!("{what}: {}", reason(&error));
    // Nobody hears of its end when the shim is gone.
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(words("prctl"))?;
    // Nor did the kernel, if that was before.
    if OsString::from(getppid().to_string()) != shim {
        return Err("the shim has ended".to_owned());
    }
    SigSet::empty().thread_set_mask().map_err(words("signal mask"))?;
    nix::unistd::setsid().map_err(words("setsid"))?;
    // The shim's is the shim's: a container has its own or none.
    let score = File::options().write(true).open("/proc/self/oom_score_adj");
    let _ = score.and_then(|mut file| file.write_all(b"0"));
    Ok(())
}

/// Attaches all of it, in a new mount namespace.
pub fn attach(wanted: &Wanted) -> Result<(), String> {
    let pod_dirs = wanted.pod_dirs.iter().map(|(fd, name, path)| Ok((pod_dir(*fd, name)?, path)));
    let pod_dirs = pod_dirs.collect::<Result<Vec<(OwnedFd, &PathBuf)>, String>>()?;
    let paths = wanted.mounts.iter().map(|(_, path)| path);
    let namespaces = wanted.namespaces.iter().map(|(_, path)| path);
    let paths: Vec<&PathBuf> =
        paths.chain(namespaces).chain(pod_dirs.iter().map(|(_, path)| *path)).collect();
    if paths.is_empty() {
        return Ok(());
    }
    let failed = |path: &Path| {
        let path = path.display().to_string();
        move |error: &dyn std::error::Error| format!("attach {path}: {error}")
    };
    unshare(CloneFlags::CLONE_NEWNS).map_err(|errno| format!("unshare: {}", reason(&errno)))?;
    for path in paths {
        keep_from_host(path).map_err(|error| failed(path)(&error))?;
    }
    for (fd, path) in &wanted.mounts {
        let mount = inherited(*fd, OFlag::O_PATH).map_err(|error| failed(path)(&error))?;
        put(&mount, path).map_err(|error| failed(path)(&error))?;
    }
    for (mount, path) in &pod_dirs {
        put(mount, path).map_err(|error| failed(path)(&error))?;
    }
    for (fd, path) in &wanted.namespaces {
        let open = inherited(*fd, OFlag::O_RDONLY).map_err(|error| failed(path)(&error))?;
        namespace::pin(open.as_fd(), path).map_err(|error| error.to_string())?;
    }
    let mounts = wanted.mounts.iter().map(|(fd, _)| fd);
    let others = wanted.namespaces.iter().map(|(fd, _)| fd);
    for fd in mounts.chain(others).chain(wanted.pod_dirs.iter().map(|(fd, ..)| fd)) {
        let _ = nix::unistd::close(*fd);
    }
    Ok(())
}

/// A descriptor that the shim has handed on, opened anew.
fn inherited(fd: i32, flags: OFlag) -> io::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{fd}");
    Ok(open(path.as_str(), flags | OFlag::O_CLOEXEC, Mode::empty())?)
}

/// A copy of a folder of another mount namespace.
fn pod_dir(namespace: i32, name: &Path) -> Result<OwnedFd, String> {
    let copied = || -> io::Result<OwnedFd> {
        let (own, pod) = (File::open("/proc/self/ns/mnt")?, inherited(namespace, OFlag::O_RDONLY)?);
        setns(&pod, CloneFlags::CLONE_NEWNS)?;
        let path = CString::new(Path::new("/").join(name).as_os_str().as_bytes())?;
        let copy = mount::clone_tree(AT_FDCWD, &path, true);
        setns(&own, CloneFlags::CLONE_NEWNS)?;
        Ok(copy?)
    };
    copied().map_err(|error| format!("the pod's {}: {}", name.display(), reason(&error)))
}

/// What is attached at `path` is not to be attached on the host as well, as it would be where the
/// mount that it is on is shared. The others stay as they are: what a container has with propagation
/// leads to the host's.
fn keep_from_host(path: &Path) -> io::Result<()> {
    let slave = MountAttr { propagation: nix::libc::MS_SLAVE, ..Default::default() };
    let real = path.canonicalize()?;
    for place in real.ancestors() {
        let place = CString::new(place.as_os_str().as_bytes())?;
        match mount::set_attributes(AT_FDCWD, &place, &slave, false) {
            // Not where a mount begins.
            Err(nix::Error::EINVAL) => {}
            done => return Ok(done?),
        }
    }
    Err(io::Error::other("no mount is found that it is on"))
}

fn put(mount: &OwnedFd, path: &Path) -> io::Result<()> {
    let target = open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
    Ok(mount::attach(mount.as_fd(), target.as_fd())?)
}
