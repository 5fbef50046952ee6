//! The container log: rotated, on a disk that hangs, given up.

use super::*;
use rrun_tests::disk::Disk;
use std::path::Path;

#[tokio::test]
async fn each_numbered_line_is_logged_once_and_in_order_while_the_log_is_rotated() {
    let mut pod = Pod::new().await;
    let count = 50_000;
    let script = format!("i=0; while [ $i -lt {count} ]; do i=$((i+1)); echo $i; done");
    pod.start(&["sh", "-c", &script]).await;
    let mut rotated = Vec::new();
    for n in 0..5 {
        let old = pod.log().with_extension(n.to_string());
        std::fs::rename(pod.log(), &old).unwrap();
        pod.ask(Request::ReopenLog { container: "c".into() }).await;
        rotated.push(old);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(pod.ended().await.code, 0);
    let mut expected = 1;
    for path in rotated.into_iter().chain([pod.log()]) {
        for line in std::fs::read_to_string(path).unwrap().lines() {
            let number: u64 = line.rsplit_once(' ').unwrap().1.parse().unwrap();
            assert_eq!(number, expected);
            expected += 1;
        }
    }
    assert_eq!(expected, count + 1);
    pod.shut_down().await;
}

/// A disk that takes the logs of a pod, and the folder that it is in, which goes after it.
fn disk_of(pod: &mut Pod) -> (TempDir, Disk) {
    let folder = tempfile::tempdir().unwrap();
    pod.logs = folder.path().join("logs");
    let disk = Disk::mount(&pod.logs, folder.path().join("disk.ext4"), Vec::new());
    (folder, disk)
}

/// The first word of each line's output.
fn numbers(log: &Path) -> Vec<String> {
    let log = std::fs::read_to_string(log).unwrap();
    log.lines().map(|line| line.split(' ').nth(3).unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_log_on_a_disk_that_hangs_for_a_while_keeps_its_tail() {
    let mut pod = Pod::new().await;
    let (_folder, disk) = disk_of(&mut pod);
    let padding = "x".repeat(70);
    let script = format!("i=0; while [ $i -lt 6000 ]; do echo $i {padding}; i=$((i+1)); done");
    pod.create(&["/bin/sh", "-c", &script]).await;
    // All of it fits into the pipe, so that the container ends long before its log is written.
    let (_, ends) =
        pod.call(Request::LogPipes { container: "c".into() }, Vec::new()).await.unwrap();
    fcntl(&ends[1], FcntlArg::F_SETPIPE_SZ(1 << 20)).unwrap();
    drop(ends);
    disk.freeze();
    pod.ask(Request::Start { container: "c".into() }).await;
    pod.has_ended().await;
    disk.go_on();
    let exit = pod.ended().await;
    assert_eq!((exit.code, exit.output_lost), (0, 0));
    assert!(numbers(&pod.log()).into_iter().eq((0..6000).map(|n| n.to_string())));
    drop(disk);
    pod.shut_down().await;
}

#[tokio::test]
async fn a_log_that_is_given_up_says_so_in_its_last_line_and_in_the_exit_record() {
    let mut pod = Pod::new().await;
    let (_folder, disk) = disk_of(&mut pod);
    let script = "dd if=/dev/zero bs=1000 count=60 2>/dev/null | tr '\\0' x";
    pod.create_with(&["/bin/sh", "-c", script], Some(300)).await;
    disk.freeze();
    pod.ask(Request::Start { container: "c".into() }).await;
    let exit = pod.ended().await;
    assert_eq!(exit.code, 0);
    assert!((1..=60_000).contains(&exit.output_lost), "{}", exit.output_lost);
    let record = exit_record::read(pod.folder.path(), "c").unwrap().unwrap();
    assert_eq!(record.1, exit);
    // What was on its way gets there yet; what was not is counted.
    disk.go_on();
    let (log, mut text) = (pod.log(), String::new());
    let is_told = || {
        text = std::fs::read_to_string(&log).unwrap();
        text.contains(" bytes are missing here")
    };
    until("what is missing is told", is_told).await;
    let written = text.bytes().filter(|byte| *byte == b'x').count();
    let missing =
        format!("rrun: {} bytes are missing here, as the log was too slow", 60_000 - written);
    assert!(text.lines().any(|line| line.ends_with(&format!(" F {missing}"))), "{missing}");
    drop(disk);
    pod.shut_down().await;
}

#[tokio::test]
async fn a_shutdown_waits_for_the_last_output_of_what_it_kills() {
    let mut pod = Pod::new().await;
    let (_folder, disk) = disk_of(&mut pod);
    let padding = "x".repeat(70);
    let script =
        format!("i=0; while [ $i -lt 600 ]; do echo $i {padding}; i=$((i+1)); done; exec sleep 60");
    pod.create(&["/bin/sh", "-c", &script]).await;
    disk.freeze();
    pod.ask(Request::Start { container: "c".into() }).await;
    // 47 KiB: they fit into the pipe, and the program sleeps before the log has them.
    pod.wait_for_program("sleep").await;
    let log = pod.log();
    let unified = pod.image.groups.dirs.iter().find(|dir| dir.unified).unwrap();
    let members = unified.path.join("cgroup.procs");
    let is_dead = || std::fs::read_to_string(&members).is_ok_and(|pids| pids.is_empty());
    tokio::join!(pod.shut_down(), async {
        until("it is killed", is_dead).await;
        disk.go_on();
    });
    assert!(numbers(&log).into_iter().eq((0..600).map(|n| n.to_string())));
}
