//! The files of a configuration: the one that is named, and those of the folder beside it. The later
//! one wins, key by key.

use super::{Config, DEFAULT_PATH};
use nix::errno::Errno;
use rrun_error::reason;
use rrun_sys::in_root::read_regular_of_host;
use serde::Deserialize as _;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::{fmt, fs, io};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A configuration that cannot be used: file, line and reason.
#[derive(Debug, PartialEq, Eq)]
pub struct Unusable(String);

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unusable {}

/// Longer than any of them, in bytes.
const LARGEST: u64 = 1 << 20;

/// One file, and where it begins among all.
struct File {
    name: String,
    begin: usize,
    /// Its text behind as many blanks, so that a place in it tells which file it is in.
    text: String,
}

/// The files of a configuration as they were read, first to last.
#[derive(Default)]
pub struct Files(Vec<File>);

impl Files {
    /// Reads `path`, or [`DEFAULT_PATH`] if it is there, and then each `*.toml` of the folder that has
    /// its name and `.d`, by name.
    ///
    /// # Errors
    /// A file that was named, or the folder or a file in it, that cannot be read.
    pub fn read(path: Option<&Path>) -> Result<Files, Unusable> {
        let main = path.unwrap_or(Path::new(DEFAULT_PATH));
        let mut files = Files::default();
        match text(main) {
            Ok(text) => files.push(&main.display().to_string(), &text),
            Err(error) if path.is_none() && error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(unreadable(main, &error)),
        }
        for file in drop_ins(main)? {
            let text = text(&file).map_err(|error| unreadable(&file, &error))?;
            files.push(&file.display().to_string(), &text);
        }
        Ok(files)
    }

    /// One more, by its name and text.
    fn push(&mut self, name: &str, text: &str) {
        let begin = self.0.last().map_or(0, |file| file.text.len() + 1);
        let text = format!("{:begin$}{text}", "");
        self.0.push(File { name: name.to_owned(), begin, text });
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|file| file.name.as_str())
    }

    /// What they say together.
    ///
    /// # Errors
    /// `name:line: path: reason`.
    pub fn config(&self) -> Result<Config, Unusable> {
        let mut all = DeTable::new();
        for file in &self.0 {
            let table = DeTable::parse(&file.text).map_err(|error| self.unusable("", &error))?;
            merge(&mut all, table.into_inner());
        }
        let end = self.0.last().map_or(0, |file| file.text.len());
        let deserializer = toml::Deserializer::from(Spanned::new(0..end, all));
        let mut track = serde_path_to_error::Track::new();
        let tracked = serde_path_to_error::Deserializer::new(deserializer, &mut track);
        Config::deserialize(tracked).map_err(|error| match track.path().to_string().as_str() {
            "." => self.unusable("", &error),
            path => self.unusable(&format!("{path}: "), &error),
        })
    }

    fn unusable(&self, path: &str, error: &toml::de::Error) -> Unusable {
        let start = error.span().map_or(0, |span| span.start);
        let why = format!("{path}{}", error.message().trim());
        match self.0.iter().rfind(|file| file.begin <= start) {
            Some(File { name, text, .. }) => {
                let line = 1 + text.bytes().take(start).filter(|byte| *byte == b'\n').count();
                Unusable(format!("{name}:{line}: {why}"))
            }
            None => Unusable(why),
        }
    }
}

/// Values of `from` in the place of those that are there; tables key by key.
fn merge<'a>(into: &mut DeTable<'a>, from: DeTable<'a>) {
    for (key, value) in from {
        let span = value.span();
        // Out and in again: the key has the place of its file.
        let old = into.remove(&key).map(Spanned::into_inner);
        let value = match (old, value.into_inner()) {
            (Some(DeValue::Table(mut old)), DeValue::Table(new)) => {
                merge(&mut old, new);
                DeValue::Table(old)
            }
            (_, new) => new,
        };
        into.insert(key, Spanned::new(span, value));
    }
}

/// The files of the folder beside `main`, by name.
fn drop_ins(main: &Path) -> Result<Vec<PathBuf>, Unusable> {
    let mut folder = OsString::from(main);
    folder.push(".d");
    let folder = PathBuf::from(folder);
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(&folder, &error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| unreadable(&folder, &error))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // What editors leave beside is none.
        if name.starts_with('.') || !name.ends_with(".toml") {
            continue;
        }
        found.push(path);
    }
    found.sort();
    Ok(found)
}

/// The whole text of a configuration's file. What is none, a FIFO for example, might never be read to its end.
///
/// # Errors
/// That of the system; one that is too long, or no text.
pub fn text(path: &Path) -> io::Result<String> {
    let bytes = read_regular_of_host(path, LARGEST).map_err(|error| {
        match error.raw_os_error() == Some(Errno::EFBIG as i32) {
            true => io::Error::other(format!("it is longer than {LARGEST} bytes")),
            false => error,
        }
    })?;
    String::from_utf8(bytes).map_err(|error| io::Error::other(format!("it is no text: {error}")))
}

fn unreadable(path: &Path, error: &io::Error) -> Unusable {
    Unusable(format!("config {}: {}", path.display(), reason(error)))
}

impl Config {
    /// Reads the files that [`Files::read`] finds.
    ///
    /// # Errors
    /// A file that was named or found and cannot be read, or one that does not parse.
    pub fn load(path: Option<&Path>) -> Result<Config, Unusable> {
        Files::read(path)?.config()
    }

    /// Parses the text of the file called `name`.
    ///
    /// # Errors
    /// `name:line: path: reason`.
    pub fn parse(text: &str, name: &str) -> Result<Config, Unusable> {
        let mut files = Files::default();
        files.push(name, text);
        files.config()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOLDER: &str = concat!("rrund.toml", ".d");

    /// A main file and its drop-ins, with the names of the latter.
    fn written(main: &str, drop_ins: &[(&str, &str)]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("rrund.toml");
        fs::write(&file, main).unwrap();
        fs::create_dir(folder.path().join(FOLDER)).unwrap();
        for (name, text) in drop_ins {
            fs::write(folder.path().join(FOLDER).join(name), text).unwrap();
        }
        (folder, file)
    }

    #[test]
    fn of_drop_ins_the_later_one_by_name_wins_key_by_key() {
        let (_folder, file) = written(
            "root = '/main'\nrun = '/main'\n[network]\nbridge = 'main0'\nbin_dirs = ['/a', '/b']\n",
            &[
                ("20-b.toml", "root = '/b'\n[network]\nbin_dirs = ['/c']\n"),
                ("10-a.toml", "root = '/a'\n[network]\nmode = 'cni'\n[log]\ndrain_bytes = 7\n"),
                ("30-c.toml.old", "root = 7\n"),
                (".40-d.toml", "root = 7\n"),
            ],
        );
        let config = Config::load(Some(&file)).unwrap();
        assert_eq!((config.root, config.run), ("/b".into(), "/main".into()));
        assert_eq!(config.network.mode, super::super::NetworkMode::Cni);
        assert_eq!((config.network.bridge.as_str(), config.log.drain_bytes), ("main0", 7));
        assert_eq!(config.network.bin_dirs, [PathBuf::from("/c")]);
    }

    #[test]
    fn a_refusal_names_the_drop_in_with_its_line_and_the_key() {
        for (text, expected) in [
            ("\n[network]\nmoed = 1\n", "10-a.toml:3: network.moed: unknown field `moed`"),
            ("\n\nsocket = 7\n", "10-a.toml:3: socket: invalid type: integer `7`"),
            ("network = 7\n", "10-a.toml:1: network: invalid type: integer `7`"),
            ("[log\n", "10-a.toml:1: "),
            ("[cdi]\nspec_dirs = [\n'/a',\n'b']\n", "10-a.toml:2: cdi.spec_dirs: b is not an"),
        ] {
            let later = ("20-b.toml", "[log]\ndrain_bytes = 1\n");
            let main = "socket = '/s'\n[network]\nmode = 'cni'\n[log]\ndrain_timeout = 3\n";
            let (_folder, file) = written(main, &[("10-a.toml", text), later]);
            let error = Config::load(Some(&file)).unwrap_err().to_string();
            assert!(error.contains(expected), "{error:?} instead of {expected:?}");
        }
    }

    #[test]
    fn a_drop_in_that_is_no_file_is_refused_by_its_name() {
        let (folder, file) = written("", &[]);
        fs::create_dir(folder.path().join(FOLDER).join("10-a.toml")).unwrap();
        let error = Config::load(Some(&file)).unwrap_err().to_string();
        assert!(error.ends_with("rrund.toml.d/10-a.toml: not a regular file"), "{error}");
        fs::remove_dir_all(folder.path().join(FOLDER)).unwrap();
        fs::write(folder.path().join(FOLDER), "").unwrap();
        let error = Config::load(Some(&file)).unwrap_err().to_string();
        assert!(error.contains("rrund.toml.d: ENOTDIR"), "{error}");
    }

    #[test]
    fn a_file_that_has_no_end_is_too_long_or_no_text_is_refused_and_none_is_cut() {
        let (_folder, file) = written("", &[("10-a.toml", "")]);
        let drop_in = file.with_file_name(FOLDER).join("10-a.toml");
        for path in [&file, &drop_in] {
            let refused = |expected: &str| {
                let error = Config::load(Some(&file)).unwrap_err().to_string();
                let expected = format!("config {}: {expected}", path.display());
                assert!(error.starts_with(&expected), "{error}");
            };
            let long = format!("root = '/a'\n#{}\nrun = '/b'\n", " ".repeat(1 << 20));
            fs::write(path, long).unwrap();
            refused("it is longer than 1048576 bytes");
            fs::write(path, b"root = '\xff'\n").unwrap();
            refused("it is no text");
            fs::remove_file(path).unwrap();
            nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap();
            refused("not a regular file");
            fs::remove_file(path).unwrap();
            fs::write(path, "").unwrap();
        }
    }

    #[test]
    fn drop_ins_are_in_force_where_there_is_no_file_beside_them() {
        let (_folder, file) = written("", &[("10-a.toml", "root = '/a'\n")]);
        fs::remove_file(&file).unwrap();
        let error = Config::load(Some(&file)).unwrap_err().to_string();
        assert!(error.contains("rrund.toml: ENOENT"), "what was named must be there: {error}");
    }
}
