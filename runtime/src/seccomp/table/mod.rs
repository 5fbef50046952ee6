//! Numbers of system calls by architecture.

mod aarch64;
mod x32;
mod x86;
mod x86_64;

use oci_spec::runtime::Arch as Name;

/// An architecture that a process of some machine can make system calls by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arch {
    /// x86_64
    X86_64,
    /// 32-bit x86
    X86,
    /// x86_64 with 32-bit pointers: x86_64's audit number, and a bit in the call's.
    X32,
    /// 64-bit ARM
    Aarch64,
}

/// `__X32_SYSCALL_BIT`
pub const X32_BIT: u32 = 0x4000_0000;

impl Arch {
    /// This machine's.
    #[cfg(target_arch = "x86_64")]
    pub const NATIVE: Arch = Arch::X86_64;
    /// This machine's.
    #[cfg(target_arch = "aarch64")]
    pub const NATIVE: Arch = Arch::Aarch64;

    /// What a profile calls it; `None` for one that is not built in.
    pub fn from_name(name: Name, native: Arch) -> Option<Arch> {
        match name {
            Name::ScmpArchNative => Some(native),
            Name::ScmpArchX86_64 => Some(Arch::X86_64),
            Name::ScmpArchX86 => Some(Arch::X86),
            Name::ScmpArchX32 => Some(Arch::X32),
            Name::ScmpArchAarch64 => Some(Arch::Aarch64),
            _ => None,
        }
    }

    /// What profiles call those that are built in for a machine whose own architecture is
    /// `native`.
    pub fn names(native: Arch) -> &'static [&'static str] {
        match native {
            Arch::Aarch64 => &["SCMP_ARCH_AARCH64"],
            _ => &["SCMP_ARCH_X32", "SCMP_ARCH_X86", "SCMP_ARCH_X86_64"],
        }
    }

    /// Whether a machine whose own architecture is `native` may run it, though it is not built in.
    pub fn is_missing(name: Name, native: Arch) -> bool {
        native == Arch::Aarch64 && name == Name::ScmpArchArm
    }

    /// Whether a machine whose own architecture is `native` can run it.
    pub fn runs_on(self, native: Arch) -> bool {
        self == native || (native == Arch::X86_64 && matches!(self, Arch::X86 | Arch::X32))
    }

    /// `AUDIT_ARCH_*`, as `seccomp_data.arch` has it.
    pub fn audit(self) -> u32 {
        match self {
            Arch::X86_64 | Arch::X32 => 0xc000_003e,
            Arch::X86 => 0x4000_0003,
            Arch::Aarch64 => 0xc000_00b7,
        }
    }

    /// Arguments have 32 bits.
    pub fn is_32_bit(self) -> bool {
        self == Arch::X86
    }

    /// The numbers of this architecture's calls start here.
    pub fn base(self) -> u32 {
        if self == Arch::X32 { X32_BIT } else { 0 }
    }

    /// The number of a call, as `seccomp_data.nr` has it; `None` when there is no such call here.
    pub fn number(self, name: &str) -> Option<u32> {
        let table = self.table();
        let at = table.binary_search_by(|(other, _)| (*other).cmp(name)).ok()?;
        Some(table[at].1 + self.base())
    }

    /// The highest number that this release knows.
    pub fn last(self) -> u32 {
        self.table().iter().map(|(_, number)| number).max().map_or(0, |max| max + self.base())
    }

    /// Names and numbers, in the order of the names.
    pub fn table(self) -> &'static [(&'static str, u32)] {
        match self {
            Arch::X86_64 => x86_64::TABLE,
            Arch::X86 => x86::TABLE,
            Arch::X32 => x32::TABLE,
            Arch::Aarch64 => aarch64::TABLE,
        }
    }
}
