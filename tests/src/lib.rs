//! Harness and suites against the real kernel.
//!
//! - [`images`]: the test images, built from Debian packages and small programs of ours;
//! - [`registry`]: a real docker-registry that serves them;
//! - [`sandbox`]: private folders and namespaces in which a daemon and its pods run;
//! - [`daemon`]: rrund there, or containerd;
//! - [`earlier`]: the shim of an earlier commit;
//! - [`harness`]: all of these together, with a CRI client;
//! - [`conformance`]: critest against such a daemon;
//! - [`kubelet`]: a real kubelet with static pods there;
//! - [`cluster`]: a control plane for it, of one node;
//! - [`bench`]: how long such daemons take, and OCI runtimes;
//! - [`fuse`]: a file system that never answers;
//! - [`disk`]: a disk on which writes wait;
//! - [`limit`]: waits for other processes, each with an end;
//! - [`tally`]: the claims of a suite that is a program;
//! - [`leaks`]: what was there before against what is there after.

pub mod bench;
pub mod cluster;
pub mod conformance;
pub mod daemon;
pub mod disk;
pub mod earlier;
pub mod fuse;
pub mod harness;
pub mod images;
pub mod kubelet;
pub mod leaks;
pub mod limit;
pub mod place;
pub mod registry;
pub mod sandbox;
pub mod tally;
