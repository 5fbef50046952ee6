//! The control groups of a container: where they are and what is written to them.

use super::{Host, Overrides, device_rules, invalid, io, memory, resources};
use crate::Result;
use crate::cgroup::Layout;
use crate::plan::{CgroupDir, CgroupWrite, Cgroups};
use oci_spec::runtime::{Linux, LinuxResources};
use std::path::{Component, Path, PathBuf};

pub fn plan(linux: &Linux, host: &Host, over: &Overrides) -> Result<Cgroups> {
    let asked = linux.cgroups_path().as_deref().filter(|path| !path.as_os_str().is_empty());
    let path = asked.or(over.cgroup.as_deref().map(Path::new));
    if asked.is_some() && host.cgroups.is_none() {
        return Err(invalid("linux.cgroupsPath: no control groups are mounted on this host"));
    }
    let mut groups = Groups::default();
    if let (Some(layout), Some(path)) = (&host.cgroups, path) {
        groups = Groups::at(layout, &relative(path)?);
    }
    if let Some(resources) = linux.resources() {
        fill(&mut groups, resources, host)?;
    } else {
        devices(&mut groups, &[])?;
    }
    Ok(groups.planned)
}

/// `cgroupsPath` below the hierarchies' roots.
fn relative(path: &Path) -> Result<PathBuf> {
    let text = path.to_str().unwrap_or_default();
    if !path.is_absolute() && text.matches(':').count() == 2 {
        return Err(invalid(format!(
            "linux.cgroupsPath: {text:?} is for the systemd driver, which is not supported"
        )));
    }
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => plain.push(name),
            Component::ParentDir => {
                return Err(invalid(format!("linux.cgroupsPath: {path:?} has `..`")));
            }
            _ => {}
        }
    }
    if plain.as_os_str().is_empty() {
        return Err(invalid("linux.cgroupsPath: the root group is the host's"));
    }
    Ok(plain)
}

fn fill(groups: &mut Groups, resources: &LinuxResources, host: &Host) -> Result<()> {
    devices(groups, resources.devices().as_deref().unwrap_or_default())?;
    if let Some(memory) = resources.memory() {
        memory::plan(groups, memory, host.page_size)?;
    }
    if let Some(cpu) = resources.cpu() {
        resources::cpu(groups, cpu)?;
    }
    if let Some(pids) = resources.pids() {
        resources::pids(groups, pids.limit())?;
    }
    resources::hugepages(groups, resources.hugepage_limits().as_deref().unwrap_or_default())?;
    if let Some(io) = resources.block_io() {
        io::plan(groups, io)?;
    }
    if let Some(network) = resources.network() {
        resources::network(groups, network)?;
    }
    resources::rdma(groups, resources.rdma().iter().flatten())?;
    resources::unified(groups, resources.unified().iter().flatten())
}

fn devices(groups: &mut Groups, rules: &[oci_spec::runtime::LinuxDeviceCgroup]) -> Result<()> {
    let policy = device_rules::policy(rules)?;
    if let Some(Home { dir, v2: false }) = groups.home("devices") {
        for (file, line) in policy.v1_writes() {
            groups.write(dir, file, line);
        }
        return Ok(());
    }
    if groups.unified.is_some() {
        groups.planned.device_filter = policy.v2_program();
    } else if !rules.is_empty() && !policy.allow {
        return Err(missing("devices", "linux.resources.devices"));
    }
    Ok(())
}

/// The groups while their plan is made.
#[derive(Debug, Default)]
pub struct Groups {
    pub planned: Cgroups,
    /// Where each controller is.
    homes: Vec<(String, Home)>,
    /// The unified directory.
    pub unified: Option<u8>,
}

/// Where a controller is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Home {
    /// Index into [`Cgroups::dirs`].
    pub dir: u8,
    /// It is the unified hierarchy, with v2's files.
    pub v2: bool,
}

impl Groups {
    /// One directory in each hierarchy. A controller that a v1 hierarchy has is not in v2.
    pub fn at(layout: &Layout, path: &Path) -> Groups {
        let mut groups = Groups::default();
        for hierarchy in &layout.v1 {
            let dir = groups.add(hierarchy.path.join(path), false);
            for controller in &hierarchy.controllers {
                groups.homes.push((controller.clone(), Home { dir, v2: false }));
            }
            let last = &mut groups.planned.dirs[usize::from(dir)];
            last.inherit_cpuset = hierarchy.controllers.iter().any(|c| c == "cpuset");
        }
        if let Some(root) = &layout.unified {
            let dir = groups.add(root.join(path), true);
            groups.unified = Some(dir);
            for controller in &layout.unified_controllers {
                groups.homes.push((controller.clone(), Home { dir, v2: true }));
            }
        }
        groups
    }

    fn add(&mut self, path: PathBuf, unified: bool) -> u8 {
        self.planned.dirs.push(CgroupDir { path, unified, inherit_cpuset: false });
        // A kernel has 15 controllers, so that there are fewer hierarchies than a byte counts.
        (self.planned.dirs.len() - 1) as u8
    }

    /// Where a controller is, if the host has it.
    pub fn home(&self, controller: &str) -> Option<Home> {
        self.homes.iter().find(|(name, _)| name == controller).map(|(_, home)| *home)
    }

    /// Where a controller is that `field` of the configuration needs.
    pub fn need(&self, controller: &str, field: &str) -> Result<Home> {
        self.home(controller).ok_or_else(|| missing(controller, field))
    }

    /// One value that must be taken.
    pub fn write(&mut self, dir: u8, file: impl Into<String>, value: impl ToString) {
        self.push(dir, file.into(), value.to_string(), false);
    }

    /// One value for a file that a kernel may lack.
    pub fn offer(&mut self, dir: u8, file: impl Into<String>, value: impl ToString) {
        self.push(dir, file.into(), value.to_string(), true);
    }

    fn push(&mut self, dir: u8, file: String, value: String, optional: bool) {
        self.planned.writes.push(CgroupWrite { dir, file, value, optional });
    }
}

fn missing(controller: &str, field: &str) -> crate::Error {
    invalid(format!("{field}: this host has no {controller} controller for containers"))
}
