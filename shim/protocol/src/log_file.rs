//! Appending to a log, on a disk that may have no room for all of it.

use crate::cri_log::output_in;
use std::fs::File;
use std::io::{self, ErrorKind, Write};

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

/// Cuts the last bytes off. Nobody else writes to it.
fn take_back(file: &File, bytes: u64) -> io::Result<()> {
    let length = file.metadata()?.len();
    file.set_len(length.checked_sub(bytes).ok_or(ErrorKind::InvalidData)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cri_log::{Formatter, Stream, Timestamp};
    use nix::errno::Errno;
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    use std::io::Read;
    use std::os::fd::OwnedFd;

    fn lines(output: &[u8]) -> Vec<u8> {
        let mut lines = Vec::new();
        Formatter::new(Stream::Stdout).feed(output, &Timestamp::new(0), &mut lines);
        lines
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
