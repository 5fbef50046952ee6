//! The container log: rotated, on a slow disk, given up.

use super::*;

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

/// Reads `log` until `last` has come, without haste.
fn read_slowly(mut log: File, last: &str) -> String {
    let (mut text, mut buffer) = (Vec::new(), [0; 8 << 10]);
    while !String::from_utf8_lossy(&text).contains(last) {
        let mut readable = [PollFd::new(log.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut readable, 60_000u16).unwrap(), 1, "nothing more comes");
        let count = log.read(&mut buffer).unwrap();
        text.extend_from_slice(&buffer[..count]);
        std::thread::sleep(Duration::from_millis(20));
    }
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn a_log_on_a_slow_disk_keeps_its_tail() {
    let mut pod = Pod::new().await;
    let log = pod.slow_log();
    let padding = "x".repeat(70);
    let script = format!("i=0; while [ $i -lt 6000 ]; do echo $i {padding}; i=$((i+1)); done");
    pod.create(&["/bin/sh", "-c", &script]).await;
    // All of it fits into the pipe, so that the container ends long before its log is written.
    let (_, ends) =
        pod.call(Request::LogPipes { container: "c".into() }, Vec::new()).await.unwrap();
    fcntl(&ends[1], FcntlArg::F_SETPIPE_SZ(1 << 20)).unwrap();
    drop(ends);
    pod.ask(Request::Start { container: "c".into() }).await;
    let reader = std::thread::spawn(move || read_slowly(log, "F 5999 "));
    let exit = pod.ended().await;
    assert_eq!((exit.code, exit.output_lost), (0, 0));
    let text = reader.join().unwrap();
    let numbers = text.lines().map(|line| line.split(' ').nth(3).unwrap());
    assert!(numbers.eq((0..6000).map(|n| n.to_string())), "not every line once and in order");
    pod.shut_down().await;
}

#[tokio::test]
async fn a_log_that_is_given_up_says_so_in_its_last_line_and_in_the_exit_record() {
    let mut pod = Pod::new().await;
    let log = pod.slow_log();
    let script = "dd if=/dev/zero bs=1000 count=60 2>/dev/null | tr '\\0' x";
    pod.create_with(&["/bin/sh", "-c", script], Some(300)).await;
    pod.ask(Request::Start { container: "c".into() }).await;
    let exit = pod.ended().await;
    assert_eq!(exit.code, 0);
    assert!((1..=60_000).contains(&exit.output_lost), "{}", exit.output_lost);
    let record = exit_record::read(pod.folder.path(), "c").unwrap().unwrap();
    assert_eq!(record.1, exit);
    // What was on its way gets there yet; what was not is counted.
    let text = read_slowly(log, " bytes are missing here");
    let written = text.bytes().filter(|byte| *byte == b'x').count();
    let missing =
        format!("rrun: {} bytes are missing here, as the log was too slow", 60_000 - written);
    assert!(text.lines().any(|line| line.ends_with(&format!(" F {missing}"))), "{missing}");
    pod.shut_down().await;
}

#[tokio::test]
async fn a_shutdown_waits_for_the_last_output_of_what_it_kills() {
    let pod = Pod::new().await;
    let log = pod.slow_log();
    let padding = "x".repeat(70);
    let script =
        format!("i=0; while [ $i -lt 600 ]; do echo $i {padding}; i=$((i+1)); done; exec sleep 60");
    pod.start(&["/bin/sh", "-c", &script]).await;
    // 47 KiB: they fit into the pipe, and the program sleeps before the log has them.
    pod.wait_for_program("sleep").await;
    let reader = std::thread::spawn(move || read_slowly(log, "F 599 "));
    pod.shut_down().await;
    let text = reader.join().unwrap();
    let numbers = text.lines().map(|line| line.split(' ').nth(3).unwrap());
    assert!(numbers.eq((0..600).map(|n| n.to_string())), "not every line once and in order");
}
