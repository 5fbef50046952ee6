//! What systemd tells and hands over to the programs that it starts, and hears from them.

use crate::suite::PATIENCE;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rrun_cri_api::v1::VersionRequest;
use rrun_cri_api::{Client, Cri};
use rrun_tests::place;
use rrun_tests::sandbox::{Sandbox, in_mounts_of};
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::process::{Child, Stdio};
use std::time::Instant;

/// Executed by a shell, as it knows the process that it becomes; its standard input is the socket.
const ACTIVATED: &str = "exec 3<&0 </dev/null\nLISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\"";

/// A daemon that somebody else started.
struct Started<'a> {
    child: Child,
    sandbox: &'a Sandbox,
}

impl<'a> Started<'a> {
    fn spawn(
        script: &str,
        stdin: Stdio,
        environment: &[(&str, &str)],
        sandbox: &'a Sandbox,
    ) -> Self {
        let parent = sandbox.cgroup_parent();
        let folder = sandbox.inside("/etc/rrun");
        fs::create_dir_all(&folder).unwrap();
        let text = format!("[cgroup]\nparent = \"{parent}\"\n");
        fs::write(folder.join("rrund.toml"), text).unwrap();
        let log = File::create(sandbox.root().join("rrund.log")).unwrap();
        let mut shell = sandbox.command("sh");
        shell.args(["-c", script]).arg(place::program("rrund").unwrap());
        shell.envs(environment.iter().copied());
        let child = shell.stdin(stdin).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        Started { child, sandbox }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.sandbox.root().join("rrund.log")).unwrap()
    }

    /// SIGTERM, as systemd stops it.
    fn end(&mut self) {
        kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM).unwrap();
        assert!(self.child.wait().unwrap().success(), "{}", self.log());
    }

    async fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds() {
            assert!(Instant::now() < deadline, "{what}: in vain\n{}", self.log());
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Started<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A socket at the daemon's path, which is an address of the sandbox.
fn bound(sandbox: &Sandbox) -> UnixListener {
    let mut listener = None;
    in_mounts_of(sandbox.pid(), || {
        fs::create_dir_all("/run/rrun").unwrap();
        listener = Some(UnixListener::bind("/run/rrun/rrun.sock").unwrap());
        Ok(())
    });
    listener.unwrap()
}

async fn version(endpoint: String) -> Result<(), tonic::Status> {
    let client = Client::connect(&endpoint).await?;
    client.version(VersionRequest::default()).await.map(drop)
}

#[tokio::test]
async fn a_socket_that_was_opened_before_the_daemon_is_served_and_outlives_it() {
    let sandbox = Sandbox::new().unwrap();
    let path = sandbox.run().join("rrun/rrun.sock");
    let endpoint = format!("unix://{}", path.display());
    let listener = bound(&sandbox);
    for _ in 0..2 {
        // Who connects before there is a daemon is served by the next one.
        let waiting = tokio::spawn(version(endpoint.clone()));
        tokio::task::yield_now().await;
        let stdin = OwnedFd::from(listener.try_clone().unwrap());
        let mut daemon = Started::spawn(ACTIVATED, stdin.into(), &[], &sandbox);
        waiting.await.unwrap().unwrap();
        daemon.end();
        assert!(path.exists(), "it is not the daemon's to remove");
    }
}

#[tokio::test]
async fn a_socket_at_another_path_than_the_configurations_is_refused() {
    let sandbox = Sandbox::new().unwrap();
    let elsewhere = UnixListener::bind(sandbox.root().join("elsewhere.sock")).unwrap();
    let mut daemon = Started::spawn(ACTIVATED, OwnedFd::from(elsewhere).into(), &[], &sandbox);
    assert_eq!(daemon.child.wait().unwrap().code(), Some(1));
    let log = daemon.log();
    assert!(log.contains("elsewhere.sock, and config: socket is /run/rrun/rrun.sock"), "{log}");
}

#[tokio::test]
async fn the_watchdog_hears_of_the_daemon_only_while_that_answers() {
    let sandbox = Sandbox::new().unwrap();
    let path = sandbox.root().join("notify.sock");
    let notified = UnixDatagram::bind(&path).unwrap();
    notified.set_nonblocking(true).unwrap();
    let path = path.display().to_string();
    let environment = [("NOTIFY_SOCKET", path.as_str()), ("WATCHDOG_USEC", "100000")];
    let mut daemon = Started::spawn("exec \"$0\"", Stdio::null(), &environment, &sandbox);
    let heard = || {
        let mut bytes = [0; 256];
        let count = notified.recv(&mut bytes).ok()?;
        Some(String::from_utf8(bytes[..count].to_vec()).unwrap().trim().to_owned())
    };
    let mut all = Vec::new();
    let mut hear = |what: &str| {
        all.extend(heard());
        all.iter().filter(|one| *one == what).count()
    };
    daemon.until("it is ready", || hear("READY=1") == 1).await;
    daemon.until("it answers", || hear("WATCHDOG=1") >= 3).await;
    // It runs, and nobody can connect.
    let socket = sandbox.run().join("rrun/rrun.sock");
    fs::rename(&socket, socket.with_extension("away")).unwrap();
    daemon.until("it says so", || daemon.log().contains("the watchdog is not told")).await;
    while heard().is_some() {}
    let failures = || daemon.log().matches("the watchdog is not told").count();
    let before = failures();
    daemon.until("it is asked again", || failures() >= before + 3).await;
    assert_eq!(heard(), None);
    fs::rename(socket.with_extension("away"), &socket).unwrap();
    daemon.until("it answers again", || heard().as_deref() == Some("WATCHDOG=1")).await;
    daemon.end();
    let mut last = Vec::new();
    while let Some(one) = heard() {
        last.push(one);
    }
    assert_eq!(last.last().map(String::as_str), Some("STOPPING=1"), "{last:?}");
}
