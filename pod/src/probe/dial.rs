//! Connections that are not made, in Go's words: they are what users of the kubelet read and look
//! for.

use std::io;

use nix::errno::Errno;

/// A host and a port as `net.JoinHostPort` writes them.
pub fn place(host: &str, port: u16) -> String {
    if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// What `net.Dial` says: `dial tcp 10.0.0.1:80: connect: connection refused`.
pub fn failure(place: &str, error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(errno) => {
            let words = Errno::from_raw(errno).desc().to_ascii_lowercase();
            format!("dial tcp {place}: connect: {words}")
        }
        None => format!("dial tcp {place}: {}", rrun_error::reason(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_of_the_system_is_told_as_go_tells_it() {
        for (errno, words) in [
            (Errno::ECONNREFUSED, "connect: connection refused"),
            (Errno::EHOSTUNREACH, "connect: no route to host"),
            (Errno::ENETUNREACH, "connect: network is unreachable"),
            (Errno::ETIMEDOUT, "connect: connection timed out"),
        ] {
            let text = failure(&place("::1", 80), &io::Error::from(errno));
            assert_eq!(text, format!("dial tcp [::1]:80: {words}"));
        }
        let other = io::Error::other("no such host");
        assert_eq!(failure(&place("a", 80), &other), "dial tcp a:80: no such host");
    }
}
