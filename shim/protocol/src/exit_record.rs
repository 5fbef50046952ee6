//! Exit records: how a container ended, on disk before its zombie is reaped.
//!
//! The shim writes `<pod run dir>/exits/<container>` once, by rename; whoever comes after the
//! shim reads it. One line of text: version, code, time, times of start and end, reason and the
//! message, then a checksum, so that a torn record says so.

use crate::message::{Exit, ExitReason};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const VERSION: &str = "1";

/// Folder of the exit records of the pod whose run folder this is.
pub fn folder(run_dir: &Path) -> PathBuf {
    run_dir.join("exits")
}

/// Writes the record of `container`; `started_at` is 0 for one that never started.
///
/// # Errors
/// Those of the file system. The caller reaps all the same: a full disk must not keep a zombie.
pub fn write(run_dir: &Path, container: &str, started_at: i64, exit: &Exit) -> io::Result<()> {
    let folder = folder(run_dir);
    let temporary = folder.join(format!(".{container}"));
    fs::write(&temporary, encode(started_at, exit))?;
    fs::rename(temporary, folder.join(container))
}

/// Reads the record of `container`: when it started, and how it ended. `None` when there is none.
///
/// # Errors
/// `InvalidData` for a record that is torn or of an unknown version.
pub fn read(run_dir: &Path, container: &str) -> io::Result<Option<(i64, Exit)>> {
    let path = folder(run_dir).join(container);
    match fs::read_to_string(&path) {
        Ok(text) => decode(&text).map(Some).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, format!("{}: torn", path.display()))
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Removes the record of `container`; a missing one is removed.
///
/// # Errors
/// Those of the file system.
pub fn remove(run_dir: &Path, container: &str) -> io::Result<()> {
    match fs::remove_file(folder(run_dir).join(container)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn encode(started_at: i64, exit: &Exit) -> String {
    let reason = match exit.reason {
        ExitReason::Ended => "ended",
        ExitReason::OutOfMemory => "oom",
        ExitReason::StartError => "start-error",
        ExitReason::Timeout => "timeout",
    };
    let body =
        format!("{VERSION} {} {started_at} {} {reason} {}", exit.code, exit.at, exit.message);
    format!("{:08x} {body}", checksum(body.as_bytes()))
}

fn decode(text: &str) -> Option<(i64, Exit)> {
    let (sum, body) = text.split_once(' ')?;
    if u32::from_str_radix(sum, 16).ok()? != checksum(body.as_bytes()) {
        return None;
    }
    let mut parts = body.splitn(6, ' ');
    if parts.next()? != VERSION {
        return None;
    }
    let code = parts.next()?.parse().ok()?;
    let started_at = parts.next()?.parse().ok()?;
    let at = parts.next()?.parse().ok()?;
    let reason = match parts.next()? {
        "ended" => ExitReason::Ended,
        "oom" => ExitReason::OutOfMemory,
        "start-error" => ExitReason::StartError,
        "timeout" => ExitReason::Timeout,
        _ => return None,
    };
    let message = parts.next()?.to_owned();
    Some((started_at, Exit { code, at, reason, message }))
}

/// FNV-1a: the record guards against torn writes, not against an enemy.
fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |sum, byte| (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_back_and_a_torn_one_says_so() {
        let message = "exec: \"x y\": no such file\nor directory".to_owned();
        let exit = Exit { code: 128, at: 12, reason: ExitReason::StartError, message };
        let text = encode(3, &exit);
        assert_eq!(decode(&text), Some((3, exit)));
        for cut in 0..text.len() {
            assert_eq!(decode(&text[..cut]), None, "{cut}");
        }
    }
}
