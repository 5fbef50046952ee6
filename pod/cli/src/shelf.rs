//! What `rrun` keeps of a pod: its manifest and its last status, by namespace and name.
//!
//! `<root>/rrun/<namespace>_<name>/` holds `pod.yaml`, `with-<n>.yaml` and `status.json`;
//! `<run>/rrun/<namespace>_<name>.lock` is locked by the process that works on the pod, and
//! `<run>/rrun/<uid>.cri` and `.stop` are its sockets. Death releases the lock.

use anyhow::{Context, Result, anyhow, bail};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use rrun_cri::config::Config;
use rrun_pod::manifest::{self, Source};
use rrun_pod::model::{Meta, Pod};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// How long a command waits for another one that works on the pod for a moment.
const BUSY: std::time::Duration = std::time::Duration::from_secs(10);

const VERSION: u32 = 1;

/// `status.json`
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Entry {
    version: u32,
    /// The pod's.
    pub namespace: String,
    /// The pod's.
    pub name: String,
    /// The pod's.
    pub uid: String,
    /// As the API shows `.status`; null before anything is known.
    pub status: Value,
}

impl Entry {
    fn new(meta: &Meta) -> Entry {
        Entry {
            version: VERSION,
            namespace: meta.namespace.clone(),
            name: meta.name.clone(),
            uid: meta.uid.to_string(),
            status: Value::Null,
        }
    }

    /// `Pending`, `Running`, `Succeeded`, `Failed`.
    pub fn phase(&self) -> &str {
        self.status["phase"].as_str().unwrap_or("Pending")
    }

    /// Whether it has ended.
    pub fn ended(&self) -> bool {
        matches!(self.phase(), "Succeeded" | "Failed")
    }

    fn key(&self) -> String {
        format!("{}_{}", self.namespace, self.name)
    }

    /// Where its sockets are: `<uid>.<what>`.
    pub fn socket(&self, config: &Config, what: &str) -> PathBuf {
        config.run.join("rrun").join(format!("{}.{what}", self.uid))
    }

    /// Where its logs are.
    pub fn logs(&self, config: &Config) -> PathBuf {
        let folder = format!("{}_{}_{}", self.namespace, self.name, self.uid);
        config.root.join("logs").join(folder)
    }

    /// Whether a process works on it now.
    pub fn is_held(&self, config: &Config) -> bool {
        File::open(lock_path(config, &self.key())).is_ok_and(|file| {
            matches!(Flock::lock(file, FlockArg::LockSharedNonblock), Err((_, Errno::EWOULDBLOCK)))
        })
    }

    /// Its manifest, read again.
    pub fn pod(&self, config: &Config) -> Result<Pod> {
        let folder = folder(config, &self.key());
        let texts = Texts::read_back(&folder)?;
        texts.pod()
    }
}

/// A manifest and its objects as they were read.
pub struct Texts {
    manifest: (String, Vec<u8>),
    objects: Vec<(String, Vec<u8>)>,
}

impl Texts {
    /// Reads the files; `-` is standard input.
    pub fn read(manifest: &Path, objects: &[PathBuf]) -> Result<Texts> {
        let read = |path: &Path| -> Result<(String, Vec<u8>)> {
            let name = path.display().to_string();
            let text = match name.as_str() {
                "-" => std::io::read_to_string(std::io::stdin()).map(String::into_bytes),
                _ => fs::read(path),
            };
            let shown = if name == "-" { "stdin".to_owned() } else { name };
            let text = text.with_context(|| format!("read {shown}"))?;
            Ok((shown, text))
        };
        let objects = objects.iter().map(|path| read(path)).collect::<Result<_>>()?;
        Ok(Texts { manifest: read(manifest)?, objects })
    }

    fn read_back(folder: &Path) -> Result<Texts> {
        let objects = (0..).map(|n| folder.join(format!("with-{n}.yaml")));
        let objects: Vec<_> = objects.take_while(|path| path.exists()).collect();
        Texts::read(&folder.join("pod.yaml"), &objects)
    }

    /// What they say.
    pub fn pod(&self) -> Result<Pod> {
        let objects = self.objects.iter().map(|(name, text)| Source { name, text });
        let objects: Vec<_> = objects.collect();
        let (name, text) = &self.manifest;
        Ok(manifest::pod(Source { name, text }, &objects)?)
    }
}

/// A pod that this process works on.
pub struct Held {
    /// What is known of it.
    pub entry: Entry,
    folder: PathBuf,
    lock: PathBuf,
    _lock: Flock<File>,
}

impl Held {
    /// Takes a pod that is to be run, and keeps its manifest.
    pub fn for_run(config: &Config, meta: &Meta, texts: &Texts) -> Result<Held> {
        let entry = Entry::new(meta);
        let name = format!("pod {}/{}", meta.namespace, meta.name);
        let Some(mut held) = Held::take(config, entry)? else {
            bail!("{name}: another rrun works on it");
        };
        match read_entry(&held.folder) {
            Ok(Some(old)) if old.uid != held.entry.uid => {
                bail!("{name}: there is one with another manifest: rrun rm it first");
            }
            Ok(Some(old)) => held.entry = old,
            _ => {}
        }
        make_private(&held.folder)?;
        replace(&held.folder.join("pod.yaml"), &texts.manifest.1)?;
        for (n, (_, text)) in texts.objects.iter().enumerate() {
            replace(&held.folder.join(format!("with-{n}.yaml")), text)?;
        }
        held.keep()?;
        Ok(held)
    }

    /// Takes a pod that is there; waits a moment for a command that is about to end. `None`
    /// when somebody goes on working on it.
    pub async fn existing(config: &Config, entry: &Entry) -> Result<Option<Held>> {
        let start = tokio::time::Instant::now();
        loop {
            if let Some(mut held) = Held::take(config, entry.clone())? {
                match read_entry(&held.folder)? {
                    Some(entry) => held.entry = entry,
                    None => bail!("pod {}/{}: it is gone", entry.namespace, entry.name),
                }
                return Ok(Some(held));
            }
            if entry.socket(config, "stop").exists() || start.elapsed() > BUSY {
                return Ok(None);
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }

    fn take(config: &Config, entry: Entry) -> Result<Option<Held>> {
        let (folder, lock) = (folder(config, &entry.key()), lock_path(config, &entry.key()));
        make_private(&config.run.join("rrun"))?;
        loop {
            let file = File::create(&lock).with_context(|| format!("make {}", lock.display()))?;
            let file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(file) => file,
                Err((_, Errno::EWOULDBLOCK)) => return Ok(None),
                Err((_, errno)) => return Err(anyhow!(errno)).context(lock.display().to_string()),
            };
            // Whoever held it may have removed it: a lock that nobody else finds is none.
            let inode = file.metadata().map(|m| m.ino()).ok();
            if inode.is_some() && inode == fs::metadata(&lock).map(|m| m.ino()).ok() {
                // Left by one that was killed: nobody is behind them.
                for what in ["cri", "stop"] {
                    let _ = fs::remove_file(entry.socket(config, what));
                }
                return Ok(Some(Held { entry, folder, lock, _lock: file }));
            }
        }
    }

    /// Puts the present status on the shelf.
    pub fn keep(&self) -> Result<()> {
        let text = serde_json::to_vec_pretty(&self.entry)?;
        replace(&self.folder.join("status.json"), &text)
    }

    /// Forgets the pod.
    pub fn discard(self) -> Result<()> {
        match fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("remove {}", self.folder.display()))
            }
            _ => Ok(()),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.lock);
    }
}

/// All pods, by namespace and name. One that cannot be read is named and left out.
pub fn all(config: &Config) -> Result<Vec<Entry>> {
    let folder = config.root.join("rrun");
    let entries = match fs::read_dir(&folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.with_context(|| format!("read {}", folder.display()))?,
    };
    let mut all = Vec::new();
    for path in entries.flatten().map(|entry| entry.path()) {
        match read_entry(&path) {
            Ok(entry) => all.extend(entry),
            Err(error) => eprintln!("rrun: {error:#}"),
        }
    }
    all.sort_by_key(Entry::key);
    Ok(all)
}

/// The pod that `text` names: `name`, `namespace/name`, a uid or a unique beginning of one.
pub fn find(config: &Config, text: &str) -> Result<Entry> {
    let all = all(config)?;
    let named = |entry: &&Entry| {
        entry.uid == text
            || format!("{}/{}", entry.namespace, entry.name) == text
            || (entry.name == text && entry.namespace == "default")
    };
    if let Some(entry) = all.iter().find(named) {
        return Ok(entry.clone());
    }
    let near = |entry: &&Entry| entry.name == text || entry.uid.starts_with(text);
    let near: Vec<_> = all.iter().filter(near).collect();
    match near.as_slice() {
        [one] => Ok((*one).clone()),
        [] => bail!("pod {text}: not found"),
        several => bail!("pod {text}: {} pods are called so", several.len()),
    }
}

fn folder(config: &Config, key: &str) -> PathBuf {
    config.root.join("rrun").join(key)
}

fn lock_path(config: &Config, key: &str) -> PathBuf {
    config.run.join("rrun").join(format!("{key}.lock"))
}

fn read_entry(folder: &Path) -> Result<Option<Entry>> {
    let path = folder.join("status.json");
    let text = match fs::read(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        other => other.with_context(|| format!("read {}", path.display()))?,
    };
    let entry: Entry = serde_json::from_slice(&text).with_context(|| path.display().to_string())?;
    if entry.version != VERSION {
        bail!("{}: version {}, known is {VERSION}", path.display(), entry.version);
    }
    Ok(Some(entry))
}

/// Manifests may hold secrets.
fn make_private(folder: &Path) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.with_context(|| format!("make {}", folder.display()))
}

fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = path.with_extension("tmp");
    let write = || {
        let mut options = OpenOptions::new();
        let options = options.write(true).create(true).truncate(true).mode(0o600);
        options.open(&temporary)?.write_all(bytes)?;
        fs::rename(&temporary, path)
    };
    write().with_context(|| format!("write {}", path.display()))
}
