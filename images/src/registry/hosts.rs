//! `hosts.toml`: which hosts stand in for a registry. Pure: text in, hosts out.
//!
//! The format is containerd's. Where containerd logs a file that does not parse and goes on to
//! the registry itself, this is a refusal that names file, line and key: a mirror is often policy.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::host::{Host, Pair};

/// Parses one file for the registry `image_host`. Relative paths in it start at `folder`.
///
/// The hosts come in the order of the file, then `server` (or the registry itself if the file
/// names none). Errors are `LINE: KEY: REASON`, to follow the file's name and a colon.
pub fn parse(text: &str, folder: &Path, image_host: &str) -> Result<Vec<Host>, String> {
    File { folder, image_host }.hosts(text).map_err(|fault| {
        let before = text.as_bytes().iter().take(fault.at);
        let line = 1 + before.filter(|b| **b == b'\n').count();
        let key = if fault.key.is_empty() { String::new() } else { format!("{}: ", fault.key) };
        format!("{line}: {key}{}", fault.why)
    })
}

/// What is wrong, and where: a byte of the text, and the keys that lead to it.
struct Fault {
    at: usize,
    key: String,
    why: String,
}

impl Fault {
    fn new(at: usize, why: impl Into<String>) -> Fault {
        Fault { at, key: String::new(), why: why.into() }
    }

    /// Below `key`.
    fn under(self, key: &str) -> Fault {
        let dot = if self.key.is_empty() { "" } else { "." };
        Fault { key: format!("{key}{dot}{}", self.key), ..self }
    }
}

type Result<T, E = Fault> = std::result::Result<T, E>;
type Value<'a> = Spanned<DeValue<'a>>;
type Entry<'a> = (&'a Spanned<Cow<'a, str>>, &'a Value<'a>);

/// The table's entries as they stand in the file; the table itself is sorted by name.
fn in_order<'a>(table: &'a DeTable<'a>) -> Vec<Entry<'a>> {
    let mut entries: Vec<Entry<'a>> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}

struct File<'a> {
    folder: &'a Path,
    image_host: &'a str,
}

impl File<'_> {
    fn hosts(&self, text: &str) -> Result<Vec<Host>> {
        let table = DeTable::parse(text)
            .map_err(|e| Fault::new(e.span().map_or(0, |span| span.start), e.message()))?;
        let mut hosts = Vec::new();
        let mut server = None;
        let mut own = Vec::new();
        for (key, value) in in_order(table.get_ref()) {
            match key.get_ref().as_ref() {
                "server" => {
                    let url = string(value).map_err(|fault| fault.under("server"))?;
                    // Empty, it is the registry itself.
                    server = Some((key, url)).filter(|(_, url)| !url.is_empty());
                }
                "host" => self.mirrors(&mut hosts, value).map_err(|fault| fault.under("host"))?,
                _ => own.push((key, value)),
            }
        }
        let mut last = match server {
            Some((key, url)) => {
                let host = Host::from_url(&url, self.image_host);
                vec![host.map_err(|why| Fault::new(key.span().start, why).under("server"))?]
            }
            None => super::host::implied(self.image_host),
        };
        for host in &mut last {
            self.apply(host, &own)?;
            host.settle();
        }
        hosts.extend(last);
        Ok(hosts)
    }

    fn mirrors(&self, hosts: &mut Vec<Host>, value: &Value<'_>) -> Result<()> {
        for (url, value) in in_order(table(value)?) {
            let host = Host::from_url(url.get_ref(), self.image_host);
            let mut host = host.map_err(|why| Fault::new(url.span().start, why))?;
            let quoted = format!("{:?}", url.get_ref());
            let keys = table(value).map(in_order).map_err(|fault| fault.under(&quoted))?;
            self.apply(&mut host, &keys).map_err(|fault| fault.under(&quoted))?;
            host.settle();
            hosts.push(host);
        }
        Ok(())
    }

    fn apply(&self, host: &mut Host, keys: &[Entry<'_>]) -> Result<()> {
        for (key, value) in keys {
            let name = key.get_ref().as_ref();
            let done = match name {
                "capabilities" => capabilities(host, value),
                "ca" => self.paths(value).map(|paths| host.ca = paths),
                "client" => self.clients(value).map(|pairs| host.client = pairs),
                "skip_verify" => boolean(value).map(|is_on| host.skip_verify = is_on),
                "override_path" => boolean(value).map(|is_on| host.override_path = is_on),
                "dial_timeout" => timeout(value).map(|time| host.dial_timeout = Some(time)),
                "header" => headers(value).map(|all| host.headers = all),
                _ => Err(Fault::new(key.span().start, "unknown key")),
            };
            done.map_err(|fault| fault.under(name))?;
        }
        Ok(())
    }

    fn paths(&self, value: &Value<'_>) -> Result<Vec<PathBuf>> {
        Ok(strings(value)?.into_iter().map(|path| self.folder.join(path)).collect())
    }

    /// A path, a list of paths, or a list of certificate and key.
    fn clients(&self, value: &Value<'_>) -> Result<Vec<Pair>> {
        let DeValue::Array(items) = value.get_ref() else {
            return Ok(vec![Pair { cert: self.folder.join(string(value)?), key: None }]);
        };
        let one = |item: &Value<'_>| {
            let paths = self.paths(item)?;
            match (item.get_ref(), paths.as_slice()) {
                (DeValue::String(_), [cert]) => Ok(Pair { cert: cert.clone(), key: None }),
                (_, [cert, key]) => {
                    // An empty key means that the certificate's file holds it too.
                    let key = (key != self.folder).then(|| key.clone());
                    Ok(Pair { cert: cert.clone(), key })
                }
                _ => Err(Fault::new(item.span().start, "not [certificate, key]")),
            }
        };
        items.iter().map(one).collect()
    }
}

fn capabilities(host: &mut Host, value: &Value<'_>) -> Result<()> {
    (host.may_pull, host.may_resolve) = (false, false);
    for word in strings(value)? {
        match word.to_ascii_lowercase().as_str() {
            "pull" => host.may_pull = true,
            "resolve" => host.may_resolve = true,
            // Known, and of no use to a node.
            "push" | "referrers" => {}
            _ => {
                let why = format!("unknown capability {word:?}");
                return Err(Fault::new(value.span().start, why));
            }
        }
    }
    Ok(())
}

fn timeout(value: &Value<'_>) -> Result<Duration> {
    let text = string(value)?;
    let bad = || Fault::new(value.span().start, format!("{text:?} is no duration"));
    duration(&text).ok_or_else(bad)
}

fn headers(value: &Value<'_>) -> Result<Vec<(String, String)>> {
    let mut headers = Vec::new();
    for (name, value) in in_order(table(value)?) {
        for text in strings(value).map_err(|fault| fault.under(name.get_ref()))? {
            headers.push((name.get_ref().to_string(), text));
        }
    }
    Ok(headers)
}

fn table<'t>(value: &'t Value<'t>) -> Result<&'t DeTable<'t>> {
    match value.get_ref() {
        DeValue::Table(table) => Ok(table),
        _ => Err(Fault::new(value.span().start, "not a table")),
    }
}

fn string(value: &Value<'_>) -> Result<String> {
    match value.get_ref() {
        DeValue::String(text) => Ok(text.to_string()),
        _ => Err(Fault::new(value.span().start, "not a string")),
    }
}

fn boolean(value: &Value<'_>) -> Result<bool> {
    match value.get_ref() {
        DeValue::Boolean(b) => Ok(*b),
        _ => Err(Fault::new(value.span().start, "not a boolean")),
    }
}

/// A string, or a list of strings.
fn strings(value: &Value<'_>) -> Result<Vec<String>> {
    match value.get_ref() {
        DeValue::Array(items) => items.iter().map(string).collect(),
        _ => Ok(vec![string(value)?]),
    }
}

/// Go's durations: `1s`, `1m30s`, `500ms`, `1.5s`.
fn duration(text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let unit_at = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let amount: f64 = rest[..unit_at].parse().ok()?;
        rest = &rest[unit_at..];
        let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let scale = match &rest[..end] {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        total = total.checked_add(Duration::try_from_secs_f64(amount * scale).ok()?)?;
        rest = &rest[end..];
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests;
