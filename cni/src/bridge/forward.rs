//! Chains of others that forbid what is forwarded. Each of them is asked, and a drop in one is final:
//! no rule of ours in a table of ours lets pods pass. Where the iptables of the host forbids it, a
//! rule is added there, as CNI's plugins do ([`super::host`]); elsewhere the chain is an
//! administrator's, and told by name.

use super::net::Net;
use super::rules::interface;
use crate::error::Result;
use crate::netlink::Socket;
use crate::netlink::route::octets;
use crate::netlink::ruleset::{self, Chain, Rule};
use std::sync::{Mutex, PoisonError};

/// Where iptables, and with it Docker and many a firewall, forbids forwarding.
pub const IPTABLES: (&str, &str) = ("filter", "FORWARD");

/// What was seen when the ruleset was read last.
#[derive(Default)]
pub struct Forward {
    last: Mutex<Option<(u32, Net, Seen)>>,
}

/// What forbids forwarding.
#[derive(Clone, Default)]
pub struct Seen {
    /// [`IPTABLES`] does.
    pub iptables: bool,
    /// Chains that do and have no rule that names the bridge or its subnet, for people.
    pub words: Vec<String>,
}

impl Forward {
    /// Reads the ruleset, if it has changed.
    pub fn look(&self, socket: &mut Socket, bridge: &str, net: Net) -> Result<Seen> {
        let generation = ruleset::generation(socket)?;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, of, seen)) = &*last
            && (*at, *of) == (generation, net)
        {
            return Ok(seen.clone());
        }
        let mut seen = Seen::default();
        for chain in ruleset::forward_chains(socket, net.family())? {
            let rules = ruleset::rules(socket, &chain)?;
            if !forbids(&chain, &rules) {
                continue;
            }
            seen.iptables |= is_iptables(&chain, &net);
            if !names(socket, &chain, &rules, (bridge, net))? {
                seen.words.push(warning(&chain, bridge, net));
            }
        }
        *last = Some((generation, net, seen.clone()));
        Ok(seen)
    }
}

fn is_iptables(chain: &Chain, net: &Net) -> bool {
    chain.family == net.family().name() && (chain.table.as_str(), chain.name.as_str()) == IPTABLES
}

/// By its policy, or by a last rule that asks nothing.
fn forbids(chain: &Chain, rules: &[Rule]) -> bool {
    let last = rules.iter().rfind(|rule| rule.chain == chain.name);
    chain.drops || last.is_some_and(Rule::forbids_all)
}

/// Whether a rule of the chain's table names the bridge or its addresses, in a set or by itself:
/// whoever wrote it has thought of pods.
fn names(
    socket: &mut Socket,
    chain: &Chain,
    rules: &[Rule],
    (bridge, net): (&str, Net),
) -> Result<bool> {
    let (link, base) = (interface(bridge), octets(net.base()));
    // iptables compares a name to its NUL, nft all its sixteen bytes.
    let link = &link[..=bridge.len().min(15)];
    let is_ours = |(is_address, value): (bool, &[u8])| {
        let covers = is_address && !value.is_empty() && base.starts_with(value);
        covers || value.starts_with(link)
    };
    if rules.iter().any(|rule| rule.compared(net.family()).any(is_ours)) {
        return Ok(true);
    }
    for set in rules.iter().flat_map(Rule::sets) {
        let elements = ruleset::elements(socket, chain, &set)?;
        if elements.iter().any(|key| key.starts_with(link) || key.starts_with(&base)) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn warning(chain: &Chain, bridge: &str, net: Net) -> String {
    let Chain { family, table, name, .. } = chain;
    let remedy = if is_iptables(chain, &net) {
        "until the next pod is attached".to_owned()
    } else if table == "firewalld" {
        format!("until \"firewall-cmd --zone=trusted --add-interface={bridge}\" was run")
    } else {
        "until a rule of it accepts them".to_owned()
    };
    format!(
        "nft chain {family} {table} {name} forbids forwarding and does not name {bridge} or \
         {net}: pods may reach nothing beyond it {remedy}"
    )
}
