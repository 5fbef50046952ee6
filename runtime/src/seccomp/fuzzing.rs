//! A compiled filter beside what its profile says, read in another way.

use super::interpreter::run;
use super::{Arch, compile};
use oci_spec::runtime::{
    LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompArg, LinuxSeccompOperator as Operator,
    LinuxSyscall,
};

/// Compares them for every call that the profile names, with arguments around those that it names.
pub fn is_as_the_profile_says(profile: &LinuxSeccomp) {
    let Ok(compiled) = compile(profile, Arch::X86_64) else { return };
    let entries = || profile.syscalls().iter().flatten();
    let mut values = vec![0, u64::MAX];
    for arg in entries().flat_map(|entry| entry.args().iter().flatten()).take(6) {
        let value = arg.value_two().unwrap_or(0);
        for near in [arg.value(), value] {
            values.extend([near, near.wrapping_add(1), near.wrapping_sub(1), near ^ (1 << 32)]);
        }
    }
    for name in entries().flat_map(LinuxSyscall::names).take(16) {
        let Some(number) = Arch::X86_64.number(name) else { continue };
        for (at, first) in values.iter().enumerate() {
            let other = values.get(values.len() - 1 - at).copied().unwrap_or(0);
            let args = [*first, other, *first, other, *first, other];
            let got = run(&compiled.filter, Arch::X86_64.audit(), number, args);
            assert_eq!(got, expected(profile, name, args), "{name} {args:?}");
        }
    }
}

fn expected(profile: &LinuxSeccomp, name: &str, args: [u64; 6]) -> u32 {
    for entry in profile.syscalls().iter().flatten() {
        if entry.names().iter().any(|one| one == name) && holds(entry, args) {
            return answer(entry.action(), entry.errno_ret());
        }
    }
    answer(profile.default_action(), profile.default_errno_ret())
}

/// All of its conditions; any, where two are about one argument.
fn holds(entry: &LinuxSyscall, args: [u64; 6]) -> bool {
    let conditions: Vec<&LinuxSeccompArg> = entry.args().iter().flatten().collect();
    let mut indices: Vec<usize> = conditions.iter().map(|one| one.index()).collect();
    indices.sort_unstable();
    indices.dedup();
    let one = |condition: &&LinuxSeccompArg| {
        let arg = args.get(condition.index()).copied().unwrap_or_default();
        let value = condition.value();
        match condition.op() {
            Operator::ScmpCmpNe => arg != value,
            Operator::ScmpCmpLt => arg < value,
            Operator::ScmpCmpLe => arg <= value,
            Operator::ScmpCmpEq => arg == value,
            Operator::ScmpCmpGe => arg >= value,
            Operator::ScmpCmpGt => arg > value,
            Operator::ScmpCmpMaskedEq => arg & value == condition.value_two().unwrap_or(0),
        }
    };
    match indices.len() == conditions.len() {
        true => conditions.iter().all(one),
        false => conditions.iter().any(one),
    }
}

fn answer(action: Action, errno: Option<u32>) -> u32 {
    match action {
        Action::ScmpActKill | Action::ScmpActKillThread => 0,
        Action::ScmpActKillProcess => 0x8000_0000,
        Action::ScmpActTrap => 0x0003_0000,
        Action::ScmpActErrno => 0x0005_0000 | errno.unwrap_or(1),
        Action::ScmpActTrace => 0x7ff0_0000 | errno.unwrap_or(1),
        Action::ScmpActLog => 0x7ffc_0000,
        Action::ScmpActNotify => 0x7fc0_0000,
        Action::ScmpActAllow => 0x7fff_0000,
    }
}
