//! A connection to systemd: over the system's bus, or to its own socket where no bus runs.

use super::message::{self, Body, FIXED, Method, Received, Value};
use crate::{Context, Error, Kind, Result};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, UnixAddr, connect, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long one connection lasts, with all that is asked over it. systemd answers nobody while it
/// reads its units anew.
const PATIENCE: Duration = Duration::from_secs(30);

/// The system's bus, and the socket that systemd itself listens on for root.
const PLACES: [Place<'static>; 2] = [
    Place { path: "/run/dbus/system_bus_socket", has_bus: true },
    Place { path: "/run/systemd/private", has_bus: false },
];

const MANAGER: &str = "org.freedesktop.systemd1";

/// A socket to reach systemd at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) path: &'a str,
    /// Others are reached there too: one says hello first, and which signals one wants.
    pub(super) has_bus: bool,
}

/// A connection that systemd's manager is reached over.
#[derive(Debug)]
pub(super) struct Bus {
    stream: UnixStream,
    serial: u32,
    until: Instant,
    /// Received while something else was waited for.
    signals: VecDeque<(String, Body)>,
}

/// A refusal by systemd, or that it cannot be reached.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The name of the error, without what all of them begin with, and its words.
    Said(String, String),
    /// There was no answer.
    Broken(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Refusal {
        Refusal::Broken(error)
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Error {
        match refusal {
            Refusal::Broken(error) => error,
            Refusal::Said(name, words) => {
                let kind = match name.as_str() {
                    "NoSuchUnit" => Kind::NotFound,
                    "UnitExists" => Kind::Exists,
                    "InvalidArgs" | "PropertyReadOnly" => Kind::Invalid,
                    _ => Kind::Kernel,
                };
                Error::new(kind, format!("{words} ({name})")).context("systemd")
            }
        }
    }
}

impl Bus {
    /// Connects, and asks to be told of the ends of jobs.
    ///
    /// # Errors
    /// `Kernel`, with each socket that was tried and why it would not do.
    pub(super) fn connect() -> Result<Bus> {
        let mut words = Vec::new();
        for place in PLACES {
            match Bus::at(place) {
                Ok(bus) => return Ok(bus),
                Err(error) => words.push(error.to_string()),
            }
        }
        Err(Error::new(Kind::Kernel, words.join("; ")).context("systemd cannot be reached"))
    }

    pub(super) fn at(place: Place<'_>) -> Result<Bus> {
        let context = || format!("connect {}", place.path);
        let until = Instant::now() + PATIENCE;
        let stream = open(Path::new(place.path)).context(context)?;
        let mut bus = Bus { stream, serial: 0, until, signals: VecDeque::new() };
        bus.greet(place).context(context)?;
        Ok(bus)
    }

    fn greet(&mut self, place: Place<'_>) -> Result<()> {
        self.authenticate()?;
        if place.has_bus {
            let bus = |member| Method {
                destination: "org.freedesktop.DBus",
                path: "/org/freedesktop/DBus",
                interface: "org.freedesktop.DBus",
                member,
            };
            self.call(&bus("Hello"), &[])?;
            let rule = format!("type='signal',sender='{MANAGER}',member='JobRemoved'");
            self.call(&bus("AddMatch"), &[Value::Text(rule)])?;
        }
        self.manager("Subscribe", &[])?;
        Ok(())
    }

    /// By the credentials that the kernel tells of the caller.
    fn authenticate(&mut self) -> Result<()> {
        let uid = nix::unistd::geteuid().to_string();
        let uid: String = uid.bytes().map(|digit| format!("{digit:02x}")).collect();
        self.write(format!("\0AUTH EXTERNAL {uid}\r\n").as_bytes())?;
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let mut byte = [0];
            self.read(&mut byte)?;
            line.push(byte[0]);
            if line.len() > 512 {
                return Err(Error::new(Kind::Kernel, "no D-Bus is spoken there"));
            }
        }
        if !line.starts_with(b"OK ") {
            let said = String::from_utf8_lossy(&line).trim().to_owned();
            return Err(Error::new(Kind::Kernel, format!("not let in: {said}")));
        }
        self.write(b"BEGIN\r\n")
    }

    /// Calls a method of systemd's manager.
    pub(super) fn manager(&mut self, member: &str, arguments: &[Value]) -> Result<Body, Refusal> {
        let method = Method {
            destination: MANAGER,
            path: "/org/freedesktop/systemd1",
            interface: "org.freedesktop.systemd1.Manager",
            member,
        };
        self.call(&method, arguments)
    }

    /// A property of a unit that is a text.
    pub(super) fn text_of(&mut self, unit: &str, property: &str) -> Result<String, Refusal> {
        let path = self.manager("GetUnit", &[Value::Text(unit.to_owned())])?;
        let path = path.reader().text()?;
        let method = Method {
            destination: MANAGER,
            path: &path,
            interface: "org.freedesktop.DBus.Properties",
            member: "Get",
        };
        let interface = "org.freedesktop.systemd1.Unit".to_owned();
        let body =
            self.call(&method, &[Value::Text(interface), Value::Text(property.to_owned())])?;
        let mut reader = body.reader();
        match reader.signature()?.as_str() {
            "s" => Ok(reader.text()?),
            other => {
                Err(Error::new(Kind::Kernel, format!("{property} is {other:?}, no text")).into())
            }
        }
    }

    /// Waits for the end of the job that a call has answered with, and gives its result: `done`
    /// when all went well.
    pub(super) fn end_of_job(&mut self, answer: &Body) -> Result<String> {
        let job = answer.reader().text()?;
        loop {
            let (member, body) = match self.signals.pop_front() {
                Some(signal) => signal,
                None => match self.receive().context(|| format!("wait for {job}"))? {
                    Received::Signal(member, body) => (member, body),
                    _ => continue,
                },
            };
            if member != "JobRemoved" {
                continue;
            }
            let mut reader = body.reader();
            let (_id, ended, _unit) = (reader.u32()?, reader.text()?, reader.text()?);
            if ended == job {
                return reader.text();
            }
        }
    }

    fn call(&mut self, method: &Method<'_>, arguments: &[Value]) -> Result<Body, Refusal> {
        self.serial += 1;
        let serial = self.serial;
        let context = || format!("{} {}", method.destination, method.member);
        self.write(&message::call(method, arguments, serial)).context(context)?;
        loop {
            match self.receive().context(context)? {
                Received::Reply(to, body) if to == serial => return Ok(body),
                Received::Error(to, name, words) if to == serial => {
                    let short = name.rsplit('.').next().unwrap_or_default().to_owned();
                    return Err(Refusal::Said(short, words));
                }
                Received::Signal(member, body) => self.signals.push_back((member, body)),
                Received::Reply(..) | Received::Error(..) | Received::Other => {}
            }
        }
    }

    fn receive(&mut self) -> Result<Received> {
        let mut fixed = [0; FIXED];
        self.read(&mut fixed)?;
        let mut rest = vec![0; message::length_after(&fixed)?];
        self.read(&mut rest)?;
        message::read(&fixed, &rest)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.set_write_timeout(Some(self.remaining_time()?))?;
        self.stream.write_all(bytes).map_err(late)
    }

    /// Fills the buffer, in the time that is left.
    fn read(&mut self, mut buffer: &mut [u8]) -> Result<()> {
        while !buffer.is_empty() {
            self.stream.set_read_timeout(Some(self.remaining_time()?))?;
            match self.stream.read(buffer) {
                Ok(0) => return Err(Error::new(Kind::Kernel, "the connection was closed")),
                Ok(count) => buffer = &mut buffer[count..],
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(late(error)),
            }
        }
        Ok(())
    }

    fn remaining_time(&self) -> Result<Duration> {
        let remaining = self.until.saturating_duration_since(Instant::now());
        if remaining.is_zero() { Err(no_answer()) } else { Ok(remaining) }
    }
}

/// As std's, but with an end: a listener that takes nobody keeps connect(2) waiting.
fn open(path: &Path) -> Result<UnixStream> {
    let fd = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&fd, sockopt::SendTimeout, &TimeVal::seconds(PATIENCE.as_secs() as i64))?;
    connect(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(fd.into())
}

fn late(error: std::io::Error) -> Error {
    match error.kind() {
        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut => no_answer(),
        _ => error.into(),
    }
}

fn no_answer() -> Error {
    Error::new(Kind::Kernel, format!("no answer in {PATIENCE:?}"))
}
