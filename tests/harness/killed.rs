//! A test process that is killed.

use rrun_cri_api::Cri;
use rrun_cri_api::v1::RunPodSandboxRequest;
use rrun_tests::disk::Disk;
use rrun_tests::harness::{Harness, WORK};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const MARK: &str = "RRUN_TEST_TO_BE_KILLED";

#[tokio::test]
#[ignore = "the other test of this module runs it as a process of its own"]
async fn waits_with_a_pod_until_it_is_killed() {
    if std::env::var_os(MARK).is_none() {
        return;
    }
    let harness = Harness::start().await.unwrap();
    harness.pull(WORK).await.unwrap();
    let request = RunPodSandboxRequest { config: Some(harness.pod("left")), ..Default::default() };
    harness.client.run_pod_sandbox(request).await.unwrap();
    let sandbox = harness.sandbox();
    let frozen = Path::new("/var/lib/rrun/frozen");
    let disk = Disk::mount(frozen, sandbox.root().join("disk"), sandbox.prefix());
    disk.freeze();
    let mut waits = sandbox.command("touch").arg(frozen.join("file")).spawn().unwrap();
    let name = format!("/proc/{}/comm", waits.id());
    while fs::read_to_string(&name).unwrap() != "touch\n" {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    println!("\n{MARK} {}", sandbox.root().display());
    // For ever: the disk stays frozen.
    waits.wait().unwrap();
}

#[test]
fn a_test_process_that_is_killed_leaves_no_process() {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture"])
        .arg("killed::waits_with_a_pod_until_it_is_killed")
        .env(MARK, "")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut lines = lines.map(Result::unwrap);
    let root = lines.find_map(|line| Some(PathBuf::from(line.strip_prefix(MARK)?.trim()))).unwrap();
    let all = inside(&root);
    for program in ["rrund", "rrun-shim", "docker-registry", "touch"] {
        assert!(all.iter().any(|(_, name)| name.starts_with(program)), "{program}: {all:?}");
    }
    let registry = all.iter().find(|(_, name)| name.starts_with("docker")).unwrap().0.clone();
    let command = fs::read_to_string(registry.join("cmdline")).unwrap();
    let config = PathBuf::from(command.trim_end_matches('\0').rsplit('\0').next().unwrap());

    child.kill().unwrap();
    child.wait().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !inside(&root).is_empty() {
        assert!(Instant::now() < deadline, "{:?}", inside(&root));
        std::thread::sleep(Duration::from_millis(10));
    }
    let hierarchies = fs::read_dir("/sys/fs/cgroup").unwrap().flatten();
    for group in hierarchies.map(|entry| entry.path().join(root.file_name().unwrap())) {
        assert!(!group.exists(), "{}", group.display());
    }
    // Its folders are all that it has left.
    fs::remove_dir_all(config.parent().unwrap()).unwrap();
    fs::remove_dir_all(root).unwrap();
}

/// Processes that see the mounts of the sandbox in `root`, with their names.
fn inside(root: &Path) -> Vec<(PathBuf, String)> {
    let all = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let sees = |folder: &PathBuf| {
        let mounts = fs::read_to_string(folder.join("mountinfo")).unwrap_or_default();
        mounts.contains(root.to_str().unwrap())
    };
    let name = |folder: PathBuf| {
        let name = fs::read_to_string(folder.join("comm")).unwrap_or_default();
        (folder, name)
    };
    all.filter(|path| path.join("ns").exists()).filter(sees).map(name).collect()
}
