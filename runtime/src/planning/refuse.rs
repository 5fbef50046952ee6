//! What this version does not do, refused by its name in the configuration.

use super::invalid;
use crate::Result;
use oci_spec::runtime::{Linux, LinuxPersonalityDomain, Process, Spec};

/// Refuses what a container's configuration asks for and this version cannot do.
///
/// # Errors
/// `Invalid`: `linux.netDevices is not supported`.
pub fn unsupported(spec: &Spec) -> Result<()> {
    // Releases of the specification promise that 1.x reads 1.y.
    if !spec.version().starts_with("1.") {
        return Err(invalid(format!("ociVersion {:?} is not 1.x", spec.version())));
    }
    never("vm", spec.vm().is_some())?;
    if let Some(linux) = spec.linux() {
        unsupported_linux(linux)?;
    }
    spec.process().as_ref().map_or(Ok(()), unsupported_process)
}

fn unsupported_linux(linux: &Linux) -> Result<()> {
    never("linux.netDevices", linux.net_devices().as_ref().is_some_and(|map| !map.is_empty()))?;
    never("linux.timeOffsets", linux.time_offsets().as_ref().is_some_and(|map| !map.is_empty()))?;
    never("linux.intelRdt", linux.intel_rdt().is_some())?;
    never("linux.memoryPolicy", linux.memory_policy().is_some())?;
    if let Some(personality) = linux.personality() {
        never("linux.personality.flags", filled(personality.flags()))?;
        // LINUX is what every process has anyway.
        let other = personality.domain() != LinuxPersonalityDomain::PerLinux;
        never("linux.personality LINUX32", other)?;
    }
    Ok(())
}

/// Refuses what a process's configuration asks for and this version cannot do.
///
/// # Errors
/// As [`unsupported`].
pub fn unsupported_process(process: &Process) -> Result<()> {
    never("process.ioPriority", process.io_priority().is_some())?;
    never("process.scheduler", process.scheduler().is_some())?;
    never("process.execCPUAffinity", process.exec_cpu_affinity().is_some())
}

fn never(name: &str, asked: bool) -> Result<()> {
    if asked { Err(invalid(format!("{name} is not supported"))) } else { Ok(()) }
}

fn filled<T>(list: &Option<Vec<T>>) -> bool {
    list.as_ref().is_some_and(|list| !list.is_empty())
}
