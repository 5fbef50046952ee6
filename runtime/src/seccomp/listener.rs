//! Who answers the calls that a profile leaves to somebody.

use super::invalid;
use super::policy::{Policy, ret};
use super::table::Arch;
use crate::Result;
use crate::plan::Listener;
use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction as Action};

/// The call by which a process sends the descriptor that others answer its calls with. Nobody has it
/// yet, so nobody could answer this one.
const SENDS: &str = "sendmsg";

/// `None` where no call is left to anybody, whatever path is named.
pub(super) fn read(
    profile: &LinuxSeccomp,
    policy: &Policy,
    native: Arch,
) -> Result<Option<Listener>> {
    let path = profile.listener_path().as_ref().filter(|path| !path.as_os_str().is_empty());
    let metadata = profile.listener_metadata().clone().filter(|metadata| !metadata.is_empty());
    if metadata.is_some() && path.is_none() {
        return Err(invalid("listenerMetadata goes with listenerPath"));
    }
    let rules = profile.syscalls().iter().flatten().map(|rule| rule.action());
    if !rules.chain([profile.default_action()]).any(|action| action == Action::ScmpActNotify) {
        return Ok(None);
    }
    let path = path.ok_or_else(|| invalid("SCMP_ACT_NOTIFY needs listenerPath"))?;
    let path = path.to_str().filter(|path| path.starts_with('/') && !path.contains('\0'));
    let path = path.ok_or_else(|| invalid("listenerPath is not absolute"))?.to_owned();
    let number = native.number(SENDS);
    if number.is_some_and(|number| policy.answers(native.audit(), number).contains(&ret::NOTIFY)) {
        let text = format!("SCMP_ACT_NOTIFY of {SENDS}: the listener itself is sent by it");
        return Err(invalid(text));
    }
    Ok(Some(Listener { path, metadata, ..Listener::default() }))
}
