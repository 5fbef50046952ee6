//! Containers of somebody who is not root.

use crate::bundle::{Bundle, text, wait_for_end};
use crate::support::limited;
use crate::{is_peer, is_runc, on_v2};
use serde_json::{Value, json};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Nobody's on the host.
const USER: u32 = 61_234;

/// What a user runs that `spec --rootless` has written a configuration for.
struct Own {
    bundle: Bundle,
    user: u32,
}

impl Own {
    fn new(args: &[&str]) -> Own {
        Own::of(USER, args)
    }

    fn of(user: u32, args: &[&str]) -> Own {
        let mut bundle = Bundle::new(args);
        let ids = json!([{ "containerID": 0, "hostID": user, "size": 1 }]);
        let linux = bundle.linux().as_object_mut().unwrap();
        linux.remove("resources");
        linux.remove("cgroupsPath");
        linux.insert("uidMappings".into(), ids.clone());
        linux.insert("gidMappings".into(), ids);
        let kinds = ["mount", "pid", "ipc", "uts", "user"];
        linux
            .insert("namespaces".into(), kinds.map(|kind| json!({ "type": kind })).to_vec().into());
        for mount in bundle.config["mounts"].as_array_mut().unwrap() {
            if mount["type"] == "sysfs" {
                *mount = json!({ "destination": "/sys", "type": "none", "source": "/sys",
                                 "options": ["rbind", "nosuid", "noexec", "nodev", "ro"] });
            }
        }
        let own = Own { bundle, user };
        own.give();
        own
    }

    /// The bundle, its root and a copy of the runtime become the user's.
    fn give(&self) {
        let program = self.bundle.runtime(&[]).get_program().to_owned();
        std::fs::copy(program, self.program()).unwrap();
        std::fs::create_dir_all(&self.bundle.root).unwrap();
        for path in [&self.bundle.dir, self.bundle.rootfs()] {
            let owner = format!("{0}:{0}", self.user);
            let status = Command::new("chown").args(["-R", &owner]).arg(path).status().unwrap();
            assert!(status.success());
        }
        std::fs::set_permissions(self.program(), PermissionsExt::from_mode(0o755)).unwrap();
    }

    /// It has its name, by which a peer knows itself.
    fn program(&self) -> std::path::PathBuf {
        self.bundle.dir.join("runtime")
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = limited(self.program());
        command.arg("--root").arg(&self.bundle.root).args(args);
        command.uid(self.user).gid(self.user).current_dir("/").stdin(Stdio::null());
        command.env_remove("XDG_RUNTIME_DIR");
        command
    }

    fn call(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    fn ok(&self, args: &[&str]) -> String {
        let output = self.call(args);
        assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    fn fails(&self, args: &[&str]) -> String {
        let output = self.call(args);
        assert!(!output.status.success(), "{args:?}: {}", text(&output.stdout));
        text(&output.stderr)
    }

    fn run(&self) -> Output {
        self.bundle.write();
        self.call(&["run", "--bundle", self.dir(), self.id()])
    }

    fn create(&self) {
        self.bundle.write();
        let mut create = self.command(&["create", "--bundle", self.dir(), self.id()]);
        let status = create.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
        assert!(status.success());
    }

    fn state(&self) -> Value {
        serde_json::from_str(&self.ok(&["state", self.id()])).unwrap()
    }

    fn dir(&self) -> &str {
        self.bundle.dir.to_str().unwrap()
    }

    fn id(&self) -> &str {
        &self.bundle.id
    }
}

/// A peer that makes no groups for a user wants those of v2, which are not there.
fn is_left_out() -> bool {
    is_peer() && on_v2()
}

#[test]
fn somebody_else_than_root_runs_a_container_in_which_he_is_root() {
    if is_left_out() {
        return;
    }
    let script = "id -u; id -g; hostname; echo x > /dev/null && echo null; cat /proc/self/uid_map; \
                  ls /proc | grep -c '^[0-9]'; touch /own && ls /own; mkdir /sys/x 2>&1";
    let own = Own::new(&["/bin/sh", "-c", script]);
    let output = own.run();
    let said = text(&output.stdout);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[..4], ["0", "0", "boxed", "null"], "{said}{}", text(&output.stderr));
    let map: Vec<&str> = lines[4].split_whitespace().collect();
    assert_eq!(map, ["0", &USER.to_string(), "1"], "{said}");
    assert_eq!(lines[6], "/own", "{said}");
    assert!(lines[7].contains("ead-only"), "{said}");
    // Nothing of it is left.
    own.fails(&["state", own.id()]);
    let owner = std::fs::metadata(own.bundle.rootfs().join("own")).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&owner), USER);
}

#[test]
fn every_verb_of_a_containers_life_is_its_makers_though_he_is_not_root() {
    if is_left_out() {
        return;
    }
    let own = Own::new(&["sleep", "1000"]);
    own.create();
    let pid = i32::try_from(own.state()["pid"].as_i64().unwrap()).unwrap();
    assert_eq!(own.state()["status"], "created");
    own.ok(&["start", own.id()]);
    assert_eq!(own.state()["status"], "running");
    let said = own.ok(&["exec", own.id(), "sh", "-c", "id -u; hostname; cat /proc/1/comm"]);
    assert_eq!(said, "0\nboxed\nsleep\n");
    assert_eq!(own.call(&["exec", own.id(), "sh", "-c", "exit 7"]).status.code(), Some(7));
    own.ok(&["kill", own.id(), "KILL"]);
    wait_for_end(pid);
    own.ok(&["delete", own.id()]);
    own.create();
    own.ok(&["delete", "--force", own.id()]);
    assert!(!own.bundle.root.join(own.id()).exists());
}

#[test]
fn hooks_of_a_users_container_run_with_his_rights() {
    if is_left_out() {
        return;
    }
    let mut own = Own::new(&["cat", "/tmp/from-a-hook"]);
    let id =
        |user: &str| json!({ "path": "/bin/sh", "args": ["sh", "-c", format!("id -u > {user}")] });
    let outside = own.bundle.dir.join("from-a-hook");
    let inside = own.bundle.rootfs().join("tmp/from-a-hook");
    own.bundle.config["hooks"] = json!({
        "createRuntime": [id(outside.to_str().unwrap())],
        "createContainer": [id(inside.to_str().unwrap())],
    });
    let output = own.run();
    assert_eq!(text(&output.stdout), "0\n", "{}", text(&output.stderr));
    let said = std::fs::read_to_string(outside).unwrap();
    // A peer is in the user namespace itself.
    assert!(said == format!("{USER}\n") || is_peer() && said == "0\n", "{said}");
}

/// The user's program is what root of his container could write.
#[test]
fn a_program_that_is_the_users_is_not_what_his_container_executes() {
    if is_peer() {
        return;
    }
    let own = Own::new(&["true"]);
    own.create();
    let exe = std::fs::read_link(format!("/proc/{}/exe", own.state()["pid"])).unwrap();
    assert!(!exe.starts_with(&own.bundle.dir), "{}", exe.display());
    let write =
        std::fs::OpenOptions::new().write(true).open(format!("/proc/{}/exe", own.state()["pid"]));
    assert!(write.is_err());
    own.ok(&["delete", "--force", own.id()]);
}

#[test]
fn what_a_user_may_not_is_refused_by_name_or_told() {
    if is_peer() {
        return;
    }
    let mut own = Own::new(&["true"]);
    own.bundle.linux()["resources"] = json!({ "pids": { "limit": 7 } });
    let output = own.run();
    assert!(output.status.success());
    assert!(text(&output.stderr).contains("linux.resources: nothing is limited"));
    own.bundle.linux().as_object_mut().unwrap().remove("resources");
    own.bundle.linux()["cgroupsPath"] = "/nobodys".into();
    let words = text(&own.run().stderr);
    assert!(words.contains("nobodys: EACCES"), "{words}");
    own.bundle.linux().as_object_mut().unwrap().remove("cgroupsPath");
    own.bundle.linux()["uidMappings"][0]["hostID"] = 0.into();
    let words = text(&own.run().stderr);
    assert!(words.contains("map ids") && words.contains("newuidmap"), "{words}");
    assert!(!own.bundle.root.join(own.id()).exists());
}

#[test]
fn groups_that_a_user_was_given_hold_his_containers() {
    let hierarchies = crate::bundle::hierarchies();
    let made: Vec<_> = hierarchies.iter().map(|root| root.join("rrun-oci")).collect();
    // Somebody uses them here.
    if is_peer() || made.iter().any(|dir| dir.exists()) {
        return;
    }
    // Another one than in the tests beside this one, who have no groups.
    let user = USER + 1;
    let own = Own::of(user, &["sleep", "1000"]);
    // He is there already, as in his session: nobody gets in from outside by his own right.
    let callers: Vec<_> = made.iter().map(|dir| dir.join("caller")).collect();
    let mut both = callers.clone();
    both.extend(made.clone());
    let _removed = Removed(both);
    for dir in made.iter().chain(&callers) {
        std::fs::create_dir(dir).unwrap();
        let given = [dir.clone(), dir.join("cgroup.procs"), dir.join("tasks")];
        for path in given.iter().filter(|path| path.exists()) {
            std::os::unix::fs::chown(path, Some(user), Some(user)).unwrap();
        }
        inherit(dir);
    }
    own.bundle.write();
    let enter = "for dir in $OWN; do echo $$ > $dir/cgroup.procs; done; exec setpriv --reuid $0 \
                 --regid $0 --clear-groups \"$@\"";
    let groups: Vec<_> = callers.iter().map(|dir| dir.to_str().unwrap()).collect();
    let mut create = limited("sh");
    create.env("OWN", groups.join(" ")).args(["-c", enter, &user.to_string()]).arg(own.program());
    create.arg("--root").arg(&own.bundle.root).args(["create", "--bundle", own.dir(), own.id()]);
    let null = Stdio::null;
    let status = create.stdin(null()).stdout(null()).stderr(null()).status().unwrap();
    assert!(status.success());
    let pid = own.state()["pid"].to_string();
    let procs =
        |dir: &Path| std::fs::read_to_string(dir.join(own.id()).join("cgroup.procs")).unwrap();
    for dir in &made {
        assert_eq!(procs(dir).trim(), pid, "{}", dir.display());
    }
    own.ok(&["delete", "--force", own.id()]);
    assert!(made.iter().all(|dir| !dir.join(own.id()).exists()));
}

/// A cpuset of v1 takes nobody before it has these.
fn inherit(dir: &Path) {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let above = dir.parent().unwrap();
        // In v2 it may be there above alone, and nobody needs it.
        if dir.join(file).exists()
            && let Ok(value) = std::fs::read(above.join(file))
        {
            std::fs::write(dir.join(file), value).unwrap();
        }
    }
}

struct Removed(Vec<std::path::PathBuf>);

impl Drop for Removed {
    fn drop(&mut self) {
        for dir in &self.0 {
            let _ = std::fs::remove_dir(dir);
        }
    }
}

/// As in podman's own user namespace.
#[test]
fn root_inside_of_a_user_namespace_runs_a_container() {
    if is_left_out() {
        return;
    }
    let mut own = Own::new(&["/bin/sh", "-c", "id -u; echo x > /dev/null && echo null"]);
    let linux = own.bundle.linux().as_object_mut().unwrap();
    linux.remove("uidMappings");
    linux.remove("gidMappings");
    linux["namespaces"].as_array_mut().unwrap().retain(|entry| entry["type"] != "user");
    own.bundle.write();
    let mut command = limited("unshare");
    command.args(["--user", "--map-root-user", "--mount"]).arg(own.program());
    command.arg("--root").arg(&own.bundle.root).args(["run", "--bundle", own.dir(), own.id()]);
    let output =
        command.uid(USER).gid(USER).current_dir("/").stdin(Stdio::null()).output().unwrap();
    assert_eq!(text(&output.stdout), "0\nnull\n", "{}", text(&output.stderr));
}

/// A user who has ids beside his own, in a mount namespace where the host's accounts say so.
struct Granted {
    own: Own,
    /// What lies over `/etc`.
    accounts: std::path::PathBuf,
}

/// The first of them, and how many.
const IDS: (u32, u32) = (300_000, 65_536);

impl Granted {
    /// `None` where nobody maps ids for him.
    fn new(script: &str) -> Option<Granted> {
        let path = crate::bundle::path_with_tools();
        let is_there = |tool| std::env::split_paths(&path).any(|dir| dir.join(tool).exists());
        if !["newuidmap", "newgidmap"].into_iter().all(is_there) {
            println!("skipped: newuidmap and newgidmap are not installed");
            return None;
        }
        let user = USER + 2;
        let mut own = Own::of(user, &["/bin/sh", "-c", script]);
        let accounts = own.bundle.dir.join("accounts");
        std::fs::create_dir(&accounts).unwrap();
        let known = std::fs::read_to_string("/etc/passwd").unwrap();
        let line = format!("{known}granted:x:{user}:{user}::/:/bin/sh\n");
        std::fs::write(accounts.join("passwd"), line).unwrap();
        for file in ["subuid", "subgid"] {
            std::fs::write(accounts.join(file), format!("granted:{}:{}\n", IDS.0, IDS.1)).unwrap();
        }
        let ids = json!([
            { "containerID": 0, "hostID": user, "size": 1 },
            { "containerID": 1, "hostID": IDS.0, "size": IDS.1 },
        ]);
        own.bundle.linux()["uidMappings"] = ids.clone();
        own.bundle.linux()["gidMappings"] = ids;
        Some(Granted { own, accounts })
    }

    fn command(&self, args: &[&str]) -> Command {
        self.own.bundle.write();
        let user = self.own.user.to_string();
        let enter = "mount -t overlay overlay -o \"lowerdir=$ACCOUNTS:/etc\" /etc && exec setpriv \
                     --reuid $0 --regid $0 --clear-groups \"$@\"";
        let mut command = limited("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", enter, &user]);
        command.arg(self.own.program()).arg("--root").arg(&self.own.bundle.root).args(args);
        command.env("ACCOUNTS", &self.accounts).env("PATH", crate::bundle::path_with_tools());
        command.env_remove("XDG_RUNTIME_DIR").current_dir("/").stdin(Stdio::null());
        command
    }

    fn run(&self) -> Output {
        self.command(&["run", "--bundle", self.own.dir(), self.own.id()]).output().unwrap()
    }
}

#[test]
fn ids_that_a_user_was_granted_are_mapped_for_his_container() {
    if is_left_out() {
        return;
    }
    let script = "cat /proc/self/uid_map /proc/self/gid_map; touch /tmp/a && busybox chown 1000:7 /tmp/a && \
                  stat -c %u:%g /tmp/a";
    let Some(granted) = Granted::new(script) else { return };
    let output = granted.run();
    let said = text(&output.stdout);
    let numbers: Vec<u32> = said.split_whitespace().flat_map(str::parse).collect();
    let map = [0, granted.own.user, 1, 1, IDS.0, IDS.1];
    assert_eq!(numbers, [map, map].concat(), "{said}{}", text(&output.stderr));
    assert!(said.ends_with("1000:7\n"), "{said}{}", text(&output.stderr));
    let made = std::fs::metadata(granted.own.bundle.rootfs().join("tmp/a")).unwrap();
    let owner = (made.uid(), made.gid());
    assert_eq!(owner, (IDS.0 + 999, IDS.0 + 6));
}

#[test]
fn somebody_else_of_the_ids_that_were_granted_can_be_who_runs() {
    // It takes no groups of who is not root.
    if is_left_out() || is_runc() {
        return;
    }
    let Some(mut granted) = Granted::new("sleep 1000") else { return };
    granted.own.bundle.process()["user"] =
        json!({ "uid": 1000, "gid": 7, "additionalGids": [8, 9] });
    let (dir, id) = (granted.own.dir(), granted.own.id());
    let null = Stdio::null;
    let mut run = granted.command(&["run", "--detach", "--bundle", dir, id]);
    assert!(run.stdout(null()).stderr(null()).status().unwrap().success());
    let first = format!("/proc/{}/status", granted.own.state()["pid"]);
    let first = std::fs::read_to_string(first).unwrap();
    let line = |name: &str| {
        let line = first.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().map(|id| id.parse().unwrap()).collect::<Vec<u32>>()
    };
    let outside = |id: u32| IDS.0 + id - 1;
    assert_eq!(line("Uid:"), [outside(1000); 4]);
    assert_eq!(line("Gid:"), [outside(7); 4]);
    assert_eq!(line("Groups:"), [outside(8), outside(9)]);
    let exec = granted.command(&["exec", "--user", "1001:10", id, "id"]).output().unwrap();
    let said = text(&exec.stdout);
    assert!(said.starts_with("uid=1001 gid=10"), "{said}{}", text(&exec.stderr));
    assert!(granted.command(&["delete", "--force", id]).output().unwrap().status.success());
}

#[test]
fn ids_that_were_not_granted_are_refused_in_the_words_of_who_maps_them() {
    if is_peer() {
        return;
    }
    let Some(mut granted) = Granted::new("true") else { return };
    for (kind, tool) in [("uidMappings", "uid"), ("gidMappings", "gid")] {
        granted.own.bundle.linux()[kind][1]["size"] = (IDS.1 + 1).into();
        let words = text(&granted.run().stderr);
        let expected =
            format!("new{tool}map: {tool} range [1-65538) -> [300000-365537) not allowed");
        assert!(words.contains("map ids") && words.contains(&expected), "{words}");
        granted.own.bundle.linux()[kind][1]["size"] = IDS.1.into();
        assert!(!granted.own.bundle.root.join(granted.own.id()).exists());
    }
}
