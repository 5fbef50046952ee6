//! What joins: execs, shared namespaces, the pod's mounts, the reaper, the socket of a start. Needs root.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use rrun_runtime::plan::*;
use rrun_runtime::run::namespace::{self, NamespaceKind, Setup};
use rrun_runtime::run::{self, Beside, State, pod_mounts, reaper, start_socket};
use rrun_runtime::{Kind, cgroup};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use support::*;

const SLEEP: [&str; 2] = ["sleep", "1000"];

#[test]
fn an_exec_is_in_the_containers_namespaces_and_groups_as_its_own_user() {
    let place = Box::new();
    let init = place.start(&place.plan(&SLEEP)).unwrap();
    let script = "id -u; id -g; pwd; echo $NAME; hostname; cat /proc/1/cmdline | tr '\\0' ' '; echo; \
        cat /proc/self/cgroup; ls /proc/self/fd";
    let mut plan = place.exec_plan(&["sh", "-c", script]);
    plan.process.user = User { uid: 12, gid: 34, ..Default::default() };
    plan.process.cwd = "/tmp".into();
    plan.process.env.push(b"NAME=value".to_vec());
    let (code, output) = place.exec(&plan, &init).unwrap();
    assert_eq!(code, 0);
    let name = place.root.file_name().unwrap().to_str().unwrap();
    assert!(output.starts_with("12\n34\n/tmp\nvalue\nboxed\nsleep 1000 \n"), "{output}");
    assert!(output.ends_with("\n0\n1\n2\n3\n"), "{output}");
    let groups: Vec<_> = output.lines().filter(|line| line.contains(":/rrun-test")).collect();
    assert_eq!(groups.len(), place.groups.dirs.len());
    for line in groups {
        let own = if line.starts_with("0::") { "/exec-0" } else { "" };
        assert!(line.ends_with(&format!("/{name}{own}")), "{line}");
    }
    place.kill(&init);
}

#[test]
fn a_missing_program_is_told_by_an_exec_too() {
    let place = Box::new();
    let init = place.start(&place.plan(&SLEEP)).unwrap();
    let error = place.exec(&place.exec_plan(&["nope"]), &init).unwrap_err();
    assert_eq!(error.to_string(), r#"exec: "nope": executable file not found in $PATH"#);
    assert_eq!(error.kind(), Kind::Exec { code: 127 });
    place.kill(&init);
}

#[test]
fn an_exec_in_a_container_that_has_ended_says_so() {
    let place = Box::new();
    let init = place.start(&place.plan(&SLEEP)).unwrap();
    place.kill(&init);
    let error = place.exec(&place.exec_plan(&["true"]), &init).unwrap_err();
    assert_eq!(
        (error.to_string().as_str(), error.kind()),
        ("enter the container: ESRCH", Kind::NotFound)
    );
}

#[test]
fn an_exec_gets_a_terminal_of_the_containers() {
    let place = Box::new();
    let init = place.start(&place.plan(&SLEEP)).unwrap();
    let mut plan = place.exec_plan(&["sh", "-c", "tty; stty size"]);
    plan.process.terminal = true;
    plan.process.terminal_size = Some((10, 20));
    let mut child = run::exec(&plan, init.pidfd(), None).unwrap();
    running(&mut child).unwrap();
    let output = read_all(child.take_console().unwrap().into());
    assert_eq!(output, "/dev/pts/0\r\n10 20\r\n");
    wait(&child);
    place.kill(&init);
}

#[test]
fn the_tree_of_an_exec_dies_with_its_group_and_the_container_lives() {
    let place = Box::new();
    let init = place.start(&place.plan(&SLEEP)).unwrap();
    let plan = place.exec_plan(&["sh", "-c", "setsid sleep 2000 & setsid sleep 2000 & echo; wait"]);
    let (output, stdio) = piped();
    let mut child = run::exec(&plan, init.pidfd(), Some(stdio)).unwrap();
    running(&mut child).unwrap();
    // The tree is complete when it has said its line.
    let mut byte = [0];
    std::io::Read::read_exact(&mut { &output }, &mut byte).unwrap();
    let exec_groups = plan.cgroups.dirs.iter().filter(|dir| dir.unified).cloned();
    let tree = Cgroups { dirs: exec_groups.collect(), ..Default::default() };
    assert_eq!(cgroup::processes(&tree).unwrap().len(), 3);
    cgroup::kill(&tree).unwrap();
    assert_eq!(wait(&child), 137);
    // The pipe's end says that all of the tree have ended.
    assert_eq!(read_all(output), "");
    cgroup::remove(&tree.dirs).unwrap();
    assert_eq!(cgroup::processes(&place.groups).unwrap(), [init.pid()]);
    place.kill(&init);
}

fn inode(path: &str) -> u64 {
    std::fs::metadata(path).unwrap().ino()
}

#[test]
fn namespaces_of_a_pod_are_set_up_joined_and_pinned() {
    let place = Box::new();
    let before = ["net", "ipc", "uts"].map(|kind| inode(&format!("/proc/self/ns/{kind}")));
    let sysctls = [("net.ipv4.ip_unprivileged_port_start".to_owned(), "7".to_owned())];
    let setup =
        Setup { hostname: Some("thepod"), sysctls: &sysctls, loopback: true, id_maps: None };
    let kinds = [NamespaceKind::Network, NamespaceKind::Ipc, NamespaceKind::Uts];
    let fds = namespace::make(&kinds, &setup).unwrap();
    assert_eq!(before, ["net", "ipc", "uts"].map(|kind| inode(&format!("/proc/self/ns/{kind}"))));

    let script = "hostname; cat /proc/sys/net/ipv4/ip_unprivileged_port_start; \
        cat /sys/class/net/lo/flags";
    let mut plan = place.plan(&["sh", "-c", script]);
    plan.hostname = None;
    plan.namespaces.network = Namespace::Slot(Slot(0));
    plan.namespaces.ipc = Namespace::Slot(Slot(1));
    plan.namespaces.uts = Namespace::Slot(Slot(2));
    let slots: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
    let expected = "thepod\n7\n0x9\n";
    assert_eq!(place.run_with(&plan, &slots).unwrap(), (0, expected.into()));

    let path = place.root.join("tmp/a/pin");
    namespace::pin(fds[0].as_fd(), &path).unwrap();
    assert_eq!(namespace::pin(fds[0].as_fd(), &path).unwrap_err().kind(), Kind::Exists);
    drop(fds);
    plan.namespaces.network = Namespace::Path(path.clone());
    plan.namespaces.ipc = Namespace::New;
    plan.namespaces.uts = Namespace::New;
    let (_, output) = place.run(&plan).unwrap();
    assert!(output.ends_with("\n7\n0x9\n"), "{output}");
    for _ in 0..2 {
        namespace::unpin(&path).unwrap();
        assert!(!path.exists());
    }
}

#[test]
fn containers_share_the_pods_shm_and_find_nothing_else_of_it() {
    let place = Box::new();
    let base = pod_mounts::make(None).unwrap();
    let pod_mounts = pod_mounts::make_from(Some(base.as_fd()), Some(1 << 20)).unwrap();
    let run = |args: &[&str]| {
        let mut plan = place.plan(args);
        plan.mounts.push(Mount {
            source: MountSource::Pod("shm".into()),
            ..new_mount("/dev/shm", "", 0, &[])
        });
        let (output, stdio) = piped();
        let mut child = run::spawn(&plan, &[], Some(pod_mounts.as_fd()), Some(stdio)).unwrap();
        ready(&mut child).unwrap();
        child.release().unwrap();
        running(&mut child).unwrap();
        (wait(&child), read_all(output))
    };
    assert_eq!(
        run(&["sh", "-c", "echo shared > /dev/shm/x; stat -c %a /dev/shm"]),
        (0, "1777\n".into())
    );
    let (code, output) = run(&["sh", "-c", "cat /dev/shm/x /proc/self/mountinfo"]);
    assert!(code == 0 && output.starts_with("shared\n"));
    assert_eq!(output.lines().filter(|line| line.contains("rw,size=1024k")).count(), 1, "{output}");
    assert!(!output.contains("/sys/fs/cgroup"), "{output}");
}

/// Root inside.
const OUTSIDE: u32 = 200_000;

#[test]
fn a_pods_user_namespace_owns_its_others_and_maps_what_is_mounted() {
    let place = Box::new();
    let all = vec![IdRange { inside: 0, outside: OUTSIDE, count: 65_536 }];
    let maps = IdMaps { users: all.clone(), groups: all };
    let sysctls = [
        ("net.ipv4.ip_unprivileged_port_start".to_owned(), "7".to_owned()),
        ("kernel.shm_rmid_forced".to_owned(), "1".to_owned()),
    ];
    let setup =
        Setup { hostname: Some("thepod"), sysctls: &sysctls, loopback: true, id_maps: Some(&maps) };
    let kinds =
        [NamespaceKind::Network, NamespaceKind::Ipc, NamespaceKind::Uts, NamespaceKind::User];
    let fds = namespace::make(&kinds, &setup).unwrap();
    let mounts = pod_mounts::make_for(maps.root().unwrap(), Some(1 << 20)).unwrap();
    let slots: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    std::os::unix::fs::lchown(&data, Some(5), Some(6)).unwrap();
    let script = "id -u; tr -s ' ' < /proc/self/uid_map; hostname; \
        cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/shm_rmid_forced \
        /sys/class/net/lo/flags; stat -c %u:%g /data /dev/shm; touch /data/new && echo > /dev/shm/x; \
        echo own > /proc/self/fd/1; hostname other && hostname; set -- /proc/[0-9]*; echo $#";
    let mut plan = place.plan(&["sh", "-c", script]);
    plan.version = VERSION;
    plan.hostname = None;
    let slot = |at| Namespace::Slot(Slot(at));
    (plan.namespaces.network, plan.namespaces.ipc) = (slot(0), slot(1));
    (plan.namespaces.uts, plan.namespaces.user) = (slot(2), slot(3));
    plan.process.user.outside = Some(OUTSIDE);
    let (admin, sets) = (1 << 21, &mut plan.process.capabilities);
    for set in [&mut sets.bounding, &mut sets.effective, &mut sets.permitted] {
        *set |= admin;
    }
    for (target, id_map) in [("/data", Some(Slot(3))), ("/dev/shm", None)] {
        let source = match id_map {
            Some(_) => MountSource::Bind { path: data.clone(), recursive: true },
            None => MountSource::Pod("shm".into()),
        };
        plan.mounts.push(Mount { source, id_map, ..new_mount(target, "", 0, &[]) });
    }
    own(&place.root);
    let (output, stdio) = piped();
    let mut child = run::spawn(&plan, &slots, Some(mounts.as_fd()), Some(stdio)).unwrap();
    ready(&mut child).unwrap();
    child.release().unwrap();
    running(&mut child).unwrap();
    let code = wait(&child);
    let expected = format!("0\n 0 {OUTSIDE} 65536\nthepod\n7\n1\n0x9\n5:6\n0:0\nown\nother\n1\n");
    assert_eq!((code, read_all(output)), (0, expected));
    assert_eq!(std::fs::metadata(data.join("new")).unwrap().uid(), 0);

    // What cannot be mapped is named.
    plan.mounts.push(Mount {
        source: MountSource::Bind { path: "/proc/sys".into(), recursive: true },
        id_map: Some(Slot(3)),
        ..new_mount("/odd", "", 0, &[])
    });
    let mut child = run::spawn(&plan, &slots, Some(mounts.as_fd()), None).unwrap();
    let error = ready(&mut child).unwrap_err().to_string();
    assert_eq!(error, "mount /odd: proc does not support idmapped mounts: EINVAL");
}

fn own(path: &Path) {
    std::os::unix::fs::lchown(path, Some(OUTSIDE), Some(OUTSIDE)).unwrap();
    if path.is_dir() && !path.is_symlink() {
        std::fs::read_dir(path).unwrap().for_each(|entry| own(&entry.unwrap().path()));
    }
}

/// A reaper that goes with the test.
struct Reaping {
    reaper: reaper::Reaper,
    groups: Cgroups,
}

impl Reaping {
    fn start(place: &Box) -> Reaping {
        let plan = reaper_plan(place);
        let binary = reaper::binary().unwrap();
        let reaper = reaper::spawn(&plan, &[], None, binary.as_fd()).unwrap();
        Reaping { reaper, groups: plan.cgroups }
    }

    fn namespace(&self) -> BorrowedFd<'_> {
        self.reaper.namespace.as_fd()
    }
}

impl Drop for Reaping {
    fn drop(&mut self) {
        rrun_sys::pidfd::send_signal(self.reaper.pidfd.as_fd(), libc::SIGKILL).unwrap();
        assert_eq!(wait_fd(self.reaper.pidfd.as_fd()), 137);
        cgroup::remove(&self.groups.dirs).unwrap();
    }
}

fn reaper_plan(place: &Box) -> Plan {
    let mut plan = place.plan(&["reaper"]);
    plan.cgroups
        .dirs
        .iter_mut()
        .for_each(|dir| dir.path.set_extension("reaper").then_some(()).unwrap());
    plan.namespaces.network = Namespace::Host;
    plan.namespaces.ipc = Namespace::Host;
    plan.namespaces.uts = Namespace::Host;
    plan.hostname = None;
    plan.process.user = User { uid: 65534, gid: 65534, ..Default::default() };
    plan.process.no_new_privileges = true;
    plan
}

#[test]
fn a_neighbour_that_may_ptrace_finds_nothing_of_the_host_in_the_reaper() {
    let place = Box::new();
    let reaper = Reaping::start(&place);

    let script = "cd /proc/1 && ls -a root | tr '\\n' ' '; readlink cwd; readlink exe; ls fd; cat environ; \
        grep -c . mountinfo; touch root/x; cat maps; grep -E 'Cap(Prm|Eff|Bnd)|^Uid|SigIgn' status; \
        echo x > exe";
    let mut neighbour = place.plan(&["sh", "-c", script]);
    neighbour.namespaces.pid = Namespace::Slot(Slot(0));
    let all = rrun_sys::capability::permitted().unwrap();
    neighbour.process.capabilities =
        Capabilities { bounding: all, effective: all, permitted: all, ..Default::default() };
    let (_, output) = place.run_with(&neighbour, &[reaper.namespace()]).unwrap();
    let (maps, rest): (Vec<_>, Vec<_>) =
        output.lines().partition(|line| line.contains("p 00000000 "));
    assert_eq!(
        rest,
        [
            ". .. /",
            "/memfd:reaper (deleted)",
            "1",
            "touch: root/x: Read-only file system",
            "Uid:\t65534\t65534\t65534\t65534",
            "SigIgn:\t0000000000010000",
            "CapPrm:\t0000000000000000",
            "CapEff:\t0000000000000000",
            "CapBnd:\t0000000000000000",
            "sh: can't create exe: Text file busy",
        ],
        "{output}"
    );
    let host = |line: &&&str| line.contains('/') && !line.ends_with("/memfd:reaper (deleted)");
    assert_eq!(maps.iter().filter(host).count(), 0, "{output}");
}

#[test]
fn orphans_of_a_shared_pid_namespace_leave_no_zombies() {
    let place = Box::new();
    let reaper = Reaping::start(&place);
    // Until only the reaper and the shell are there, whenever the orphans come to their end.
    let script = "sh -c 'true & true & true &'; sh -c 'sleep 0 & exec true'; \
        n=0; while set -- /proc/[0-9]*; [ $# -gt 2 ] && [ $n -lt 600 ]; do \
        n=$((n + 1)); sleep 0.1; done; echo $#";
    let mut neighbour = place.plan(&["sh", "-c", script]);
    neighbour.namespaces.pid = Namespace::Slot(Slot(0));
    let expected = (0, "2\n".to_owned());
    assert_eq!(place.run_with(&neighbour, &[reaper.namespace()]).unwrap(), expected);
}

#[test]
fn a_container_in_a_shared_pid_namespace_is_seen_only_once_the_host_is_out_of_its_reach() {
    let place = Box::new();
    let reaper = Reaping::start(&place);
    let mut neighbour = place.plan(&["true"]);
    neighbour.namespaces.pid = Namespace::Slot(Slot(0));
    let slots = [reaper.namespace()];
    let mut child = run::spawn(&neighbour, &slots, None, None).unwrap();
    let preparer = child.pid();
    ready(&mut child).unwrap();
    assert_ne!(child.pid(), preparer);
    assert!(!Path::new(&format!("/proc/{preparer}")).exists(), "the preparer is reaped");
    assert_eq!(child.state(), State::Waiting);
    // What it still holds: stdio, the channel, its own root.
    let fds = std::fs::read_dir(format!("/proc/{}/fd", child.pid())).unwrap();
    let mut links: Vec<_> = fds
        .map(|fd| std::fs::read_link(fd.unwrap().path()).unwrap().display().to_string())
        .collect();
    links.retain(|link| link != "/dev/null" && !link.starts_with("socket:"));
    assert_eq!(links, ["/"]);
    let root = std::fs::metadata(format!("/proc/{}/root/bin/busybox", child.pid())).unwrap();
    assert_eq!(root.ino(), std::fs::metadata(place.root.join("bin/busybox")).unwrap().ino());
    child.release().unwrap();
    running(&mut child).unwrap();
    assert_eq!(wait(&child), 0);
}

#[test]
fn a_proc_of_a_shared_pid_namespace_is_writable_once_it_is_masked() {
    let place = Box::new();
    let reaper = Reaping::start(&place);
    let script = "echo 500 > /proc/self/oom_score_adj && cat /proc/self/oom_score_adj; \
        (echo 1 > /proc/sys/kernel/domainname) 2>/dev/null || echo masked";
    let mut neighbour = place.plan(&["sh", "-c", script]);
    neighbour.namespaces.pid = Namespace::Slot(Slot(0));
    let expected = (0, "500\nmasked\n".to_owned());
    assert_eq!(place.run_with(&neighbour, &[reaper.namespace()]).unwrap(), expected);
}

#[test]
fn an_init_behind_a_gate_is_started_by_somebody_else() {
    let place = Box::new();
    let path = place.root.join("start.sock");
    for (program, error) in [("true", None), ("/etc", Some(Kind::Exec { code: 126 }))] {
        let mut child =
            start_socket::spawn(&place.plan(&[program]), &[], None, &path, Beside::default())
                .unwrap();
        ready(&mut child).unwrap();
        let pidfd = child.pidfd_owned().unwrap();
        drop(child);
        let opened = start_socket::release(&path);
        assert_eq!(opened.err().map(|error| error.kind()), error);
        assert!(!path.exists());
        assert_eq!(wait_fd(pidfd.as_fd()), if error.is_none() { 0 } else { 126 });
    }
    assert_eq!(start_socket::release(&path).unwrap_err().kind(), Kind::NotFound);
    // One that is not there is told before anybody opens.
    let mut child =
        start_socket::spawn(&place.plan(&["nope"]), &[], None, &path, Beside::default()).unwrap();
    assert_eq!(ready(&mut child).unwrap_err().kind(), Kind::Exec { code: 127 });
}
