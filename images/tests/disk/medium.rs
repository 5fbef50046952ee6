//! What a disk has on it, in memory: every write and every flush is on record, and any of them can
//! be made to fail.

use nix::errno::Errno;

/// What is written whole or not at all when the power goes.
pub const BLOCK: usize = 4096;

/// What is asked of the disk.
#[derive(Clone, Copy, Debug)]
pub enum Request<'a> {
    Read { at: usize, length: usize },
    Write(&'a [u8]),
    Flush,
}

/// What was done, in its order.
#[derive(Clone, Debug)]
pub enum Event {
    Write {
        at: usize,
        bytes: Vec<u8>,
    },
    /// What was written before is on the disk, whatever comes.
    Flush,
    /// Of the test's own.
    Mark(Mark),
}

/// What the test does meanwhile, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    Begin(usize),
    End(usize),
}

/// Tells whether a request fails.
pub type Fault = Box<dyn FnMut(&Request<'_>) -> bool + Send>;

pub struct Medium {
    bytes: Vec<u8>,
    /// What came since the medium was made, or since it was asked last.
    events: Vec<Event>,
    fault: Option<Fault>,
}

impl Medium {
    /// With this on it.
    pub fn new(bytes: Vec<u8>) -> Medium {
        Medium { bytes, events: Vec::new(), fault: None }
    }

    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    pub fn mark(&mut self, mark: Mark) {
        self.events.push(Event::Mark(mark));
    }

    /// From now on what this says fails, with `EIO`.
    pub fn fail(&mut self, fault: impl FnMut(&Request<'_>) -> bool + Send + 'static) {
        self.fault = Some(Box::new(fault));
    }

    /// Nothing fails any more.
    pub fn heal(&mut self) {
        self.fault = None;
    }

    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn ask(&mut self, request: &Request<'_>) -> Result<(), Errno> {
        match self.fault.as_mut().is_some_and(|fault| fault(request)) {
            true => Err(Errno::EIO),
            false => Ok(()),
        }
    }

    pub fn write(&mut self, at: usize, bytes: &[u8]) -> Result<(), Errno> {
        self.ask(&Request::Write(bytes))?;
        self.bytes.get_mut(at..at + bytes.len()).ok_or(Errno::ENOSPC)?.copy_from_slice(bytes);
        self.events.push(Event::Write { at, bytes: bytes.to_vec() });
        Ok(())
    }

    pub fn flush(&mut self) -> Result<(), Errno> {
        self.ask(&Request::Flush)?;
        self.events.push(Event::Flush);
        Ok(())
    }
}
