//! `rrun --endpoint`: the example pod on CRI servers of others.

use crate::machine::{await_that, configure, layout, printed, text};
use rrun_tests::daemon::Daemon;
use rrun_tests::limit;
use rrun_tests::place;
use rrun_tests::sandbox::Sandbox;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;

const IMAGE: &str = "examples.rrun.test/hello:1";

/// What this containerd's sandboxes are made of.
const PAUSE: &str = "registry.k8s.io/pause:3.10.2";

/// A sandbox with a CRI server in it.
struct Server {
    sandbox: Sandbox,
    endpoint: String,
}

impl Server {
    fn rrun(&self, args: &[&str]) -> Output {
        let mut command = self.sandbox.command(place::program("rrun").unwrap());
        command.args(["--endpoint", &self.endpoint]).args(args).stdin(Stdio::null());
        limit::output(&mut command).unwrap()
    }

    #[track_caller]
    fn ok(&self, args: &[&str]) -> String {
        printed(args, &self.rrun(args))
    }

    /// Everything that `rrun` can do, with the example pod.
    fn drive(&self) {
        let example = place::workspace().join("examples/hello.yaml");
        let uid = self.ok(&["run", "--detach", &example.display().to_string()]);
        let row = || {
            let listed = self.ok(&["ps", "-a"]);
            let row = listed.lines().find(|line| line.contains(" hello ")).unwrap_or_default();
            row.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        let mut seen = Vec::new();
        await_that("the pod has begun or failed to", || {
            seen = row();
            // Its server may be asked before it listens.
            let bad = |line: &str| line.contains("Warning") && !line.contains("Unhealthy");
            let warned = || self.ok(&["events", "hello"]).lines().any(bad);
            seen.get(2).is_some_and(|ready| ready == "2/2") || warned()
        });
        assert_eq!(seen[2], "2/2", "{}", self.ok(&["events", "hello"]));
        assert_eq!(row()[3], "Running");
        assert_eq!(row()[6], uid.trim());
        let page = self.ok(&["exec", "hello", "--", "/bin/hello", "fetch", "127.0.0.1", "8080"]);
        assert!(!page.is_empty());
        let code = self.rrun(&["exec", "hello", "--", "/bin/hello", "nonsense"]).status.code();
        assert!(code.is_some_and(|code| code != 0), "{code:?}");
        assert!(self.ok(&["images"]).contains("examples.rrun.test/hello"), "images");
        await_that("lines of the log", || self.ok(&["logs", "hello"]).contains("watch | "));
        assert!(self.ok(&["events", "hello"]).contains("Started"));
        self.drive_looks();
        self.ok(&["stop", "hello"]);
        assert_eq!(row()[3], "Completed");
        self.ok(&["rm", "hello"]);
        assert_eq!(self.ok(&["ps", "-a"]).lines().count(), 1);
        self.drive_volume();
        self.drive_changes();
        self.ok(&["rmi", IMAGE]);
        assert!(!self.ok(&["images"]).contains("examples.rrun.test/hello"), "rmi");
        let gone = self.rrun(&["rmi", IMAGE]);
        assert_eq!(gone.status.code(), Some(2), "{}", text(&gone.stderr));
        let pull = self.rrun(&["pull", "127.0.0.1:1/none:1"]);
        assert_eq!(pull.status.code(), Some(2), "{}", text(&pull.stdout));
        let import = self.rrun(&["image", "import", "/none"]);
        assert!(text(&import.stderr).contains("takes no images from files"));
    }

    /// What shows the pod, and ports of it.
    fn drive_looks(&self) {
        let shown =
            self.ok(&["get", "hello", "-o", "jsonpath={.status.phase} {.spec.containers[0].name}"]);
        assert!(shown.starts_with("Running "), "{shown}");
        let selected =
            |field: &str| self.ok(&["get", "-l", "!none", "--field-selector", field, "-o", "name"]);
        assert_eq!(selected("status.phase=Running"), "pod/hello\n");
        assert_eq!(selected("status.phase!=Running"), "");
        let inspected = self.ok(&["inspect", "hello"]);
        let inspected: serde_json::Value = serde_json::from_str(&inspected).unwrap();
        let running = |one: &&serde_json::Value| one["status"]["state"] == "CONTAINER_RUNNING";
        let containers = inspected[0]["containers"].as_array().unwrap();
        let pids = containers.iter().filter(running).map(|one| one["pid"].as_i64().unwrap());
        assert_eq!(pids.filter(|pid| *pid > 1).count(), 2, "{inspected}");
        assert!(self.ok(&["stats", "hello"]).lines().count() == 3);
        let mut command = self.sandbox.command(place::program("rrun").unwrap());
        command.args(["--endpoint", &self.endpoint, "port-forward", "hello", "18080:8080"]);
        let forward = crate::machine::Run::start(command);
        forward.expect("Forwarding from 127.0.0.1:18080 -> 8080");
        let fetch =
            "exec 3<>/dev/tcp/127.0.0.1/18080; printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3";
        let page = limit::output(self.sandbox.command("bash").args(["-c", fetch])).unwrap();
        assert!(text(&page.stdout).starts_with("HTTP/1"), "{}", text(&page.stdout));
        forward.expect("Handling connection for 18080");
        forward.signal("TERM");
        forward.end();
        let attach = self.sandbox.command(place::program("rrun").unwrap());
        let mut attach = attach;
        attach.args(["--endpoint", &self.endpoint, "attach", "hello", "-c", "watch"]);
        let attach = crate::machine::Run::start(attach);
        attach.expect("");
        attach.signal("TERM");
        attach.end();
    }

    /// A pod with an image for a volume.
    fn drive_volume(&self) {
        let path = self.sandbox.root().join("volume.yaml");
        let manifest = format!(
            "apiVersion: v1
kind: Pod
metadata: {{name: volume}}
spec:
  terminationGracePeriodSeconds: 1
  volumes: [{{name: data, image: {{reference: {IMAGE}, pullPolicy: Never}}}}]
  containers:
  - name: main
    image: {IMAGE}
    imagePullPolicy: Never
    args: [serve, /data, '8080']
    volumeMounts: [{{name: data, mountPath: /data, subPath: bin}}]
"
        );
        std::fs::write(&path, manifest).unwrap();
        self.ok(&["run", "--detach", &path.display().to_string()]);
        let events = || self.ok(&["events", "volume"]);
        await_that("the pod has begun or failed to", || {
            let events = events();
            events.contains("Container started") || events.contains("Warning")
        });
        assert!(events().contains("Container started"), "{}", events());
        self.ok(&["exec", "volume", "--", "/data/hello", "page", "/page.html"]);
        let written = self.rrun(&["exec", "volume", "--", "/bin/hello", "page", "/data/page.html"]);
        assert_ne!(written.status.code(), Some(0));
        self.ok(&["rm", "--force", "volume"]);
    }
}

const CHANGES: &str = "
  containers:
  - name: main
    image: examples.rrun.test/hello:1
    imagePullPolicy: Never
    args: [serve, /map, '8080']
    resources: {limits: {cpu: 100m, memory: 64Mi}}
    volumeMounts: [{name: map, mountPath: /map}]
  volumes: [{name: map, configMap: {name: m}}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: m}
data: {page.html: one}
";

impl Server {
    /// A pod with users of its own that changes, is looked into and started again.
    fn drive_changes(&self) {
        let path = self.sandbox.root().join("changed.yaml").display().to_string();
        let head = "apiVersion: v1\nkind: Pod\nmetadata: {name: changed}\nspec:
  hostUsers: false\n  terminationGracePeriodSeconds: 1";
        let apply = |cpu: &str| {
            let manifest = format!("{head}{CHANGES}").replace("100m", cpu);
            std::fs::write(&path, manifest).unwrap();
            self.ok(&["apply", "-f", &path])
        };
        let events = || self.ok(&["events", "changed"]);
        let status = || {
            let all: serde_json::Value =
                serde_json::from_str(&self.ok(&["ps", "-a", "-o", "json"])).unwrap();
            all["items"][0]["status"].clone()
        };
        assert_eq!(apply("100m"), "pod/changed created\n");
        await_that("it has begun or failed to", || {
            let events = events();
            events.contains("Container started") || events.contains("Warning")
        });
        assert!(events().contains("Container started"), "{}", events());
        assert_eq!(apply("200m"), "pod/changed configured\n");
        await_that("it is resized", || events().contains("ResizeCompleted"));
        let main = status()["containerStatuses"][0].clone();
        assert_eq!(main["resources"]["limits"]["cpu"], "200m", "{main}");
        assert_eq!(main["restartCount"], 0);
        let look = ["-c", "look", "--image", IMAGE, "--target", "main", "--", "/bin/hello"];
        let done = self.ok(&[&["debug", "changed"], &look[..], &["page", "/page.html"]].concat());
        assert_eq!(done, "look\n");
        await_that("it was looked into", || {
            status()["ephemeralContainerStatuses"][0]["containerID"].is_string()
        });
        self.ok(&["restart", "changed"]);
        await_that("it is started again", || {
            let main = status()["containerStatuses"][0].clone();
            main["restartCount"] == 1 && main["state"]["running"].is_object()
        });
        self.ok(&["rm", "--force", "changed"]);
    }
}

static HELLO: LazyLock<PathBuf> =
    LazyLock::new(|| layout(&place::workspace().join("examples/hello.c"), IMAGE));

#[test]
fn the_example_pod_runs_on_rrund() {
    let sandbox = Sandbox::new().unwrap();
    let daemon = Daemon::rrund(&sandbox, "").unwrap();
    let mut import = sandbox.command(place::program("rrun").unwrap());
    let done = limit::output(import.args(["image", "import"]).arg(&*HELLO)).unwrap();
    assert!(done.status.success(), "{}", text(&done.stderr));
    let endpoint = "unix:///run/rrun/rrun.sock".to_owned();
    Server { sandbox, endpoint }.drive();
    drop(daemon);
}

#[test]
fn the_example_pod_runs_on_containerd() {
    let sandbox = Sandbox::new().unwrap();
    configure(&sandbox, "");
    let daemon = Daemon::containerd(&sandbox, &sandbox.root().join("certs.d")).unwrap();
    let socket = Path::new("/run/containerd/containerd.sock");
    let pause = layout(&place::workspace().join("pod/cli/tests/programs/pause.c"), PAUSE);
    for folder in [&*HELLO, &pause] {
        let tar = sandbox.root().join("layout.tar");
        let packed =
            Command::new("tar").arg("-cf").arg(&tar).arg("-C").arg(folder).arg(".").status();
        assert!(packed.unwrap().success());
        let mut import = sandbox.command(place::tool("ctr").unwrap());
        import.arg("--address").arg(socket).args(["--namespace", "k8s.io", "images", "import"]);
        let done = limit::output(import.arg(&tar)).unwrap();
        assert!(done.status.success(), "{}", text(&done.stderr));
    }
    Server { sandbox, endpoint: format!("unix://{}", socket.display()) }.drive();
    drop(daemon);
}
