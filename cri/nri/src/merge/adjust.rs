//! What plugins change in a container that is made.

use super::Merge;
use crate::api::{ContainerAdjustment, Hooks, KeyValue, LinuxContainerAdjustment, LinuxRdt};
use crate::error::Result;
use crate::owners::{Field, Owners};
use crate::resources;
use std::collections::BTreeMap;

/// What is asked of a list or a map, with the names of its entries: what is to be there, and what is to
/// go. In the protocol a name that goes has a `-` before it.
struct Changes<T> {
    set: Vec<(String, T)>,
    removed: Vec<String>,
}

fn changes<T>(all: impl IntoIterator<Item = (String, T)>) -> Changes<T> {
    let mut changes = Changes { set: Vec::new(), removed: Vec::new() };
    for (name, value) in all {
        match name.strip_prefix('-') {
            Some(name) => changes.removed.push(name.to_owned()),
            None => changes.set.push((name, value)),
        }
    }
    changes
}

/// Whose part of the container it is that one plugin changes.
struct Turn<'a> {
    owners: &'a mut Owners,
    id: &'a str,
    plugin: &'a str,
}

impl Turn<'_> {
    fn take<T>(&mut self, field: Field, changes: &Changes<T>) -> Result<()> {
        changes.removed.iter().for_each(|name| self.owners.clear(self.id, field, name));
        let claims = changes.set.iter().map(|(name, _)| (field, name.clone())).collect();
        self.owners.claim(self.id, claims, self.plugin)
    }

    fn one(&mut self, field: Field) -> Result<()> {
        self.owners.claim(self.id, vec![(field, String::new())], self.plugin)
    }

    /// A list whose entries have names: what is asked, what was asked before, what is shown.
    fn list<T: Clone>(
        &mut self,
        field: Field,
        asked: Vec<T>,
        [held, shown]: [&mut Vec<T>; 2],
        name: impl Fn(&T) -> &str,
    ) -> Result<()> {
        let changes = changes(asked.into_iter().map(|one| (name(&one).to_owned(), one)));
        self.take(field, &changes)?;
        let Changes { set, removed } = &changes;
        let is_new = |one: &T| set.iter().any(|(other, _)| other == name(one));
        let is_removed = |one: &T| {
            let name = name(one);
            removed.iter().any(|other| other == name.strip_prefix('-').unwrap_or(name))
        };
        held.retain(|one| !is_removed(one) && !is_new(one));
        shown.retain(|one| !is_removed(one) && !is_new(one));
        held.extend(set.iter().map(|(_, one)| one.clone()));
        shown.extend(set.iter().map(|(_, one)| one.clone()));
        Ok(())
    }

    /// Likewise a map. A name that goes stays in what is asked.
    fn map<T: Clone + Default>(
        &mut self,
        field: Field,
        asked: BTreeMap<String, T>,
        [held, shown]: [&mut BTreeMap<String, T>; 2],
    ) -> Result<()> {
        let changes = changes(asked);
        self.take(field, &changes)?;
        for name in &changes.removed {
            held.remove(name);
            shown.remove(name);
            held.insert(format!("-{name}"), T::default());
        }
        for (name, value) in changes.set {
            held.remove(&format!("-{name}"));
            shown.insert(name.clone(), value.clone());
            held.insert(name, value);
        }
        Ok(())
    }
}

/// Adds to `held` what goes, by the names that a list of the protocol has.
fn marks<T>(asked: &[T], held: &mut Vec<T>, name: impl Fn(&T) -> &str)
where
    T: Clone,
{
    for one in asked.iter().filter(|one| name(one).starts_with('-')) {
        let is_set_anew = held.iter().any(|other| name(other) == &name(one)[1..]);
        let is_there = held.iter().any(|other| name(other) == name(one));
        if !is_set_anew && !is_there {
            held.push(one.clone());
        }
    }
}

impl Merge {
    /// Takes what a plugin changes.
    ///
    /// # Errors
    /// `Invalid` for a conflict, with both plugins and the field.
    pub(crate) fn adjust(&mut self, asked: ContainerAdjustment, plugin: &str) -> Result<()> {
        self.has_changed |= asked != ContainerAdjustment::default();
        let ContainerAdjustment {
            annotations,
            mounts,
            env,
            hooks,
            linux,
            rlimits,
            cdi_devices,
            args,
        } = asked;
        let mut turn = Turn { owners: &mut self.owners, id: &self.id, plugin };
        let (held, shown) = (&mut self.adjust, &mut self.container);
        let maps = [&mut held.annotations, &mut shown.annotations];
        turn.map(Field::ANNOTATIONS, annotations, maps)?;
        let lists = [&mut held.mounts, &mut shown.mounts];
        turn.list(Field::MOUNTS, mounts.clone(), lists, |mount| &mount.destination)?;
        marks(&mounts, &mut held.mounts, |mount| &mount.destination);
        let mut variables: Vec<KeyValue> = shown.env.iter().map(|var| variable(var)).collect();
        let lists = [&mut held.env, &mut variables];
        turn.list(Field::ENV, env.clone(), lists, |variable| &variable.key)?;
        marks(&env, &mut held.env, |variable| &variable.key);
        shown.env = variables.into_iter().map(|var| format!("{}={}", var.key, var.value)).collect();
        if !args.is_empty() {
            let mut args = args;
            // An empty first one takes back what another plugin has set.
            if args.first().is_some_and(String::is_empty) {
                turn.owners.clear(turn.id, Field::ARGS, "");
                args.remove(0);
            }
            turn.one(Field::ARGS)?;
            (held.args, shown.args) = (args.clone(), args);
        }
        if let Some(hooks) = hooks {
            turn.owners.share(turn.id, Field::HOOKS, plugin);
            add_hooks(held.hooks.get_or_insert_default(), &hooks);
            add_hooks(shown.hooks.get_or_insert_default(), &hooks);
        }
        let lists = [&mut held.rlimits, &mut shown.rlimits];
        turn.list(Field::RLIMITS, rlimits, lists, |limit| &limit.r#type)?;
        let lists = [&mut held.cdi_devices, &mut shown.cdi_devices];
        turn.list(Field::CDI_DEVICES, cdi_devices, lists, |device| &device.name)?;
        match linux {
            Some(linux) => self.adjust_linux(linux, plugin),
            None => Ok(()),
        }
    }

    fn adjust_linux(&mut self, asked: LinuxContainerAdjustment, plugin: &str) -> Result<()> {
        let mut turn = Turn { owners: &mut self.owners, id: &self.id, plugin };
        let held = self.adjust.linux.get_or_insert_default();
        let shown = self.container.linux.get_or_insert_default();
        let lists = [&mut held.devices, &mut shown.devices];
        turn.list(Field::DEVICES, asked.devices.clone(), lists, |device| &device.path)?;
        marks(&asked.devices, &mut held.devices, |device| &device.path);
        let lists = [&mut held.namespaces, &mut shown.namespaces];
        turn.list(Field::NAMESPACES, asked.namespaces.clone(), lists, |one| &one.r#type)?;
        marks(&asked.namespaces, &mut held.namespaces, |one| &one.r#type);
        turn.map(Field::SYSCTL, asked.sysctl, [&mut held.sysctl, &mut shown.sysctl])?;
        let maps = [&mut held.net_devices, &mut shown.net_devices];
        turn.map(Field::NET_DEVICES, asked.net_devices, maps)?;
        if let Some(limits) = &asked.resources {
            turn.owners.claim(turn.id, resources::claims(limits), plugin)?;
            resources::overlay(held.resources.get_or_insert_default(), limits);
            resources::overlay(shown.resources.get_or_insert_default(), limits);
        }
        if !asked.cgroups_path.is_empty() {
            turn.one(Field::CGROUPS_PATH)?;
            (held.cgroups_path, shown.cgroups_path) =
                (asked.cgroups_path.clone(), asked.cgroups_path);
        }
        if asked.oom_score_adj.is_some() {
            turn.one(Field::OOM_SCORE_ADJ)?;
            (held.oom_score_adj, shown.oom_score_adj) = (asked.oom_score_adj, asked.oom_score_adj);
        }
        if asked.io_priority.is_some() {
            turn.one(Field::IO_PRIORITY)?;
            (held.io_priority, shown.io_priority) = (asked.io_priority, asked.io_priority);
        }
        if asked.seccomp_policy.is_some() {
            turn.one(Field::SECCOMP)?;
            shown.seccomp_policy.clone_from(&asked.seccomp_policy);
            held.seccomp_policy = asked.seccomp_policy;
        }
        if asked.scheduler.is_some() {
            turn.one(Field::SCHEDULER)?;
            shown.scheduler.clone_from(&asked.scheduler);
            held.scheduler = asked.scheduler;
        }
        if asked.memory_policy.is_some() {
            turn.one(Field::MEMORY_POLICY)?;
            held.memory_policy = asked.memory_policy;
        }
        match asked.rdt {
            Some(rdt) => adjust_rdt(&mut turn, rdt, &mut held.rdt),
            None => Ok(()),
        }
    }
}

fn adjust_rdt(turn: &mut Turn<'_>, asked: LinuxRdt, held: &mut Option<LinuxRdt>) -> Result<()> {
    if asked.remove {
        for field in [Field::RDT_CLOS, Field::RDT_SCHEMATA, Field::RDT_MONITORING] {
            turn.owners.clear(turn.id, field, "");
        }
        *held = Some(LinuxRdt { remove: true, ..LinuxRdt::default() });
    }
    let held = held.get_or_insert_default();
    for (field, is_set) in [
        (Field::RDT_CLOS, asked.clos_id.is_some()),
        (Field::RDT_SCHEMATA, asked.schemata.is_some()),
        (Field::RDT_MONITORING, asked.enable_monitoring.is_some()),
    ] {
        if is_set {
            turn.one(field)?;
            held.remove = false;
        }
    }
    held.clos_id = asked.clos_id.or(held.clos_id.take());
    held.schemata = asked.schemata.or(held.schemata.take());
    held.enable_monitoring = asked.enable_monitoring.or(held.enable_monitoring);
    Ok(())
}

fn add_hooks(held: &mut Hooks, asked: &Hooks) {
    for (held, asked) in [
        (&mut held.prestart, &asked.prestart),
        (&mut held.create_runtime, &asked.create_runtime),
        (&mut held.create_container, &asked.create_container),
        (&mut held.start_container, &asked.start_container),
        (&mut held.poststart, &asked.poststart),
        (&mut held.poststop, &asked.poststop),
    ] {
        held.extend(asked.iter().cloned());
    }
}

fn variable(var: &str) -> KeyValue {
    let (key, value) = var.split_once('=').unwrap_or((var, ""));
    KeyValue { key: key.to_owned(), value: value.to_owned() }
}
