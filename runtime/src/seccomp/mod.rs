//! Seccomp: from a profile of the configuration to a filter for the kernel.
//!
//! Our own compiler, because `seccompiler` makes a filter for one architecture with one action
//! for all that matches, and a profile has several of both. The outcome is a binary search over
//! ranges of numbers; the kernel (5.11 and later) tries each number once when a filter is loaded
//! and remembers what is allowed whatever the arguments, so that most calls run no filter at all.

mod bpf;
mod default;
#[cfg(fuzzing)]
mod fuzzing;
#[cfg(any(test, fuzzing))]
#[allow(clippy::indexing_slicing, clippy::panic, reason = "a broken filter is the claim")]
mod interpreter;
mod listener;
mod policy;
mod table;
#[cfg(test)]
mod tests;

pub use default::runtime_default;
#[cfg(fuzzing)]
pub use fuzzing::is_as_the_profile_says;
pub use table::Arch;

use crate::plan::Seccomp;
use crate::{Error, Kind, Result};
use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompFilterFlag as Flag};

/// Compiles a profile for a machine whose own architecture is `native`.
///
/// - Rules of a call are tried in the profile's order; the first whose conditions all hold
///   decides, else the default action. Two conditions on the same argument are alternatives, as
///   runc has it.
/// - Names that an architecture does not have are passed over, as libseccomp does.
/// - Calls of an architecture that the profile does not list, or that is not built in, kill the
///   process; of the latter [`warnings`] tells.
/// - Numbers above all that this release knows get ENOSYS where the default action is an errno:
///   programs that try a new call and fall back look for that.
/// - What is known of the container is not in [`Seccomp::listener`] yet.
///
/// # Errors
/// `Invalid`: an action, flag or errno that does not fit, an argument index above 5, a filter of
/// more than 4096 instructions, a listener that nobody could be told of.
pub fn compile(profile: &LinuxSeccomp, native: Arch) -> Result<Seccomp> {
    let policy = policy::Policy::read(profile, native)?;
    let filter = bpf::assemble(&policy)?;
    let listener = listener::read(profile, &policy, native)?;
    Ok(Seccomp { filter, flags: flags(profile, listener.is_some())?, listener })
}

/// What to warn about: architectures of the profile that this machine may run and that are not
/// built in.
pub fn warnings(profile: &LinuxSeccomp, native: Arch) -> Vec<String> {
    let listed = profile.architectures().iter().flatten();
    let missing = listed.filter(|name| Arch::is_missing(**name, native));
    missing.map(|name| format!("{name} is not built in: its calls kill the process")).collect()
}

/// `SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV`, which kernels have since 5.19.
pub(crate) const WAIT_KILLABLE_RECV: u32 = 32;

fn flags(profile: &LinuxSeccomp, listens: bool) -> Result<u32> {
    // Without a word on flags, speculation is left alone: before Linux 5.16 a filter switched on
    // a mitigation that costs much and helps little.
    const SPEC_ALLOW: u32 = 4;
    const NEW_LISTENER: u32 = 8;
    let always = if listens { NEW_LISTENER } else { 0 };
    let Some(list) = profile.flags() else { return Ok(SPEC_ALLOW | always) };
    list.iter().try_fold(always, |flags, flag| {
        Ok(flags
            | match flag {
                // A container's process has one thread when its filter is loaded.
                Flag::SeccompFilterFlagTsync => 0,
                Flag::SeccompFilterFlagLog => 2,
                Flag::SeccompFilterFlagSpecAllow => SPEC_ALLOW,
                Flag::SeccompFilterFlagWaitKillableRecv if listens => WAIT_KILLABLE_RECV,
                Flag::SeccompFilterFlagWaitKillableRecv => {
                    let text = "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV needs SCMP_ACT_NOTIFY";
                    return Err(invalid(text));
                }
            })
    })
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(Kind::Invalid, message)
}
