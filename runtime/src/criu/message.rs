//! The messages of criu's socket: `images/rpc.proto` of its sources, version 2 of protobuf. Fields
//! that nobody here sets or reads are left out.

use prost::{Enumeration, Message};

/// What is asked.
#[derive(Clone, PartialEq, Message)]
pub struct Request {
    #[prost(enumeration = "Type", required, tag = "1")]
    pub kind: i32,
    #[prost(message, optional, tag = "2")]
    pub options: Option<Wanted>,
    /// The answer to a [`Notice`].
    #[prost(bool, optional, tag = "3")]
    pub notify_success: Option<bool>,
}

/// What is answered.
#[derive(Clone, PartialEq, Message)]
pub struct Response {
    #[prost(enumeration = "Type", required, tag = "1")]
    pub kind: i32,
    #[prost(bool, required, tag = "2")]
    pub success: bool,
    #[prost(message, optional, tag = "5")]
    pub notice: Option<Notice>,
    #[prost(int32, optional, tag = "7")]
    pub errno: Option<i32>,
    #[prost(string, optional, tag = "9")]
    pub error: Option<String>,
}

/// Tells how far it is, and waits for an answer.
#[derive(Clone, PartialEq, Message)]
pub struct Notice {
    #[prost(string, optional, tag = "1")]
    pub script: Option<String>,
    #[prost(int32, optional, tag = "2")]
    pub pid: Option<i32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration)]
#[repr(i32)]
pub enum Type {
    Empty = 0,
    Dump = 1,
    Restore = 2,
    Notify = 6,
    /// One of memory alone, after which the worker ends.
    SinglePreDump = 13,
}

/// What becomes of the control groups that the processes are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration)]
#[repr(i32)]
pub enum CgroupsMode {
    /// They are neither dumped nor restored.
    Ignore = 0,
    /// Those that are missing are made, with their values.
    Soft = 3,
    /// All are made, and their values are set.
    Full = 4,
    /// As [`CgroupsMode::Full`], and it is an error if one is there.
    Strict = 5,
}

/// How connections are held still during a dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration)]
#[repr(i32)]
pub enum NetworkLock {
    Iptables = 1,
    Nftables = 2,
    Skip = 3,
}

/// The options of a request. Descriptors of folders are numbers of the caller's.
#[derive(Clone, PartialEq, Message)]
pub struct Wanted {
    #[prost(int32, required, tag = "1")]
    pub images: i32,
    #[prost(int32, optional, tag = "2")]
    pub pid: Option<i32>,
    #[prost(bool, optional, tag = "3")]
    pub leave_running: Option<bool>,
    #[prost(bool, optional, tag = "4")]
    pub ext_unix_sk: Option<bool>,
    #[prost(bool, optional, tag = "5")]
    pub tcp_established: Option<bool>,
    #[prost(bool, optional, tag = "6")]
    pub evasive_devices: Option<bool>,
    #[prost(bool, optional, tag = "7")]
    pub shell_job: Option<bool>,
    #[prost(bool, optional, tag = "8")]
    pub file_locks: Option<bool>,
    #[prost(int32, optional, tag = "9")]
    pub log_level: Option<i32>,
    #[prost(string, optional, tag = "10")]
    pub log_file: Option<String>,
    #[prost(message, optional, tag = "11")]
    pub page_server: Option<PageServer>,
    #[prost(bool, optional, tag = "12")]
    pub notify_scripts: Option<bool>,
    #[prost(string, optional, tag = "13")]
    pub root: Option<String>,
    #[prost(string, optional, tag = "14")]
    pub parent: Option<String>,
    #[prost(bool, optional, tag = "15")]
    pub track_mem: Option<bool>,
    #[prost(bool, optional, tag = "16")]
    pub auto_dedup: Option<bool>,
    #[prost(int32, optional, tag = "17")]
    pub work: Option<i32>,
    #[prost(bool, optional, tag = "18")]
    pub link_remap: Option<bool>,
    #[prost(bool, optional, tag = "24")]
    pub manage_cgroups: Option<bool>,
    #[prost(message, repeated, tag = "25")]
    pub cgroup_roots: Vec<CgroupRoot>,
    /// What is restored is a child of the worker's parent.
    #[prost(bool, optional, tag = "26")]
    pub as_sibling: Option<bool>,
    #[prost(message, repeated, tag = "27")]
    pub inherited: Vec<InheritedFd>,
    #[prost(enumeration = "CgroupsMode", optional, tag = "34")]
    pub manage_cgroups_mode: Option<i32>,
    #[prost(string, repeated, tag = "37")]
    pub external: Vec<String>,
    /// `CLONE_NEW*` of the namespaces that are restored without what is in them.
    #[prost(uint32, optional, tag = "38")]
    pub empty_namespaces: Option<u32>,
    #[prost(message, repeated, tag = "39")]
    pub joined: Vec<JoinedNamespace>,
    #[prost(string, optional, tag = "44")]
    pub freeze_cgroup: Option<String>,
    #[prost(bool, optional, tag = "46")]
    pub tcp_skip_in_flight: Option<bool>,
    #[prost(bool, optional, tag = "48")]
    pub lazy_pages: Option<bool>,
    #[prost(int32, optional, tag = "49")]
    pub status_fd: Option<i32>,
    #[prost(bool, optional, tag = "50")]
    pub orphan_pts_master: Option<bool>,
    #[prost(string, optional, tag = "51")]
    pub config_file: Option<String>,
    #[prost(string, optional, tag = "53")]
    pub lsm_profile: Option<String>,
    #[prost(string, optional, tag = "63")]
    pub lsm_mount_context: Option<String>,
    #[prost(enumeration = "NetworkLock", optional, tag = "64")]
    pub network_lock: Option<i32>,
}

/// A server that takes the pages of memory.
#[derive(Clone, PartialEq, Message)]
pub struct PageServer {
    #[prost(string, optional, tag = "1")]
    pub address: Option<String>,
    #[prost(int32, optional, tag = "2")]
    pub port: Option<i32>,
}

/// A group that takes the place of the one that was dumped.
#[derive(Clone, PartialEq, Message)]
pub struct CgroupRoot {
    /// As `/proc/<pid>/cgroup` has it, empty for the unified hierarchy.
    #[prost(string, optional, tag = "1")]
    pub controller: Option<String>,
    #[prost(string, required, tag = "2")]
    pub path: String,
}

/// An open descriptor of the worker that takes the place of what the image calls by this name.
#[derive(Clone, PartialEq, Message)]
pub struct InheritedFd {
    #[prost(string, required, tag = "1")]
    pub key: String,
    #[prost(int32, required, tag = "2")]
    pub fd: i32,
}

/// A namespace to join instead of making one.
#[derive(Clone, PartialEq, Message)]
pub struct JoinedNamespace {
    #[prost(string, required, tag = "1")]
    pub kind: String,
    #[prost(string, required, tag = "2")]
    pub path: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_what_protobuf_makes_of_it() {
        let options = Wanted {
            images: 5,
            pid: Some(300),
            root: Some("/r".into()),
            external: vec!["mnt[/a]:/a".into()],
            ..Wanted::default()
        };
        let request =
            Request { kind: Type::Dump.into(), options: Some(options), notify_success: None };
        let expected = b"\x08\x01\x12\x16\x08\x05\x10\xac\x02\x6a\x02/r\xaa\x02\x0amnt[/a]:/a";
        assert_eq!(request.encode_to_vec(), expected);
    }
}
