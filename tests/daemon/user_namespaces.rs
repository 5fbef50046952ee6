//! Pods with a user namespace of their own.

mod served;

use crate::foreign_image::{Entry, import, layer};
use crate::suite::*;
use rrun_cri_api::Cri;
use rrun_cri_api::v1::*;
use rrun_tests::harness::{BUSYBOX, WORK};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::PathBuf;
use tonic::Code;

const COUNT: u32 = 65_536;

fn ids(host_id: u32) -> Vec<IdMapping> {
    vec![IdMapping { host_id, container_id: 0, length: COUNT }]
}

fn users(host_id: u32) -> UserNamespace {
    UserNamespace { mode: NamespaceMode::Pod as i32, uids: ids(host_id), gids: ids(host_id) }
}

fn options(users: UserNamespace) -> Option<NamespaceOption> {
    Some(NamespaceOption { userns_options: Some(users), ..Default::default() })
}

/// A pod whose root is `first` on the host.
fn pod(suite: &Suite, name: &str, first: u32) -> PodSandboxConfig {
    with(suite, name, options(users(first)))
}

fn with(suite: &Suite, name: &str, options: Option<NamespaceOption>) -> PodSandboxConfig {
    let mut config = suite.harness.pod(name);
    let security = LinuxSandboxSecurityContext { namespace_options: options, ..Default::default() };
    config.linux.as_mut().unwrap().security_context = Some(security);
    config
}

/// A container with a shell in it, as a kubelet asks for it.
fn shell(suite: &Suite, first: u32, mounts: Vec<Mount>) -> ContainerConfig {
    let mut config = suite.harness.container("main", BUSYBOX, &["/bin/sleep", "1000000"]);
    let security = LinuxContainerSecurityContext {
        namespace_options: options(users(first)),
        ..Default::default()
    };
    config.linux.as_mut().unwrap().security_context = Some(security);
    config.mounts = mounts;
    config
}

fn security(config: &mut ContainerConfig) -> &mut LinuxContainerSecurityContext {
    config.linux.as_mut().unwrap().security_context.as_mut().unwrap()
}

fn adding(capability: &str) -> Option<Capability> {
    Some(Capability { add_capabilities: vec![capability.to_owned()], ..Default::default() })
}

/// What a script says on both streams, without the last newline.
async fn said(suite: &Suite, id: &str, script: &str) -> String {
    let script = format!("exec 2>&1; {script}");
    let done = suite.exec(id, &["/bin/sh", "-c", &script], 60).await.unwrap();
    String::from_utf8(done.stdout).unwrap().trim_end().to_owned()
}

/// A folder of the host that everybody may look into.
fn folder(suite: &Suite, name: &str) -> PathBuf {
    let path = suite.harness.sandbox().root().join(name);
    fs::create_dir(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn volume(path: &std::path::Path, container_path: &str, first: u32) -> Mount {
    Mount {
        host_path: path.to_str().unwrap().to_owned(),
        container_path: container_path.to_owned(),
        uid_mappings: ids(first),
        gid_mappings: ids(first),
        ..Default::default()
    }
}

/// Whose a process is on the host.
fn owner(pid: i64) -> (u32, u32) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let id = |key: &str| {
        let line = status.lines().find(|line| line.starts_with(key)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    (id("Uid:"), id("Gid:"))
}

#[tokio::test]
async fn root_in_the_pod_is_nobody_on_the_host_and_owns_what_is_the_pods() {
    let suite = Suite::start().await;
    let first = 131_072;
    let config = pod(&suite, "mapped", first);
    let pod = suite.run_pod(&config).await;
    let mut main = shell(&suite, first, Vec::new());
    security(&mut main).capabilities = adding("NET_ADMIN");
    let id = suite.started(&pod, main, &config).await;
    let pid = suite.pid(&id).await;
    assert_eq!(owner(pid), (first, first));
    assert_eq!(said(&suite, &id, "id -u; id -g").await, "0\n0");
    for map in ["uid_map", "gid_map"] {
        let map = said(&suite, &id, &format!("cat /proc/self/{map}")).await;
        let map: Vec<&str> = map.split_whitespace().collect();
        assert_eq!(map, ["0", "131072", "65536"]);
    }
    // The other namespaces belong to it: who may change the network does.
    let may = "echo 1025 > /proc/sys/net/core/somaxconn; cat /proc/sys/net/core/somaxconn \
        /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/net/ipv4/ping_group_range";
    assert_eq!(said(&suite, &id, may).await.replace('\t', " "), "1025\n0\n0 65535");
    let own = "stat -c '%u:%g %n' / /bin/sh /etc /etc/hosts /etc/hostname /etc/resolv.conf /dev /dev/shm \
        /dev/pts /dev/mqueue /proc/self/ /tmp";
    for line in said(&suite, &id, own).await.lines() {
        assert!(line.starts_with("0:0 /"), "{line}");
    }
    let writes = "echo x > /dev/null && echo x > /dev/shm/x && echo x > /new && mkdir /d && \
        touch /dev/mqueue/q && head -c1 /dev/zero > /dev/null && chown 5:6 /new /dev/shm/x && \
        stat -c %u:%g /new /dev/shm/x && echo more >> /etc/hosts && tail -n1 /etc/hosts";
    assert_eq!(said(&suite, &id, writes).await, "5:6\n5:6\nmore");
    let upper =
        suite.harness.sandbox().state().join(format!("images/writable/container-{id}/upper"));
    let new = fs::symlink_metadata(upper.join("new")).unwrap();
    assert_eq!((new.uid(), new.gid()), (first + 5, first + 6));
    assert_eq!(fs::symlink_metadata(&upper).unwrap().uid(), first);
    // Nothing of the host's is within reach, nor what only the host's root may do.
    for script in [
        "mknod /null c 1 3",
        "cat /proc/sysrq-trigger",
        "echo 1 > /proc/sys/vm/drop_caches",
        "mount -t tmpfs none /tmp",
    ] {
        let tried = suite.exec(&id, &["/bin/sh", "-c", script], 60).await.unwrap();
        assert_ne!(tried.exit_code, 0, "{script}");
    }
    let mounts = said(&suite, &id, "cut -d' ' -f5 /proc/self/mountinfo").await;
    let usual = |point: &str| {
        let usual = ["/proc", "/dev", "/sys", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf"];
        point == "/" || usual.iter().any(|usual| point.starts_with(usual))
    };
    assert!(mounts.lines().all(usual), "{mounts}");
    suite.remove(&pod).await;
    suite.assert_nothing_left();
}

#[tokio::test]
async fn a_volume_is_written_by_the_ids_that_the_pod_sees_and_one_without_maps_is_nobodys() {
    let suite = Suite::start().await;
    let first = 196_608;
    let (data, plain) = (folder(&suite, "data"), folder(&suite, "plain"));
    fs::write(data.join("of-7"), "seven").unwrap();
    chown(data.join("of-7"), Some(7), Some(8)).unwrap();
    chown(&data, Some(1000), Some(1000)).unwrap();
    let config = pod(&suite, "volumes", first);
    let pod = suite.run_pod(&config).await;
    let read_only = Mount { readonly: true, ..volume(&data, "/ro", first) };
    let not_mapped = Mount {
        uid_mappings: Vec::new(),
        gid_mappings: Vec::new(),
        ..volume(&plain, "/plain", first)
    };
    let mounts = vec![volume(&data, "/data", first), read_only, not_mapped];
    let mut as_user = shell(&suite, first, mounts.clone());
    as_user.metadata.as_mut().unwrap().name = "user".to_owned();
    security(&mut as_user).run_as_user = Some(Int64Value { value: 1000 });
    let user = suite.started(&pod, as_user, &config).await;
    assert_eq!(owner(suite.pid(&user).await).0, first + 1000);
    assert_eq!(
        said(&suite, &user, "id -u; stat -c %u:%g /data /data/of-7").await,
        "1000\n1000:1000\n7:8"
    );
    assert_eq!(said(&suite, &user, "touch /data/new && stat -c %u /data/new").await, "1000");
    assert_eq!(fs::symlink_metadata(data.join("new")).unwrap().uid(), 1000);
    let root = suite.started(&pod, shell(&suite, first, mounts), &config).await;
    assert_eq!(said(&suite, &root, "touch /data/roots && stat -c %u:%g /data/roots").await, "0:0");
    let roots = fs::symlink_metadata(data.join("roots")).unwrap();
    assert_eq!((roots.uid(), roots.gid()), (0, 0));
    assert!(said(&suite, &root, "touch /ro/x").await.contains("Read-only file system"));
    assert_eq!(said(&suite, &root, "stat -c %u:%g /plain").await, "65534:65534");
    assert!(said(&suite, &root, "touch /plain/x").await.contains("Permission denied"));
    suite.remove(&pod).await;
    fs::remove_dir_all(&data).unwrap();
    fs::remove_dir_all(&plain).unwrap();
    suite.assert_nothing_left();
}

#[tokio::test]
async fn pods_with_other_ranges_share_an_image_whose_files_are_as_they_were() {
    share(Suite::start().await).await;
}

#[tokio::test]
async fn so_do_they_where_layers_are_images_of_erofs() {
    share(Suite::start_with("[images]\nlayers = \"erofs\"").await).await;
}

async fn share(mut suite: Suite) {
    let files = layer(&[("bin/file", Entry::Text("text")), ("deep/er", Entry::Text("x"))]);
    let image = import(&suite, "shared", "", &files).await;
    let state = suite.harness.sandbox().state();
    let mut pods = Vec::new();
    for first in [262_144, 327_680] {
        let config = pod(&suite, &format!("range-{first}"), first);
        let pod = suite.run_pod(&config).await;
        let view = Mount {
            container_path: "/view".to_owned(),
            readonly: true,
            image: Some(ImageSpec { image: image.clone(), ..Default::default() }),
            uid_mappings: ids(first),
            gid_mappings: ids(first),
            ..Default::default()
        };
        let deep = Mount {
            container_path: "/deep".to_owned(),
            image_sub_path: "deep".to_owned(),
            ..view.clone()
        };
        let id = suite.started(&pod, shell(&suite, first, vec![view, deep]), &config).await;
        pods.push((pod, id, first, config));
    }
    // Whoever serves them later has to know as much.
    suite.restart().await;
    for (pod, id, first, config) in &pods {
        assert_eq!(owner(suite.pid(id).await), (*first, *first));
        let seen = "id -u; stat -c %u:%g /bin/busybox /view/bin/file /deep/er; cat /view/bin/file";
        assert_eq!(said(&suite, id, seen).await, "0\n0:0\n0:0\n0:0\ntext");
        assert_ne!(said(&suite, id, "touch /view/x && echo done").await, "done");
        let mut second = shell(&suite, *first, Vec::new());
        second.metadata.as_mut().unwrap().name = "second".to_owned();
        let second = suite.started(pod, second, config).await;
        assert_eq!(said(&suite, &second, "echo x > /bin/new && stat -c %u /bin/new").await, "0");
        assert_eq!(owner(suite.pid(&second).await).0, *first);
        // A file that is changed is copied up with its owner; the one below stays.
        assert_eq!(
            said(&suite, &second, "chmod 700 /bin/busybox && stat -c %u /bin/busybox").await,
            "0"
        );
    }
    for path in everything_below(&state.join("images/layers")) {
        let stat = fs::symlink_metadata(&path).unwrap();
        assert!(stat.uid() < COUNT && stat.gid() < COUNT, "{}: {}", path.display(), stat.uid());
    }
    for (pod, ..) in pods {
        suite.remove(&pod).await;
    }
    let image = ImageSpec { image, ..Default::default() };
    suite.harness.client.remove_image(RemoveImageRequest { image: Some(image) }).await.unwrap();
    suite.until_clean();
    suite.assert_nothing_left();
}

/// Everything below a folder.
fn everything_below(folder: &std::path::Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        all.push(entry.path());
        if entry.file_type().unwrap().is_dir() {
            all.extend(everything_below(&entry.path()));
        }
    }
    all
}

#[tokio::test]
async fn processes_are_shared_or_not_as_in_any_pod_and_a_neighbour_can_be_looked_at() {
    let suite = Suite::start().await;
    let first = 393_216;
    for (name, pid) in [("own", NamespaceMode::Container), ("shared", NamespaceMode::Pod)] {
        let wanted = NamespaceOption {
            pid: pid as i32,
            userns_options: Some(users(first)),
            ..Default::default()
        };
        let config = with(&suite, name, Some(wanted.clone()));
        let pod = suite.run_pod(&config).await;
        let mut main = shell(&suite, first, Vec::new());
        security(&mut main).namespace_options = Some(wanted.clone());
        let main = suite.started(&pod, main, &config).await;
        let one = said(&suite, &main, "cat /proc/1/comm").await;
        assert_eq!(one == "sleep", pid == NamespaceMode::Container, "{one}");
        let target = NamespaceOption {
            pid: NamespaceMode::Target as i32,
            target_id: main.clone(),
            ..wanted
        };
        let mut debug = shell(&suite, first, Vec::new());
        debug.metadata.as_mut().unwrap().name = "debug".to_owned();
        security(&mut debug).namespace_options = Some(target);
        let debug = suite.started(&pod, debug, &config).await;
        let sleepers = said(&suite, &debug, "grep -l sleep /proc/[0-9]*/comm | wc -l").await;
        assert_eq!(sleepers, "2", "{name}");
        assert_eq!(owner(suite.pid(&debug).await).0, first);
        suite.remove(&pod).await;
    }
    suite.assert_nothing_left();
}

#[tokio::test]
async fn what_a_pods_users_cannot_be_is_refused_by_name() {
    let suite = Suite::start().await;
    let first = 524_288;
    let run = async |options: NamespaceOption| {
        let config = with(&suite, "refused", Some(options));
        let request = RunPodSandboxRequest { config: Some(config), ..Default::default() };
        suite.harness.client.run_pod_sandbox(request).await.unwrap_err()
    };
    let own = |change: fn(&mut NamespaceOption)| {
        let mut asked = options(users(first)).unwrap();
        change(&mut asked);
        asked
    };
    for (asked, why) in [
        (own(|o| o.network = NamespaceMode::Node as i32), "not with the host's network namespace"),
        (own(|o| o.pid = NamespaceMode::Node as i32), "not with the host's pid namespace"),
        (
            own(|o| o.userns_options.as_mut().unwrap().uids[0].host_id = 0),
            "uids from 0: not to be mapped",
        ),
        (
            own(|o| o.userns_options.as_mut().unwrap().uids[0].container_id = 1),
            "uids do not start at 0",
        ),
        (own(|o| o.userns_options.as_mut().unwrap().gids.clear()), "gids have 0 mappings, not one"),
        (
            own(|o| o.userns_options.as_mut().unwrap().mode = NamespaceMode::Target as i32),
            "mode Target",
        ),
    ] {
        let refused = run(asked).await;
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
        assert!(refused.message().contains(why), "{refused}");
    }
    let config = pod(&suite, "refusing", first);
    let id = suite.run_pod(&config).await;
    let host = UserNamespace { mode: NamespaceMode::Node as i32, ..Default::default() };
    let data = folder(&suite, "data");
    let container = |change: &dyn Fn(&mut ContainerConfig)| {
        let mut config = shell(&suite, first, Vec::new());
        change(&mut config);
        config
    };
    for (asked, why) in [
        (
            container(&|c| security(c).namespace_options = options(users(first + COUNT))),
            "userns_options are not those of the pod",
        ),
        (
            container(&|c| security(c).namespace_options = options(host.clone())),
            "userns_options are not those of the pod",
        ),
        (
            container(&|c| c.mounts = vec![volume(&data, "/data", first + COUNT)]),
            "mount /data: uidMappings are not those of the pod",
        ),
        (
            container(&|c| security(c).run_as_user = Some(Int64Value { value: 65_536 })),
            "user 65536 is not mapped in the pod's user namespace",
        ),
        (
            container(&|c| security(c).supplemental_groups = vec![70_000]),
            "group 70000 is not mapped",
        ),
        (
            container(&|c| {
                c.mounts = vec![volume(std::path::Path::new("/proc/sys"), "/data", first)]
            }),
            "mount /data: proc does not support idmapped mounts",
        ),
    ] {
        let refused = suite.create(&id, asked, &config).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
        assert!(refused.message().contains(why), "{refused}");
    }
    suite.remove(&id).await;
    let plain = suite.harness.pod("plain");
    let id = suite.run_pod(&plain).await;
    let mut config = suite.harness.container("main", WORK, &["/bin/sleeper"]);
    config.mounts = vec![volume(&data, "/data", first)];
    let refused = suite.create(&id, config, &plain).await.unwrap_err();
    assert!(refused.message().contains("the pod has no user namespace of its own"), "{refused}");
    suite.remove(&id).await;
    fs::remove_dir_all(&data).unwrap();
    suite.assert_nothing_left();
}
