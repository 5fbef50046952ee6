//! Probes and hooks.

use std::time::Duration;

use super::fields::{Item, Read};
use crate::ids;
use crate::model::{Handler, HttpGet, Lifecycle, PortRef, Probe, Scheme, StopSignal};
use crate::probe::ProbeKind;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Probe,
    Hook,
}

/// A probe with the API server's defaults. One for liveness or startup, which kills, has one
/// success at most and may have a grace period of its own.
pub fn probe(item: &Item<'_>, kind: ProbeKind) -> Read<Probe> {
    item.object(|f| {
        let handler = handler(f, Use::Probe)?;
        let success_threshold = f.positive_or("successThreshold", 1)?;
        let kills = kind != ProbeKind::Readiness;
        if let (true, 2.., Some(at)) = (kills, success_threshold, f.get("successThreshold")) {
            return Err(at.fault("must be 1"));
        }
        let grace = f.get("terminationGracePeriodSeconds");
        if let (false, Some(at)) = (kills, &grace) {
            return Err(at.fault("must not be set for readiness probes"));
        }
        Ok(Probe {
            handler,
            initial_delay: f.or("initialDelaySeconds", Item::count, 0)?,
            timeout: f.positive_or("timeoutSeconds", 1)?,
            period: f.positive_or("periodSeconds", 10)?,
            success_threshold,
            failure_threshold: f.positive_or("failureThreshold", 3)?,
            termination_grace_period: grace.as_ref().map(Item::positive).transpose()?,
        })
    })
}

/// `lifecycle`.
pub fn lifecycle(item: &Item<'_>) -> Read<Lifecycle> {
    item.object(|f| {
        let hook = |item: &Item<'_>| item.object(|f| handler(f, Use::Hook));
        Ok(Lifecycle {
            post_start: f.opt("postStart", hook)?,
            pre_stop: f.opt("preStop", hook)?,
            stop_signal: f.opt("stopSignal", stop_signal)?,
        })
    })
}

fn stop_signal(item: &Item<'_>) -> Read<StopSignal> {
    let name = item.text()?;
    StopSignal::parse(&name).ok_or_else(|| item.fault(format!("{name:?} is no signal of Linux")))
}

fn handler(f: &mut super::fields::Fields<'_>, used: Use) -> Read<Handler> {
    let mut found = Vec::new();
    found.extend(f.opt("exec", exec)?);
    found.extend(f.opt("httpGet", http_get)?);
    match used {
        Use::Probe => {
            found.extend(f.opt("tcpSocket", tcp_socket)?);
            found.extend(f.opt("grpc", grpc)?);
        }
        Use::Hook => {
            found.extend(f.opt("sleep", sleep)?);
            if let Some(item) = f.get("tcpSocket") {
                return Err(item.fault("a hook with tcpSocket does nothing; use exec or httpGet"));
            }
        }
    }
    let one = found.pop().filter(|_| found.is_empty());
    one.ok_or_else(|| {
        let known = if used == Use::Probe {
            "exec, httpGet, tcpSocket, grpc"
        } else {
            "exec, httpGet, sleep"
        };
        f.here().fault(format!("exactly one of {known} must be given"))
    })
}

fn exec(item: &Item<'_>) -> Read<Handler> {
    item.object(|f| {
        let command = f.need("command", Item::texts)?;
        if command.is_empty() {
            return Err(f.here().fault("command must not be empty"));
        }
        Ok(Handler::Exec(command))
    })
}

fn http_get(item: &Item<'_>) -> Read<Handler> {
    item.object(|f| {
        let path = f.or("path", Item::text, "/".to_owned())?;
        let header = |item: &Item<'_>| {
            item.object(|f| {
                let name = f.need("name", |i| i.checked(header_fault))?;
                Ok((name, f.or("value", |i| i.checked(header_value_fault), String::new())?))
            })
        };
        Ok(Handler::HttpGet(HttpGet {
            host: f.word_or("host", |i| i.checked(host_fault), String::new())?,
            port: f.need("port", port_ref)?,
            path: if path.is_empty() { "/".to_owned() } else { path },
            scheme: f.word_or(
                "scheme",
                |i| i.one_of(&[("HTTP", Scheme::Http), ("HTTPS", Scheme::Https)]),
                Scheme::Http,
            )?,
            headers: f.list("httpHeaders", header)?,
        }))
    })
}

fn header_fault(name: &str) -> Option<&'static str> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    (name.is_empty() || !name.bytes().all(token)).then_some("is not an HTTP header name")
}

fn header_value_fault(value: &str) -> Option<&'static str> {
    value.bytes().any(|b| b < b' ' && b != b'\t' || b == 127).then_some("has a control character")
}

fn host_fault(host: &str) -> Option<&'static str> {
    let part = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b);
    (!host.bytes().all(part)).then_some("is not a host name or an address")
}

fn tcp_socket(item: &Item<'_>) -> Read<Handler> {
    item.object(|f| {
        let host = f.word_or("host", |i| i.checked(host_fault), String::new())?;
        Ok(Handler::TcpSocket { host, port: f.need("port", port_ref)? })
    })
}

fn grpc(item: &Item<'_>) -> Read<Handler> {
    item.object(|f| {
        let port = f.need("port", Item::port)?;
        Ok(Handler::Grpc { port, service: f.or("service", Item::text, String::new())? })
    })
}

fn sleep(item: &Item<'_>) -> Read<Handler> {
    item.object(|f| Ok(Handler::Sleep(Duration::from_secs(f.need("seconds", Item::count)?.into()))))
}

fn port_ref(item: &Item<'_>) -> Read<PortRef> {
    match item.int_or_text()? {
        Ok(_) => Ok(PortRef::Number(item.port()?)),
        Err(_) => Ok(PortRef::Name(item.checked(ids::port_name_fault)?)),
    }
}
