//! The built-in bridge on the real kernel, each test on a host of its own.

// Clippy does not see that helpers of tests are tests.
#![allow(clippy::unwrap_used)]

mod forwarding;
#[path = "../lab/mod.rs"]
mod lab;
mod rates;
mod two_families;

use lab::{Lab, ask, first_address, open, serve, sh, traces, wait};
use rrun_cni::{Kind, Mode, Protocol};
use std::collections::BTreeSet;
use std::net::{IpAddr, TcpListener, UdpSocket};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

#[test]
fn pods_reach_each_other_and_the_host_reaches_them() {
    let lab = Lab::new();
    let network = lab.network();
    let (a, b) = (lab.pod("a"), lab.pod("b"));
    let ip_a = a.add(&network).unwrap().ips[0];
    let ip_b = b.add(&network).unwrap().ips[0];
    assert_eq!([ip_a.to_string(), ip_b.to_string()], ["10.213.0.2", "10.213.0.3"]);
    b.serve(80);
    assert_eq!(a.run(|| ask(ip_b, 80)).unwrap(), ip_a.to_string());
    assert_eq!(ask(ip_b, 80).unwrap(), "10.213.0.1");
    serve(TcpListener::bind("0.0.0.0:81").unwrap());
    assert_eq!(a.run(|| ask([10, 213, 0, 1], 81)).unwrap(), ip_a.to_string());
    let own = a.run(|| {
        serve(TcpListener::bind("127.0.0.1:82").unwrap());
        ask([127, 0, 0, 1], 82)
    });
    assert_eq!(own.unwrap(), "127.0.0.1");
    a.del(&network).unwrap();
    b.del(&network).unwrap();
    assert_eq!(traces(), "");
    assert_eq!(wait(network.attachments()).unwrap(), []);
}

#[test]
fn an_attachment_stands_on_record_with_its_result() {
    let lab = Lab::new();
    let network = lab.network();
    let pod = lab.pod("a");
    let attached = pod.add(&network).unwrap();
    let entries = wait(lab.network().attachments()).unwrap();
    assert_eq!((entries.len(), entries[0].id.as_str(), entries[0].attached), (1, "a", true));
    assert_eq!(lab.results(), [("a".to_owned(), attached.result)]);
    let again = pod.add(&network).unwrap_err();
    assert_eq!(again.kind(), Kind::Exists);
    assert_eq!(again.to_string(), "add: a is attached already, or not yet detached");
    pod.del(&network).unwrap();
    pod.del(&network).unwrap();
    wait(network.del("nobody")).unwrap();
}

#[test]
fn a_host_port_is_reached_from_everywhere() {
    let lab = lab_with_outside();
    let network = lab.network();
    let web = lab.pod("web").port(Protocol::Tcp, 8080, 80).port_on("192.0.2.1", 8081, 80);
    let other = lab.pod("other");
    let ip = web.add(&network).unwrap().ips[0];
    let ip_other = other.add(&network).unwrap().ips[0];
    web.serve(80);
    // From the host by every address of its own, from a neighbour, from itself.
    assert_eq!(ask([127, 0, 0, 1], 8080).unwrap(), "10.213.0.1");
    for host in ["10.213.0.1", "192.0.2.1"] {
        assert_eq!(ask(host.parse::<IpAddr>().unwrap(), 8080).unwrap(), host);
    }
    assert_eq!(other.run(|| ask([192, 0, 2, 1], 8080)).unwrap(), "10.213.0.1");
    assert_eq!(web.run(|| ask([192, 0, 2, 1], 8080)).unwrap(), "10.213.0.1");
    assert_eq!(other.run(|| ask(ip, 80)).unwrap(), ip_other.to_string());
    // From outside, with the client's own address.
    assert_eq!(in_outside(|| ask([192, 0, 2, 1], 8080)).unwrap(), "192.0.2.2");
    // One address of the host only.
    assert_eq!(in_outside(|| ask([192, 0, 2, 1], 8081)).unwrap(), "192.0.2.2");
    assert!(ask([127, 0, 0, 1], 8081).is_err());
    web.del(&network).unwrap();
    assert!(ask([192, 0, 2, 1], 8080).is_err());
    other.del(&network).unwrap();
    assert_eq!(traces(), "");
}

#[test]
fn a_udp_host_port_takes_over_from_what_the_host_remembers() {
    let lab = Lab::new();
    let network = lab.network();
    let before = lab.pod("before");
    before.add(&network).unwrap();
    let client = before.run(|| UdpSocket::bind("0.0.0.0:4000").unwrap());
    // From now on the host knows this connection as one without translation.
    let host = UdpSocket::bind("0.0.0.0:53").unwrap();
    client.send_to(b"?", "10.213.0.1:53").unwrap();
    host.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    host.recv(&mut [0; 8]).unwrap();
    let dns = lab.pod("dns").port(Protocol::Udp, 53, 5353);
    dns.add(&network).unwrap();
    let server = dns.run(|| UdpSocket::bind("0.0.0.0:5353").unwrap());
    server.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    client.send_to(b"!", "10.213.0.1:53").unwrap();
    let mut bytes = [0; 8];
    let (length, _) = server.recv_from(&mut bytes).unwrap();
    assert_eq!(&bytes[..length], b"!");
    // And the host from a pod that has gone.
    dns.del(&network).unwrap();
    client.send_to(b"again", "10.213.0.1:53").unwrap();
    let (length, _) = host.recv_from(&mut bytes).unwrap();
    assert_eq!(&bytes[..length], b"again");
    before.del(&network).unwrap();
}

#[test]
fn what_leaves_the_node_has_the_nodes_address() {
    let lab = lab_with_outside();
    let network = lab.network();
    let pod = lab.pod("a");
    pod.add(&network).unwrap();
    serve_outside();
    assert_eq!(pod.run(ask_outside).unwrap(), "192.0.2.1");
    pod.del(&network).unwrap();
}

#[test]
fn a_pod_does_not_reach_the_hosts_loopback() {
    let lab = Lab::new();
    let network = lab.network();
    let pod = lab.pod("a");
    pod.add(&network).unwrap();
    serve(TcpListener::bind("127.0.0.1:84").unwrap());
    // What a pod with CAP_NET_ADMIN can do about its own routes.
    pod.run(|| {
        sh("echo 1 > /proc/sys/net/ipv4/conf/eth0/route_localnet
            ip addr del 127.0.0.1/8 dev lo; ip route flush table local 127.0.0.0/8 || true
            ip route add 127.0.0.1 via 10.213.0.1 dev eth0 src 10.213.0.2")
    });
    assert!(pod.run(|| ask([127, 0, 0, 1], 84)).is_err());
    // It is the guard that keeps it away, and nothing else would.
    sh("nft flush chain ip rrtest guard");
    assert_eq!(pod.run(|| ask([127, 0, 0, 1], 84)).unwrap(), "10.213.0.2");
    pod.del(&network).unwrap();
}

#[test]
fn a_taken_host_port_is_refused_and_nothing_stays_of_the_attempt() {
    let lab = Lab::new();
    let network = lab.network();
    let a = lab.pod("a").port(Protocol::Tcp, 8080, 80);
    let b = lab.pod("b").port(Protocol::Tcp, 8080, 80);
    a.add(&network).unwrap();
    let refused = b.add(&network).unwrap_err();
    assert_eq!(refused.to_string(), "add: host port 8080/tcp is taken by pod a");
    assert_eq!(wait(network.attachments()).unwrap().len(), 1);
    a.serve(80);
    ask([127, 0, 0, 1], 8080).unwrap();
    a.del(&network).unwrap();
    assert_eq!(traces(), "");
    b.add(&network).unwrap();
    b.del(&network).unwrap();
}

#[test]
fn del_works_when_the_namespace_is_gone_or_held_by_another() {
    let lab = Lab::new();
    let network = lab.network();
    let (gone, held) = (lab.pod("gone"), lab.pod("held"));
    gone.add(&network).unwrap();
    held.add(&network).unwrap();
    gone.unpin();
    let _hold = std::fs::File::open(&held.netns).unwrap();
    held.unpin();
    gone.del(&network).unwrap();
    held.del(&network).unwrap();
    assert_eq!(traces(), "");
}

#[test]
fn what_was_flushed_comes_back_with_the_next_pod() {
    let lab = Lab::new();
    let network = lab.network();
    let web = lab.pod("web").port(Protocol::Tcp, 8080, 80);
    web.add(&network).unwrap();
    web.serve(80);
    sh("nft flush ruleset");
    assert!(ask([127, 0, 0, 1], 8080).is_err());
    let other = lab.pod("other");
    other.add(&network).unwrap();
    ask([127, 0, 0, 1], 8080).unwrap();
    // A table of another make is replaced in one go.
    sh("nft delete table ip rrtest; nft add table ip rrtest");
    let third = lab.pod("third");
    third.add(&network).unwrap();
    ask([127, 0, 0, 1], 8080).unwrap();
    sh("nft flush ruleset");
    for pod in [web, other, third] {
        pod.del(&network).unwrap();
    }
    assert_eq!(traces(), "");
}

#[test]
fn forwarding_and_the_bridges_address_and_route_come_back_with_the_next_pod() {
    let lab = lab_with_outside();
    let network = lab.network();
    let first = lab.pod("first");
    let ip = first.add(&network).unwrap().ips[0];
    serve_outside();
    first.serve(80);
    let reaches = || {
        let out = first.run(ask_outside).is_ok();
        (out, ask(ip, 80).is_ok())
    };
    assert_eq!(reaches(), (true, true));
    assert_eq!(wait(network.status()).message, "");
    let localnet = "/proc/sys/net/ipv4/conf/rrtest0/route_localnet";
    for (n, loss) in [
        "echo 0 > /proc/sys/net/ipv4/ip_forward",
        "ip addr flush dev rrtest0",
        "ip link set rrtest0 down",
        &format!("echo 0 > {localnet}"),
        "ip route flush dev rrtest0",
    ]
    .into_iter()
    .enumerate()
    {
        sh(loss);
        let message = wait(network.status()).message;
        let is_told = !loss.contains("flush");
        assert_eq!(message.contains("until the next pod"), is_told, "{loss}: {message}");
        let next = lab.pod(&format!("next{n}"));
        next.add(&network).unwrap();
        assert_eq!(reaches(), (true, true), "{loss}");
        assert_eq!(sh(&format!("cat {localnet}")).trim(), "1", "{loss}");
        assert_eq!(wait(network.status()).message, "", "{loss}");
        next.del(&network).unwrap();
    }
    first.del(&network).unwrap();
}

#[test]
fn the_default_subnet_keeps_clear_of_the_hosts_routes() {
    let lab = Lab::new();
    sh("ip link add up0 type veth peer up1; ip link set up0 up mtu 1400; ip link set up1 up
        ip addr add 10.77.3.1/24 dev up0; ip route add 10.78.0.0/15 dev up0
        ip route add default via 10.77.3.2");
    let config = lab.config_of(Mode::Builtin, &lab.path("bin"));
    let config = rrun_cni::Config { subnet: None, ..config };
    let network = open(config.clone()).unwrap();
    let pod = lab.pod("a");
    assert_eq!(pod.add(&network).unwrap().ips[0].to_string(), "10.80.0.2");
    let mtu =
        pod.run(|| std::fs::read_to_string("/proc/self/net/dev").map(|_| sh("ip link show eth0")));
    assert!(mtu.unwrap().contains("mtu 1400"));
    pod.del(&network).unwrap();
    // Another process keeps to the choice, though the bridge's own route is in its way.
    let pod = lab.pod("b");
    let again = pod.add(&open(config).unwrap()).unwrap();
    assert_eq!(again.ips[0].to_string(), "10.80.0.3");
    pod.del(&network).unwrap();
}

/// A second host behind a wire: 192.0.2.2, seen from ours, 192.0.2.1.
fn lab_with_outside() -> Lab {
    let lab = Lab::new();
    sh("ip link add wire0 type veth peer wire1
        ip addr add 192.0.2.1/24 dev wire0; ip link set wire0 up");
    let dir = lab.path("outside");
    lab::pin(&dir);
    sh(&format!("ip link set wire1 netns {}", dir.display()));
    let outside = std::fs::File::open(&dir).unwrap();
    rrun_sys::netns::run_in(&outside, || {
        sh("ip link set lo up; ip addr add 192.0.2.2/24 dev wire1; ip link set wire1 up")
    })
    .unwrap();
    nix::mount::umount2(&dir, nix::mount::MntFlags::MNT_DETACH).unwrap();
    std::fs::remove_file(&dir).unwrap();
    OUTSIDE.set(Some(outside));
    lab
}

thread_local! {
    static OUTSIDE: std::cell::Cell<Option<std::fs::File>> = const { std::cell::Cell::new(None) };
}

fn in_outside<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let outside = OUTSIDE.take().unwrap();
    let value = rrun_sys::netns::run_in(&outside, work).unwrap();
    OUTSIDE.set(Some(outside));
    value
}

/// The second host answers at port 83, see [`ask_outside`].
fn serve_outside() {
    in_outside(|| serve(TcpListener::bind("0.0.0.0:83").unwrap()));
}

/// Whom the second host sees.
fn ask_outside() -> std::io::Result<String> {
    ask([192, 0, 2, 2], 83)
}

/// How a worker ends, which it does in five minutes or is killed.
fn end(mut worker: Child) -> ExitStatus {
    let deadline = Instant::now() + Duration::from_secs(300);
    loop {
        if let Some(status) = worker.try_wait().unwrap() {
            return status;
        }
        if Instant::now() > deadline {
            worker.kill().unwrap();
            panic!("a worker has not ended in five minutes");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// This test's binary again, as another process on the same host: attaches pods `<prefix>0` and on.
fn worker(lab: &Lab, prefix: &str, count: usize, env: &[(&str, &str)]) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "as_a_worker", "--ignored", "--nocapture"])
        .env("LAB", lab.dir.path())
        .env("LAB_PODS", format!("{prefix} {count}"))
        .envs(env.iter().copied())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
#[ignore = "the other half of tests that need a second process"]
fn as_a_worker() {
    let Some(dir) = std::env::var_os("LAB").map(std::path::PathBuf::from) else { return };
    let pods = std::env::var("LAB_PODS").unwrap();
    let (prefix, count) = pods.split_once(' ').unwrap();
    let config = lab::config(&dir, Mode::Auto, &dir.join("bin"));
    let subnet6 = Some("fd00:213::/64".parse().unwrap());
    let network = open(rrun_cni::Config { subnet6, ..config }).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..count.parse().unwrap() {
            let pod = lab::pod(&dir, &format!("{prefix}{n}"));
            let port = 20000 + n as u16 + if prefix == "x" { 0 } else { 500 };
            let pod = pod.port(Protocol::Tcp, port, 80).port(Protocol::Udp, port, 80);
            let pod = pod.annotated("kubernetes.io/ingress-bandwidth", "1G");
            let pod = pod.annotated("kubernetes.io/egress-bandwidth", "1G");
            let network = network.clone();
            let verb = std::env::var("LAB_VERB").unwrap_or_default();
            tasks.spawn(async move {
                match verb.as_str() {
                    "del" => network.del(&pod.id).await.unwrap(),
                    _ => drop(network.add(&pod.attachment()).await.unwrap()),
                }
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
    });
}

#[test]
fn a_hundred_adds_of_two_processes_have_a_hundred_addresses() {
    let lab = Lab::new();
    for n in 0..50 {
        lab.pod(&format!("x{n}"));
        lab.pod(&format!("y{n}"));
    }
    let workers = [worker(&lab, "x", 50, &[]), worker(&lab, "y", 50, &[])];
    assert!(workers.into_iter().all(|worker| end(worker).success()));
    let network = lab.network();
    let entries = wait(network.attachments()).unwrap();
    let ips: BTreeSet<String> =
        lab.results().iter().map(|(_, result)| first_address(result)).collect();
    assert_eq!((entries.len(), ips.len()), (100, 100));
    let del = [("LAB_VERB", "del")];
    let workers = [worker(&lab, "x", 50, &del), worker(&lab, "y", 50, &del)];
    assert!(workers.into_iter().all(|worker| end(worker).success()));
    assert_eq!(traces(), "");
    assert_eq!(wait(network.attachments()).unwrap(), []);
}

#[test]
fn killed_at_any_step_of_add_or_del_another_process_detaches_without_a_trace() {
    let lab = Lab::new();
    let log = lab.path("steps");
    lab.pod("x0");
    let log_env = [("RRUN_STEP_LOG", log.to_str().unwrap())];
    assert!(end(worker(&lab, "x", 1, &log_env)).success());
    let del = [log_env[0], ("LAB_VERB", "del")];
    assert!(end(worker(&lab, "x", 1, &del)).success());
    let points = std::fs::read_to_string(&log).unwrap();
    // `pid program/step#times:side`: the first time of each.
    let points = points.lines().filter(|line| !line.contains('#'));
    let points: BTreeSet<&str> = points.filter_map(|line| line.rsplit('/').next()).collect();
    assert!(points.len() >= 40, "{points:?}");
    for point in points {
        kill_and_detach(&lab, point);
    }
}

fn kill_and_detach(lab: &Lab, at: &str) {
    let kill = ("RRUN_KILL_AT", at);
    if at.starts_with("cni.bridge") {
        // Steps of the first pod of a host.
        sh("ip link del rrtest0 || true; nft flush ruleset");
    }
    let killed = if at.starts_with("cni.del") {
        assert!(end(worker(lab, "x", 1, &[])).success(), "{at}");
        worker(lab, "x", 1, &[("LAB_VERB", "del"), kill])
    } else {
        worker(lab, "x", 1, &[kill])
    };
    let status = end(killed);
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9), "{at}");
    let network = lab.network();
    for entry in wait(network.attachments()).unwrap() {
        wait(network.del(&entry.id)).unwrap();
    }
    assert_eq!(traces(), "", "{at}");
    // The next finds what it needs, and leaves as much.
    let pod = lab::pod(lab.dir.path(), "x0").port(Protocol::Tcp, 20000, 80);
    pod.add(&network).unwrap_or_else(|e| panic!("{at}: {e}"));
    pod.del(&network).unwrap();
    let records = rusqlite::Connection::open(lab.path("state/network.db")).unwrap();
    for table in ["attachment", "address", "port"] {
        let count = format!("SELECT count(*) FROM {table}");
        let rows: u32 = records.query_row(&count, [], |row| row.get(0)).unwrap();
        assert_eq!(rows, 0, "{at}: {table}");
    }
}
