//! Settings of the engine.

use crate::handlers::Handlers;
use crate::id::Owner;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::watch;

/// What may change while an engine is open. All paths are absolute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where relative `Localhost` seccomp profiles are.
    pub seccomp_profiles: PathBuf,
    /// Where the specs of CDI devices are; a later folder goes before an earlier one.
    pub cdi_spec_dirs: Vec<PathBuf>,
    /// Logs of containers.
    pub log: LogLimits,
    /// Other OCI runtimes, which a pod may ask for.
    pub handlers: Handlers,
    /// A container may be made of an image that is a checkpoint.
    pub restore_checkpoints: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            seccomp_profiles: "/var/lib/kubelet/seccomp".into(),
            cdi_spec_dirs: vec!["/etc/cdi".into(), "/var/run/cdi".into()],
            log: LogLimits::default(),
            handlers: Handlers::new(),
            restore_checkpoints: false,
        }
    }
}

/// What an engine is opened with. All paths are absolute.
#[derive(Clone, Debug)]
pub struct Config {
    /// State that survives a reboot: records below `pods`, what was broken below `quarantine`.
    pub root: PathBuf,
    /// State of this boot: per pod a lock, the shim's socket and exit records, below `pods`.
    pub run: PathBuf,
    /// Where network namespaces are pinned.
    pub netns_dir: PathBuf,
    /// What may change; each pod and container goes by what it is when that is made.
    pub settings: watch::Receiver<Settings>,
    /// Where the control groups are mounted.
    pub cgroup_root: PathBuf,
    /// Who makes control groups.
    pub cgroup_driver: CgroupDriver,
    /// Group above pods that name no parent of their own: a path for cgroupfs, a slice for systemd.
    pub cgroup_parent: String,
    /// The shim's program.
    pub shim: PathBuf,
    /// AppArmor and SELinux are looked for here: `/sys/kernel/security`, `/sys/fs/selinux`.
    pub lsm: Lsm,
    /// Which of the pods on disk this process takes over.
    pub takeover: Takeover,
}

/// Who makes control groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CgroupDriver {
    /// We do, as directories.
    Cgroupfs,
    /// systemd does, as slices and scopes.
    Systemd,
}

impl CgroupDriver {
    /// The one that this host wants: there is one writer of control groups, systemd where it is
    /// the first process.
    pub fn of_host() -> CgroupDriver {
        match rrun_runtime::systemd::is_running() {
            true => CgroupDriver::Systemd,
            false => CgroupDriver::Cgroupfs,
        }
    }
}

/// What the last output of a container may cost on a disk that is slow. When a limit is reached
/// the log and the container's exit record say how much is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLimits {
    /// How long after its end the output is waited for.
    pub drain_timeout: Duration,
    /// How many bytes are read after its end.
    pub drain_bytes: u64,
}

impl Default for LogLimits {
    fn default() -> LogLimits {
        LogLimits { drain_timeout: Duration::from_secs(20), drain_bytes: 64 << 20 }
    }
}

/// Which of the pods on disk an engine takes over when it is opened. What it does not
/// take over it leaves as it is, locked or not: another process may be about to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Takeover {
    /// All pods of this owner, and whatever has no readable record.
    Owner(Owner),
    /// The pods of this owner with this uid: of one that is run by itself.
    Pod(Owner, String),
    /// The pods of this owner with one of these uids: of those that one process runs.
    Pods(Owner, BTreeSet<String>),
    /// Whatever has no readable record, and no pod.
    Nameless,
}

impl Takeover {
    /// Whether a pod is taken over whose record says this.
    pub(crate) fn takes(&self, owner: &Owner, uid: &str) -> bool {
        match self {
            Takeover::Owner(ours) => ours == owner,
            Takeover::Pod(ours, our_uid) => ours == owner && our_uid == uid,
            Takeover::Pods(ours, our_uids) => ours == owner && our_uids.contains(uid),
            Takeover::Nameless => false,
        }
    }

    /// Whether a folder is taken over that has no record, or a broken one.
    pub(crate) fn takes_nameless(&self) -> bool {
        matches!(self, Takeover::Owner(_) | Takeover::Nameless)
    }
}

/// Which security modules the kernel runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lsm {
    /// AppArmor is there.
    pub apparmor: bool,
    /// SELinux is there.
    pub selinux: bool,
}

impl Lsm {
    /// What this kernel has.
    pub fn of_host() -> Lsm {
        use rrun_sys::lsm;
        Lsm { apparmor: lsm::apparmor(), selinux: lsm::selinux() }
    }
}

impl Config {
    /// The defaults, with the programs beside the one that runs.
    pub fn of_host() -> Config {
        let beside = std::env::current_exe()
            .ok()
            .and_then(|exe| exe.parent().map(PathBuf::from))
            .unwrap_or_else(|| PathBuf::from("/usr/bin"));
        Config {
            root: "/var/lib/rrun".into(),
            run: "/run/rrun".into(),
            netns_dir: "/var/run/netns".into(),
            settings: watch::channel(Settings::default()).1,
            cgroup_root: "/sys/fs/cgroup".into(),
            cgroup_driver: CgroupDriver::Cgroupfs,
            cgroup_parent: "/rrun".into(),
            shim: beside.join("rrun-shim"),
            lsm: Lsm::of_host(),
            takeover: Takeover::Owner(Owner::Cri),
        }
    }
}
