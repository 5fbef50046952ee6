//! What several plugins ask for, put together: each sees what those before it have changed, and what two
//! of them set is a conflict. What one has set, a later one may remove and set anew.

mod adjust;
#[cfg(test)]
mod tests;

use crate::api::{
    Container, ContainerAdjustment, ContainerEviction, ContainerUpdate, LinuxResources,
    PluginInstance, PodSandbox, ValidateContainerAdjustmentRequest,
};
use crate::error::{Error, Kind, Result};
use crate::owners::Owners;
use crate::resources;

/// What plugins ask for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// How the container that is made is to be another one.
    pub adjust: ContainerAdjustment,
    /// The limits that the container which is changed is to have.
    pub resources: Option<LinuxResources>,
    /// Limits of others.
    pub updates: Vec<ContainerUpdate>,
    /// Others that are to be stopped.
    pub evictions: Vec<ContainerEviction>,
}

/// What was asked for so far.
pub(crate) struct Merge {
    /// The container that is made, changed or stopped.
    id: String,
    /// One that is made, as the next plugin sees it, and as it was.
    container: Container,
    original: Container,
    adjust: ContainerAdjustment,
    /// Limits of one that is changed, as the next plugin sees them.
    resources: Option<LinuxResources>,
    updates: Vec<ContainerUpdate>,
    evictions: Vec<ContainerEviction>,
    owners: Owners,
    has_changed: bool,
}

impl Merge {
    /// For a container that is made.
    pub(crate) fn of_create(container: Container) -> Merge {
        let original = container.clone();
        Merge { container, original: original.clone(), ..Merge::of_change(&original.id) }
    }

    /// For one that is to have other limits.
    pub(crate) fn of_update(id: &str, resources: LinuxResources) -> Merge {
        Merge { resources: Some(resources), ..Merge::of_change(id) }
    }

    /// For one to which something else happens.
    pub(crate) fn of_change(id: &str) -> Merge {
        Merge {
            id: id.to_owned(),
            container: Container::default(),
            original: Container::default(),
            adjust: ContainerAdjustment::default(),
            resources: None,
            updates: Vec::new(),
            evictions: Vec::new(),
            owners: Owners::default(),
            has_changed: false,
        }
    }

    /// The container, as the next plugin sees it.
    pub(crate) fn container(&self) -> &Container {
        &self.container
    }

    /// The limits that it is to have, likewise.
    pub(crate) fn resources(&self) -> Option<&LinuxResources> {
        self.resources.as_ref()
    }

    pub(crate) fn has_changed(&self) -> bool {
        self.has_changed
    }

    /// Takes limits of containers. What may fail is left out where it is in conflict.
    ///
    /// # Errors
    /// `Invalid` for a conflict, and for limits of the container that is being made.
    pub(crate) fn updates(&mut self, updates: Vec<ContainerUpdate>, plugin: &str) -> Result<()> {
        for update in updates {
            let may_fail = update.ignore_failure;
            let id = update.container_id.clone();
            if let Err(error) = self.update(update, plugin) {
                if !may_fail {
                    return Err(error);
                }
                tracing::info!(container = id, %error, "NRI: left out");
            }
        }
        Ok(())
    }

    fn update(&mut self, update: ContainerUpdate, plugin: &str) -> Result<()> {
        let id = update.container_id;
        let asked = update.linux.and_then(|linux| linux.resources).unwrap_or_default();
        if !self.original.id.is_empty() && id == self.original.id {
            let text = format!("NRI plugin {plugin:?} updates container {id}, which is being made");
            return Err(Error::new(Kind::Invalid, text));
        }
        self.owners.claim(&id, resources::claims(&asked), plugin)?;
        self.has_changed = true;
        if id == self.id
            && let Some(held) = &mut self.resources
        {
            resources::overlay(held, &asked);
            return Ok(());
        }
        let at = self.updates.iter().position(|other| other.container_id == id);
        let at = at.unwrap_or(self.updates.len());
        if at == self.updates.len() {
            let new = ContainerUpdate { container_id: id, ignore_failure: true, linux: None };
            self.updates.push(new);
        }
        if let Some(held) = self.updates.get_mut(at) {
            held.ignore_failure &= update.ignore_failure;
            let linux = held.linux.get_or_insert_default();
            resources::overlay(linux.resources.get_or_insert_default(), &asked);
        }
        Ok(())
    }

    /// Takes containers that are to be stopped.
    pub(crate) fn evictions(&mut self, evictions: Vec<ContainerEviction>) {
        for eviction in evictions {
            if self.evictions.iter().all(|other| other.container_id != eviction.container_id) {
                self.evictions.push(eviction);
            }
        }
    }

    /// What a validating plugin is asked.
    pub(crate) fn validation(
        &self,
        pod: PodSandbox,
        asked: impl Iterator<Item = (String, String)>,
    ) -> ValidateContainerAdjustmentRequest {
        ValidateContainerAdjustmentRequest {
            pod: Some(pod),
            container: Some(self.original.clone()),
            adjust: Some(self.adjust.clone()),
            update: self.updates.clone(),
            owners: Some(self.owners.message()),
            plugins: asked.map(|(name, index)| PluginInstance { name, index }).collect(),
        }
    }

    /// All of it.
    pub(crate) fn done(self) -> Answer {
        let Merge { adjust, resources, updates, evictions, .. } = self;
        Answer { adjust, resources, updates, evictions }
    }
}
