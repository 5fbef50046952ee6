//! `hosts.toml`: which hosts stand in for a registry. Pure: text in, hosts out.
//!
//! The format is containerd's. Where containerd logs a file that does not parse and goes on to
//! the registry itself, this is a refusal that names file and line: a mirror is often policy.

use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::host::{Host, Pair};

/// Parses one file for the registry `image_host`. Relative paths in it start at `folder`.
///
/// The hosts come in the order of the file, then `server` (or the registry itself if the file
/// names none). Errors are `line N: reason`.
pub fn parse(text: &str, folder: &Path, image_host: &str) -> Result<Vec<Host>, String> {
    let table = DeTable::parse(text).map_err(|e| {
        let line = e.span().map_or(1, |span| line_of(text, span.start));
        format!("line {line}: {}", e.message())
    })?;
    let file = File { text, folder, image_host };
    let mut hosts = Vec::new();
    let mut server = None;
    let mut own = Vec::new();
    for (key, value) in in_order(table.get_ref()) {
        match key.get_ref().as_ref() {
            "server" => server = Some(file.string(value)?),
            "host" => {
                for (url, value) in in_order(file.table(value)?) {
                    let keys = in_order(file.table(value)?);
                    hosts.push(file.host(url.get_ref(), url.span().start, keys)?);
                }
            }
            _ => own.push((key, value)),
        }
    }
    let line = own.first().map_or(0, |(key, _)| key.span().start);
    match server {
        Some(url) => hosts.push(file.host(&url, line, own)?),
        None => {
            let mut last = super::host::implied(image_host);
            for host in &mut last {
                for (key, value) in &own {
                    file.apply(host, key, value)?;
                }
            }
            hosts.extend(last);
        }
    }
    Ok(hosts)
}

type Entry<'a> = (&'a Spanned<std::borrow::Cow<'a, str>>, &'a Spanned<DeValue<'a>>);

/// The table's entries as they stand in the file; the table itself is sorted by name.
fn in_order<'a>(table: &'a DeTable<'a>) -> Vec<Entry<'a>> {
    let mut entries: Vec<Entry<'a>> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}

fn line_of(text: &str, at: usize) -> usize {
    1 + text.as_bytes().iter().take(at).filter(|b| **b == b'\n').count()
}

struct File<'a> {
    text: &'a str,
    folder: &'a Path,
    image_host: &'a str,
}

impl File<'_> {
    fn error(&self, at: usize, why: impl std::fmt::Display) -> String {
        format!("line {}: {why}", line_of(self.text, at))
    }

    fn host(&self, url: &str, at: usize, keys: Vec<Entry<'_>>) -> Result<Host, String> {
        let mut host = Host::from_url(url, self.image_host).map_err(|e| self.error(at, e))?;
        for (key, value) in keys {
            self.apply(&mut host, key, value)?;
        }
        host.settle();
        Ok(host)
    }

    /// One key of a host.
    fn apply(
        &self,
        host: &mut Host,
        key: &Spanned<std::borrow::Cow<'_, str>>,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<(), String> {
        match key.get_ref().as_ref() {
            "capabilities" => self.capabilities(host, value)?,
            "ca" => host.ca = self.paths(value)?,
            "client" => host.client = self.clients(value)?,
            "skip_verify" => host.skip_verify = self.boolean(value)?,
            "override_path" => host.override_path = self.boolean(value)?,
            "dial_timeout" => {
                let text = self.string(value)?;
                let bad = || self.error(value.span().start, format!("{text:?} is no duration"));
                host.dial_timeout = Some(duration(&text).ok_or_else(bad)?);
            }
            "header" => {
                for (name, value) in in_order(self.table(value)?) {
                    for text in self.strings(value)? {
                        host.headers.push((name.get_ref().to_string(), text));
                    }
                }
            }
            other => {
                return Err(self.error(key.span().start, format!("unknown key {other:?}")));
            }
        }
        Ok(())
    }

    fn capabilities(&self, host: &mut Host, value: &Spanned<DeValue<'_>>) -> Result<(), String> {
        (host.may_pull, host.may_resolve) = (false, false);
        for word in self.strings(value)? {
            match word.to_ascii_lowercase().as_str() {
                "pull" => host.may_pull = true,
                "resolve" => host.may_resolve = true,
                // Known, and of no use to a node.
                "push" | "referrers" => {}
                _ => {
                    let why = format!("unknown capability {word:?}");
                    return Err(self.error(value.span().start, why));
                }
            }
        }
        Ok(())
    }

    fn table<'t>(&self, value: &'t Spanned<DeValue<'t>>) -> Result<&'t DeTable<'t>, String> {
        match value.get_ref() {
            DeValue::Table(table) => Ok(table),
            _ => Err(self.error(value.span().start, "not a table")),
        }
    }

    fn string(&self, value: &Spanned<DeValue<'_>>) -> Result<String, String> {
        match value.get_ref() {
            DeValue::String(text) => Ok(text.to_string()),
            _ => Err(self.error(value.span().start, "not a string")),
        }
    }

    fn boolean(&self, value: &Spanned<DeValue<'_>>) -> Result<bool, String> {
        match value.get_ref() {
            DeValue::Boolean(b) => Ok(*b),
            _ => Err(self.error(value.span().start, "not a boolean")),
        }
    }

    /// A string, or a list of strings.
    fn strings(&self, value: &Spanned<DeValue<'_>>) -> Result<Vec<String>, String> {
        match value.get_ref() {
            DeValue::Array(items) => items.iter().map(|item| self.string(item)).collect(),
            _ => Ok(vec![self.string(value)?]),
        }
    }

    fn paths(&self, value: &Spanned<DeValue<'_>>) -> Result<Vec<PathBuf>, String> {
        Ok(self.strings(value)?.into_iter().map(|path| self.folder.join(path)).collect())
    }

    /// A path, a list of paths, or a list of certificate and key.
    fn clients(&self, value: &Spanned<DeValue<'_>>) -> Result<Vec<Pair>, String> {
        let DeValue::Array(items) = value.get_ref() else {
            return Ok(vec![Pair { cert: self.folder.join(self.string(value)?), key: None }]);
        };
        let one = |item: &Spanned<DeValue<'_>>| {
            let paths = self.paths(item)?;
            let bad = || self.error(item.span().start, "not [certificate, key]");
            match (item.get_ref(), paths.as_slice()) {
                (DeValue::String(_), [cert]) => Ok(Pair { cert: cert.clone(), key: None }),
                (_, [cert, key]) => {
                    // An empty key means that the certificate's file holds it too.
                    let key = (key != self.folder).then(|| key.clone());
                    Ok(Pair { cert: cert.clone(), key })
                }
                _ => Err(bad()),
            }
        };
        items.iter().map(one).collect()
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
