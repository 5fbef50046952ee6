//! The device filter of cgroup v2: a BPF program of type `BPF_PROG_TYPE_CGROUP_DEVICE`, put
//! together by hand.
//!
//! The kernel calls it with `struct bpf_cgroup_dev_ctx { u32 access_type, major, minor }`, where
//! `access_type` has the type in its lower half and the access in its upper one, and lets the
//! access pass when it returns 1.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::{BitAndAssign, BitOrAssign, Not};

/// A type of device node, by its number in `bpf_cgroup_dev_ctx`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Type {
    /// `BPF_DEVCG_DEV_BLOCK`
    Block = 1,
    /// `BPF_DEVCG_DEV_CHAR`
    Char = 2,
}

/// What may be done with a device: bits of `BPF_DEVCG_ACC_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access(u8);

impl Access {
    /// Nothing.
    pub const NONE: Access = Access(0);
    /// Make a node of it.
    pub const MKNOD: Access = Access(1);
    /// Read it.
    pub const READ: Access = Access(2);
    /// Write it.
    pub const WRITE: Access = Access(4);
    /// All of these.
    pub const ALL: Access = Access(7);

    /// Reads `rwm` and its parts.
    pub fn parse(text: &str) -> Option<Access> {
        text.chars().try_fold(Access::NONE, |mut access, c| {
            access |= match c {
                'r' => Access::READ,
                'w' => Access::WRITE,
                'm' => Access::MKNOD,
                _ => return None,
            };
            Some(access)
        })
    }
}

impl BitOrAssign for Access {
    fn bitor_assign(&mut self, other: Access) {
        self.0 |= other.0;
    }
}

impl BitAndAssign for Access {
    fn bitand_assign(&mut self, other: Access) {
        self.0 &= other.0;
    }
}

impl Not for Access {
    type Output = Access;

    fn not(self) -> Access {
        Access(!self.0 & Access::ALL.0)
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (bit, name) in [(Access::READ, "r"), (Access::WRITE, "w"), (Access::MKNOD, "m")] {
            if self.0 & bit.0 != 0 {
                f.write_str(name)?;
            }
        }
        Ok(())
    }
}

/// Some devices and what may be done with them, or may not. Shown as v1 reads it: `c 1:3 rwm`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Character or block.
    pub kind: Type,
    /// Major number; `None` is every.
    pub major: Option<u32>,
    /// Minor number; `None` is every.
    pub minor: Option<u32>,
    /// The access.
    pub access: Access,
}

impl Rule {
    /// Both are about the same devices.
    pub fn same_devices(&self, other: &Rule) -> bool {
        (self.kind, self.major, self.minor) == (other.kind, other.major, other.minor)
    }

    /// Some access to some device is in both.
    pub fn overlaps(&self, other: &Rule) -> bool {
        let meet = |a: Option<u32>, b: Option<u32>| a.is_none() || b.is_none() || a == b;
        self.kind == other.kind
            && self.access.0 & other.access.0 != 0
            && meet(self.major, other.major)
            && meet(self.minor, other.minor)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Type::Block => 'b',
            Type::Char => 'c',
        };
        let number = |n: Option<u32>| n.map_or_else(|| "*".to_owned(), |n| n.to_string());
        write!(f, "{kind} {}:{} {}", number(self.major), number(self.minor), self.access)
    }
}

/// One `struct bpf_insn`.
struct Insn {
    code: u8,
    dst: u8,
    src: u8,
    off: i16,
    imm: i32,
}

impl Insn {
    fn bytes(&self) -> [u8; 8] {
        let mut bytes = [0; 8];
        bytes[0] = self.code;
        // Two fields of four bits; bit fields fill from the low end on a little-endian machine.
        bytes[1] = if cfg!(target_endian = "little") {
            self.src << 4 | self.dst
        } else {
            self.dst << 4 | self.src
        };
        bytes[2..4].copy_from_slice(&self.off.to_ne_bytes());
        bytes[4..8].copy_from_slice(&self.imm.to_ne_bytes());
        bytes
    }
}

/// `BPF_LDX | BPF_W | BPF_MEM`
const LOAD: u8 = 0x61;
/// `BPF_ALU64 | BPF_MOV | BPF_X`
const COPY: u8 = 0xbf;
/// `BPF_ALU64 | BPF_MOV | BPF_K`
const SET: u8 = 0xb7;
/// `BPF_ALU64 | BPF_AND | BPF_K`
const AND: u8 = 0x57;
/// `BPF_ALU64 | BPF_RSH | BPF_K`
const SHIFT: u8 = 0x77;
/// `BPF_JMP | BPF_JNE | BPF_K`
const UNLESS: u8 = 0x55;
/// `BPF_JMP | BPF_JNE | BPF_X`
const UNLESS_REG: u8 = 0x5d;
/// `BPF_JMP | BPF_JEQ | BPF_K`
const IF: u8 = 0x15;
/// `BPF_JMP | BPF_EXIT`
const EXIT: u8 = 0x95;

const RESULT: u8 = 0;
const CTX: u8 = 1;
const KIND: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
const SCRATCH: u8 = 6;

/// A program that answers `allow` to everything but `exceptions`. An exception that allows must
/// hold every bit of the access; one that denies, any of them.
pub fn assemble(allow: bool, exceptions: &[Rule]) -> Vec<u8> {
    let mut program = vec![
        Insn { code: LOAD, dst: KIND, src: CTX, off: 0, imm: 0 },
        Insn { code: COPY, dst: ACCESS, src: KIND, off: 0, imm: 0 },
        Insn { code: AND, dst: KIND, src: 0, off: 0, imm: 0xffff },
        Insn { code: SHIFT, dst: ACCESS, src: 0, off: 0, imm: 16 },
        Insn { code: LOAD, dst: MAJOR, src: CTX, off: 4, imm: 0 },
        Insn { code: LOAD, dst: MINOR, src: CTX, off: 8, imm: 0 },
    ];
    for rule in exceptions {
        program.extend(exception(!allow, rule));
    }
    program.extend(answer(allow));
    program.iter().flat_map(Insn::bytes).collect()
}

fn answer(allow: bool) -> [Insn; 2] {
    [
        Insn { code: SET, dst: RESULT, src: 0, off: 0, imm: i32::from(allow) },
        Insn { code: EXIT, dst: 0, src: 0, off: 0, imm: 0 },
    ]
}

/// Tests that jump behind the block where they fail, and an answer.
fn exception(allow: bool, rule: &Rule) -> Vec<Insn> {
    let unless = |dst, imm| Insn { code: UNLESS, dst, src: 0, off: 0, imm };
    let mut block = vec![unless(KIND, rule.kind as i32)];
    if rule.access != Access::ALL {
        let bits = i32::from(rule.access.0);
        block.push(Insn { code: COPY, dst: SCRATCH, src: ACCESS, off: 0, imm: 0 });
        block.push(Insn { code: AND, dst: SCRATCH, src: 0, off: 0, imm: bits });
        block.push(match allow {
            true => Insn { code: UNLESS_REG, dst: SCRATCH, src: ACCESS, off: 0, imm: 0 },
            false => Insn { code: IF, dst: SCRATCH, src: 0, off: 0, imm: 0 },
        });
    }
    // Checked numbers: below 2^20.
    block.extend(rule.major.map(|n| unless(MAJOR, n as i32)));
    block.extend(rule.minor.map(|n| unless(MINOR, n as i32)));
    block.extend(answer(allow));
    let end = block.len();
    for (at, insn) in block.iter_mut().enumerate() {
        if matches!(insn.code, UNLESS | UNLESS_REG | IF) {
            // At most nine instructions.
            insn.off = (end - at - 1) as i16;
        }
    }
    block
}

#[cfg(test)]
#[path = "device_filter_tests.rs"]
mod tests;
