//! A root file system, a plan with everything a container usually has, and a run to its end.
#![allow(dead_code, reason = "every test program uses a part")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::wait::{WaitPidFlag, WaitStatus};
use rrun_runtime::plan::*;
use rrun_runtime::run::{self, Child, Stdio};
use rrun_runtime::{Error, Kind, Result, cgroup};
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long anything may take on a loaded machine.
const LIMIT: Duration = Duration::from_secs(120);

/// A folder with busybox in it, and control groups of its own; all gone with it.
pub struct Box {
    pub root: PathBuf,
    pub groups: Cgroups,
}

/// How often to do what is done often in search of a race: `some` where a processor is emulated and
/// each time takes twenty times as long.
pub fn rounds<T>(many: T, some: T) -> T {
    if std::env::var_os("RRUN_TEST_EMULATED").is_some() { some } else { many }
}

/// Every capability that the tests' user usually has.
pub const DEFAULT_CAPABILITIES: u64 = 0xa804_25fb;

impl Box {
    pub fn new() -> Box {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        Box::named(&format!("rrun-test-{}-{next}", std::process::id()))
    }

    pub fn named(name: &str) -> Box {
        let root = std::env::temp_dir().join(name);
        for dir in ["bin", "etc", "dev", "proc", "sys", "tmp"] {
            std::fs::create_dir_all(root.join(dir)).unwrap();
        }
        install(&root, Path::new("/bin/busybox"));
        Box { root, groups: groups(name) }
    }

    pub fn plan(&self, args: &[&str]) -> Plan {
        Plan {
            version: FIRST,
            namespaces: Namespaces {
                pid: Namespace::New,
                network: Namespace::New,
                ipc: Namespace::New,
                uts: Namespace::New,
                cgroup: Namespace::Host,
                user: Namespace::Host,
                time: Namespace::Host,
            },
            rootfs: Rootfs {
                source: RootfsSource::Directory(self.root.clone()),
                readonly: false,
                propagation: None,
            },
            mounts: mounts(),
            devices: devices(),
            links: vec![Link { path: "/dev/fd".into(), target: "/proc/self/fd".into() }],
            masked: vec!["/proc/keys".into(), "/proc/scsi".into(), "/proc/nothing".into()],
            readonly: vec!["/proc/sys".into(), "/proc/bus".into()],
            hostname: Some("boxed".into()),
            domainname: None,
            sysctls: Vec::new(),
            cgroups: self.groups.clone(),
            process: process(args),
            id_maps: None,
            hooks: None,
        }
    }

    /// An exec in a group of its own.
    pub fn exec_plan(&self, args: &[&str]) -> ExecPlan {
        let mut cgroups = self.groups.clone();
        cgroups.writes.clear();
        for dir in cgroups.dirs.iter_mut().filter(|dir| dir.unified) {
            dir.path.push("exec-0");
        }
        ExecPlan { version: FIRST, cgroups, process: process(args) }
    }

    /// Runs to the end: exit code and output.
    pub fn run(&self, plan: &Plan) -> Result<(i32, String)> {
        self.run_with(plan, &[])
    }

    pub fn run_with(&self, plan: &Plan, slots: &[BorrowedFd<'_>]) -> Result<(i32, String)> {
        let (output, stdio) = piped();
        let mut child = run::spawn(plan, slots, None, Some(stdio))?;
        let_run(&mut child)?;
        Ok((wait(&child), read_all(output)))
    }

    /// Runs one more process to its end.
    pub fn exec(&self, plan: &ExecPlan, init: &Child) -> Result<(i32, String)> {
        let (output, stdio) = piped();
        let mut child = run::exec(plan, init.pidfd(), Some(stdio))?;
        running(&mut child)?;
        Ok((wait(&child), read_all(output)))
    }

    /// Starts a container that lives until it is killed.
    pub fn start(&self, plan: &Plan) -> Result<Child> {
        let mut child = run::spawn(plan, &[], None, None)?;
        let_run(&mut child)?;
        Ok(child)
    }

    pub fn kill(&self, child: &Child) {
        cgroup::kill(&self.groups).unwrap();
        wait(child);
    }
}

impl Drop for Box {
    fn drop(&mut self) {
        let _ = cgroup::kill(&self.groups);
        let removed = remove_killed(&self.groups.dirs);
        std::fs::remove_dir_all(&self.root).unwrap();
        if !std::thread::panicking() {
            removed.unwrap();
        }
    }
}

/// Removes groups whose processes were killed and die by and by.
pub fn remove_killed(dirs: &[CgroupDir]) -> Result<()> {
    let mut removed = cgroup::remove_patiently(dirs);
    for _ in 0..30 {
        if removed.is_ok() {
            break;
        }
        removed = cgroup::remove_patiently(dirs);
    }
    removed
}

/// The groups of a name, not made.
pub fn groups(name: &str) -> Cgroups {
    let layout = cgroup::Layout::detect(Path::new("/sys/fs/cgroup")).unwrap();
    let mut groups = Cgroups::default();
    for hierarchy in &layout.v1 {
        let inherit_cpuset = hierarchy.controllers.iter().any(|name| name == "cpuset");
        let path = hierarchy.path.join(name);
        groups.dirs.push(CgroupDir { path, unified: false, inherit_cpuset });
    }
    if let Some(unified) = layout.unified {
        let path = unified.join(name);
        groups.dirs.push(CgroupDir { path, unified: true, inherit_cpuset: false });
    }
    groups
}

pub fn process(args: &[&str]) -> Process {
    let set = DEFAULT_CAPABILITIES;
    Process {
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        env: vec![b"PATH=/bin:/usr/bin".to_vec()],
        cwd: "/".into(),
        user: User::default(),
        capabilities: Capabilities {
            bounding: set,
            effective: set,
            permitted: set,
            ..Default::default()
        },
        no_new_privileges: false,
        seccomp: None,
        rlimits: Vec::new(),
        oom_score_adj: None,
        terminal: false,
        terminal_size: None,
        apparmor: None,
        selinux: None,
        keyring: None,
    }
}

pub fn new_mount(target: &str, fstype: &str, set: u64, options: &[(&str, Option<&str>)]) -> Mount {
    let options = options.iter().map(|(k, v)| ((*k).to_owned(), v.map(str::to_owned)));
    Mount {
        target: target.into(),
        source: MountSource::New {
            fstype: fstype.into(),
            source: fstype.into(),
            options: options.collect(),
        },
        set,
        clear: 0,
        recursive_attrs: false,
        propagation: None,
        copy_up: false,
        id_map: None,
    }
}

pub fn bind(source: &Path, target: &str) -> Mount {
    Mount {
        source: MountSource::Bind { path: source.to_owned(), recursive: true },
        ..new_mount(target, "", 0, &[])
    }
}

fn mounts() -> Vec<Mount> {
    let strict = attr::NOSUID | attr::NOEXEC | attr::NODEV;
    vec![
        new_mount("/proc", "proc", strict, &[]),
        new_mount(
            "/dev",
            "tmpfs",
            attr::NOSUID | attr::STRICTATIME,
            &[("mode", Some("755")), ("size", Some("65536k"))],
        ),
        new_mount(
            "/dev/pts",
            "devpts",
            attr::NOSUID | attr::NOEXEC,
            &[
                ("newinstance", None),
                ("ptmxmode", Some("0666")),
                ("mode", Some("0620")),
                ("gid", Some("5")),
            ],
        ),
        new_mount("/dev/mqueue", "mqueue", strict, &[]),
        new_mount("/sys", "sysfs", strict | attr::RDONLY, &[]),
    ]
}

fn devices() -> Vec<Device> {
    [("null", 3), ("zero", 5), ("full", 7), ("random", 8), ("urandom", 9)]
        .map(|(name, minor)| Device {
            path: format!("/dev/{name}"),
            mode: libc::S_IFCHR | 0o666,
            rdev: nix::sys::stat::makedev(1, minor),
            uid: 0,
            gid: 0,
        })
        .into()
}

/// Copies a dynamic program with what it loads.
fn install(root: &Path, program: &Path) {
    let listed = Command::new("ldd").arg(program).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let needed = listed.split_whitespace().filter(|word| word.starts_with('/'));
    for file in needed.map(Path::new) {
        let to = root.join(file.strip_prefix("/").unwrap());
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(file, to).unwrap();
    }
    std::fs::copy(program, root.join("bin/busybox")).unwrap();
    for name in [
        "sh", "cat", "echo", "ls", "id", "sleep", "true", "touch", "mount", "stat", "grep",
        "readlink", "hostname", "pwd", "env", "ps", "kill", "tty", "stty", "umount", "dd", "wc",
        "mkdir", "setsid", "head", "ln", "mknod", "nproc", "find", "tr", "rm",
    ] {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(name)).unwrap();
    }
}

pub fn piped() -> (File, Stdio) {
    let (reader, writer) = std::io::pipe().unwrap();
    let null = File::open("/dev/null").unwrap();
    let stderr = writer.try_clone().unwrap();
    let stdio = Stdio { stdin: null.into(), stdout: writer.into(), stderr: stderr.into() };
    (File::from(OwnedFd::from(reader)), stdio)
}

/// Lets a process that is being made come to its program.
fn let_run(child: &mut Child) -> Result<()> {
    ready(child)?;
    child.release()?;
    running(child)
}

/// Waits until it is prepared. Nobody places it into groups.
pub fn ready(child: &mut Child) -> Result<()> {
    await_readable("it says that it is prepared", child.channel());
    child.wait_placed(|_| Err(Error::new(Kind::Invalid, "nobody here places it")))
}

/// Waits until its program runs.
pub fn running(child: &mut Child) -> Result<()> {
    await_readable("it says that it runs", child.channel());
    child.wait_running()
}

/// A command that is ended, with the code 124, if it does not end by itself.
pub fn limited(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("timeout");
    command.args(["--foreground", "-k", "10", "120"]).arg(program);
    command
}

/// Waits until there is something to read, or an end, for two minutes at most.
fn await_readable(what: &str, fd: BorrowedFd<'_>) {
    await_readable_until(what, fd, Instant::now() + LIMIT);
}

fn await_readable_until(what: &str, fd: BorrowedFd<'_>, deadline: Instant) {
    let left = deadline.saturating_duration_since(Instant::now());
    let left = PollTimeout::try_from(left).unwrap();
    let come = poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], left).unwrap();
    assert_eq!(come, 1, "not in {LIMIT:?}: {what}");
}

/// Everything up to the end of a pipe or a terminal.
pub fn read_all(mut file: File) -> String {
    let (mut bytes, mut piece) = (Vec::new(), [0; 16 << 10]);
    let deadline = Instant::now() + LIMIT;
    loop {
        await_readable_until("the output ends", file.as_fd(), deadline);
        match file.read(&mut piece) {
            // What the master of a terminal says when the other side is closed for good.
            Err(error) if error.raw_os_error() == Some(libc::EIO) => break,
            Ok(0) => break,
            count => bytes.extend_from_slice(&piece[..count.unwrap()]),
        }
    }
    String::from_utf8(bytes).unwrap()
}

/// Waits and reaps: the code as a shell gives it.
pub fn wait(child: &Child) -> i32 {
    wait_fd(child.pidfd())
}

pub fn wait_fd(pidfd: BorrowedFd<'_>) -> i32 {
    await_readable("the process ends", pidfd);
    match rrun_sys::pidfd::wait(pidfd.as_fd(), WaitPidFlag::WEXITED).unwrap() {
        WaitStatus::Exited(_, code) => code,
        WaitStatus::Signaled(_, signal, _) => 128 + signal as i32,
        other => panic!("{other:?}"),
    }
}

/// Waits for what comes to be so by itself, with an end.
pub fn await_that(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !is_so() {
        assert!(Instant::now() < deadline, "not in {LIMIT:?}: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
