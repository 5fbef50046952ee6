//! Container logs, read from the files that the shims write.

use crate::run::LOOK;
use crate::shelf;
use crate::show;
use anyhow::{Context, Result, bail};
use rrun_cri::config::Config;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Lines longer than this are printed in pieces.
const LONGEST: usize = 1 << 20;

/// Bytes read at a time.
const PIECE: usize = 64 << 10;

/// A line of a log without its end.
pub struct Line<'a> {
    /// The container that wrote it.
    pub container: &'a str,
    /// The time it was written at, as in the file.
    pub time: &'a str,
    /// What it says.
    pub text: &'a [u8],
}

/// Reads what is new in the logs of a pod.
///
/// `<folder>/<container>/<run>.log`, in lines of CRI: `<time> <stream> <P|F> <text>`.
pub struct Reader {
    folder: PathBuf,
    only: Option<String>,
    files: BTreeMap<(String, u64), Tail>,
}

#[derive(Default)]
struct Tail {
    /// Opened once: a file that is removed meanwhile is still read to its end.
    file: Option<File>,
    /// What has come of a line of the file.
    raw: Vec<u8>,
    /// What has come of a line of the container, in pieces.
    open: Vec<u8>,
}

impl Reader {
    /// Reads everything below `folder`, or of the container `only`.
    pub fn new(folder: PathBuf, only: Option<String>) -> Reader {
        Reader { folder, only, files: BTreeMap::new() }
    }

    /// Hands over the lines that have come since the last call.
    pub fn read(&mut self, line: &mut dyn FnMut(&Line<'_>)) -> Result<()> {
        for container in names(&self.folder)? {
            if self.only.as_ref().is_some_and(|only| *only != container) {
                continue;
            }
            for file in names(&self.folder.join(&container))? {
                let run = file.strip_suffix(".log").and_then(|run| run.parse().ok());
                if let Some(run) = run {
                    self.files.entry((container.clone(), run)).or_default();
                }
            }
        }
        for ((container, run), tail) in &mut self.files {
            let path = self.folder.join(container).join(format!("{run}.log"));
            tail.read(&path, container, line).with_context(|| path.display().to_string())?;
        }
        Ok(())
    }
}

impl Tail {
    fn read(
        &mut self,
        path: &Path,
        container: &str,
        line: &mut dyn FnMut(&Line<'_>),
    ) -> std::io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            empty => match File::open(path) {
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
                other => empty.insert(other?),
            },
        };
        let mut piece = vec![0; PIECE];
        loop {
            let read = file.read(&mut piece)?;
            if read == 0 {
                return Ok(());
            }
            self.raw.extend_from_slice(&piece[..read]);
            let mut start = 0;
            while let Some(end) = self.raw[start..].iter().position(|byte| *byte == b'\n') {
                let raw = &self.raw[start..start + end];
                start += end + 1;
                let Some((time, whole, text)) = parse(raw) else { continue };
                self.open.extend_from_slice(text);
                if whole || self.open.len() > LONGEST {
                    line(&Line { container, time, text: &self.open });
                    self.open.clear();
                }
            }
            self.raw.drain(..start);
        }
    }
}

/// Time, whether the line ends here, and the text; `None` for what is no line of CRI.
fn parse(raw: &[u8]) -> Option<(&str, bool, &[u8])> {
    let mut parts = raw.splitn(4, |byte| *byte == b' ');
    let time = std::str::from_utf8(parts.next()?).ok()?;
    let _stream = parts.next()?;
    let whole = parts.next()? != b"P";
    Some((time, whole, parts.next()?))
}

fn names(folder: &Path) -> Result<Vec<String>> {
    match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        other => {
            let entries = other.with_context(|| format!("read {}", folder.display()))?;
            Ok(entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect())
        }
    }
}

/// `rrun logs`
pub async fn logs(
    config: &Config,
    pod: &str,
    container: Option<&str>,
    follow: bool,
) -> Result<ExitCode> {
    let entry = shelf::find(config, pod)?;
    let spec = entry.pod(config)?.spec;
    if let Some(name) = container
        && spec.find(name).is_none()
    {
        bail!("pod {pod}: container {name}: not found");
    }
    let with_name = container.is_none() && spec.all().count() > 1;
    let mut reader = Reader::new(entry.logs(config), container.map(str::to_owned));
    let mut past = Vec::new();
    reader.read(&mut |line| past.push((line.time.to_owned(), owned(line))))?;
    // By time: what several containers wrote before is read file by file.
    past.sort_by(|one, other| one.0.cmp(&other.0));
    for (time, (container, text)) in &past {
        show::print(&Line { container, time, text }, with_name);
    }
    let mut over = !follow;
    while !over {
        tokio::time::sleep(LOOK).await;
        // Looked at first: what is written before the pod ends is read after it.
        over = !entry.is_held(config);
        reader.read(&mut |line| show::print(line, with_name))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn owned(line: &Line<'_>) -> (String, Vec<u8>) {
    (line.container.to_owned(), line.text.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_joined_from_pieces_and_runs_come_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let container = folder.path().join("web");
        fs::create_dir(&container).unwrap();
        let write = |name: &str, text: &str| {
            use std::io::Write;
            let mut options = File::options();
            let mut file = options.append(true).create(true).open(container.join(name)).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        };
        write("10.log", "t stdout F later\n");
        write("9.log", "t stdout P ab\nt stdout F cd\nnonsense\nt stderr F  x\nt stdout F ha");
        let mut reader = Reader::new(folder.path().to_owned(), None);
        let mut read = || {
            let mut all = Vec::new();
            let mut line =
                |line: &Line<'_>| all.push(String::from_utf8_lossy(line.text).into_owned());
            reader.read(&mut line).unwrap();
            all
        };
        assert_eq!(read(), ["abcd", " x", "later"]);
        write("9.log", "lf\n");
        assert_eq!(read(), ["half"]);
        assert!(read().is_empty());
    }
}
