//! Streams, terminals and the network of such pods, and what a death on the way leaves.

use super::*;
use crate::crowds::connect_in;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::process::Stdio;

#[tokio::test]
async fn standard_output_can_be_opened_by_its_user() {
    let suite = Suite::start().await;
    let first = 458_752;
    let config = pod(&suite, "stdio", first);
    let pod = suite.run_pod(&config).await;
    for (name, user) in [("root", 0), ("user", 1000)] {
        let mut talker = shell(&suite, first, Vec::new());
        talker.metadata.as_mut().unwrap().name = name.to_owned();
        talker.log_path = format!("{name}.log");
        talker.command =
            ["/bin/sh", "-c", "echo opened > /dev/stdout; sleep 1000"].map(str::to_owned).into();
        security(&mut talker).run_as_user = Some(Int64Value { value: user });
        let id = suite.started(&pod, talker, &config).await;
        let log = suite.log_path("stdio", name);
        suite
            .until("it has said so", async || {
                fs::read_to_string(&log).is_ok_and(|text| text.contains("stdout F opened"))
            })
            .await;
        assert_eq!(said(&suite, &id, "echo opened > /dev/stdout").await, "opened");
    }
    suite.remove(&pod).await;
    suite.assert_nothing_left();
}

#[tokio::test]
async fn streams_terminals_and_the_network_are_served_as_those_of_other_pods() {
    let mut suite = Suite::start().await;
    let first = 589_824;
    let config = pod(&suite, "served", first);
    let pod = suite.run_pod(&config).await;
    let mut server =
        suite.harness.container("server", WORK, &["/bin/work", "serve", "8080", "hello"]);
    server.linux.as_mut().unwrap().security_context =
        shell(&suite, first, vec![]).linux.unwrap().security_context;
    suite.started(&pod, server, &config).await;
    let mut main = shell(&suite, first, Vec::new());
    main.tty = true;
    main.stdin = true;
    main.command = ["/bin/sh", "-c", "stat -c '%u %n' $(tty); exec cat"].map(str::to_owned).into();
    let main = suite.started(&pod, main, &config).await;
    let log = suite.log_path("served", "main");
    let has = async |text: &str| {
        suite
            .until(text, async || fs::read_to_string(&log).is_ok_and(|log| log.contains(text)))
            .await;
    };
    has("0 /dev/pts/0").await;
    suite.restart().await;
    let mut client = suite.crictl(&["attach", "--stdin", &main]);
    let mut client = client.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    client.stdin.take().unwrap().write_all(b"typed\n").unwrap();
    let has = async |text: &str| {
        suite
            .until(text, async || fs::read_to_string(&log).is_ok_and(|log| log.contains(text)))
            .await;
    };
    has("typed").await;
    client.kill().unwrap();
    client.wait().unwrap();
    let stat = "stat -c '%u %n' $(tty)";
    let told = suite.crictl_on_terminal(&["exec", "-it", &main, "sh", "-c", stat]);
    assert!(told[0].contains("0 /dev/pts/"), "{told:?}");

    let address: std::net::IpAddr =
        suite.pod_status(&pod).await.network.unwrap().ip.parse().unwrap();
    let daemon = i64::from(suite.harness.daemon().unwrap().pid());
    let asked = |to: SocketAddr| -> std::io::Result<String> {
        let mut stream = connect_in(daemon, to)?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let reached = async |to: SocketAddr| {
        suite
            .until("it answers", async || asked(to).is_ok_and(|answer| answer.contains("hello")))
            .await;
    };
    reached((address, 8080).into()).await;
    let mut forward =
        suite.crictl(&["port-forward", &pod, "18080:8080"]).stdout(Stdio::null()).spawn().unwrap();
    reached(([127, 0, 0, 1], 18080).into()).await;
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(forward.id() as i32),
        nix::sys::signal::Signal::SIGTERM,
    )
    .unwrap();
    forward.wait().unwrap();
    let stats = ContainerStatsRequest { container_id: main };
    let stats = suite.harness.client.container_stats(stats).await.unwrap().stats.unwrap();
    assert!(stats.memory.unwrap().working_set_bytes.unwrap().value > 0);
    suite.remove(&pod).await;
    suite.until_clean();
    suite.assert_nothing_left();
}

#[tokio::test]
async fn a_daemon_or_a_shim_that_dies_on_the_way_leaves_nothing() {
    let mut suite = Suite::start().await;
    let first = 655_360;
    for point in [
        "engine.run-pod.sandbox:after",
        "engine.create-container.overlay:after",
        "engine.create-container.init:after",
    ] {
        suite.harness.restart_with(&[("RRUN_KILL_AT", point)]).await.unwrap();
        let config = pod(&suite, "cut", first);
        let request = RunPodSandboxRequest { config: Some(config.clone()), ..Default::default() };
        if let Ok(made) = suite.harness.client.run_pod_sandbox(request).await {
            let cut =
                suite.create(&made.pod_sandbox_id, shell(&suite, first, Vec::new()), &config).await;
            assert!(cut.is_err(), "{point}: nobody has died there");
        }
        suite.restart().await;
        let pod = suite.run_pod(&config).await;
        let id = suite.started(&pod, shell(&suite, first, Vec::new()), &config).await;
        assert_eq!(said(&suite, &id, "id -u").await, "0");
        kill(suite.shim(&pod));
        suite
            .until("the pod is not ready", async || suite.pod_status(&pod).await.state == NOT_READY)
            .await;
        suite.remove(&pod).await;
        suite.until_clean();
        suite.assert_nothing_left();
    }
}

#[tokio::test]
async fn a_neighbour_that_may_trace_cannot_look_into_a_container_that_is_being_made() {
    let suite = Suite::start().await;
    let first = 720_896;
    let config = pod(&suite, "traced", first);
    let pod = suite.run_pod(&config).await;
    // Only the mount namespace that containers come from has such a folder at its root.
    let script = "while :; do for p in /proc/[0-9]*; do \
        [ -e $p/root/shm ] && echo $p >> /seen; \
        [ -e $p/root/. ] && continue; \
        read -r _ _ state _ < $p/stat && [ $state != Z ] && echo $p >> /met; \
        done; done 2> /dev/null";
    let mut spy = shell(&suite, first, Vec::new());
    spy.metadata.as_mut().unwrap().name = "spy".to_owned();
    spy.command = ["/bin/sh", "-c", script].map(str::to_owned).into();
    security(&mut spy).capabilities = adding("SYS_PTRACE");
    let spy = suite.started(&pod, spy, &config).await;
    let met = "it has met one that was being made";
    suite
        .until(met, async || {
            let made = shell(&suite, first, Vec::new());
            let made = suite.create(&pod, made, &config).await.unwrap();
            suite.remove_container(&made).await;
            said(&suite, &spy, "test -s /met && echo met").await == "met"
        })
        .await;
    assert_eq!(said(&suite, &spy, "test -e /seen || echo nothing").await, "nothing");
    suite.remove(&pod).await;
    suite.until_clean();
    suite.assert_nothing_left();
}
