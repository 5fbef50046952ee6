//! Configurations as tables: what is asked for, and what stands in the OCI configuration.

mod refusals;

use super::build::{Inputs, build};
use super::devices::HostDevice;
use super::profile;
use super::user::Who;
use super::{Planner, PodProfiles};
use crate::check;
use crate::config::Lsm;
use crate::error::{Kind, Result};
use crate::model::*;
use crate::ports::ImageConfig;
use crate::status::LinuxUser;
use serde_json::{Value, json};
use std::path::Path;

const ALL: u64 = (1 << 41) - 1;

#[derive(Default)]
struct Case {
    pod: PodConfig,
    config: ContainerConfig,
    image: ImageConfig,
    devices: Vec<HostDevice>,
    mountinfo: &'static str,
    unified: bool,
    home: Option<String>,
}

fn case(change: impl FnOnce(&mut Case)) -> Case {
    let mut case = Case::default();
    case.config.name = "c".into();
    case.config.image.image = "i".into();
    case.image.cmd = vec!["sh".into()];
    change(&mut case);
    case
}

fn built(change: impl FnOnce(&mut Case)) -> Result<Value> {
    let case = case(change);
    let user = LinuxUser { uid: 7, gid: 8, groups: vec![8, 9] };
    let netns = Path::new("/var/run/netns/cni-1");
    let built = build(&Inputs {
        pod: &case.pod,
        config: &case.config,
        image: &case.image,
        who: &Who { user, home: case.home },
        devices: &case.devices,
        cgroup: "/pod/c",
        netns: crate::files::has_network(&case.pod).then_some(netns),
        hostname: "host",
        apparmor: None,
        capabilities: ALL,
        unified: case.unified,
        files: Path::new("/files"),
        mountinfo: case.mountinfo,
        real_paths: &[("/link".into(), "/shared/x".into())],
    })?;
    // Everything that is built is a configuration.
    serde_json::from_value::<oci_spec::runtime::Spec>(built.clone()).unwrap();
    Ok(built)
}

fn at(pointer: &str, change: impl FnOnce(&mut Case)) -> Value {
    built(change).unwrap().pointer(pointer).cloned().unwrap_or(Value::Null)
}

fn mounts(change: impl FnOnce(&mut Case)) -> Vec<(String, String, String)> {
    let all = at("/mounts", change);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let line = |mount: &Value| {
        let options = mount["options"].as_array().unwrap().iter().map(text);
        let options = options.collect::<Vec<_>>().join(",");
        (text(&mount["destination"]), text(&mount["source"]), options)
    };
    all.as_array().unwrap().iter().map(line).collect()
}

fn options(target: &str, change: impl FnOnce(&mut Case)) -> Option<String> {
    mounts(change).into_iter().find(|mount| mount.0 == target).map(|mount| mount.2)
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// A user namespace of the kind that a kubelet gives to a pod.
fn users() -> UserNamespace {
    let ids = vec![IdMapping { host_id: 65536, container_id: 0, length: 65536 }];
    UserNamespace { mode: NamespaceMode::Pod, uids: ids.clone(), gids: ids }
}

#[test]
fn what_the_pods_users_own_is_in_the_configuration_with_their_maps() {
    let in_pod = |case: &mut Case| {
        case.pod.security.namespaces.userns = Some(users());
        case.unified = true;
        case.config.security.privileged = true;
        let (uid_mappings, gid_mappings) = (users().uids, users().gids);
        case.config.mounts = vec![
            MountSpec { uid_mappings, gid_mappings, ..mount("/a", "/mapped") },
            mount("/a", "/plain"),
        ];
    };
    let maps = json!([{ "containerID": 0, "hostID": 65536, "size": 65536 }]);
    assert_eq!(at("/linux/uidMappings", in_pod), maps);
    assert_eq!(at("/linux/gidMappings", in_pod), maps);
    let namespaces = at("/linux/namespaces", in_pod);
    for kind in ["user", "cgroup"] {
        assert!(namespaces.as_array().unwrap().contains(&json!({ "type": kind })), "{namespaces}");
    }
    let mounts = at("/mounts", in_pod);
    let mapped = mounts.as_array().unwrap().iter().filter(|mount| mount["uidMappings"] == maps);
    let mapped: Vec<_> = mapped.map(|mount| mount["destination"].as_str().unwrap()).collect();
    assert_eq!(mapped, ["/mapped", "/etc/hostname", "/etc/hosts", "/etc/resolv.conf"]);
    assert_eq!(at("/linux/uidMappings", |_| {}), Value::Null);
}

fn mount(host: &str, container: &str) -> MountSpec {
    MountSpec { host_path: host.into(), container_path: container.into(), ..MountSpec::default() }
}

#[test]
fn a_command_replaces_the_image_and_arguments_follow_its_entrypoint() {
    for (entrypoint, cmd, command, args, expected) in [
        (&["/e"][..], &["c"][..], &[][..], &[][..], &["/e", "c"][..]),
        (&["/e"], &["c"], &[], &["a"], &["/e", "a"]),
        (&["/e"], &["c"], &["/x"], &[], &["/x"]),
        (&["/e"], &["c"], &["/x"], &["a"], &["/x", "a"]),
        (&[], &["c"], &[], &[], &["c"]),
        (&[], &[], &[], &["a"], &["a"]),
    ] {
        let args = at("/process/args", |case| {
            case.image.entrypoint = texts(entrypoint);
            case.image.cmd = texts(cmd);
            case.config.command = texts(command);
            case.config.args = texts(args);
        });
        assert_eq!(args, json!(expected));
    }
    let none = built(|case| case.image.cmd.clear()).unwrap_err();
    assert_eq!(none.to_string(), "no command specified");
}

#[test]
fn the_environment_is_the_images_then_what_was_asked_for_and_the_last_wins() {
    let env = |change: fn(&mut Case)| {
        let env = at("/process/env", change);
        env.as_array().unwrap().iter().map(|v| v.as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let plain = env(|_| {});
    assert!(plain[0].starts_with("PATH=/usr/local/sbin:"));
    assert_eq!(plain[1..], ["HOSTNAME=host", "HOME=/"]);
    let all = env(|case| {
        case.image.env = texts(&["PATH=/i", "A=1", "B=1"]);
        let var = |name: &str, value: &str| EnvVar { name: name.into(), value: value.into() };
        case.config.envs = vec![var("A", "2"), var("A", "3=4"), var("HOME", "/h")];
        case.config.tty = true;
    });
    assert_eq!(all, ["PATH=/i", "HOSTNAME=host", "TERM=xterm", "A=3=4", "B=1", "HOME=/h"]);
    assert!(env(|case| case.home = Some("/srv".into())).contains(&"HOME=/srv".to_owned()));
}

#[test]
fn the_working_directory_is_absolute() {
    for (asked, image, expected) in
        [("", "", "/"), ("", "/i", "/i"), ("/a", "/i", "/a"), ("a/b", "", "/a/b")]
    {
        let cwd = at("/process/cwd", |case| {
            case.config.working_dir = asked.into();
            case.image.working_dir = image.into();
        });
        assert_eq!(cwd, expected);
    }
}

#[test]
fn the_process_is_who_it_is_resolved_to_be() {
    let user = json!({"uid": 7, "gid": 8, "additionalGids": [8, 9]});
    assert_eq!(at("/process/user", |_| {}), user);
    assert_eq!(at("/process/terminal", |case| case.config.tty = true), true);
    let privs = at("/process/noNewPrivileges", |case| case.config.security.no_new_privs = true);
    assert_eq!(privs, true);
}

#[test]
fn capabilities_are_the_default_ones_and_ambient_stays_empty() {
    let sets = at("/process/capabilities", |_| {});
    assert_eq!(sets["bounding"].as_array().unwrap().len(), 14);
    assert_eq!(sets["bounding"], sets["effective"]);
    assert_eq!(sets["bounding"], sets["permitted"]);
    assert_eq!((&sets["ambient"], &sets["inheritable"]), (&json!([]), &json!([])));
}

#[test]
fn the_score_is_set_when_limits_are_and_left_otherwise() {
    assert_eq!(at("/process/oomScoreAdj", |_| {}), Value::Null);
    let score = |score: i64| {
        at("/process/oomScoreAdj", |case| {
            let limits = Resources { oom_score_adj: score, ..Resources::default() };
            case.config.resources = Some(limits);
        })
    };
    assert_eq!((score(-997), score(0)), (json!(-997), json!(0)));
}

#[test]
fn limits_that_are_zero_are_not_there_and_memory_limits_swap_too() {
    let limits = |change: fn(&mut Resources)| {
        let mut limits = at("/linux/resources", |case| {
            let mut resources = Resources::default();
            change(&mut resources);
            case.config.resources = Some(resources);
        });
        limits.as_object_mut().unwrap().remove("devices");
        limits
    };
    assert_eq!(limits(|_| {}), json!({}));
    let cpu = limits(|r| {
        (r.cpu_shares, r.cpu_quota, r.cpu_period) = (512, -1, 100_000);
        r.cpuset_cpus = "0-1".into();
    });
    let expected = json!({"shares": 512, "quota": -1, "period": 100_000, "cpus": "0-1"});
    assert_eq!(cpu, json!({ "cpu": expected }));
    let memory = limits(|r| r.memory_limit = 100);
    assert_eq!(memory, json!({"memory": {"limit": 100, "swap": 100}}));
    let swap = limits(|r| (r.memory_limit, r.memory_swap_limit) = (100, 300));
    assert_eq!(swap, json!({"memory": {"limit": 100, "swap": 300}}));
    let unified = limits(|r| {
        r.memory_limit = 100;
        r.unified.insert("memory.swap.max".into(), "0".into());
    });
    assert_eq!(unified["memory"], json!({"limit": 100}));
    assert_eq!(unified["unified"], json!({"memory.swap.max": "0"}));
    let pages = limits(|r| r.hugepages = vec![HugepageLimit { page_size: "2MB".into(), limit: 0 }]);
    assert_eq!(pages["hugepageLimits"], json!([{"pageSize": "2MB", "limit": 0}]));
}

#[test]
fn devices_are_denied_but_for_those_that_were_asked_for() {
    let device = || HostDevice {
        path: "/dev/x".into(),
        kind: 'c',
        major: 10,
        minor: 5,
        mode: 0o660,
        uid: 0,
        gid: 6,
        access: "rw".into(),
    };
    let rules = at("/linux/resources/devices", |case| case.devices = vec![device()]);
    assert_eq!(rules[0], json!({"allow": false, "access": "rwm"}));
    let asked = json!({"allow": true, "type": "c", "major": 10, "minor": 5, "access": "rw"});
    assert_eq!(rules[2], asked);
    let nodes = at("/linux/devices", |case| case.devices = vec![device()]);
    assert_eq!((&nodes[0]["path"], &nodes[0]["fileMode"]), (&json!("/dev/x"), &json!(0o660)));
    let all = at("/linux/resources/devices", |case| case.config.security.privileged = true);
    assert_eq!(all, json!([{"allow": true, "access": "rwm"}]));
}

#[test]
fn a_privileged_container_finds_what_it_asked_for_among_the_hosts_nodes() {
    let node = |path: &str, minor: u64| HostDevice {
        path: path.into(),
        kind: 'c',
        major: 1,
        minor,
        mode: 0o666,
        uid: 0,
        gid: 0,
        access: "rwm".into(),
    };
    let asked = vec![node("/dev/own", 3), node("/dev/zero", 3)];
    let host = vec![node("/dev/null", 3), node("/dev/zero", 5)];
    let all = super::devices::with_host(asked, host);
    let found: Vec<_> = all.iter().map(|node| (node.path.as_str(), node.minor)).collect();
    assert_eq!(found, [("/dev/null", 3), ("/dev/own", 3), ("/dev/zero", 3)]);
}

#[test]
fn namespaces_are_the_pods_the_containers_own_or_the_hosts() {
    let kinds = |change: fn(&mut Case)| {
        let all = at("/linux/namespaces", change);
        let kind = |entry: &Value| entry["type"].as_str().unwrap().to_owned();
        all.as_array().unwrap().iter().map(kind).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(kinds(|_| {}), "mount network uts ipc pid");
    let host_network = |case: &mut Case| {
        case.pod.security.namespaces.network = NamespaceMode::Node;
    };
    assert_eq!(kinds(host_network), "mount ipc pid");
    let host_ipc = |case: &mut Case| case.pod.security.namespaces.ipc = NamespaceMode::Node;
    assert_eq!(kinds(host_ipc), "mount network uts pid");
    let host_pid = |case: &mut Case| {
        case.config.security.namespaces.pid = NamespaceMode::Node;
    };
    assert_eq!(kinds(host_pid), "mount network uts ipc");
    let host_pid_of_the_pod = |case: &mut Case| {
        case.pod.security.namespaces.pid = NamespaceMode::Node;
    };
    assert_eq!(kinds(host_pid_of_the_pod), "mount network uts ipc");
    assert_eq!(kinds(|case| case.unified = true), "mount network uts ipc pid cgroup");
    let privileged = |case: &mut Case| {
        case.unified = true;
        case.config.security.privileged = true;
    };
    assert_eq!(kinds(privileged), "mount network uts ipc pid");
    let target = at("/linux/namespaces", |case| {
        case.config.security.namespaces.pid = NamespaceMode::Target;
    });
    // Its descriptor goes with the plan.
    assert_eq!(target[4], json!({"type": "pid"}));
    assert_eq!(target[1]["path"], "/var/run/netns/cni-1");
}

#[test]
fn a_container_finds_the_default_mounts_shallow_ones_first() {
    let targets: Vec<String> = mounts(|_| {}).into_iter().map(|mount| mount.0).collect();
    let expected = [
        "/proc",
        "/dev",
        "/sys",
        "/dev/pts",
        "/dev/mqueue",
        "/dev/shm",
        "/etc/hostname",
        "/etc/hosts",
        "/etc/resolv.conf",
        "/sys/fs/cgroup",
    ];
    assert_eq!(targets, expected);
    assert_eq!(options("/sys", |_| {}).unwrap(), "nosuid,noexec,nodev,ro");
    assert_eq!(options("/etc/hosts", |_| {}).unwrap(), "rbind,rprivate,rw");
}

#[test]
fn privileged_unmasks_and_read_only_roots_have_read_only_files() {
    let privileged = |case: &mut Case| {
        case.config.security.privileged = true;
        case.config.security.masked_paths = texts(&["/proc/kcore"]);
    };
    assert!(options("/sys", privileged).unwrap().ends_with("rw"));
    assert!(options("/sys/fs/cgroup", privileged).unwrap().ends_with("rw"));
    assert_eq!(at("/linux/maskedPaths", privileged), json!([]));
    let masked = |case: &mut Case| case.config.security.masked_paths = texts(&["/proc/kcore"]);
    assert_eq!(at("/linux/maskedPaths", masked), json!(["/proc/kcore"]));
    let readonly = |case: &mut Case| case.config.security.readonly_rootfs = true;
    assert_eq!(at("/root/readonly", readonly), true);
    assert_eq!(options("/etc/hosts", readonly).unwrap(), "rbind,rprivate,ro");
}

#[test]
fn a_mount_of_the_client_wins_over_a_default_one() {
    let hosts = mounts(|case| case.config.mounts = vec![mount("/h", "/etc//hosts")]);
    let found: Vec<_> = hosts.iter().filter(|mount| mount.0 == "/etc/hosts").collect();
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].1.as_str(), found[0].2.as_str()), ("/h", "rbind,rprivate,rw"));
    let dev = mounts(|case| case.config.mounts = vec![mount("/dev", "/dev")]);
    assert_eq!(dev.iter().filter(|mount| mount.0.starts_with("/dev")).count(), 1);
    let shm = |at: &str| {
        let case = case(|case| case.config.mounts = vec![mount("/m", at)]);
        super::mounts::uses_pod_shm(&case.pod, &case.config)
    };
    assert_eq!((shm("/data"), shm("/dev/shm/"), shm("/dev")), (true, false, false));
    let root = built(|case| case.config.mounts = vec![mount("/m", "/x/..")]);
    assert_eq!(root.unwrap_err().kind(), Kind::Invalid);
}

#[test]
fn a_mount_propagates_as_asked_if_its_source_does() {
    const INFO: &str = "22 1 8:1 / / rw - ext4 d rw\n23 22 0:5 / /shared rw shared:7 - tmpfs t rw\n24 22 0:6 / /slave rw master:7 - tmpfs t rw\n";
    let asked = |host: &str, propagation: MountPropagation| {
        let mount = MountSpec { propagation, readonly: true, ..mount(host, "/m") };
        built(move |case| {
            case.config.mounts = vec![mount];
            case.mountinfo = INFO;
        })
    };
    use MountPropagation::{Bidirectional, HostToContainer, Private};
    for (host, propagation, root) in [
        ("/plain", Private, None),
        ("/shared", Bidirectional, Some("rshared")),
        ("/link", Bidirectional, Some("rshared")),
        ("/shared/a", HostToContainer, Some("rslave")),
        ("/slave", HostToContainer, Some("rslave")),
    ] {
        let json = asked(host, propagation).unwrap();
        assert_eq!(json["linux"]["rootfsPropagation"].as_str(), root, "{host}");
    }
    for (host, propagation) in
        [("/plain", Bidirectional), ("/slave", Bidirectional), ("/plain", HostToContainer)]
    {
        assert_eq!(asked(host, propagation).unwrap_err().kind(), Kind::Invalid, "{host}");
    }
    let rro = |case: &mut Case| {
        let asked = MountSpec { readonly: true, recursive_read_only: true, ..mount("/h", "/m") };
        case.config.mounts = vec![asked];
    };
    assert_eq!(options("/m", rro).unwrap(), "rbind,rprivate,rro");
}

/// A word of the refusal, its kind if it is refused, and what is asked for.
type Asked = (&'static str, Option<Kind>, fn(&mut Case));

#[test]
fn a_seccomp_profile_is_found_in_the_new_field_and_in_the_old_one() {
    use profile::Seccomp::{File, None as Unconfined, RuntimeDefault};
    let meant = |change: fn(&mut ContainerSecurity)| {
        let mut security = ContainerSecurity::default();
        change(&mut security);
        profile::seccomp(&security, Path::new("/profiles"))
    };
    let localhost = |path: &str| Some(SecurityProfile::Localhost(path.into()));
    assert_eq!(meant(|_| {}).unwrap(), Unconfined);
    let default = meant(|s| s.seccomp = Some(SecurityProfile::RuntimeDefault));
    assert_eq!(default.unwrap(), RuntimeDefault);
    let privileged = meant(|s| {
        s.seccomp = Some(SecurityProfile::RuntimeDefault);
        s.privileged = true;
    });
    assert_eq!(privileged.unwrap(), Unconfined);
    let old = meant(|s| s.seccomp_profile_path = "runtime/default".into());
    assert_eq!(old.unwrap(), RuntimeDefault);
    let both = meant(|s| {
        s.seccomp = Some(SecurityProfile::Unconfined);
        s.seccomp_profile_path = "runtime/default".into();
    });
    assert_eq!(both.unwrap(), Unconfined);
    let old = meant(|s| s.seccomp_profile_path = "localhost/a.json".into());
    assert_eq!(old.unwrap(), File("/profiles/a.json".into()));
    let of = |path: &str| {
        let security = ContainerSecurity { seccomp: localhost(path), ..Default::default() };
        profile::seccomp(&security, Path::new("/profiles"))
    };
    assert_eq!(of("/x/a.json").unwrap(), File("/x/a.json".into()));
    assert!(of("../a.json").is_err() && of("").is_err());
    assert!(meant(|s| s.seccomp_profile_path = "nonsense".into()).is_err());
}

#[test]
fn a_pod_has_its_own_seccomp_profile_and_else_the_default() {
    use profile::Seccomp::{File, RuntimeDefault};
    let meant = |seccomp: Option<SecurityProfile>, old: &str| {
        let security =
            PodSecurity { seccomp, seccomp_profile_path: old.into(), ..Default::default() };
        profile::pod_seccomp(&security, Path::new("/profiles"))
    };
    assert_eq!(meant(None, "").unwrap(), RuntimeDefault);
    assert_eq!(meant(Some(SecurityProfile::Unconfined), "").unwrap(), RuntimeDefault);
    let file = || File("/profiles/a.json".into());
    assert_eq!(meant(Some(SecurityProfile::Localhost("a.json".into())), "").unwrap(), file());
    assert_eq!(meant(None, "localhost/a.json").unwrap(), file());
    assert!(meant(Some(SecurityProfile::Localhost("../a".into())), "").is_err());
}

#[test]
fn a_reaper_is_who_its_pod_says_with_a_keyring_of_its_own() {
    use rrun_shim_protocol::NamespaceKind::Pid;
    let planner = Planner::new(&crate::tests::Machine::new().config()).unwrap();
    let mut pod = PodConfig::default();
    let text = br#"{"defaultAction": "SCMP_ACT_ALLOW"}"#.to_vec();
    // The text of the file is what was looked up: nothing is read here.
    let seccomp = profile::Seccomp::File("/nowhere".into());
    let profiles = PodProfiles { apparmor: Some("a".into()), seccomp, text };
    let mut lsm = crate::tests::Machine::new();
    lsm.lsm.apparmor = true;
    let confined = Planner::new(&lsm.config()).unwrap();
    let process = confined.reaper(&pod, &[Pid], "/pod/x", &profiles).unwrap().process;
    assert_eq!(process.apparmor.as_deref(), Some("a"));
    assert!(process.seccomp.is_some());
    assert_eq!(process.keyring.as_deref(), Some(""));
    assert_eq!((process.user.uid, process.user.gid), (65534, 65534));

    let profiles =
        PodProfiles { apparmor: None, seccomp: profile::Seccomp::RuntimeDefault, text: Vec::new() };
    // As a kubelet sends it for a pod whose securityContext has runAsGroup alone.
    pod.security.run_as_group = Some(6);
    let named = PodConfig {
        name: "web".into(),
        namespace: "default".into(),
        uid: "1".into(),
        ..pod.clone()
    };
    check::pod(&named, "", &Lsm::default(), &Default::default()).unwrap();
    let user = planner.reaper(&pod, &[Pid], "/pod/x", &profiles).unwrap().process.user;
    assert_eq!((user.uid, user.gid), (65534, 6));
    pod.security.run_as_user = Some(5);
    pod.security.supplemental_groups = vec![7];
    let user = planner.reaper(&pod, &[Pid], "/pod/x", &profiles).unwrap().process.user;
    assert_eq!((user.uid, user.gid, user.groups), (5, 6, vec![7]));
}
