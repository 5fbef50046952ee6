//! Exit records: how a container ended, on disk before its zombie is reaped.
//!
//! The shim writes `<pod run dir>/exits/<container>` once, by rename; whoever comes after the
//! shim reads it, of whatever release. Four bytes of checksum, so that a torn record says so, and
//! a record in CBOR.

use crate::report::Exit;
use minicbor::{Decode, Encode};
use rrun_sys::fnv;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Length of the checksum.
const CHECKSUM: usize = 4;

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
    rrun_sys::record::create(&temporary, 0o666)?.write_all(&encode(started_at, exit)?)?;
    fs::rename(temporary, folder.join(container))
}

/// Reads the record of `container`: when it started, and how it ended. `None` when there is none.
///
/// # Errors
/// `InvalidData` for a record that is torn, or says what this code does not know.
pub fn read(run_dir: &Path, container: &str) -> io::Result<Option<(i64, Exit)>> {
    let path = folder(run_dir).join(container);
    match rrun_sys::record::read(&path) {
        Ok(bytes) => decode(&bytes).map(Some).map_err(|error| {
            io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", path.display()))
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Removes the record of `container`, or whatever stands in its place: a container whose record
/// cannot be read is removed all the same. A missing one is removed.
///
/// # Errors
/// Those of the file system.
pub fn remove(run_dir: &Path, container: &str) -> io::Result<()> {
    match rrun_sys::tree::remove(&folder(run_dir).join(container)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// What a record says.
#[derive(Encode, Decode)]
#[cbor(map)]
struct Record {
    #[n(0)]
    started_at: i64,
    #[n(1)]
    exit: Exit,
}

fn encode(started_at: i64, exit: &Exit) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; CHECKSUM];
    let record = Record { started_at, exit: exit.clone() };
    minicbor::encode(record, &mut bytes).map_err(io::Error::other)?;
    let sum = fnv::of_bytes_32(&bytes[CHECKSUM..]);
    bytes[..CHECKSUM].copy_from_slice(&sum.to_le_bytes());
    Ok(bytes)
}

/// What is wrong with a record, in words.
fn decode(bytes: &[u8]) -> Result<(i64, Exit), String> {
    let (sum, body) = bytes.split_first_chunk().ok_or("it is torn")?;
    if u32::from_le_bytes(*sum) != fnv::of_bytes_32(body) {
        return Err("it is torn".to_owned());
    }
    let Record { started_at, exit } = minicbor::decode(body).map_err(|error| error.to_string())?;
    Ok((started_at, exit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::ExitReason;

    #[test]
    fn a_record_is_read_back_and_a_torn_one_says_so() {
        let message = "exec: \"x y\": no such file\nor directory".to_owned();
        let exit =
            Exit { code: 128, at: 12, reason: ExitReason::StartError, message, output_lost: 9 };
        let bytes = encode(3, &exit).unwrap();
        assert_eq!(decode(&bytes), Ok((3, exit)));
        for cut in 0..bytes.len() {
            assert_eq!(decode(&bytes[..cut]), Err("it is torn".to_owned()), "{cut}");
        }
    }

    #[test]
    fn whatever_stands_in_a_records_place_is_removed_and_nothing_beyond_it() {
        let run = tempfile::tempdir().unwrap();
        let (record, precious) = (folder(run.path()).join("c"), run.path().join("precious"));
        fs::create_dir(folder(run.path())).unwrap();
        fs::write(&precious, "as it was").unwrap();
        let removed = || {
            remove(run.path(), "c").unwrap();
            assert!(fs::symlink_metadata(&record).is_err());
        };
        fs::write(&record, "torn").unwrap();
        removed();
        removed();
        fs::create_dir_all(record.join("deeper")).unwrap();
        removed();
        std::os::unix::fs::symlink(&precious, &record).unwrap();
        removed();
        assert_eq!(fs::read_to_string(&precious).unwrap(), "as it was");
    }

    #[test]
    fn a_link_or_a_fifo_where_a_record_is_written_is_an_error_at_once() {
        let run = tempfile::tempdir().unwrap();
        let (waits, precious) = (folder(run.path()).join(".c"), run.path().join("precious"));
        fs::create_dir(folder(run.path())).unwrap();
        fs::write(&precious, "as it was").unwrap();
        std::os::unix::fs::symlink(&precious, &waits).unwrap();
        let message = String::new();
        let exit = Exit { code: 0, at: 1, reason: ExitReason::Ended, message, output_lost: 0 };
        let refused = || write(run.path(), "c", 0, &exit).unwrap_err().to_string();
        assert_eq!(refused(), "not a regular file");
        assert_eq!(fs::read_to_string(&precious).unwrap(), "as it was");
        fs::remove_file(&waits).unwrap();
        nix::unistd::mkfifo(&waits, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(refused(), "not a regular file");
    }
}
