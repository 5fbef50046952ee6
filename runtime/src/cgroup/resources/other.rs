//! Processors, processes, huge pages, networks, RDMA, and v2's files by their own names.

use super::files::Files;
use super::{Setting, Value, invalid};
use crate::Result;

const CPU: [Setting; 7] = [
    Setting::CpuShares,
    Setting::CpuQuota,
    Setting::CpuPeriod,
    Setting::CpuBurst,
    Setting::CpuIdle,
    Setting::RealtimePeriod,
    Setting::RealtimeRuntime,
];

/// The kernel's own, µs.
const PERIOD: u64 = 100_000;

impl Files<'_> {
    pub(super) fn cpu(&mut self) -> Result<()> {
        let lists = [Setting::CpusetCpus, Setting::CpusetMems];
        if let Some(home) = self.home("cpuset", "linux.resources.cpu.cpus", &lists)? {
            self.plain(home.dir, "cpuset.cpus", &Setting::CpusetCpus, "\n");
            self.plain(home.dir, "cpuset.mems", &Setting::CpusetMems, "\n");
        }
        let home = match self.change.get(&Setting::CpuPeriod) {
            // A period limits nothing without a quota.
            Some(_) if self.after.number(&Setting::CpuQuota).is_none() => {
                let others: Vec<_> = CPU.into_iter().filter(|s| *s != Setting::CpuPeriod).collect();
                let needed = self.home("cpu", "linux.resources.cpu", &others)?;
                needed.or(self.controllers.home("cpu"))
            }
            _ => self.home("cpu", "linux.resources.cpu", &CPU)?,
        };
        let Some(home) = home else { return Ok(()) };
        // The kernel takes no shares for a group that is idle.
        let idle = |files: &mut Self| files.plain(home.dir, "cpu.idle", &Setting::CpuIdle, "0");
        let idle_ends = self.change.get(&Setting::CpuIdle) == Some(&Value::Unset);
        if idle_ends {
            idle(self);
        }
        if home.v2 {
            self.cpu_v2(home.dir)?
        } else {
            self.cpu_v1(home.dir)
        }
        if !idle_ends {
            idle(self);
        }
        Ok(())
    }

    fn cpu_v1(&mut self, dir: u8) {
        // The share may not be above what the old or the new one is in between.
        let period = ("cpu.rt_period_us", Setting::RealtimePeriod, "1000000");
        let runtime = ("cpu.rt_runtime_us", Setting::RealtimeRuntime, "0");
        let runtime_first = self.falls(&Setting::RealtimeRuntime, 0);
        for (file, setting, unset) in
            if runtime_first { [runtime, period] } else { [period, runtime] }
        {
            self.plain(dir, file, &setting, unset);
        }
        self.plain(dir, "cpu.shares", &Setting::CpuShares, "1024");
        let burst_first = self.falls(&Setting::CpuBurst, 0);
        if burst_first {
            self.plain(dir, "cpu.cfs_burst_us", &Setting::CpuBurst, "0");
        }
        let period = |files: &mut Self| {
            files.plain(dir, "cpu.cfs_period_us", &Setting::CpuPeriod, "100000");
        };
        // A shorter period with the old quota would be more than was allowed, before or after,
        // and more than the group above may have.
        let quota_first = self.before.number(&Setting::CpuQuota).is_some()
            && self.falls(&Setting::CpuPeriod, PERIOD);
        if !quota_first {
            period(self);
        }
        self.plain(dir, "cpu.cfs_quota_us", &Setting::CpuQuota, "-1");
        if quota_first {
            period(self);
        }
        if !burst_first {
            self.plain(dir, "cpu.cfs_burst_us", &Setting::CpuBurst, "0");
        }
    }

    fn cpu_v2(&mut self, dir: u8) -> Result<()> {
        self.not_on_v2(&Setting::RealtimePeriod, "linux.resources.cpu.realtimePeriod")?;
        self.not_on_v2(&Setting::RealtimeRuntime, "linux.resources.cpu.realtimeRuntime")?;
        match self.change.get(&Setting::CpuShares) {
            Some(Value::Number(shares)) => self.write(dir, "cpu.weight", weight(*shares)),
            Some(_) => self.write(dir, "cpu.weight", 100),
            None => {}
        }
        let burst_first = self.falls(&Setting::CpuBurst, 0);
        if burst_first {
            self.plain(dir, "cpu.max.burst", &Setting::CpuBurst, "0");
        }
        // One file has both.
        let said = [Setting::CpuQuota, Setting::CpuPeriod];
        if said.iter().any(|setting| self.change.get(setting).is_some()) {
            let quota = self.after.number(&Setting::CpuQuota);
            let quota = quota.map_or_else(|| "max".to_owned(), |quota| quota.to_string());
            let period = self.after.number(&Setting::CpuPeriod).unwrap_or(PERIOD);
            self.write(dir, "cpu.max", format!("{quota} {period}"));
        }
        if !burst_first {
            self.plain(dir, "cpu.max.burst", &Setting::CpuBurst, "0");
        }
        Ok(())
    }

    /// The change makes a number smaller; `fresh` is a new group's.
    fn falls(&self, setting: &Setting, fresh: u64) -> bool {
        let number = |of: &super::Resources| of.number(setting).unwrap_or(fresh);
        self.change.get(setting).is_some() && number(self.after) < number(self.before)
    }

    pub(super) fn pids(&mut self) -> Result<()> {
        if let Some(home) = self.home("pids", "linux.resources.pids", &[Setting::Pids])? {
            self.plain(home.dir, "pids.max", &Setting::Pids, "max");
        }
        Ok(())
    }

    pub(super) fn hugepages(&mut self) -> Result<()> {
        for (size, value) in self.named(|s| match s {
            Setting::HugePages(size) => Some(size),
            _ => None,
        }) {
            let Some(home) = self.controllers.home("hugetlb") else {
                if value == Value::Unset {
                    continue;
                }
                return Err(super::missing("hugetlb", "linux.resources.hugepageLimits"));
            };
            let (end, unset) = if home.v2 { ("max", "max") } else { ("limit_in_bytes", "-1") };
            let limit = match value {
                Value::Number(limit) => limit.to_string(),
                _ => unset.to_owned(),
            };
            self.write(home.dir, format!("hugetlb.{size}.{end}"), &limit);
            // Reservations count too where the kernel can: else they are met by SIGBUS.
            self.offer(home.dir, format!("hugetlb.{size}.rsvd.{end}"), &limit);
        }
        Ok(())
    }

    pub(super) fn network(&mut self) -> Result<()> {
        const CLASS: &str = "linux.resources.network.classID";
        if let Some(home) = self.home("net_cls", CLASS, &[Setting::NetworkClass])? {
            self.plain(home.dir, "net_cls.classid", &Setting::NetworkClass, "0");
        }
        for (interface, value) in self.named(|s| match s {
            Setting::NetworkPriority(interface) => Some(interface),
            _ => None,
        }) {
            let Some(home) = self.controllers.home("net_prio") else {
                return Err(super::missing("net_prio", "linux.resources.network.priorities"));
            };
            let priority = match value {
                Value::Number(priority) => priority,
                _ => 0,
            };
            self.write(home.dir, "net_prio.ifpriomap", format!("{interface} {priority}"));
        }
        Ok(())
    }

    pub(super) fn rdma(&mut self) -> Result<()> {
        for (device, value) in self.named(|s| match s {
            Setting::Rdma(device) => Some(device),
            _ => None,
        }) {
            let Some(home) = self.controllers.home("rdma") else {
                return Err(super::missing("rdma", "linux.resources.rdma"));
            };
            let limits = match value {
                Value::Text(limits) => limits,
                _ => "hca_handle=max hca_object=max".to_owned(),
            };
            self.write(home.dir, "rdma.max", format!("{device} {limits}"));
        }
        Ok(())
    }

    pub(super) fn unified(&mut self) -> Result<()> {
        for (file, value) in self.named(|s| match s {
            Setting::Unified(file) => Some(file),
            _ => None,
        }) {
            // Nobody knows what a new group has in any file there is.
            let Value::Text(text) = value else { continue };
            let field = format!("linux.resources.unified: {file:?}");
            let controller = file.split_once('.').map_or("", |(controller, _)| controller);
            let dir = match (controller, self.controllers.unified()) {
                ("cgroup", Some(dir)) => dir,
                ("cgroup", None) => return Err(invalid(format!("{field}: no cgroup v2 here"))),
                _ => match self.controllers.home(controller) {
                    Some(home) if home.v2 => home.dir,
                    Some(_) => {
                        return Err(invalid(format!("{field}: {controller} is on cgroup v1 here")));
                    }
                    None => return Err(super::missing(controller, &field)),
                },
            };
            for line in text.lines() {
                self.write(dir, file, line);
            }
        }
        Ok(())
    }
}

/// Shares (2 to 262144) to weight (1 to 10000), on the curve that runc and crun have: the ends
/// meet, and so do the defaults, 1024 and 100.
pub(super) fn weight(shares: u64) -> u64 {
    match shares {
        0..=2 => 1,
        262_144.. => 10_000,
        shares => {
            let log = (shares as f64).log2();
            let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
            // What is whole but for the last bit is whole.
            (10f64.powf(exponent) - 1e-9).ceil() as u64
        }
    }
}
