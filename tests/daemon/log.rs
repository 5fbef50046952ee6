//! The container's log under load, rotation and the daemon's death.

use crate::suite::*;
use rrun_cri_api::Cri;
use rrun_cri_api::v1::ReopenContainerLogRequest;
use std::fs;
use std::path::Path;

const LINES: usize = 400_000;

#[tokio::test]
async fn every_line_is_logged_once_in_order_over_rotations_and_a_dead_daemon() {
    let mut suite = Suite::start().await;
    // 100,000 lines of 100 bytes a second on each stream.
    let count = LINES.to_string();
    let (pod, id) = suite.run("numbers", &["/bin/work", "numbers", "100000", &count]).await;
    let log = suite.log_path("numbers", "main");
    let rotated = |n: usize| log.with_extension(format!("log.{n}"));
    for round in 0..3 {
        suite.until("the log grows", async || grown(&log)).await;
        fs::rename(&log, rotated(2 * round)).unwrap();
        let old = rotated(2 * round).metadata().unwrap().len();
        // The daemon dies between the rotation and the call: the old file goes on.
        suite.restart().await;
        let on = || rotated(2 * round).metadata().unwrap().len() > old;
        suite.until("the old file grows", async || on()).await;
        reopen(&suite, &id).await;
        suite.until("the new file grows", async || grown(&log)).await;
        fs::rename(&log, rotated(2 * round + 1)).unwrap();
        reopen(&suite, &id).await;
    }
    assert_eq!(suite.status(&id).await.state, RUNNING, "it ended before the last rotation");
    assert_eq!(suite.ended(&id).await.exit_code, 0);
    let mut next = [0, 0];
    for path in (0..6).map(rotated).chain([log.clone()]) {
        read(&path, &mut next);
    }
    assert_eq!(next, [LINES, LINES]);
    suite.remove(&pod).await;
    suite.assert_nothing_left();
}

fn grown(log: &Path) -> bool {
    log.metadata().is_ok_and(|file| file.len() > 1 << 20)
}

async fn reopen(suite: &Suite, id: &str) {
    let request = ReopenContainerLogRequest { container_id: id.to_owned() };
    suite.harness.client.reopen_container_log(request).await.unwrap();
}

/// Each line is whole, and its number the next of its stream.
pub fn read(path: &Path, next: &mut [usize; 2]) {
    for line in fs::read_to_string(path).unwrap().lines() {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let [_, stream, "F", content] = words[..] else { panic!("{}: {line:?}", path.display()) };
        let (index, letter) = if stream == "stdout" { (0, 'o') } else { (1, 'e') };
        assert_eq!(content, format!("{letter}{}", next[index]), "{}", path.display());
        next[index] += 1;
    }
}

#[tokio::test]
async fn the_log_of_a_container_that_does_not_run_is_not_reopened() {
    let suite = Suite::start().await;
    let (pod, id) = suite.run("over", &["/bin/true"]).await;
    suite.ended(&id).await;
    let log = suite.log_path("over", "main");
    fs::remove_file(&log).unwrap();
    let request = ReopenContainerLogRequest { container_id: id };
    suite.harness.client.reopen_container_log(request).await.unwrap_err();
    assert!(!log.exists());
    suite.remove(&pod).await;
    suite.assert_nothing_left();
}
