//! Container logs, read from the files that the runtime writes.
//!
//! `<folder>/<container>/<run>.log`, in lines of CRI: `<time> <stream> <P|F> <text>`. `F` ends a
//! line of the container, `P` does not. Parts of a log that were rotated away are beside it,
//! `<run>.log.<time>`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Seek};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rrun_blocking::Pool;

use crate::error::{Context, Result};

/// What has come of a line is handed over when it is longer than this, in bytes.
const LONGEST: usize = 1 << 20;

/// Looks that may hang at a time, and how long one is waited for.
static LOOKS: Pool = Pool::new(8);
const LOOK_LIMIT: Duration = Duration::from_secs(10);

/// Bytes read at a time.
const CHUNK: usize = 64 << 10;

/// Which output of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// `stdout`
    Stdout,
    /// `stderr`
    Stderr,
}

/// A line of a container's output, or what has come of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece<'a> {
    /// The container that wrote it.
    pub container: &'a str,
    /// In which run.
    pub run: u64,
    /// On which stream.
    pub stream: Stream,
    /// When, as in the file.
    pub time: &'a str,
    /// What.
    pub text: &'a [u8],
    /// Whether the line ends here.
    pub ends: bool,
}

/// Which runs of each container are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runs {
    /// All that there are and will be.
    All,
    /// The newest and what follows.
    Newest,
    /// The one before the newest alone.
    Previous,
}

/// The log files of a pod. A file that was seen once is read to its end, even if it is removed
/// meanwhile; clones share what was seen.
#[derive(Clone, Debug)]
pub struct LogFiles(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    folder: PathBuf,
    container: Option<String>,
    runs: Runs,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// The lowest run that is read of each container.
    first: BTreeMap<String, u64>,
    known: BTreeSet<(String, u64)>,
    opened: Vec<(String, u64, File)>,
}

impl LogFiles {
    /// Those below `folder`, or those of one container.
    pub fn new(folder: PathBuf, container: Option<String>, runs: Runs) -> LogFiles {
        LogFiles(Arc::new(Shared { folder, container, runs, seen: Mutex::default() }))
    }

    /// Opens what is new, unless that takes long: the folder may hang.
    pub async fn look_in_time(&self) {
        let files = self.clone();
        let look = LOOKS.run(move || files.look());
        // What fails is told by whoever reads.
        let _ = tokio::time::timeout(LOOK_LIMIT, look).await;
    }

    /// Opens what is new.
    ///
    /// # Errors
    /// Those of the file system; what is missing is none.
    pub fn look(&self) -> Result<()> {
        let Shared { folder, container, runs, .. } = &*self.0;
        let mut seen = self.0.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found = BTreeSet::new();
        for name in names(folder)? {
            if container.as_ref().is_some_and(|only| *only != name) {
                continue;
            }
            let mut all: Vec<u64> =
                names(&folder.join(&name))?.iter().filter_map(|name| run_of(name)).collect();
            all.sort_unstable();
            all.dedup();
            match runs {
                Runs::All => {}
                Runs::Newest => {
                    let newest = all.last().copied().unwrap_or(0);
                    let first = *seen.first.entry(name.clone()).or_insert(newest);
                    all.retain(|run| *run >= first);
                }
                Runs::Previous => {
                    all.pop();
                    all.drain(..all.len().saturating_sub(1));
                }
            }
            found.extend(all.into_iter().map(|run| (name.clone(), run)));
        }
        seen.known.retain(|run| found.contains(run));
        for (name, run) in found {
            if seen.known.contains(&(name.clone(), run)) {
                continue;
            }
            if let Some(file) = oldest(&self.folder_of(&name), run)? {
                seen.known.insert((name.clone(), run));
                seen.opened.push((name, run, file));
            }
        }
        Ok(())
    }

    /// Whether there was none at the last look.
    pub fn is_empty(&self) -> bool {
        self.0.seen.lock().unwrap_or_else(PoisonError::into_inner).known.is_empty()
    }

    fn folder_of(&self, container: &str) -> PathBuf {
        self.0.folder.join(container)
    }

    fn take(&self) -> Vec<(String, u64, File)> {
        let mut seen = self.0.seen.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut seen.opened)
    }
}

/// Reads what is new in the logs of a pod.
#[derive(Debug)]
pub struct Reader {
    files: LogFiles,
    tails: BTreeMap<(String, u64), Tail>,
}

#[derive(Debug)]
struct Tail {
    file: File,
    /// What has come of a line of the file.
    raw: Vec<u8>,
    /// What has come of a line of the container, and since when, by stream.
    open: [(String, Vec<u8>); 2],
}

impl Reader {
    /// Reads them from their beginning.
    pub fn new(files: LogFiles) -> Reader {
        Reader { files, tails: BTreeMap::new() }
    }

    /// Hands over what has come since the last call: whole lines, and at the end what there is of
    /// lines that have not ended.
    ///
    /// # Errors
    /// Those of the file system, of the first file that has one; the others are read.
    pub fn read(&mut self, to: &mut dyn FnMut(&Piece<'_>)) -> Result<()> {
        let mut failed = self.files.look().err();
        for (container, run, file) in self.files.take() {
            let tail = Tail { file, raw: Vec::new(), open: Default::default() };
            self.tails.insert((container, run), tail);
        }
        let mut over = Vec::new();
        let newest: BTreeMap<String, u64> = self.tails.keys().cloned().collect();
        for ((container, run), tail) in &mut self.tails {
            let folder = self.files.folder_of(container);
            let mut to = |time: &str, stream, text: &[u8], ends| {
                to(&Piece { container, run: *run, stream, time, text, ends });
            };
            let read = tail.read(&folder, *run, &mut to);
            if let Err(e) = read.context(|| format!("read {}/{run}.log", folder.display())) {
                failed.get_or_insert(e);
            }
            // The output of a run is in its log before the next run begins.
            if newest.get(container).is_some_and(|newest| run < newest) {
                over.push((container.clone(), *run));
            }
        }
        for key in over {
            self.tails.remove(&key);
        }
        failed.map_or(Ok(()), Err)
    }

    #[cfg(test)]
    fn open_files(&self) -> usize {
        self.tails.len()
    }
}

type To<'a> = &'a mut dyn FnMut(&str, Stream, &[u8], bool);

impl Tail {
    fn read(&mut self, folder: &Path, run: u64, to: To<'_>) -> std::io::Result<()> {
        loop {
            self.read_file(to)?;
            let Some(next) = next(&self.file, folder, run)? else { break };
            // Nothing more is written to the file of before once there is one after it.
            self.read_file(to)?;
            (self.file, self.raw) = (next, Vec::new());
        }
        for (stream, (time, open)) in
            [Stream::Stdout, Stream::Stderr].into_iter().zip(&mut self.open)
        {
            if !open.is_empty() {
                to(time, stream, open, false);
                open.clear();
            }
        }
        Ok(())
    }

    fn read_file(&mut self, to: To<'_>) -> std::io::Result<()> {
        let mut chunk = vec![0; CHUNK];
        loop {
            let read = match self.file.read(&mut chunk) {
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                other => other?,
            };
            if read == 0 {
                if self.file.metadata()?.len() >= self.file.stream_position()? {
                    return Ok(());
                }
                // Somebody emptied it below us, as logrotate does with copytruncate.
                self.file.rewind()?;
                self.raw.clear();
                continue;
            }
            self.raw.extend_from_slice(&chunk[..read]);
            let mut start = 0;
            while let Some(end) = self.raw[start..].iter().position(|byte| *byte == b'\n') {
                let line = &self.raw[start..start + end];
                start += end + 1;
                let Some((time, stream, ends, text)) = parse(line) else { continue };
                let (since, open) = &mut self.open[stream as usize];
                time.clone_into(since);
                open.extend_from_slice(text);
                if ends || open.len() > LONGEST {
                    to(time, stream, open, ends);
                    open.clear();
                }
            }
            self.raw.drain(..start);
            if self.raw.len() > LONGEST {
                self.raw.clear();
            }
        }
    }
}

/// Time, stream, whether the line ends here, and the text; `None` for what is no line of CRI.
fn parse(line: &[u8]) -> Option<(&str, Stream, bool, &[u8])> {
    let mut parts = line.splitn(4, |byte| *byte == b' ');
    let time = std::str::from_utf8(parts.next()?).ok()?;
    let stream = match parts.next()? {
        b"stdout" => Stream::Stdout,
        b"stderr" => Stream::Stderr,
        _ => return None,
    };
    // More tags may follow the first one, after colons.
    let ends = parts.next()?.first() != Some(&b'P');
    Some((time, stream, ends, parts.next().unwrap_or_default()))
}

/// `3` of `3.log` and of `3.log.20260101-000000`.
fn run_of(name: &str) -> Option<u64> {
    let (run, rest) = name.split_once(".log")?;
    (rest.is_empty() || rest.starts_with('.')).then(|| run.parse().ok())?
}

/// The files of a run, oldest first; the one that is written is the last.
pub(super) fn parts(folder: &Path, run: u64) -> Result<Vec<PathBuf>> {
    let (current, rotated) = (format!("{run}.log"), format!("{run}.log."));
    let mut all = names(folder)?;
    all.retain(|name| *name == current || name.starts_with(&rotated));
    all.sort_by_key(|name| (*name == current, name.clone()));
    Ok(all.into_iter().map(|name| folder.join(name)).collect())
}

fn oldest(folder: &Path, run: u64) -> Result<Option<File>> {
    for path in parts(folder, run)? {
        if let Some(file) = open(&path).context(|| format!("open {}", path.display()))? {
            return Ok(Some(file));
        }
    }
    Ok(None)
}

/// A log, if there is one. Whoever may write to the folder can have a link there, which leads to any
/// file of the host, or a FIFO, which its reader would wait at.
fn open(path: &Path) -> std::io::Result<Option<File>> {
    use nix::libc::{ELOOP, O_NOFOLLOW, O_NONBLOCK};
    let mut options = File::options();
    let file = match options.read(true).custom_flags(O_NOFOLLOW | O_NONBLOCK).open(path) {
        Err(e) if e.kind() == ErrorKind::NotFound || e.raw_os_error() == Some(ELOOP) => {
            return Ok(None);
        }
        other => other?,
    };
    Ok(file.metadata()?.is_file().then_some(file))
}

/// The file that follows `file`: after one that is gone, the oldest.
fn next(file: &File, folder: &Path, run: u64) -> std::io::Result<Option<File>> {
    let inode = file.metadata()?.ino();
    let all = parts(folder, run).unwrap_or_default();
    let inode_of = |path: &PathBuf| fs::symlink_metadata(path).ok().map(|m| m.ino());
    let inodes: Vec<_> = all.iter().map(inode_of).collect();
    let at = inodes.iter().position(|found| *found == Some(inode)).map_or(0, |at| at + 1);
    all.get(at).map_or(Ok(None), |path| open(path))
}

fn names(folder: &Path) -> Result<Vec<String>> {
    match fs::read_dir(folder) {
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(Vec::new())
        }
        other => {
            let entries = other.context(|| format!("read {}", folder.display()))?;
            Ok(entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    struct Logs {
        dir: tempfile::TempDir,
    }

    impl Logs {
        fn new() -> Logs {
            let dir = tempfile::tempdir().unwrap();
            fs::create_dir(dir.path().join("web")).unwrap();
            Logs { dir }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.dir.path().join("web").join(name)
        }

        fn write(&self, name: &str, text: &str) {
            let mut options = File::options();
            let mut file = options.append(true).create(true).open(self.path(name)).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        }

        fn reader(&self, runs: Runs) -> Reader {
            Reader::new(LogFiles::new(self.dir.path().to_owned(), None, runs))
        }
    }

    /// What comes, a line that has not ended with `…`.
    fn read(reader: &mut Reader) -> Vec<String> {
        let mut all = Vec::new();
        let mut to = |piece: &Piece<'_>| {
            let text = String::from_utf8_lossy(piece.text);
            all.push(format!("{text}{}", if piece.ends { "" } else { "…" }));
        };
        reader.read(&mut to).unwrap();
        all
    }

    #[test]
    fn lines_are_joined_from_pieces_by_stream_and_runs_come_in_order() {
        let logs = Logs::new();
        logs.write("10.log", "t stdout F later\n");
        logs.write("9.log", "t stdout P ab\nt stderr P x\nt stdout F cd\nnonsense\nt stderr F y\n");
        let mut reader = logs.reader(Runs::All);
        assert_eq!(read(&mut reader), ["abcd", "xy", "later"]);
        assert_eq!((read(&mut reader).len(), reader.open_files()), (0, 1));
    }

    #[test]
    fn a_line_without_an_end_is_handed_over_and_goes_on_where_it_stopped() {
        let logs = Logs::new();
        logs.write("0.log", "t stdout F one\nt stdout P prompt> \nt stdout F ha");
        let mut reader = logs.reader(Runs::All);
        assert_eq!(read(&mut reader), ["one", "prompt> …"]);
        logs.write("0.log", "lf\nt stdout P all there is\n");
        assert_eq!(read(&mut reader), ["half", "all there is…"]);
        assert!(read(&mut reader).is_empty());
    }

    #[test]
    fn a_file_that_is_removed_is_read_to_its_end() {
        let logs = Logs::new();
        let mut reader = logs.reader(Runs::All);
        logs.write("0.log", "t stdout F last words\n");
        reader.files.look().unwrap();
        fs::remove_file(logs.path("0.log")).unwrap();
        assert_eq!(read(&mut reader), ["last words"]);
    }

    #[test]
    fn a_log_that_is_emptied_below_is_read_from_its_beginning() {
        let logs = Logs::new();
        let mut reader = logs.reader(Runs::All);
        logs.write("0.log", "t stdout F one\nt stdout F two\nt stdout F ha");
        assert_eq!(read(&mut reader), ["one", "two"]);
        File::options().write(true).open(logs.path("0.log")).unwrap().set_len(0).unwrap();
        assert!(read(&mut reader).is_empty());
        logs.write("0.log", "t stdout F three\n");
        assert_eq!(read(&mut reader), ["three"]);
    }

    #[test]
    fn a_thousand_runs_leave_one_file_open() {
        let logs = Logs::new();
        let mut reader = logs.reader(Runs::All);
        for run in 0..1_000 {
            logs.write(&format!("{run}.log"), &format!("t stdout F {run}\n"));
            if run > 0 {
                fs::remove_file(logs.path(&format!("{}.log", run - 1))).unwrap();
            }
            assert_eq!(read(&mut reader), [run.to_string()]);
            assert_eq!(reader.open_files(), 1);
        }
    }

    #[test]
    fn a_log_is_followed_through_rotations() {
        let logs = Logs::new();
        logs.write("0.log", "t stdout F one\n");
        let mut reader = logs.reader(Runs::All);
        assert_eq!(read(&mut reader), ["one"]);
        logs.write("0.log", "t stdout F two\n");
        fs::rename(logs.path("0.log"), logs.path("0.log.20260101-000000")).unwrap();
        assert_eq!(read(&mut reader), ["two"]);
        logs.write("0.log.20260101-000000", "t stdout P thr\n");
        logs.write("0.log", "t stdout F ee\nt stdout F four\n");
        fs::rename(logs.path("0.log"), logs.path("0.log.20260101-000010")).unwrap();
        logs.write("0.log", "t stdout F five\n");
        assert_eq!(read(&mut reader), ["three", "four", "five"]);
        assert_eq!(read(&mut logs.reader(Runs::All)), ["one", "two", "three", "four", "five"]);
    }

    #[test]
    fn a_link_and_a_fifo_in_the_folder_are_no_logs() {
        let logs = Logs::new();
        logs.write("secret", "t stdout F secret\n");
        logs.write("2.log", "t stdout F one\n");
        std::os::unix::fs::symlink(logs.path("secret"), logs.path("0.log")).unwrap();
        let mode = nix::sys::stat::Mode::S_IRWXU;
        nix::unistd::mkfifo(&logs.path("1.log"), mode).unwrap();
        let mut reader = logs.reader(Runs::All);
        assert_eq!(read(&mut reader), ["one"]);
        fs::rename(logs.path("2.log"), logs.path("2.log.20260101-000000")).unwrap();
        std::os::unix::fs::symlink(logs.path("secret"), logs.path("2.log")).unwrap();
        assert!(read(&mut reader).is_empty());
    }

    #[test]
    fn the_newest_run_and_what_follows_or_the_one_before_alone() {
        let logs = Logs::new();
        for run in [8, 9, 10] {
            logs.write(&format!("{run}.log"), &format!("t stdout F {run}\n"));
        }
        let (mut newest, mut previous) = (logs.reader(Runs::Newest), logs.reader(Runs::Previous));
        assert_eq!((read(&mut newest), read(&mut previous)), (vec!["10".into()], vec!["9".into()]));
        logs.write("11.log", "t stdout F 11\n");
        assert_eq!(read(&mut newest), ["11"]);
    }
}
