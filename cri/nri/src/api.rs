//! The messages, made from `proto/nri.proto`.
#![allow(missing_docs, clippy::all, clippy::pedantic, reason = "generated")]

include!(concat!(env!("OUT_DIR"), "/nri.pkg.api.v1alpha1.rs"));
