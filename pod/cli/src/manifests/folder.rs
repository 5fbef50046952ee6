//! The files of the folder, and when it changes.

use crate::terminal;
use anyhow::{Result, bail};
use futures::StreamExt;
use inotify::{EventMask, EventStream, Inotify, WatchMask};
use rrun_error::reason;
use rrun_pod::model::Pod;
use rrun_pod::supervise::Definition;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::Instant;

/// The largest file, as the kubelet has it.
const LARGEST: u64 = 10 << 20;

/// What is written in several steps is looked at when nothing has come for so long.
const CALM: Duration = Duration::from_millis(100);

/// However much comes, it is looked at after so long.
const LONGEST: Duration = Duration::from_secs(1);

/// What somebody has opened to write it is read as it is when nothing has come for so long.
const ABANDONED: Duration = Duration::from_secs(20);

/// Before the folder is watched again that was not there.
const AGAIN: Duration = Duration::from_secs(1);

/// A file, and the pods that it has.
pub struct File {
    pub path: PathBuf,
    pub pods: Result<Vec<(Definition, Pod)>>,
}

/// The files by name, without those that begin with a dot. A folder that is not there has none. One that
/// is being written is not read.
pub fn read(folder: &Path, is_written_to: impl Fn(&OsStr) -> bool) -> Result<Vec<File>> {
    let entries = match fs::read_dir(folder) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => bail!("read {}: {}", folder.display(), reason(&e)),
        Ok(entries) => entries,
    };
    let mut paths = Vec::new();
    for entry in entries {
        let entry =
            entry.map_err(|e| anyhow::anyhow!("read {}: {}", folder.display(), reason(&e)))?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            paths.push(entry.path());
        }
    }
    paths.sort();
    let file = |path: PathBuf| {
        if path.file_name().is_some_and(&is_written_to) {
            return Some(File { path, pods: Err(anyhow::anyhow!("it is being written")) });
        }
        file(path)
    };
    Ok(paths.into_iter().filter_map(file).collect())
}

/// None of what has gone meanwhile.
fn file(path: PathBuf) -> Option<File> {
    let pods = match fs::metadata(&path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return None,
        Err(e) => Err(anyhow::anyhow!("{}", reason(&e))),
        Ok(found) if found.is_dir() => Err(anyhow::anyhow!("a folder in the folder is not read")),
        Ok(found) if !found.is_file() => Err(anyhow::anyhow!("not a regular file")),
        Ok(found) if found.len() > LARGEST => Err(anyhow::anyhow!("larger than {LARGEST} bytes")),
        Ok(_) => pods(&path),
    };
    Some(File { path, pods })
}

fn pods(path: &Path) -> Result<Vec<(Definition, Pod)>> {
    let definition = Definition::read(path, &[], None)?.kept_by(path);
    let pods = definition.pods()?;
    if let Some(job) = pods.iter().find_map(|pod| pod.job.as_ref()) {
        bail!("Job {}: a folder of manifests has pods that go on, and no Jobs", job.name);
    }
    let of = |pod: Pod| (definition.clone().of(&crate::many::full_name(&pod)), pod);
    Ok(pods.into_iter().map(of).collect())
}

/// What the kernel tells of the folder.
pub struct Changes {
    folder: PathBuf,
    watched: Option<Watched>,
    /// The files that were written and not closed since, and when.
    written: BTreeMap<OsString, Instant>,
}

/// The folder that is watched: what is at its path may be another one by now.
struct Watched {
    events: EventStream<[u8; 4096]>,
    device_and_inode: (u64, u64),
}

impl Changes {
    /// Watches it, once it is there.
    pub fn of(folder: &Path) -> Changes {
        let written = BTreeMap::new();
        let mut changes = Changes { folder: folder.to_owned(), watched: None, written };
        changes.watch();
        changes
    }

    /// Watches what is at the folder's path now.
    pub fn watch_what_is_there(&mut self) {
        let there = self.device_and_inode().ok();
        if self.watched.as_ref().is_some_and(|watched| Some(watched.device_and_inode) != there) {
            self.watch();
        }
    }

    /// Whether somebody is writing that file.
    pub fn is_written_to(&self, name: &OsStr) -> bool {
        self.written.get(name).is_some_and(|at| at.elapsed() < ABANDONED)
    }

    fn device_and_inode(&self) -> std::io::Result<(u64, u64)> {
        fs::metadata(&self.folder).map(|folder| (folder.dev(), folder.ino()))
    }

    fn watch(&mut self) {
        let mask = WatchMask::CLOSE_WRITE
            | WatchMask::MODIFY
            | WatchMask::MOVE
            | WatchMask::CREATE
            | WatchMask::DELETE
            | WatchMask::DELETE_SELF
            | WatchMask::MOVE_SELF
            | WatchMask::ATTRIB
            | WatchMask::ONLYDIR;
        let open = || {
            let device_and_inode = self.device_and_inode()?;
            let inotify = Inotify::init()?;
            inotify.watches().add(&self.folder, mask)?;
            let events = inotify.into_event_stream([0; 4096])?;
            Ok::<_, std::io::Error>(Watched { events, device_and_inode })
        };
        let opened = open();
        self.written.clear();
        self.watched = match opened {
            Ok(watched) => Some(watched),
            Err(e) => {
                // It is looked at from time to time all the same.
                if e.kind() != ErrorKind::NotFound {
                    let folder = self.folder.display();
                    terminal::tell(format_args!("watch {folder}: {}", reason(&e)));
                }
                None
            }
        };
    }

    /// Until something has changed, and a moment more.
    pub async fn next(&mut self) {
        let Some(watched) = &mut self.watched else {
            while !self.folder.exists() {
                tokio::time::sleep(AGAIN).await;
            }
            self.watch();
            if self.watched.is_none() {
                std::future::pending::<()>().await;
            }
            return;
        };
        let mut event = watched.events.next().await;
        let end = Instant::now() + LONGEST;
        while let Some(Ok(now)) = event {
            let gone = EventMask::DELETE_SELF | EventMask::MOVE_SELF | EventMask::IGNORED;
            if now.mask.intersects(gone) {
                event = None;
                break;
            }
            note(&mut self.written, now.mask, now.name);
            let until = end.min(Instant::now() + CALM);
            event = match tokio::time::timeout_at(until, watched.events.next()).await {
                Ok(event) => event,
                Err(_) => return,
            };
        }
        if !matches!(event, Some(Ok(_))) {
            self.watched = None;
        }
    }
}

/// Whoever writes into a file closes it after that. One that has another name now, or none, is not that
/// file.
fn note(written: &mut BTreeMap<OsString, Instant>, mask: EventMask, name: Option<OsString>) {
    if mask.contains(EventMask::Q_OVERFLOW) {
        written.clear();
    }
    let Some(name) = name else { return };
    if mask.contains(EventMask::MODIFY) {
        written.insert(name, Instant::now());
    } else if mask.intersects(
        EventMask::CLOSE_WRITE | EventMask::MOVED_FROM | EventMask::MOVED_TO | EventMask::DELETE,
    ) {
        written.remove(&name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: NAME}\n\
        spec: {containers: [{name: a, image: i}]}\n";

    #[test]
    fn files_are_read_by_name_hidden_ones_not_and_what_cannot_be_read_says_why() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        write("b.yaml", &POD.replace("NAME", "b"));
        write("a", &POD.replace("NAME", "a"));
        write(".hidden.yaml", &POD.replace("NAME", "h"));
        write("bad.yaml", "kind: Pod\napiVersion: v2\n");
        write(
            "job.yaml",
            "apiVersion: batch/v1\nkind: Job\nmetadata: {name: j}\nspec: {template: \
            {spec: {restartPolicy: Never, containers: [{name: a, image: i}]}}}\n",
        );
        fs::create_dir(dir.path().join("more")).unwrap();
        let shown: Vec<String> = read(dir.path(), |_| false)
            .unwrap()
            .iter()
            .map(|file| {
                let name = file.path.file_name().unwrap().to_string_lossy().into_owned();
                match &file.pods {
                    Ok(pods) => format!("{name}: {}", pods[0].1.meta.name),
                    Err(e) => format!("{name}: {e}"),
                }
            })
            .collect();
        assert_eq!((shown[0].as_str(), shown[1].as_str()), ("a: a", "b.yaml: b"));
        assert!(shown[2].contains("bad.yaml:2: apiVersion"), "{shown:?}");
        assert!(shown[3].starts_with("job.yaml: Job j"), "{shown:?}");
        assert!(shown[4].starts_with("more: a folder"), "{shown:?}");
        assert_eq!(shown.len(), 5);
        assert!(read(&dir.path().join("none"), |_| false).unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_file_that_comes_and_a_folder_that_comes_are_changes() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("manifests");
        let mut changes = Changes::of(&folder);
        fs::create_dir(&folder).unwrap();
        changes.next().await;
        fs::write(folder.join("a"), "x").unwrap();
        changes.next().await;
        fs::remove_dir_all(&folder).unwrap();
        changes.next().await;
        fs::create_dir(&folder).unwrap();
        changes.next().await;
        fs::rename(&folder, dir.path().join("away")).unwrap();
        changes.next().await;
    }

    /// What has come is noted.
    async fn look(changes: &mut Changes) {
        while tokio::time::timeout(CALM, changes.next()).await.is_ok() {}
    }

    #[tokio::test]
    async fn a_file_that_somebody_writes_is_read_when_it_is_closed() {
        let dir = tempfile::tempdir().unwrap();
        let mut changes = Changes::of(dir.path());
        let is_read = |changes: &Changes| {
            let files = read(dir.path(), |name| changes.is_written_to(name)).unwrap();
            files[0].pods.as_ref().map_err(ToString::to_string).map(Vec::len)
        };
        let text = POD.replace("NAME", "a");
        let mut file = fs::File::create(dir.path().join("a")).unwrap();
        std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
        changes.next().await;
        look(&mut changes).await;
        assert_eq!(is_read(&changes), Err("it is being written".to_owned()));
        drop(file);
        changes.next().await;
        assert_eq!(is_read(&changes), Ok(1));
        // One that was not closed has gone, and another one is called so.
        let mut file = fs::File::options().append(true).open(dir.path().join("a")).unwrap();
        std::io::Write::write_all(&mut file, b"# more\n").unwrap();
        changes.next().await;
        look(&mut changes).await;
        assert!(is_read(&changes).is_err());
        fs::write(dir.path().join(".new"), &text).unwrap();
        fs::rename(dir.path().join(".new"), dir.path().join("a")).unwrap();
        changes.next().await;
        assert_eq!(is_read(&changes), Ok(1));
    }

    #[tokio::test]
    async fn another_folder_at_the_path_is_watched() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two, path) =
            (dir.path().join("one"), dir.path().join("two"), dir.path().join("link"));
        fs::create_dir(&one).unwrap();
        fs::create_dir(&two).unwrap();
        std::os::unix::fs::symlink(&one, &path).unwrap();
        let mut changes = Changes::of(&path);
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(&two, &path).unwrap();
        changes.watch_what_is_there();
        fs::write(two.join("a"), "x").unwrap();
        changes.next().await;
    }
}
