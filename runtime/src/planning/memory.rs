//! Memory limits of a configuration.

use super::invalid;
use crate::Result;
use crate::cgroup::{Resources, Setting, Value};
use oci_spec::runtime::LinuxMemory;

const FIELD: &str = "linux.resources.memory";

/// `checkBeforeUpdate` is a question to the group as it is: who updates one asks it
/// ([`super::check_usage`]), and a new one uses nothing.
#[allow(deprecated)]
pub fn read(asked: &mut Resources, memory: &LinuxMemory, page_size: u64) -> Result<()> {
    for (name, setting, value) in [
        ("limit", Setting::Memory, memory.limit()),
        ("swap", Setting::MemoryAndSwap, memory.swap()),
        ("reservation", Setting::MemoryReservation, memory.reservation()),
        ("kernelTCP", Setting::KernelTcp, memory.kernel_tcp()),
    ] {
        if let Some(value) = size(value, name)? {
            asked.set(setting, value);
        }
    }
    if let Some(limit) = asked.number(&Setting::Memory)
        && limit < page_size
    {
        return Err(invalid(format!("{FIELD}.limit: {limit} is less than a page")));
    }
    // Unlimited memory with limited swap makes no sense to the kernel either.
    if asked.get(&Setting::Memory) == Some(&Value::Unset)
        && asked.get(&Setting::MemoryAndSwap).is_none()
    {
        asked.set(Setting::MemoryAndSwap, Value::Unset);
    }
    if memory.kernel().is_some_and(|limit| limit != 0 && limit != -1) {
        return Err(invalid(format!("{FIELD}.kernel is not supported")));
    }
    if memory.use_hierarchy() == Some(false) {
        return Err(invalid(format!("{FIELD}.useHierarchy: false is not supported")));
    }
    match memory.swappiness() {
        // -1 of clients whose type is signed: nothing is said.
        None | Some(u64::MAX) => {}
        Some(value @ 0..=100) => asked.set(Setting::Swappiness, Value::Number(value)),
        Some(value) => return Err(invalid(format!("{FIELD}.swappiness: {value} is above 100"))),
    }
    match memory.disable_oom_killer() {
        None => {}
        Some(false) => asked.set(Setting::OomKillDisabled, Value::Unset),
        Some(true) => asked.set(Setting::OomKillDisabled, Value::Number(1)),
    }
    Ok(())
}

/// 0 says nothing, as all runtimes have it; -1 is unlimited.
fn size(value: Option<i64>, name: &str) -> Result<Option<Value>> {
    match value {
        None | Some(0) => Ok(None),
        Some(-1) => Ok(Some(Value::Unset)),
        Some(bytes) => match u64::try_from(bytes) {
            Ok(bytes) => Ok(Some(Value::Number(bytes))),
            Err(_) => Err(invalid(format!("{FIELD}.{name}: {bytes} is no size"))),
        },
    }
}
