//! Root, mounts, devices, links, masks.

use super::text::{c_string, split};
use super::{Compiler, Handover};
use crate::plan::{Device, Mount, MountSource, Namespace, Plan, Propagation, RootfsSource, attr};
use crate::run::Caller;
use crate::{Context, Error, Kind, Result};
use rrun_sys::mount::MountAttr;
use rrun_sys::program::{Base, DescriptorOp, FileOp, MountOp, Program, Reg, Rules};
use std::ffi::CString;

/// The mounts of a plan on their way.
pub(super) struct Mounts {
    root: Reg,
    /// One for each of the plan's; bind sources are copied by now.
    regs: Vec<Reg>,
    /// File systems that become read-only when all is made in them.
    pub(super) read_only_later: Vec<(String, Reg)>,
    /// Where the file system that must wait for the PID namespace goes.
    late: Option<String>,
    /// Paths that will be masked or made read-only.
    restricted: Vec<String>,
    /// Those that stay open because a path to be masked or made read-only begins there, in the
    /// order in which they were attached.
    bases: Vec<(String, Base)>,
    /// A `proc` that is read-only until its masks are put: in a joined PID namespace others see
    /// this process by then, and with CAP_SYS_PTRACE its root.
    writable_later: Option<Reg>,
    /// What is the pod's is copied already.
    has_pods: bool,
    /// Nodes of the host, for a user namespace, in which none can be made.
    devices: Vec<(String, Reg)>,
}

impl Mounts {
    /// None so far.
    pub(super) fn of(root: Reg) -> Mounts {
        Mounts {
            root,
            regs: Vec::new(),
            read_only_later: Vec::new(),
            late: None,
            restricted: Vec::new(),
            bases: Vec::new(),
            writable_later: None,
            has_pods: false,
            devices: Vec::new(),
        }
    }

    fn is_late(&self, mount: &Mount) -> bool {
        self.late.as_ref().is_some_and(|late| below(&mount.target, late).is_some())
    }

    /// Whether a mount will be changed after it was attached.
    fn is_needed(&self, mount: Reg) -> bool {
        let later = self.read_only_later.iter().map(|(_, reg)| *reg).chain(self.writable_later);
        later.into_iter().any(|reg| reg == mount)
    }

    /// Where a path to be masked or made read-only begins, and what is left of it: beneath the
    /// mount that is on top there, by its descriptor; a lookup from the root could be led
    /// elsewhere by then.
    fn base(&self, path: &str) -> Result<(Base, CString)> {
        let root = Base { mount: self.root, is_proc: false };
        for (target, base) in self.bases.iter().rev() {
            if let Some(rest) = below(path, target) {
                let rest = rest.trim_matches('/');
                return Ok((*base, c_string(if rest.is_empty() { "." } else { rest })?));
            }
        }
        Ok((root, c_string(path)?))
    }
}

/// What is left of a path below a directory; both are clean and absolute.
fn below<'a>(path: &'a str, directory: &str) -> Option<&'a str> {
    let rest = path.strip_prefix(directory.trim_end_matches('/'))?;
    (rest.is_empty() || rest.starts_with('/')).then_some(rest)
}

/// What may be mounted inside `/proc`, as other runtimes have it: the files that lxcfs provides.
const INSIDE_PROC: [&str; 11] = [
    "cpuinfo",
    "diskstats",
    "meminfo",
    "stat",
    "swaps",
    "uptime",
    "loadavg",
    "slabinfo",
    "net/dev",
    "sys/kernel/ns_last_pid",
    "sys/crypto/fips_enabled",
];

/// What is demanded of a mount and its target. The kernel's file systems, and all that lies in
/// `/proc` and `/sys`, go where the plan says and nowhere else: a link there is the image's, or a
/// neighbour's who shares a volume (CVE-2019-19921).
fn rules(mount: &Mount) -> Result<Rules> {
    let kernels = match &mount.source {
        MountSource::New { fstype, .. } => {
            matches!(fstype.as_str(), "proc" | "sysfs" | "mqueue" | "cgroup" | "cgroup2")
        }
        _ => false,
    };
    let inside = below(&mount.target, "/proc").map(|rest| rest.trim_matches('/'));
    if let Some(rest) = inside
        && !rest.is_empty()
        && !INSIDE_PROC.contains(&rest)
    {
        return Err(Error::new(Kind::Invalid, "it is inside /proc"));
    }
    let real = kernels || inside.is_some() || below(&mount.target, "/sys").is_some();
    Ok(Rules { real, inside_proc: inside.is_some(), is_proc: inside == Some("") })
}

impl Compiler<'_> {
    /// What needs the host's mounts: the root and the bind sources.
    pub(super) fn open_sources(&mut self, plan: &Plan) -> Result<Mounts> {
        let root = match &plan.rootfs.source {
            RootfsSource::Detached(slot) => self.take_slot(*slot).context(|| "rootfs")?,
            RootfsSource::Directory(path) => {
                let to = self.program.empty();
                let path = c_string(path.as_os_str().as_encoded_bytes())?;
                let label = format!("open root {}", path.to_string_lossy());
                self.program.step(label, MountOp::Copy { path, recursive: true, to });
                to
            }
        };
        // A copy is a peer of its source. What is mounted in the container must not appear on the
        // host; a slave is made while there is a master.
        let slave = plan.rootfs.propagation == Some(Propagation::Slave);
        let propagation = if slave { libc::MS_SLAVE } else { libc::MS_PRIVATE };
        let attributes = MountAttr { propagation, ..Default::default() };
        self.program.step("set root", MountOp::Set { mount: root, attributes, recursive: true });
        let mut regs = Vec::with_capacity(plan.mounts.len());
        for mount in &plan.mounts {
            regs.push(self.open_source(mount)?);
        }
        let devices = self.open_devices(plan)?;
        let late = plan
            .mounts
            .iter()
            .find(|mount| is_new_proc(mount))
            .filter(|_| self.handover == Handover::Late);
        let late = late.map(|mount| mount.target.trim_end_matches('/').to_owned());
        let restricted = plan.masked.iter().chain(&plan.readonly).cloned().collect();
        Ok(Mounts { regs, late, restricted, devices, ..Mounts::of(root) })
    }

    /// What needs the host's mounts of one mount.
    pub(super) fn open_source(&mut self, mount: &Mount) -> Result<Reg> {
        let reg = match &mount.source {
            MountSource::Detached(slot) => {
                self.take_slot(*slot).context(|| format!("mount {}", mount.target))?
            }
            _ => self.program.empty(),
        };
        if let MountSource::Bind { path, recursive } = &mount.source {
            let label = format!("mount {}: open {}", mount.target, path.display());
            let path = c_string(path.as_os_str().as_encoded_bytes())?;
            self.program.step(label, MountOp::Copy { path, recursive: *recursive, to: reg });
        }
        self.map_ids(mount, reg)?;
        Ok(reg)
    }

    /// Before the user namespace is joined: from inside nobody may.
    fn map_ids(&mut self, mount: &Mount, reg: Reg) -> Result<()> {
        let Some(slot) = mount.id_map else { return Ok(()) };
        let label = format!("mount {}", mount.target);
        let MountSource::Bind { recursive, .. } = mount.source else {
            let text = "an id map is for what is bound";
            return Err(Error::new(Kind::Invalid, text).context(label));
        };
        let user = self.slot(slot).context(|| label.clone())?;
        self.program.step(label, MountOp::MapIds { mount: reg, user, recursive });
        Ok(())
    }

    /// Copies what is the pod's, from within its mount namespace.
    pub(super) fn copy_of_pod(&mut self, plan: &Plan, mounts: &mut Mounts) -> Result<()> {
        for (mount, reg) in plan.mounts.iter().zip(&mounts.regs) {
            if let MountSource::Pod(name) = &mount.source {
                let path = c_string(format!("/{name}"))?;
                let op = MountOp::Copy { path, recursive: false, to: *reg };
                self.program.step(format!("mount {}", mount.target), op);
            }
        }
        mounts.has_pods = true;
        Ok(())
    }

    /// The root and what can be made before the PID namespace is joined, then the pivot.
    pub(super) fn mounts(&mut self, plan: &Plan, mounts: &mut Mounts) -> Result<()> {
        match plan.hooks.as_ref().and_then(|hooks| hooks.rootfs.as_ref()) {
            None => self.program.step("enter the root", MountOp::Cover(mounts.root)),
            Some(path) => {
                let label = format!("mount the root at {}", path.display());
                self.program.step(label, MountOp::CoverHere(mounts.root));
            }
        }
        for (mount, reg) in plan.mounts.iter().zip(mounts.regs.clone()) {
            if !mounts.is_late(mount) {
                self.mount(mount, reg, mounts)?;
            }
        }
        self.nodes(plan, mounts)?;
        self.hooks_of_create(plan)?;
        self.leave_the_hosts_root(mounts.root)
    }

    /// All the rest, up to a finished root.
    pub(super) fn finish_root(&mut self, plan: &Plan, mut mounts: Mounts) -> Result<()> {
        for (mount, reg) in plan.mounts.iter().zip(mounts.regs.clone()) {
            if mounts.is_late(mount) {
                self.mount(mount, reg, &mut mounts)?;
            }
        }
        let root = mounts.root;
        self.terminal(&plan.process, Some(root));
        let path = c_string(plan.process.cwd.as_str())?;
        let label = format!("make working directory {}", plan.process.cwd);
        self.program.step(label, FileOp::Directory { root, path });
        self.masks(plan, &mounts)?;
        for (target, reg) in mounts.read_only_later {
            read_only(&mut self.program, format!("make {target} read-only"), reg);
        }
        let held = mounts.bases.iter().map(|(_, base)| base.mount).chain(mounts.writable_later);
        for mount in held {
            self.program.step("close", DescriptorOp::Close(mount));
        }
        if plan.rootfs.readonly {
            read_only(&mut self.program, "make the root read-only".into(), root);
        }
        if let Some(kind @ (Propagation::Shared | Propagation::Unbindable)) =
            plan.rootfs.propagation
        {
            let attributes = MountAttr { propagation: flag(kind), ..Default::default() };
            self.program
                .step("set root", MountOp::Set { mount: root, attributes, recursive: false });
        }
        Ok(())
    }

    fn masks(&mut self, plan: &Plan, mounts: &Mounts) -> Result<()> {
        let (root, empty) = (mounts.root, self.program.empty());
        for path in &plan.readonly {
            let (base, rest) = mounts.base(path)?;
            let op = MountOp::ReadOnly { base, path: rest, root };
            self.program.step(format!("make {path} read-only"), op);
        }
        for path in &plan.masked {
            let (base, rest) = mounts.base(path)?;
            let op = MountOp::Mask { base, path: rest, root, empty };
            self.program.step(format!("mask {path}"), op);
        }
        if let Some(mount) = mounts.writable_later {
            let attributes = MountAttr { clear: attr::RDONLY, ..Default::default() };
            let op = MountOp::Set { mount, attributes, recursive: false };
            self.program.step("make /proc writable", op);
        }
        self.program.step("close", DescriptorOp::Close(empty));
        Ok(())
    }

    /// A file system with nothing in it, read-only, for a reaper's root.
    pub(super) fn empty_root(&mut self) -> Reg {
        let to = self.program.empty();
        let options = vec![(c"ro".into(), None)];
        let attributes = attr::RDONLY | attr::NOSUID | attr::NODEV | attr::NOEXEC;
        let op = MountOp::New { fstype: c"tmpfs".into(), options, attributes, to };
        self.program.step("make an empty root", op);
        to
    }

    pub(super) fn mount(&mut self, mount: &Mount, reg: Reg, mounts: &mut Mounts) -> Result<()> {
        let label = || format!("mount {}", mount.target);
        let rules = rules(mount).context(label)?;
        let mut set = mount.set;
        let mut propagation = mount.propagation.map_or(0, flag);
        match &mount.source {
            MountSource::Bind { .. } if propagation == 0 => propagation = libc::MS_PRIVATE,
            MountSource::Bind { .. } | MountSource::Detached(_) => {}
            MountSource::Pod(_) if mounts.has_pods => {}
            MountSource::Pod(name) => {
                let path = c_string(format!("/{name}")).context(label)?;
                self.program.step(label(), MountOp::Copy { path, recursive: false, to: reg });
            }
            MountSource::New { fstype, source, options } => {
                if fstype == "tmpfs" && set & attr::RDONLY != 0 {
                    set &= !attr::RDONLY;
                    mounts.read_only_later.push((mount.target.clone(), reg));
                }
                if is_new_proc(mount) && mounts.is_late(mount) && set & attr::RDONLY == 0 {
                    set |= attr::RDONLY;
                    mounts.writable_later = Some(reg);
                }
                let mut all = vec![(c"source".into(), Some(c_string(source.as_str())?))];
                for (key, value) in options {
                    let value = value.as_deref().map(c_string).transpose().context(label)?;
                    all.push((c_string(key.as_str()).context(label)?, value));
                }
                let fstype = c_string(fstype.as_str()).context(label)?;
                let op = MountOp::New { fstype, options: all, attributes: set, to: reg };
                self.program.step(label(), op);
                set = 0;
            }
        }
        let attributes = MountAttr { set, clear: mount.clear, propagation, userns: 0 };
        if attributes != MountAttr::default() {
            let recursive = mount.recursive_attrs;
            self.set(label(), reg, attributes, recursive);
        }
        let path = c_string(mount.target.as_str()).context(label)?;
        if let Some(late) = mounts.late.as_ref().filter(|_| !mounts.is_late(mount)) {
            let (root, path, directory) = (mounts.root, path.clone(), c_string(late.as_str())?);
            self.program.step(label(), MountOp::NotBeneath { root, path, directory });
        }
        if mount.copy_up {
            let (root, path) = (mounts.root, path.clone());
            let op = MountOp::CopyUp { mount: reg, root, path, attributes: !has_mode(mount) };
            self.program.step(format!("mount {}: copy up", mount.target), op);
        }
        let op = MountOp::Attach { mount: reg, root: mounts.root, path, rules };
        self.program.step(label(), op);
        let is_base = |path: &String| below(path, &mount.target).is_some();
        if mounts.restricted.iter().any(is_base) {
            let is_proc = is_new_proc(mount) || rules.is_proc;
            mounts.bases.push((mount.target.clone(), Base { mount: reg, is_proc }));
        } else if !mounts.is_needed(reg) {
            self.program.step("close", DescriptorOp::Close(reg));
        }
        Ok(())
    }

    /// Propagation always goes to the mounts below too, attributes where asked.
    fn set(&mut self, label: String, mount: Reg, attributes: MountAttr, recursive: bool) {
        let own = MountAttr { propagation: 0, ..attributes };
        let below = MountAttr { propagation: attributes.propagation, ..MountAttr::default() };
        if recursive || own == MountAttr::default() {
            self.program.step(label, MountOp::Set { mount, attributes, recursive: true });
            return;
        }
        self.program.step(label.clone(), MountOp::Set { mount, attributes: own, recursive: false });
        if below.propagation != 0 {
            self.program.step(label, MountOp::Set { mount, attributes: below, recursive: true });
        }
    }

    /// The host's nodes of a plan's devices, where there is a user namespace.
    fn open_devices(&mut self, plan: &Plan) -> Result<Vec<(String, Reg)>> {
        let mut opened = Vec::new();
        let is_fifo = |device: &&Device| device.mode & libc::S_IFMT == libc::S_IFIFO;
        if plan.namespaces.user == Namespace::Host && self.beside.caller == Caller::Root {
            return Ok(opened);
        }
        for device in plan.devices.iter().filter(|device| !is_fifo(device)) {
            let to = self.program.empty();
            let path = c_string(device.path.as_str())?;
            let (kind, rdev) = (device.mode & libc::S_IFMT, device.rdev);
            let label = format!("open device {}", device.path);
            self.program.step(label, MountOp::CopyDevice { path, kind, rdev, to });
            opened.push((device.path.clone(), to));
        }
        Ok(opened)
    }

    fn nodes(&mut self, plan: &Plan, mounts: &Mounts) -> Result<()> {
        let root = mounts.root;
        for (path, mount) in &mounts.devices {
            let (mount, rules) = (*mount, Rules::default());
            let op = MountOp::Attach { mount, root, path: c_string(path.as_str())?, rules };
            self.program.step(format!("bind device {path}"), op);
            self.program.step("close", DescriptorOp::Close(mount));
        }
        let is_bound =
            |device: &&Device| mounts.devices.iter().any(|(path, _)| *path == device.path);
        for device in plan.devices.iter().filter(|device| !is_bound(device)) {
            let (parent, name) = split(&device.path).context(|| "device")?;
            let (mode, rdev) = (device.mode, device.rdev);
            let owner = (device.uid, device.gid);
            let op = FileOp::Device { root, parent, name, mode, rdev, owner };
            self.program.step(format!("make device {}", device.path), op);
        }
        for link in &plan.links {
            let (parent, name) = split(&link.path).context(|| "link")?;
            let target = c_string(link.target.as_str())?;
            let op = FileOp::Link { root, parent, name, target };
            self.program.step(format!("make link {}", link.path), op);
        }
        Ok(())
    }
}

pub(super) fn read_only(program: &mut Program<'_>, label: String, mount: Reg) {
    let attributes = MountAttr { set: attr::RDONLY, ..Default::default() };
    program.step(label, MountOp::Set { mount, attributes, recursive: false });
}

fn is_new_proc(mount: &Mount) -> bool {
    matches!(&mount.source, MountSource::New { fstype, .. } if fstype == "proc")
}

fn has_mode(mount: &Mount) -> bool {
    let MountSource::New { options, .. } = &mount.source else { return true };
    options.iter().any(|(key, _)| key == "mode")
}

fn flag(propagation: Propagation) -> u64 {
    match propagation {
        Propagation::Private => libc::MS_PRIVATE,
        Propagation::Slave => libc::MS_SLAVE,
        Propagation::Shared => libc::MS_SHARED,
        Propagation::Unbindable => libc::MS_UNBINDABLE,
    }
}

#[cfg(test)]
mod tests {
    use crate::plan::{Namespace, Slot};
    use crate::planning::{self, Host, NamespaceOverrides, Overrides};
    use crate::run::compile::{self, Inputs};
    use std::os::fd::AsFd;

    #[test]
    fn a_proc_that_neighbours_see_is_read_only_until_its_masks_are_put() {
        let spec = serde_json::json!({
            "ociVersion": "1.0.2",
            "root": { "path": "/r" },
            "process": { "cwd": "/", "args": ["/true"], "user": { "uid": 0, "gid": 0 } },
            "mounts": [{ "destination": "/proc", "type": "proc", "source": "proc" }],
            "linux": {
                "namespaces": [{ "type": "mount" }, { "type": "pid" }],
                "maskedPaths": ["/proc/keys"],
                "readonlyPaths": ["/proc/sys"]
            }
        });
        let spec = serde_json::from_value(spec).unwrap();
        let host = Host::detect(std::path::Path::new("/sys/fs/cgroup")).unwrap();
        let pid = Some(Namespace::Slot(Slot(0)));
        let namespaces = NamespaceOverrides { pid, ..Default::default() };
        let over = Overrides { namespaces, cgroup: Some("/x".into()), ..Default::default() };
        let plan = planning::plan(&spec, &host, &over).unwrap();
        let null = std::fs::File::open("/dev/null").unwrap();
        let slots = [null.as_fd()];
        let given = Inputs { slots: &slots, ..Default::default() };
        let program = format!("{:?}", compile::init(&plan, given).unwrap().program);
        // Labels are bytes.
        let at = |label: &str| program.find(&format!("{:?}", label.as_bytes()));
        let [mask, read_only, writable] =
            ["mask /proc/keys", "make /proc/sys read-only", "make /proc writable"].map(at);
        assert!(mask.is_some() && read_only.is_some());
        assert!(writable > mask && writable > read_only, "{writable:?} {mask:?} {read_only:?}");
    }
}
