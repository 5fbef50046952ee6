//! What `update` takes.

use crate::id::Id;
use clap::Args;
use std::path::PathBuf;

/// Options of [`Update`] that a file takes the place of.
pub const LIMITS: [&str; 18] = [
    "memory",
    "memory_swap",
    "memory_reservation",
    "cpu_share",
    "cpu_quota",
    "cpu_period",
    "cpu_burst",
    "cpu_idle",
    "cpu_rt_period",
    "cpu_rt_runtime",
    "cpuset_cpus",
    "cpuset_mems",
    "pids_limit",
    "blkio_weight",
    "kernel_memory",
    "kernel_memory_tcp",
    "l3_cache_schema",
    "mem_bw_schema",
];

/// What is not given stays as it is, and so does what is given as 0.
#[derive(Args, Debug)]
pub struct Update {
    pub id: Id,
    /// File with `linux.resources` in JSON, `-` for stdin, instead of the options below
    #[arg(long, short, conflicts_with_all = LIMITS)]
    pub resources: Option<PathBuf>,
    /// Bytes, with k, m, g or t for powers of 1024; -1 for no limit
    #[arg(long, allow_hyphen_values = true)]
    pub memory: Option<String>,
    /// Memory and swap together, as --memory
    #[arg(long, allow_hyphen_values = true)]
    pub memory_swap: Option<String>,
    /// What is left to it when memory is short, as --memory
    #[arg(long, allow_hyphen_values = true)]
    pub memory_reservation: Option<String>,
    /// Relative, 2 to 262144
    #[arg(long, alias = "cpu-shares")]
    pub cpu_share: Option<u64>,
    /// µs in a period; -1 for no limit
    #[arg(long, allow_hyphen_values = true)]
    pub cpu_quota: Option<i64>,
    /// µs
    #[arg(long)]
    pub cpu_period: Option<u64>,
    /// µs that may be saved up
    #[arg(long)]
    pub cpu_burst: Option<u64>,
    /// 1 to run only when nobody else does, 0 to be as others
    #[arg(long)]
    pub cpu_idle: Option<i64>,
    /// µs for real-time processes, cgroup v1
    #[arg(long)]
    pub cpu_rt_period: Option<u64>,
    /// µs in such a period, cgroup v1
    #[arg(long, allow_hyphen_values = true)]
    pub cpu_rt_runtime: Option<i64>,
    /// Cores, such as 0-2,7
    #[arg(long)]
    pub cpuset_cpus: Option<String>,
    /// Memory nodes
    #[arg(long)]
    pub cpuset_mems: Option<String>,
    /// Processes and threads; -1 for no limit
    #[arg(long, allow_hyphen_values = true)]
    pub pids_limit: Option<i64>,
    /// Relative, 10 to 1000
    #[arg(long)]
    pub blkio_weight: Option<u16>,
    /// Not supported: kernels have no such limit any more
    #[arg(long, allow_hyphen_values = true)]
    pub kernel_memory: Option<String>,
    /// Bytes of TCP buffers as --memory, cgroup v1
    #[arg(long, allow_hyphen_values = true)]
    pub kernel_memory_tcp: Option<String>,
    /// Not supported: Intel RDT
    #[arg(long)]
    pub l3_cache_schema: Option<String>,
    /// Not supported: Intel RDT
    #[arg(long)]
    pub mem_bw_schema: Option<String>,
}
