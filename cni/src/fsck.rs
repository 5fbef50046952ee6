//! A look through what is on record of networks and what there is of the built-in bridge, without
//! changing anything; and what can be done about what is found.
//!
//! Other processes may have the records open. Whatever they make has a record before it: so the
//! kernel is asked first, then what is reserved, then the attachments, then who has a pod. What is
//! seen once and not a second time was somebody's work in progress.

use crate::bridge;
use crate::config::Config;
use crate::error::{Context, Error, Result};
use crate::network::Network;
use crate::record::{Provider, Record};
use crate::store::{Reserved, Row, Seen};
use crate::subnet::Subnet;
use rrun_blocking::Blocking;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(200);

/// What kind of thing is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// All records: the database.
    Records,
    /// An attachment of a pod that is gone, or one whose record cannot be read.
    Attachment,
    /// An address that is reserved for no attachment.
    Address,
    /// A port of the host, likewise.
    Port,
    /// A port of the built-in bridge, of no attachment.
    Link,
}

impl Fault {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Fault::Records => "records",
            Fault::Attachment => "attachment",
            Fault::Address => "address",
            Fault::Port => "port",
            Fault::Link => "link",
        }
    }
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// What kind of thing.
    pub fault: Fault,
    /// Which one: a sandbox, an address, a port, a link, or a file.
    pub object: String,
    /// What is wrong with it.
    pub what: String,
}

/// What is to be done about it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Remedy {
    /// Opening the records does it.
    Open,
    /// DEL, by the record.
    Detach(String),
    /// What the bridge has for this sandbox is given back.
    GiveBack(String),
    /// The link is removed.
    Link(String),
    /// Nothing that would not be a guess.
    Nothing(&'static str),
}

/// Something that is wrong, with what can be done about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What is wrong.
    pub finding: Finding,
    remedy: Remedy,
}

/// Which of these sandboxes nobody has any more; or why nobody can tell.
pub type Gone = Arc<dyn Fn(&BTreeSet<String>) -> Result<BTreeSet<String>, String> + Send + Sync>;

/// What was seen.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// What is wrong.
    pub found: Vec<Found>,
    /// What is not wrong and should be known.
    pub notes: BTreeSet<String>,
    /// The sandboxes of all attachments on record.
    pub attached: BTreeSet<String>,
}

impl Look {
    fn add(&mut self, fault: Fault, object: impl ToString, what: impl ToString, remedy: Remedy) {
        let finding = Finding { fault, object: object.to_string(), what: what.to_string() };
        self.found.push(Found { finding, remedy });
    }
}

/// Looks through the records of `config` and at its bridge, while others may have them open.
///
/// # Errors
/// `Unavailable` where the records cannot be read now; else of the disk or the kernel. What is wrong
/// with the network is none.
pub async fn look(config: &Config, gone: &Gone) -> Result<Look> {
    let (dir, bridge, gone) = (config.state_dir.clone(), config.bridge.clone(), Arc::clone(gone));
    let looked = Blocking::new((), 1).call(move |()| both(&dir, &bridge, &gone)).await;
    looked.context(|| format!("network records in {}", config.state_dir.display()))
}

/// Does what can be done about each of what was found, in their order: what was done.
pub async fn mend(config: &Config, found: &[Found]) -> Vec<Result<&'static str>> {
    if found.is_empty() {
        return Vec::new();
    }
    let network = match Network::open(config.clone()).await {
        Ok(network) => network,
        Err(error) => return found.iter().map(|_| Err(error.clone())).collect(),
    };
    let mut done = Vec::new();
    for one in found {
        done.push(match &one.remedy {
            Remedy::Open => Ok("set aside, and made anew without what was in them"),
            Remedy::Detach(id) => network.del(id).await.map(|()| "detached"),
            Remedy::GiveBack(id) => network.give_back(id).await.map(|()| "given back"),
            Remedy::Link(name) => {
                let name = name.clone();
                let remove = move |(): &()| bridge::remove_link(&name);
                Blocking::new((), 1).call(remove).await.map(|()| "removed")
            }
            Remedy::Nothing(why) => Err(Error::invalid(why)),
        });
    }
    done
}

fn both(dir: &Path, bridge: &str, gone: &Gone) -> Result<Look> {
    if !Seen::is_there(dir) {
        let notes = BTreeSet::from([format!("{}: no pod was ever attached", dir.display())]);
        return Ok(Look { notes, ..Look::default() });
    }
    let mut seen = once(dir, bridge, gone)?;
    if !seen.found.is_empty() {
        sleep(PAUSE);
        let again = once(dir, bridge, gone)?;
        seen.found.retain(|one| again.found.contains(one));
    }
    seen.found.sort_by(|a, b| a.finding.cmp(&b.finding));
    Ok(seen)
}

fn once(dir: &Path, bridge: &str, gone: &Gone) -> Result<Look> {
    let mut look = Look::default();
    set_aside(dir, &mut look);
    let records = match Seen::open(dir) {
        Ok(records) => records,
        Err(error @ rrun_database::Error::Version(..)) => {
            let remedy = Remedy::Nothing("another release reads them: run that");
            look.add(Fault::Records, "network.db", error, remedy);
            return Ok(look);
        }
        Err(error) => return Err(error.into()),
    };
    if let Some(what) = records.fault() {
        look.add(Fault::Records, "network.db", what, Remedy::Open);
        return Ok(look);
    }
    let links = bridge::links(bridge)?;
    let reserved = records.reserved()?;
    let rows = records.attachments()?;
    let attached: BTreeSet<String> = rows.iter().map(|row| row.id.clone()).collect();
    let is_gone = gone(&attached).unwrap_or_else(|why| {
        look.notes.insert(format!("whose attachments these are is not judged: {why}"));
        BTreeSet::new()
    });
    let mut held: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (one, id) in &reserved {
        held.entry(id).or_default().push(shown(one));
    }
    let mut veths = BTreeSet::new();
    for row in &rows {
        let held = held.get(row.id.as_str()).map(Vec::as_slice).unwrap_or_default();
        veths.insert(attachment(&mut look, row, is_gone.contains(&row.id), held));
    }
    for (one, id) in reserved.iter().filter(|(_, id)| !attached.contains(id)) {
        let fault = match one {
            Reserved::Address(..) => Fault::Address,
            Reserved::Port(..) => Fault::Port,
        };
        let what = format!("it is reserved for {id}, which is not attached");
        look.add(fault, shown(one), what, Remedy::GiveBack(id.clone()));
    }
    for link in links.into_iter().filter(|link| !veths.contains(link)) {
        let what = format!("it is a port of {bridge}, and of no attachment");
        look.add(Fault::Link, link.clone(), what, Remedy::Link(link));
    }
    look.attached = attached;
    Ok(look)
}

/// Judges one attachment, which holds what is `held`: how its link is called.
fn attachment(look: &mut Look, row: &Row, is_gone: bool, held: &[String]) -> String {
    let (name, network, fault) = match Record::parse(row) {
        Ok(record) => {
            let network = record.summary(row).network;
            let name = match record.provider {
                Provider::Bridge(names) => names.veth,
                // Not in our bridge.
                Provider::Plugins(_) => String::new(),
            };
            (name, Some(network), None)
        }
        Err(error) => (bridge::veth_name(&row.id), None, Some(error)),
    };
    let its = network.into_iter().chain(held.iter().cloned()).collect::<Vec<_>>().join(", ");
    let its = if its.is_empty() { its } else { format!(" ({its})") };
    match (fault, is_gone) {
        (None, false) => {}
        (None, true) => {
            let what = format!("its pod is not on record{its}");
            look.add(Fault::Attachment, &row.id, what, Remedy::Detach(row.id.clone()));
        }
        (Some(error), true) => {
            let what =
                format!("its pod is not on record, and its own cannot be read{its}: {error}");
            look.add(Fault::Attachment, &row.id, what, Remedy::Detach(row.id.clone()));
        }
        (Some(error), false) => {
            let what = format!("its record cannot be read{its}: {error}");
            let remedy = Remedy::Nothing("its pod is on record: stop that, which detaches it");
            look.add(Fault::Attachment, &row.id, what, remedy);
        }
    }
    name
}

fn shown(reserved: &Reserved) -> String {
    match reserved {
        Reserved::Address(subnet, host) => match subnet.parse::<Subnet>() {
            Ok(subnet) => subnet.host(*host).to_string(),
            Err(_) => format!("{host} of {subnet}"),
        },
        Reserved::Port(protocol, port, host_ip) if host_ip.is_empty() => {
            format!("{port}/{protocol}")
        }
        Reserved::Port(protocol, port, host_ip) => format!("{host_ip}:{port}/{protocol}"),
    }
}

fn set_aside(dir: &Path, look: &mut Look) {
    let name = "network.db.damaged";
    if dir.join(name).exists() {
        look.notes.insert(format!("{name}: set aside when the network's records were made anew"));
    }
}
