//! The files of the folder, and when it changes.

use crate::terminal;
use anyhow::{Result, bail};
use futures::StreamExt;
use inotify::{EventStream, Inotify, WatchMask};
use rrun_error::reason;
use rrun_pod::model::Pod;
use rrun_pod::supervise::Definition;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The largest file, as the kubelet has it.
const LARGEST: u64 = 10 << 20;

/// What is written in several steps is looked at when nothing has come for so long.
const CALM: Duration = Duration::from_millis(100);

/// Before the folder is watched again that was not there.
const AGAIN: Duration = Duration::from_secs(1);

/// A file, and the pods that it has.
pub struct File {
    pub path: PathBuf,
    pub pods: Result<Vec<(Definition, Pod)>>,
}

/// The files by name, without those that begin with a dot. A folder that is not there has none.
pub fn read(folder: &Path) -> Result<Vec<File>> {
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
    events: Option<EventStream<[u8; 4096]>>,
}

impl Changes {
    /// Watches it, once it is there.
    pub fn of(folder: &Path) -> Changes {
        let mut changes = Changes { folder: folder.to_owned(), events: None };
        changes.watch();
        changes
    }

    fn watch(&mut self) {
        let mask = WatchMask::CLOSE_WRITE
            | WatchMask::MOVE
            | WatchMask::CREATE
            | WatchMask::DELETE
            | WatchMask::DELETE_SELF
            | WatchMask::MOVE_SELF
            | WatchMask::ATTRIB
            | WatchMask::ONLYDIR;
        let open = || {
            let inotify = Inotify::init()?;
            inotify.watches().add(&self.folder, mask)?;
            inotify.into_event_stream([0; 4096])
        };
        match open() {
            Ok(events) => self.events = Some(events),
            Err(e) if e.kind() == ErrorKind::NotFound => self.events = None,
            Err(e) => {
                // It is looked at from time to time all the same.
                let folder = self.folder.display();
                terminal::tell(format_args!("watch {folder}: {}", reason(&e)));
                self.events = None;
            }
        }
    }

    /// Until something has changed, and a moment more.
    pub async fn next(&mut self) {
        let Some(events) = &mut self.events else {
            while !self.folder.exists() {
                tokio::time::sleep(AGAIN).await;
            }
            self.watch();
            if self.events.is_none() {
                std::future::pending::<()>().await;
            }
            return;
        };
        let mut event = events.next().await;
        while let Some(Ok(now)) = event {
            let gone = inotify::EventMask::DELETE_SELF
                | inotify::EventMask::MOVE_SELF
                | inotify::EventMask::IGNORED;
            if now.mask.intersects(gone) {
                event = None;
                break;
            }
            event = match tokio::time::timeout(CALM, events.next()).await {
                Ok(event) => event,
                Err(_) => return,
            };
        }
        if !matches!(event, Some(Ok(_))) {
            self.events = None;
        }
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
        let shown: Vec<String> = read(dir.path())
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
        assert!(read(&dir.path().join("none")).unwrap().is_empty());
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
}
