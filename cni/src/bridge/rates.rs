//! Limits of a pod's traffic. What goes to the pod leaves the host by its veth and is held there;
//! what comes from it is sent through a link of its own (ifb), as only what leaves can be held back.

use crate::attachment::Attachment;
use crate::error::{Error, Kind, Result};
use crate::netlink::route::{self, Link};
use crate::netlink::{Socket, traffic};
use crate::rate::{self, Way};

/// In bytes a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// To the pod.
    ingress: Option<u64>,
    /// From it.
    egress: Option<u64>,
}

impl Rates {
    /// What the annotations of a pod say.
    ///
    /// # Errors
    /// `Invalid`, with the annotation.
    pub fn of(a: &Attachment) -> Result<Rates> {
        let bits = |way| rate::of(&a.annotations, way);
        let bytes = |bits: Option<u64>| bits.map(|bits| bits.div_ceil(8));
        Ok(Rates { ingress: bytes(bits(Way::Ingress)?), egress: bytes(bits(Way::Egress)?) })
    }

    /// Limits what goes through the host's side of a pair.
    pub fn set(&self, socket: &mut Socket, veth: &str, mtu: u32) -> Result<()> {
        let link = find(socket, veth)?;
        if let Some(rate) = self.ingress {
            traffic::limit(socket, link, rate)?;
        }
        if let Some(rate) = self.egress {
            let name = ifb_name(veth);
            route::add_ifb(socket, &name, mtu)?;
            let ifb = find(socket, &name)?;
            traffic::limit(socket, ifb, rate)?;
            traffic::redirect(socket, link, ifb)?;
        }
        Ok(())
    }
}

/// Removes what a pair does not take along. None is there of most.
pub fn unset(veth: &str) -> Result<()> {
    let name = ifb_name(veth);
    match route::link(&mut Socket::route()?, &name)? {
        Some(_) => route::remove_link(&name),
        None => Ok(()),
    }
}

fn find(socket: &mut Socket, name: &str) -> Result<Link> {
    let gone = || Error::new(Kind::NotFound, format!("no link {name}"));
    route::link(socket, name)?.ok_or_else(gone)
}

/// `ifbr` and the digits of the pair.
fn ifb_name(veth: &str) -> String {
    format!("ifbr{}", veth.trim_start_matches("veth"))
}
