//! A profile, read: for each architecture, what happens to each number.

use super::invalid;
use super::table::{Arch, X32_BIT};
use crate::Result;
use oci_spec::runtime::{
    LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompArg, LinuxSeccompOperator as Operator,
    LinuxSyscall,
};
use std::collections::BTreeMap;

/// The kernel's answers: `include/uapi/linux/seccomp.h`.
pub mod ret {
    pub const KILL_PROCESS: u32 = 0x8000_0000;
    pub const KILL_THREAD: u32 = 0;
    pub const TRAP: u32 = 0x0003_0000;
    pub const ERRNO: u32 = 0x0005_0000;
    pub const TRACE: u32 = 0x7ff0_0000;
    pub const NOTIFY: u32 = 0x7fc0_0000;
    pub const LOG: u32 = 0x7ffc_0000;
    pub const ALLOW: u32 = 0x7fff_0000;
}

/// A profile for one machine.
#[derive(Debug)]
pub struct Policy {
    /// One part for each audit architecture.
    pub parts: Vec<Part>,
}

/// What happens to the calls of one audit architecture.
#[derive(Debug)]
pub struct Part {
    /// `AUDIT_ARCH_*`
    pub audit: u32,
    /// Compare the lower halves of arguments only.
    pub narrow: bool,
    /// From this number up to the next: the ranges cover every number, and the first starts at 0.
    pub ranges: Vec<(u32, SyscallRules)>,
}

/// What happens to a call: the rules in order, then the answer when none matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyscallRules {
    pub rules: Vec<Rule>,
    pub otherwise: u32,
}

/// An answer when all conditions hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub conditions: Vec<Condition>,
    pub answer: u32,
}

/// One comparison of one argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Condition {
    pub index: u8,
    pub test: Test,
    pub value: u64,
}

/// A comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Test {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    /// The argument under this mask is equal.
    Masked(u64),
}

impl Policy {
    /// Reads a profile.
    pub fn read(profile: &LinuxSeccomp, native: Arch) -> Result<Policy> {
        let default = answer(profile.default_action(), profile.default_errno_ret())?;
        let mut archs = vec![native];
        for name in profile.architectures().iter().flatten() {
            let arch = Arch::from_name(*name, native).filter(|arch| arch.runs_on(native));
            // Profiles list the architectures of all machines: no call comes by one that this
            // machine does not run. One that it runs and that is not built in is told by
            // [`super::warnings`]; its calls kill the process.
            if let Some(arch) = arch.filter(|arch| !archs.contains(arch)) {
                archs.push(arch);
            }
        }
        let mut parts: Vec<Part> = Vec::new();
        for arch in archs.iter().filter(|arch| **arch != Arch::X32) {
            let mut numbers = Numbers::new(*arch, default);
            numbers.read(profile, *arch)?;
            if *arch == Arch::X86_64 {
                numbers.x32(profile, archs.contains(&Arch::X32), default)?;
            }
            parts.push(Part {
                audit: arch.audit(),
                narrow: arch.is_32_bit(),
                ranges: numbers.ranges(),
            });
        }
        Ok(Policy { parts })
    }

    /// All that a call of an architecture may get, whatever its arguments.
    pub fn answers(&self, audit: u32, number: u32) -> Vec<u32> {
        let part = self.parts.iter().find(|part| part.audit == audit);
        let ranges = part.map(|part| part.ranges.as_slice()).unwrap_or_default();
        let fate = ranges.iter().rev().find(|(start, _)| *start <= number).map(|(_, fate)| fate);
        let rules = fate.iter().flat_map(|fate| &fate.rules).map(|rule| rule.answer);
        rules.chain(fate.map(|fate| fate.otherwise)).collect()
    }
}

/// What happens to single numbers, and from where on to all that are not listed.
struct Numbers {
    listed: BTreeMap<u32, Vec<Rule>>,
    /// Start of a range and the answer in it; starts at 0.
    otherwise: BTreeMap<u32, u32>,
    default: u32,
}

impl Numbers {
    fn new(arch: Arch, default: u32) -> Numbers {
        let otherwise = BTreeMap::from([(0, default), (arch.last() + 1, beyond(default))]);
        Numbers { listed: BTreeMap::new(), otherwise, default }
    }

    /// The numbers of x32 are x86_64's with a bit: unlisted as a whole they are another
    /// architecture's. With the top bit set (a tracer skips a call by -1) they are nobody's.
    fn x32(&mut self, profile: &LinuxSeccomp, listed: bool, default: u32) -> Result<()> {
        self.otherwise.insert(X32_BIT, if listed { default } else { ret::KILL_PROCESS });
        self.otherwise.insert(X32_BIT << 1, beyond(default));
        if listed {
            self.otherwise.insert(Arch::X32.last() + 1, beyond(default));
            self.read(profile, Arch::X32)?;
        }
        Ok(())
    }

    fn read(&mut self, profile: &LinuxSeccomp, arch: Arch) -> Result<()> {
        for entry in profile.syscalls().iter().flatten() {
            let rules = rules(entry)?;
            for name in entry.names() {
                if let Some(number) = arch.number(name) {
                    self.listed.entry(number).or_default().extend(rules.iter().cloned());
                }
            }
        }
        Ok(())
    }

    /// Neighbours with the same fate become one range.
    fn ranges(self) -> Vec<(u32, SyscallRules)> {
        let plain = |otherwise| SyscallRules { rules: Vec::new(), otherwise };
        let mut fates: BTreeMap<u32, SyscallRules> =
            self.otherwise.iter().map(|(start, answer)| (*start, plain(*answer))).collect();
        for (number, rules) in self.listed {
            if !self.otherwise.contains_key(&(number + 1)) {
                let (_, answer) =
                    self.otherwise.range(..=number).next_back().unwrap_or((&0, &self.default));
                fates.insert(number + 1, plain(*answer));
            }
            fates.insert(number, settle(rules, self.default));
        }
        let mut ranges: Vec<(u32, SyscallRules)> = Vec::new();
        for (start, fate) in fates {
            if ranges.last().is_none_or(|(_, last)| *last != fate) {
                ranges.push((start, fate));
            }
        }
        ranges
    }
}

/// An unconditional rule is the end of its call's list.
fn settle(mut rules: Vec<Rule>, default: u32) -> SyscallRules {
    match rules.iter().position(|rule| rule.conditions.is_empty()) {
        Some(at) => {
            let otherwise = rules[at].answer;
            rules.truncate(at);
            SyscallRules { rules, otherwise }
        }
        None => SyscallRules { rules, otherwise: default },
    }
}

/// The answer to calls that nobody knows yet.
fn beyond(default: u32) -> u32 {
    if default & 0xffff_0000 == ret::ERRNO { ret::ERRNO | libc::ENOSYS as u32 } else { default }
}

fn rules(entry: &LinuxSyscall) -> Result<Vec<Rule>> {
    let name = entry.names().first().map_or("", String::as_str);
    let answer = answer(entry.action(), entry.errno_ret())
        .map_err(|error| error.context(format!("the rule of {name}")))?;
    let mut conditions = Vec::new();
    for arg in entry.args().iter().flatten() {
        conditions.push(condition(arg).map_err(|e| e.context(format!("the rule of {name}")))?);
    }
    let twice = |at: usize, c: &Condition| conditions[..at].iter().any(|o| o.index == c.index);
    if conditions.iter().enumerate().any(|(at, c)| twice(at, c)) {
        let one = |c| Rule { conditions: vec![c], answer };
        return Ok(conditions.iter().copied().map(one).collect());
    }
    Ok(vec![Rule { conditions, answer }])
}

fn condition(arg: &LinuxSeccompArg) -> Result<Condition> {
    let index = u8::try_from(arg.index()).ok().filter(|index| *index < 6);
    let index = index.ok_or_else(|| invalid(format!("no argument {}", arg.index())))?;
    let value = arg.value();
    let (test, value) = match arg.op() {
        Operator::ScmpCmpNe => (Test::NotEqual, value),
        Operator::ScmpCmpLt => (Test::Less, value),
        Operator::ScmpCmpLe => (Test::LessOrEqual, value),
        Operator::ScmpCmpEq => (Test::Equal, value),
        Operator::ScmpCmpGe => (Test::GreaterOrEqual, value),
        Operator::ScmpCmpGt => (Test::Greater, value),
        Operator::ScmpCmpMaskedEq => (Test::Masked(value), arg.value_two().unwrap_or(0)),
    };
    Ok(Condition { index, test, value })
}

fn answer(action: Action, errno: Option<u32>) -> Result<u32> {
    let coded = |base: u32| match errno.unwrap_or(libc::EPERM as u32) {
        // The kernel takes no more for an errno.
        code @ 0..=4095 => Ok(base | code),
        code => Err(invalid(format!("errno {code} is above 4095"))),
    };
    let answer = match action {
        Action::ScmpActErrno => return coded(ret::ERRNO),
        Action::ScmpActTrace => return coded(ret::TRACE),
        Action::ScmpActKill | Action::ScmpActKillThread => ret::KILL_THREAD,
        Action::ScmpActKillProcess => ret::KILL_PROCESS,
        Action::ScmpActTrap => ret::TRAP,
        Action::ScmpActLog => ret::LOG,
        Action::ScmpActAllow => ret::ALLOW,
        Action::ScmpActNotify => ret::NOTIFY,
    };
    match errno {
        // runtime-spec: an action that has no errno must not be given one.
        Some(_) => Err(invalid(format!("{action:?} takes no errnoRet"))),
        None => Ok(answer),
    }
}
