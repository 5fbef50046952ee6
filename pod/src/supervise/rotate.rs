//! Rotation of container logs (`pkg/kubelet/logs/container_log_manager.go`).
//!
//! A log that has grown too long is renamed, and the runtime told to open its path anew. Rotated
//! parts are not compressed: what is read of them is read at once.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rrun_blocking::Pool;
use rrun_cri_api::{Cri, v1};

use super::logs::parts;
use crate::clock::Timestamp;
use crate::error::{Context, Error, Result};
use crate::status::{PodStatus, State};

/// How often logs are looked at.
pub(super) const PERIOD: Duration = Duration::from_secs(10);

/// Logs that are looked at at a time. They are on one disk, and those of all pods are looked at at the
/// same moment: more would each be a thread that stays until the next look.
static FILES: Pool = Pool::new(4);

/// When a log is rotated, and how much of it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes at which it is.
    pub max_size: u64,
    /// Files of one run that are kept, the one that is written among them; at least 2.
    pub max_files: usize,
}

/// The kubelet's defaults.
impl Default for Limits {
    fn default() -> Self {
        Limits { max_size: 10 << 20, max_files: 5 }
    }
}

/// Rotates what has grown too long of the running containers of a pod. `folder` has its logs.
///
/// # Errors
/// The first that there is; the other containers' logs are rotated all the same.
pub async fn rotate(
    cri: &dyn Cri,
    folder: &Path,
    status: &PodStatus,
    limits: Limits,
    now: Timestamp,
) -> Result<()> {
    let mut failed = None;
    for found in status.init_containers.iter().chain(&status.containers) {
        let (State::Running { .. }, Some(id)) = (&found.state, &found.container_id) else {
            continue;
        };
        if let Err(e) = rotate_one(cri, id, folder.join(&found.name), limits, now).await {
            failed.get_or_insert(e);
        }
    }
    failed.map_or(Ok(()), Err)
}

/// A log that has another name now.
struct Aside {
    path: PathBuf,
    rotated: PathBuf,
}

async fn rotate_one(
    cri: &dyn Cri,
    id: &str,
    folder: PathBuf,
    limits: Limits,
    now: Timestamp,
) -> Result<()> {
    let aside = FILES.run(move || set_aside(&folder, limits.max_size, now)).await?;
    let Some(aside) = aside else { return Ok(()) };
    let shown = format!("rotate {}", aside.path.display());
    let request = v1::ReopenContainerLogRequest { container_id: id.to_owned() };
    let done = match cri.reopen_container_log(request).await {
        Ok(_) => FILES.run(move || remove_surplus(&aside.path, limits.max_files)).await,
        // The runtime writes on to the file that it has: it gets its name back.
        Err(e) => FILES
            .run(move || fs::rename(&aside.rotated, &aside.path).context(|| "rename back"))
            .await
            .and(Err(Error::status("reopen", &e))),
    };
    done.context(|| shown)
}

/// Renames the log that is written in `folder`, if it is longer than `max_size`.
fn set_aside(folder: &Path, max_size: u64, now: Timestamp) -> Result<Option<Aside>> {
    let Some(path) = too_long(folder, max_size) else { return Ok(None) };
    let time: String = now.to_string().chars().filter(char::is_ascii_digit).collect();
    let mut rotated = path.as_os_str().to_owned();
    rotated.push(format!(".{}-{}", &time[..8], &time[8..]));
    let rotated = PathBuf::from(rotated);
    if rotated.exists() {
        return Ok(None);
    }
    let renamed = fs::rename(&path, &rotated).context(|| "rename");
    renamed.context(|| format!("rotate {}", path.display()))?;
    Ok(Some(Aside { path, rotated }))
}

/// The log that is written in `folder`, if it is longer than `max_size`. What is no regular file is
/// not the runtime's.
fn too_long(folder: &Path, max_size: u64) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).ok()?.flatten();
    let runs = entries.filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        name.strip_suffix(".log")?.parse::<u64>().ok()
    });
    let path = folder.join(format!("{}.log", runs.max()?));
    let is_long = |file: fs::Metadata| file.is_file() && file.len() > max_size;
    fs::symlink_metadata(&path).is_ok_and(is_long).then_some(path)
}

/// Removes the oldest files of the log at `path`, until there are `max_files`.
fn remove_surplus(path: &Path, max_files: usize) -> Result<()> {
    let run = path.file_stem().and_then(|run| run.to_str()?.parse().ok()).unwrap_or(0);
    let mut all = parts(path.parent().unwrap_or(Path::new("/")), run)?;
    let surplus = all.len().saturating_sub(max_files.max(2));
    for old in all.drain(..surplus) {
        fs::remove_file(&old).context(|| format!("remove {}", old.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;
    use tonic::Status;

    use super::*;
    use crate::status::ContainerStatus;
    use crate::testing;

    /// Opens the log anew, or refuses to.
    struct Runtime {
        path: PathBuf,
        refuses: Mutex<bool>,
    }

    #[async_trait]
    impl Cri for Runtime {
        async fn reopen_container_log(
            &self,
            r: v1::ReopenContainerLogRequest,
        ) -> Result<v1::ReopenContainerLogResponse, Status> {
            assert_eq!(r.container_id, "c-1");
            if *self.refuses.lock().unwrap() {
                return Err(Status::unavailable("not now"));
            }
            fs::write(&self.path, "").unwrap();
            Ok(v1::ReopenContainerLogResponse {})
        }
    }

    fn running() -> PodStatus {
        let mut status = PodStatus::new(
            &testing::pod("  containers: [{name: a, image: i}]\n"),
            Timestamp::from_nanos(1),
        );
        let state = State::Running { started_at: Timestamp::from_nanos(1) };
        status.containers.push(ContainerStatus {
            container_id: Some("c-1".into()),
            ..ContainerStatus::new("a", state)
        });
        status
    }

    #[tokio::test]
    async fn a_log_that_has_grown_too_long_is_rotated_and_five_files_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/0.log");
        fs::create_dir(dir.path().join("a")).unwrap();
        let runtime = Runtime { path: path.clone(), refuses: Mutex::new(false) };
        let limits = Limits { max_size: 10, ..Limits::default() };
        let (status, files) = (running(), || fs::read_dir(dir.path().join("a")).unwrap().count());
        let mut now = Timestamp::from_nanos(0);
        for round in 0..8 {
            fs::write(&path, "short").unwrap();
            rotate(&runtime, dir.path(), &status, limits, now).await.unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"short");
            fs::write(&path, format!("longer than that {round}")).unwrap();
            rotate(&runtime, dir.path(), &status, limits, now).await.unwrap();
            assert_eq!((fs::read(&path).unwrap().len(), files()), (0, (round + 2).min(5)));
            now = now.after(PERIOD);
        }
        let kept = fs::read(dir.path().join("a/0.log.19700101-000110")).unwrap();
        assert_eq!(kept, b"longer than that 7");
    }

    #[tokio::test]
    async fn a_runtime_that_cannot_open_it_anew_keeps_the_log_that_it_has() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/0.log");
        fs::create_dir(dir.path().join("a")).unwrap();
        fs::write(&path, "longer than that").unwrap();
        let runtime = Runtime { path: path.clone(), refuses: Mutex::new(true) };
        let limits = Limits { max_size: 10, ..Limits::default() };
        let now = Timestamp::from_nanos(0);
        let failed = rotate(&runtime, dir.path(), &running(), limits, now).await.unwrap_err();
        assert_eq!(failed.to_string(), format!("rotate {}: reopen: not now", path.display()));
        assert_eq!(fs::read(&path).unwrap(), b"longer than that");
        assert_eq!(fs::read_dir(dir.path().join("a")).unwrap().count(), 1);
    }
}
