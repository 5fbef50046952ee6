//! What the node changes in a configuration before it is planned.

use super::cdi;
use super::host::OnHost;
use serde_json::Value;

/// The configuration that is planned, and shown in status. Whatever is to change what a client
/// asked for (NRI, a runtime handler) does it here: between the two values, with no hand in how either
/// is made. The files of CDI devices do.
pub(crate) fn adjust(mut spec: Value, on_host: &OnHost) -> Value {
    cdi::apply(&mut spec, &on_host.cdi);
    spec
}
