//! nftables messages (`linux/netfilter/nf_tables.h`): tables, chains, rules, maps, elements of the
//! `ip` and `ip6` families. [`crate::bridge`] makes a ruleset of them.

use super::message::{Message, attribute};
use super::{Family, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, Socket};
use crate::error::{Context, Result};
use nix::errno::Errno;

const NEWTABLE: u16 = 0;
const GETTABLE: u16 = 1;
const DELTABLE: u16 = 2;
const NEWCHAIN: u16 = 3;
const NEWRULE: u16 = 6;
const GETRULE: u16 = 7;
const NEWSET: u16 = 9;
const NEWSETELEM: u16 = 12;
const DELSETELEM: u16 = 14;

const NFTA_TABLE_NAME: u16 = 1;
const NFTA_TABLE_USERDATA: u16 = 6;
const NFTA_RULE_USERDATA: u16 = 7;
/// `NLM_F_APPEND`: behind the rules that are there.
const APPEND: u16 = 0x800;

/// First 4-byte register; the three behind it follow in number.
pub const REG: u32 = 8;
const REG_VERDICT: u32 = 0;

/// Which table: two families may each have one of a name.
#[derive(Clone, Copy, Debug)]
pub struct TableName<'a> {
    pub family: Family,
    pub name: &'a str,
}

impl TableName<'_> {
    fn message(&self, kind: u16, flags: u16) -> Message {
        // Type = subsystem nftables (10), message; struct nfgenmsg { family, version, res_id }.
        Message::new((10 << 8) | kind, flags).raw(&[self.family.number(), 0, 0, 0])
    }
}

/// A new table, with a comment that `nft list` shows.
pub fn add_table(table: TableName<'_>, comment: &str) -> Message {
    let request = table.message(NEWTABLE, NLM_F_CREATE | NLM_F_EXCL);
    request.text(NFTA_TABLE_NAME, table.name).attr(NFTA_TABLE_USERDATA, &comment_bytes(comment))
}

/// The table with all that is in it.
pub fn delete_table(table: TableName<'_>) -> Message {
    table.message(DELTABLE, 0).text(NFTA_TABLE_NAME, table.name)
}

/// The user data that nft(8) reads as a comment: type 0, length, text with its NUL.
fn comment_bytes(comment: &str) -> Vec<u8> {
    let text = &comment.as_bytes()[..comment.len().min(127)];
    let mut bytes = vec![0, text.len() as u8 + 1];
    bytes.extend_from_slice(text);
    bytes.push(0);
    bytes
}

/// Whether a table is there, and with this very comment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    Missing,
    Other,
    Same,
}

/// Compares a table's comment.
pub fn table_state(socket: &mut Socket, of: TableName<'_>, comment: &str) -> Result<Table> {
    let mut same = false;
    let request = of.message(GETTABLE, 0).text(NFTA_TABLE_NAME, of.name);
    let answer = socket.query(&request, |m| {
        let data = attribute(m.body.get(4..).unwrap_or_default(), NFTA_TABLE_USERDATA);
        same = data == Some(&comment_bytes(comment));
    });
    match answer {
        Ok(()) if same => Ok(Table::Same),
        Ok(()) => Ok(Table::Other),
        Err(e) if e.errno == Errno::ENOENT => Ok(Table::Missing),
        Err(e) => Err(e).context(|| format!("look up nft table {} {}", of.family.name(), of.name)),
    }
}

/// Where a base chain hangs.
#[derive(Clone, Copy, Debug)]
pub struct Hook {
    pub kind: &'static str,
    pub number: u32,
    pub priority: i32,
}

/// A new chain; a regular one without a hook.
pub fn add_chain(table: TableName<'_>, name: &str, hook: Option<Hook>) -> Message {
    let chain = table.message(NEWCHAIN, NLM_F_CREATE).text(1, table.name).text(3, name);
    match hook {
        None => chain,
        Some(hook) => chain
            .nest(4, |m| m.be32(1, hook.number).attr(2, &hook.priority.to_be_bytes()))
            .text(7, hook.kind),
    }
}

/// A map from a concatenation to a concatenation; `id` is of this batch only.
#[derive(Debug)]
pub struct Map<'a> {
    pub name: &'a str,
    pub id: u32,
    /// nft's type numbers, six bits each, and the length in bytes, each part padded to four.
    pub key: (u32, u32),
    pub data: (u32, u32),
}

/// A new, empty map.
pub fn add_map(table: TableName<'_>, map: &Map<'_>) -> Message {
    const NFT_SET_MAP: u32 = 8;
    let request = table.message(NEWSET, NLM_F_CREATE);
    request
        .text(1, table.name)
        .text(2, map.name)
        .be32(3, NFT_SET_MAP)
        .be32(4, map.key.0)
        .be32(5, map.key.1)
        .be32(6, map.data.0)
        .be32(7, map.data.1)
        .be32(10, map.id)
}

/// An element of a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    pub key: Vec<u8>,
    pub data: Vec<u8>,
}

/// Adds elements; one that is there already fails the batch (`EEXIST`), unless it is the same.
pub fn add_elements(table: TableName<'_>, map: &str, elements: &[Element]) -> Message {
    element_list(NEWSETELEM, NLM_F_CREATE | NLM_F_EXCL, (table, map), elements)
}

/// Removes elements by their keys; one that is not there fails the batch (`ENOENT`).
pub fn delete_elements(table: TableName<'_>, map: &str, elements: &[Element]) -> Message {
    element_list(DELSETELEM, 0, (table, map), elements)
}

fn element_list(
    kind: u16,
    flags: u16,
    (table, map): (TableName<'_>, &str),
    elements: &[Element],
) -> Message {
    table.message(kind, flags).text(1, table.name).text(2, map).nest(3, |mut list| {
        for element in elements {
            list = list.nest(1, |m| {
                let m = m.nest(1, |m| m.attr(1, &element.key));
                if kind == NEWSETELEM { m.nest(2, |m| m.attr(1, &element.data)) } else { m }
            });
        }
        list
    })
}

/// A rule: expressions that run one after the other until one does not match.
pub fn add_rule(table: TableName<'_>, chain: &str, expressions: &[Expression<'_>]) -> Message {
    rule(APPEND, (table, chain), expressions)
}

fn rule(
    flags: u16,
    (table, chain): (TableName<'_>, &str),
    expressions: &[Expression<'_>],
) -> Message {
    let request = table.message(NEWRULE, NLM_F_CREATE | flags);
    request.text(1, table.name).text(2, chain).nest(4, |mut list| {
        for expression in expressions {
            list = list.nest(1, |m| expression.write(m));
        }
        list
    })
}

/// A rule before all others of its chain, with a comment to know it again by.
pub fn insert_rule(
    chain: (TableName<'_>, &str),
    comment: &str,
    expressions: &[Expression<'_>],
) -> Message {
    rule(0, chain, expressions).attr(NFTA_RULE_USERDATA, &comment_bytes(comment))
}

/// How many rules of a chain have this comment.
pub fn rules_with(
    socket: &mut Socket,
    (table, chain): (TableName<'_>, &str),
    comment: &str,
) -> Result<usize> {
    let mut count = 0;
    let request = table.message(GETRULE, NLM_F_DUMP).text(1, table.name).text(2, chain);
    let answer = socket.query(&request, |m| {
        let data = attribute(m.body.get(4..).unwrap_or_default(), NFTA_RULE_USERDATA);
        count += usize::from(data == Some(&comment_bytes(comment)));
    });
    answer.context(|| format!("list nft chain {} {chain}", table.name))?;
    Ok(count)
}

/// One instruction of the nftables machine.
#[derive(Clone, Copy, Debug)]
pub enum Expression<'a> {
    /// Interface that a packet came in by.
    InName(u32),
    /// Interface that it leaves by.
    OutName(u32),
    /// TCP, UDP, …
    Protocol(u32),
    /// Bytes of the network header: register, offset, length.
    Network(u32, u32, u32),
    /// Bytes of the transport header.
    Transport(u32, u32, u32),
    /// `IPS_*` bits of the connection.
    ConnectionStatus(u32),
    /// Type of the destination address: local, unicast, …
    DestinationType(u32),
    /// And with a mask, in place.
    Mask(u32, &'a [u8]),
    /// Goes on if equal.
    Equal(u32, &'a [u8]),
    /// Goes on if not equal.
    Differs(u32, &'a [u8]),
    /// Looks the registers from here on up in a map and puts what it finds in the same place;
    /// ends the rule when nothing is found.
    Lookup(u32, &'a Map<'a>),
    /// Destination NAT to an address of this family in this register, and the port behind it.
    DestinationNat(Family, u32),
    /// Source NAT to the address of the interface.
    Masquerade,
    /// Takes the packet, as far as this chain is asked.
    Accept,
    /// Drops the packet.
    Drop,
    /// Goes on in another chain.
    Jump(&'a str),
}

impl Expression<'_> {
    fn write(&self, m: Message) -> Message {
        use Expression::*;
        let meta =
            |m: Message, key: u32, reg: u32| named(m, "meta", |m| m.be32(1, reg).be32(2, key));
        match *self {
            InName(reg) => meta(m, 6, reg),
            OutName(reg) => meta(m, 7, reg),
            Protocol(reg) => meta(m, 16, reg),
            Network(reg, offset, length) => payload(m, 1, [reg, offset, length]),
            Transport(reg, offset, length) => payload(m, 2, [reg, offset, length]),
            ConnectionStatus(reg) => named(m, "ct", |m| m.be32(1, reg).be32(2, 2)),
            DestinationType(reg) => named(m, "fib", |m| m.be32(1, reg).be32(2, 3).be32(3, 2)),
            Mask(reg, mask) => named(m, "bitwise", |m| {
                m.be32(1, reg)
                    .be32(2, reg)
                    .be32(3, mask.len() as u32)
                    .nest(4, |m| m.attr(1, mask))
                    .nest(5, |m| m.attr(1, &vec![0; mask.len()]))
            }),
            Equal(reg, value) => compare(m, reg, 0, value),
            Differs(reg, value) => compare(m, reg, 1, value),
            Lookup(reg, map) => named(m, "lookup", |m| {
                m.text(1, map.name).be32(2, reg).be32(3, reg).be32(4, map.id)
            }),
            DestinationNat(family, reg) => named(m, "nat", |m| {
                let port = reg + family.length() / 4;
                m.be32(1, 1).be32(2, u32::from(family.number())).be32(3, reg).be32(5, port)
            }),
            Masquerade => named(m, "masq", |m| m),
            Accept => verdict(m, |m| m.be32(1, 1)),
            Drop => verdict(m, |m| m.be32(1, 0)),
            Jump(chain) => verdict(m, |m| m.attr(1, &(-3i32).to_be_bytes()).text(2, chain)),
        }
    }
}

fn named(m: Message, name: &str, data: impl FnOnce(Message) -> Message) -> Message {
    m.text(1, name).nest(2, data)
}

fn payload(m: Message, base: u32, [reg, offset, length]: [u32; 3]) -> Message {
    named(m, "payload", |m| m.be32(1, reg).be32(2, base).be32(3, offset).be32(4, length))
}

fn compare(m: Message, reg: u32, operator: u32, value: &[u8]) -> Message {
    named(m, "cmp", |m| m.be32(1, reg).be32(2, operator).nest(3, |m| m.attr(1, value)))
}

fn verdict(m: Message, code: impl FnOnce(Message) -> Message) -> Message {
    named(m, "immediate", |m| m.be32(1, REG_VERDICT).nest(2, |m| m.nest(2, code)))
}
