//! Pulls from Debian's docker-registry: authentication, TLS, mirrors, faults, processes.
#![allow(clippy::unwrap_used)]

mod auth;
mod faults;
mod full;
mod hosts;
mod names;
mod pki;
mod processes;
mod proxy;
mod setup;
mod tls;
