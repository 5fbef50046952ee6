//! Records on disk: one a line, `<format> <version> <checksum> <json>`.
//!
//! A record that stands alone is replaced by a rename; a list of records is appended to. Nothing is
//! fsynced: after a power cut the runtime's own records end the pods of before. A line that is torn
//! or was changed by something else has the wrong checksum.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use crate::error::{Context, Error, Kind, Result};

/// How long a lock is waited for that is held for a moment at a time.
const PATIENCE: Duration = Duration::from_secs(10);

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(5);

/// What a file holds.
#[derive(Clone, Copy, Debug)]
pub struct Format {
    /// One word.
    pub name: &'static str,
    /// Counts up when a reader of the version before would be wrong.
    pub version: u32,
}

impl Format {
    fn line<T: Serialize>(self, value: &T) -> Result<String> {
        let json = serde_json::to_string(value)
            .map_err(|e| Error::new(Kind::Internal, format!("encode {}: {e}", self.name)))?;
        Ok(format!("{} {} {} {json}\n", self.name, self.version, checksum(&json)))
    }

    fn parse<T: DeserializeOwned>(self, line: &str) -> Result<T> {
        let broken = |why: String| Error::new(Kind::Internal, why);
        let mut parts = line.splitn(4, ' ');
        let mut part = || parts.next().unwrap_or_default();
        let (name, version, sum, json) = (part(), part(), part(), part());
        if name != self.name {
            return Err(broken(format!("it is not a record of a {}", self.name)));
        }
        if version != self.version.to_string() {
            return Err(broken(format!("version {version}, known is {}", self.version)));
        }
        if sum != checksum(json) {
            return Err(broken("its checksum is wrong".to_owned()));
        }
        serde_json::from_str(json).map_err(|e| broken(format!("decode: {e}")))
    }

    /// Replaces the record at `path`, readable by its owner alone.
    ///
    /// # Errors
    /// Those of the file system; the record of before is still there.
    pub fn write<T: Serialize>(self, path: &Path, value: &T) -> Result<()> {
        let line = self.line(value)?;
        // Not the path's extension: a name that has a dot shares its beginning with others.
        let mut new = path.as_os_str().to_owned();
        new.push(".new");
        let new = PathBuf::from(new);
        let write = || {
            rrun_sys::record::create(&new, 0o600)?.write_all(line.as_bytes())?;
            fs::rename(&new, path)
        };
        write().context(|| format!("write {}", path.display()))
    }

    /// The record at `path`, if there is one.
    ///
    /// # Errors
    /// Those of the file system, and `Internal` when it is broken or of another version.
    pub fn read<T: DeserializeOwned>(self, path: &Path) -> Result<Option<T>> {
        let text = match rrun_sys::record::read_text(path) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            other => other.context(|| format!("read {}", path.display()))?,
        };
        let line = text.strip_suffix('\n').unwrap_or(&text);
        self.parse(line).map(Some).context(|| format!("read {}", path.display()))
    }

    /// Appends to a list of records.
    ///
    /// # Errors
    /// Those of the file system; `file` may then end with a torn line.
    pub fn append<T: Serialize>(self, file: &mut File, value: &T) -> Result<()> {
        let line = self.line(value)?;
        file.write_all(line.as_bytes()).context(|| format!("append to {}", self.name))
    }

    /// The records of a list that can be read; none when there is no file.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn read_list<T: DeserializeOwned>(self, path: &Path) -> Result<Vec<T>> {
        match rrun_sys::record::read(path) {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            other => {
                let bytes = other.context(|| format!("read {}", path.display()))?;
                let text = String::from_utf8_lossy(&bytes);
                Ok(text.lines().filter_map(|line| self.parse(line).ok()).collect())
            }
        }
    }
}

/// Locks a file for this process, which is made if it is not there; `None` while another one has it.
///
/// # Errors
/// Those of the file system.
pub fn try_lock(path: &Path) -> Result<Option<Flock<File>>> {
    try_flock(path, lock_file(path)?)
}

fn try_flock(path: &Path, file: File) -> Result<Option<Flock<File>>> {
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, errno)) => Err(Error::errno(format!("lock {}", path.display()), errno)),
    }
}

/// As [`try_lock`], and waits for whoever has it. For what is done in a moment. Blocks.
///
/// # Errors
/// Those of the file system; `Timeout` when somebody has it for long, as one that was stopped does.
pub fn lock(path: &Path) -> Result<Flock<File>> {
    lock_within(path, PATIENCE)
}

/// As [`lock`], of a folder that is there: nothing is left in it.
///
/// # Errors
/// As those of [`lock`].
pub fn lock_folder(path: &Path) -> Result<Flock<File>> {
    let open = || File::open(path).context(|| format!("open {}", path.display()));
    wait_for_lock(path, PATIENCE, || try_flock(path, open()?))
}

fn lock_within(path: &Path, limit: Duration) -> Result<Flock<File>> {
    wait_for_lock(path, limit, || try_lock(path))
}

fn wait_for_lock(
    path: &Path,
    limit: Duration,
    try_it: impl Fn() -> Result<Option<Flock<File>>>,
) -> Result<Flock<File>> {
    let end = Instant::now() + limit;
    loop {
        if let Some(lock) = try_it()? {
            return Ok(lock);
        }
        if Instant::now() >= end {
            let text = format!("another process has had it for {} s", limit.as_secs());
            let what = format!("lock {}", path.display());
            return Err(Error::new(Kind::Timeout, text).context(what));
        }
        sleep(PAUSE);
    }
}

/// What whoever has the lock wrote into it stays.
fn lock_file(path: &Path) -> Result<File> {
    rrun_sys::record::open_lock(path).context(|| format!("make {}", path.display()))
}

/// The first half of SHA-256, in hexadecimal digits.
fn checksum(json: &str) -> String {
    Sha256::digest(json.as_bytes()).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: Format = Format { name: "words", version: 2 };

    #[test]
    fn a_record_is_read_back_and_one_that_was_changed_torn_or_is_foreign_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("words");
        assert_eq!(WORDS.read::<Vec<String>>(&path).unwrap(), None);
        WORDS.write(&path, &["one\ntwo", "three"]).unwrap();
        assert_eq!(WORDS.read::<Vec<String>>(&path).unwrap().unwrap(), ["one\ntwo", "three"]);
        let whole = fs::read_to_string(&path).unwrap();
        for (text, why) in [
            (whole.replace("three", "there"), "its checksum is wrong"),
            (whole[..whole.len() - 4].to_owned(), "its checksum is wrong"),
            (whole.replacen('2', "1", 1), "version 1, known is 2"),
            (String::new(), "it is not a record of a words"),
        ] {
            fs::write(&path, &text).unwrap();
            let error = WORDS.read::<Vec<String>>(&path).unwrap_err();
            assert_eq!(error.to_string(), format!("read {}: {why}", path.display()), "{text}");
        }
    }

    #[test]
    fn a_lock_is_waited_for_and_one_that_somebody_keeps_is_an_error_with_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let kept = lock(&path).unwrap();
        let error = lock_within(&path, Duration::ZERO).unwrap_err();
        assert_eq!(error.kind(), Kind::Timeout);
        let expected = format!("lock {}: another process has had it for 0 s", path.display());
        assert_eq!(error.to_string(), expected);
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| lock(&path).map(drop));
            drop(kept);
            waits.join().unwrap().unwrap();
        });
    }

    #[test]
    fn a_torn_line_of_a_list_costs_itself_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("words");
        let mut file = File::create(&path).unwrap();
        WORDS.append(&mut file, &1).unwrap();
        file.write_all(b"words 2 00 to\n").unwrap();
        WORDS.append(&mut file, &2).unwrap();
        file.write_all(b"words 2 0").unwrap();
        assert_eq!(WORDS.read_list::<u32>(&path).unwrap(), [1, 2]);
    }

    #[test]
    fn records_whose_names_differ_after_a_dot_are_written_apart() {
        let dir = tempfile::tempdir().unwrap();
        let paths = ["image.pod-1", "image.pod-2"].map(|name| dir.path().join(name));
        std::thread::scope(|scope| {
            for path in &paths {
                scope.spawn(move || (0..500).for_each(|n| WORDS.write(path, &n).unwrap()));
            }
        });
        assert_eq!(paths.map(|path| WORDS.read::<u32>(&path).unwrap()), [Some(499), Some(499)]);
    }

    #[test]
    fn a_link_or_a_fifo_where_the_new_record_is_written_is_an_error_with_the_records_name() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("precious"), "as it was").unwrap();
        std::os::unix::fs::symlink(at("precious"), at("words.new")).unwrap();
        let refused = || WORDS.write(&at("words"), &1).unwrap_err().to_string();
        let expected = format!("write {}: not a regular file", at("words").display());
        assert_eq!(refused(), expected);
        assert_eq!(fs::read_to_string(at("precious")).unwrap(), "as it was");
        fs::remove_file(at("words.new")).unwrap();
        nix::unistd::mkfifo(&at("words.new"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(refused(), expected);
    }
}
