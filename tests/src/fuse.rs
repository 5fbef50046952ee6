//! A FUSE file system that answers whom the test wants: what asks it otherwise hangs, and cannot
//! even be killed.
//!
//! It has one folder, `data`. Nothing of it is cached: every look is a request.
#![allow(clippy::unwrap_used, reason = "it is part of a test, which may panic")]

use crate::sandbox::in_mounts_of;
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// fuse.h: the opcode of the greeting, and the version that is answered.
const INIT: u32 = 26;
const VERSION: [u32; 2] = [7, 31];
/// The opcodes of what `stat` asks.
const LOOKUP: u32 = 1;
const GETATTR: u32 = 3;
/// FORGET, INTERRUPT and BATCH_FORGET have no answer.
const UNANSWERED: [u32; 3] = [2, 36, 42];

/// Whom the server answers, until somebody else has asked: from then on it answers nobody.
#[derive(Clone, Copy, Debug)]
pub enum Answered {
    /// None at all.
    Nobody,
    /// The threads of one process.
    Process(u32),
    /// All of them.
    Everybody,
}

/// The mount and its server.
pub struct Fuse {
    at: PathBuf,
    /// A process in the mount namespace that it is in.
    pid: u32,
    hangs: Arc<AtomicBool>,
    unanswered: Arc<AtomicBool>,
}

impl Fuse {
    /// Mounts it for the process `pid` at a folder that is made.
    pub fn mount(at: &Path, pid: u32, answered: Answered) -> Fuse {
        let device = OpenOptions::new().read(true).write(true).open("/dev/fuse").unwrap();
        let options =
            format!("fd={},rootmode=40000,user_id=0,group_id=0,allow_other", device.as_raw_fd());
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        in_mounts_of(pid, || {
            fs::create_dir(at).unwrap();
            mount(Some(at), at, Some("fuse"), flags, Some(&*options))
        });
        let [hangs, unanswered] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
        let fuse = Fuse {
            at: at.to_owned(),
            pid,
            hangs: Arc::clone(&hangs),
            unanswered: Arc::clone(&unanswered),
        };
        let server = Server { device, answered, hangs, unanswered };
        std::thread::spawn(move || server.serve());
        fuse
    }

    /// Nobody is answered any more.
    pub fn hang(&self) {
        self.hangs.store(true, Ordering::Relaxed);
    }

    /// Somebody asked who gets no answer.
    pub fn hangs(&self) -> bool {
        self.unanswered.load(Ordering::Relaxed)
    }
}

impl Drop for Fuse {
    /// Whoever asks is told that nobody is there.
    fn drop(&mut self) {
        let flags = MntFlags::MNT_FORCE | MntFlags::MNT_DETACH;
        let at = self.now_at();
        in_mounts_of(self.pid, || umount2(&*at, flags));
    }
}

impl Fuse {
    /// Where it is by now, if a folder above it was renamed: proc_pid_mountinfo(5).
    fn now_at(&self) -> String {
        let mounts = fs::read_to_string(format!("/proc/{}/mountinfo", self.pid)).unwrap();
        let source = format!(" - fuse {} ", self.at.display());
        let line = mounts.lines().find(|line| line.contains(&source)).unwrap();
        line.split(' ').nth(4).unwrap().to_owned()
    }
}

struct Server {
    device: File,
    answered: Answered,
    hangs: Arc<AtomicBool>,
    unanswered: Arc<AtomicBool>,
}

impl Server {
    /// Ends with the mount.
    fn serve(mut self) {
        let mut request = vec![0; 1 << 17];
        while let Ok(length) = self.device.read(&mut request) {
            let word = |at: usize| u32::from_ne_bytes(request[at..at + 4].try_into().unwrap());
            if length < 40 {
                continue;
            }
            // struct fuse_in_header: opcode, unique, nodeid, the thread that asks.
            let (opcode, node, thread) = (word(4), word(16), word(32));
            let (error, body) = match opcode {
                INIT => (0, init()),
                _ if UNANSWERED.contains(&opcode) || !self.answers(thread) => continue,
                LOOKUP | GETATTR => (0, folder(opcode, node)),
                _ => (-(Errno::ENOSYS as i32), Vec::new()),
            };
            // struct fuse_out_header.
            let mut answer = Vec::from((16 + body.len() as u32).to_ne_bytes());
            answer.extend(error.to_ne_bytes());
            answer.extend(&request[8..16]);
            answer.extend(body);
            // Whoever asked may have gone.
            let _ = self.device.write_all(&answer);
        }
    }

    fn answers(&self, thread: u32) -> bool {
        let is_answered = match self.answered {
            Answered::Nobody => false,
            Answered::Process(pid) => Path::new(&format!("/proc/{pid}/task/{thread}")).exists(),
            Answered::Everybody => true,
        };
        if !is_answered {
            self.hangs.store(true, Ordering::Relaxed);
        }
        let hangs = self.hangs.load(Ordering::Relaxed);
        if hangs {
            self.unanswered.store(true, Ordering::Relaxed);
        }
        !hangs
    }
}

/// struct fuse_init_out.
fn init() -> Vec<u8> {
    let mut body = VERSION.map(u32::to_ne_bytes).concat();
    body.resize(64, 0);
    body
}

/// A folder that is forgotten at once: struct fuse_entry_out or fuse_attr_out.
fn folder(opcode: u32, asked: u32) -> Vec<u8> {
    const ROOT: u32 = 1;
    const DATA: u64 = 2;
    let node = if opcode == LOOKUP || asked != ROOT { DATA } else { 1 };
    // struct fuse_attr: 88 bytes.
    let mut attributes = vec![0; 88];
    attributes[..8].copy_from_slice(&node.to_ne_bytes());
    attributes[60..64].copy_from_slice(&0o040_755_u32.to_ne_bytes());
    attributes[64..68].copy_from_slice(&2_u32.to_ne_bytes());
    let mut body = vec![0; if opcode == LOOKUP { 40 } else { 16 }];
    if opcode == LOOKUP {
        body[..8].copy_from_slice(&node.to_ne_bytes());
    }
    body.extend(attributes);
    body
}
