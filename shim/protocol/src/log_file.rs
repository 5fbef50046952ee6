//! Opening a log, in a folder that others may write to, and appending to it, on a disk that may have
//! no room for all of it.

use crate::cri_log::{Formatter, Stream, Timestamp, output_in};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use std::fs::{File, FileType, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// Opens a log for appending, and to look at its end, made where it is missing.
///
/// Whoever collects logs may write to their folder. A link there would have the lines appended to
/// any file of the host, and a FIFO would have its opener wait for a reader. So what has the log's
/// name is a regular file or refused; the folders on the way to it may be links.
///
/// # Errors
/// `InvalidInput` for what is no regular file; else what open(2) says.
pub fn open(path: &Path) -> io::Result<File> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true).mode(0o640).custom_flags(flags.bits());
    let opened = options.open(path);
    // Of what was opened, else of what has hindered it.
    let found = match &opened {
        Ok(file) => file.metadata(),
        Err(_) => path.symlink_metadata(),
    };
    let refused = found.ok().and_then(|found| refusal(found.file_type()));
    if let Some(words) = refused {
        return Err(io::Error::new(ErrorKind::InvalidInput, words));
    }
    let file = opened?;
    fcntl(&file, FcntlArg::F_SETFL(OFlag::O_APPEND))?;
    Ok(file)
}

/// Why a file of this type is no log.
fn refusal(kind: FileType) -> Option<&'static str> {
    if kind.is_symlink() {
        return Some("it is a symbolic link");
    }
    (!kind.is_file()).then_some("not a regular file")
}

/// Lines that a log has not taken.
#[derive(Debug)]
pub struct NotWritten {
    /// Bytes of output in them.
    pub bytes: u64,
    /// The file ends with half a line, which could not be taken back: whoever writes next ends it
    /// first.
    pub torn: bool,
    /// Why.
    pub error: io::Error,
}

/// Appends lines to a file that is open for appending. Where not all of them can be written, the
/// file has the first of them, each as a whole.
///
/// # Errors
/// What is not in the file.
pub fn append(mut file: &File, lines: &[u8]) -> Result<(), NotWritten> {
    let mut written = 0;
    let error = loop {
        if written == lines.len() {
            return Ok(());
        }
        match file.write(&lines[written..]) {
            Ok(0) => break io::Error::from(ErrorKind::WriteZero),
            Ok(count) => written += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => break error,
        }
    };
    let whole = memchr::memrchr(b'\n', &lines[..written]).map_or(0, |end| end + 1);
    let torn = whole < written && take_back(file, (written - whole) as u64).is_err();
    Err(NotWritten { bytes: output_in(&lines[whole..]), torn, error })
}

/// What every line has that tells of missing output.
const TELLS: &str = " bytes are missing here: ";

/// The line that tells of output which is missing before it.
pub fn gap_line(bytes: u64, why: &str, at: &Timestamp) -> Vec<u8> {
    let mut line = Vec::new();
    let words = format!("rrun: {bytes}{TELLS}{why}\n");
    Formatter::new(Stream::Stderr).feed(words.as_bytes(), at, &mut line);
    line
}

/// Whether the first line from `size` on tells of missing output. What comes before it may be an end
/// of half a line.
///
/// # Errors
/// Those of the file system.
pub fn has_gap_line(file: &File, size: u64) -> io::Result<bool> {
    let mut start = [0; 512];
    let count = file.read_at(&mut start, size)?;
    let start = start[..count].trim_ascii_start();
    let first = start.split_inclusive(|byte| *byte == b'\n').next().unwrap_or_default();
    Ok(first.ends_with(b"\n") && memchr::memmem::find(first, TELLS.as_bytes()).is_some())
}

/// Whether the file ends with half a line.
///
/// # Errors
/// Those of the file system.
pub fn is_torn(file: &File) -> io::Result<bool> {
    let Some(last) = file.metadata()?.len().checked_sub(1) else { return Ok(false) };
    let mut byte = [0];
    Ok(file.read_at(&mut byte, last)? == 1 && byte != *b"\n")
}

/// Cuts the last bytes off. Nobody else writes to it.
fn take_back(file: &File, bytes: u64) -> io::Result<()> {
    let length = file.metadata()?.len();
    file.set_len(length.checked_sub(bytes).ok_or(ErrorKind::InvalidData)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::errno::Errno;
    use nix::fcntl::{AT_FDCWD, openat};
    use nix::sys::stat::Mode;
    use std::io::Read;
    use std::os::fd::OwnedFd;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    fn lines(output: &[u8]) -> Vec<u8> {
        let mut lines = Vec::new();
        Formatter::new(Stream::Stdout).feed(output, &Timestamp::new(0), &mut lines);
        lines
    }

    #[test]
    fn what_is_no_regular_file_is_no_log_and_the_folder_may_be_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let mode = Mode::from_bits_truncate(0o600);
        std::fs::write(at("precious"), "as it was").unwrap();
        symlink(at("precious"), at("link")).unwrap();
        symlink(at("missing"), at("dangling")).unwrap();
        nix::unistd::mkfifo(&at("fifo"), mode).unwrap();
        nix::unistd::mkfifo(&at("read-fifo"), mode).unwrap();
        // One with a reader is opened at once.
        let reading = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let _reader = openat(AT_FDCWD, &at("read-fifo"), reading, Mode::empty()).unwrap();
        let _listener = UnixListener::bind(at("socket")).unwrap();
        std::fs::create_dir(at("directory")).unwrap();
        for (name, words) in [
            ("link", "it is a symbolic link"),
            ("dangling", "it is a symbolic link"),
            ("fifo", "not a regular file"),
            ("read-fifo", "not a regular file"),
            ("socket", "not a regular file"),
            ("directory", "not a regular file"),
        ] {
            assert_eq!(open(&at(name)).unwrap_err().to_string(), words, "{name}");
        }
        assert_eq!(open(Path::new("/dev/full")).unwrap_err().to_string(), "not a regular file");
        assert!(!at("missing").exists());
        assert_eq!(std::fs::read(at("precious")).unwrap(), b"as it was");
        symlink(at("directory"), at("pod")).unwrap();
        for line in ["one\n", "two\n"] {
            let file = open(&at("pod/0.log")).unwrap();
            append(&file, line.as_bytes()).unwrap();
            let flags = OFlag::from_bits_truncate(fcntl(&file, FcntlArg::F_GETFL).unwrap());
            assert!(flags.contains(OFlag::O_APPEND) && !flags.contains(OFlag::O_NONBLOCK));
        }
        assert_eq!(std::fs::read(at("directory/0.log")).unwrap(), b"one\ntwo\n");
    }

    #[test]
    fn a_file_that_takes_nothing_has_all_of_it_counted() {
        let full = File::options().append(true).open("/dev/full").unwrap();
        let refused = append(&full, &lines(b"one\ntwo\n")).unwrap_err();
        assert_eq!((refused.bytes, refused.torn), (8, false));
        assert_eq!(refused.error.raw_os_error(), Some(Errno::ENOSPC as i32));
    }

    #[test]
    fn half_a_line_is_taken_back_where_that_is_possible_and_else_told() {
        // A pipe is full at some place within a line, and nothing is taken back from it.
        let (mut reader, writer) = io::pipe().unwrap();
        fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
        let all = lines(&b"some words\n".repeat(20_000));
        let pipe = File::from(OwnedFd::from(writer));
        let refused = append(&pipe, &all).unwrap_err();
        drop(pipe);
        let mut taken = Vec::new();
        reader.read_to_end(&mut taken).unwrap();
        assert!(refused.torn);
        let line = all.len() / 20_000;
        assert_eq!(refused.bytes, 11 * (20_000 - taken.len() / line) as u64);

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        std::fs::write(&path, b"before\nhal").unwrap();
        take_back(&File::options().append(true).open(&path).unwrap(), 3).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"before\n");
    }
}
