//! What a container finds in its file system.

use crate::bundle::Bundle;
use crate::on_v2;
use serde_json::json;

#[test]
fn a_read_only_root_cannot_be_written_and_its_tmpfs_can() {
    let mut bundle = Bundle::sh("touch /x 2>/dev/null && exit 1; touch /tmp/x && echo fine");
    bundle.config["root"]["readonly"] = true.into();
    bundle.mount(json!({ "destination": "/tmp", "type": "tmpfs", "source": "tmpfs" }));
    assert_eq!(bundle.prints(), "fine\n");
}

#[test]
fn a_bind_shows_the_hosts_file_and_obeys_ro() {
    let mut bundle =
        Bundle::sh("cat /in/file; touch /in/new 2>/dev/null || echo no; touch /rw/new");
    for (name, options) in [("in", json!(["rbind", "ro"])), ("rw", json!(["rbind", "rw"]))] {
        let source = bundle.dir.join(name);
        std::fs::create_dir(&source).unwrap();
        std::fs::write(source.join("file"), "hello\n").unwrap();
        bundle.mount(json!({
            "destination": format!("/{name}"), "type": "bind", "source": source, "options": options
        }));
    }
    assert_eq!(bundle.prints(), "hello\nno\n");
    assert!(bundle.dir.join("rw/new").exists());
}

#[test]
fn a_file_can_be_bound_where_nothing_is() {
    let mut bundle = Bundle::sh("cat /etc/deep/er/file");
    let source = bundle.dir.join("file");
    std::fs::write(&source, "bound\n").unwrap();
    bundle.mount(json!({
        "destination": "/etc/deep/er/file", "source": source, "options": ["bind"]
    }));
    assert_eq!(bundle.prints(), "bound\n");
}

#[test]
fn a_link_in_the_root_does_not_lead_a_mount_out_of_it() {
    let mut bundle = Bundle::sh("cat /target/file");
    let outside = bundle.dir.join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::os::unix::fs::symlink(&outside, bundle.rootfs().join("link")).unwrap();
    let source = bundle.dir.join("src");
    std::fs::create_dir(&source).unwrap();
    std::fs::write(source.join("file"), "in\n").unwrap();
    bundle.mount(json!({
        "destination": "/link/sub", "type": "bind", "source": source, "options": ["rbind"]
    }));
    bundle.process()["args"][2] =
        format!("cat /link/sub/file; cat {}/sub/file", outside.display()).into();
    assert_eq!(bundle.prints(), "in\nin\n");
    assert!(!outside.join("sub").exists(), "something was made outside");
}

#[test]
fn mount_options_are_set() {
    let mut bundle = Bundle::sh("grep ' /t ' /proc/self/mountinfo");
    bundle.mount(json!({
        "destination": "/t", "type": "tmpfs", "source": "tmpfs",
        "options": ["nosuid", "nodev", "noexec", "noatime", "ro", "size=64k", "mode=700"]
    }));
    let line = bundle.prints();
    let (attributes, options) = line.split_once(" - tmpfs ").unwrap();
    for part in ["ro", "nosuid", "nodev", "noexec", "noatime"] {
        assert!(attributes.split([',', ' ']).any(|word| word == part), "{part}: {line}");
    }
    assert!(options.contains("size=64k") && options.contains("mode=700"), "{line}");
}

#[test]
fn a_bind_has_the_access_times_that_are_asked_for_and_else_those_of_its_source() {
    for (options, expected) in
        [(&["bind", "noatime"][..], "noatime"), (&["bind", "noatime", "relatime"], "relatime")]
    {
        let mut bundle = Bundle::sh("grep ' /t ' /proc/self/mountinfo");
        bundle.mount(json!({ "destination": "/t", "source": "/tmp", "options": options }));
        let line = bundle.prints();
        assert!(line.split([',', ' ']).any(|word| word == expected), "{options:?}: {line}");
    }
}

#[test]
fn masked_paths_are_empty_and_read_only_paths_cannot_be_written() {
    let mut bundle = Bundle::sh(
        "wc -c < /etc/secret; ls /etc/secrets; echo x > /proc/sys/kernel/domainname || echo no",
    );
    std::fs::write(bundle.rootfs().join("etc/secret"), "secret").unwrap();
    std::fs::create_dir(bundle.rootfs().join("etc/secrets")).unwrap();
    std::fs::write(bundle.rootfs().join("etc/secrets/one"), "secret").unwrap();
    bundle.linux()["maskedPaths"] = json!(["/etc/secret", "/etc/secrets", "/no/such"]);
    bundle.linux()["readonlyPaths"] = json!(["/proc/sys", "/no/such"]);
    let output = bundle.prints();
    assert!(output.starts_with("0\n") && output.contains("no\n"), "{output}");
    assert!(!output.contains("one"), "{output}");
}

#[test]
fn the_usual_devices_are_there_and_work() {
    let bundle = Bundle::sh(
        "for d in null zero full random urandom tty; do test -c /dev/$d || echo no $d; done; \
         head -c 4 /dev/zero | wc -c; \
         for l in fd stdin stdout stderr ptmx; do readlink /dev/$l; done; echo x > /dev/null",
    );
    let links = "/proc/self/fd\n/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2\npts/ptmx\n";
    assert_eq!(bundle.prints(), format!("4\n{links}"));
}

#[test]
fn a_listed_device_is_made_as_asked() {
    let mut bundle = Bundle::sh("stat -c '%t:%T %a %u %g' /dev/mine");
    bundle.linux()["devices"] = json!([
        { "path": "/dev/mine", "type": "c", "major": 1, "minor": 11, "fileMode": 0o640, "uid": 3, "gid": 4 }
    ]);
    assert_eq!(bundle.prints(), "1:b 640 3 4\n");
}

#[test]
fn a_device_that_is_not_allowed_can_be_made_and_not_opened() {
    let mut bundle = Bundle::sh(
        "mknod /tmp/kmsg c 1 11 && (head -c 1 < /tmp/kmsg) 2>/dev/null || echo denied; \
         mknod /tmp/zero c 1 5 && head -c 1 < /tmp/zero | wc -c",
    );
    bundle.config["root"]["readonly"] = false.into();
    assert_eq!(bundle.prints(), "denied\n1\n");
}

#[test]
fn the_control_groups_mount_shows_the_containers_own() {
    let mut bundle = Bundle::sh(
        "ls /sys/fs/cgroup; cat /sys/fs/cgroup/*/cgroup.procs /sys/fs/cgroup/cgroup.procs 2>/dev/null | head -n 1; mkdir /sys/fs/cgroup/x 2>/dev/null || echo no",
    );
    bundle.mount(json!({
        "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
        "options": ["nosuid", "noexec", "nodev", "relatime", "ro"]
    }));
    if on_v2() {
        bundle.linux()["namespaces"].as_array_mut().unwrap().push(json!({ "type": "cgroup" }));
    }
    let output = bundle.prints();
    assert!(output.ends_with("\nno\n"), "{output}");
    if on_v2() {
        assert!(output.contains("cgroup.procs"), "{output}");
    } else {
        assert!(output.contains("memory\n") && output.contains("\n1\n"), "{output}");
    }
}

#[test]
fn a_root_that_is_not_pivoted_into_is_all_that_is_seen_by_it_and_its_execs() {
    let show = "cut -d' ' -f5 /proc/self/mountinfo; ls /";
    let run = |options: &[&str], bundle: &Bundle| {
        bundle.write();
        let dir = bundle.dir.to_str().unwrap();
        bundle.ok(&[&["run", "--bundle", dir], options, &[&bundle.id]].concat())
    };
    let pivoted = run(&[], &Bundle::sh(show));
    assert_eq!(run(&["--no-pivot"], &Bundle::sh(show)), pivoted);
    let bundle = Bundle::new(&["sleep", "1000"]);
    bundle.write();
    let dir = bundle.dir.to_str().unwrap();
    let mut create = bundle.limited(&["create", "--no-pivot", "--bundle", dir, &bundle.id]);
    let null = std::process::Stdio::null;
    assert!(create.stdout(null()).stderr(null()).status().unwrap().success());
    bundle.ok(&["start", &bundle.id]);
    assert_eq!(bundle.ok(&["exec", &bundle.id, "sh", "-c", show]), pivoted);
}
