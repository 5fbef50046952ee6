//! What plugins answer: results, and errors.

use crate::error::{Error, Kind, Result};
use serde::Deserialize;
use std::net::IpAddr;

/// `CNI_ERROR`: a plugin that wants to be called again later.
const TRY_AGAIN: u32 = 11;

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    interfaces: Vec<Interface>,
    #[serde(default)]
    ips: Vec<Ip>,
}

#[derive(Deserialize)]
struct Interface {
    #[serde(default)]
    sandbox: String,
}

#[derive(Deserialize)]
struct Ip {
    address: String,
    #[serde(default)]
    interface: Option<usize>,
}

/// The addresses of a result that are the sandbox's, in its order.
///
/// # Errors
/// `Invalid` for what is no result, or has no address.
pub fn addresses(result: &str) -> Result<Vec<IpAddr>> {
    let answer: Answer =
        serde_json::from_str(result).map_err(|e| Error::invalid(format!("result: {e}")))?;
    let on_host = |ip: &&Ip| {
        let interface = ip.interface.and_then(|at| answer.interfaces.get(at));
        interface.is_some_and(|interface| interface.sandbox.is_empty())
    };
    let mut ips = Vec::new();
    for ip in answer.ips.iter().filter(|ip| !on_host(ip)) {
        let (text, _bits) = ip.address.split_once('/').unwrap_or((&ip.address, ""));
        let bad = |_| Error::invalid(format!("result: address {:?}", ip.address));
        ips.push(text.parse().map_err(bad)?);
    }
    if ips.is_empty() {
        return Err(Error::invalid("result: no address"));
    }
    Ok(ips)
}

#[derive(Deserialize)]
struct Failure {
    code: u32,
    #[serde(default)]
    msg: String,
    #[serde(default)]
    details: String,
}

/// The error of a plugin that ended with `ending`, not with 0.
pub fn failure(ending: &str, stdout: &[u8], stderr: &[u8]) -> Error {
    if let Ok(failure) = serde_json::from_slice::<Failure>(stdout) {
        let kind = match failure.code {
            TRY_AGAIN | 50 | 51 => Kind::Unavailable,
            1..=4 | 6 | 7 => Kind::Invalid,
            _ => Kind::Internal,
        };
        let Failure { code, msg, details } = failure;
        let separator = if msg.is_empty() || details.is_empty() { "" } else { "; " };
        return match format!("{msg}{separator}{details}") {
            text if text.is_empty() => Error::new(kind, format!("error code {code}")),
            text => Error::new(kind, text),
        };
    }
    let said = [stderr, stdout].map(|bytes| String::from_utf8_lossy(bytes).trim().to_owned());
    match said.iter().find(|text| !text.is_empty()) {
        Some(text) => Error::new(Kind::Internal, format!("{ending}: {text}")),
        None => Error::new(Kind::Internal, ending),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_those_of_the_sandbox_in_order() {
        let result = r#"{"interfaces":[{"name":"br"},{"name":"eth0","sandbox":"/x"}],"ips":[
            {"address":"10.0.0.1/24","interface":0},
            {"address":"10.0.0.2/24","interface":1,"gateway":"10.0.0.1"},
            {"address":"fd00::2/64"}]}"#;
        let ips = addresses(result).unwrap();
        assert_eq!(ips.iter().map(IpAddr::to_string).collect::<Vec<_>>(), ["10.0.0.2", "fd00::2"]);
    }

    #[test]
    fn what_is_no_result_is_refused() {
        for text in
            ["", "[]", "{}", r#"{"ips":[{"address":"x/8"}]}"#, r#"{"ips":[{"interface":-1}]}"#]
        {
            assert_eq!(addresses(text).unwrap_err().kind(), Kind::Invalid, "{text}");
        }
    }

    #[test]
    fn an_error_is_taken_from_stdout_else_from_stderr() {
        let json = br#"{"cniVersion":"1.0.0","code":11,"msg":"not yet","details":"agent down"}"#;
        let error = failure("exit status 1", json, b"noise");
        assert_eq!(
            (error.kind(), error.to_string()),
            (Kind::Unavailable, "not yet; agent down".into())
        );
        let error = failure("exit status 2", b"", b"panic: boom\n");
        assert_eq!(error.to_string(), "exit status 2: panic: boom");
        assert_eq!(failure("signal 9", b"", b"").to_string(), "signal 9");
    }
}
