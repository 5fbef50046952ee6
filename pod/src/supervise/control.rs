//! How others reach the process that runs a pod: two sockets for root alone.
//!
//! `<uid>.cri` serves the runtime with this pod in it, if that runtime is in the process.
//! `<uid>.stop` takes a request ([`Request`]) and answers one line when that is done. Until then it says
//! `goes on` every 5 seconds: one that says nothing for long is not waited for, as its process may have
//! been stopped (SIGSTOP). Whoever uses the runtime sends `watch` here, to which nothing else is said, and
//! so learns it as well.

mod request;

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rrun_cri_api::server;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tonic::service::Routes;

use super::store::{LockedPod, Store};
use crate::error::{Context, Error, Kind, Result};
use crate::ids::PodUid;
pub use request::Request;

/// How long after the end of a pod whoever asked for it waits for what is still to be done.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// How often whoever asked is told that it goes on.
const BEAT: Duration = Duration::from_secs(5);

/// What is said then.
const GOES_ON: &str = "goes on";

/// Asks for nothing but that.
const WATCH: &str = "watch";

/// How long whoever asked waits before a person is told what for.
const QUIET: Duration = Duration::from_secs(10);

/// How long whoever asked waits for a line.
const SILENCE: Duration = Duration::from_secs(30);

/// The longest line either way, in bytes.
const LINE: u64 = 4096;

/// A request, and where its answer goes: `Ok` when it is done.
#[derive(Debug)]
pub struct Asked {
    /// What is wanted.
    pub request: Request,
    answer: oneshot::Sender<String>,
    written: oneshot::Receiver<()>,
}

impl Asked {
    /// Answers, and waits until the answer is written or the other side is gone.
    pub async fn answer(self, done: &Result<()>) {
        let text = done.as_ref().map_or_else(|e| format!("error: {e}"), |()| "done".to_owned());
        let _ = self.answer.send(text);
        let _ = self.written.await;
    }
}

/// Answers those that asked with what becomes of `work`. If that takes long, they are told so, and it
/// goes on.
///
/// # Errors
/// Those of `work`.
pub async fn answer_with(asked: Vec<Asked>, work: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::pin!(work);
    let done = timeout(PATIENCE, &mut work).await.ok();
    let answer = done.clone().unwrap_or_else(|| Err(late()));
    for one in asked {
        one.answer(&answer).await;
    }
    match done {
        Some(done) => done,
        None => work.await,
    }
}

/// What is said when a disk may hang.
pub(super) fn late() -> Error {
    let text = format!(
        "it has ended, and {} s later its records, volumes or logs are not written or removed; \
         that goes on",
        PATIENCE.as_secs()
    );
    Error::new(Kind::Timeout, text)
}

/// The open sockets; dropped, they are closed and removed.
#[derive(Debug)]
pub struct Sockets {
    paths: Vec<PathBuf>,
    tasks: Vec<JoinHandle<()>>,
}

/// Listens for others. Their requests arrive at the receiver.
///
/// # Errors
/// Those of the sockets.
pub async fn listen(
    store: &Store,
    pod: &LockedPod,
    cri: Option<Routes>,
) -> Result<(Sockets, mpsc::Receiver<Asked>)> {
    pod.announce().await?;
    let mut sockets = Sockets { paths: Vec::new(), tasks: Vec::new() };
    if let Some(routes) = cri {
        let calls = sockets.bind(store.socket(&pod.entry.uid, "cri"))?;
        sockets.tasks.push(tokio::spawn(async move {
            let served = server::serve(calls, routes, std::future::pending()).await;
            if let Err(e) = served {
                tracing::error!("serve the runtime to other processes: {e}");
            }
        }));
    }
    let requests = sockets.bind(store.socket(&pod.entry.uid, "stop"))?;
    let (sender, receiver) = mpsc::channel(8);
    sockets.tasks.push(tokio::spawn(async move {
        loop {
            match requests.accept().await {
                Ok((stream, _)) => drop(tokio::spawn(converse(stream, sender.clone()))),
                // Want of descriptors passes.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }));
    Ok((sockets, receiver))
}

impl Sockets {
    /// The pod's lock says that nobody is behind a socket that is there; its folder is root's.
    fn bind(&mut self, path: PathBuf) -> Result<UnixListener> {
        let _ = fs::remove_file(&path);
        let listener =
            UnixListener::bind(&path).context(|| format!("listen on {}", path.display()));
        self.paths.push(path);
        listener
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        for path in &self.paths {
            let _ = fs::remove_file(path);
        }
    }
}

async fn converse(stream: UnixStream, requests: mpsc::Sender<Asked>) {
    let (input, mut output) = stream.into_split();
    let mut line = String::new();
    let mut input = BufReader::new(input.take(LINE));
    if input.read_line(&mut line).await.is_err() {
        return;
    }
    if line.trim_end() == WATCH {
        return beat(output).await;
    }
    let (_written, written) = oneshot::channel();
    let work = async {
        let request = match Request::read(line.trim_end(), &mut input).await {
            Ok(request) => request,
            Err(e) => return format!("error: {e}"),
        };
        let (answer, answered) = oneshot::channel();
        let _ = requests.send(Asked { request, answer, written }).await;
        answered.await.unwrap_or_else(|_| "error: the process ended".to_owned())
    };
    tokio::pin!(work);
    let text = loop {
        match timeout(BEAT, &mut work).await {
            Ok(text) => break text,
            // What was asked for goes on without whoever asked.
            Err(_) => drop(output.write_all(format!("{GOES_ON}\n").as_bytes()).await),
        }
    };
    let _ = output.write_all(format!("{text}\n").as_bytes()).await;
}

/// Says that this process goes on, as long as somebody listens.
async fn beat(mut output: OwnedWriteHalf) {
    while output.write_all(format!("{GOES_ON}\n").as_bytes()).await.is_ok() {
        tokio::time::sleep(BEAT).await;
    }
}

/// Asks the process that runs the pod for something and waits until it is done. `tell` gets words
/// for a person when that takes long.
///
/// # Errors
/// Its answer, or that it does not answer: `Timeout` when it says nothing for 30 s, `Cancelled` when it
/// ends instead.
pub async fn ask(store: &Store, uid: &PodUid, request: Request, tell: impl Fn(&str)) -> Result<()> {
    let path = store.socket(uid, "stop");
    let stream = UnixStream::connect(&path).await;
    let stream = stream.context(|| format!("connect to {}", path.display()))?;
    let line = exchange(stream, request, tell).await?;
    match line.trim_end() {
        "done" => Ok(()),
        "" => Err(Error::new(Kind::Cancelled, "the process that runs the pod ended")),
        other => Err(Error::new(Kind::Unavailable, other.trim_start_matches("error: "))),
    }
}

/// Does `work`, which uses the runtime in the process that runs the pod, for as long as that process
/// goes on. One that has ended has closed what `work` uses, and is left to it. `tell` gets words for
/// a person when it is not heard of.
///
/// # Errors
/// `Timeout` when it has said nothing for 30 s; that it cannot be spoken to.
pub async fn alongside<T>(
    store: &Store,
    uid: &PodUid,
    work: impl Future<Output = T>,
    tell: impl Fn(&str),
) -> Result<T> {
    let path = store.socket(uid, "stop");
    let silence = async {
        match hear(&path, tell).await {
            Ok(()) => std::future::pending().await,
            Err(e) => e,
        }
    };
    tokio::select! {
        done = work => Ok(done),
        silent = silence => Err(silent),
    }
}

/// Waits until the process behind a socket has ended.
async fn hear(path: &Path, tell: impl Fn(&str)) -> Result<()> {
    let stream = match UnixStream::connect(path).await {
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
            return Ok(());
        }
        stream => stream.context(|| format!("connect to {}", path.display()))?,
    };
    let mut runner = Runner::asked(stream, &format!("{WATCH}\n")).await?;
    while !runner.line(&tell).await?.is_empty() {}
    Ok(())
}

/// The answer to a request; empty when the other side has closed.
async fn exchange(stream: UnixStream, request: Request, tell: impl Fn(&str)) -> Result<String> {
    let mut runner = Runner::asked(stream, &request.message()?).await?;
    let mut beats = 0_u64;
    loop {
        let line = runner.line(&tell).await?;
        if line.trim_end() != GOES_ON {
            return Ok(line);
        }
        beats += 1;
        if beats == 2 {
            tell(request.waits());
        }
    }
}

/// The process that runs a pod, as others hear it.
struct Runner {
    input: BufReader<UnixStream>,
    pid: Option<i32>,
}

impl Runner {
    /// Sends it a line.
    async fn asked(mut stream: UnixStream, line: &str) -> Result<Runner> {
        // Of whoever listens, in our PID namespace.
        let pid = stream.peer_cred().ok().and_then(|peer| peer.pid()).filter(|pid| *pid > 0);
        match stream.write_all(line.as_bytes()).await {
            // It has just ended: to be seen when its answer is read.
            Err(e) if e.kind() == ErrorKind::BrokenPipe => {}
            written => written.context(|| "write")?,
        }
        Ok(Runner { input: BufReader::new(stream), pid })
    }

    /// The next line; empty when it has closed.
    async fn line(&mut self, tell: impl Fn(&str)) -> Result<String> {
        let mut line = String::new();
        let done = {
            let mut input = (&mut self.input).take(LINE);
            let read = input.read_line(&mut line);
            tokio::pin!(read);
            match timeout(QUIET, &mut read).await {
                Ok(read) => Ok(read),
                Err(_) => {
                    tell(&silent(self.pid, "does not answer yet"));
                    timeout(SILENCE - QUIET, &mut read).await
                }
            }
        };
        match done {
            Ok(Err(e)) if e.kind() == ErrorKind::ConnectionReset => Ok(String::new()),
            Ok(read) => read.context(|| "read").map(|_| line),
            Err(_) => Err(Error::new(Kind::Timeout, silent(self.pid, "does not answer"))),
        }
    }
}

/// Words for one that says nothing, and why it does not where that can be seen.
fn silent(pid: Option<i32>, words: &str) -> String {
    match pid {
        Some(pid) if is_stopped(pid) => {
            format!("the rrun that runs it (pid {pid}) {words}: it is stopped")
        }
        Some(pid) => format!("the rrun that runs it (pid {pid}) {words}"),
        None => format!("the rrun that runs it {words}"),
    }
}

/// By a signal or by a debugger: proc_pid_stat(5).
fn is_stopped(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    matches!(state, Some('T' | 't'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervise::definition::Definition;
    use std::cell::RefCell;

    #[tokio::test]
    async fn a_definition_arrives_whole_however_long_it_is() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let definition = |length: usize| {
            fs::write(file.path(), "# ".to_owned() + &"x".repeat(length)).unwrap();
            Definition::read(file.path(), &[], None).unwrap()
        };
        for length in [0, LINE as usize, 1 << 20] {
            let asks = Request::Apply(Box::new(definition(length)));
            let (ours, theirs) = UnixStream::pair().unwrap();
            let (sender, mut requests) = mpsc::channel::<Asked>(1);
            let takes = async {
                let asked = requests.recv().await.unwrap();
                assert_eq!(asked.request, asks);
                asked.answer(&Err(Error::new(Kind::Invalid, "not today"))).await;
            };
            let asked = exchange(ours, asks.clone(), |_| ());
            let (line, ..) = tokio::join!(asked, converse(theirs, sender), takes);
            assert_eq!(line.unwrap(), "error: not today\n");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_that_says_nothing_is_named_and_then_not_waited_for() {
        // Connected, and nobody reads: as where the process was stopped.
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let told = RefCell::new(Vec::new());
        let tell = |words: &str| told.borrow_mut().push(words.to_owned());
        let error = exchange(ours, Request::Stop(None), tell).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Timeout);
        let words = format!("the rrun that runs it (pid {}) does not answer", std::process::id());
        assert_eq!(error.to_string(), words);
        assert_eq!(told.into_inner(), [format!("{words} yet")]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pod_with_a_long_grace_is_waited_for_as_long_as_its_process_goes_on() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (sender, mut requests) = mpsc::channel::<Asked>(1);
        let ends = async {
            let asked = requests.recv().await.unwrap();
            tokio::time::sleep(SILENCE * 4).await;
            asked.answer(&Ok(())).await;
        };
        let told = RefCell::new(Vec::new());
        let tell = |words: &str| told.borrow_mut().push(words.to_owned());
        let asks = exchange(ours, Request::Stop(Some(120)), tell);
        // One task: time that is not real stands still while something is to be read.
        let (line, ..) = tokio::join!(asks, converse(theirs, sender), ends);
        assert_eq!(line.unwrap(), "done\n");
        assert_eq!(told.into_inner(), ["the pod is still being ended"]);
    }
    /// A pod's control socket, and what is done alongside.
    async fn through<T>(
        listening: impl Future<Output = T>,
        dir: &tempfile::TempDir,
        work: impl Future<Output = ()>,
    ) -> Result<()> {
        let store = Store::new(dir.path().join("root"), dir.path().to_owned());
        let uid = PodUid::parse("u-1").unwrap();
        let done = alongside(&store, &uid, work, |_| ());
        // One task: time that is not real stands still while something is to be read.
        tokio::select! {
            done = done => done,
            _ = listening => unreachable!("it listens for ever"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_goes_through_a_process_is_given_up_when_that_says_nothing_and_not_before() {
        let dir = tempfile::tempdir().unwrap();
        let long = || tokio::time::sleep(SILENCE * 4);
        let gone = through(std::future::pending::<()>(), &dir, long()).await;
        assert_eq!(gone, Ok(()), "nobody listens: what is used tells so");
        let listener = UnixListener::bind(dir.path().join("u-1.stop")).unwrap();
        let goes_on = async {
            let (stream, _) = listener.accept().await.unwrap();
            converse(stream, mpsc::channel(1).0).await;
            std::future::pending::<()>().await;
        };
        assert_eq!(through(goes_on, &dir, long()).await, Ok(()));
        // Said once that it goes on, and then stopped.
        let stops = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"goes on\n").await.unwrap();
            std::future::pending::<()>().await;
        };
        let error = through(stops, &dir, long()).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Timeout);
        assert!(error.to_string().ends_with(") does not answer"), "{error}");
        let ends = async {
            drop(listener.accept().await.unwrap());
            std::future::pending::<()>().await;
        };
        assert_eq!(through(ends, &dir, long()).await, Ok(()));
    }

    #[test]
    fn a_process_that_is_stopped_is_known_by_its_state() {
        use nix::sys::signal::{Signal, kill};
        use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = nix::unistd::Pid::from_raw(child.id() as i32);
        assert!(!is_stopped(pid.as_raw()));
        kill(pid, Signal::SIGSTOP).unwrap();
        let stopped = waitpid(pid, Some(WaitPidFlag::WUNTRACED)).unwrap();
        assert_eq!(stopped, WaitStatus::Stopped(pid, Signal::SIGSTOP));
        let words = silent(Some(pid.as_raw()), "does not answer");
        assert_eq!(
            words,
            format!("the rrun that runs it (pid {pid}) does not answer: it is stopped")
        );
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
