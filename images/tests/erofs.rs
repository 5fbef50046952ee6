//! What holds for layers that are directories, for those that are EROFS images.
// Each of these files is a program of its own as well, with what they share.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::duplicate_mod)]

#[path = "bounds.rs"]
mod bounds;
#[path = "cut_layers.rs"]
mod cut_layers;
#[path = "export.rs"]
mod export;
#[path = "fsck.rs"]
mod fsck;
#[path = "hostile.rs"]
mod hostile;
#[path = "layers.rs"]
mod layers;
#[path = "odd_layers.rs"]
mod odd_layers;
#[path = "pull.rs"]
mod pull;
#[path = "store/main.rs"]
mod store;
