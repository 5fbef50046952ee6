//! CheckpointContainer, by a real criu.

mod ends;
mod held;
mod image;
mod restore;

use crate::suite::*;
use nix::mount::{MsFlags, mount};
use rrun_cri_api::Cri;
use rrun_cri_api::v1::*;
use rrun_tests::harness::{BUSYBOX, WORK};
use rrun_tests::place;
use rrun_tests::sandbox::in_mounts_of;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use tonic::Code;

const ABSENT: &str = "skipped: criu is not installed, or does not work on this kernel";

/// Counts in a variable, and shows how far it is by folders: a file that is open at the dump must have
/// the same size at the restore.
const COUNT: &str = "i=0; while :; do i=$((i+1)); mkdir -p /n/$i; sleep 0.01; done";

/// A folder of the host at `/data`, and an image at `/image`.
fn mounts(host: &Path) -> Vec<Mount> {
    let bind = Mount {
        container_path: "/data".to_owned(),
        host_path: host.to_str().unwrap().to_owned(),
        ..Default::default()
    };
    let image = Mount {
        container_path: "/image".to_owned(),
        readonly: true,
        image: Some(ImageSpec { image: WORK.to_owned(), ..Default::default() }),
        ..Default::default()
    };
    vec![bind, image]
}

/// A daemon that finds criu, and a folder for archives.
struct Criu {
    suite: Suite,
    folder: tempfile::TempDir,
}

/// The path with the criu of `tests/setup` before all others.
fn path(first: Option<&Path>) -> OsString {
    let others = std::env::var_os("PATH").unwrap_or_default();
    let criu = place::cache().join("criu/bin");
    let first = first.map(Path::to_owned).into_iter().chain([criu]);
    std::env::join_paths(first.chain(std::env::split_paths(&others))).unwrap()
}

impl Criu {
    async fn start() -> Option<Criu> {
        Criu::start_with("").await
    }

    async fn start_with(config: &str) -> Option<Criu> {
        let checked = Command::new("criu").arg("check").env("PATH", path(None)).output();
        if !checked.is_ok_and(|output| output.status.success()) {
            println!("{ABSENT}");
            return None;
        }
        let suite = Suite::start_with(config).await;
        let mut criu = Criu { suite, folder: tempfile::tempdir().unwrap() };
        criu.restart(&[]).await;
        Some(criu)
    }

    async fn restart(&mut self, environment: &[(&str, &str)]) {
        self.restart_with(None, environment).await;
    }

    /// With programs before all others.
    async fn restart_with(&mut self, first: Option<&Path>, environment: &[(&str, &str)]) {
        let path = path(first).into_string().unwrap();
        let all: Vec<_> = environment.iter().copied().chain([("PATH", &*path)]).collect();
        self.suite.harness.restart_with(&all).await.unwrap();
    }

    fn location(&self) -> PathBuf {
        self.folder.path().join("checkpoint.tar")
    }

    async fn checkpoint_to(
        &self,
        id: &str,
        location: &str,
        timeout: i64,
    ) -> Result<(), tonic::Status> {
        let (container_id, location) = (id.to_owned(), location.to_owned());
        let request = CheckpointContainerRequest { container_id, location, timeout };
        self.suite.harness.client.checkpoint_container(request).await.map(drop)
    }

    async fn checkpoint(&self, id: &str) -> Result<(), tonic::Status> {
        self.checkpoint_to(id, self.location().to_str().unwrap(), 0).await
    }

    async fn checkpointed(&self, id: &str) {
        let made = self.checkpoint(id).await;
        made.unwrap_or_else(|error| panic!("{error}\n{}", self.suite.daemon_log()));
    }

    /// How far a container has counted.
    fn count(&self, id: &str) -> u64 {
        let state = self.suite.harness.sandbox().state();
        let folder = state.join(format!("images/writable/container-{id}/upper/n"));
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).max().unwrap_or(0)
    }

    async fn goes_on(&self, id: &str) {
        let count = self.count(id);
        self.suite.until("it counts", async || self.count(id) > count + 2).await;
    }

    /// Nothing is beside the archive, and there is one or none.
    fn assert_archive(&self, is_there: bool) {
        let names: Vec<_> = fs::read_dir(self.folder.path()).unwrap().flatten().collect();
        let names: Vec<_> = names.iter().map(|entry| entry.file_name()).collect();
        let expected = if is_there { vec!["checkpoint.tar"] } else { Vec::new() };
        assert_eq!(names, expected);
    }

    /// criu notes in a file what the kernel can do.
    fn assert_nothing_left(&self) {
        for name in ["criu.kdat", "criu.kdat.tmp"] {
            let _ = fs::remove_file(self.suite.harness.sandbox().run().join(name));
        }
        self.suite.until_clean();
    }

    /// The folder of what is made, in the state of a pod.
    fn making(&self, pod: &str) -> PathBuf {
        self.suite.harness.sandbox().state().join("pods").join(pod).join("checkpoints")
    }

    fn archive(&self) -> BTreeMap<String, Vec<u8>> {
        entries(&fs::read(self.location()).unwrap())
    }
}

/// The files of an archive, and its folders with a slash at the end.
fn entries(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut archive = tar::Archive::new(archive);
    let read = |entry: std::io::Result<tar::Entry<'_, _>>| {
        let mut entry = entry.unwrap();
        let mut name = entry.path().unwrap().display().to_string();
        if entry.header().entry_type().is_dir() {
            name = format!("{}/", name.trim_end_matches('/'));
        }
        let mut data = Vec::new();
        entry.read_to_end(&mut data).unwrap();
        (name, data)
    };
    archive.entries().unwrap().map(read).collect()
}

fn shell(suite: &Suite, name: &str, script: &str) -> ContainerConfig {
    suite.harness.container(name, BUSYBOX, &["/bin/sh", "-c", script])
}

#[tokio::test]
async fn a_container_goes_on_after_its_checkpoint_and_the_archive_has_all_of_it() {
    let Some(criu) = Criu::start().await else { return };
    let suite = &criu.suite;
    let config = suite.harness.pod("checkpoint");
    let pod = suite.run_pod(&config).await;
    let host = tempfile::tempdir().unwrap();
    let script = format!(
        "echo line; echo new > /etc/new; echo shared > /dev/shm/file; rm /etc/passwd; \
         exec 5</data/file 6<>/dev/shm/file; {COUNT}"
    );
    fs::write(host.path().join("file"), "of the host").unwrap();
    let mut container = shell(suite, "main", &script);
    container.mounts = mounts(host.path());
    container.annotations.insert("mark".to_owned(), "its".to_owned());
    let id = suite.started(&pod, container, &config).await;
    criu.goes_on(&id).await;
    let (pid, shim) = (suite.pid(&id).await, suite.shim(&pod));
    // What is there already is replaced.
    fs::write(criu.location(), "old").unwrap();
    criu.checkpointed(&id).await;
    criu.goes_on(&id).await;
    assert_eq!((suite.pid(&id).await, suite.shim(&pod)), (pid, shim));
    assert_eq!(suite.status(&id).await.state, RUNNING);
    assert_eq!(suite.exec(&id, &["/bin/true"], 10).await.unwrap().exit_code, 0);
    criu.assert_archive(true);
    assert_eq!(fs::metadata(criu.location()).unwrap().permissions().mode() & 0o7777, 0o600);

    let all = criu.archive();
    for name in [
        "bind.mounts",
        "checkpoint/",
        "checkpoint/descriptors.json",
        "checkpoint/inventory.img",
        "checkpoint/pstree.img",
        "config.dump",
        "container.log",
        "deleted.files",
        "dump.log",
        "rootfs-diff.tar",
        "spec.dump",
        "stats-dump",
        "status.dump",
    ] {
        assert!(all.contains_key(name), "{name}: {:?}", all.keys());
    }
    let json = |name: &str| serde_json::from_slice::<serde_json::Value>(&all[name]).unwrap();
    assert_eq!(json("deleted.files"), serde_json::json!(["/etc/passwd"]));
    let diff = entries(&all["rootfs-diff.tar"]);
    assert_eq!(diff["etc/new"], b"new\n");
    assert!(diff.contains_key("n/1/") && !diff.contains_key("etc/passwd"), "{:?}", diff.keys());
    assert!(String::from_utf8_lossy(&all["container.log"]).contains(" stdout F line\n"));
    let told = json("config.dump");
    assert_eq!((told["id"].as_str(), told["name"].as_str()), (Some(&*id), Some("main")));
    assert_eq!(told["rootfsImage"], BUSYBOX);
    let spec = json("spec.dump");
    assert_eq!(spec["process"]["args"][0], "/bin/sh");
    assert_eq!(spec["annotations"]["mark"], "its");
    assert_eq!(spec["annotations"]["io.kubernetes.cri.sandbox-name"], "checkpoint");
    assert_eq!(spec["annotations"]["io.kubernetes.cri-o.Annotations"], r#"{"mark":"its"}"#);
    let binds = json("bind.mounts");
    let data = binds.as_array().unwrap().iter().find(|bind| bind["destination"] == "/data");
    assert_eq!(data.unwrap()["file_type"], "directory");
    assert_eq!(json("status.dump")["id"], *id);
    assert!(!criu.making(&pod).exists());
    suite.remove(&pod).await;
    criu.assert_nothing_left();
}

/// Makes a program that is called criu.
fn program(folder: &Path, script: &str) {
    fs::write(folder.join("criu"), script).unwrap();
    fs::set_permissions(folder.join("criu"), fs::Permissions::from_mode(0o755)).unwrap();
}

impl Criu {
    /// A pod with a container that counts.
    async fn counting(&self, name: &str) -> (String, String) {
        let config = self.suite.harness.pod(name);
        let pod = self.suite.run_pod(&config).await;
        let id = self.suite.started(&pod, shell(&self.suite, "main", COUNT), &config).await;
        self.goes_on(&id).await;
        (pod, id)
    }
}

#[tokio::test]
async fn what_cannot_be_made_is_refused_by_name() {
    let oci = place::program("rrun-oci").unwrap();
    let table = format!("[runtimes.other]\npath = '{}'\n", oci.display());
    let Some(mut criu) = Criu::start_with(&table).await else { return };
    let (pod, id) = criu.counting("refused").await;
    let config = criu.suite.harness.pod("refused");
    let ended = criu.suite.started(&pod, shell(&criu.suite, "ended", "true"), &config).await;
    criu.suite.ended(&ended).await;
    let waits = shell(&criu.suite, "waits", "true");
    let waits = criu.suite.create(&pod, waits, &config).await.unwrap();
    let of_other = criu.suite.harness.pod("other");
    let request = RunPodSandboxRequest {
        config: Some(of_other.clone()),
        runtime_handler: "other".to_owned(),
    };
    let other = criu.suite.harness.client.run_pod_sandbox(request).await.unwrap().pod_sandbox_id;
    let theirs = criu.suite.started(&other, shell(&criu.suite, "main", COUNT), &of_other).await;
    let here = criu.location().to_str().unwrap().to_owned();
    let (folder, missing) = (criu.folder.path().to_str().unwrap(), format!("{here}/no/file"));
    for (id, location, timeout, code, why) in [
        ("0123", &*here, 0, Code::NotFound, "container 0123: not found"),
        (&id, "", 0, Code::InvalidArgument, "it is no absolute path"),
        (&id, "x/y.tar", 0, Code::InvalidArgument, "it is no absolute path"),
        (&id, folder, 0, Code::InvalidArgument, "something is there that is no file"),
        (&id, &missing, 0, Code::NotFound, "its folder is not there"),
        (&id, &here, -1, Code::InvalidArgument, "timeout -1 is negative"),
        (&ended, &here, 0, Code::FailedPrecondition, "it is exited, not running"),
        (&waits, &here, 0, Code::FailedPrecondition, "it is created, not running"),
        (&theirs, &here, 0, Code::Unimplemented, "the runtime handler \"other\""),
    ] {
        let refused = criu.checkpoint_to(id, location, timeout).await.unwrap_err();
        assert_eq!(refused.code(), code, "{refused}");
        assert!(refused.message().contains(why), "{refused}");
    }
    // What is executed in it is none of its own.
    let cmd = vec!["/bin/sleep".to_owned(), "1000".to_owned()];
    let request = ExecSyncRequest { container_id: id.clone(), cmd, timeout: 0 };
    let client = criu.suite.harness.client.clone();
    let exec = tokio::spawn(async move { client.exec_sync(request).await });
    let runs = async || {
        let list = criu.suite.harness.snapshot().unwrap();
        list.of(rrun_tests::leaks::Kind::Process).iter().any(|line| line.ends_with(" sleep"))
    };
    criu.suite.until("it is executed", runs).await;
    let refused = criu.checkpoint(&id).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("something is being executed in it"), "{refused}");
    exec.abort();
    criu.suite
        .until("the exec is gone", async || match criu.checkpoint(&id).await {
            Ok(()) => true,
            Err(refused) => {
                assert!(refused.message().contains("being executed"), "{refused}");
                false
            }
        })
        .await;
    fs::remove_file(criu.location()).unwrap();
    // One that is too old, one that is none, and none at all.
    let folder = tempfile::tempdir().unwrap();
    for (script, why) in [
        ("#!/bin/sh\necho Version: 3.19\n", "is 3.19, and 4.1 is the oldest that works"),
        ("#!/bin/sh\nexit 1\n", "does not tell its version"),
    ] {
        program(folder.path(), script);
        criu.restart_with(Some(folder.path()), &[]).await;
        let refused = criu.checkpoint(&id).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unimplemented);
        assert!(refused.message().contains(why), "{refused}");
    }
    let all = std::env::var_os("PATH").unwrap_or_default();
    let without = std::env::split_paths(&all).filter(|folder| !folder.join("criu").exists());
    let without = std::env::join_paths(without).unwrap().into_string().unwrap();
    criu.suite.harness.restart_with(&[("PATH", &without)]).await.unwrap();
    let refused = criu.checkpoint(&id).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
    let why = "checkpoint container main: checkpoints need criu: criu: not found in PATH";
    assert_eq!(refused.message(), why);
    criu.assert_archive(false);
    criu.goes_on(&id).await;
    criu.suite.restart().await;
    criu.suite.remove(&other).await;
    criu.suite.remove(&pod).await;
    criu.assert_nothing_left();
}

#[tokio::test]
async fn containers_of_every_kind_can_be_checkpointed() {
    let Some(criu) = Criu::start().await else { return };
    let suite = &criu.suite;
    let node = NamespaceMode::Node as i32;
    let ids = || vec![IdMapping { host_id: 655_360, container_id: 0, length: 65_536 }];
    let users = UserNamespace { mode: NamespaceMode::Pod as i32, uids: ids(), gids: ids() };
    let kinds = [
        ("users", NamespaceOption { userns_options: Some(users), ..Default::default() }),
        ("shared-pid", NamespaceOption { pid: NamespaceMode::Pod as i32, ..Default::default() }),
        ("host-pid", NamespaceOption { pid: node, ..Default::default() }),
        ("host", NamespaceOption { network: node, ipc: node, ..Default::default() }),
        ("privileged", NamespaceOption::default()),
        ("terminal", NamespaceOption::default()),
    ];
    for (name, namespaces) in kinds {
        let mut config = suite.harness.pod(name);
        let security = LinuxSandboxSecurityContext {
            namespace_options: Some(namespaces.clone()),
            privileged: name == "privileged",
            ..Default::default()
        };
        config.linux.as_mut().unwrap().security_context = Some(security);
        if namespaces.network == node {
            config.hostname.clear();
        }
        let pod = suite.run_pod(&config).await;
        let mut container = shell(suite, "main", COUNT);
        container.tty = name == "terminal";
        container.linux.get_or_insert_default().security_context =
            Some(LinuxContainerSecurityContext {
                namespace_options: Some(namespaces.clone()),
                privileged: name == "privileged",
                ..Default::default()
            });
        let id = suite.started(&pod, container, &config).await;
        criu.goes_on(&id).await;
        let made = criu.checkpoint(&id).await;
        made.unwrap_or_else(|error| panic!("{name}: {error}"));
        if name == "users" {
            let diff = &criu.archive()["rootfs-diff.tar"];
            let mut diff = tar::Archive::new(&**diff);
            let owners =
                diff.entries().unwrap().map(|entry| entry.unwrap().header().uid().unwrap());
            assert!(owners.into_iter().all(|owner| owner == 0));
        }
        criu.goes_on(&id).await;
        suite.remove(&pod).await;
    }
    criu.assert_nothing_left();
}

#[tokio::test]
async fn mounts_that_hear_of_others_and_an_image_that_is_removed_are_no_hindrance() {
    let Some(criu) = Criu::start().await else { return };
    let suite = &criu.suite;
    let host = suite.harness.sandbox().root().join("shared");
    fs::create_dir(&host).unwrap();
    let shared = host.clone();
    in_mounts_of(suite.harness.sandbox().pid(), move || {
        let none = None::<&str>;
        mount(Some("shared"), &shared, Some("tmpfs"), MsFlags::empty(), none)?;
        mount(none, &shared, none, MsFlags::MS_SHARED, none)
    });
    let mut config = suite.harness.pod("mounts");
    config.linux.as_mut().unwrap().security_context =
        Some(LinuxSandboxSecurityContext { privileged: true, ..Default::default() });
    let pod = suite.run_pod(&config).await;
    // A folder that is made anew hides what the image has in it.
    let script = format!("rm -r /var; mkdir /var; echo new >/var/new; {COUNT}");
    let mut container = shell(suite, "main", &script);
    let bind = |path: &str, propagation: MountPropagation| Mount {
        container_path: path.to_owned(),
        host_path: host.to_str().unwrap().to_owned(),
        propagation: propagation as i32,
        ..Default::default()
    };
    container.mounts = vec![
        bind("/slave", MountPropagation::PropagationHostToContainer),
        bind("/peer", MountPropagation::PropagationBidirectional),
        bind("/private", MountPropagation::PropagationPrivate),
    ];
    container.linux.get_or_insert_default().security_context =
        Some(LinuxContainerSecurityContext { privileged: true, ..Default::default() });
    let id = suite.started(&pod, container, &config).await;
    criu.goes_on(&id).await;
    let image = ImageSpec { image: BUSYBOX.to_owned(), ..Default::default() };
    let removal = RemoveImageRequest { image: Some(image) };
    suite.harness.client.remove_image(removal).await.unwrap();
    criu.checkpointed(&id).await;
    criu.goes_on(&id).await;
    let all = criu.archive();
    let deleted: Vec<String> = serde_json::from_slice(&all["deleted.files"]).unwrap();
    assert_eq!(deleted, ["/var/run"]);
    assert_eq!(entries(&all["rootfs-diff.tar"])["var/new"], b"new\n");
    suite.remove(&pod).await;
    in_mounts_of(suite.harness.sandbox().pid(), || nix::mount::umount(&host));
    fs::remove_dir(&host).unwrap();
    suite.harness.pull(BUSYBOX).await.unwrap();
    criu.assert_nothing_left();
}

#[tokio::test]
async fn crictl_makes_a_checkpoint() {
    let Some(criu) = Criu::start().await else { return };
    let (pod, id) = criu.counting("crictl").await;
    let export = format!("--export={}", criu.location().display());
    let done = criu.suite.crictl(&["checkpoint", &export, &id]).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert!(criu.archive().contains_key("checkpoint/inventory.img"));
    criu.goes_on(&id).await;
    criu.suite.remove(&pod).await;
    criu.assert_nothing_left();
}
