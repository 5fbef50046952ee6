//! Connection tracking: forgetting what is known of a UDP port.
//!
//! A client that keeps sending to a host port keeps its entry alive, and an entry from before the
//! port was mapped (or of the pod that had it earlier) keeps its datagrams away from the new pod.

use super::message::{Message, attribute, take};
use super::{Family, NLM_F_DUMP, Socket};
use crate::error::{Context, Result};
use nix::errno::Errno;

const CTNETLINK: u16 = 1 << 8;
const GET: u16 = CTNETLINK | 1;
const DELETE: u16 = CTNETLINK | 2;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_DST_PORT: u16 = 3;
const NESTED: u16 = 0x8000;

/// Forgets every UDP connection of a family that was first sent to one of `ports`.
pub fn forget_udp(socket: &mut Socket, family: Family, ports: &[u16]) -> Result<()> {
    // struct nfgenmsg
    let header = [family.number(), 0, 0, 0];
    let mut stale = Vec::new();
    socket
        .query(&Message::new(GET, NLM_F_DUMP).raw(&header), |m| {
            let tuple = attribute(m.body.get(4..).unwrap_or_default(), CTA_TUPLE_ORIG);
            if let Some(tuple) = tuple.filter(|t| udp_port(t).is_some_and(|p| ports.contains(&p))) {
                let delete = Message::new(DELETE, 0).raw(&header);
                stale.push(delete.attr(CTA_TUPLE_ORIG | NESTED, tuple));
            }
        })
        .context(|| "list connections")?;
    for delete in &stale {
        match socket.run(std::slice::from_ref(delete)) {
            // It ended by itself.
            Err(e) if e.errno != Errno::ENOENT => return Err(e).context(|| "forget a connection"),
            _ => {}
        }
    }
    Ok(())
}

fn udp_port(tuple: &[u8]) -> Option<u16> {
    let proto = attribute(tuple, CTA_TUPLE_PROTO)?;
    let port = attribute(proto, CTA_PROTO_DST_PORT).and_then(|v| take(v, 0))?;
    (attribute(proto, CTA_PROTO_NUM) == Some(&[17])).then_some(u16::from_be_bytes(port))
}
