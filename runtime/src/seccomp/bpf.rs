//! Classic BPF over `struct seccomp_data { int nr; u32 arch; u64 ip; u64 args[6]; }`.
//!
//! Code is put together from blocks that end in an answer on every way through them, so that a
//! block may stand anywhere.

use super::invalid;
use super::policy::{Condition, Part, Policy, Rule, SyscallRules, Test, ret};
use crate::Result;

/// One `struct sock_filter`.
#[derive(Clone, Copy, Debug)]
struct Insn {
    code: u16,
    yes: u8,
    no: u8,
    k: u32,
}

/// `BPF_LD | BPF_W | BPF_ABS`
const LOAD: u16 = 0x20;
/// `BPF_ALU | BPF_AND | BPF_K`
const AND: u16 = 0x54;
/// `BPF_JMP | BPF_JA`
const GO: u16 = 0x05;
/// `BPF_JMP | BPF_JEQ | BPF_K`
const EQUAL: u16 = 0x15;
/// `BPF_JMP | BPF_JGT | BPF_K`
const GREATER: u16 = 0x25;
/// `BPF_JMP | BPF_JGE | BPF_K`
const AT_LEAST: u16 = 0x35;
/// `BPF_RET | BPF_K`
const RETURN: u16 = 0x06;

/// `BPF_MAXINSNS`
const MAX: usize = 4096;

const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const ARGS: u32 = 16;

fn plain(code: u16, k: u32) -> Insn {
    Insn { code, yes: 0, no: 0, k }
}

/// The whole filter, as bytes.
pub fn assemble(policy: &Policy) -> Result<Vec<u8>> {
    let mut code = vec![plain(RETURN, ret::KILL_PROCESS)];
    for part in policy.parts.iter().rev() {
        let mut block = vec![plain(LOAD, NUMBER)];
        block.extend(search(&part.ranges, part));
        code = branch(EQUAL, part.audit, block, code);
    }
    code.insert(0, plain(LOAD, ARCH));
    if code.len() > MAX {
        return Err(invalid(format!("a filter of {} instructions: {MAX} is most", code.len())));
    }
    Ok(code.iter().flat_map(Insn::bytes).collect())
}

/// If the test holds then `yes`, else `no`. Conditional jumps reach 255 instructions, plain ones
/// anywhere.
fn branch(test: u16, k: u32, yes: Vec<Insn>, no: Vec<Insn>) -> Vec<Insn> {
    let mut code = match u8::try_from(yes.len()) {
        Ok(over) => vec![Insn { code: test, yes: 0, no: over, k }],
        Err(_) => {
            vec![Insn { code: test, yes: 1, no: 0, k }, plain(GO, yes.len() as u32)]
        }
    };
    code.extend(yes);
    code.extend(no);
    code
}

/// A binary search; the number is loaded.
fn search(ranges: &[(u32, SyscallRules)], part: &Part) -> Vec<Insn> {
    match ranges {
        [] => vec![plain(RETURN, ret::KILL_PROCESS)],
        [(_, fate)] => decide(fate, part.narrow),
        _ => {
            let (low, high) = ranges.split_at(ranges.len() / 2);
            branch(AT_LEAST, high[0].0, search(high, part), search(low, part))
        }
    }
}

/// The rules of one fate, then its answer.
fn decide(fate: &SyscallRules, narrow: bool) -> Vec<Insn> {
    let mut code: Vec<Insn> = fate.rules.iter().flat_map(|one| rule(one, narrow)).collect();
    code.push(plain(RETURN, fate.otherwise));
    code
}

/// Where a jump of a condition goes.
#[derive(Clone, Copy)]
enum To {
    /// The next instruction but so many.
    Over(u8),
    /// Behind the condition: it holds.
    Holds,
    /// Behind the rule: it does not.
    Fails,
}

/// Conditions that jump behind the rule where they fail, and an answer. Six conditions of at
/// most six instructions: every jump is short.
fn rule(rule: &Rule, narrow: bool) -> Vec<Insn> {
    let mut code = vec![plain(RETURN, rule.answer)];
    for one in rule.conditions.iter().rev() {
        let condition = condition(one, narrow);
        let (len, fails) = (condition.len(), condition.len() + code.len());
        let mut block: Vec<Insn> = Vec::with_capacity(fails);
        for (at, (code, k, jumps)) in condition.into_iter().enumerate() {
            let offset = |to| match to {
                To::Over(n) => n,
                To::Holds => (len - at - 1) as u8,
                To::Fails => (fails - at - 1) as u8,
            };
            let (yes, no) = jumps.map_or((0, 0), |(yes, no)| (offset(yes), offset(no)));
            block.push(Insn { code, yes, no, k });
        }
        block.extend(code);
        code = block;
    }
    code
}

/// An instruction whose jumps are not yet numbers.
type Draft = (u16, u32, Option<(To, To)>);

fn condition(one: &Condition, narrow: bool) -> Vec<Draft> {
    use To::{Fails, Holds, Over};
    let (low, high) = halves(one.index);
    let (value_low, value_high) = (one.value as u32, (one.value >> 32) as u32);
    let mut code = Vec::with_capacity(6);
    if !narrow {
        code.push((LOAD, high, None));
        match one.test {
            Test::Masked(mask) => {
                code.push((AND, (mask >> 32) as u32, None));
                code.push((EQUAL, value_high, Some((Over(0), Fails))));
            }
            Test::Equal => code.push((EQUAL, value_high, Some((Over(0), Fails)))),
            Test::NotEqual => code.push((EQUAL, value_high, Some((Over(0), Holds)))),
            Test::Greater | Test::GreaterOrEqual => {
                code.push((GREATER, value_high, Some((Holds, Over(0)))));
                code.push((EQUAL, value_high, Some((Over(0), Fails))));
            }
            Test::Less | Test::LessOrEqual => {
                code.push((GREATER, value_high, Some((Fails, Over(0)))));
                code.push((EQUAL, value_high, Some((Over(0), Holds))));
            }
        }
    }
    code.push((LOAD, low, None));
    if let Test::Masked(mask) = one.test {
        code.push((AND, mask as u32, None));
    }
    let (test, jumps) = match one.test {
        Test::Equal | Test::Masked(_) => (EQUAL, (Holds, Fails)),
        Test::NotEqual => (EQUAL, (Fails, Holds)),
        Test::Greater => (GREATER, (Holds, Fails)),
        Test::GreaterOrEqual => (AT_LEAST, (Holds, Fails)),
        Test::Less => (AT_LEAST, (Fails, Holds)),
        Test::LessOrEqual => (GREATER, (Fails, Holds)),
    };
    code.push((test, value_low, Some(jumps)));
    code
}

/// Offsets of an argument's lower and upper half.
fn halves(index: u8) -> (u32, u32) {
    let start = ARGS + 8 * u32::from(index);
    if cfg!(target_endian = "little") { (start, start + 4) } else { (start + 4, start) }
}

impl Insn {
    fn bytes(&self) -> [u8; 8] {
        let mut bytes = [0; 8];
        bytes[..2].copy_from_slice(&self.code.to_ne_bytes());
        bytes[2] = self.yes;
        bytes[3] = self.no;
        bytes[4..].copy_from_slice(&self.k.to_ne_bytes());
        bytes
    }
}
