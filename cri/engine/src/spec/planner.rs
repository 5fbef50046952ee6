//! From the wish of a client to an OCI configuration, and from that to a plan: looks up what the
//! pure functions need, and asks them.

use super::build::{self, Inputs};
use super::exec::keyring;
use super::filters::Filters;
use super::host::{OnHost, PodProfiles};
use super::mounts::{image_volumes, uses_pod_shm};
use super::profile::Seccomp;
use super::user::{self, Accounts, Who};
use super::{ExecTemplate, capabilities, namespaces, process};
use crate::config::Config;
use crate::error::{Context, Error, Result};
use crate::files;
use crate::groups;
use crate::id::ContainerId;
use crate::model::{ContainerConfig, MountPropagation, NamespaceMode, PodConfig};
use crate::ports::ImageConfig;
use crate::record::{ContainerRecord, PodRecord};
use crate::session::ExecRequest;
use crate::status::LinuxUser;
use nix::errno::Errno;
use oci_spec::runtime::{LinuxResources, Spec};
use rrun_runtime::cgroup::{Controllers, Resources as Limits};
use rrun_runtime::plan::{self, Cgroups, Namespace, Plan, Slot};
use rrun_runtime::planning::{HookPlace, Host, NamespaceOverrides, Overrides, RuntimeHooks};
use rrun_shim_protocol::NamespaceKind;
use serde_json::{Value, json};
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// The longest passwd or group file that is read, bytes.
const ACCOUNTS_MAX: u64 = 8 << 20;

/// The user of a pod's own process, where it asks for none.
const NOBODY: u32 = 65534;

/// Makes plans for this host.
pub(crate) struct Planner {
    host: Host,
    filters: Filters,
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
    /// What its hooks are told, if it has any.
    pub(crate) bundle: &'a Path,
    /// Name of the AppArmor profile, which is loaded; `None` is unconfined.
    pub(crate) apparmor: Option<&'a str>,
    pub(crate) on_host: &'a OnHost,
}

/// The OCI configuration of a container: a value, for status, for execs, and to be planned.
pub(crate) struct Configured {
    /// With its seccomp profile.
    pub(crate) json: Value,
    pub(crate) user: LinuxUser,
}

impl Planner {
    pub(crate) fn new(config: &Config) -> Result<Planner> {
        let host = Host::detect(&config.cgroup_root)?;
        let host = Host { apparmor: config.lsm.apparmor, selinux: config.lsm.selinux, ..host };
        Ok(Planner { host, filters: Filters::default() })
    }

    /// Whether the host has nothing but cgroup v2.
    fn unified(&self) -> bool {
        use rrun_runtime::cgroup::Mode;
        self.host.cgroups.as_ref().is_some_and(|layout| layout.mode == Mode::V2)
    }

    /// What a client asks for as an OCI configuration. Blocks: reads files of the image.
    pub(crate) fn spec(&self, wanted: &Wanted<'_>) -> Result<Configured> {
        let (pod, config) = (&wanted.pod.config, &wanted.container.config);
        let who = who(wanted)?;
        check_mapped(&who, pod)?;
        let host_name = nix::unistd::gethostname().unwrap_or_default();
        let mut json = build::build(&Inputs {
            pod,
            config,
            image: wanted.image,
            who: &who,
            devices: &wanted.on_host.devices,
            cgroup: &wanted.container.cgroup,
            netns: wanted.pod.netns.as_deref(),
            hostname: files::hostname(pod, &host_name.to_string_lossy()),
            apparmor: wanted.apparmor,
            capabilities: self.host.capabilities,
            unified: self.unified(),
            files: wanted.files,
            mountinfo: &mountinfo(wanted.container)?,
            real_paths: &wanted.on_host.real_paths,
        })?;
        let held = capabilities::sets(&config.security, self.host.capabilities)?.held;
        let (seccomp, text) = (&wanted.on_host.seccomp, &wanted.on_host.profile);
        if let Some(filter) = self.filters.of(seccomp, text, held)? {
            json["linux"]["seccomp"] = Value::clone(&filter.profile);
        }
        Ok(Configured { json, user: who.user })
    }

    /// From a configuration to what the shim executes; `targets` says that the PID namespace of
    /// another container follows the root file system. Images that are volumes come after both.
    pub(crate) fn plan(
        &self,
        spec: &mut Value,
        wanted: &Wanted<'_>,
        targets: bool,
    ) -> Result<Plan> {
        let (spec, filter) = self.parse(spec)?;
        let over = Overrides {
            systemd: groups::scope(&wanted.container.cgroup).is_some(),
            hooks: Some(hook_place(&wanted.container.id, wanted.bundle)),
            ..overrides(&wanted.pod.config, &wanted.container.config, targets, filter)
        };
        let mut plan = rrun_runtime::planning::plan(&spec, &self.host, &over)?;
        let text = spec.process().as_ref().and_then(|process| process.env().as_deref());
        plan.process.env = process::bytes(text.unwrap_or_default(), &wanted.container.config.envs);
        plan.process.keyring = Some(keyring(&wanted.container.id));
        Ok(plan)
    }

    /// What a configuration limits a container to.
    pub(crate) fn limits(&self, spec: &Value) -> Result<Limits> {
        let resources = resources_of(&spec["linux"]["resources"])?;
        Ok(rrun_runtime::planning::created_resources(resources.as_ref(), &self.host)?)
    }

    /// New limits of a container, from those in force in its group `cgroup`: what will be in force,
    /// and what makes and unmakes the change.
    pub(crate) fn change_of_limits(
        &self,
        cgroup: &str,
        in_force: &Limits,
        asked: &Value,
    ) -> Result<(Limits, Cgroups, Cgroups)> {
        let resources = resources_of(asked)?.unwrap_or_default();
        let change = rrun_runtime::planning::changed_resources(&resources, &self.host)?;
        let layout = self.host.cgroups.as_ref();
        let layout = layout.ok_or_else(|| Error::invalid("no control groups are mounted"))?;
        let dirs = layout.dirs(Path::new(cgroup));
        let controllers = Controllers::find(layout, &dirs);
        let after = in_force.after(&change);
        let forward = in_force.plan(&change, &dirs, &controllers)?;
        let back = after.plan(&in_force.back(&change), &dirs, &controllers)?;
        Ok((after, forward, back))
    }

    /// A configuration as its type, and its filter compiled: the longest part by far, which is not
    /// parsed again when it is known. It is put back at the end.
    fn parse(&self, json: &mut Value) -> Result<(Spec, Option<plan::Seccomp>)> {
        let profile = json["linux"].as_object_mut().and_then(|linux| linux.remove("seccomp"));
        let spec = Spec::deserialize_from(json)?;
        let Some(profile) = profile else { return Ok((spec, None)) };
        let filter = self.filters.compile(&profile)?;
        json["linux"]["seccomp"] = profile;
        Ok((spec, Some(filter.compiled)))
    }

    /// Plans the first process of a shared PID namespace: the pod's user and profiles, no
    /// capabilities, a leaf group of its own.
    pub(crate) fn reaper(
        &self,
        pod: &PodConfig,
        namespaces: &[NamespaceKind],
        cgroup: &str,
        profiles: &PodProfiles,
    ) -> Result<Plan> {
        let security = &pod.security;
        let last = pod.id_maps().and_then(|maps| maps.users.first().map(|all| all.count - 1));
        let uid =
            security.run_as_user.unwrap_or(i64::from(last.map_or(NOBODY, |last| last.min(NOBODY))));
        let gid = security.run_as_group.unwrap_or(uid);
        let mut all = vec![json!({"type": "mount"}), json!({"type": "pid"})];
        for kind in namespaces {
            match kind {
                NamespaceKind::Network => all.push(json!({"type": "network"})),
                NamespaceKind::Ipc => all.push(json!({"type": "ipc"})),
                NamespaceKind::Uts => all.push(json!({"type": "uts"})),
                // Its ids are the shim's business.
                NamespaceKind::User | NamespaceKind::Pid => {}
            }
        }
        let mut process = json!({
            "user": {"uid": uid, "gid": gid, "additionalGids": security.supplemental_groups},
            "args": ["reaper"],
            "cwd": "/",
            "capabilities": {},
            "noNewPrivileges": true,
        });
        if let Some(profile) = &profiles.apparmor {
            process["apparmorProfile"] = json!(profile);
        }
        let spec = Spec::deserialize_from(&json!({
            "ociVersion": "1.2.1",
            "root": {"path": "/", "readonly": true},
            "process": process,
            "linux": {
                "cgroupsPath": groups::in_configuration(cgroup),
                "namespaces": all,
                "resources": {"devices": [{"allow": false, "access": "rwm"}]},
            },
        }))?;
        let mut filter = self.filters.of(&profiles.seccomp, &profiles.text, 0)?;
        // Whoever answers calls of containers has nothing to answer here.
        if filter.as_ref().is_some_and(|filter| filter.compiled.listener.is_some()) {
            filter = self.filters.of(&Seccomp::RuntimeDefault, &[], 0)?;
        }
        let over = Overrides {
            namespaces: NamespaceOverrides { pid: None, ..slots(namespaces) },
            seccomp: filter.map(|filter| filter.compiled),
            systemd: groups::scope(cgroup).is_some(),
            ..Overrides::default()
        };
        let mut plan = rrun_runtime::planning::plan(&spec, &self.host, &over)?;
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
        (spec, bundle): (&Path, &Path),
    ) -> Result<ExecTemplate> {
        let what = || format!("read {}", spec.display());
        let text = rrun_sys::record::read(spec).context(what)?;
        let mut json: Value = serde_json::from_slice(&text)
            .map_err(|error| Error::internal(error.to_string()))
            .context(what)?;
        let (spec, filter) = self.parse(&mut json)?;
        let kinds = namespaces(pod);
        let over = Overrides {
            bundle: PathBuf::from("/"),
            rootfs: Some(Slot(0)),
            namespaces: slots(&kinds),
            systemd: groups::scope(&container.cgroup).is_some(),
            // An exec has none; a listener is told of the container.
            hooks: Some(hook_place(&container.id, bundle)),
            seccomp: filter,
            ..Overrides::default()
        };
        let plan = rrun_runtime::planning::plan(&spec, &self.host, &over)?;
        let process = spec.process().clone().ok_or_else(|| Error::internal("no process"))?;
        let outside = plan.process.user.outside;
        let filter = plan.process.seccomp;
        Ok(ExecTemplate::new((process, outside), plan.cgroups, filter, container))
    }

    /// Plans one more process.
    pub(crate) fn exec(
        &self,
        template: &ExecTemplate,
        request: &ExecRequest,
    ) -> Result<plan::ExecPlan> {
        template.plan(request, &self.host)
    }
}

/// The hooks of a configuration that are not the shim's business; `None` where it has no hooks at all.
pub(crate) fn runtime_hooks(
    spec: &Value,
    id: &ContainerId,
    bundle: &Path,
) -> Result<Option<RuntimeHooks>> {
    let lists = spec["hooks"].as_object();
    let is_filled = |list: &Value| list.as_array().is_some_and(|list| !list.is_empty());
    if !lists.is_some_and(|lists| lists.values().any(is_filled)) {
        return Ok(None);
    }
    // The longest part by far has no part in this.
    let few = ["ociVersion", "annotations", "hooks"].map(|key| (key.to_owned(), spec[key].clone()));
    let spec = Spec::deserialize_from(&Value::Object(few.into_iter().collect()))?;
    Ok(Some(rrun_runtime::planning::runtime_hooks(&spec, &hook_place(id, bundle))?))
}

fn hook_place(id: &ContainerId, bundle: &Path) -> HookPlace {
    HookPlace { id: id.to_string(), bundle: bundle.to_owned() }
}

/// `linux.resources` as its type.
fn resources_of(json: &Value) -> Result<Option<LinuxResources>> {
    serde::Deserialize::deserialize(json)
        .map_err(|error| Error::internal(format!("the built resources: {error}")))
}

fn who(wanted: &Wanted<'_>) -> Result<Who> {
    let passwd = read_of_image(wanted.rootfs.as_fd(), c"/etc/passwd")?;
    let group = read_of_image(wanted.rootfs.as_fd(), c"/etc/group")?;
    let accounts = Accounts { passwd: &passwd, group: &group };
    user::resolve(&wanted.container.config.security, &wanted.image.user, &accounts)
}

/// Refuses a process some of whose ids are nobody's in the pod's user namespace.
fn check_mapped(who: &Who, pod: &PodConfig) -> Result<()> {
    let Some(maps) = pod.id_maps() else { return Ok(()) };
    let users = [("user", &maps.users, who.user.uid)].into_iter();
    let groups = std::iter::once(&who.user.gid).chain(&who.user.groups);
    let groups = groups.map(|gid| ("group", &maps.groups, *gid));
    match users.chain(groups).find(|(_, ranges, id)| plan::outside(ranges, *id).is_none()) {
        None => Ok(()),
        Some((what, _, id)) => {
            let message = format!("{what} {id} is not mapped in the pod's user namespace");
            Err(Error::invalid(message))
        }
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
        user: slot(NamespaceKind::User),
    }
}

fn overrides(
    pod: &PodConfig,
    config: &ContainerConfig,
    targets: bool,
    seccomp: Option<plan::Seccomp>,
) -> Overrides {
    let kinds = namespaces(pod);
    // The pod's namespaces come first, then what comes with the plan.
    let with_plan = |at: usize| u8::try_from(kinds.len() + at).ok().map(Slot);
    let mut namespaces = slots(&kinds);
    if config.security.namespaces.pid != NamespaceMode::Pod {
        namespaces.pid = targets.then(|| with_plan(1).map(Namespace::Slot)).flatten();
    }
    let volumes = image_volumes(config).enumerate();
    let after = 1 + usize::from(targets);
    let detached = volumes.filter_map(|(at, target)| Some((target, with_plan(after + at)?)));
    let detached = detached.collect();
    let shm = uses_pod_shm(pod, config).then(|| ("/dev/shm".to_owned(), "shm".to_owned()));
    Overrides {
        bundle: PathBuf::from("/"),
        rootfs: with_plan(0),
        namespaces,
        pod_dirs: shm.into_iter().collect(),
        detached,
        seccomp,
        ..Overrides::default()
    }
}

/// Mounts of this process, where a mount asks for propagation.
fn mountinfo(container: &ContainerRecord) -> Result<String> {
    let private = |m: &crate::model::MountSpec| m.propagation == MountPropagation::Private;
    if container.config.mounts.iter().all(private) {
        return Ok(String::new());
    }
    // Names of mount points are bytes, and whoever mounts chooses them.
    let table = fs::read("/proc/self/mountinfo").context(|| "read /proc/self/mountinfo")?;
    Ok(String::from_utf8_lossy(&table).into_owned())
}

/// A file of the image, looked up inside its root; empty when it is not there.
fn read_of_image(root: BorrowedFd<'_>, path: &std::ffi::CStr) -> Result<Vec<u8>> {
    let what = || format!("read {} of the image", path.to_string_lossy());
    match rrun_sys::in_root::read_regular(root, path, ACCOUNTS_MAX) {
        Ok(bytes) => Ok(bytes),
        Err(error) => match (error.kind(), error.raw_os_error().map(Errno::from_raw)) {
            (io::ErrorKind::NotFound | io::ErrorKind::NotADirectory, _) => Ok(Vec::new()),
            // The image is such.
            (io::ErrorKind::InvalidInput, _) | (_, Some(Errno::ELOOP | Errno::EFBIG)) => {
                Err(Error::invalid(error.to_string())).context(what)
            }
            _ => Err(error).context(what),
        },
    }
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
