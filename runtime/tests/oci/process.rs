//! Who and what a container's process is.

use crate::bundle::Bundle;
use crate::is_peer;
use serde_json::json;

/// The value of a line of `/proc/self/status`.
fn status_line(output: &str, name: &str) -> String {
    let line = output.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_start_matches(':').trim().to_owned()
}

#[test]
fn it_is_the_first_process_under_its_own_name() {
    assert_eq!(Bundle::sh("hostname; echo $$").prints(), "boxed\n1\n");
}

#[test]
fn it_has_the_ids_and_the_mask_that_it_is_given() {
    let mut bundle = Bundle::sh("id -u; id -g; id -G; umask; grep ^Groups /proc/self/status");
    bundle.process()["user"] =
        json!({ "uid": 1000, "gid": 1001, "additionalGids": [5, 7], "umask": 0o27 });
    let output = bundle.prints();
    let mut lines = output.lines();
    assert_eq!((lines.next(), lines.next()), (Some("1000"), Some("1001")));
    assert_eq!(lines.nth(1), Some("0027"));
    assert_eq!(status_line(&output, "Groups"), "5 7");
}

#[test]
fn it_has_the_capabilities_that_it_is_given_and_no_others() {
    let mut bundle = Bundle::new(&["cat", "/proc/self/status"]);
    let (chown, kill) = ("CAP_CHOWN", "CAP_KILL");
    bundle.process()["capabilities"] = json!({
        "bounding": [chown, kill], "permitted": [chown, kill], "effective": [chown, kill],
        "inheritable": [kill], "ambient": [kill]
    });
    bundle.process()["user"] = json!({ "uid": 1000, "gid": 1000 });
    let output = bundle.prints();
    let cap = |name| u64::from_str_radix(&status_line(&output, name), 16).unwrap();
    assert_eq!((cap("CapBnd"), cap("CapInh"), cap("CapAmb")), (0x21, 0x20, 0x20));
    assert_eq!((cap("CapPrm"), cap("CapEff")), (0x20, 0x20), "a plain user keeps the ambient ones");
}

#[test]
fn no_new_privileges_is_set_when_asked() {
    for (asked, shown) in [(true, "1"), (false, "0")] {
        let mut bundle = Bundle::new(&["cat", "/proc/self/status"]);
        bundle.process()["noNewPrivileges"] = asked.into();
        assert_eq!(status_line(&bundle.prints(), "NoNewPrivs"), shown);
    }
}

#[test]
fn limits_environment_and_working_directory_are_set() {
    let mut bundle = Bundle::sh("ulimit -n; ulimit -Hn; pwd; echo $A $HOME");
    bundle.process()["rlimits"] = json!([{ "type": "RLIMIT_NOFILE", "soft": 100, "hard": 200 }]);
    bundle.process()["env"].as_array_mut().unwrap().push("A=b c".into());
    bundle.process()["cwd"] = "/tmp/new/dir".into();
    std::fs::write(bundle.rootfs().join("etc/passwd"), "root:x:0:0::/home/root:/bin/sh\n").unwrap();
    assert_eq!(bundle.prints(), "100\n200\n/tmp/new/dir\nb c /home/root\n");
}

#[test]
fn a_higher_oom_score_is_set() {
    let mut bundle = Bundle::new(&["cat", "/proc/self/oom_score_adj"]);
    bundle.process()["oomScoreAdj"] = 777.into();
    assert_eq!(bundle.prints(), "777\n");
}

#[test]
fn nothing_of_the_caller_is_open_in_it() {
    assert_eq!(Bundle::sh("ls /proc/self/fd | wc -l").prints(), "4\n", "stdio and ls's own");
}

#[test]
fn its_namespaces_are_its_own_where_asked_and_the_hosts_elsewhere() {
    let mut bundle = Bundle::sh(
        "cd /proc/self/ns; for n in mnt pid uts ipc net time user; do readlink $n; done",
    );
    bundle.linux()["namespaces"] =
        json!([{ "type": "mount" }, { "type": "pid" }, { "type": "uts" }]);
    let output = bundle.prints();
    for (line, kind) in output.lines().zip(["mnt", "pid", "uts", "ipc", "net", "time", "user"]) {
        let host = std::fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
        let new = matches!(kind, "mnt" | "pid" | "uts");
        assert_eq!(host.to_str() != Some(line), new, "{kind}");
    }
}

#[test]
fn a_namespace_is_joined_by_its_path() {
    let first = Bundle::new(&["sleep", "1000"]);
    first.start();
    let path = format!("/proc/{}/ns/net", first.pid());
    let mut second = Bundle::new(&["readlink", "/proc/self/ns/net"]);
    let own = std::fs::read_link(&path).unwrap();
    for entry in second.linux()["namespaces"].as_array_mut().unwrap() {
        if entry["type"] == "network" {
            entry["path"] = path.clone().into();
        }
    }
    assert_eq!(second.prints().trim_end(), own.to_str().unwrap());
}

#[test]
fn a_namespace_is_joined_by_a_path_that_it_is_bound_to() {
    let first = Bundle::new(&["sleep", "1000"]);
    first.start();
    let own = format!("/proc/{}/ns/net", first.pid());
    let folder = tempfile::tempdir().unwrap();
    let bound = folder.path().join("bound");
    std::fs::File::create(&bound).unwrap();
    let (flags, none) = (nix::mount::MsFlags::MS_BIND, None::<&str>);
    nix::mount::mount(Some(own.as_str()), &bound, none, flags, none).unwrap();
    let mut second = Bundle::new(&["readlink", "/proc/self/ns/net"]);
    for entry in second.linux()["namespaces"].as_array_mut().unwrap() {
        if entry["type"] == "network" {
            entry["path"] = bound.to_str().unwrap().into();
        }
    }
    let (status, said) = second.run();
    nix::mount::umount2(&bound, nix::mount::MntFlags::MNT_DETACH).unwrap();
    assert_eq!(said.trim_end(), std::fs::read_link(&own).unwrap().to_str().unwrap(), "{status}");
}

#[test]
fn the_hosts_own_namespace_is_the_hosts_by_whatever_path_it_is_named() {
    if is_peer() {
        return;
    }
    for (kind, name, sysctl) in [
        ("network", "net", "net.ipv4.ip_forward"),
        ("ipc", "ipc", "kernel.shmmni"),
        ("ipc", "ipc", "fs.mqueue.msg_max"),
        ("uts", "uts", "kernel.domainname"),
    ] {
        let mut bundle = Bundle::new(&["true"]);
        bundle.config["hostname"] = serde_json::Value::Null;
        for entry in bundle.linux()["namespaces"].as_array_mut().unwrap() {
            if entry["type"] == kind {
                entry["path"] = format!("/proc/self/ns/{name}").into();
            }
        }
        // Whatever it is set to is what it is, should the claim not hold.
        let file = format!("/proc/sys/{}", sysctl.replace('.', "/"));
        let value = std::fs::read_to_string(file).unwrap();
        bundle.linux()["sysctl"] = json!({ sysctl: value.trim_end() });
        let (code, output) = bundle.run();
        assert!(
            code == 1 && output.contains(&format!("linux.sysctl: {sysctl}: needs")),
            "{output}"
        );
    }
}

#[test]
fn a_host_name_is_set_in_a_joined_namespace_and_never_in_the_hosts() {
    let first = Bundle::new(&["sleep", "1000"]);
    first.start();
    let joining = |path: String| {
        let mut second = Bundle::new(&["hostname"]);
        second.config["hostname"] = "second".into();
        for entry in second.linux()["namespaces"].as_array_mut().unwrap() {
            if entry["type"] == "uts" {
                entry["path"] = path.clone().into();
            }
        }
        second
    };
    assert_eq!(joining(format!("/proc/{}/ns/uts", first.pid())).prints(), "second\n");
    if !is_peer() {
        let (code, output) = joining("/proc/self/ns/uts".into()).run();
        assert!(code == 1 && output.contains("hostname without a UTS namespace"), "{output}");
        let (_, output) = joining("/proc/self/ns/net".into()).run();
        assert!(output.contains("is no uts namespace"), "{output}");
    }
}

#[test]
fn it_and_its_execs_have_one_session_keyring_unless_the_callers_is_kept() {
    let rings = |bundle: &Bundle| {
        ["grep".into(), "-c".into(), format!("_ses.{}", bundle.id), "/proc/keys".into()]
    };
    let mut bundle = Bundle::new(&[]);
    bundle.process()["args"] = json!(rings(&bundle));
    assert_eq!(bundle.prints(), "1\n");

    let mut bundle = Bundle::new(&[]);
    bundle.start_sleeping();
    let [grep, count, name, keys] = rings(&bundle);
    // Somebody else than root, who made the ring, sees it only as a member of it.
    let exec = ["exec", "--user", "1234", &bundle.id, &grep, &count, &name, &keys];
    assert_eq!(bundle.ok(&exec), "1\n");
    bundle.ok(&["delete", "--force", &bundle.id]);

    let mut bundle = Bundle::new(&[]);
    bundle.process()["args"] = json!(rings(&bundle));
    bundle.write();
    let dir = bundle.dir.to_str().unwrap();
    let output = bundle.call(&["run", "--no-new-keyring", "--bundle", dir, &bundle.id]);
    assert_eq!(crate::bundle::text(&output.stdout), "0\n");
}

#[test]
fn its_home_is_not_looked_for_in_what_is_no_regular_file() {
    if is_peer() {
        return;
    }
    use nix::sys::stat::{Mode, SFlag, makedev, mknod};
    for (kind, device) in [(SFlag::S_IFIFO, 0), (SFlag::S_IFCHR, makedev(1, 5))] {
        let bundle = Bundle::sh("echo $HOME");
        mknod(&bundle.rootfs().join("etc/passwd"), kind, Mode::S_IRUSR, device).unwrap();
        bundle.write();
        // Reading it would not end.
        let output = bundle.call(&["run", "-b", bundle.dir.to_str().unwrap(), &bundle.id]);
        assert_eq!(crate::bundle::text(&output.stdout), "/\n", "{kind:?}: {output:?}");
    }
}

#[test]
fn kernel_parameters_of_its_namespaces_are_set() {
    let mut bundle = Bundle::sh("cat /proc/sys/kernel/shmmni /proc/sys/net/ipv4/ip_forward");
    bundle.linux()["sysctl"] = json!({ "kernel.shmmni": "1234", "net.ipv4.ip_forward": "1" });
    assert_eq!(bundle.prints(), "1234\n1\n");
}

#[test]
fn a_user_namespace_has_the_ids_that_are_mapped() {
    let mut bundle =
        Bundle::sh("id -u; cat /proc/self/uid_map | tr -s ' '; grep -c ' /proc ' /proc/mounts");
    bundle.map_users();
    assert_eq!(bundle.prints(), "0\n 0 100000 65536\n1\n");
}
