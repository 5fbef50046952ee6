//! What the node changes in a configuration before it is planned.

use serde_json::Value;

/// The configuration that is planned, and shown in status. Whatever is to change what a client
/// asked for (NRI, CDI, a runtime handler) does it here: between the two values, with no hand in
/// how either is made. Nothing does yet.
pub(crate) fn adjust(spec: Value) -> Value {
    spec
}
