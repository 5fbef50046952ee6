//! [`Network`] over the crate that makes pod networks.

use crate::error::{Error, Result};
use crate::id::PodId;
use crate::model::{PortMapping, Protocol};
use crate::ports::{Attachment, Network};
use async_trait::async_trait;
use std::net::IpAddr;

pub(super) struct HostNetwork(pub(super) rrun_cni::Network);

#[async_trait]
impl Network for HostNetwork {
    async fn add(&self, attachment: Attachment) -> Result<Vec<IpAddr>> {
        let attachment = convert(attachment)?;
        Ok(self.0.add(&attachment).await?.ips)
    }

    async fn del(&self, pod: &PodId) -> Result<()> {
        Ok(self.0.del(pod.as_str()).await?)
    }

    async fn attached(&self) -> Result<Vec<String>> {
        let attachments = self.0.attachments().await?;
        Ok(attachments.into_iter().map(|attachment| attachment.id).collect())
    }
}

fn convert(attachment: Attachment) -> Result<rrun_cni::Attachment> {
    let dns = attachment.dns.unwrap_or_default();
    Ok(rrun_cni::Attachment {
        id: attachment.id,
        netns: attachment.netns,
        ifname: "eth0".to_owned(),
        pod_namespace: attachment.namespace,
        pod_name: attachment.name,
        pod_uid: attachment.uid,
        ports: attachment.ports.iter().map(port).collect::<Result<_>>()?,
        dns: rrun_cni::Dns { servers: dns.servers, searches: dns.searches, options: dns.options },
        cgroup_path: attachment.cgroup,
        annotations: attachment.annotations,
    })
}

fn port(port: &PortMapping) -> Result<rrun_cni::PortMapping> {
    let number = |what: &str, number: i32| {
        let refused = || Error::invalid(format!("{what} port {number} is out of range"));
        u16::try_from(number).map_err(|_| refused())
    };
    let protocol = match port.protocol {
        Protocol::Tcp => rrun_cni::Protocol::Tcp,
        Protocol::Udp => rrun_cni::Protocol::Udp,
        Protocol::Sctp => rrun_cni::Protocol::Sctp,
    };
    let host_ip = match port.host_ip.as_str() {
        "" => None,
        text => {
            let refused = |_| Error::invalid(format!("host ip {text:?} is no address"));
            Some(text.parse().map_err(refused)?)
        }
    };
    if port.container_port == 0 && port.host_port != 0 {
        return Err(Error::invalid("container port 0 is out of range"));
    }
    Ok(rrun_cni::PortMapping {
        protocol,
        container_port: number("container", port.container_port)?,
        host_port: number("host", port.host_port)?,
        host_ip,
    })
}
