//! Clients by the thousand, and a daemon that may open few files.

use crate::suite::*;
use nix::sched::{CloneFlags, setns};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rrun_cri_api::v1::*;
use rrun_cri_api::{Client, Cri};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use tokio::task::JoinSet;

/// The daemon's limit: RLIMIT_NOFILE.
const FILES: usize = 512;

/// A daemon that may open [`FILES`] files.
async fn limited() -> Suite {
    Suite::start_after(&format!("ulimit -n {FILES}")).await
}

/// How many entries a folder of the daemon's in `/proc` has: `fd`, `task`.
fn count(suite: &Suite, folder: &str) -> usize {
    let pid = suite.harness.daemon().unwrap().pid();
    fs::read_dir(format!("/proc/{pid}/{folder}")).unwrap().count()
}

#[tokio::test]
async fn a_thousand_clients_that_never_speak_keep_nobody_from_being_served() {
    // This process has the other ends.
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    let suite = limited().await;
    let (pod, main) = suite.run("served", &["/bin/sleeper"]).await;
    let before = count(&suite, "fd");
    let socket = suite.harness.daemon().unwrap().socket().to_owned();
    let mut silent = Vec::new();
    for number in 0..1_000 {
        let mut stream = UnixStream::connect(&socket).unwrap();
        if number % 2 == 0 {
            // The beginning of HTTP/2's preface. Who is closed already says so.
            let _ = stream.write_all(b"PRI * HTTP/2.0\r\n");
        }
        silent.push(stream);
    }
    let client = Client::connect(&suite.harness.daemon().unwrap().endpoint()).await.unwrap();
    client.version(VersionRequest::default()).await.unwrap();
    assert_eq!(suite.exec(&main, &["/bin/true"], 10).await.unwrap().exit_code, 0);
    let (other, _) = suite.run("other", &["/bin/sleeper"]).await;
    suite.until("the rest is closed", async || count(&suite, "fd") < before + 100).await;
    suite.remove(&other).await;
    suite.remove(&pod).await;
    drop(silent);
    suite.assert_nothing_left();
}

#[tokio::test]
async fn a_thousand_execs_at_once_stay_within_the_daemons_descriptors_and_hold_up_nobody() {
    let suite = limited().await;
    let (pod, main) = suite.run("busy", &["/bin/sleeper"]).await;
    let mut execs = JoinSet::new();
    for _ in 0..1_000 {
        let client = suite.harness.client.clone();
        let cmd = vec!["/bin/sleeper".to_owned()];
        let request = ExecSyncRequest { container_id: main.clone(), cmd, timeout: 20 };
        execs.spawn(async move { client.exec_sync(request).await });
    }
    // Those that find no place are told so.
    let first = execs.join_next().await.unwrap().unwrap().unwrap_err();
    assert_eq!(first.code(), tonic::Code::ResourceExhausted, "{first}");
    assert!(first.message().contains(&format!("RLIMIT_NOFILE is {FILES}")), "{first}");
    assert!(count(&suite, "fd") < FILES && count(&suite, "task") < 100);
    let (other, its) = suite.run("other", &["/bin/sleeper"]).await;
    suite.stop_container(&its, 0).await;
    suite.remove(&other).await;
    // They end at their deadline.
    execs.shutdown().await;
    let again = async || suite.exec(&main, &["/bin/true"], 10).await.is_ok();
    suite.until("there is a place again", again).await;
    suite.remove(&pod).await;
    suite.assert_nothing_left();
}

/// Connects in the network of a process.
pub fn connect_in(pid: i64, to: SocketAddr) -> io::Result<TcpStream> {
    let netns = File::open(format!("/proc/{pid}/ns/net"))?;
    let inside = || {
        setns(&netns, CloneFlags::CLONE_NEWNET)?;
        TcpStream::connect(to)
    };
    std::thread::scope(|scope| scope.spawn(inside).join()).unwrap()
}

/// A client of a port-forward over a WebSocket.
struct Forwards(BufReader<TcpStream>);

impl Forwards {
    /// So many connections to port 8080 of a pod.
    async fn open(suite: &Suite, pod: &str, count: usize) -> Forwards {
        let request = PortForwardRequest { pod_sandbox_id: pod.into(), port: vec![8080; count] };
        let url = suite.harness.client.port_forward(request).await.unwrap().url;
        let (address, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
        let daemon = i64::from(suite.harness.daemon().unwrap().pid());
        let mut stream = connect_in(daemon, address.parse().unwrap()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let head = format!(
            "GET /{path} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Protocol: v4.channel.k8s.io\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            assert!(reader.read_line(&mut line).unwrap() > 0, "no answer");
        }
        Forwards(reader)
    }

    /// The next message but the first of each channel, its port of two bytes: the channel, and what it
    /// says. A server's frames are not masked.
    fn next(&mut self) -> (u8, String) {
        loop {
            let mut head = [0; 2];
            self.0.read_exact(&mut head).unwrap();
            let mut length = usize::from(head[1]);
            if length == 126 {
                self.0.read_exact(&mut head).unwrap();
                length = usize::from(u16::from_be_bytes(head));
            }
            let mut said = vec![0; length];
            self.0.read_exact(&mut said).unwrap();
            if let [channel, said @ ..] = &said[..]
                && said.len() > 2
            {
                return (*channel, String::from_utf8_lossy(said).into_owned());
            }
        }
    }

    /// What one of the connections is refused with.
    fn refusal(&mut self) -> String {
        let (channel, said) = self.next();
        assert_eq!(channel % 2, 1, "{said}");
        said
    }

    /// What the first connection's server answers.
    fn fetch(mut self) -> String {
        let question = b"\0GET / HTTP/1.0\r\n\r\n";
        let mut frame = vec![0x82, 0x80 | question.len() as u8, 0, 0, 0, 0];
        frame.extend(question);
        self.0.get_mut().write_all(&frame).unwrap();
        let (channel, said) = self.next();
        assert_eq!(channel, 0, "{said}");
        said
    }
}

#[tokio::test]
async fn connections_forwarded_to_one_pod_leave_places_for_those_to_others() {
    let suite = limited().await;
    let serve = ["/bin/serve", "8080", "hello"];
    let (greedy, main) = suite.run("greedy", &serve).await;
    let (other, its) = suite.run("other", &serve).await;
    for container in [&main, &its] {
        let pid = suite.pid(container).await;
        let listens = || connect_in(pid, (Ipv4Addr::LOCALHOST, 8080).into()).is_ok();
        suite.until("it listens", async || listens()).await;
    }
    let share = FILES / 16 / 2;
    let mut all = Forwards::open(&suite, &greedy, share + 1).await;
    let refused = all.refusal();
    let words = format!(
        "port-forward: {share} connections are forwarded to this pod, and no more may at once \
         (RLIMIT_NOFILE is {FILES})"
    );
    assert!(refused.contains(&words), "{refused}");
    assert!(Forwards::open(&suite, &other, 1).await.fetch().contains("hello"));
    drop(all);
    assert!(Forwards::open(&suite, &greedy, 1).await.fetch().contains("hello"));
    suite.remove(&other).await;
    suite.remove(&greedy).await;
    suite.assert_nothing_left();
}
