//! Debian's docker-registry on loopback.

use crate::images::HOSTS;
use crate::limit::LONG;
use crate::place;
use crate::sandbox::MORTAL;
use anyhow::{Context, Result, bail};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::Instant;
use tempfile::TempDir;

/// A running registry; dropped, it is gone.
pub struct Registry {
    child: Child,
    address: String,
    _config: TempDir,
}

/// How to run a registry.
pub struct Options {
    storage: PathBuf,
    htpasswd: Option<PathBuf>,
    tls: Option<(PathBuf, PathBuf)>,
    client_ca: Option<PathBuf>,
    read_only: bool,
    prefix: Vec<String>,
}

impl Registry {
    /// A registry over a storage folder.
    pub fn options(storage: &Path) -> Options {
        Options {
            storage: storage.to_owned(),
            htpasswd: None,
            tls: None,
            client_ca: None,
            read_only: false,
            prefix: Vec::new(),
        }
    }

    /// All test images, read-only, on a free port.
    pub fn of_images(storage: &Path) -> Result<Self> {
        Self::options(storage).read_only().start()
    }

    /// `127.0.0.1:<port>`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Writes a certs.d folder that sends every mirrored host here.
    pub fn write_mirrors(&self, certs: &Path) -> Result<()> {
        HOSTS.iter().try_for_each(|host| self.write_mirror(certs, host))
    }

    /// Writes the part of a certs.d folder that sends one host here.
    pub fn write_mirror(&self, certs: &Path, host: &str) -> Result<()> {
        let folder = certs.join(host);
        fs::create_dir_all(&folder)?;
        let text = format!(
            "server = \"https://{host}\"\n\n[host.\"http://{}\"]\n  \
             capabilities = [\"pull\", \"resolve\"]\n",
            self.address
        );
        fs::write(folder.join("hosts.toml"), text)?;
        Ok(())
    }
}

impl Options {
    /// Wants basic authentication by this htpasswd file (bcrypt only).
    pub fn htpasswd(mut self, file: &Path) -> Self {
        self.htpasswd = Some(file.to_owned());
        self
    }

    /// Speaks TLS with this certificate and key.
    pub fn tls(mut self, certificate: &Path, key: &Path) -> Self {
        self.tls = Some((certificate.to_owned(), key.to_owned()));
        self
    }

    /// Beside [`Options::tls`]: wants a client certificate signed by this one.
    pub fn client_ca(mut self, certificate: &Path) -> Self {
        self.client_ca = Some(certificate.to_owned());
        self
    }

    /// Refuses pushes, so that several registries may serve one folder.
    pub fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }

    /// Runs behind another command, such as nsenter.
    pub fn behind(mut self, prefix: &[String]) -> Self {
        self.prefix = prefix.to_vec();
        self
    }

    /// Starts it on a free port and waits until it listens.
    pub fn start(self) -> Result<Registry> {
        let folder = tempfile::Builder::new().prefix("rrun-registry-").tempdir()?;
        let config = folder.path().join("config.json");
        fs::write(&config, serde_json::to_vec(&self.config())?)?;
        let binary = place::debian()?.join("usr/bin/docker-registry");
        let mut child = Command::new(MORTAL[0])
            .args(&MORTAL[1..])
            .args(&self.prefix)
            .arg(&binary)
            .arg("serve")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("{}", binary.display()))?;
        let stderr = child.stderr.take().context("no stderr")?;
        match listening(BufReader::new(stderr)) {
            Ok(address) => Ok(Registry { child, address, _config: folder }),
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    /// YAML is a superset of JSON.
    fn config(&self) -> serde_json::Value {
        let mut config = serde_json::json!({
            "version": "0.1",
            "log": { "level": "info", "accesslog": { "disabled": true }, "formatter": "json" },
            "storage": {
                "filesystem": { "rootdirectory": self.storage },
                "delete": { "enabled": true },
                "maintenance": {
                    "uploadpurging": { "enabled": false },
                    "readonly": { "enabled": self.read_only },
                },
            },
            "http": { "addr": "127.0.0.1:0" },
        });
        if let Some(path) = &self.htpasswd {
            config["auth"] = serde_json::json!({ "htpasswd": { "realm": "test", "path": path } });
        }
        if let Some((certificate, key)) = &self.tls {
            config["http"]["tls"] = serde_json::json!({ "certificate": certificate, "key": key });
        }
        if let Some(certificate) = &self.client_ca {
            config["http"]["tls"]["clientcas"] = serde_json::json!([certificate]);
        }
        config
    }
}

/// Waits for `listening on 127.0.0.1:…` in the log, which a thread reads to its end, so that the
/// registry never blocks on a full pipe.
fn listening(log: impl BufRead + Send + 'static) -> Result<String> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in log.split(b'\n').map_while(Result::ok) {
            // Nobody hears it any more when the address is known.
            let _ = sender.send(String::from_utf8_lossy(&line).into_owned());
        }
    });
    let deadline = Instant::now() + LONG;
    let mut seen = String::new();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let Ok(line) = lines.recv_timeout(left) else {
            bail!("docker-registry ended, or does not listen after {LONG:?}: {seen}");
        };
        if let Some((_, rest)) = line.split_once("listening on ") {
            let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.' && c != ':');
            return Ok(rest[..end.unwrap_or(rest.len())].to_owned());
        }
        seen += &line;
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
