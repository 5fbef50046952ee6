//! The first process of a container, known beyond its number.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::{Deserialize, Serialize};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A process that is not mistaken for another one with its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessStart {
    pub pid: i32,
    /// Clock ticks after boot.
    pub ticks: u64,
}

impl ProcessStart {
    /// The process that has the number now; `None` when it has ended.
    pub fn of(pid: i32) -> Option<ProcessStart> {
        look(pid).map(|(start, _)| start)
    }

    /// A descriptor of the process, if it is still that one.
    pub fn open(self) -> Option<OwnedFd> {
        look(self.pid).filter(|(start, _)| *start == self).map(|(_, process)| process)
    }
}

fn look(pid: i32) -> Option<(ProcessStart, OwnedFd)> {
    let process = rrun_sys::pidfd::open(pid).ok()?;
    // proc(5): the name is what the process wants it to be, also `)` and what is no text.
    let stat = rrun_sys::procfs::read(format!("/proc/{pid}/stat")).ok()?;
    let name_end = stat.iter().rposition(|byte| *byte == b')')?;
    let fields = str::from_utf8(stat.get(name_end + 1..)?).ok()?;
    // State is field 3, and the first here; start is field 22.
    let ticks = fields.split_ascii_whitespace().nth(19)?.parse().ok()?;
    // The state is that of the first thread, which may end before the others do.
    (!has_ended(process.as_fd())).then_some((ProcessStart { pid, ticks }, process))
}

/// All of its threads have ended: pidfd_open(2).
fn has_ended(process: BorrowedFd<'_>) -> bool {
    poll(&mut [PollFd::new(process, PollFlags::POLLIN)], PollTimeout::ZERO) == Ok(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command};
    use std::time::{Duration, Instant};

    struct Killed(Child);

    impl Drop for Killed {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    fn stat_when(child: &Killed, seen: impl Fn(&[u8]) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        let path = format!("/proc/{}/stat", child.0.id());
        while !seen(&std::fs::read(&path).unwrap()) {
            assert!(Instant::now() < deadline);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn a_process_is_found_whatever_it_calls_itself() {
        let script = r"printf '\377) Z 1' > /proc/$$/comm; read never";
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdin(std::process::Stdio::piped());
        let child = Killed(command.spawn().unwrap());
        stat_when(&child, |stat| stat.contains(&0xff));
        let pid = i32::try_from(child.0.id()).unwrap();
        assert!(ProcessStart::of(pid).unwrap().open().is_some());
    }

    #[test]
    fn a_process_whose_first_thread_has_ended_lives() {
        let exit = libc::SYS_exit;
        let script = format!(
            "import ctypes, threading, time\n\
             threading.Thread(target=time.sleep, args=(600,)).start()\n\
             ctypes.CDLL(None).syscall({exit}, 0)"
        );
        let child = match Command::new("python3").args(["-c", &script]).spawn() {
            Ok(child) => Killed(child),
            Err(error) => return println!("skipped: python3: {error}"),
        };
        stat_when(&child, |stat| stat.windows(4).any(|part| part == b") Z "));
        let pid = i32::try_from(child.0.id()).unwrap();
        let start = ProcessStart::of(pid).unwrap();
        drop(child);
        assert!(start.open().is_none());
    }
}
