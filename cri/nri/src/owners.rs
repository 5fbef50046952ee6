//! Which plugin has set what: two that set the same are in conflict.

use crate::api::{CompoundFieldOwners, FieldOwners, OwningPlugins};
use crate::error::{Error, Kind, Result};
use std::collections::BTreeMap;

/// A field: its number in the protocol, and what people call it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Field(i32, pub(crate) &'static str);

#[rustfmt::skip]
impl Field {
    pub(crate) const ANNOTATIONS: Field = Field(1, "annotation");
    pub(crate) const MOUNTS: Field = Field(2, "mount");
    pub(crate) const HOOKS: Field = Field(3, "hooks");
    pub(crate) const DEVICES: Field = Field(4, "device");
    pub(crate) const CDI_DEVICES: Field = Field(5, "CDI device");
    pub(crate) const ENV: Field = Field(6, "environment variable");
    pub(crate) const ARGS: Field = Field(7, "args");
    pub(crate) const MEMORY_LIMIT: Field = Field(8, "memory limit");
    pub(crate) const MEMORY_RESERVATION: Field = Field(9, "memory reservation");
    pub(crate) const MEMORY_SWAP: Field = Field(10, "memory swap limit");
    pub(crate) const MEMORY_KERNEL: Field = Field(11, "memory kernel limit");
    pub(crate) const MEMORY_TCP: Field = Field(12, "memory TCP limit");
    pub(crate) const MEMORY_SWAPPINESS: Field = Field(13, "memory swappiness");
    pub(crate) const MEMORY_OOM_KILLER: Field = Field(14, "memory disable OOM killer");
    pub(crate) const MEMORY_HIERARCHY: Field = Field(15, "memory use hierarchy");
    pub(crate) const CPU_SHARES: Field = Field(16, "CPU shares");
    pub(crate) const CPU_QUOTA: Field = Field(17, "CPU quota");
    pub(crate) const CPU_PERIOD: Field = Field(18, "CPU period");
    pub(crate) const CPU_RT_RUNTIME: Field = Field(19, "CPU realtime runtime");
    pub(crate) const CPU_RT_PERIOD: Field = Field(20, "CPU realtime period");
    pub(crate) const CPUSET_CPUS: Field = Field(21, "cpuset CPUs");
    pub(crate) const CPUSET_MEMS: Field = Field(22, "cpuset memory nodes");
    pub(crate) const PIDS: Field = Field(23, "pids limit");
    pub(crate) const HUGEPAGES: Field = Field(24, "hugepage limit");
    pub(crate) const BLOCKIO_CLASS: Field = Field(25, "block I/O class");
    pub(crate) const RDT_CLASS: Field = Field(26, "RDT class");
    pub(crate) const UNIFIED: Field = Field(27, "unified control group value");
    pub(crate) const CGROUPS_PATH: Field = Field(28, "cgroups path");
    pub(crate) const OOM_SCORE_ADJ: Field = Field(29, "OOM score adjustment");
    pub(crate) const RLIMITS: Field = Field(30, "rlimit");
    pub(crate) const IO_PRIORITY: Field = Field(31, "I/O priority");
    pub(crate) const SECCOMP: Field = Field(32, "seccomp policy");
    pub(crate) const NAMESPACES: Field = Field(33, "namespace");
    pub(crate) const SYSCTL: Field = Field(34, "sysctl");
    pub(crate) const NET_DEVICES: Field = Field(35, "network device");
    pub(crate) const SCHEDULER: Field = Field(36, "scheduler");
    pub(crate) const RDT_CLOS: Field = Field(37, "RDT CLOS id");
    pub(crate) const RDT_SCHEMATA: Field = Field(38, "RDT schemata");
    pub(crate) const RDT_MONITORING: Field = Field(39, "RDT monitoring");
    pub(crate) const MEMORY_POLICY: Field = Field(40, "memory policy");
}

/// A field, and the key of an entry where it has several; empty where it has none.
pub(crate) type Claim = (Field, String);

/// Who has set what, by container.
#[derive(Debug, Default)]
pub(crate) struct Owners(BTreeMap<(String, Claim), String>);

impl Owners {
    /// Takes all of it for `plugin`, or nothing.
    ///
    /// # Errors
    /// `Invalid`, with both plugins and the field, where another one has set it.
    pub(crate) fn claim(
        &mut self,
        container: &str,
        claims: Vec<Claim>,
        plugin: &str,
    ) -> Result<()> {
        for claim in &claims {
            let at = (container.to_owned(), claim.clone());
            if let Some(other) = self.0.get(&at).filter(|other| *other != plugin) {
                let (Field(_, name), key) = claim;
                let key = if key.is_empty() { String::new() } else { format!(" {key:?}") };
                let text = format!(
                    "NRI plugins {plugin:?} and {other:?} both tried to set {name}{key} of container \
                     {container}"
                );
                return Err(Error::new(Kind::Invalid, text));
            }
        }
        let taken = claims.into_iter().map(|c| ((container.to_owned(), c), plugin.to_owned()));
        self.0.extend(taken);
        Ok(())
    }

    /// What was set is taken back: whoever comes next may set it.
    pub(crate) fn clear(&mut self, container: &str, field: Field, key: &str) {
        self.0.remove(&(container.to_owned(), (field, key.to_owned())));
    }

    /// One more plugin has a part in it: hooks are added up.
    pub(crate) fn share(&mut self, container: &str, field: Field, plugin: &str) {
        let at = (container.to_owned(), (field, String::new()));
        let all = self.0.entry(at).or_default();
        *all = if all.is_empty() { plugin.to_owned() } else { format!("{all},{plugin}") };
    }

    /// As plugins are told it.
    pub(crate) fn message(&self) -> OwningPlugins {
        let mut all = OwningPlugins::default();
        for ((container, (Field(number, _), key)), plugin) in &self.0 {
            let fields: &mut FieldOwners = all.owners.entry(container.clone()).or_default();
            match key.as_str() {
                "" => drop(fields.simple.insert(*number, plugin.clone())),
                key => {
                    let entries: &mut CompoundFieldOwners =
                        fields.compound.entry(*number).or_default();
                    entries.owners.insert(key.to_owned(), plugin.clone());
                }
            }
        }
        all
    }
}
