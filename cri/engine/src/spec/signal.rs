//! Names of signals, as images spell them.

use crate::error::{Error, Result};
use nix::sys::signal::Signal;
use std::str::FromStr;

/// glibc keeps 32 and 33 for itself.
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

/// The number of a stop signal: the client's, else the image's, else SIGTERM.
pub(crate) fn stop_signal(asked: Option<i32>, image: &str) -> Result<i32> {
    match asked {
        Some(number) if (1..=RTMAX).contains(&number) => Ok(number),
        Some(number) => Err(Error::invalid(format!("stop signal {number}"))),
        None if image.is_empty() => Ok(Signal::SIGTERM as i32),
        None => number(image)
            .ok_or_else(|| Error::invalid(format!("stop signal {image:?} of the image"))),
    }
}

/// `15`, `TERM`, `SIGTERM`, `SIGRTMIN+3`, `RTMAX-1`.
fn number(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (1..=RTMAX).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let number = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX"), name) {
        (Some(""), _, _) => RTMIN,
        (Some(plus), _, _) => RTMIN + plus.strip_prefix('+')?.parse::<u8>().map(i32::from).ok()?,
        (_, Some(""), _) => RTMAX,
        (_, Some(minus), _) => {
            RTMAX - minus.strip_prefix('-')?.parse::<u8>().map(i32::from).ok()?
        }
        (_, _, "CLD") => Signal::SIGCHLD as i32,
        (_, _, "IOT") => Signal::SIGABRT as i32,
        (_, _, "POLL") => Signal::SIGIO as i32,
        _ => Signal::from_str(&format!("SIG{name}")).ok()? as i32,
    };
    (1..=RTMAX).contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_known_by_all_its_spellings() {
        for (text, expected) in [
            ("15", Some(15)),
            ("SIGTERM", Some(15)),
            ("term", Some(15)),
            ("SIGQUIT", Some(3)),
            ("SIGRTMIN", Some(34)),
            ("SIGRTMIN+3", Some(37)),
            ("RTMAX-1", Some(63)),
            ("SIGRTMAX", Some(64)),
            ("SIGCLD", Some(17)),
            ("SIGPOLL", Some(29)),
            ("SIGRTMIN+31", None),
            ("SIGRTMAX-64", None),
            ("0", None),
            ("65", None),
            ("SIGNOPE", None),
            ("", None),
        ] {
            assert_eq!(number(text), expected, "{text:?}");
        }
    }

    #[test]
    fn the_client_goes_before_the_image_and_both_before_sigterm() {
        assert_eq!(stop_signal(Some(2), "SIGQUIT").unwrap(), 2);
        assert_eq!(stop_signal(None, "SIGQUIT").unwrap(), 3);
        assert_eq!(stop_signal(None, "").unwrap(), 15);
        assert!(stop_signal(None, "SIGNOPE").is_err());
        assert!(stop_signal(Some(99), "").is_err());
    }
}
