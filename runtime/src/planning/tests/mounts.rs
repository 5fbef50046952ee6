//! Mounts, devices and the root.

use super::*;
use crate::plan::{
    FIRST, Mount, MountSource, Namespace, Propagation, RootfsSource, Slot, WITH_USERS, attr,
};
use crate::planning::NamespaceOverrides;

fn mount(entry: Value) -> Mount {
    let mut mounts = planned(&json!({ "mounts": [entry] })).mounts;
    assert_eq!(mounts.len(), 1);
    mounts.remove(0)
}

fn refusal(entry: Value) -> String {
    planned_on(hybrid(), &json!({ "mounts": [entry] })).unwrap_err().to_string()
}

#[test]
fn options_become_attributes_to_set_and_to_clear() {
    for (options, set, clear, recursive) in [
        (&["ro"][..], attr::RDONLY, 0, false),
        (&["rw"], 0, attr::RDONLY, false),
        (&["ro", "rw"], 0, attr::RDONLY, false),
        (&["rw", "ro"], attr::RDONLY, 0, false),
        (&["nosuid", "nodev", "noexec"], attr::NOSUID | attr::NODEV | attr::NOEXEC, 0, false),
        (&["nosuid", "suid"], 0, attr::NOSUID, false),
        (&["dev", "exec"], 0, attr::NODEV | attr::NOEXEC, false),
        (&["noatime"], attr::NOATIME, attr::ATIME, false),
        (&["strictatime"], attr::STRICTATIME, attr::ATIME, false),
        (&["noatime", "relatime"], 0, attr::ATIME, false),
        (&["nodiratime"], attr::NODIRATIME, 0, false),
        (&["nosymfollow"], attr::NOSYMFOLLOW, 0, false),
        (&["rro"], attr::RDONLY, 0, true),
        (&["rrw", "rnosuid"], attr::NOSUID, attr::RDONLY, true),
        (&["ro", "rro"], attr::RDONLY, 0, true),
        (&["rnoatime"], attr::NOATIME, attr::ATIME, true),
        (&["defaults", ""], 0, 0, false),
    ] {
        let all = [["rbind"].as_slice(), options].concat();
        let entry = json!({ "destination": "/a", "source": "/b", "options": all });
        let mount = mount(entry);
        let got = (mount.set, mount.clear, mount.recursive_attrs);
        assert_eq!(got, (set, clear, recursive), "{options:?}");
    }
}

#[test]
fn a_bind_is_one_by_type_or_by_option() {
    for (kind, options, recursive) in [
        (json!("bind"), json!([]), false),
        (json!("bind"), json!(["bind"]), false),
        (json!("bind"), json!(["rbind", "bind"]), true),
        (json!("none"), json!(["rbind"]), true),
        (Value::Null, json!(["bind"]), false),
    ] {
        let mount =
            mount(json!({ "destination": "/a", "type": kind, "source": "b", "options": options }));
        let expected = MountSource::Bind { path: "/bundle/b".into(), recursive };
        assert_eq!(mount.source, expected, "{kind} {options}");
    }
}

#[test]
fn propagation_has_eight_names() {
    for (name, expected) in [
        ("private", Propagation::Private),
        ("rprivate", Propagation::Private),
        ("slave", Propagation::Slave),
        ("rslave", Propagation::Slave),
        ("shared", Propagation::Shared),
        ("rshared", Propagation::Shared),
        ("unbindable", Propagation::Unbindable),
        ("runbindable", Propagation::Unbindable),
    ] {
        let mount = mount(json!({
            "destination": "/a", "source": "/b", "options": ["rbind", name]
        }));
        assert_eq!(mount.propagation, Some(expected), "{name}");
        let plan = planned(&json!({ "linux": { "rootfsPropagation": name } }));
        assert_eq!(plan.rootfs.propagation, Some(expected));
    }
}

#[test]
fn options_of_a_file_system_are_its_own() {
    let tmpfs = mount(json!({
        "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
        "options": ["nosuid", "strictatime", "mode=755", "size=65536k", "tmpcopyup"]
    }));
    assert_eq!(tmpfs.set, attr::NOSUID | attr::STRICTATIME);
    assert_eq!(tmpfs.clear, 0, "clearing the field of access times would undo strictatime");
    assert!(tmpfs.copy_up);
    let options = vec![
        ("mode".to_owned(), Some("755".to_owned())),
        ("size".to_owned(), Some("65536k".to_owned())),
    ];
    let source = MountSource::New { fstype: "tmpfs".into(), source: "tmpfs".into(), options };
    assert_eq!(tmpfs.source, source);

    let disk = mount(json!({
        "destination": "/d", "type": "ext4", "source": "/dev/sda1", "options": ["ro", "sync"]
    }));
    let MountSource::New { options, .. } = disk.source else { panic!("{disk:?}") };
    assert_eq!(options, [("sync".to_owned(), None), ("ro".to_owned(), None)]);
}

#[test]
fn a_destination_is_made_plain() {
    for (text, plain) in [
        ("/a/b", "/a/b"),
        ("/a//b/", "/a/b"),
        ("/a/./b/../c", "/a/c"),
        ("/../../etc", "/etc"),
        ("data", "/data"),
    ] {
        let mount = mount(json!({ "destination": text, "source": "/b", "options": ["bind"] }));
        assert_eq!(mount.target, plain);
    }
}

#[test]
fn what_cannot_be_mounted_is_refused_with_its_place() {
    for (entry, part) in [
        (json!({ "destination": "/a", "source": "/b", "options": ["bind", "idmap"] }), "idmap"),
        (json!({ "destination": "/a", "source": "/b", "options": ["bind", "remount"] }), "remount"),
        (json!({ "destination": "/a", "source": "/b", "options": ["bind", "size=1"] }), "size"),
        (json!({ "destination": "/a", "source": "/b", "options": ["bind", "sync"] }), "sync"),
        (json!({ "destination": "/a", "type": "bind" }), "without a source"),
        (json!({ "destination": "/a", "source": "/b" }), "neither"),
        (json!({ "destination": "/a", "type": "cgroup", "options": ["ro", "all"] }), "\"all\""),
        (
            json!({ "destination": "/a", "type": "cgroup2", "options": ["ro", "nsdelegate"] }),
            "\"nsdelegate\"",
        ),
        (json!({ "destination": "/", "source": "/b", "options": ["bind"] }), "root"),
        (json!({ "destination": "/a", "type": "sysfs", "options": ["tmpcopyup"] }), "tmpcopyup"),
        (
            json!({ "destination": "/a", "source": "/b", "options": ["rbind", "nosuid", "rro"] }),
            "recursive",
        ),
        (
            json!({ "destination": "/a", "source": "/b", "options": ["bind"],
                "uidMappings": [{ "containerID": 0, "hostID": 1, "size": 1 }] }),
            "uidMappings",
        ),
    ] {
        let text = refusal(entry);
        assert!(text.starts_with("mounts") && text.contains(part), "{text}");
    }
}

#[test]
fn control_groups_on_v1_are_the_containers_own_with_links_for_shared_ones() {
    let entry = json!({
        "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
        "options": ["nosuid", "noexec", "nodev", "relatime", "ro"]
    });
    let plan = planned(&json!({ "mounts": [entry] }));
    let top = &plan.mounts[0];
    assert!(matches!(&top.source, MountSource::New { fstype, .. } if fstype == "tmpfs"));
    assert_ne!(top.set & attr::RDONLY, 0);
    assert_eq!(plan.mounts.len(), 10);
    for mount in &plan.mounts[1..] {
        let name = mount.target.strip_prefix("/sys/fs/cgroup/").unwrap();
        let path = format!("/sys/fs/cgroup/{name}/pod/c").into();
        assert_eq!(mount.source, MountSource::Bind { path, recursive: false });
        assert_ne!(mount.set & attr::RDONLY, 0);
    }
    let links: Vec<(&str, &str)> = plan
        .links
        .iter()
        .filter_map(|l| Some((l.path.strip_prefix("/sys/fs/cgroup/")?, l.target.as_str())))
        .collect();
    assert_eq!(
        links,
        [("cpu", "cpu,cpuacct"), ("cpuacct", "cpu,cpuacct"), ("net_prio", "net_cls")]
    );
}

#[test]
fn control_groups_on_v2_are_a_mount_of_their_own() {
    let entry = json!({ "destination": "/sys/fs/cgroup", "type": "cgroup", "options": ["ro"] });
    let plan = planned_on(full_v2(), &json!({ "mounts": [entry] })).unwrap();
    assert_eq!(plan.mounts.len(), 1);
    let source = &plan.mounts[0].source;
    assert!(matches!(source, MountSource::New { fstype, .. } if fstype == "cgroup2"));
}

#[test]
fn a_directory_of_the_pod_takes_the_place_of_a_mount_or_comes_last() {
    let mut config = config();
    merge(
        &mut config,
        &json!({ "mounts": [
        { "destination": "/dev/shm/", "type": "tmpfs" },
        { "destination": "/proc", "type": "proc" }
    ] }),
    );
    let spec = load(config.to_string().as_bytes()).unwrap().value;
    let over = Overrides {
        pod_dirs: vec![("/dev/shm".into(), "shm".into()), ("/run/x".into(), "x".into())],
        rootfs: Some(Slot(3)),
        ..over()
    };
    let plan = plan(&spec, &host(hybrid()), &over).unwrap();
    let seen: Vec<_> = plan.mounts.iter().map(|m| (m.target.as_str(), &m.source)).collect();
    assert_eq!(seen[0], ("/dev/shm", &MountSource::Pod("shm".into())));
    assert_eq!(seen[1].0, "/proc");
    assert_eq!(seen[2], ("/run/x", &MountSource::Pod("x".into())));
    assert_eq!(plan.rootfs.source, RootfsSource::Detached(Slot(3)));
}

#[test]
fn a_detached_mount_takes_the_place_of_a_mount_and_has_its_options() {
    let mut config = config();
    let options = ["rprivate", "ro", "nodev"];
    let entry = json!({
        "destination": "/data", "type": "overlay", "source": "sha256:1", "options": options
    });
    merge(&mut config, &json!({ "mounts": [entry] }));
    let spec = load(config.to_string().as_bytes()).unwrap().value;
    let over = Overrides { detached: vec![("/data".into(), Slot(4))], ..over() };
    let plan = plan(&spec, &host(hybrid()), &over).unwrap();
    let mount = &plan.mounts[0];
    assert_eq!(mount.source, MountSource::Detached(Slot(4)));
    assert_eq!((mount.set, mount.clear), (attr::RDONLY | attr::NODEV, 0));
    assert_eq!(mount.propagation, Some(Propagation::Private));
}

#[test]
fn every_container_has_the_usual_devices_and_links() {
    let plan = planned(&json!({}));
    let paths: Vec<_> = plan.devices.iter().map(|d| d.path.as_str()).collect();
    assert_eq!(
        paths,
        ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"]
    );
    assert_eq!(plan.devices[0].rdev, nix::sys::stat::makedev(1, 3));
    assert_eq!(plan.devices[0].mode, libc::S_IFCHR | 0o666);
    assert!(
        plan.links
            .iter()
            .any(|l| (l.path.as_str(), l.target.as_str()) == ("/dev/ptmx", "pts/ptmx"))
    );
}

#[test]
fn a_listed_device_wins_over_a_usual_one() {
    let plan = planned(&json!({ "linux": { "devices": [
        { "path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o660, "uid": 1, "gid": 2 },
        { "path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o600 },
        { "path": "/dev/big", "type": "b", "major": 259, "minor": 70000 },
        { "path": "/dev/pipe", "type": "p", "major": 0, "minor": 0 }
    ] } }));
    assert_eq!(plan.devices.len(), 9);
    assert_eq!(plan.devices[0].mode, libc::S_IFCHR | 0o660);
    assert_eq!((plan.devices[0].uid, plan.devices[0].gid), (1, 2));
    assert_eq!(plan.devices[1].mode, libc::S_IFCHR | 0o600);
    assert_eq!(plan.devices[2].rdev, nix::sys::stat::makedev(259, 70000));
    assert_eq!((plan.devices[3].mode, plan.devices[3].rdev), (libc::S_IFIFO | 0o666, 0));
}

#[test]
fn a_bound_dev_is_left_alone() {
    let plan = planned(&json!({ "mounts": [
        { "destination": "/dev/", "type": "bind", "source": "/dev", "options": ["rbind"] }
    ] }));
    assert!(plan.devices.is_empty() && plan.links.is_empty());
}

#[test]
fn a_bind_is_mapped_by_the_joined_user_namespace_whose_maps_it_has_and_by_no_other() {
    let maps = |host: u32| json!([{ "containerID": 0, "hostID": host, "size": 1000 }]);
    let joined = |on_mount: Value| {
        let mut config = config();
        config["process"]["user"] = json!({ "uid": 7, "gid": 0 });
        config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({ "type": "user" }));
        config["linux"]["uidMappings"] = maps(5000);
        config["linux"]["gidMappings"] = maps(5000);
        config["mounts"] = json!([{
            "destination": "/a", "source": "/b", "type": "bind", "options": ["rbind"],
            "uidMappings": on_mount, "gidMappings": on_mount,
        }]);
        let spec = load(config.to_string().as_bytes()).unwrap().value;
        let user = Some(Namespace::Slot(Slot(3)));
        let namespaces = NamespaceOverrides { user, ..Default::default() };
        let over = Overrides { namespaces, ..over() };
        plan(&spec, &host(hybrid()), &over)
    };
    let plan = joined(maps(5000)).unwrap();
    assert_eq!((plan.version, plan.id_maps), (WITH_USERS, None));
    assert_eq!(plan.mounts[0].id_map, Some(Slot(3)));
    assert_eq!(plan.process.user.outside, Some(5007));
    let refused = joined(maps(6000)).unwrap_err().to_string();
    assert!(refused.contains("uidMappings"), "{refused}");
    // An executor that knows nothing of it takes what has nothing of it.
    assert_eq!(planned(&json!({})).version, FIRST);
}
