//! Limits of a container, as plugins speak of them.

use crate::api::{LinuxCpu, LinuxMemory, LinuxResources};
use crate::owners::{Claim, Field};

/// What is set in `asked`.
pub(crate) fn claims(asked: &LinuxResources) -> Vec<Claim> {
    let memory = asked.memory.unwrap_or_default();
    let none = LinuxCpu::default();
    let cpu = asked.cpu.as_ref().unwrap_or(&none);
    let simple = [
        (Field::MEMORY_LIMIT, memory.limit.is_some()),
        (Field::MEMORY_RESERVATION, memory.reservation.is_some()),
        (Field::MEMORY_SWAP, memory.swap.is_some()),
        (Field::MEMORY_KERNEL, memory.kernel.is_some()),
        (Field::MEMORY_TCP, memory.kernel_tcp.is_some()),
        (Field::MEMORY_SWAPPINESS, memory.swappiness.is_some()),
        (Field::MEMORY_OOM_KILLER, memory.disable_oom_killer.is_some()),
        (Field::MEMORY_HIERARCHY, memory.use_hierarchy.is_some()),
        (Field::CPU_SHARES, cpu.shares.is_some()),
        (Field::CPU_QUOTA, cpu.quota.is_some()),
        (Field::CPU_PERIOD, cpu.period.is_some()),
        (Field::CPU_RT_RUNTIME, cpu.realtime_runtime.is_some()),
        (Field::CPU_RT_PERIOD, cpu.realtime_period.is_some()),
        (Field::CPUSET_CPUS, !cpu.cpus.is_empty()),
        (Field::CPUSET_MEMS, !cpu.mems.is_empty()),
        (Field::PIDS, asked.pids.is_some()),
        (Field::BLOCKIO_CLASS, asked.blockio_class.is_some()),
        (Field::RDT_CLASS, asked.rdt_class.is_some()),
    ];
    let simple = simple.into_iter().filter(|(_, is_set)| *is_set);
    let pages = asked.hugepage_limits.iter().map(|page| (Field::HUGEPAGES, page.page_size.clone()));
    let unified = asked.unified.keys().map(|key| (Field::UNIFIED, key.clone()));
    simple.map(|(field, _)| (field, String::new())).chain(pages).chain(unified).collect()
}

/// Sets in `held` what is set in `asked`.
pub(crate) fn overlay(held: &mut LinuxResources, asked: &LinuxResources) {
    if let Some(memory) = &asked.memory {
        overlay_memory(held.memory.get_or_insert_default(), memory);
    }
    if let Some(cpu) = &asked.cpu {
        overlay_cpu(held.cpu.get_or_insert_default(), cpu);
    }
    for page in &asked.hugepage_limits {
        held.hugepage_limits.retain(|old| old.page_size != page.page_size);
        held.hugepage_limits.push(page.clone());
    }
    held.unified.extend(asked.unified.clone());
    held.pids = asked.pids.or(held.pids);
    held.blockio_class = asked.blockio_class.clone().or(held.blockio_class.take());
    held.rdt_class = asked.rdt_class.clone().or(held.rdt_class.take());
}

fn overlay_memory(held: &mut LinuxMemory, asked: &LinuxMemory) {
    *held = LinuxMemory {
        limit: asked.limit.or(held.limit),
        reservation: asked.reservation.or(held.reservation),
        swap: asked.swap.or(held.swap),
        kernel: asked.kernel.or(held.kernel),
        kernel_tcp: asked.kernel_tcp.or(held.kernel_tcp),
        swappiness: asked.swappiness.or(held.swappiness),
        disable_oom_killer: asked.disable_oom_killer.or(held.disable_oom_killer),
        use_hierarchy: asked.use_hierarchy.or(held.use_hierarchy),
    };
}

fn overlay_cpu(held: &mut LinuxCpu, asked: &LinuxCpu) {
    let text = |new: &String, old: &mut String| match new.is_empty() {
        true => std::mem::take(old),
        false => new.clone(),
    };
    *held = LinuxCpu {
        shares: asked.shares.or(held.shares),
        quota: asked.quota.or(held.quota),
        period: asked.period.or(held.period),
        realtime_runtime: asked.realtime_runtime.or(held.realtime_runtime),
        realtime_period: asked.realtime_period.or(held.realtime_period),
        cpus: text(&asked.cpus, &mut held.cpus),
        mems: text(&asked.mems, &mut held.mems),
    };
}
