//! A bundle and the runtime that runs it.

use crate::support::Box;
use serde_json::{Value, json};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// A bundle with busybox, a container's id, and folders of its own; all gone with it.
pub struct Bundle {
    pub id: String,
    pub dir: PathBuf,
    pub config: Value,
    pub root: PathBuf,
    _rootfs: Box,
}

impl Bundle {
    pub fn new(args: &[&str]) -> Bundle {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let id = format!("oci-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let dir = std::env::temp_dir().join(&id);
        std::fs::create_dir(&dir).unwrap();
        let rootfs = Box::new();
        let config = config(&rootfs.root, &id, args);
        let root = dir.join("records");
        Bundle { id, dir, config, root, _rootfs: rootfs }
    }

    /// A container whose shell runs a script.
    pub fn sh(script: &str) -> Bundle {
        Bundle::new(&["/bin/sh", "-c", script])
    }

    pub fn rootfs(&self) -> &Path {
        &self._rootfs.root
    }

    pub fn process(&mut self) -> &mut Value {
        &mut self.config["process"]
    }

    pub fn linux(&mut self) -> &mut Value {
        &mut self.config["linux"]
    }

    pub fn mount(&mut self, entry: Value) {
        self.config["mounts"].as_array_mut().unwrap().push(entry);
    }

    /// Has it a user namespace, whose root the files in its root are.
    pub fn map_users(&mut self) {
        let ids = json!([{ "containerID": 0, "hostID": MAPPED, "size": 65536 }]);
        let linux = self.linux();
        linux["namespaces"].as_array_mut().unwrap().push(json!({ "type": "user" }));
        linux["uidMappings"] = ids.clone();
        linux["gidMappings"] = ids;
        own(self.rootfs());
    }

    /// The runtime with some arguments, stdin and output closed off.
    pub fn runtime(&self, args: &[&str]) -> Command {
        let ours = || match std::env::var_os("RRUN_BIN") {
            Some(folder) => Path::new(&folder).join("rrun-oci").into_os_string(),
            None => env!("CARGO_BIN_EXE_rrun-oci").into(),
        };
        let program = std::env::var_os("RRUN_TEST_RUNTIME").unwrap_or_else(ours);
        let mut command = Command::new(program);
        command.arg("--root").arg(&self.root).args(args).stdin(Stdio::null());
        command.env("PATH", path_with_tools());
        command
    }

    /// The same, ended if it does not end by itself.
    pub fn limited(&self, args: &[&str]) -> Command {
        let runtime = self.runtime(args);
        let mut command = crate::support::limited(runtime.get_program());
        command.args(runtime.get_args()).stdin(Stdio::null());
        command.envs(runtime.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command
    }

    /// What it says, and how it ends.
    pub fn call(&self, args: &[&str]) -> Output {
        self.limited(args).output().unwrap()
    }

    /// A command that must succeed.
    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.call(args);
        assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// A command that must fail: its words.
    pub fn fails(&self, args: &[&str]) -> String {
        let output = self.call(args);
        assert!(!output.status.success(), "{args:?} succeeded: {}", text(&output.stdout));
        text(&output.stderr)
    }

    pub fn write(&self) {
        std::fs::write(self.dir.join("config.json"), self.config.to_string()).unwrap();
    }

    /// Runs it to its end: exit code and what it wrote.
    pub fn run(&self) -> (i32, String) {
        self.write();
        let dir = self.dir.to_str().unwrap();
        let output = self.call(&["run", "--bundle", dir, &self.id]);
        let both = text(&output.stdout) + &text(&output.stderr);
        (output.status.code().unwrap(), both)
    }

    /// Output of a run that must end with 0.
    pub fn prints(&self) -> String {
        let (code, output) = self.run();
        assert_eq!(code, 0, "{output}");
        output
    }

    /// Tries to create it: how that ends, and the words for it. Its output goes to nowhere: whoever
    /// holds a pipe would keep the caller waiting.
    pub fn try_create(&self) -> (Option<i32>, String) {
        self.write();
        let dir = self.dir.to_str().unwrap();
        let log = self.dir.join("log");
        let status = self
            .limited(&["--log", log.to_str().unwrap(), "create", "--bundle", dir, &self.id])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        (status.code(), std::fs::read_to_string(log).unwrap_or_default())
    }

    pub fn create(&self) {
        let (code, words) = self.try_create();
        assert_eq!(code, Some(0), "{words}");
    }

    /// Creates and starts it.
    pub fn start(&self) {
        self.create();
        self.ok(&["start", &self.id]);
    }

    /// Starts it with a program that stays.
    pub fn start_sleeping(&mut self) {
        self.process()["args"] = json!(["sleep", "1000"]);
        self.start();
    }

    pub fn state(&self) -> Value {
        serde_json::from_str(&self.ok(&["state", &self.id])).unwrap()
    }

    pub fn status(&self) -> String {
        self.state()["status"].as_str().unwrap().to_owned()
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.state()["pid"].as_i64().unwrap()).unwrap()
    }

    /// Its group in every hierarchy.
    pub fn groups(&self) -> Vec<PathBuf> {
        let groups = hierarchies().into_iter();
        let groups = groups.map(|root| root.join(&self.id)).filter(|path| path.exists());
        // crun leaves plain folders where the unified hierarchy is not mounted.
        groups.filter(|path| !is_tmpfs(path)).collect()
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let _ = self.call(&["delete", "--force", &self.id]);
        let left = self.groups();
        let _ = std::fs::remove_dir_all(&self.dir);
        if !std::thread::panicking() {
            assert!(left.is_empty(), "groups are left: {left:?}");
        }
    }
}

/// Root of the user namespaces of the tests.
pub const MAPPED: u32 = 100_000;

fn own(path: &Path) {
    std::os::unix::fs::lchown(path, Some(MAPPED), Some(MAPPED)).unwrap();
    if path.is_dir() && !path.is_symlink() {
        std::fs::read_dir(path).unwrap().for_each(|entry| own(&entry.unwrap().path()));
    }
}

/// The path with the criu and newuidmap that `tests/setup` has unpacked before all others.
pub fn path_with_tools() -> OsString {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/.cache");
    let cache = std::env::var_os("RRUN_TEST_CACHE").map_or_else(beside, PathBuf::from);
    let others = std::env::var_os("PATH").unwrap_or_default();
    let own = ["criu/bin", "uidmap/usr/bin"].map(|tool| cache.join(tool));
    let all = own.into_iter().chain(std::env::split_paths(&others));
    std::env::join_paths(all).unwrap()
}

/// Where hierarchies may be mounted.
pub fn hierarchies() -> Vec<PathBuf> {
    let here = Path::new("/sys/fs/cgroup").to_owned();
    let is_group = |path: &PathBuf| path.join("cgroup.procs").exists();
    // What is below a unified root is somebody's group.
    if is_group(&here) {
        return vec![here];
    }
    let below = std::fs::read_dir(&here).unwrap().flatten().map(|entry| entry.path());
    // systemd has links beside `cpu,cpuacct`: second names of the same.
    below.filter(|path| !path.is_symlink() && is_group(path)).collect()
}

fn is_tmpfs(path: &Path) -> bool {
    nix::sys::statfs::statfs(path).unwrap().filesystem_type() == nix::sys::statfs::TMPFS_MAGIC
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Waits for the end of a process that is not a child.
pub fn wait_for_end(pid: i32) {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::fd::AsFd;
    let Ok(process) = rrun_sys::pidfd::open(pid) else { return };
    let mut fds = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
    assert_eq!(poll(&mut fds, PollTimeout::from(60_000u16)), Ok(1), "{pid} does not end");
}

fn config(rootfs: &Path, id: &str, args: &[&str]) -> Value {
    let caps = ["CAP_CHOWN", "CAP_KILL", "CAP_MKNOD", "CAP_SETUID", "CAP_SETGID"];
    json!({
        "ociVersion": "1.0.2",
        "hostname": "boxed",
        "root": { "path": rootfs, "readonly": false },
        "process": {
            "user": { "uid": 0, "gid": 0 }, "cwd": "/", "args": args,
            "env": ["PATH=/bin:/usr/bin"],
            "capabilities": { "bounding": caps, "effective": caps, "permitted": caps }
        },
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc" },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
              "options": ["nosuid", "strictatime", "mode=755", "size=65536k"] },
            { "destination": "/dev/pts", "type": "devpts", "source": "devpts",
              "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"] },
            { "destination": "/sys", "type": "sysfs", "source": "sysfs",
              "options": ["nosuid", "noexec", "nodev", "ro"] }
        ],
        "linux": {
            "cgroupsPath": format!("/{id}"),
            "namespaces": [
                { "type": "mount" }, { "type": "pid" }, { "type": "ipc" }, { "type": "uts" },
                { "type": "network" }
            ],
            "resources": { "devices": [{ "allow": false, "access": "rwm" }] }
        }
    })
}
