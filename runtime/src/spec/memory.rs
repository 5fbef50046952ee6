//! Memory limits.

use super::cgroups::Groups;
use super::invalid;
use crate::Result;
use oci_spec::runtime::LinuxMemory;

const FIELD: &str = "linux.resources.memory";

/// A new group is unlimited, so that the limit comes before the limit of memory and swap
/// together, which the kernel refuses to be the lower one.
#[allow(deprecated)]
pub fn plan(groups: &mut Groups, memory: &LinuxMemory, page_size: u64) -> Result<()> {
    let limit = size(memory.limit(), "limit")?;
    let swap = size(memory.swap(), "swap")?;
    let reservation = size(memory.reservation(), "reservation")?;
    if let Some(Size::Bytes(limit)) = limit
        && limit < page_size
    {
        return Err(invalid(format!("{FIELD}.limit: {limit} is less than a page")));
    }
    if memory.kernel().is_some_and(|limit| limit != 0 && limit != -1) {
        return Err(invalid(format!("{FIELD}.kernel is not supported")));
    }
    if memory.use_hierarchy() == Some(false) {
        return Err(invalid(format!("{FIELD}.useHierarchy: false is not supported")));
    }
    swap_fits(limit, swap)?;
    let home = groups.home("memory");
    let asks = [limit, swap, reservation].iter().any(|size| matches!(size, Some(Size::Bytes(_))))
        || memory.disable_oom_killer() == Some(true)
        || swappiness(memory)?.is_some()
        || memory.kernel_tcp().is_some_and(|limit| limit > 0);
    let home = match (home, asks) {
        (Some(home), _) => home,
        // Unlimited is what one gets without the controller.
        (None, false) => return Ok(()),
        (None, true) => groups.need("memory", FIELD)?,
    };
    if home.v2 {
        v2(groups, home.dir, memory, [limit, swap, reservation])
    } else {
        v1(groups, home.dir, memory, [limit, swap, reservation])
    }
}

/// A size that is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Size {
    Unlimited,
    Bytes(u64),
}

impl Size {
    fn v1(self) -> String {
        match self {
            Size::Unlimited => "-1".to_owned(),
            Size::Bytes(bytes) => bytes.to_string(),
        }
    }

    fn v2(self) -> String {
        match self {
            Size::Unlimited => "max".to_owned(),
            Size::Bytes(bytes) => bytes.to_string(),
        }
    }
}

/// 0 is unset, as all runtimes have it; -1 is unlimited.
fn size(value: Option<i64>, name: &str) -> Result<Option<Size>> {
    match value {
        None | Some(0) => Ok(None),
        Some(-1) => Ok(Some(Size::Unlimited)),
        Some(bytes) => match u64::try_from(bytes) {
            Ok(bytes) => Ok(Some(Size::Bytes(bytes))),
            Err(_) => Err(invalid(format!("{FIELD}.{name}: {bytes} is no size"))),
        },
    }
}

/// `swap` is memory and swap together.
fn swap_fits(limit: Option<Size>, swap: Option<Size>) -> Result<()> {
    match (limit, swap) {
        (Some(Size::Bytes(limit)), Some(Size::Bytes(swap))) if swap < limit => {
            Err(invalid(format!("{FIELD}.swap: {swap} is less than the limit {limit}")))
        }
        (None | Some(Size::Unlimited), Some(Size::Bytes(_))) => {
            Err(invalid(format!("{FIELD}.swap needs a limit")))
        }
        _ => Ok(()),
    }
}

fn swappiness(memory: &LinuxMemory) -> Result<Option<u64>> {
    match memory.swappiness() {
        // -1 of clients whose type is signed: not set.
        None | Some(u64::MAX) => Ok(None),
        Some(value @ 0..=100) => Ok(Some(value)),
        Some(value) => Err(invalid(format!("{FIELD}.swappiness: {value} is above 100"))),
    }
}

fn v1(
    groups: &mut Groups,
    dir: u8,
    memory: &LinuxMemory,
    [limit, swap, reservation]: [Option<Size>; 3],
) -> Result<()> {
    if let Some(limit) = limit {
        groups.write(dir, "memory.limit_in_bytes", limit.v1());
    }
    // Unlimited memory with limited swap makes no sense to the kernel either.
    let swap = match (limit, swap) {
        (Some(Size::Unlimited), None) => Some(Size::Unlimited),
        (_, swap) => swap,
    };
    if let Some(swap) = swap {
        groups.offer(dir, "memory.memsw.limit_in_bytes", swap.v1());
    }
    if let Some(reservation) = reservation {
        groups.write(dir, "memory.soft_limit_in_bytes", reservation.v1());
    }
    if let Some(limit) = size(memory.kernel_tcp(), "kernelTCP")? {
        groups.write(dir, "memory.kmem.tcp.limit_in_bytes", limit.v1());
    }
    if let Some(value) = swappiness(memory)? {
        groups.write(dir, "memory.swappiness", value);
    }
    if memory.disable_oom_killer() == Some(true) {
        groups.write(dir, "memory.oom_control", 1);
    }
    Ok(())
}

fn v2(
    groups: &mut Groups,
    dir: u8,
    memory: &LinuxMemory,
    [limit, swap, reservation]: [Option<Size>; 3],
) -> Result<()> {
    for (name, asked) in [
        ("kernelTCP", memory.kernel_tcp().is_some_and(|limit| limit > 0)),
        ("swappiness", swappiness(memory)?.is_some()),
        ("disableOOMKiller", memory.disable_oom_killer() == Some(true)),
    ] {
        if asked {
            return Err(invalid(format!("{FIELD}.{name}: cgroup v2 has none")));
        }
    }
    if let Some(limit) = limit {
        groups.write(dir, "memory.max", limit.v2());
    }
    // v2 counts swap alone: what the limit leaves of the sum.
    let swap = match (limit, swap) {
        (Some(Size::Bytes(limit)), Some(Size::Bytes(both))) => Some(Size::Bytes(both - limit)),
        (Some(Size::Unlimited), None) => Some(Size::Unlimited),
        (_, swap) => swap,
    };
    if let Some(swap) = swap {
        groups.offer(dir, "memory.swap.max", swap.v2());
    }
    if let Some(reservation) = reservation {
        groups.write(dir, "memory.low", reservation.v2());
    }
    Ok(())
}
