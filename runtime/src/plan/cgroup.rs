//! The control groups of a process, and the values that are written to them.

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The control groups of one container or exec, one directory in each hierarchy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[cbor(map)]
pub struct Cgroups {
    /// Directories to make (those above them too) and to place the process in. They are whoever's
    /// who is asked, where [`Cgroups::asked`] is set, and so are the values for them.
    #[n(0)]
    pub dirs: Vec<CgroupDir>,
    /// Files to write before the process is placed, in order.
    #[n(1)]
    pub writes: Vec<CgroupWrite>,
    /// Device filter for v2: `struct bpf_insn` after `struct bpf_insn`, attached to the unified
    /// directory. On v1 the device rules are among [`Cgroups::writes`].
    #[cbor(n(2), with = "minicbor::bytes")]
    pub device_filter: Option<Vec<u8>>,
    /// Whoever carries out the plan has the process placed by somebody else, before anything
    /// else: it asks for that (a scope of systemd).
    #[serde(default)]
    #[cbor(n(3), default)]
    pub asked: bool,
}

/// One directory in one hierarchy.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[cbor(map)]
pub struct CgroupDir {
    /// Absolute path on the host, below a mounted hierarchy.
    #[n(0)]
    pub path: PathBuf,
    /// A cgroup v2 directory: the process is cloned into it. Otherwise v1: the child joins by
    /// writing `0` to a descriptor of `tasks` that its parent opened.
    #[n(1)]
    pub unified: bool,
    /// A new `cpuset` directory of v1 has neither cpus nor mems, and takes no task before it has
    /// them: copy those of its parent.
    #[n(2)]
    pub inherit_cpuset: bool,
}

/// One value for one file.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[cbor(map)]
pub struct CgroupWrite {
    /// Index into [`Cgroups::dirs`].
    #[n(0)]
    pub dir: u8,
    /// File name, such as `memory.limit_in_bytes`.
    #[n(1)]
    pub file: String,
    /// Value as text.
    #[n(2)]
    pub value: String,
    /// A missing file is no error (swap accounting that is off, and its like).
    #[n(3)]
    pub optional: bool,
}
