//! Signals: the enum of the wire and the numbers of signal(7).

use rrun_cri_api::v1;
use rrun_engine::{Error, Result};

/// Numbers in the order of the enum, up to the real-time signals, which follow in a row.
const NUMBERS: [i32; 35] = [
    0, 6, 14, 7, 17, 17, 18, 8, 1, 4, 2, 29, 6, 9, 13, 29, 27, 30, 3, 11, 16, 19, 31, 15, 5, 20,
    21, 22, 23, 10, 12, 26, 28, 24, 25,
];

/// The number of a signal that a client asks for; `None` for the runtime's default.
pub fn asked(signal: i32) -> Result<Option<i32>> {
    match (signal, number(signal)) {
        (0, _) => Ok(None),
        (_, None) => Err(Error::invalid(format!("stop signal {signal} is unknown"))),
        (_, some) => Ok(some),
    }
}

fn number(signal: i32) -> Option<i32> {
    match usize::try_from(signal).ok()? {
        0 => None,
        at @ 1..35 => NUMBERS.get(at).copied(),
        35..=65 => Some(signal - 1),
        _ => None,
    }
}

/// The signal of the wire with this number.
pub fn wire(number: i32) -> i32 {
    let named = NUMBERS.iter().position(|other| *other == number);
    match named {
        Some(at) => at as i32,
        None if (34..=64).contains(&number) => number + 1,
        None => v1::Signal::RuntimeDefault as i32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signal_of_the_wire_has_the_number_its_name_says() {
        for value in 1..=65 {
            let name = v1::Signal::try_from(value).unwrap().as_str_name();
            let expected = match name {
                "SIGCLD" => libc_number("SIGCHLD"),
                "SIGIOT" => libc_number("SIGABRT"),
                "SIGPOLL" => libc_number("SIGIO"),
                _ => libc_number(name),
            };
            assert_eq!(number(value), Some(expected), "{name}");
            let back = v1::Signal::try_from(wire(expected)).unwrap().as_str_name();
            assert_eq!(number(wire(expected)), Some(expected), "{name} came back as {back}");
        }
        assert_eq!(asked(0), Ok(None));
        assert_eq!(asked(14), Ok(Some(13)));
        for nonsense in [-1, 66, 99] {
            let refused = asked(nonsense).unwrap_err().to_string();
            assert_eq!(refused, format!("stop signal {nonsense} is unknown"));
        }
    }

    fn libc_number(name: &str) -> i32 {
        let part = |prefix: &str| name.strip_prefix(prefix).map(|n| n.parse::<i32>().unwrap_or(0));
        if let Some(n) = part("SIGRTMINPLUS").or(part("SIGRTMIN")) {
            return 34 + n;
        }
        if let Some(n) = part("SIGRTMAXMINUS").or(part("SIGRTMAX")) {
            return 64 - n;
        }
        let all = [
            "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV",
            "USR2", "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN",
            "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
        ];
        1 + all.iter().position(|other| name == format!("SIG{other}")).unwrap() as i32
    }
}
