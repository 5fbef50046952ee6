//! Logging what a shim that is gone has left of a container's output.

use crate::cri_log::{Formatter, Stream, Timestamp};
use crate::log_file::{self, NotWritten};
use crate::log_journal::{self, Entry};
use nix::errno::Errno;
use rrun_error::reason;
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The most that is read of one stream: more than the largest pipe holds that a container may
/// make of its own. What comes on after that is written by somebody outside of the container.
const MOST: usize = 4 << 20;

/// One read.
const CHUNK: usize = 32 << 10;

/// The read ends that outlive the shim, all non-blocking: replies of [`crate::Reply::LogPipes`].
#[derive(Debug)]
pub struct ReadEnds<'a> {
    /// Of the shim's own pipe.
    pub tee: &'a OwnedFd,
    /// Of a container's output, or its terminal's master.
    pub stdout: Option<&'a OwnedFd>,
    /// Of its error output.
    pub stderr: Option<&'a OwnedFd>,
}

/// Logs what is left, from where the journal says that the shim stopped, after how many bytes are
/// missing before it that the shim had counted and not told of. The shim and every process of the
/// container must be dead. `log` is made where it is missing.
///
/// # Errors
/// Those of the file system, and of [`log_file::open`].
pub fn log(journal: &Path, log: &Path, ends: &ReadEnds<'_>) -> io::Result<()> {
    let entries = log_journal::read(journal)?;
    let of_chunk = entries.iter().find_map(|entry| Some(entry.chunk.as_ref()?.inode));
    let of_gap = || entries.iter().find_map(|entry| Some(entry.gap.as_ref()?.inode));
    append(&open(log, of_chunk.or_else(of_gap))?, entries, ends)
}

fn append(file: &File, entries: [Entry; 2], ends: &ReadEnds<'_>) -> io::Result<()> {
    let told = tell_gap(file, &entries)?;
    let [stdout, stderr] = entries;
    let mut streams =
        [(Stream::Stdout, ends.stdout, stdout), (Stream::Stderr, ends.stderr, stderr)];
    // The one with a chunk on its way first: the length of the file tells of it.
    streams.sort_by_key(|(_, _, entry)| entry.chunk.is_none());
    for (stream, pipe, entry) in streams {
        if let Some(pipe) = pipe {
            let size = file.metadata()?.len().saturating_sub(told);
            let lines = rest(stream, entry, (ends.tee, pipe), size)?;
            log_file::append(file, &lines)
                .map_err(|NotWritten { bytes, error, .. }| missing(bytes, &error))?;
        }
    }
    Ok(())
}

fn missing(bytes: u64, error: &io::Error) -> io::Error {
    let words = format!("{bytes} bytes are missing in it: {}", reason(error));
    io::Error::new(error.kind(), words)
}

/// Tells of what the shim has counted and not told of. How long the file became by that.
fn tell_gap(file: &File, entries: &[Entry; 2]) -> io::Result<u64> {
    let inode = file.metadata()?.ino();
    let (mut bytes, mut why) = (0, "");
    for gap in entries.iter().filter_map(|entry| entry.gap.as_ref()) {
        // The shim may have died when it had just told.
        if gap.inode != inode || !log_file::has_gap_line(file, gap.size)? {
            bytes += gap.bytes;
            why = gap.why.as_str();
        }
    }
    if bytes == 0 {
        return Ok(0);
    }
    let mut line = if log_file::is_torn(file)? { b"\n".to_vec() } else { Vec::new() };
    line.extend(log_file::gap_line(bytes, why, &Timestamp::now()));
    log_file::append(file, &line).map_err(|refused| missing(bytes, &refused.error))?;
    Ok(line.len() as u64)
}

/// The lines that are missing of one stream in a file that is `size` long.
fn rest(
    stream: Stream,
    entry: Entry,
    (tee, pipe): (&OwnedFd, &OwnedFd),
    size: u64,
) -> io::Result<Vec<u8>> {
    let mut formatter = Formatter::resume(stream, entry.open);
    let (mut lines, mut written) = (Vec::new(), 0);
    if let Some(chunk) = entry.chunk {
        let (at, length) = (Timestamp::new(chunk.at), chunk.length as usize);
        let mut bytes = read(tee, length)?;
        bytes.extend(read(pipe, length - bytes.len())?);
        formatter.feed(&bytes, &at, &mut lines);
        if length == 0 {
            formatter.finish(&at, &mut lines);
        }
        written = size.saturating_sub(chunk.size).min(lines.len() as u64) as usize;
    }
    let now = Timestamp::now();
    formatter.feed(&read(pipe, MOST)?, &now, &mut lines);
    formatter.finish(&now, &mut lines);
    lines.drain(..written);
    Ok(lines)
}

/// What is there now, and not more than `most`.
fn read(fd: &OwnedFd, most: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while bytes.len() < most {
        let mut buffer = [0; CHUNK];
        let wanted = CHUNK.min(most - bytes.len());
        match nix::unistd::read(fd, &mut buffer[..wanted]) {
            // EIO is the end of a terminal whose last holder is gone.
            Ok(0) | Err(Errno::EAGAIN | Errno::EIO) => break,
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(bytes)
}

/// The file that the shim wrote to, by whatever name it has after a rotation that the shim has not
/// heard of; else the one that is at the path.
fn open(log: &Path, inode: Option<u64>) -> io::Result<File> {
    if let (Some(inode), Some(folder)) = (inode, log.parent()) {
        // A link is not it, whatever it leads to: another file system has the same numbers.
        let is_it = |path: &Path| path.symlink_metadata().is_ok_and(|file| file.ino() == inode);
        let mut entries = fs::read_dir(folder)?.flatten().map(|entry| entry.path());
        if let Some(path) = entries.find(|path| is_it(path)) {
            return log_file::open(&path);
        }
    }
    log_file::open(log)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log_journal::{Chunk, Gap, Journal};
    use nix::fcntl::OFlag;
    use nix::unistd::{pipe2, write};
    use std::fs::OpenOptions;
    use std::io::Write;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    /// A shim that dies at a chosen moment, and what is there then.
    struct Dead {
        folder: tempfile::TempDir,
        journal: Journal,
        tee: (OwnedFd, OwnedFd),
        pipe: (OwnedFd, OwnedFd),
    }

    impl Dead {
        fn new() -> Dead {
            let folder = tempfile::tempdir().unwrap();
            let pipe = || pipe2(OFlag::O_NONBLOCK).unwrap();
            let journal = Journal::create(&folder.path().join("journal")).unwrap();
            Dead { journal, tee: pipe(), pipe: pipe(), folder }
        }

        fn path(&self) -> PathBuf {
            self.folder.path().join("0.log")
        }

        /// The log has `lines`, `open` has been read beside, and `chunk` is on its way.
        fn begin(&mut self, lines: &[u8], open: &[u8], chunk: &[u8]) {
            fs::write(self.path(), lines).unwrap();
            let file = self.path().metadata().unwrap();
            let length = chunk.len() as u32;
            let chunk = Chunk { length, at: 0, inode: file.ino(), size: file.size() };
            self.journal.put(Stream::Stdout, Some(chunk), None, open).unwrap();
        }

        fn grow(&self, lines: &[u8]) {
            OpenOptions::new().append(true).open(self.path()).unwrap().write_all(lines).unwrap();
        }

        /// The log after the rest, without times but that of the epoch.
        fn rest(&self) -> String {
            let ends = ReadEnds { tee: &self.tee.0, stdout: Some(&self.pipe.0), stderr: None };
            log(&self.folder.path().join("journal"), &self.path(), &ends).unwrap();
            let text = fs::read_to_string(self.path()).unwrap();
            let known = |line: &str| line.starts_with("1970");
            let short = |line: &str| {
                let of = |stream| line.split_once(stream);
                let Some((time, rest)) = of(" stdout ").or_else(|| of(" stderr ")) else {
                    return format!("{line}\n");
                };
                format!("{}{rest}\n", if known(time) { "= " } else { "" })
            };
            text.lines().map(short).collect()
        }
    }

    fn lines(text: &str) -> Vec<u8> {
        let mut lines = Vec::new();
        Formatter::new(Stream::Stdout).feed(text.as_bytes(), &Timestamp::new(0), &mut lines);
        lines
    }

    #[test]
    fn the_chunk_on_its_way_is_logged_once_wherever_the_shim_died() {
        let missing = lines("cd\ne\n");
        for grown in 0..=missing.len() {
            for taken in 0..=5 {
                let mut dead = Dead::new();
                dead.begin(&lines("ab\n"), b"c", b"d\ne\nf");
                dead.grow(&missing[..grown]);
                write(&dead.tee.1, &b"d\ne\nf"[..taken]).unwrap();
                write(&dead.pipe.1, &b"d\ne\nf"[taken..]).unwrap();
                write(&dead.pipe.1, b"g\nh").unwrap();
                let expected = "= F ab\n= F cd\n= F e\nF fg\nP h\n";
                assert_eq!(dead.rest(), expected, "{grown} written, {taken} taken");
            }
        }
    }

    #[test]
    fn between_chunks_what_is_taken_is_logged_and_what_is_in_the_pipe_is_not() {
        let mut dead = Dead::new();
        fs::write(dead.path(), lines("a\n")).unwrap();
        dead.journal.put(Stream::Stdout, None, None, b"b").unwrap();
        write(&dead.tee.1, b"a\nb").unwrap();
        write(&dead.pipe.1, b"c\n").unwrap();
        assert_eq!(dead.rest(), "= F a\nF bc\n");
    }

    #[test]
    fn the_last_piece_of_a_stream_that_has_ended_is_logged_once() {
        let mut last = Vec::new();
        Formatter::resume(Stream::Stdout, b"end".to_vec()).finish(&Timestamp::new(0), &mut last);
        for grown in 0..=last.len() {
            let mut dead = Dead::new();
            dead.begin(&lines("a\n"), b"end", b"");
            dead.grow(&last[..grown]);
            assert_eq!(dead.rest(), "= F a\n= P end\n");
        }
    }

    #[test]
    fn what_the_shim_had_counted_as_missing_is_told_once_wherever_it_died() {
        let told = log_file::gap_line(18, "ENOSPC", &Timestamp::new(0));
        let gap = "F rrun: 18 bytes are missing here: ENOSPC\n";
        for (grown, missing) in [
            (&b""[..], gap.to_owned()),
            (&told, format!("= {gap}")),
            // Half of it, which could not be taken back.
            (b"1970", format!("1970\n{gap}")),
        ] {
            let mut dead = Dead::new();
            fs::write(dead.path(), lines("a\n")).unwrap();
            let file = dead.path().metadata().unwrap();
            for (stream, bytes) in [(Stream::Stdout, 14), (Stream::Stderr, 4)] {
                let (why, inode, size) = ("ENOSPC".to_owned(), file.ino(), file.size());
                let gap = Some(Gap { bytes, why, inode, size });
                let length = if stream == Stream::Stdout { 2 } else { 0 };
                let chunk = Chunk { length, at: 0, inode, size: size + grown.len() as u64 };
                let chunk = Some(chunk).filter(|chunk| chunk.length > 0);
                dead.journal.put(stream, chunk, gap, b"").unwrap();
            }
            dead.grow(grown);
            write(&dead.pipe.1, b"b\nc\n").unwrap();
            assert_eq!(dead.rest(), format!("= F a\n{missing}= F b\nF c\n"));
        }
    }

    #[test]
    fn what_a_full_disk_does_not_take_is_counted_in_the_error() {
        let dead = Dead::new();
        let full = OpenOptions::new().append(true).open("/dev/full").unwrap();
        write(&dead.pipe.1, b"one\ntwo").unwrap();
        let ends = ReadEnds { tee: &dead.tee.0, stdout: Some(&dead.pipe.0), stderr: None };
        let error = append(&full, Default::default(), &ends).unwrap_err();
        assert_eq!(error.to_string(), "7 bytes are missing in it: ENOSPC");
    }

    #[test]
    fn a_link_is_not_the_file_that_the_chunk_was_on_its_way_to() {
        let mut dead = Dead::new();
        dead.begin(&lines("a\n"), b"", b"b\n");
        write(&dead.pipe.1, b"b\n").unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let precious = elsewhere.path().join("precious");
        fs::rename(dead.path(), &precious).unwrap();
        let before = fs::read(&precious).unwrap();
        symlink(&precious, dead.path()).unwrap();
        let ends = ReadEnds { tee: &dead.tee.0, stdout: Some(&dead.pipe.0), stderr: None };
        let journal = dead.folder.path().join("journal");
        let refused = log(&journal, &dead.path(), &ends).unwrap_err();
        assert_eq!(refused.to_string(), "it is a symbolic link");
        assert_eq!(fs::read(&precious).unwrap(), before);
    }

    #[test]
    fn a_file_that_was_rotated_away_gets_the_rest_of_its_chunk() {
        let mut dead = Dead::new();
        dead.begin(&lines("a\n"), b"", b"b\n");
        write(&dead.pipe.1, b"b\n").unwrap();
        let rotated = dead.path().with_extension("log.1");
        fs::rename(dead.path(), &rotated).unwrap();
        fs::write(dead.path(), "").unwrap();
        assert_eq!(dead.rest(), "");
        assert_eq!(fs::read(rotated).unwrap(), lines("a\nb\n"));
    }
}
