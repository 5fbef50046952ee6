//! Files that our own programs keep for each other, records, journals, logs of their own and locks:
//! regular files that stand where they are looked for, and nothing else.
//!
//! Somebody may have put something else there, by a restored backup or by hand. What blocks its
//! opener (a FIFO), acts when it is opened (a device) or has no end must be an error by name, and
//! not a program that does not start.

use crate::in_root::check_regular;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::Mode;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The longest record that is read, in bytes: several times the longest request.
pub const MAX: u64 = 64 << 20;

/// Opens the record at `path` for reading. A link at its end is not followed.
///
/// # Errors
/// `InvalidInput` for anything that is no regular file, a link among them; else what openat(2)
/// says.
pub fn open(path: &Path) -> io::Result<File> {
    open_for(path, OFlag::O_RDONLY)
}

/// Reads the record at `path`, of at most [`MAX`] bytes. A link at its end is not followed.
///
/// # Errors
/// As [`open`]; `EFBIG` for a longer file.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    // Most fit, and are read at once then.
    let mut bytes = Vec::with_capacity(4096);
    open(path)?.take(MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX {
        return Err(Errno::EFBIG.into());
    }
    Ok(bytes)
}

/// As [`read`], for a record that is text.
///
/// # Errors
/// As [`read`]; `InvalidData` for what is no UTF-8.
pub fn read_text(path: &Path) -> io::Result<String> {
    String::from_utf8(read(path)?)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Opens the record at `path` for writing, emptied; makes it with `mode` (less the umask) if it is
/// not there. A link at its end is not followed. To replace a record by a rename, make the new one
/// with this.
///
/// # Errors
/// As [`open`].
pub fn create(path: &Path, mode: u32) -> io::Result<File> {
    let file = open_or_new(path, OFlag::O_WRONLY, mode)?;
    // Not by O_TRUNC, which would have emptied it before it was looked at. Nor is an empty one cut:
    // ext4 writes what was cut to nothing to the disk when it is closed (auto_da_alloc), and whoever
    // closes it waits.
    if file.metadata()?.len() > 0 {
        file.set_len(0)?;
    }
    Ok(file)
}

/// Opens the record at `path` for appending; makes it with `mode` (less the umask) if it is not
/// there. A link at its end is not followed.
///
/// # Errors
/// As [`open`].
pub fn append(path: &Path, mode: u32) -> io::Result<File> {
    open_or_new(path, OFlag::O_WRONLY | OFlag::O_APPEND, mode)
}

/// Opens the file at `path` for reading and writing; makes it if it is not there. What it holds
/// stays. A link at its end is not followed.
///
/// # Errors
/// As [`open`].
pub fn open_or_make(path: &Path) -> io::Result<File> {
    open_or_new(path, OFlag::O_RDWR, 0o666)
}

/// Opens the file at `path` that is to be locked, as [`open_or_make`] does.
///
/// # Errors
/// As [`open`].
pub fn open_lock(path: &Path) -> io::Result<File> {
    open_or_make(path)
}

/// The number of the process that holds the flock(2) of the file at `path`, where the kernel tells
/// it. To try the lock would keep it from others for a moment, who may not try again.
pub fn holder(path: &Path) -> Option<i32> {
    let lock = std::fs::symlink_metadata(path).ok()?;
    holder_in(&std::fs::read_to_string("/proc/locks").ok()?, lock.ino())
}

/// `1: FLOCK  ADVISORY  WRITE 724 fe:01:527190 0 EOF`
fn holder_in(locks: &str, inode: u64) -> Option<i32> {
    let words = locks.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    words.into_iter().find_map(|words| match words[..] {
        [_, "FLOCK", _, "WRITE", pid, file, ..] if file.ends_with(&format!(":{inode}")) => {
            pid.parse().ok()
        }
        _ => None,
    })
}

fn open_or_new(path: &Path, access: OFlag, mode: u32) -> io::Result<File> {
    loop {
        match open_for(path, access) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            opened => return opened,
        }
        let new = access | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
        match openat(AT_FDCWD, path, new, Mode::from_bits_truncate(mode)) {
            // Somebody else was first, and theirs will do as well.
            Err(Errno::EEXIST) => {}
            made => return Ok(made?.into()),
        }
    }
}

/// Not through procfs, over which somebody may have mounted something: records are read then too.
fn open_for(path: &Path, access: OFlag) -> io::Result<File> {
    let opened = |flags| openat(AT_FDCWD, path, flags | OFlag::O_NOFOLLOW, Mode::empty());
    check_regular(&opened(OFlag::O_PATH | OFlag::O_CLOEXEC)?)?;
    let flags = access | OFlag::O_NOCTTY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let file = opened(flags)?;
    // It may be another one by now.
    check_regular(&file)?;
    Ok(file.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::unistd::mkfifo;
    use std::fs;
    use std::io::Write;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::PathBuf;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let path = std::env::temp_dir().join(format!("record-{}-{name}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Folder(path)
        }

        /// What may stand in a record's place and is none.
        fn others(&self) -> [PathBuf; 4] {
            let at = |name: &str| self.0.join(name);
            mkfifo(&at("fifo"), Mode::S_IRWXU).unwrap();
            symlink("/dev/zero", at("endless")).unwrap();
            fs::write(at("target"), "somebody else's").unwrap();
            symlink(at("target"), at("link")).unwrap();
            fs::create_dir(at("folder")).unwrap();
            ["fifo", "endless", "link", "folder"].map(at)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_record_is_read_and_whatever_else_stands_there_is_an_error_at_once() {
        let folder = Folder::new("read");
        let path = folder.0.join("record");
        assert_eq!(read(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
        fs::write(&path, "here").unwrap();
        assert_eq!(read_text(&path).unwrap(), "here");
        for other in folder.others() {
            let error = read(&other).unwrap_err();
            assert_eq!(error.to_string(), "not a regular file", "{}", other.display());
        }
    }

    #[test]
    fn a_record_without_an_end_is_too_long() {
        let folder = Folder::new("long");
        let path = folder.0.join("record");
        File::create(&path).unwrap().set_len(MAX + 1).unwrap();
        assert_eq!(read(&path).unwrap_err().raw_os_error(), Some(Errno::EFBIG as i32));
    }

    #[test]
    fn a_lock_is_made_or_found_with_what_it_holds_and_nothing_else_is_opened_for_one() {
        let folder = Folder::new("lock");
        let path = folder.0.join("lock");
        drop(open_lock(&path).unwrap());
        fs::write(&path, "its holder").unwrap();
        let mut text = String::new();
        open_lock(&path).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "its holder");
        for other in folder.others() {
            let error = open_lock(&other).unwrap_err();
            assert_eq!(error.to_string(), "not a regular file", "{}", other.display());
        }
        let missing = open_lock(&folder.0.join("missing/lock")).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_record_is_made_emptied_or_appended_to_and_whatever_else_stands_there_stays_as_it_is() {
        let folder = Folder::new("write");
        let path = folder.0.join("record");
        let write = |file: io::Result<File>, text: &str| file.unwrap().write_all(text.as_bytes());
        write(append(&path, 0o600), "one").unwrap();
        write(append(&path, 0o600), " two").unwrap();
        assert_eq!(read_text(&path).unwrap(), "one two");
        write(create(&path, 0o600), "new").unwrap();
        assert_eq!(read_text(&path).unwrap(), "new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        symlink(folder.0.join("nowhere"), folder.0.join("dangling")).unwrap();
        let others = folder.others().into_iter().chain([folder.0.join("dangling")]);
        for other in others {
            for opened in [create(&other, 0o600), append(&other, 0o600), open_or_make(&other)] {
                let error = opened.unwrap_err();
                assert_eq!(error.to_string(), "not a regular file", "{}", other.display());
            }
        }
        assert_eq!(fs::read_to_string(folder.0.join("target")).unwrap(), "somebody else's");
        assert!(!folder.0.join("nowhere").exists());
    }

    #[test]
    fn the_holder_of_a_lock_is_found_among_all_locks() {
        let locks = "1: POSIX  ADVISORY  WRITE 7 fe:01:5 0 EOF\n2: FLOCK  ADVISORY  READ 8 fe:01:5 0 EOF\n\
                     2: -> FLOCK  ADVISORY  WRITE 9 fe:01:5 0 EOF\n3: FLOCK  ADVISORY  WRITE 10 fe:01:5 0 EOF\n";
        assert_eq!(holder_in(locks, 5), Some(10));
        assert_eq!(holder_in(locks, 6), None);
    }
}
