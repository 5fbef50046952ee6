//! Where a process is placed and what limits it there.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The control groups of one container or exec, one directory in each hierarchy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cgroups {
    /// Directories to make (those above them too) and to place the process in.
    pub dirs: Vec<CgroupDir>,
    /// Files to write before the process is placed, in order.
    pub writes: Vec<CgroupWrite>,
    /// Device filter for v2: `struct bpf_insn` after `struct bpf_insn`, attached to the unified
    /// directory. On v1 the device rules are among [`Cgroups::writes`].
    pub device_filter: Option<Vec<u8>>,
}

/// One directory in one hierarchy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupDir {
    /// Absolute path on the host, below a mounted hierarchy.
    pub path: PathBuf,
    /// A cgroup v2 directory: the process is cloned into it. Otherwise v1: the child joins by
    /// writing `0` to a descriptor of `tasks` that its parent opened.
    pub unified: bool,
    /// A new `cpuset` directory of v1 has neither cpus nor mems, and takes no task before it has
    /// them: copy those of its parent.
    pub inherit_cpuset: bool,
}

/// One value for one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupWrite {
    /// Index into [`Cgroups::dirs`].
    pub dir: u8,
    /// File name, such as `memory.limit_in_bytes`.
    pub file: String,
    /// Value as text.
    pub value: String,
    /// A missing file is no error (swap accounting that is off, and its like).
    pub optional: bool,
}
