//! Networks of CNI plugins: fake ones that write down what they were given, and the real ones of
//! the folder in `RRUN_TEST_CNI_BIN` where it is set.

// Clippy does not see that helpers of tests are tests.
#![allow(clippy::unwrap_used)]

mod lab;

use lab::{Lab, Pod, ask, open, sh, wait};
use rrun_cni::{Config, Kind, Mode, Network, Protocol};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// Writes its environment and input down, as `<type>.<verb>.env` and `.in`, and its turn.
const FAKE: &str = r#"#!/bin/sh
name=$(basename $0); log=$(dirname $0)/../log; mkdir -p $log
env | grep ^CNI_ | sort > $log/$name.$CNI_COMMAND.env
cat > $log/$name.$CNI_COMMAND.in
echo $name $CNI_COMMAND >> $log/turns
if [ -e $log/$name.$CNI_COMMAND.do ]; then . $log/$name.$CNI_COMMAND.do; fi
[ $CNI_COMMAND = DEL ] || echo '{"cniVersion":"1.0.0","interfaces":[{"name":"eth0","sandbox":"/x"}],
"ips":[{"address":"10.9.0.'$(wc -l < $log/turns)'/24","interface":0}]}'
"#;

fn fake(lab: &Lab, name: &str) {
    let path = lab.path("bin").join(name);
    fs::write(&path, FAKE).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// What the fake does before it answers.
fn instead(lab: &Lab, name: &str, script: &str) {
    fs::create_dir_all(lab.path("log")).unwrap();
    fs::write(lab.path("log").join(format!("{name}.do")), script).unwrap();
}

fn conf(lab: &Lab, file: &str, conf: &Value) {
    fs::write(lab.path("conf").join(file), conf.to_string()).unwrap();
}

fn two_plugins(lab: &Lab, version: &str) {
    fake(lab, "first");
    fake(lab, "second");
    let capabilities =
        json!({ "portMappings": true, "bandwidth": true, "dns": false, "other": true });
    let second = json!({ "type": "second", "capabilities": capabilities, "own": 1 });
    let plugins = json!([{ "type": "first" }, second]);
    conf(lab, "10-n.conflist", &json!({ "cniVersion": version, "name": "n", "plugins": plugins }));
}

fn seen(lab: &Lab, name: &str) -> Value {
    serde_json::from_slice(&fs::read(lab.path("log").join(format!("{name}.in"))).unwrap()).unwrap()
}

fn turns(lab: &Lab) -> Vec<String> {
    let turns = fs::read_to_string(lab.path("log/turns")).unwrap_or_default();
    turns.lines().map(str::to_owned).collect()
}

fn cni(lab: &Lab) -> Network {
    open(lab.config_of(Mode::Cni, &lab.path("bin"))).unwrap()
}

#[test]
fn plugins_get_what_the_specification_says() {
    let lab = Lab::new();
    two_plugins(&lab, "1.0.0");
    let network = cni(&lab);
    let pod = lab
        .pod("a")
        .port(Protocol::Udp, 53, 5353)
        .port(Protocol::Tcp, 0, 80)
        .annotated("kubernetes.io/ingress-bandwidth", "10M");
    let attached = pod.add(&network).unwrap();
    assert_eq!(attached.ips[0].to_string(), "10.9.0.2");
    let env = fs::read_to_string(lab.path("log/second.ADD.env")).unwrap();
    let expected = format!(
        "CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web;\
         K8S_POD_INFRA_CONTAINER_ID=a;K8S_POD_UID=uid-1\nCNI_COMMAND=ADD\nCNI_CONTAINERID=a\n\
         CNI_IFNAME=eth0\nCNI_NETNS={}\nCNI_PATH={}\n",
        pod.netns.display(),
        lab.path("bin").display()
    );
    assert_eq!(env, expected);
    assert_eq!(
        seen(&lab, "first.ADD"),
        json!({ "cniVersion": "1.0.0", "name": "n", "type": "first" })
    );
    let second = seen(&lab, "second.ADD");
    assert_eq!(second["prevResult"]["ips"][0]["address"], "10.9.0.1/24");
    assert_eq!((&second["own"], &second["name"]), (&json!(1), &json!("n")));
    let port = json!({ "hostPort": 53, "containerPort": 5353, "protocol": "udp", "hostIP": "" });
    let bandwidth = json!({ "ingressRate": 10_000_000, "ingressBurst": u32::MAX });
    let expected = json!({ "portMappings": [port], "bandwidth": bandwidth });
    assert_eq!(second["runtimeConfig"], expected);
    assert!(pod.run(|| sh("ip link show lo")).contains("UP"));
    // The folder changes; DEL goes by what was.
    fs::remove_file(lab.path("conf/10-n.conflist")).unwrap();
    pod.del(&network).unwrap();
    assert_eq!(turns(&lab), ["first ADD", "second ADD", "second DEL", "first DEL"]);
    let result: Value = serde_json::from_str(&attached.result).unwrap();
    assert_eq!(seen(&lab, "first.DEL")["prevResult"], result);
    assert_eq!(seen(&lab, "second.DEL")["runtimeConfig"], expected);
    assert_eq!(wait(network.attachments()).unwrap(), []);
}

#[test]
fn before_0_4_0_del_has_no_result() {
    let lab = Lab::new();
    two_plugins(&lab, "0.3.1");
    let network = cni(&lab);
    let pod = lab.pod("a");
    pod.add(&network).unwrap();
    pod.del(&network).unwrap();
    assert_eq!(seen(&lab, "second.DEL").get("prevResult"), None);
}

#[test]
fn a_failed_add_is_taken_back_at_once_and_says_which_plugin() {
    let lab = Lab::new();
    two_plugins(&lab, "1.0.0");
    let answer = r#"echo '{"cniVersion":"1.0.0","code":11,"msg":"agent is starting"}'; exit 1"#;
    instead(&lab, "second.ADD", answer);
    let network = cni(&lab);
    let refused = lab.pod("a").add(&network).unwrap_err();
    assert_eq!(refused.to_string(), "add: plugin second: agent is starting");
    assert_eq!(refused.kind(), Kind::Unavailable);
    assert_eq!(turns(&lab), ["first ADD", "second ADD", "second DEL", "first DEL"]);
    assert_eq!(wait(network.attachments()).unwrap(), []);
}

#[test]
fn what_a_plugin_could_not_take_back_stays_on_record() {
    let lab = Lab::new();
    two_plugins(&lab, "1.0.0");
    instead(&lab, "first.DEL", "echo broken >&2; exit 3");
    let network = cni(&lab);
    let pod = lab.pod("a");
    pod.add(&network).unwrap();
    let refused = pod.del(&network).unwrap_err();
    assert_eq!(refused.to_string(), "del: plugin first: exit status 3: broken");
    assert_eq!(wait(network.attachments()).unwrap().len(), 1);
    instead(&lab, "first.DEL", "");
    pod.unpin();
    pod.del(&cni(&lab)).unwrap();
    let env = fs::read_to_string(lab.path("log/first.DEL.env")).unwrap();
    assert!(env.contains("CNI_NETNS=\n"), "{env}");
    assert_eq!(wait(network.attachments()).unwrap(), []);
}

#[test]
fn a_plugin_that_hangs_is_killed_with_what_it_started() {
    let lab = Lab::new();
    two_plugins(&lab, "1.0.0");
    instead(&lab, "first.ADD", "sleep 1000 & echo $! > $log/pid; wait");
    let config = lab.config_of(Mode::Cni, &lab.path("bin"));
    let network = open(Config { plugin_timeout: Duration::from_secs(5), ..config }).unwrap();
    let refused = lab.pod("a").add(&network).unwrap_err();
    assert_eq!(refused.to_string(), "add: plugin first: not done after 5 s, killed");
    assert_eq!(refused.kind(), Kind::Timeout);
    let pid = fs::read_to_string(lab.path("log/pid")).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
        if stat.is_empty() || stat.contains(") Z ") {
            break;
        }
        assert!(Instant::now() < deadline, "{stat}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_plugin_that_is_missing_is_named_with_where_it_was_looked_for() {
    let lab = Lab::new();
    let list = json!({ "cniVersion": "1.0.0", "name": "n", "plugins": [{ "type": "nobody" }] });
    conf(&lab, "1.conflist", &list);
    let network = cni(&lab);
    let not_found =
        format!("network n: plugin nobody: not found in [{}]", lab.path("bin").display());
    let status = wait(network.status());
    assert!(!status.ready);
    assert_eq!(status.message, format!("Network plugin returns error: {not_found}"));
    let refused = lab.pod("a").add(&network).unwrap_err();
    assert_eq!(refused.to_string(), format!("add: {not_found}"));
    assert_eq!(wait(network.attachments()).unwrap(), []);
}

#[test]
fn the_first_file_decides_and_a_broken_one_is_named() {
    let lab = Lab::new();
    let network = cni(&lab);
    let status = wait(network.status());
    assert!(!status.ready && status.reason == "NetworkPluginNotReady");
    assert!(status.message.contains("no network config found in"), "{}", status.message);
    assert_eq!(lab.pod("a").add(&network).unwrap_err().kind(), Kind::Unavailable);
    assert!(wait(lab.network().status()).ready, "auto has the bridge");
    two_plugins(&lab, "1.0.0");
    assert!(wait(network.status()).ready);
    assert!(wait(network.status()).config.contains("second"));
    fs::write(lab.path("conf/05-broken.conflist"), "{\n  \"name\": 5,,\n}").unwrap();
    for network in [network, lab.network()] {
        let status = wait(network.status());
        let error = status.message;
        assert!(!status.ready && error.contains("05-broken.conflist: "), "{error}");
        assert!(error.contains("at line 2 column"), "{error}");
    }
}

#[test]
fn a_fifo_among_the_configurations_is_named_and_waited_for_by_nobody() {
    let lab = Lab::new();
    two_plugins(&lab, "1.0.0");
    let mode = nix::sys::stat::Mode::S_IRWXU;
    nix::unistd::mkfifo(&lab.path("conf/05-fifo.conf"), mode).unwrap();
    let network = cni(&lab);
    let error = wait(network.status()).message;
    assert!(error.contains("05-fifo.conf: not a regular file"), "{error}");
    let refused = lab.pod("a").add(&network).unwrap_err();
    assert!(refused.to_string().contains("05-fifo.conf: not a regular file"), "{refused}");
}

#[test]
fn plugins_of_the_networks_own_folder_are_added_unless_it_says_no() {
    let lab = Lab::new();
    two_plugins(&lab, "1.1.0");
    fake(&lab, "third");
    fs::create_dir(lab.path("conf/n")).unwrap();
    conf(&lab, "n/1.conf", &json!({ "type": "third" }));
    let network = cni(&lab);
    let pod = lab.pod("a");
    pod.add(&network).unwrap();
    pod.del(&network).unwrap();
    assert_eq!(turns(&lab).len(), 6);
    assert_eq!(turns(&lab)[2], "third ADD");
}

/// The folder of real plugins, if there is one; without nft or plugins the test says so.
fn real() -> Option<std::path::PathBuf> {
    let dir = std::env::var_os("RRUN_TEST_CNI_BIN").map(std::path::PathBuf::from);
    let dir = dir.filter(|dir| dir.join("bridge").is_file());
    if dir.is_none() {
        eprintln!("skipped: RRUN_TEST_CNI_BIN names no folder with the plugin bridge");
    }
    dir
}

fn real_network(lab: &Lab, bin: &Path) -> Network {
    let ipam = json!({
        "type": "host-local",
        "ranges": [[{ "subnet": "10.214.0.0/16" }]],
        "routes": [{ "dst": "0.0.0.0/0" }],
        "dataDir": lab.path("ipam"),
    });
    let bridge = json!({
        "type": "bridge", "bridge": "cnitest0", "isGateway": true, "ipMasq": true,
        "ipMasqBackend": "nftables", "hairpinMode": true, "ipam": ipam,
    });
    let portmap = json!({
        "type": "portmap", "backend": "nftables", "capabilities": { "portMappings": true },
    });
    let plugins = json!([bridge, portmap]);
    conf(lab, "1.conflist", &json!({ "cniVersion": "1.0.0", "name": "real", "plugins": plugins }));
    open(lab.config_of(Mode::Cni, bin)).unwrap()
}

#[test]
fn the_real_plugins_attach_and_leave_nothing() {
    let Some(bin) = real() else { return };
    let lab = Lab::new();
    let network = real_network(&lab, &bin);
    let web = lab.pod("web").port(Protocol::Tcp, 8080, 80);
    let other = lab.pod("other");
    let ip = web.add(&network).unwrap().ips[0];
    other.add(&network).unwrap();
    web.serve(80);
    assert!(other.run(|| ask(ip, 80)).is_ok());
    assert!(ask([127, 0, 0, 1], 8080).is_ok());
    let gone: Vec<Pod> = (0..2).map(|n| lab.pod(&format!("gone{n}"))).collect();
    for pod in &gone {
        pod.add(&network).unwrap();
        pod.unpin();
    }
    for entry in wait(network.attachments()).unwrap() {
        wait(network.del(&entry.id)).unwrap();
    }
    let leases = sh(&format!("ls {}/real | grep -c 10.214 || true", lab.path("ipam").display()));
    assert_eq!(leases.trim(), "0");
    assert_eq!(sh("ip -o link show master cnitest0 | wc -l").trim(), "0");
    assert_eq!(wait(network.attachments()).unwrap(), []);
}

/// As Debian's podman installs it, without the plugins.
fn podman_list(lab: &Lab) {
    let plugins = json!([
        { "type": "bridge", "bridge": "cni-podman0", "isGateway": true, "ipMasq": true },
        { "type": "portmap", "capabilities": { "portMappings": true } },
        { "type": "firewall" },
        { "type": "tuning" },
    ]);
    let list = json!({ "cniVersion": "0.4.0", "name": "podman", "plugins": plugins });
    conf(lab, "87-podman-bridge.conflist", &list);
}

#[test]
fn a_configuration_without_its_plugins_does_not_win_over_the_built_in_bridge() {
    let lab = Lab::new();
    podman_list(&lab);
    fake(&lab, "bridge");
    let network = lab.network();
    let status = wait(network.status());
    assert!(status.ready);
    let why = format!(
        "{} is passed over for the built-in bridge: network podman: plugin portmap: \
         not found in [{}]",
        lab.path("conf/87-podman-bridge.conflist").display(),
        lab.path("bin").display()
    );
    assert_eq!(status.message, why);
    assert!(status.config.contains("builtin-bridge"), "{}", status.config);
    let pod = lab.pod("a");
    assert_eq!(pod.add(&network).unwrap().ips[0].to_string(), "10.213.0.2");
    pod.del(&network).unwrap();
    // Who asks for CNI alone is told, and gets no other network.
    let strict = wait(cni(&lab).status());
    assert!(!strict.ready && strict.message.contains("plugin portmap: not found"), "{strict:?}");
    // With its plugins it wins.
    ["portmap", "firewall", "tuning"].iter().for_each(|name| fake(&lab, name));
    let status = wait(network.status());
    assert!(status.ready && status.message.is_empty(), "{status:?}");
    assert!(status.config.contains("podman"), "{}", status.config);
}

#[test]
fn a_database_that_stalls_holds_up_no_other_task() {
    let lab = Lab::new();
    two_plugins(&lab, "1.0.0");
    let network = cni(&lab);
    let pods: Vec<Pod> = (0..20).map(|n| lab.pod(&format!("p{n}"))).collect();
    pods.iter().for_each(|pod| drop(pod.add(&network).unwrap()));
    fs::remove_file(lab.path("log/turns")).unwrap();
    let lock = rusqlite::Connection::open(lab.path("state/network.db")).unwrap();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    // One thread runs every task.
    wait(async {
        let dels: Vec<_> = pods.iter().map(|pod| (network.clone(), pod.id.clone())).collect();
        let dels = dels.into_iter();
        let dels: Vec<_> =
            dels.map(|(n, id)| tokio::spawn(async move { n.del(&id).await })).collect();
        for _ in 0..2000 {
            if turns(&lab).len() == 40 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(turns(&lab).len(), 40, "every plugin was asked");
        // By now they wait for the lock, all places taken. This goes on.
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(network.status().await.ready);
        assert!(dels.iter().all(|del| !del.is_finished()));
        lock.execute_batch("COMMIT").unwrap();
        for del in dels {
            del.await.unwrap().unwrap();
        }
    });
    assert_eq!(wait(network.attachments()).unwrap(), []);
}
