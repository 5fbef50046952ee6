//! How many layers come from one registry at a time, over all pulls of this process: more would take
//! each other's bandwidth, and some registries refuse a client that asks for much at once. A registry
//! that is slow holds up its own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;

use super::retry::DownHosts;

/// What all pulls of a store have in common of their registries.
pub(crate) struct Registries {
    pub(super) down: Arc<DownHosts>,
    pub(super) downloads: Downloads,
}

impl Registries {
    /// With so many layers of one registry at a time.
    pub(crate) fn new(downloads: usize) -> Registries {
        Registries { down: Arc::default(), downloads: Downloads::new(downloads) }
    }
}

/// The places at each registry, by its name.
pub(super) struct Downloads {
    most: usize,
    /// Locked for single look-ups only.
    places: Mutex<HashMap<String, Arc<Semaphore>>>,
}

impl Downloads {
    fn new(most: usize) -> Downloads {
        Downloads { most, places: Mutex::default() }
    }

    /// The places at this one. Whoever waits for one gets it in the order of asking.
    pub(super) fn at(&self, registry: &str) -> Arc<Semaphore> {
        let mut all = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        // Clients choose the names.
        all.retain(|_, places| Arc::strong_count(places) > 1);
        let places = all.entry(registry.to_owned());
        Arc::clone(places.or_insert_with(|| Arc::new(Semaphore::new(self.most))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pulls_of_a_registry_share_its_places_and_a_registry_that_nobody_asks_has_none() {
        let downloads = Downloads::new(2);
        let (one, same) = (downloads.at("a"), downloads.at("a"));
        assert!(Arc::ptr_eq(&one, &same) && !Arc::ptr_eq(&one, &downloads.at("b")));
        assert_eq!(one.available_permits(), 2);
        drop((one, same));
        downloads.at("c");
        assert_eq!(downloads.places.lock().unwrap().len(), 1);
    }
}
