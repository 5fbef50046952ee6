//! Rates of traffic: `linux/pkt_sched.h`, `linux/pkt_cls.h`, tc-tbf(8), tc-u32(8), tc-mirred(8).

use super::message::Message;
use super::route::Link;
use super::{NLM_F_CREATE, NLM_F_EXCL, Socket};
use crate::error::{Context, Result};

const RTM_NEWQDISC: u16 = 36;
const RTM_NEWTFILTER: u16 = 44;
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_TBF_PARMS: u16 = 1;
const TCA_TBF_RATE64: u16 = 4;
const TCA_TBF_BURST: u16 = 6;
const TCA_U32_SEL: u16 = 5;
const TCA_U32_ACT: u16 = 7;
const TCA_ACT_KIND: u16 = 1;
const TCA_ACT_OPTIONS: u16 = 2;
const TCA_MIRRED_PARMS: u16 = 2;

const TC_H_ROOT: u32 = 0xffff_ffff;
const TC_H_INGRESS: u32 = 0xffff_fff1;
/// `ffff:`, the handle that an ingress qdisc has.
const INGRESS: u32 = 0xffff_0000;

/// Bytes that may be sent at once whatever the rate: one packet before the kernel cuts it up.
const SMALLEST_BURST: u64 = 64 * 1024;

/// struct tcmsg
fn header(link: Link, [handle, parent, info]: [u32; 3]) -> Vec<u8> {
    let mut header = vec![0; 4];
    for number in [link.index, handle, parent, info] {
        header.extend_from_slice(&number.to_ne_bytes());
    }
    header
}

/// Lets what leaves by the link be no more than `rate` bytes a second, with a burst of what passes in
/// 50 ms. What waits longer than 25 ms behind that is dropped.
pub fn limit(socket: &mut Socket, link: Link, rate: u64) -> Result<()> {
    let burst = (rate / 20).clamp(SMALLEST_BURST, u64::from(u32::MAX / 2)) as u32;
    let queue = (rate / 40).min(u64::from(u32::MAX / 2)) as u32;
    // struct tc_ratespec twice: layer ETHERNET (1) needs no table of the client's.
    let mut parameters = vec![0; 24];
    parameters[1] = 1;
    let low = u32::try_from(rate).unwrap_or(u32::MAX);
    parameters[8..12].copy_from_slice(&low.to_ne_bytes());
    // struct tc_tbf_qopt: limit, buffer (said as the burst below), mtu
    for number in [burst.saturating_add(queue), 0, 0] {
        parameters.extend_from_slice(&number.to_ne_bytes());
    }
    let request = Message::new(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL)
        .raw(&header(link, [0x1_0000, TC_H_ROOT, 0]))
        .text(TCA_KIND, "tbf")
        .nest(TCA_OPTIONS, |m| {
            m.attr(TCA_TBF_PARMS, &parameters)
                .attr(TCA_TBF_RATE64, &rate.to_ne_bytes())
                .u32(TCA_TBF_BURST, burst)
        });
    socket.run(&[request]).context(|| "limit the rate by tbf (sch_tbf)")
}

/// Sends all that comes in by a link through another, where it can be limited.
pub fn redirect(socket: &mut Socket, from: Link, to: Link) -> Result<()> {
    let ingress = Message::new(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL)
        .raw(&header(from, [INGRESS, TC_H_INGRESS, 0]))
        .text(TCA_KIND, "ingress");
    // struct tc_u32_sel: terminal, with one key that every packet has.
    let mut selector = vec![0; 32];
    (selector[0], selector[2]) = (1, 1);
    // struct tc_mirred: index, capabilities, stolen (4), counts, redirect to egress (1), link
    let action: Vec<u8> =
        [0, 0, 4, 0, 0, 1, to.index].iter().flat_map(|number| number.to_ne_bytes()).collect();
    // Priority 1, of every protocol (ETH_P_ALL) in network byte order.
    let info = (1 << 16) | u32::from(3u16.to_be());
    let filter = Message::new(RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_EXCL)
        .raw(&header(from, [0, INGRESS, info]))
        .text(TCA_KIND, "u32")
        .nest(TCA_OPTIONS, |m| {
            m.attr(TCA_U32_SEL, &selector).nest(TCA_U32_ACT, |m| {
                m.nest(1, |m| {
                    m.text(TCA_ACT_KIND, "mirred")
                        .nest(TCA_ACT_OPTIONS, |m| m.attr(TCA_MIRRED_PARMS, &action))
                })
            })
        });
    let steps = ["an ingress qdisc (sch_ingress)", "a redirection (cls_u32, act_mirred)"];
    socket
        .run(&[ingress, filter])
        .map_err(|e| crate::error::Error::from(e).context(format!("add {}", steps[e.at.min(1)])))
}
