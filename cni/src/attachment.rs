//! The attachment of a pod to a network: what is asked for, what it got, what is on record of it.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

/// A network namespace that wants a network. The strings about a pod are handed to plugins and
/// otherwise meaningless here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// The sandbox, as plugins and records know it (`CNI_CONTAINERID`).
    pub id: String,
    /// Where the namespace is pinned, `/var/run/netns/cni-<uuid>`.
    pub netns: PathBuf,
    /// Name of the interface in there, `eth0`.
    pub ifname: String,
    /// `K8S_POD_NAMESPACE`
    pub pod_namespace: String,
    /// `K8S_POD_NAME`
    pub pod_name: String,
    /// `K8S_POD_UID`
    pub pod_uid: String,
    /// Ports of the host that lead here.
    pub ports: Vec<PortMapping>,
    /// Resolver settings, for plugins that can do something with them.
    pub dns: Dns,
    /// Path of the pod's control group, empty if it has none.
    pub cgroup_path: String,
    /// The pod's; `kubernetes.io/ingress-bandwidth` and `egress-bandwidth` are read from here.
    pub annotations: BTreeMap<String, String>,
}

/// A port of the host that leads to one of the pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortMapping {
    /// Transport.
    pub protocol: Protocol,
    /// The pod's port.
    pub container_port: u16,
    /// The host's port; 0 maps nothing.
    pub host_port: u16,
    /// The one address of the host that is mapped; none or unspecified means all of them.
    pub host_ip: Option<IpAddr>,
}

/// A transport with ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    /// Its number in an IP header.
    pub fn number(self) -> u8 {
        match self {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
            Protocol::Sctp => 132,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        })
    }
}

/// Resolver settings (`dns` of `runtimeConfig`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Dns {
    pub servers: Vec<String>,
    pub searches: Vec<String>,
    pub options: Vec<String>,
}

impl Attachment {
    /// Refuses what a plugin, the kernel or a later DEL could not take.
    pub(crate) fn check(&self) -> Result<()> {
        check_id(&self.id)?;
        let bad_ifname = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
        if self.ifname.is_empty() || self.ifname.len() > 15 || self.ifname.contains(bad_ifname) {
            return Err(Error::invalid(format!("interface name {:?}", self.ifname)));
        }
        // They become `KEY=value;KEY=value`.
        let strings = [&self.pod_namespace, &self.pod_name, &self.pod_uid];
        match strings.iter().find(|s| s.contains([';', '=', '\0'])) {
            Some(string) => Err(Error::invalid(format!("{string:?} cannot stand in CNI_ARGS"))),
            None => Ok(()),
        }
    }
}

/// A container id as the CNI specification has it: it names files of plugins.
pub(crate) fn check_id(id: &str) -> Result<()> {
    let ok = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    if id.len() > 255 || !id.starts_with(|c: char| c.is_ascii_alphanumeric()) || !id.chars().all(ok)
    {
        return Err(Error::invalid(format!("sandbox id {id:?}")));
    }
    Ok(())
}

/// What an attachment has got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// Addresses, the primary one first.
    pub ips: Vec<IpAddr>,
    /// The result in CNI's JSON, for verbose status and for plugins' DEL.
    pub result: String,
}

/// An attachment on record: an ADD that was begun and whose DEL has not succeeded yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedAttachment {
    /// The sandbox.
    pub id: String,
    /// Name of the network.
    pub network: String,
    /// Where the namespace was pinned.
    pub netns: PathBuf,
    /// When ADD began, in seconds since 1970.
    pub created: u64,
    /// Whether ADD succeeded.
    pub attached: bool,
}
