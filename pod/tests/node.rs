//! The Linux node on the real kernel. Needs root; leaves nothing behind.
#![allow(clippy::unwrap_used)] // A test fails by panicking, in its helpers too.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use rrun_pod::addresses::Addresses;
use rrun_pod::error::Result;
use rrun_pod::ids::PodUid;
use rrun_pod::manifest::{self, Source};
use rrun_pod::model::Pod;
use rrun_pod::node::{
    CgroupMode, LinuxNode, Node, OtherPods, PodCgroups, PodPlace, Roots, SubPathRequest,
};
use rrun_pod::resources::{self, PodCgroup};

struct TestNode {
    dir: tempfile::TempDir,
    node: LinuxNode,
    cgroups: Arc<Cgroups>,
}

/// Cgroups that are there by name alone: those of the runtime below are its own.
#[derive(Default)]
struct Cgroups(Mutex<BTreeMap<String, PodCgroup>>, Gate);

/// Lets through, unless somebody keeps it shut.
#[derive(Default)]
struct Gate {
    shut: AtomicBool,
    /// How many have come to it.
    came: AtomicUsize,
}

impl Gate {
    fn pass(&self) {
        self.came.fetch_add(1, Ordering::SeqCst);
        while self.shut.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl PodCgroups for Cgroups {
    fn mode(&self) -> CgroupMode {
        CgroupMode::V2
    }

    fn make(&self, uid: &PodUid, limits: &PodCgroup) -> Result<String> {
        self.1.pass();
        self.0.lock().unwrap().insert(uid.to_string(), limits.clone());
        Ok(format!("/test/pod{uid}"))
    }

    fn remove(&self, uid: &PodUid) -> Result<()> {
        self.0.lock().unwrap().remove(uid.as_str());
        Ok(())
    }
}

/// A pod that is alone on its node.
struct Alone;

#[async_trait]
impl OtherPods for Alone {
    async fn addresses(&self, _: &str, _: &str) -> Result<Option<Vec<String>>> {
        Ok(None)
    }
}

impl TestNode {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let roots = Roots {
            volumes: dir.path().join("volumes"),
            claims: dir.path().join("claims"),
            logs: dir.path().join("logs"),
            seccomp: dir.path().join("seccomp"),
            pulls: dir.path().join("pulls"),
            tombstones: dir.path().join("tombstones"),
            users: dir.path().join("users"),
        };
        let cgroups = Arc::new(Cgroups::default());
        let node = LinuxNode::new(roots, cgroups.clone(), Arc::new(Alone)).unwrap();
        TestNode { node, dir, cgroups }
    }

    async fn prepare(&self, pod: &Arc<Pod>) -> Result<PodPlace> {
        let limits = resources::pod_cgroup(pod, &self.node.facts().hugepage_sizes);
        self.node.prepare(pod.clone(), &Addresses::default(), limits).await
    }

    fn mounts(&self) -> Vec<String> {
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let prefix = self.dir.path().to_string_lossy().into_owned();
        table.lines().filter(|line| line.contains(&prefix)).map(str::to_owned).collect()
    }

    /// Tears the pod down and proves that nothing of it is left.
    async fn end(self, pod: &Pod) {
        self.node.tear_down(&pod.meta.uid).await.unwrap();
        self.node.tear_down(&pod.meta.uid).await.unwrap();
        assert_eq!(self.mounts(), Vec::<String>::new());
        assert!(self.cgroups.0.lock().unwrap().is_empty());
        assert!(!self.dir.path().join("volumes").join(pod.meta.uid.as_str()).exists());
    }
}

fn pod(spec: &str) -> Arc<Pod> {
    let text = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: web, uid: u-1, labels: {{app: x}}}}\nspec:\n{spec}"
    );
    Arc::new(manifest::pod(Source { name: "t", text: text.as_bytes() }, &[]).unwrap())
}

/// Whether the test can be made; the reason is told where it cannot.
fn is_root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        println!("skipped: needs root");
    }
    root
}

#[tokio::test]
async fn volumes_are_made_once_brought_up_to_date_and_removed() {
    if !is_root() {
        return;
    }
    let test = TestNode::new();
    let spec = "  securityContext: {fsGroup: 4321}
  containers: [{name: a, image: i}]
  volumes:
  - {name: disk, emptyDir: {}}
  - {name: mem, emptyDir: {medium: Memory, sizeLimit: 1Mi}}
  - {name: conf, configMap: {name: c}}
  - name: all
    projected:
      defaultMode: 0400
      sources:
      - secret: {name: s, items: [{key: k, path: deep/key}]}
      - downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: c}, data: {a.conf: one}}
---
{apiVersion: v1, kind: Secret, metadata: {name: s}, stringData: {k: hidden}}
";
    let first = pod(spec);
    let place = test.prepare(&first).await.unwrap();
    let at = |volume: &str| place.volumes[volume].clone();

    let disk = fs::metadata(at("disk")).unwrap();
    assert_eq!((disk.mode() & 0o7777, disk.gid()), (0o2777, 4321));
    fs::write(at("disk").join("kept"), "x").unwrap();
    let mem = nix::sys::statfs::statfs(&at("mem")).unwrap();
    assert_eq!(mem.filesystem_type(), nix::sys::statfs::TMPFS_MAGIC);
    assert_eq!(mem.blocks() * u64::try_from(mem.block_size()).unwrap(), 1 << 20);
    assert_eq!(fs::read_to_string(at("conf").join("a.conf")).unwrap(), "one");
    let key = at("all").join("deep/key");
    assert_eq!(fs::read_to_string(&key).unwrap(), "hidden");
    let found = fs::metadata(&key).unwrap();
    assert_eq!((found.mode() & 0o777, found.gid()), (0o440, 4321), "the group can read it");
    assert_eq!(fs::read_to_string(at("all").join("labels")).unwrap(), "app=\"x\"");
    let kind = nix::sys::statfs::statfs(&at("all")).unwrap().filesystem_type();
    assert_eq!(kind, nix::sys::statfs::TMPFS_MAGIC, "a secret never touches the disk");

    let mounted = test.mounts().len();
    let second = pod(&spec.replace("a.conf: one", "a.conf: two"));
    test.prepare(&second).await.unwrap();
    assert_eq!(test.mounts().len(), mounted, "nothing is mounted twice");
    assert!(at("disk").join("kept").exists());
    assert_eq!(fs::read_to_string(at("conf").join("a.conf")).unwrap(), "two");
    test.end(&first).await;
}

#[tokio::test]
async fn a_pods_cgroup_is_made_with_the_pods_limits_and_goes_with_its_volumes() {
    if !is_root() {
        return;
    }
    let test = TestNode::new();
    let pod = pod(
        "  containers: [{name: a, image: i, resources: {limits: {cpu: 500m, memory: 64Mi}}}]\n",
    );
    let place = test.prepare(&pod).await.unwrap();
    assert_eq!(place.cgroup_parent, "/test/podu-1");
    let made = test.cgroups.0.lock().unwrap()["u-1"].clone();
    assert_eq!((made.shares, made.quota, made.memory), (512, Some(50_000), Some(64 << 20)));
    let sizes: Vec<String> = made.hugepages.into_keys().collect();
    let mut node = test.node.facts().hugepage_sizes.clone();
    node.sort();
    assert_eq!(sizes, node, "every size is limited");
    test.end(&pod).await;
}

#[tokio::test]
async fn a_sub_path_is_bound_by_descriptor_and_never_leaves_its_volume() {
    if !is_root() {
        return;
    }
    let test = TestNode::new();
    let pod = pod("  containers: [{name: a, image: i}]\n  volumes: [{name: v}]\n");
    let place = test.prepare(&pod).await.unwrap();
    let root = place.volumes["v"].clone();
    let ask = async |path: &str, index| {
        let uid = &pod.meta.uid;
        let request = SubPathRequest { uid, volume: "v", root: &root, path, container: "a", index };
        test.node.sub_path(request).await
    };
    let bound = ask("new/deep", 0).await.unwrap();
    assert_eq!(fs::metadata(root.join("new/deep")).unwrap().permissions().mode() & 0o777, 0o777);
    fs::write(bound.join("f"), "x").unwrap();
    assert!(root.join("new/deep/f").exists());
    // Again, as after a restart of the container; and a file, where a folder was bound.
    ask("new/deep", 0).await.unwrap();
    let file = ask("new/deep/f", 0).await.unwrap();
    assert_eq!(fs::read_to_string(file).unwrap(), "x");

    symlink("/etc", root.join("abs")).unwrap();
    symlink("../../../../../../etc", root.join("rel")).unwrap();
    symlink("new", root.join("inside")).unwrap();
    for bad in ["abs", "abs/passwd", "rel/passwd", "../x", "abs/made"] {
        let error = ask(bad, 1).await.unwrap_err().to_string();
        assert!(error.contains("leads out of the volume"), "{bad}: {error}");
    }
    assert!(!Path::new("/etc/made").exists());
    ask("inside/deep", 1).await.unwrap();

    // The pod swaps the folder away: what was bound stays what it was.
    fs::rename(root.join("new"), root.join("old")).unwrap();
    symlink("/etc", root.join("new")).unwrap();
    let again = ask("old/deep", 2).await.unwrap();
    assert!(again.join("f").exists());
    test.end(&pod).await;
}

#[tokio::test]
async fn tear_down_does_not_reach_through_a_bind_into_the_nodes_files() {
    if !is_root() {
        return;
    }
    let test = TestNode::new();
    let precious = tempfile::tempdir().unwrap();
    fs::write(precious.path().join("kept"), "x").unwrap();
    let spec = format!(
        "  containers: [{{name: a, image: i}}]\n  volumes: [{{name: h, hostPath: {{path: {}}}}}]\n",
        precious.path().display()
    );
    let pod = pod(&spec);
    let place = test.prepare(&pod).await.unwrap();
    let request = SubPathRequest {
        uid: &pod.meta.uid,
        volume: "h",
        root: &place.volumes["h"],
        path: ".",
        container: "a",
        index: 0,
    };
    let bound = test.node.sub_path(request).await.unwrap();
    assert!(bound.join("kept").exists());
    test.end(&pod).await;
    assert!(precious.path().join("kept").exists());
}

#[tokio::test]
async fn a_claim_is_a_folder_of_its_own_that_stays_or_the_volume_that_it_is_bound_to() {
    if !is_root() {
        return;
    }
    let test = TestNode::new();
    let path = test.dir.path().join("bound");
    let spec = format!(
        "  securityContext: {{fsGroup: 4321}}
  containers: [{{name: a, image: i}}]
  volumes:
  - {{name: own, persistentVolumeClaim: {{claimName: own}}}}
  - {{name: bound, persistentVolumeClaim: {{claimName: bound}}}}
---
{{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {{name: own}}, spec: {{storageClassName: x}}}}
---
{{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {{name: bound}}, spec: {{}}}}
---
{{apiVersion: v1, kind: PersistentVolume, metadata: {{name: p}}, spec: {{capacity: {{storage: 1}}, hostPath: {{path: {}, type: DirectoryOrCreate}}}}}}
",
        path.display()
    );
    let pod = pod(&spec);
    let place = test.prepare(&pod).await.unwrap();
    assert_eq!(place.volumes["bound"], path);
    let own = &place.volumes["own"];
    assert_eq!(*own, test.dir.path().join("claims/default_own"));
    let found = fs::metadata(own).unwrap();
    assert_eq!((found.mode() & 0o7777, found.gid()), (0o2777, 4321));
    fs::write(own.join("kept"), "x").unwrap();
    test.node.tear_down(&pod.meta.uid).await.unwrap();
    let again = test.prepare(&pod).await.unwrap();
    assert!(again.volumes["own"].join("kept").exists());
    test.end(&pod).await;
}

#[tokio::test]
async fn mounts_travel_in_an_empty_dir_for_which_a_container_asks_so() {
    if !is_root() {
        return;
    }
    let test = TestNode::new();
    let pod = pod(
        "  containers:
  - {name: a, image: i, securityContext: {privileged: true}, volumeMounts: [{name: disk, mountPath: /d, mountPropagation: Bidirectional}]}
  - {name: b, image: i, volumeMounts: [{name: memory, mountPath: /m, mountPropagation: HostToContainer}, {name: plain, mountPath: /p}]}
  volumes: [{name: disk}, {name: memory, emptyDir: {medium: Memory}}, {name: plain}]
",
    );
    // Again: what is shared already stays as it is.
    for _ in 0..2 {
        let place = test.prepare(&pod).await.unwrap();
        let table = test.mounts();
        let of = |name: &str| -> Vec<&String> {
            let path = format!(" {} ", place.volumes[name].display());
            table.iter().filter(|line| line.contains(&path)).collect()
        };
        for name in ["disk", "memory"] {
            assert_eq!(of(name).len(), 1, "{table:?}");
            assert!(of(name)[0].contains(" shared:"), "{table:?}");
        }
        assert!(of("plain").is_empty(), "{table:?}");
    }
    test.end(&pod).await;
}

#[tokio::test]
async fn what_is_begun_for_a_pod_when_its_end_is_asked_for_makes_nothing_behind_it() {
    let test = TestNode::new();
    let pod = pod("  containers: [{name: a, image: i}]");
    let gate = &test.cgroups.1;
    gate.shut.store(true, Ordering::SeqCst);
    // Nobody waits for it any more, and it goes on.
    let waited = tokio::time::timeout(Duration::from_millis(50), test.prepare(&pod)).await;
    assert!(waited.is_err());
    while gate.came.load(Ordering::SeqCst) == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Nothing else is made beside it, and the refusal says whose it is.
    tokio::time::pause();
    let write = test.node.write_hosts(&pod.meta.uid, String::new());
    let later = async {
        tokio::task::yield_now().await;
        tokio::time::advance(Duration::from_secs(11)).await;
    };
    let refused = tokio::join!(write, later).0.unwrap_err();
    let why = "u-1: what was begun for it has not ended in 10s";
    assert_eq!(refused.to_string(), why);
    tokio::time::resume();
    let mut end = test.node.tear_down(&pod.meta.uid);
    assert!(tokio::time::timeout(Duration::from_millis(100), &mut end).await.is_err());
    gate.shut.store(false, Ordering::SeqCst);
    end.as_mut().await.unwrap();
    drop(end);
    test.end(&pod).await;
}
