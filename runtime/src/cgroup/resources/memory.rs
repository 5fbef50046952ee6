//! Memory limits.

use super::files::Files;
use super::{Setting, Value, invalid};
use crate::Result;

const FIELD: &str = "linux.resources.memory";

const ALL: [Setting; 6] = [
    Setting::Memory,
    Setting::MemoryAndSwap,
    Setting::MemoryReservation,
    Setting::KernelTcp,
    Setting::Swappiness,
    Setting::OomKillDisabled,
];

impl Files<'_> {
    pub(super) fn memory(&mut self) -> Result<()> {
        self.swap_fits()?;
        let Some(home) = self.home("memory", FIELD, &ALL)? else { return Ok(()) };
        if home.v2 { self.memory_v2(home.dir) } else { self.memory_v1(home.dir) }
    }

    /// The kernel has no limit of both below that of memory. A value that stands alone is held
    /// against the limit that is in force.
    fn swap_fits(&self) -> Result<()> {
        let asked = [Setting::Memory, Setting::MemoryAndSwap];
        if asked.iter().all(|setting| self.change.get(setting).is_none()) {
            return Ok(());
        }
        match (self.after.number(&Setting::Memory), self.after.number(&Setting::MemoryAndSwap)) {
            (Some(limit), Some(both)) if both < limit => {
                Err(invalid(format!("{FIELD}.swap: {both} is less than the limit {limit}")))
            }
            (None, Some(_)) => Err(invalid(format!("{FIELD}.swap needs a limit"))),
            _ => Ok(()),
        }
    }

    /// The limit of both is raised before that of memory and lowered after it: each write must
    /// leave it the higher one.
    fn swap_first(&self) -> bool {
        let both = |of: &super::Resources| of.number(&Setting::MemoryAndSwap).unwrap_or(u64::MAX);
        both(self.after) > both(self.before)
    }

    /// A kernel that does not account for swap lacks the file: without any swap the limit holds all
    /// the same, else it must not be passed over.
    fn swap(&mut self, dir: u8, file: &str, limit: u64) {
        if self.controllers.swap() {
            self.write(dir, file, limit);
        } else {
            self.offer(dir, file, limit);
        }
    }

    fn memory_v1(&mut self, dir: u8) -> Result<()> {
        let limit = |files: &mut Self| {
            files.plain(dir, "memory.limit_in_bytes", &Setting::Memory, "-1");
        };
        let swap = |files: &mut Self| match files.change.get(&Setting::MemoryAndSwap) {
            Some(Value::Number(both)) => files.swap(dir, "memory.memsw.limit_in_bytes", *both),
            Some(_) => files.offer(dir, "memory.memsw.limit_in_bytes", "-1"),
            None => {}
        };
        if self.swap_first() {
            swap(self);
            limit(self);
        } else {
            limit(self);
            swap(self);
        }
        self.plain(dir, "memory.soft_limit_in_bytes", &Setting::MemoryReservation, "-1");
        self.plain(dir, "memory.kmem.tcp.limit_in_bytes", &Setting::KernelTcp, "-1");
        self.plain(dir, "memory.swappiness", &Setting::Swappiness, "60");
        self.plain(dir, "memory.oom_control", &Setting::OomKillDisabled, "0");
        Ok(())
    }

    fn memory_v2(&mut self, dir: u8) -> Result<()> {
        for (name, setting) in [
            ("kernelTCP", Setting::KernelTcp),
            ("swappiness", Setting::Swappiness),
            ("disableOOMKiller", Setting::OomKillDisabled),
        ] {
            self.not_on_v2(&setting, &format!("{FIELD}.{name}"))?;
        }
        let swap_first = self.swap_first();
        if swap_first {
            self.swap_v2(dir);
        }
        self.plain(dir, "memory.max", &Setting::Memory, "max");
        if !swap_first {
            self.swap_v2(dir);
        }
        self.plain(dir, "memory.low", &Setting::MemoryReservation, "0");
        Ok(())
    }

    /// v2 counts swap alone: what the limit leaves of the sum, anew when either has changed.
    fn swap_v2(&mut self, dir: u8) {
        let said = |setting| self.change.get(&setting).is_some();
        let (limit, both) = (said(Setting::Memory), said(Setting::MemoryAndSwap));
        let limits =
            (self.after.number(&Setting::Memory), self.after.number(&Setting::MemoryAndSwap));
        match (limits, self.change.get(&Setting::MemoryAndSwap)) {
            ((Some(memory), Some(sum)), _) if limit || both => {
                self.swap(dir, "memory.swap.max", sum - memory);
            }
            (_, Some(Value::Unset)) => self.offer(dir, "memory.swap.max", "max"),
            _ => {}
        }
    }
}
