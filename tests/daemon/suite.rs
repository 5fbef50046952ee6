//! One daemon with its images pulled, and short names for the calls that every test makes.

use nix::sys::signal::Signal;
use rrun_cri_api::v1::*;
use rrun_cri_api::{Client, Cri};
use rrun_tests::harness::{BUSYBOX, Harness, WORK};
use rrun_tests::leaks::{Kind, Snapshot, View};
use rrun_tests::place;
use std::fs::{self, File, Permissions};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// How long an event may take to come; none is expected to take it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The daemon, and what was there before the test.
pub struct Suite {
    pub harness: Harness,
    before: Snapshot,
}

impl Suite {
    /// `rrund` with images pulled and one pod already run and removed.
    pub async fn start() -> Self {
        Self::start_with("").await
    }

    /// The same with more TOML.
    pub async fn start_with(config: &str) -> Self {
        let harness = Harness::start_with(config).await.unwrap();
        for image in [WORK, BUSYBOX] {
            harness.pull(image).await.unwrap();
        }
        let before = harness.snapshot().unwrap();
        let mut suite = Self { harness, before };
        let (pod, _) = suite.run("warm", &["/bin/sleeper"]).await;
        suite.remove(&pod).await;
        suite.before = suite.settled().await;
        suite
    }

    /// The same with a daemon that a shell starts after these commands.
    pub async fn start_after(commands: &str) -> Self {
        let mut suite = Suite::start().await;
        let folder = suite.harness.sandbox().root().join("started-after");
        fs::create_dir(&folder).unwrap();
        let program = place::program("rrund").unwrap();
        let script = format!("#!/bin/sh\n{commands}\nexec {} \"$@\"\n", program.display());
        fs::write(folder.join("rrund"), script).unwrap();
        fs::set_permissions(folder.join("rrund"), Permissions::from_mode(0o755)).unwrap();
        suite.harness.restart_in(&folder).unwrap();
        let endpoint = suite.harness.daemon().unwrap().endpoint();
        suite.harness.client = Client::connect(&endpoint).await.unwrap();
        suite
    }

    /// Another daemon on the same state, after SIGKILL.
    pub async fn restart(&mut self) {
        self.harness.restart().unwrap();
        let endpoint = self.harness.daemon().unwrap().endpoint();
        // The old connection would tell the old daemon's death to the first call.
        self.harness.client = Client::connect(&endpoint).await.unwrap();
    }

    /// Everything but the daemon itself, which a test may restart.
    pub fn view(&self) -> View {
        self.harness.view().allow(" rrund")
    }

    /// What is there once init has reaped the dead, and the folders of removed pods are deleted.
    pub async fn settled(&self) -> Snapshot {
        let going = |all: &Snapshot| {
            all.of(Kind::Process).iter().any(|process| process.contains("zombie"))
                || all.of(Kind::File).iter().any(|file| file.contains(".removed"))
        };
        let deadline = Instant::now() + PATIENCE;
        let mut now = Snapshot::take(&self.view()).unwrap();
        while going(&now) {
            let left = [now.of(Kind::Process), now.of(Kind::File)];
            assert!(Instant::now() < deadline, "not settled: {left:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
            now = Snapshot::take(&self.view()).unwrap();
        }
        now
    }

    /// Fails when anything is there that was not there before, or the reverse.
    pub fn assert_nothing_left(&self) {
        let listed = self.before.assert_nothing_left(&self.view());
        if let Err(error) = listed {
            panic!("{error}\n{}", self.daemon_log());
        }
    }

    /// Waits until nothing is there that was not there before, nor the reverse.
    pub fn until_clean(&self) {
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = self.before.assert_nothing_left(&self.view()) {
            assert!(Instant::now() < deadline, "{error}\n{}", self.daemon_log());
        }
    }

    /// What the daemon wrote, for the message of a failure.
    pub fn daemon_log(&self) -> String {
        fs::read_to_string(self.harness.sandbox().root().join("rrund.log")).unwrap_or_default()
    }

    pub async fn run_pod(&self, config: &PodSandboxConfig) -> String {
        let request = RunPodSandboxRequest { config: Some(config.clone()), ..Default::default() };
        let answer = self.harness.client.run_pod_sandbox(request).await;
        answer.unwrap_or_else(|e| panic!("{e}\n{}", self.daemon_log())).pod_sandbox_id
    }

    pub async fn create(
        &self,
        pod: &str,
        config: ContainerConfig,
        of: &PodSandboxConfig,
    ) -> Result<String, tonic::Status> {
        let request = CreateContainerRequest {
            pod_sandbox_id: pod.to_owned(),
            config: Some(config),
            sandbox_config: Some(of.clone()),
        };
        Ok(self.harness.client.create_container(request).await?.container_id)
    }

    pub async fn start_container(&self, id: &str) -> Result<(), tonic::Status> {
        let request = StartContainerRequest { container_id: id.to_owned() };
        self.harness.client.start_container(request).await.map(drop)
    }

    /// A container that is made and started in a pod that stands.
    pub async fn started(
        &self,
        pod: &str,
        config: ContainerConfig,
        of: &PodSandboxConfig,
    ) -> String {
        let made = self.create(pod, config, of).await;
        let id = made.unwrap_or_else(|e| panic!("{e}\n{}", self.daemon_log()));
        let started = self.start_container(&id).await;
        started.unwrap_or_else(|e| panic!("{e}\n{}", self.daemon_log()));
        id
    }

    /// A container of the image of our own workloads in a pod that stands.
    pub async fn add(
        &self,
        pod: &str,
        of: &PodSandboxConfig,
        name: &str,
        words: &[&str],
    ) -> String {
        self.started(pod, self.harness.container(name, WORK, words), of).await
    }

    /// A pod with one container, `main`.
    pub async fn run(&self, name: &str, words: &[&str]) -> (String, String) {
        let config = self.harness.pod(name);
        let pod = self.run_pod(&config).await;
        let container = self.add(&pod, &config, "main", words).await;
        (pod, container)
    }

    pub async fn stop_container(&self, id: &str, grace: i64) {
        let request = StopContainerRequest { container_id: id.to_owned(), timeout: grace };
        self.harness.client.stop_container(request).await.unwrap();
    }

    pub async fn remove_container(&self, id: &str) {
        let request = RemoveContainerRequest { container_id: id.to_owned() };
        self.harness.client.remove_container(request).await.unwrap();
    }

    pub async fn stop(&self, pod: &str) {
        let request = StopPodSandboxRequest { pod_sandbox_id: pod.to_owned() };
        self.harness.client.stop_pod_sandbox(request).await.unwrap();
    }

    /// Stops and removes a pod with all it holds.
    pub async fn remove(&self, pod: &str) {
        self.stop(pod).await;
        let request = RemovePodSandboxRequest { pod_sandbox_id: pod.to_owned() };
        self.harness.client.remove_pod_sandbox(request).await.unwrap();
    }

    pub async fn pod_status(&self, id: &str) -> PodSandboxStatus {
        let request =
            PodSandboxStatusRequest { pod_sandbox_id: id.to_owned(), ..Default::default() };
        self.harness.client.pod_sandbox_status(request).await.unwrap().status.unwrap()
    }

    pub async fn status(&self, id: &str) -> ContainerStatus {
        self.verbose(id).await.0
    }

    async fn verbose(&self, id: &str) -> (ContainerStatus, serde_json::Value) {
        let request = ContainerStatusRequest { container_id: id.to_owned(), verbose: true };
        let answer = self.harness.client.container_status(request).await.unwrap();
        let info = answer.info.get("info").map(String::as_str).unwrap_or("null");
        (answer.status.unwrap(), serde_json::from_str(info).unwrap())
    }

    /// The process of a container, as the host numbers it.
    pub async fn pid(&self, id: &str) -> i64 {
        self.verbose(id).await.1["pid"].as_i64().unwrap()
    }

    /// Waits for a container's end.
    pub async fn ended(&self, id: &str) -> ContainerStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = self.status(id).await;
            if status.state == ContainerState::ContainerExited as i32 {
                return status;
            }
            assert!(Instant::now() < deadline, "{id} runs on: {status:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub async fn exec(&self, id: &str, words: &[&str], seconds: i64) -> Executed {
        let request = ExecSyncRequest {
            container_id: id.to_owned(),
            cmd: words.iter().map(|word| (*word).to_owned()).collect(),
            timeout: seconds,
        };
        self.harness.client.exec_sync(request).await
    }

    /// `crictl` within the sandbox. It ends in any case, so that what waits for it or reads from
    /// it does too (`timeout` exits with 124), and it gives a call as long: of itself 2 s, which a
    /// disk that is busy takes.
    pub fn crictl(&self, words: &[&str]) -> std::process::Command {
        let seconds = PATIENCE.as_secs();
        let mut client = self.harness.sandbox().command("timeout");
        client
            .args(["--kill-after", "10", &seconds.to_string()])
            .arg(rrun_tests::place::tool("crictl").unwrap());
        client.args(["--timeout", &format!("{seconds}s")]);
        client.args(["--runtime-endpoint", &self.harness.daemon().unwrap().endpoint()]);
        client.args(words);
        client
    }

    /// The same on a terminal, for which it asks where it has one itself: what was shown there, which
    /// is to be little, as it is read afterwards, and what it has said on its standard error. Nobody
    /// is controlled by that terminal: the group of `timeout`, which is none of its foreground, would
    /// be stopped when it is changed.
    pub fn crictl_on_terminal(&self, words: &[&str]) -> [String; 2] {
        let pty = nix::pty::openpty(None, None).unwrap();
        let mut client = self.crictl(words);
        client.stdin(pty.slave.try_clone().unwrap()).stdout(pty.slave).stderr(Stdio::piped());
        let child = client.spawn().unwrap();
        drop(client);
        let done = rrun_tests::limit::output_of(child, "crictl").unwrap();
        let mut shown = Vec::new();
        // Nobody has the other end any more, which is an error of its own.
        let _ = File::from(pty.master).read_to_end(&mut shown);
        [shown, done.stderr].map(|said| String::from_utf8_lossy(&said).into_owned())
    }

    /// A pod's folder below the daemon's run folder.
    pub fn run_folder(&self, pod: &str) -> PathBuf {
        self.harness.sandbox().run().join("rrun/pods").join(pod)
    }

    /// The supervisor of a pod.
    pub fn shim(&self, pod: &str) -> i32 {
        let path = self.run_folder(pod).join("shim.pid");
        fs::read_to_string(path).unwrap().trim().parse().unwrap()
    }

    /// Where the harness tells a container to log.
    pub fn log_path(&self, pod: &str, container: &str) -> PathBuf {
        self.harness.sandbox().root().join("logs").join(pod).join(format!("{container}.log"))
    }

    /// Stops a process and waits until each of its threads stands: a signal is taken by one of
    /// them, and until then the others go on.
    pub async fn freeze(&self, pid: i32) {
        signal(pid, Signal::SIGSTOP);
        self.until("every thread stands", async || stands(pid)).await;
    }

    /// Awaits what another process does.
    pub async fn until(&self, what: &str, mut holds: impl AsyncFnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds().await {
            assert!(Instant::now() < deadline, "{what}: in vain\n{}", self.daemon_log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

pub type Executed = Result<ExecSyncResponse, tonic::Status>;

pub const READY: i32 = PodSandboxState::SandboxReady as i32;
pub const NOT_READY: i32 = PodSandboxState::SandboxNotready as i32;
pub const CREATED: i32 = ContainerState::ContainerCreated as i32;
pub const RUNNING: i32 = ContainerState::ContainerRunning as i32;
pub const EXITED: i32 = ContainerState::ContainerExited as i32;

/// Now, in nanoseconds since the epoch.
pub fn now() -> i64 {
    std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as i64
}

/// Whether every thread of a process is stopped: proc_pid_stat(5).
fn stands(pid: i32) -> bool {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    threads.flatten().all(|thread| {
        // One that has ended meanwhile does nothing more.
        let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('T'))
    })
}

/// SIGKILL.
pub fn kill(pid: i32) {
    signal(pid, Signal::SIGKILL);
}

pub fn signal(pid: i32, signal: Signal) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).unwrap();
}

/// The limit of memory of a process, by what `/proc/<pid>/cgroup` says: cgroups(7).
pub fn memory_limit(pid: i64) -> u64 {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let groups = groups.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        Some((parts.next()?, parts.next()?.trim_start_matches('/')))
    });
    let files = groups.filter_map(|(controllers, path)| {
        let root = std::path::Path::new("/sys/fs/cgroup");
        match controllers {
            "" => Some(root.join(path).join("memory.max")),
            "memory" => Some(root.join("memory").join(path).join("memory.limit_in_bytes")),
            _ => None,
        }
    });
    let text = files.into_iter().find_map(|file| fs::read_to_string(file).ok());
    text.unwrap().trim().parse().unwrap()
}
