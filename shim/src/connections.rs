//! All daemons that are connected.

use crate::connection::{Connection, Received};
use crate::poll::{Key, Poll, Token};
use rrun_shim_protocol::{Event, Reply};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;

/// Who waits for an answer: connection and number of the request.
pub type Requester = (Key, u32);

/// The table of connections. One that breaks while it is written to is taken out at once; whoever
/// looks after what lived by it asks [`Connections::take_closed`].
pub struct Connections {
    poll: Rc<Poll>,
    all: BTreeMap<Key, Connection>,
    closed: Vec<Key>,
    last_is_gone: bool,
}

impl Connections {
    /// None yet.
    pub fn new(poll: Rc<Poll>) -> Connections {
        Connections { poll, all: BTreeMap::new(), closed: Vec::new(), last_is_gone: false }
    }

    /// Nobody is connected.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Takes over an accepted socket.
    pub fn add(&mut self, key: Key, stream: UnixStream) {
        let Ok(connection) = Connection::new(stream) else { return };
        if self.poll.add(&connection, Token::Connection(key)).is_ok() {
            self.all.insert(key, connection);
        }
    }

    /// Reads from a connection.
    pub fn read(&mut self, key: Key) -> Option<Received> {
        self.all.get_mut(&key).map(Connection::read)
    }

    /// The version that was agreed on, 0 before.
    pub fn version(&self, key: Key) -> u16 {
        self.all.get(&key).map_or(0, |connection| connection.version)
    }

    /// Sets the version that was agreed on.
    pub fn agree(&mut self, key: Key, version: u16) {
        if let Some(connection) = self.all.get_mut(&key) {
            connection.version = version;
        }
    }

    /// Answers a request; a daemon that is gone needs none.
    pub fn answer(&mut self, (key, number): Requester, reply: &Reply, fds: Vec<OwnedFd>) {
        if let Some(connection) = self.all.get_mut(&key) {
            connection.reply(number, reply, fds);
            self.flush(key);
        }
    }

    /// Answers all of them alike.
    pub fn answer_all(&mut self, askers: Vec<Requester>, reply: &Reply) {
        for asker in askers {
            self.answer(asker, reply, Vec::new());
        }
    }

    /// Answers for the last time: the shim ends when it is said, or when nobody is there.
    pub fn answer_and_end(&mut self, askers: Vec<Requester>, reply: &Reply) {
        self.last_is_gone |= !askers.iter().any(|(key, _)| self.all.contains_key(key));
        for (key, _) in &askers {
            if let Some(connection) = self.all.get_mut(key) {
                connection.is_last = true;
            }
        }
        self.answer_all(askers, reply);
    }

    /// The last answer is said.
    pub fn are_over(&self) -> bool {
        self.last_is_gone
    }

    /// Tells one of them.
    pub fn tell(&mut self, key: Key, event: &Event) {
        if let Some(connection) = self.all.get_mut(&key) {
            connection.event(event);
            self.flush(key);
        }
    }

    /// Tells all of them.
    pub fn tell_all(&mut self, event: &Event) {
        for key in self.all.keys().copied().collect::<Vec<_>>() {
            self.tell(key, event);
        }
    }

    /// Sends what waits for this connection, and hears when there is room for more.
    pub fn flush(&mut self, key: Key) {
        let Some(connection) = self.all.get_mut(&key) else { return };
        match connection.flush() {
            Some(more) => {
                self.last_is_gone |= connection.is_last && !more;
                self.poll.watch_writable(connection.as_fd(), Token::Connection(key), more);
            }
            None => self.close(key),
        }
    }

    /// Ends a connection.
    pub fn close(&mut self, key: Key) {
        if let Some(connection) = self.all.remove(&key) {
            self.last_is_gone |= connection.is_last;
            self.poll.remove(&connection);
            self.closed.push(key);
        }
    }

    /// Those that have ended since the last call.
    pub fn take_closed(&mut self) -> Vec<Key> {
        std::mem::take(&mut self.closed)
    }
}
