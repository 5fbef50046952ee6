//! A FUSE file system with one file, which is a [`Medium`].

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

use crate::medium::{Medium, Request};

/// The file's name.
pub const FILE: &str = "medium";

/// fuse.h: opcodes.
const LOOKUP: u32 = 1;
const GETATTR: u32 = 3;
const SETATTR: u32 = 4;
const OPEN: u32 = 14;
const READ: u32 = 15;
const WRITE: u32 = 16;
const STATFS: u32 = 17;
const RELEASE: u32 = 18;
const FSYNC: u32 = 20;
const FLUSH: u32 = 25;
const INIT: u32 = 26;
/// FORGET, INTERRUPT and BATCH_FORGET have no answer.
const UNANSWERED: [u32; 3] = [2, 36, 42];

const VERSION: [u32; 2] = [7, 31];
const BIG_WRITES: u32 = 1 << 5;
const MAX_PAGES: u32 = 1 << 22;
/// As much as the kernel lets one request have: of one that is cut in two the loop driver takes the
/// failure of the second for a success.
const LARGEST: u32 = 1 << 20;
/// Nothing of the file is cached: what the loop driver writes comes here at once, in its order.
const DIRECT_IO: u32 = 1;
const ROOT: u64 = 1;
const NODE: u64 = 2;

/// The mount; dropped, whoever still uses it is told that nobody is there.
pub struct Fuse(PathBuf);

impl Fuse {
    /// Mounts it at a folder, for the mount namespace of this thread.
    pub fn mount(at: &Path, medium: Arc<Mutex<Medium>>) -> Fuse {
        let (ready, mounted) = channel();
        let folder = at.to_owned();
        std::thread::spawn(move || {
            // A process that is killed while another of its threads waits for this file system must
            // let go of the device all the same: it is in nobody else's table of descriptors.
            unshare(CloneFlags::CLONE_FILES).unwrap();
            close_all();
            let device = OpenOptions::new().read(true).write(true).open("/dev/fuse").unwrap();
            let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", device.as_raw_fd());
            let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
            mount(Some("medium"), &folder, Some("fuse"), flags, Some(&*options)).unwrap();
            ready.send(()).unwrap();
            serve(device, &medium);
        });
        mounted.recv().unwrap();
        Fuse(at.to_owned())
    }
}

impl Drop for Fuse {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_FORCE | MntFlags::MNT_DETACH);
    }
}

/// What other tests of this process have open: their locks must end with them.
fn close_all() {
    let own = fs::read_dir("/proc/thread-self/fd").unwrap();
    let all: Vec<i32> =
        own.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok()).collect();
    for descriptor in all.into_iter().filter(|descriptor| *descriptor > 2) {
        let _ = nix::unistd::close(descriptor);
    }
}

/// Ends with the mount.
fn serve(mut device: File, medium: &Mutex<Medium>) {
    let mut request = vec![0; LARGEST as usize + 4096];
    while let Ok(length) = device.read(&mut request) {
        let asked = &request[..length];
        let opcode = word(asked, 4);
        if length < 40 || UNANSWERED.contains(&opcode) {
            continue;
        }
        let (error, body) = match answer(opcode, asked, medium) {
            Ok(body) => (0, body),
            Err(errno) => (-(errno as i32), Vec::new()),
        };
        // struct fuse_out_header.
        let mut reply = Vec::from((16 + body.len() as u32).to_ne_bytes());
        reply.extend(error.to_ne_bytes());
        reply.extend(&asked[8..16]);
        reply.extend(body);
        // Whoever asked may have gone.
        let _ = device.write_all(&reply);
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap())
}

fn answer(opcode: u32, asked: &[u8], medium: &Mutex<Medium>) -> Result<Vec<u8>, Errno> {
    let mut medium = medium.lock().unwrap();
    // Of struct fuse_read_in and struct fuse_write_in; what is written comes behind the latter.
    let place = || (long(asked, 48) as usize, word(asked, 56) as usize);
    match opcode {
        INIT => Ok(init()),
        LOOKUP => {
            Ok([&NODE.to_ne_bytes()[..], &[0; 32], &attributes(NODE, medium.size())].concat())
        }
        GETATTR | SETATTR => {
            Ok([&[0; 16][..], &attributes(long(asked, 16), medium.size())].concat())
        }
        OPEN => Ok([&[0; 8][..], &DIRECT_IO.to_ne_bytes(), &[0; 4]].concat()),
        READ => {
            let (at, length) = place();
            let end = (at + length).min(medium.size());
            medium.ask(&Request::Read { at, length })?;
            Ok(medium.bytes()[at.min(end)..end].to_vec())
        }
        WRITE => {
            let (at, length) = place();
            medium.write(at, &asked[80..80 + length])?;
            Ok([(length as u32).to_ne_bytes(), [0; 4]].concat())
        }
        FSYNC => medium.flush().map(|()| Vec::new()),
        STATFS => Ok(vec![0; 80]),
        FLUSH | RELEASE => Ok(Vec::new()),
        _ => Err(Errno::ENOSYS),
    }
}

/// struct fuse_init_out.
fn init() -> Vec<u8> {
    let mut body = VERSION.map(u32::to_ne_bytes).concat();
    let [nanoseconds, pages] = [1, LARGEST / 4096];
    let flags = BIG_WRITES | MAX_PAGES;
    body.extend([0, flags, 0, LARGEST, nanoseconds, pages].map(u32::to_ne_bytes).concat());
    body.resize(64, 0);
    body
}

/// struct fuse_attr of the folder or the file, with its size.
fn attributes(node: u64, size: usize) -> Vec<u8> {
    let mode: u32 = if node == ROOT { 0o040_755 } else { 0o100_600 };
    let mut attributes = vec![0; 88];
    attributes[..8].copy_from_slice(&node.to_ne_bytes());
    attributes[8..16].copy_from_slice(&(size as u64).to_ne_bytes());
    attributes[60..64].copy_from_slice(&mode.to_ne_bytes());
    attributes[64..68].copy_from_slice(&1_u32.to_ne_bytes());
    attributes
}
