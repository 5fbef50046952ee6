//! Images: registry, content store, layers, snapshots, records.
