//! ExecSync: codes, output, deadlines.

use crate::suite::*;
use futures::StreamExt;
use rrun_cri_api::Cri;
use rrun_cri_api::v1::{ExecRequest, ExecSyncRequest, GetEventsRequest};
use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;
use std::time::{Duration, Instant};

#[tokio::test]
async fn exec_tells_codes_and_output_apart() {
    let suite = Suite::start().await;
    let (pod, id) = suite.run("exec", &["/bin/sleeper"]).await;
    let config = suite.harness.pod("exec");
    let shell = suite.harness.container("sh", rrun_tests::harness::BUSYBOX, &["sleep", "1000"]);
    let shell = suite.create(&pod, shell, &config).await.unwrap();
    suite.start_container(&shell).await.unwrap();

    let done = suite.exec(&shell, &["sh", "-c", "echo out; echo err >&2; exit 7"], 10).await;
    let done = done.unwrap();
    assert_eq!(done.exit_code, 7);
    assert_eq!((&done.stdout[..], &done.stderr[..]), (&b"out\n"[..], &b"err\n"[..]));
    // A missing command, one that is no program, and a folder.
    for (command, code) in [("/bin/nothing", 127), ("nothing", 127), ("/etc/passwd", 126)] {
        let done = suite.exec(&shell, &[command], 10).await.unwrap();
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.exit_code, code, "{command}: {said}");
        assert!(said.contains(command), "{said}");
    }
    assert_eq!(suite.status(&id).await.state, RUNNING);
    suite.remove(&pod).await;
    suite.assert_nothing_left();
}

#[tokio::test]
async fn an_exec_over_its_deadline_dies_with_its_whole_tree() {
    let suite = Suite::start().await;
    let (pod, id) = suite.run("deadline", &["/bin/sleeper"]).await;
    let before = suite.settled().await;
    let late = suite.exec(&id, &["/bin/work", "tree", "5"], 1).await.unwrap_err();
    assert_eq!(late.code(), tonic::Code::DeadlineExceeded, "{late}");
    // The folder of the exec's own cgroup is kept for the next.
    let after = suite.settled().await;
    let processes = |all: &rrun_tests::leaks::Snapshot| {
        all.of(rrun_tests::leaks::Kind::Process).iter().cloned().collect::<Vec<_>>()
    };
    assert_eq!(processes(&before), processes(&after));
    suite.remove(&pod).await;
    suite.assert_nothing_left();
}

#[tokio::test]
async fn a_command_whose_client_has_gone_is_killed() {
    let suite = Suite::start().await;
    let (pod, id) = suite.run("gone", &["/bin/sleeper"]).await;
    suite.exec(&id, &["/bin/true"], 10).await.unwrap();
    let processes = async || {
        let all = suite.settled().await;
        all.of(rrun_tests::leaks::Kind::Process).iter().cloned().collect::<Vec<_>>()
    };
    let before = processes().await;
    let call = || {
        let client = suite.harness.client.clone();
        let cmd = vec!["/bin/sleeper".to_owned()];
        let request = ExecSyncRequest { container_id: id.clone(), cmd, timeout: 0 };
        tokio::spawn(async move { client.exec_sync(request).await })
    };
    let running = call();
    suite.until("the command runs", async || processes().await != before).await;
    running.abort();
    // Before, while and after the shim makes it.
    for ms in 0..10 {
        let begun = call();
        tokio::time::sleep(Duration::from_millis(ms)).await;
        begun.abort();
    }
    suite.until("all of them are gone", async || processes().await == before).await;
    suite.remove(&pod).await;
    suite.assert_nothing_left();
}

#[tokio::test]
async fn a_daemon_that_is_told_to_end_tells_its_exec_clients_and_its_pods_go_on() {
    let mut suite = Suite::start().await;
    let config = suite.harness.pod("told");
    let pod = suite.run_pod(&config).await;
    let shell = suite.harness.container("sh", rrun_tests::harness::BUSYBOX, &["sleep", "1000"]);
    let shell = suite.create(&pod, shell, &config).await.unwrap();
    suite.start_container(&shell).await.unwrap();
    let pid = suite.pid(&shell).await;
    for transport in ["spdy", "websocket"] {
        let mut client = suite.crictl(&["exec", "--transport", transport, &shell]);
        client.args(["sh", "-c", "echo up; sleep 1000"]);
        let mut client = client.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(client.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "up\n", "{transport}");
        let events = suite.harness.client.get_container_events(GetEventsRequest {}).await;
        let mut events = events.unwrap();
        let daemon = suite.harness.daemon().unwrap().pid() as i32;
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(daemon), nix::sys::signal::SIGTERM)
            .unwrap();
        let mut said = String::new();
        client.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert!(!client.wait().unwrap().success(), "{transport}: {said}");
        assert!(said.contains("the runtime is shutting down"), "{transport}: {said}");
        // A stream that the daemon ends has an end; one that it had to cut has an error.
        let end = tokio::time::timeout(PATIENCE, events.next()).await;
        assert!(end.expect("the stream of events goes on").is_none(), "{transport}");
        let deadline = Instant::now() + PATIENCE;
        while !suite.harness.has_ended().unwrap() {
            assert!(Instant::now() < deadline, "the daemon does not end");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        suite.restart().await;
        assert_eq!(suite.pid(&shell).await, pid);
    }
    suite.remove(&pod).await;
    suite.assert_nothing_left();
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, der);
    format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
}

#[tokio::test]
async fn commands_go_through_tls_where_the_configuration_has_a_certificate() {
    let mut suite = Suite::start().await;
    let pair = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let root = suite.harness.sandbox().root().to_owned();
    let [cert, key] = ["streaming.crt", "streaming.key"].map(|name| root.join(name));
    std::fs::write(&cert, pem("CERTIFICATE", pair.cert.der())).unwrap();
    std::fs::write(&key, pem("PRIVATE KEY", &pair.signing_key.serialize_der())).unwrap();
    let [cert, key] = [cert, key].map(|path| path.display().to_string());
    let keys = format!("tls_cert_file = '{cert}'\ntls_key_file = '{key}'\n");
    suite.harness.configure(&format!("[streaming]\n{keys}"));
    suite.restart().await;
    let config = suite.harness.pod("tls");
    let pod = suite.run_pod(&config).await;
    let shell = suite.harness.container("sh", rrun_tests::harness::BUSYBOX, &["sleep", "1000"]);
    let shell = suite.create(&pod, shell, &config).await.unwrap();
    suite.start_container(&shell).await.unwrap();
    let request = ExecRequest {
        container_id: shell.clone(),
        cmd: vec!["true".to_owned()],
        stdout: true,
        ..Default::default()
    };
    let url = suite.harness.client.exec(request).await.unwrap().url;
    assert!(url.starts_with("https://127.0.0.1:"), "{url}");
    for transport in ["spdy", "websocket"] {
        let mut client = suite.crictl(&["exec", "--transport", transport, &shell]);
        let done = client.args(["sh", "-c", "echo out; echo err >&2; exit 3"]).output().unwrap();
        let [out, err] = [&done.stdout, &done.stderr].map(|said| String::from_utf8_lossy(said));
        assert_eq!(out, "out\n", "{transport}: {err}");
        assert!(err.contains("err\n") && err.contains("exit code 3"), "{transport}: {err}");
    }
    suite.remove(&pod).await;
    suite.assert_nothing_left();
}
