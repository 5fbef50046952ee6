//! The folders that configure registries: `HOST_PORT_`, `HOST:PORT`, `_default`.
//!
//! Read at every pull, so that an edit needs no restart.

use rrun_sys::in_root::read_regular_of_host;
use std::io;
use std::path::{Path, PathBuf};

use super::host::{Host, Pair, implied};
use super::hosts;
use crate::error::{Context, Error, Result};

/// Longer than any file of a registry's folder, in bytes.
const LARGEST: u64 = 1 << 20;

/// Reads a file of such a folder. Pods that configure registries write there as well: what is no
/// regular file might never be read to its end.
pub(super) fn read(file: &Path) -> io::Result<Vec<u8>> {
    read_regular_of_host(file, LARGEST)
}

/// The hosts to ask for images of `registry`, in order.
pub(crate) fn hosts_for(certs_dirs: &[PathBuf], registry: &str) -> Result<Vec<Host>> {
    let Some(folder) = find(certs_dirs, registry) else {
        return Ok(implied(registry));
    };
    let file = folder.join("hosts.toml");
    let text = match read(&file) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(e) => return Err(e).context(file.display()),
    };
    let text = String::from_utf8(text).map_err(Error::invalid).context(file.display())?;
    if text.trim().is_empty() {
        return certificates_only(&folder, registry).context(folder.display());
    }
    hosts::parse(&text, &folder, registry)
        .map_err(|why| Error::invalid(format_args!("{}:{why}", file.display())))
}

fn find(certs_dirs: &[PathBuf], registry: &str) -> Option<PathBuf> {
    let names = [folder_name(registry), registry.to_owned(), "_default".to_owned()];
    certs_dirs
        .iter()
        .flat_map(|dir| names.iter().map(move |name| dir.join(name)))
        .find(|folder| folder.is_dir())
}

/// `host:5000` is `host_5000_`, for filesystems and tools that cannot have a colon.
fn folder_name(registry: &str) -> String {
    match registry.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() => format!("{host}_{port}_"),
        _ => registry.to_owned(),
    }
}

/// A folder without `hosts.toml` holds certificates for the registry itself, as docker has it.
fn certificates_only(folder: &Path, registry: &str) -> Result<Vec<Host>> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder)?.map(|e| Ok(e?.path())).collect::<io::Result<_>>()?;
    files.sort();
    let (mut ca, mut certs) = (Vec::new(), Vec::new());
    for file in files {
        match file.extension().and_then(|e| e.to_str()) {
            Some("crt") => ca.push(file),
            Some("cert") => certs.push(file),
            _ => {}
        }
    }
    // Without a file of its own the key is in that of the certificate, as containerd has it.
    let pair = |cert: PathBuf| {
        let key = Some(cert.with_extension("key")).filter(|key| key.exists());
        Pair { cert, key }
    };
    let client: Vec<Pair> = certs.into_iter().map(pair).collect();
    let mut hosts = implied(registry);
    for host in &mut hosts {
        (host.ca, host.client) = (ca.clone(), client.clone());
        if !host.ca.is_empty() {
            // Whoever gives a CA wants it checked, on loopback too, and not gone round.
            (host.skip_verify, host.http_fallback) = (false, false);
        }
    }
    Ok(hosts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::stat::Mode;

    #[test]
    fn a_fifo_in_place_of_a_registrys_configuration_is_named_and_waited_for_by_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("example.com");
        std::fs::create_dir(&folder).unwrap();
        nix::unistd::mkfifo(&folder.join("hosts.toml"), Mode::S_IRWXU).unwrap();
        let refused = hosts_for(&[dir.path().to_owned()], "example.com").unwrap_err().to_string();
        assert!(refused.contains("hosts.toml: not a regular file"), "{refused}");
    }
}
