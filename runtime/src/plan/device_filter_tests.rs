use super::*;

/// Runs a program as the kernel would, over the context `[access_type, major, minor]`.
fn run(program: &[u8], ctx: [u32; 3]) -> u64 {
    let insns: Vec<&[u8]> = program.chunks_exact(8).collect();
    let mut regs = [0u64; 11];
    let mut at = 0usize;
    loop {
        let insn = insns[at];
        let (dst, src) = (usize::from(insn[1] & 15), usize::from(insn[1] >> 4));
        let off = i16::from_ne_bytes([insn[2], insn[3]]);
        let imm = i32::from_ne_bytes([insn[4], insn[5], insn[6], insn[7]]);
        let wide = i64::from(imm) as u64;
        at += 1;
        let jump = match insn[0] {
            LOAD => {
                assert_eq!(src, usize::from(CTX));
                regs[dst] = u64::from(ctx[usize::try_from(off).unwrap() / 4]);
                false
            }
            COPY => {
                regs[dst] = regs[src];
                false
            }
            SET => {
                regs[dst] = wide;
                false
            }
            AND => {
                regs[dst] &= wide;
                false
            }
            SHIFT => {
                regs[dst] >>= wide;
                false
            }
            UNLESS => regs[dst] != wide,
            UNLESS_REG => regs[dst] != regs[src],
            IF => regs[dst] == wide,
            EXIT => return regs[0],
            other => panic!("instruction {other:#x}"),
        };
        if jump {
            assert!(off > 0, "the kernel's verifier of old refuses loops");
            at += usize::try_from(off).unwrap();
        }
    }
}

fn allowed(program: &[u8], kind: Type, access: Access, major: u32, minor: u32) -> bool {
    run(program, [kind as u32 | u32::from(access.0) << 16, major, minor]) == 1
}

fn rule(kind: Type, major: Option<u32>, minor: Option<u32>, access: &str) -> Rule {
    Rule { kind, major, minor, access: Access::parse(access).unwrap() }
}

#[test]
fn what_is_not_listed_is_denied_and_a_listed_access_must_be_listed_whole() {
    let rules = [
        rule(Type::Char, None, None, "m"),
        rule(Type::Char, Some(1), Some(3), "rw"),
        rule(Type::Char, Some(136), None, "rwm"),
        rule(Type::Block, Some(8), Some(1), "r"),
    ];
    let program = assemble(false, &rules);
    let access = |text| Access::parse(text).unwrap();
    for (kind, acc, major, minor, expected) in [
        (Type::Char, "m", 42, 7, true),
        (Type::Char, "r", 42, 7, false),
        (Type::Char, "rw", 1, 3, true),
        (Type::Char, "rwm", 1, 3, false),
        (Type::Char, "r", 1, 5, false),
        (Type::Char, "rwm", 136, 99, true),
        (Type::Char, "rw", 136, 0xfffff, true),
        (Type::Block, "rw", 136, 0, false),
        (Type::Block, "m", 8, 1, false),
        (Type::Block, "r", 8, 1, true),
        (Type::Block, "rw", 8, 1, false),
    ] {
        let got = allowed(&program, kind, access(acc), major, minor);
        assert_eq!(got, expected, "{kind:?} {major}:{minor} {acc}");
    }
}

#[test]
fn an_exception_that_denies_holds_for_any_bit_of_the_access() {
    let program = assemble(true, &[rule(Type::Block, Some(8), None, "w")]);
    let access = |text| Access::parse(text).unwrap();
    assert!(allowed(&program, Type::Block, access("r"), 8, 0));
    assert!(!allowed(&program, Type::Block, access("w"), 8, 0));
    assert!(!allowed(&program, Type::Block, access("rw"), 8, 16));
    assert!(allowed(&program, Type::Block, access("rw"), 9, 0));
    assert!(allowed(&program, Type::Char, access("w"), 8, 0));
}

#[test]
fn rules_read_as_v1_writes_them() {
    assert_eq!(rule(Type::Char, Some(1), None, "mr").to_string(), "c 1:* rm");
    assert_eq!(rule(Type::Block, None, None, "rwm").to_string(), "b *:* rwm");
    assert_eq!(Access::parse("rx"), None);
}
