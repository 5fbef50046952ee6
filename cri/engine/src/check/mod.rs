//! What cannot be asked for: refused by name, before anything is done.
//!
//! A refusal is `Invalid` and says the field as the CRI spells it. What a field asks for is done,
//! refused here, or stands with its reason in the table of fields that the handlers are tested by.

mod container;
mod pod;
mod text;

pub(crate) use text::{PATH_MAX, length};

pub use container::{container, limits};
pub use pod::pod;

use crate::error::{Context, Error, Result};
use crate::handlers::{self, Handlers};
use crate::model::{NamespaceMode, UserNamespace};

/// Refuses a runtime handler that is not known.
///
/// # Errors
/// `Invalid`, with the name of the field.
pub fn handler(handlers: &Handlers, handler: &str, field: &str) -> Result<()> {
    handlers::find(handlers, handler).map(drop).context(|| field.to_owned())
}

/// Refuses user namespaces that make no sense, and those that the host's root is in.
fn check_userns(userns: &UserNamespace) -> Result<()> {
    if userns.mode != NamespaceMode::Pod {
        return Err(Error::invalid(format!(
            "userns_options: user namespace mode {:?}",
            userns.mode
        )));
    }
    for (name, ids) in [("uids", &userns.uids), ("gids", &userns.gids)] {
        match ids.as_slice() {
            [one] if one.container_id == 0 && one.length > 0 => {
                let beyond =
                    one.host_id.checked_add(one.length - 1).is_none_or(|id| id == u32::MAX);
                if one.host_id == 0 || beyond {
                    let message =
                        format!("userns_options: {name} from {}: not to be mapped", one.host_id);
                    return Err(Error::invalid(message));
                }
            }
            [_] => return Err(Error::invalid(format!("userns_options: {name} do not start at 0"))),
            _ => {
                let count = ids.len();
                let message = format!("userns_options: {name} have {count} mappings, not one");
                return Err(Error::invalid(message));
            }
        }
    }
    Ok(())
}
