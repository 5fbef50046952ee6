//! The daemon's end of a connection to a shim.

use crate::error::{Error, Kind};
use crate::frame::{Decoder, Frame, FrameKind, encode};
use crate::message::{Event, Exec, Reply, Request};
use crate::report::Exit;
use rrun_error::reason;
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot, watch};

/// Events of one connection, in order; the end of the stream is the end of the connection.
pub type Events = mpsc::UnboundedReceiver<Event>;

type Answer = (Reply, Vec<OwnedFd>);

/// A connection to a shim; clones share it. It ends when the last clone is dropped, or when the
/// shim does, and then kills the execs that were started over it.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
    outgoing: mpsc::Sender<(Vec<u8>, Vec<OwnedFd>)>,
    /// The version that rules this connection.
    version: u16,
    pid: i32,
}

#[derive(Default)]
struct Shared {
    number: AtomicU32,
    waiting: Mutex<Waiting>,
}

/// Who waits for what. Locked for single insertions and removals only.
#[derive(Default)]
struct Waiting {
    closed: bool,
    replies: HashMap<u32, oneshot::Sender<Result<Answer, Error>>>,
    execs: HashMap<u64, watch::Sender<Option<Exit>>>,
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An exec that runs.
pub struct Running {
    /// Process id, seen from the host.
    pub pid: i32,
    /// Master of its terminal, if it has one.
    pub console: Option<OwnedFd>,
    /// How it ended. The sender is dropped then, and when the shim is gone.
    pub exit: watch::Receiver<Option<Exit>>,
}

impl Client {
    /// Connects to the shim at `socket` and agrees on a version.
    ///
    /// # Errors
    /// [`Kind::Gone`] when nobody listens, [`Kind::Protocol`] when there is no common version.
    pub async fn connect(socket: &Path) -> Result<(Client, Events), Error> {
        let place = socket.display();
        let stream = UnixStream::connect(socket)
            .await
            .map_err(|e| Error::new(Kind::Gone, format!("connect {place}: {}", reason(&e))))?;
        let stream = Arc::new(stream);
        let shared = Arc::new(Shared::default());
        let (outgoing, queue) = mpsc::channel(64);
        let (events, receiver) = mpsc::unbounded_channel();
        tokio::spawn(read(Arc::clone(&stream), Arc::clone(&shared), events));
        tokio::spawn(write(stream, queue));
        let mut client = Client { shared, outgoing, version: 0, pid: 0 };
        let hello = Request::Hello { oldest: crate::OLDEST, newest: crate::VERSION };
        match client.call(hello, Vec::new()).await?.0 {
            Reply::Hello { version, pid, .. }
                if (crate::OLDEST..=crate::VERSION).contains(&version) =>
            {
                client.version = version;
                client.pid = pid;
                Ok((client, receiver))
            }
            other => Err(Error::new(Kind::Protocol, format!("hello {place}: {other:?}"))),
        }
    }

    /// The version that rules this connection.
    pub fn version(&self) -> u16 {
        self.version
    }

    /// The shim's process id.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Asks, and waits for the answer. Dropping the future drops the answer, not the work.
    ///
    /// # Errors
    /// [`Kind::Refused`] with what the shim said, [`Kind::Gone`] when the connection ends first,
    /// [`Kind::Older`] for a request that the connection's version does not have,
    /// [`Kind::Protocol`] when the answer has something in it that this code does not know.
    pub async fn call(&self, request: Request, fds: Vec<OwnedFd>) -> Result<Answer, Error> {
        if request.since() > self.version {
            return Err(Error::new(Kind::Older, "the pod's shim is of a release without this"));
        }
        self.ask(request, fds, None).await
    }

    async fn ask(
        &self,
        request: Request,
        fds: Vec<OwnedFd>,
        exec: Option<(u64, watch::Sender<Option<Exit>>)>,
    ) -> Result<Answer, Error> {
        let number = self.shared.number.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        let frame = encode(FrameKind::Request, number, &request, fds.len())?;
        // Who is dropped while it waits for this has asked nothing and leaves nothing here.
        let place = self.outgoing.reserve().await.map_err(|_| gone())?;
        let (sender, receiver) = oneshot::channel();
        {
            let mut waiting = self.shared.waiting();
            if waiting.closed {
                return Err(gone());
            }
            waiting.replies.insert(number, sender);
            waiting.execs.extend(exec);
        }
        place.send((frame, fds));
        match receiver.await.map_err(|_| gone())?? {
            (Reply::Error(error), _) => Err(Error::new(Kind::Refused(error), "shim")),
            answer => Ok(answer),
        }
    }

    /// Starts an exec. `exec.exec` must not be in use on this connection. After a future that is
    /// dropped the exec may run, or may yet: a [`Request::KillExec`] comes after it.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn exec(&self, exec: Exec, stdio: Vec<OwnedFd>) -> Result<Running, Error> {
        let (sender, exit) = watch::channel(None);
        let number = exec.exec;
        let answer = self.ask(Request::Exec(exec), stdio, Some((number, sender))).await;
        match answer {
            Ok((Reply::ExecStarted { pid }, mut fds)) => {
                Ok(Running { pid, console: fds.pop(), exit })
            }
            other => {
                self.shared.waiting().execs.remove(&number);
                let (reply, _) = other?;
                Err(Error::new(Kind::Protocol, format!("exec: {reply:?}")))
            }
        }
    }
}

fn gone() -> Error {
    Error::new(Kind::Gone, "the shim is gone")
}

async fn write(stream: Arc<UnixStream>, mut queue: mpsc::Receiver<(Vec<u8>, Vec<OwnedFd>)>) {
    while let Some((bytes, mut fds)) = queue.recv().await {
        let mut done = 0;
        while done < bytes.len() {
            let borrowed: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
            let some = |()| Ok(rrun_sys::fdpass::send(stream.as_fd(), &bytes[done..], &borrowed)?);
            match stream.async_io(Interest::WRITABLE, || some(())).await {
                Ok(taken) => done += taken,
                // The reader sees the end of the connection and tells everybody.
                Err(_) => return,
            }
            fds.clear();
        }
    }
    // The last client is gone: the shim must see the end although the reader still holds on.
    let _ = nix::sys::socket::shutdown(
        std::os::fd::AsRawFd::as_raw_fd(&stream.as_fd()),
        nix::sys::socket::Shutdown::Write,
    );
}

async fn read(stream: Arc<UnixStream>, shared: Arc<Shared>, events: mpsc::UnboundedSender<Event>) {
    let mut decoder = Decoder::default();
    while let Ok(true) = read_some(&stream, &mut decoder).await {
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => deliver(frame, &shared, &events),
                Ok(None) => break,
                Err(_) => return close(&shared),
            }
        }
    }
    close(&shared);
}

/// Reads once; false at the end of the stream.
async fn read_some(stream: &UnixStream, decoder: &mut Decoder) -> io::Result<bool> {
    let read = || {
        // Not across the wait: there is one that waits for each pod.
        let mut buffer = [0; 16 << 10];
        let mut fds = Vec::new();
        let count = rrun_sys::fdpass::receive(stream.as_fd(), &mut buffer, &mut fds)?;
        decoder.feed(&buffer[..count], fds);
        Ok(count > 0)
    };
    stream.async_io(Interest::READABLE, read).await
}

fn deliver(frame: Frame, shared: &Shared, events: &mpsc::UnboundedSender<Event>) {
    match frame.carries {
        FrameKind::Reply => {
            let waiter = shared.waiting().replies.remove(&frame.number);
            if let Some(waiter) = waiter {
                let _ = waiter.send(frame.message().map(|reply| (reply, frame.fds)));
            }
        }
        FrameKind::Event => match frame.message() {
            Ok(Event::ExecExited { exec, exit }) => {
                let waiter = shared.waiting().execs.remove(&exec);
                // One that was started by a plain call is told as any other event.
                let _ = match waiter {
                    Some(waiter) => waiter.send(Some(exit)).is_ok(),
                    None => events.send(Event::ExecExited { exec, exit }).is_ok(),
                };
            }
            Ok(event) => {
                let _ = events.send(event);
            }
            Err(_) => {}
        },
        FrameKind::Request | FrameKind::Unknown => {}
    }
}

/// Wakes everybody who waits: dropping a sender is the answer "gone".
fn close(shared: &Shared) {
    let mut waiting = shared.waiting();
    waiting.closed = true;
    waiting.replies.clear();
    waiting.execs.clear();
}
