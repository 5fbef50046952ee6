//! Metadata of what is no pod.

use super::fields::{Fields, Item, Read};
use super::values::CLUSTER_META;
use crate::ids;

/// Name, and namespace if the document has one.
pub type Key = (String, Option<String>);

const UNUSED: &[&str] = &["annotations", "generateName", "generation", "labels", "uid"];

/// Who an object is.
pub fn key(item: &Item<'_>) -> Read<Key> {
    item.object(|f| {
        f.ignore(CLUSTER_META);
        f.ignore(UNUSED);
        name_and_namespace(f)
    })
}

/// Who something is whose own labels and annotations say nothing of its pods.
pub fn key_of_workload(item: &Item<'_>) -> Read<Key> {
    item.object(|f| {
        f.skip(CLUSTER_META);
        f.skip(UNUSED);
        name_and_namespace(f)
    })
}

fn name_and_namespace(f: &mut Fields<'_>) -> Read<Key> {
    let name = f.need("name", |i| i.checked(ids::subdomain_fault))?;
    Ok((name, f.word("namespace", |i| i.checked(ids::label_fault))?))
}
