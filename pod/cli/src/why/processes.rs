//! The processes of a pod, and of whoever runs it, as `/proc` has them.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// A process.
pub struct Process {
    pub pid: i32,
    /// Its own word for itself.
    pub name: String,
    /// As `ps` has it: `D` is a wait that no signal ends.
    pub state: char,
    /// Of the thread that this is about.
    folder: String,
    /// The function of the kernel that it waits in, where that is told.
    pub place: Option<String>,
    /// How long it has not run, where that is told.
    pub since: Option<Duration>,
}

/// A layer that is being fetched.
pub struct Download {
    pub layer: String,
    pub bytes: u64,
    /// How long nothing has come.
    pub quiet: Duration,
}

/// What there is of a pod at this moment.
#[derive(Default)]
pub struct Scene {
    /// The process that runs the pod.
    pub runner: Option<Process>,
    /// What that fetches.
    pub downloads: Vec<Download>,
    /// Processes of the pod, and the one that runs it, in the state `D`.
    pub stuck: Vec<Process>,
}

impl Scene {
    /// Looks at the processes in the groups of a pod and at the one that runs it; what that fetches is
    /// in `partial`.
    pub fn look(uid: &str, runner: Option<i32>, partial: &Path) -> Scene {
        let mut stuck: Vec<Process> = pids_of(uid)
            .into_iter()
            .filter_map(process)
            .filter(|found| found.state == 'D')
            .collect();
        let downloads = runner.map(|pid| downloads(pid, partial)).unwrap_or_default();
        let runner = runner.and_then(process);
        if let Some(also) = runner.as_ref().filter(|runner| runner.state == 'D') {
            stuck.extend(process(also.pid));
        }
        stuck.iter_mut().for_each(describe);
        Scene { runner, downloads, stuck }
    }
}

/// Those in a control group of the pod, however its driver spells that.
fn pids_of(uid: &str) -> Vec<i32> {
    let names = [format!("pod{uid}"), format!("pod{}.slice", uid.replace('-', "_"))];
    let Ok(all) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = all.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_of_pod = |pid: &i32| {
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        names.iter().any(|name| groups.contains(name))
    };
    pids.filter(is_of_pod).collect()
}

/// In the state of its first thread, but for one of its threads in the state `D`.
fn process(pid: i32) -> Option<Process> {
    let own = thread(pid, format!("/proc/{pid}"))?;
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let all = threads.filter_map(|entry| thread(pid, entry.path().display().to_string()));
    Some(all.into_iter().find(|one| one.state == 'D').unwrap_or(own))
}

fn thread(pid: i32, folder: String) -> Option<Process> {
    let stat = fs::read_to_string(format!("{folder}/stat")).ok()?;
    let (name, state) = name_and_state(&stat)?;
    Some(Process { pid, name, state, folder, place: None, since: None })
}

/// The name stands in brackets and may have any of its own.
fn name_and_state(stat: &str) -> Option<(String, char)> {
    let (start, end) = (stat.find('(')?, stat.rfind(')')?);
    let state = stat.get(end + 1..)?.trim_start().chars().next()?;
    Some((stat.get(start + 1..end)?.to_owned(), state))
}

fn describe(process: &mut Process) {
    let place = fs::read_to_string(format!("{}/wchan", process.folder)).unwrap_or_default();
    process.place = Some(place).filter(|place| !place.is_empty() && place != "0");
    // Both are of the scheduler's clock, and we run just now.
    let (own, its) = (last_run("/proc/thread-self"), last_run(&process.folder));
    process.since = own.zip(its).map(|(own, its)| own.saturating_sub(its));
}

/// When a thread was last on a processor (`/proc/PID/sched`, milliseconds with a fraction).
fn last_run(folder: &str) -> Option<Duration> {
    let text = fs::read_to_string(format!("{folder}/sched")).ok()?;
    let line = text.lines().find(|line| line.starts_with("se.exec_start"))?;
    let (whole, _) = line.rsplit(':').next()?.trim().split_once('.')?;
    Some(Duration::from_millis(whole.parse().ok()?))
}

/// The files below `partial` that a process has open.
fn downloads(pid: i32, partial: &Path) -> Vec<Download> {
    let Ok(open) = fs::read_dir(format!("/proc/{pid}/fd")) else { return Vec::new() };
    let mut found: Vec<Download> = open
        .flatten()
        .filter_map(|entry| {
            let path = fs::read_link(entry.path()).ok()?;
            let name = path.strip_prefix(partial).ok()?.to_str()?.replacen('-', ":", 1);
            let file = fs::metadata(entry.path()).ok()?;
            let quiet = SystemTime::now().duration_since(file.modified().ok()?).unwrap_or_default();
            Some(Download { layer: name, bytes: file.size(), quiet })
        })
        .collect();
    found.sort_by(|one, other| one.layer.cmp(&other.layer));
    found.dedup_by(|one, other| one.layer == other.layer);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_may_call_itself_whatever_it_likes() {
        let read = |stat| name_and_state(stat).unwrap();
        assert_eq!(read("7 (sh) S 1 7"), ("sh".to_owned(), 'S'));
        assert_eq!(read("7 (a) R (b) D 1 7"), ("a) R (b".to_owned(), 'D'));
        assert!(name_and_state("7").is_none() && name_and_state("7 )x( D").is_none());
    }

    #[test]
    fn a_download_is_a_file_that_the_process_has_open() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sha256-00ab");
        fs::write(&path, "12345").unwrap();
        let pid = i32::try_from(std::process::id()).unwrap();
        assert!(downloads(pid, folder.path()).is_empty());
        let _open = fs::File::open(&path).unwrap();
        let found = downloads(pid, folder.path());
        assert_eq!((found.len(), found[0].layer.as_str(), found[0].bytes), (1, "sha256:00ab", 5));
    }
}
