//! What stands in nftables, of whatever family and whoever wrote it: base chains at the hook of
//! what is forwarded, and their tables' rules and set elements.

use super::message::{Message, Received, attribute, attributes, take};
use super::{Family, NLM_F_DUMP, Socket};
use crate::error::{Context, Result};

const GETCHAIN: u16 = 4;
const GETRULE: u16 = 7;
const GETSETELEM: u16 = 13;
const GETGEN: u16 = 16;

/// `NF_INET_FORWARD`, and `NF_BR_FORWARD`, which is the same number.
const FORWARD: u32 = 2;
/// `NFPROTO_INET` and `NFPROTO_BRIDGE`, as nft(8) spells them: chains of both families.
const BOTH: [(u8, &str); 2] = [(1, "inet"), (7, "bridge")];

/// A base chain that sees what is forwarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    number: u8,
    /// As nft(8) spells it.
    pub family: &'static str,
    pub table: String,
    pub name: String,
    /// It drops what no rule of it accepts.
    pub drops: bool,
}

/// A rule, as the names and the attributes of its expressions.
#[derive(Clone, Debug)]
pub struct Rule {
    pub chain: String,
    pub expressions: Vec<(String, Vec<u8>)>,
}

fn message(kind: u16, flags: u16, family: u8) -> Message {
    Message::new((10 << 8) | kind, flags).raw(&[family, 0, 0, 0])
}

fn attrs(m: Received<'_>) -> &[u8] {
    m.body.get(4..).unwrap_or_default()
}

fn number(value: Option<&[u8]>) -> Option<u32> {
    take(value?, 0).map(u32::from_be_bytes)
}

fn string(value: Option<&[u8]>) -> String {
    let bytes = value.unwrap_or_default();
    String::from_utf8_lossy(bytes.strip_suffix(&[0]).unwrap_or(bytes)).into_owned()
}

/// The number of the ruleset: another one after every change of it.
pub fn generation(socket: &mut Socket) -> Result<u32> {
    let mut found = None;
    let answer = socket.query(&message(GETGEN, 0, 0), |m| found = number(attribute(attrs(m), 1)));
    answer.context(|| "the number of the nft ruleset")?;
    found.ok_or_else(|| super::torn("the ruleset"))
}

/// The filters of what is forwarded from, to or between addresses of a family.
pub fn forward_chains(socket: &mut Socket, of: Family) -> Result<Vec<Chain>> {
    let mut all = Vec::new();
    let families = [BOTH[0], BOTH[1], (of.number(), of.name())];
    let answer = socket.query(&message(GETCHAIN, NLM_F_DUMP, 0), |m| {
        let family = m.body.first().and_then(|f| families.iter().find(|(n, _)| n == f));
        let hook = attribute(attrs(m), 4).and_then(|hook| number(attribute(hook, 1)));
        let is_filter = string(attribute(attrs(m), 7)) == "filter";
        if let (Some((number, family)), Some(FORWARD), true) = (family, hook, is_filter) {
            all.push(Chain {
                number: *number,
                family,
                table: string(attribute(attrs(m), 1)),
                name: string(attribute(attrs(m), 3)),
                drops: attribute(attrs(m), 5) == Some(&[0; 4]),
            });
        }
    });
    answer.context(|| "list nft chains")?;
    Ok(all)
}

/// The rules of all chains of a chain's table.
pub fn rules(socket: &mut Socket, of: &Chain) -> Result<Vec<Rule>> {
    let mut all = Vec::new();
    let request = message(GETRULE, NLM_F_DUMP, of.number).text(1, &of.table);
    let answer = socket.query(&request, |m| all.push(rule(attrs(m))));
    answer.context(|| format!("list nft table {} {}", of.family, of.table))?;
    Ok(all)
}

fn rule(attrs: &[u8]) -> Rule {
    let list = attributes(attribute(attrs, 4).unwrap_or_default());
    let expression = |(_, one)| {
        let data = attribute(one, 2).unwrap_or_default();
        (string(attribute(one, 1)), data.to_vec())
    };
    Rule { chain: string(attribute(attrs, 2)), expressions: list.map(expression).collect() }
}

/// The keys of a set of a chain's table.
pub fn elements(socket: &mut Socket, of: &Chain, set: &str) -> Result<Vec<Vec<u8>>> {
    let mut all = Vec::new();
    let request = message(GETSETELEM, NLM_F_DUMP, of.number).text(1, &of.table).text(2, set);
    let answer = socket.query(&request, |m| {
        let list = attributes(attribute(attrs(m), 3).unwrap_or_default());
        let key = |(_, one)| attribute(attribute(one, 1)?, 1);
        all.extend(list.filter_map(key).map(<[u8]>::to_vec));
    });
    answer.context(|| format!("list nft set {} {} {set}", of.family, of.table))?;
    Ok(all)
}

impl Rule {
    /// Whether it takes every packet that comes to it, and none goes on.
    pub fn forbids_all(&self) -> bool {
        let (last, before) = match self.expressions.split_last() {
            Some(split) => split,
            None => return false,
        };
        // Nothing before it asks anything of the packet.
        let says_nothing = |(name, _): &(String, Vec<u8>)| matches!(&**name, "counter" | "log");
        before.iter().all(says_nothing) && forbids(last)
    }

    /// The sets that it looks packets up in.
    pub fn sets(&self) -> impl Iterator<Item = String> {
        let lookups = self.expressions.iter().filter(|(name, _)| name == "lookup");
        lookups.map(|(_, data)| string(attribute(data, 1)))
    }

    /// What it compares the packet with: `true` where that is an address of a family, or the
    /// beginning of one, else `false`.
    pub fn compared(&self, of: Family) -> impl Iterator<Item = (bool, &[u8])> {
        let mut of_address = false;
        self.expressions.iter().filter_map(move |(name, data)| match &**name {
            "payload" => {
                let [base, offset] = [2, 3].map(|kind| number(attribute(data, kind)));
                // In the network header: source, destination.
                let addresses = [Some(of.source()), Some(of.destination())];
                of_address = base == Some(1) && addresses.contains(&offset);
                None
            }
            "meta" => {
                of_address = false;
                None
            }
            "cmp" => Some((of_address, attribute(attribute(data, 3)?, 1)?)),
            _ => None,
        })
    }
}

/// Drop and reject, as nft(8) and as iptables-nft(8) write them.
fn forbids((name, data): &(String, Vec<u8>)) -> bool {
    match &**name {
        "reject" => true,
        "immediate" => {
            let verdict = attribute(data, 2).and_then(|data| attribute(data, 2));
            verdict.and_then(|verdict| number(attribute(verdict, 1))) == Some(0)
        }
        "target" => matches!(&*string(attribute(data, 1)), "REJECT" | "DROP"),
        _ => false,
    }
}
