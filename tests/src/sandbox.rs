//! Private folders and namespaces in which a daemon and its pods run.
//!
//! A sandbox has a mount namespace whose `/run` and `/var/lib/rrun` are its own, with copies on
//! write of `/etc`, `/opt`, `/var/lib` and `/var/log`, and a network namespace with only a
//! loopback device. So a daemon runs there with its defaults, and what several sandboxes make
//! (bridges, rules, ports, namespace pins, configuration) never meets another's or the machine's.
//! Its folder is visible from outside, so a test reaches the daemon's socket by path; other files
//! through [`Sandbox::inside`], and what listens on an address with [`Sandbox::command`].

use crate::leaks::{View, kernel, processes};
use crate::limit;
use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, setns, unshare};
use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::Sender;
use tempfile::TempDir;

/// The words before a command that is not to outlive the thread that starts it: prctl(2),
/// PR_SET_PDEATHSIG. It is executed in place: the pid is the command's.
pub const MORTAL: [&str; 4] = ["setpriv", "--pdeathsig", "KILL", "--"];

/// The first process of the namespaces. Its input ends with the test process: when that was
/// killed, pods are left to be ended.
const HOLDER: &str = r#"set -e
for dir in etc opt var/lib var/log; do
    over=$1/over/$dir
    mkdir -p "$over/upper" "$over/work"
    mount -t overlay -o "lowerdir=/$dir,upperdir=$over/upper,workdir=$over/work" sandbox "/$dir"
done
# An overlay cannot be the upper directory of an overlay: what holds images is a bind mount.
mkdir -p /var/lib/rrun
mount --bind "$1/state" /var/lib/rrun
mount --bind "$1/run" /run
ip link set lo up
target=$(readlink -m /etc/resolv.conf)
[ -e "$target" ] || { mkdir -p "${target%/*}"; echo 'nameserver 127.0.0.1' >"$target"; }
echo ready
read -r end || :
# What waits for a disk that a killed test has frozen cannot be ended.
losetup --noheadings --output NAME,BACK-FILE | while read -r device image; do
    case $image in
        "$1"/*) fsfreeze --unfreeze "$(findmnt --noheadings --first-only --output TARGET "$device")" ;;
    esac
done 2>/dev/null || :
for groups in /sys/fs/cgroup/"$2" /sys/fs/cgroup/*/"$2"; do
    for again in 1 2 3 4 5 6 7 8 9; do
        [ -d "$groups" ] || break
        find "$groups" -name cgroup.procs -exec cat {} + | xargs -r kill -9 || :
        find "$groups" -depth -type d -exec rmdir {} + || sleep 0.1
    done
done 2>/dev/null"#;

/// What that process is for.
const HOLDS: &str = "the sandbox's namespaces";

/// Namespaces and a folder; dropped, the holder ends and the folder is removed.
pub struct Sandbox {
    /// Dropped, it ends the time that the test has.
    _limit: Option<Sender<()>>,
    holder: Child,
    // Dropped after the holder's end: its mount namespace pins `run`.
    root: TempDir,
}

impl Sandbox {
    /// Makes the namespaces; needs root.
    pub fn new() -> Result<Self> {
        let root = tempfile::Builder::new().prefix("rrun-test-").tempdir()?;
        std::fs::create_dir_all(root.path().join("run/netns"))?;
        // mount(8) would make it.
        std::fs::create_dir(root.path().join("run/mount"))?;
        std::fs::create_dir(root.path().join("state"))?;
        let mut holder = Command::new("unshare")
            .args(["--mount", "--net", "--propagation", "private", "sh", "-c", HOLDER, "holder"])
            .arg(root.path())
            .arg(root.path().file_name().unwrap_or_default())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("unshare")?;
        let stdout = holder.stdout.take().context("no stdout")?;
        let line = limit::line(stdout, HOLDS).inspect_err(|_| drop(holder.kill()))?;
        if line != "ready\n" {
            bail!("{HOLDS}: {}", limit::end(&mut holder, HOLDS)?);
        }
        Ok(Self { _limit: limit::whole_test(), holder, root })
    }

    /// The folder; `run` in it is the sandbox' `/run`, `state` its `/var/lib/rrun`.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// The sandbox' `/run` as seen from outside.
    pub fn run(&self) -> PathBuf {
        self.root().join("run")
    }

    /// The sandbox' `/var/lib/rrun` as seen from outside.
    pub fn state(&self) -> PathBuf {
        self.root().join("state")
    }

    /// An absolute path of the sandbox as seen from outside.
    pub fn inside(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.pid()))
    }

    /// A process in the namespaces, for `/proc/<pid>/…`.
    pub fn pid(&self) -> u32 {
        self.holder.id()
    }

    /// A cgroup name of its own, as a pod's `cgroup_parent`: what stands below it is ours.
    pub fn cgroup_parent(&self) -> String {
        let name = self.root().file_name().unwrap_or_default();
        format!("/{}", name.to_string_lossy())
    }

    /// The words before a command that is to run in the namespaces, and not to outlive the thread
    /// that starts it. nsenter executes it in place: the pid is the command's.
    pub fn prefix(&self) -> Vec<String> {
        let target = format!("--target={}", self.pid());
        // A working directory of the sandbox, not the caller's: that one may be on a mount that
        // the namespace covers.
        let folder = format!("--wdns={}", self.root().display());
        let enter = ["nsenter", &target, "--mount", "--net", &folder, "--"];
        MORTAL.iter().chain(&enter).map(|word| (*word).to_owned()).collect()
    }

    /// A command that runs in the namespaces.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let prefix = self.prefix();
        let mut command = Command::new(&prefix[0]);
        command.args(&prefix[1..]).arg(program);
        command
    }
}

/// What a reboot leaves: the disk.
const REBOOT: &str = r#"set -e
for pin in /run/netns/*; do [ ! -e "$pin" ] || { umount "$pin"; rm "$pin"; }; done
rm -rf /run/rrun
nft flush ruleset
ip link del rrun0
cat /proc/sys/kernel/random/uuid >"$1/boot_id"
mount --bind "$1/boot_id" /proc/sys/kernel/random/boot_id"#;

impl Sandbox {
    /// Everything in its namespaces and folder.
    pub fn view(&self) -> View {
        let mark = self.root().file_name().unwrap_or_default().to_string_lossy().into_owned();
        View {
            prefix: self.prefix(),
            proc: PathBuf::from(format!("/proc/{}", self.pid())),
            netns: self.run().join("netns"),
            roots: ["run", "state", "over"].map(|name| self.root().join(name)).to_vec(),
            marks: vec![mark.clone()],
            cgroups: vec![mark],
            allowed: Vec::new(),
            strangers: Default::default(),
        }
    }

    /// Another boot: another id, nothing in `/run`, no process, link, mount or rule of before. The
    /// daemon must have been killed.
    pub fn reboot(&self) -> Result<()> {
        processes::end_all(&self.view())?;
        self.script(&["-c", REBOOT, "reboot", &self.root().display().to_string()])
    }

    /// Takes back the other boot id of [`Sandbox::reboot`].
    pub fn end_reboot(&self) -> Result<()> {
        self.script(&["-c", "umount /proc/sys/kernel/random/boot_id"])
    }

    fn script(&self, arguments: &[&str]) -> Result<()> {
        let status = limit::status(self.command("sh").args(arguments))?;
        if !status.success() {
            bail!("{arguments:?}: {status}");
        }
        Ok(())
    }
}

impl Drop for Sandbox {
    /// Ends what still runs, so that no failed test leaves a pod on the machine.
    fn drop(&mut self) {
        let view = self.view();
        if let Err(error) = processes::end_all(&view).and_then(|()| kernel::remove_cgroups(&view)) {
            eprintln!("{}: {error:#}", self.root().display());
        }
        let _ = limit::end(&mut self.holder, HOLDS);
    }
}

/// Works in the mount namespace of a process, on a thread that ends there.
///
/// # Panics
/// When that is refused.
#[allow(clippy::unwrap_used, reason = "it is part of a test, which may panic")]
pub fn in_mounts_of(pid: u32, work: impl FnOnce() -> nix::Result<()> + Send) {
    let namespace = File::open(format!("/proc/{pid}/ns/mnt")).unwrap();
    let inside = || {
        unshare(CloneFlags::CLONE_FS)?;
        setns(&namespace, CloneFlags::CLONE_NEWNS)?;
        work()
    };
    std::thread::scope(|scope| scope.spawn(inside).join()).unwrap().unwrap();
}
