//! Root, mounts, devices, links, masks.

use super::Compiler;
use super::text::{c_string, split};
use crate::plan::{Mount, MountSource, Plan, Propagation, RootfsSource, attr};
use crate::{Context, Result};
use rrun_sys::mount::Attributes;
use rrun_sys::program::{File, Flow, Program, Reg, Tree};

/// The mounts of a plan on their way.
pub(super) struct Mounts {
    root: Reg,
    /// One for each of the plan's; bind sources are copied by now.
    regs: Vec<Reg>,
    /// File systems that become read-only when all is made in them.
    read_only_later: Vec<(String, Reg)>,
    /// Where the file system that must wait for the PID namespace goes.
    late: Option<String>,
}

impl Mounts {
    fn is_late(&self, mount: &Mount) -> bool {
        let Some(late) = &self.late else { return false };
        let below = mount.target.strip_prefix(late.as_str());
        below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl Compiler<'_> {
    /// What needs the host's mounts: the root and the bind sources.
    pub(super) fn open_sources(&mut self, plan: &Plan) -> Result<Mounts> {
        let root = match &plan.rootfs.source {
            RootfsSource::Detached(slot) => {
                let root = self.slot(*slot).doing(|| "rootfs")?;
                self.slots.retain(|reg| *reg != root);
                root
            }
            RootfsSource::Directory(path) => {
                let to = self.program.empty();
                let path = c_string(path.as_os_str().as_encoded_bytes())?;
                let label = format!("open root {}", path.to_string_lossy());
                self.program.step(label, Tree::Copy { path, recursive: true, to });
                to
            }
        };
        // A copy is a peer of its source. What is mounted in the container must not appear on the
        // host; a slave is made while there is a master.
        let slave = plan.rootfs.propagation == Some(Propagation::Slave);
        let propagation = if slave { libc::MS_SLAVE } else { libc::MS_PRIVATE };
        let attributes = Attributes { propagation, ..Default::default() };
        self.program.step("set root", Tree::Set { mount: root, attributes, recursive: true });
        let mut regs = Vec::with_capacity(plan.mounts.len());
        for mount in &plan.mounts {
            let reg = match &mount.source {
                MountSource::Detached(slot) => {
                    self.slot(*slot).doing(|| format!("mount {}", mount.target))?
                }
                _ => self.program.empty(),
            };
            if let MountSource::Bind { path, recursive } = &mount.source {
                let label = format!("mount {}: open {}", mount.target, path.display());
                let path = c_string(path.as_os_str().as_encoded_bytes())?;
                self.program.step(label, Tree::Copy { path, recursive: *recursive, to: reg });
            }
            regs.push(reg);
        }
        let is_proc = |mount: &&Mount| matches!(&mount.source, MountSource::New { fstype, .. } if fstype == "proc");
        let late = plan.mounts.iter().find(is_proc).filter(|_| self.handover);
        let late = late.map(|mount| mount.target.trim_end_matches('/').to_owned());
        Ok(Mounts { root, regs, read_only_later: Vec::new(), late })
    }

    /// The root and what can be made before the PID namespace is joined, then the pivot.
    pub(super) fn mounts(&mut self, plan: &Plan, mounts: &mut Mounts) -> Result<()> {
        self.program.step("enter the root", Tree::Cover(mounts.root));
        for (at, mount) in plan.mounts.iter().enumerate() {
            if !mounts.is_late(mount) {
                self.mount(mount, at, mounts)?;
            }
        }
        self.nodes(plan, mounts.root)?;
        self.program.step("pivot into the root", Tree::Pivot(mounts.root));
        Ok(())
    }

    /// All the rest, up to a finished root.
    pub(super) fn finish_root(&mut self, plan: &Plan, mut mounts: Mounts) -> Result<()> {
        for (at, mount) in plan.mounts.iter().enumerate() {
            if mounts.is_late(mount) {
                self.mount(mount, at, &mut mounts)?;
            }
        }
        let root = mounts.root;
        self.terminal(&plan.process, Some(root));
        let path = c_string(plan.process.cwd.as_str())?;
        let label = format!("make working directory {}", plan.process.cwd);
        self.program.step(label, File::Directory { root, path });
        for path in &plan.readonly {
            let op = Tree::ReadOnly { root, path: c_string(path.as_str())? };
            self.program.step(format!("make {path} read-only"), op);
        }
        let empty = self.program.empty();
        for path in &plan.masked {
            let op = Tree::Mask { root, path: c_string(path.as_str())?, empty };
            self.program.step(format!("mask {path}"), op);
        }
        for (target, reg) in mounts.read_only_later {
            read_only(&mut self.program, format!("make {target} read-only"), reg);
        }
        if plan.rootfs.readonly {
            read_only(&mut self.program, "make the root read-only".into(), root);
        }
        if let Some(kind @ (Propagation::Shared | Propagation::Unbindable)) =
            plan.rootfs.propagation
        {
            let attributes = Attributes { propagation: flag(kind), ..Default::default() };
            self.program.step("set root", Tree::Set { mount: root, attributes, recursive: false });
        }
        Ok(())
    }

    /// A file system with nothing in it, read-only, for a reaper's root.
    pub(super) fn empty_root(&mut self) -> Reg {
        let to = self.program.empty();
        let options = vec![(c"ro".into(), None)];
        let attributes = attr::RDONLY | attr::NOSUID | attr::NODEV | attr::NOEXEC;
        let op = Tree::New { fstype: c"tmpfs".into(), options, attributes, to };
        self.program.step("make an empty root", op);
        to
    }

    fn mount(&mut self, mount: &Mount, at: usize, mounts: &mut Mounts) -> Result<()> {
        let label = || format!("mount {}", mount.target);
        let Some(reg) = mounts.regs.get(at).copied() else { return Ok(()) };
        let mut set = mount.set;
        let mut propagation = mount.propagation.map_or(0, flag);
        match &mount.source {
            MountSource::Bind { .. } if propagation == 0 => propagation = libc::MS_PRIVATE,
            MountSource::Bind { .. } | MountSource::Detached(_) => {}
            MountSource::Seed(name) => {
                let path = c_string(format!("/{name}")).doing(label)?;
                self.program.step(label(), Tree::Copy { path, recursive: false, to: reg });
            }
            MountSource::New { fstype, source, options } => {
                if fstype == "tmpfs" && set & attr::RDONLY != 0 {
                    set &= !attr::RDONLY;
                    mounts.read_only_later.push((mount.target.clone(), reg));
                }
                let mut all = vec![(c"source".into(), Some(c_string(source.as_str())?))];
                for (key, value) in options {
                    let value = value.as_deref().map(c_string).transpose().doing(label)?;
                    all.push((c_string(key.as_str()).doing(label)?, value));
                }
                let fstype = c_string(fstype.as_str()).doing(label)?;
                let op = Tree::New { fstype, options: all, attributes: set, to: reg };
                self.program.step(label(), op);
                set = 0;
            }
        }
        // Access times are one field of several bits, which the kernel wants cleared as a whole.
        let times = (set | mount.clear) & libc::MOUNT_ATTR__ATIME != 0;
        let clear = mount.clear | if times { libc::MOUNT_ATTR__ATIME } else { 0 };
        let attributes = Attributes { set, clear, propagation, userns: 0 };
        if attributes != Attributes::default() {
            let recursive = mount.recursive_attrs;
            self.set(label(), reg, attributes, recursive);
        }
        let path = c_string(mount.target.as_str()).doing(label)?;
        if mount.copy_up {
            let (root, path) = (mounts.root, path.clone());
            let op = Tree::CopyUp { mount: reg, root, path, attributes: !has_mode(mount) };
            self.program.step(format!("mount {}: copy up", mount.target), op);
        }
        self.program.step(label(), Tree::Attach { mount: reg, root: mounts.root, path });
        if !mounts.read_only_later.iter().any(|(_, later)| *later == reg) {
            self.program.step("close", Flow::Close(reg));
        }
        Ok(())
    }

    /// Propagation always goes to the mounts below too, attributes where asked.
    fn set(&mut self, label: String, mount: Reg, attributes: Attributes, recursive: bool) {
        let own = Attributes { propagation: 0, ..attributes };
        let below = Attributes { propagation: attributes.propagation, ..Attributes::default() };
        if recursive || own == Attributes::default() {
            self.program.step(label, Tree::Set { mount, attributes, recursive: true });
            return;
        }
        self.program.step(label.clone(), Tree::Set { mount, attributes: own, recursive: false });
        if below.propagation != 0 {
            self.program.step(label, Tree::Set { mount, attributes: below, recursive: true });
        }
    }

    fn nodes(&mut self, plan: &Plan, root: Reg) -> Result<()> {
        for device in &plan.devices {
            let (parent, name) = split(&device.path).doing(|| "device")?;
            let (mode, rdev) = (device.mode, device.rdev);
            let owner = (device.uid, device.gid);
            let op = File::Device { root, parent, name, mode, rdev, owner };
            self.program.step(format!("make device {}", device.path), op);
        }
        for link in &plan.links {
            let (parent, name) = split(&link.path).doing(|| "link")?;
            let target = c_string(link.target.as_str())?;
            let op = File::Link { root, parent, name, target };
            self.program.step(format!("make link {}", link.path), op);
        }
        Ok(())
    }
}

fn read_only(program: &mut Program<'_>, label: String, mount: Reg) {
    let attributes = Attributes { set: attr::RDONLY, ..Default::default() };
    program.step(label, Tree::Set { mount, attributes, recursive: false });
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
