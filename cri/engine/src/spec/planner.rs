//! From the wish of a client to a plan: looks up what the pure functions need, and asks them.

use super::build::{self, Inputs};
use super::devices;
use super::exec::keyring;
use super::mounts::uses_pod_shm;
use super::profile::{self, Seccomp};
use super::user::{self, Accounts, Who};
use super::{ExecTemplate, capabilities};
use crate::config::Config;
use crate::error::{Context, Error, Kind, Result};
use crate::files;
use crate::model::{MountPropagation, NamespaceMode, PodConfig};
use crate::ports::ImageConfig;
use crate::record::{ContainerRecord, PodRecord, checksum};
use crate::session::ExecRequest;
use crate::status::LinuxUser;
use crate::verbs::sandbox;
use oci_spec::runtime::{LinuxSeccomp, Spec};
use rrun_runtime::plan::{self, Namespace, Plan, Slot};
use rrun_runtime::seccomp;
use rrun_runtime::spec::{Host, NamespaceOverrides, Overrides};
use rrun_shim_protocol::NamespaceKind;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The most of a passwd or group file that is read.
const ACCOUNTS_MAX: usize = 1 << 20;

/// Makes plans for this host.
pub(crate) struct Planner {
    host: Host,
    seccomp_profiles: PathBuf,
    /// Compiled filters by the checksum of their profile: compiling takes longer than anything
    /// else here. Locked for single look-ups only.
    filters: Mutex<HashMap<u64, Filter>>,
}

#[derive(Clone)]
struct Filter {
    compiled: plan::Seccomp,
    profile: Arc<Value>,
}

/// A container that is wanted.
pub(crate) struct Wanted<'a> {
    pub(crate) pod: &'a PodRecord,
    pub(crate) container: &'a ContainerRecord,
    pub(crate) image: &'a ImageConfig,
    /// Its root, a detached mount.
    pub(crate) rootfs: &'a OwnedFd,
    /// Folder of hosts, hostname and resolv.conf.
    pub(crate) files: &'a Path,
    /// Process id of the container whose PID namespace is joined.
    pub(crate) target: Option<i32>,
    /// Name of the AppArmor profile, which is loaded; `None` is unconfined.
    pub(crate) apparmor: Option<&'a str>,
}

/// A container that is planned.
pub(crate) struct Planned {
    pub(crate) plan: Plan,
    /// The OCI configuration, for status and for execs.
    pub(crate) spec_json: String,
    pub(crate) user: LinuxUser,
}

impl Planner {
    pub(crate) fn new(config: &Config) -> Result<Planner> {
        let host = Host::detect(&config.cgroup_root).map_err(runtime)?;
        let host = Host { apparmor: config.lsm.apparmor, selinux: config.lsm.selinux, ..host };
        let seccomp_profiles = config.seccomp_profiles.clone();
        Ok(Planner { host, seccomp_profiles, filters: Mutex::default() })
    }

    /// Whether the host has nothing but cgroup v2.
    fn unified(&self) -> bool {
        use rrun_runtime::cgroup::Mode;
        self.host.cgroups.as_ref().is_some_and(|layout| layout.mode == Mode::V2)
    }

    /// Plans a container. Blocks: reads files of the image and of the host.
    pub(crate) fn container(&self, wanted: &Wanted<'_>) -> Result<Planned> {
        let (pod, config) = (&wanted.pod.config, &wanted.container.config);
        let who = self.who(wanted)?;
        let devices = match config.security.privileged {
            true => devices::of_host(Path::new("/dev"))?,
            false => devices::asked(&config.devices)?,
        };
        let host_name = nix::unistd::gethostname().unwrap_or_default();
        let mut built = build::build(&Inputs {
            pod,
            config,
            image: wanted.image,
            who: &who,
            devices: &devices,
            cgroup: &wanted.container.cgroup,
            netns: wanted.pod.netns.as_deref(),
            target: wanted.target,
            hostname: files::hostname(pod, &host_name.to_string_lossy()),
            apparmor: wanted.apparmor,
            capabilities: self.host.capabilities,
            unified: self.unified(),
            files: wanted.files,
            mountinfo: &mountinfo(wanted.container)?,
            real_paths: &real_paths(wanted.container)?,
        })?;
        let spec: Spec = Spec::deserialize_from(&built.json)?;
        let wanted_filter = profile::seccomp(&config.security, &self.seccomp_profiles)?;
        let held = capabilities::sets(&config.security, self.host.capabilities)?.held;
        let filter = self.filter(&wanted_filter, held)?;
        let over = overrides(pod, wanted, filter.as_ref().map(|filter| filter.compiled.clone()));
        let mut plan = rrun_runtime::spec::plan(&spec, &self.host, &over).map_err(runtime)?;
        plan.process.env = std::mem::take(&mut built.env);
        plan.process.keyring = Some(keyring(&wanted.container.id));
        if let Some(filter) = filter {
            built.json["linux"]["seccomp"] = Value::clone(&filter.profile);
        }
        let spec_json = built.json.to_string();
        Ok(Planned { plan, spec_json, user: who.user })
    }

    fn who(&self, wanted: &Wanted<'_>) -> Result<Who> {
        let passwd = read_in_root(wanted.rootfs.as_fd(), c"/etc/passwd")?;
        let group = read_in_root(wanted.rootfs.as_fd(), c"/etc/group")?;
        let accounts = Accounts { passwd: &passwd, group: &group };
        user::resolve(&wanted.container.config.security, &wanted.image.user, &accounts)
    }

    /// Plans the first process of a shared PID namespace: the pod's user and profiles, no
    /// capabilities, a leaf group of its own. Blocks: reads a seccomp profile of the node.
    pub(crate) fn reaper(
        &self,
        pod: &PodConfig,
        namespaces: &[NamespaceKind],
        cgroup: &str,
        apparmor: Option<&str>,
    ) -> Result<Plan> {
        let security = &pod.security;
        let uid = security.run_as_user.unwrap_or(65534);
        let gid = security.run_as_group.unwrap_or(uid);
        let mut all = vec![json!({"type": "mount"}), json!({"type": "pid"})];
        for kind in namespaces {
            match kind {
                NamespaceKind::Network => all.push(json!({"type": "network"})),
                NamespaceKind::Ipc => all.push(json!({"type": "ipc"})),
                NamespaceKind::Uts => all.push(json!({"type": "uts"})),
                NamespaceKind::Pid => {}
            }
        }
        let mut process = json!({
            "user": {"uid": uid, "gid": gid, "additionalGids": security.supplemental_groups},
            "args": ["reaper"],
            "cwd": "/",
            "capabilities": {},
            "noNewPrivileges": true,
        });
        if let Some(profile) = apparmor {
            process["apparmorProfile"] = json!(profile);
        }
        let spec = Spec::deserialize_from(&json!({
            "ociVersion": "1.2.1",
            "root": {"path": "/", "readonly": true},
            "process": process,
            "linux": {
                "cgroupsPath": cgroup,
                "namespaces": all,
                "resources": {"devices": [{"allow": false, "access": "rwm"}]},
            },
        }))?;
        let filter = self.filter(&profile::pod_seccomp(security, &self.seccomp_profiles)?, 0)?;
        let over = Overrides {
            namespaces: NamespaceOverrides { pid: None, ..slots(namespaces) },
            seccomp: filter.map(|filter| filter.compiled),
            ..Overrides::default()
        };
        let mut plan = rrun_runtime::spec::plan(&spec, &self.host, &over).map_err(runtime)?;
        // One without a name: nobody joins the reaper.
        plan.process.keyring = Some(String::new());
        Ok(plan)
    }

    /// What execs in a container have in common. Blocks: reads the configuration that the
    /// container was made with.
    pub(crate) fn exec_template(
        &self,
        pod: &PodConfig,
        container: &ContainerRecord,
        spec: &Path,
    ) -> Result<ExecTemplate> {
        let what = || format!("read {}", spec.display());
        let mut json: Value = serde_json::from_slice(&fs::read(spec).context(what)?)
            .map_err(|error| Error::internal(error.to_string()))
            .context(what)?;
        let profile = json["linux"].as_object_mut().and_then(|linux| linux.remove("seccomp"));
        let spec = Spec::deserialize_from(&json)?;
        let filter = profile.map(|profile| self.compile(profile)).transpose()?;
        let kinds = sandbox::namespaces(pod);
        let over = Overrides {
            bundle: PathBuf::from("/"),
            rootfs: Some(Slot(0)),
            namespaces: slots(&kinds),
            ..Overrides::default()
        };
        let plan = rrun_runtime::spec::plan(&spec, &self.host, &over).map_err(runtime)?;
        let process = spec.process().clone().ok_or_else(|| Error::internal("no process"))?;
        Ok(ExecTemplate::new(process, plan.cgroups, filter.map(|f| f.compiled), container))
    }

    /// Plans one more process.
    pub(crate) fn exec(
        &self,
        template: &ExecTemplate,
        request: &ExecRequest,
    ) -> Result<plan::ExecPlan> {
        template.plan(request, &self.host)
    }

    /// The filter that is wanted, from the cache where it is there; `held` are the capabilities
    /// in the bounding set.
    fn filter(&self, wanted: &Seccomp, held: u64) -> Result<Option<Filter>> {
        let (sum, text) = match wanted {
            Seccomp::None => return Ok(None),
            Seccomp::RuntimeDefault => (checksum(&held.to_ne_bytes()), None),
            Seccomp::File(path) => {
                let text = read_profile(path)?;
                (checksum(&text), Some((path, text)))
            }
        };
        if let Some(filter) = self.cached(sum) {
            return Ok(Some(filter));
        }
        let filter = match text {
            None => self.compile_text(serde_json::to_value(seccomp::runtime_default(held))),
            Some((path, text)) => self
                .compile_text(serde_json::from_slice(&text))
                .context(|| path.display().to_string()),
        };
        let filter = filter.context(|| "seccomp profile")?;
        self.filters().insert(sum, filter.clone());
        Ok(Some(filter))
    }

    fn compile_text(&self, profile: serde_json::Result<Value>) -> Result<Filter> {
        self.compile(profile.map_err(|error| Error::invalid(error.to_string()))?)
    }

    fn compile(&self, profile: Value) -> Result<Filter> {
        let sum = checksum(profile.to_string().as_bytes());
        if let Some(filter) = self.cached(sum) {
            return Ok(filter);
        }
        let parsed: LinuxSeccomp = serde::Deserialize::deserialize(&profile)
            .map_err(|error| Error::invalid(error.to_string()))?;
        let compiled = seccomp::compile(&parsed, seccomp::Arch::NATIVE).map_err(runtime)?;
        let filter = Filter { compiled, profile: Arc::new(profile) };
        self.filters().insert(sum, filter.clone());
        Ok(filter)
    }

    fn cached(&self, sum: u64) -> Option<Filter> {
        self.filters().get(&sum).cloned()
    }

    fn filters(&self) -> MutexGuard<'_, HashMap<u64, Filter>> {
        self.filters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read_profile(path: &Path) -> Result<Vec<u8>> {
    match fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(Error::not_found(format!("seccomp profile {}: not found", path.display())))
        }
        read => read.context(|| format!("seccomp profile {}", path.display())),
    }
}

/// The pod's namespaces as slots.
fn slots(namespaces: &[NamespaceKind]) -> NamespaceOverrides {
    let slot = |wanted: NamespaceKind| {
        let at = namespaces.iter().position(|kind| *kind == wanted)?;
        Some(Namespace::Slot(Slot(u8::try_from(at).ok()?)))
    };
    NamespaceOverrides {
        time: None,
        pid: slot(NamespaceKind::Pid),
        network: slot(NamespaceKind::Network),
        ipc: slot(NamespaceKind::Ipc),
        uts: slot(NamespaceKind::Uts),
        cgroup: None,
    }
}

fn overrides(pod: &PodConfig, wanted: &Wanted<'_>, seccomp: Option<plan::Seccomp>) -> Overrides {
    let config = &wanted.container.config;
    let kinds = sandbox::namespaces(pod);
    let mut namespaces = slots(&kinds);
    if config.security.namespaces.pid != NamespaceMode::Pod {
        namespaces.pid = None;
    }
    let shm = uses_pod_shm(pod, config).then(|| ("/dev/shm".to_owned(), "shm".to_owned()));
    Overrides {
        bundle: PathBuf::from("/"),
        // The pod's namespaces come first, then what comes with the plan.
        rootfs: u8::try_from(kinds.len()).ok().map(Slot),
        namespaces,
        seed: shm.into_iter().collect(),
        cgroup: None,
        seccomp,
    }
}

pub(super) fn runtime(error: rrun_runtime::Error) -> Error {
    let kind = match error.kind() {
        rrun_runtime::Kind::Invalid => Kind::Invalid,
        rrun_runtime::Kind::NotFound => Kind::NotFound,
        _ => Kind::Internal,
    };
    Error::from_chain(kind, error.chain())
}

/// Mounts of this process, where a mount asks for propagation.
fn mountinfo(container: &ContainerRecord) -> Result<String> {
    let private = |m: &crate::model::MountSpec| m.propagation == MountPropagation::Private;
    if container.config.mounts.iter().all(private) {
        return Ok(String::new());
    }
    fs::read_to_string("/proc/self/mountinfo").context(|| "read /proc/self/mountinfo")
}

fn real_paths(container: &ContainerRecord) -> Result<Vec<(String, String)>> {
    let mounts = container.config.mounts.iter();
    mounts
        .filter(|mount| mount.propagation != MountPropagation::Private)
        .map(|mount| {
            let real = fs::canonicalize(&mount.host_path)
                .context(|| format!("mount {}", mount.host_path))?;
            Ok((mount.host_path.clone(), real.to_string_lossy().into_owned()))
        })
        .collect()
}

/// A file of the image, looked up inside its root; empty when it is not there.
fn read_in_root(root: BorrowedFd<'_>, path: &std::ffi::CStr) -> Result<Vec<u8>> {
    let what = || format!("read {} of the image", path.to_string_lossy());
    let flags = nix::fcntl::OFlag::O_RDONLY | nix::fcntl::OFlag::O_NONBLOCK;
    let file = match rrun_sys::in_root::open(root, path, flags) {
        Ok(fd) => fs::File::from(fd),
        Err(nix::errno::Errno::ENOENT | nix::errno::Errno::ENOTDIR) => return Ok(Vec::new()),
        Err(errno) => return Err(std::io::Error::from(errno)).context(what),
    };
    let mut bytes = Vec::new();
    let limit = ACCOUNTS_MAX as u64;
    std::io::Read::read_to_end(&mut std::io::Read::take(file, limit), &mut bytes).context(what)?;
    Ok(bytes)
}

/// Reads the configuration that was built; that it cannot be read is a fault of this program.
trait FromBuilt: Sized {
    fn deserialize_from(json: &Value) -> Result<Self>;
}

impl FromBuilt for Spec {
    fn deserialize_from(json: &Value) -> Result<Spec> {
        serde::Deserialize::deserialize(json)
            .map_err(|error| Error::internal(format!("the built configuration: {error}")))
    }
}
