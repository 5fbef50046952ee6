//! What was there before against what is there after.
//!
//! A [`View`] says where to look: a [sandbox](crate::sandbox) (all of its namespaces) or the machine (all of
//! it, for a run that has the machine to itself). A [`Snapshot`] is ten sets of lines, one per
//! [`Kind`], each line the name that a person would give the object.

mod files;
pub mod kernel;
mod network;
pub mod processes;
mod rows;

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What can be left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Kind {
    /// A line of mountinfo.
    Mount,
    /// A cgroup directory, v1 or v2.
    Cgroup,
    /// A pin in /run/netns.
    Netns,
    /// A network device.
    Link,
    /// An nftables table, chain or rule (iptables-nft's too).
    Nft,
    /// A process, zombies included.
    Process,
    /// A bound unix socket.
    Socket,
    /// A file or directory below the watched roots.
    File,
    /// A row of a pod or a container in a database below the watched roots: the lease of an image,
    /// an address, a host port, a record of the network.
    Row,
    /// The host's name and domain name.
    Name,
}

/// Where to look.
pub struct View {
    pub(crate) prefix: Vec<String>,
    pub(crate) proc: PathBuf,
    pub(crate) netns: PathBuf,
    pub(crate) roots: Vec<PathBuf>,
    /// A process or socket is ours when it mentions one of these.
    pub(crate) marks: Vec<String>,
    /// A cgroup is ours when its path contains one of these.
    pub(crate) cgroups: Vec<String>,
    pub(crate) allowed: Vec<String>,
    pub(crate) strangers: processes::Strangers,
}

impl View {
    /// The whole machine: mounts, links, rules and pins of anyone; processes, cgroups and sockets
    /// of rrun; files below its default folders. Temporary folders and SysV segments, which
    /// critest leaves, are not looked at.
    pub fn machine() -> Self {
        Self {
            prefix: Vec::new(),
            proc: PathBuf::from("/proc/self"),
            netns: PathBuf::from("/run/netns"),
            roots: ["/run/rrun", "/var/lib/rrun", "/var/log/pods"].map(PathBuf::from).to_vec(),
            marks: ["/run/rrun", "/lib/rrun", "rrund", "rrun-shim", "rrun-test-", "kubepods"]
                .map(str::to_owned)
                .to_vec(),
            cgroups: ["/rrun", "kubepods", "/k8s.io", "/oci-"].map(str::to_owned).to_vec(),
            allowed: Vec::new(),
            strangers: Default::default(),
        }
    }

    /// Watches one more folder.
    pub fn root(mut self, path: &Path) -> Self {
        self.roots.push(path.to_owned());
        self
    }

    /// Passes over every line that contains `text`: a bridge or an image store may stay.
    pub fn allow(mut self, text: &str) -> Self {
        self.allowed.push(text.to_owned());
        self
    }

    fn marks(&self, text: &str) -> bool {
        self.marks.iter().any(|mark| text.contains(mark.as_str()))
    }
}

/// What is there now.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Snapshot(BTreeMap<Kind, BTreeSet<String>>);

impl Snapshot {
    /// Looks at everything in the view.
    pub fn take(view: &View) -> Result<Self> {
        let sets = [
            (Kind::Mount, kernel::mounts(view)?),
            (Kind::Cgroup, kernel::cgroups(view)?),
            (Kind::Netns, files::names(&view.netns)?),
            (Kind::Link, network::links(view)?),
            (Kind::Nft, network::nft(view)?),
            (Kind::Process, processes::processes(view)?),
            (Kind::Socket, kernel::sockets(view)?),
            (Kind::File, files::below(&view.roots)?),
            (Kind::Row, rows::rows(&view.roots)?),
            (Kind::Name, kernel::names()?),
        ];
        let allowed = |line: &String| view.allowed.iter().any(|text| line.contains(text.as_str()));
        Ok(Self(
            sets.into_iter()
                .map(|(kind, lines)| (kind, lines.into_iter().filter(|l| !allowed(l)).collect()))
                .collect(),
        ))
    }

    /// The objects of one kind.
    pub fn of(&self, kind: Kind) -> &BTreeSet<String> {
        static NONE: BTreeSet<String> = BTreeSet::new();
        self.0.get(&kind).unwrap_or(&NONE)
    }

    /// What is in `after` and not in `self`, and the reverse, a line each.
    pub fn differences(&self, after: &Self) -> Vec<(Kind, String)> {
        let mut found = Vec::new();
        for (kind, lines) in &after.0 {
            let before = self.of(*kind);
            found.extend(lines.difference(before).map(|line| (*kind, format!("left: {line}"))));
            found.extend(before.difference(lines).map(|line| (*kind, format!("gone: {line}"))));
        }
        found
    }

    /// Fails with one line for each object that was not there at `self`, or is no more.
    ///
    /// The kernel takes devices and namespaces away behind the caller's back; so this looks again
    /// until all is as it was, for at most thirty seconds.
    pub fn assert_nothing_left(&self, view: &View) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let found = self.differences(&Self::take(view)?);
            if found.is_empty() {
                return Ok(());
            }
            if Instant::now() > deadline {
                let lines: Vec<_> =
                    found.iter().map(|(kind, line)| format!("{kind:?} {line}")).collect();
                bail!("{} objects differ:\n{}", lines.len(), lines.join("\n"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
