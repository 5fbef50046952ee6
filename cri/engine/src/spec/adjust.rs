//! What the node changes in a configuration before it is planned.

use super::cdi;
use super::host::OnHost;
use serde_json::Value;

/// The configuration that is planned, and shown in status. Whatever is to change what a client
/// asked for does it between the two values, with no hand in how either is made: here the files of CDI
/// devices do, and after them plugins ([`crate::plugins`]).
pub(crate) fn adjust(spec: Value, on_host: &OnHost) -> Value {
    add_cdi(spec, &on_host.cdi)
}

/// The same with the files of devices that plugins name.
pub(crate) fn add_cdi(mut spec: Value, devices: &cdi::Devices) -> Value {
    cdi::apply(&mut spec, devices);
    spec
}
