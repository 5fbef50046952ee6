//! A filter, run: what tests and fuzzing compare the compiler with.

/// Runs a filter as the kernel would.
pub fn run(filter: &[u8], arch: u32, nr: u32, args: [u64; 6]) -> u32 {
    let mut data = Vec::from(nr.to_ne_bytes());
    data.extend(arch.to_ne_bytes());
    data.extend([0; 8]);
    data.extend(args.iter().flat_map(|arg| arg.to_ne_bytes()));
    let insns: Vec<&[u8]> = filter.chunks_exact(8).collect();
    let (mut at, mut acc) = (0usize, 0u32);
    loop {
        let insn = insns[at];
        let k = u32::from_ne_bytes([insn[4], insn[5], insn[6], insn[7]]);
        let (yes, no) = (usize::from(insn[2]), usize::from(insn[3]));
        at += 1;
        let jump = |holds: bool| if holds { yes } else { no };
        match u16::from_ne_bytes([insn[0], insn[1]]) {
            0x20 => {
                let k = k as usize;
                acc = u32::from_ne_bytes([data[k], data[k + 1], data[k + 2], data[k + 3]]);
            }
            0x54 => acc &= k,
            0x05 => at += k as usize,
            0x15 => at += jump(acc == k),
            0x25 => at += jump(acc > k),
            0x35 => at += jump(acc >= k),
            0x06 => return k,
            other => panic!("instruction {other:#x}"),
        }
    }
}
