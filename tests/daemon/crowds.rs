//! Clients by the thousand, and a daemon that may open few files.

use crate::suite::*;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rrun_cri_api::v1::*;
use rrun_cri_api::{Client, Cri};
use std::fs;
use std::io::Write;
use std::os::unix::net::UnixStream;
use tokio::task::JoinSet;

/// The daemon's limit: RLIMIT_NOFILE.
const FILES: usize = 512;

/// A daemon that may open [`FILES`] files.
async fn limited() -> Suite {
    Suite::start_after(&format!("ulimit -n {FILES}")).await
}

/// How many entries a folder of the daemon's in `/proc` has: `fd`, `task`.
fn count(suite: &Suite, folder: &str) -> usize {
    let pid = suite.harness.daemon().unwrap().pid();
    fs::read_dir(format!("/proc/{pid}/{folder}")).unwrap().count()
}

#[tokio::test]
async fn a_thousand_clients_that_never_speak_keep_nobody_from_being_served() {
    // This process has the other ends.
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    let suite = limited().await;
    let (pod, main) = suite.run("served", &["/bin/sleeper"]).await;
    let before = count(&suite, "fd");
    let socket = suite.harness.daemon().unwrap().socket().to_owned();
    let mut silent = Vec::new();
    for number in 0..1_000 {
        let mut stream = UnixStream::connect(&socket).unwrap();
        if number % 2 == 0 {
            // The beginning of HTTP/2's preface. Who is closed already says so.
            let _ = stream.write_all(b"PRI * HTTP/2.0\r\n");
        }
        silent.push(stream);
    }
    let client = Client::connect(&suite.harness.daemon().unwrap().endpoint()).await.unwrap();
    client.version(VersionRequest::default()).await.unwrap();
    assert_eq!(suite.exec(&main, &["/bin/true"], 10).await.unwrap().exit_code, 0);
    let (other, _) = suite.run("other", &["/bin/sleeper"]).await;
    suite.until("the rest is closed", async || count(&suite, "fd") < before + 100).await;
    suite.remove(&other).await;
    suite.remove(&pod).await;
    drop(silent);
    suite.assert_nothing_left();
}

#[tokio::test]
async fn a_thousand_execs_at_once_stay_within_the_daemons_descriptors_and_hold_up_nobody() {
    let suite = limited().await;
    let (pod, main) = suite.run("busy", &["/bin/sleeper"]).await;
    let mut execs = JoinSet::new();
    for _ in 0..1_000 {
        let client = suite.harness.client.clone();
        let cmd = vec!["/bin/sleeper".to_owned()];
        let request = ExecSyncRequest { container_id: main.clone(), cmd, timeout: 20 };
        execs.spawn(async move { client.exec_sync(request).await });
    }
    // Those that find no place are told so.
    let first = execs.join_next().await.unwrap().unwrap().unwrap_err();
    assert_eq!(first.code(), tonic::Code::ResourceExhausted, "{first}");
    assert!(first.message().contains(&format!("RLIMIT_NOFILE is {FILES}")), "{first}");
    assert!(count(&suite, "fd") < FILES && count(&suite, "task") < 100);
    let (other, its) = suite.run("other", &["/bin/sleeper"]).await;
    suite.stop_container(&its, 0).await;
    suite.remove(&other).await;
    // They end at their deadline.
    execs.shutdown().await;
    let again = async || suite.exec(&main, &["/bin/true"], 10).await.is_ok();
    suite.until("there is a place again", again).await;
    suite.remove(&pod).await;
    suite.assert_nothing_left();
}
