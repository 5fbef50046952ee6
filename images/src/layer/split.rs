//! A layer's archive in two parts: the data of its files, which lie in the layer's directory, and
//! all the rest (what docker's tar-split does). Both together are the archive again, byte for byte,
//! and so can be hashed and exported, though the store keeps no archive.
//!
//! The rest is a zstd stream of parts. Each begins with a letter: `R`, a length in 4 bytes and so
//! many bytes of the archive; or `F`, the length of a path in 2 bytes, the path, and a length in 8:
//! the data of that file. Numbers are little-endian.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use rrun_sys::root::{RelPath, RootDir, Rule};

use crate::error::{Context, Error, Kind, Result};

/// The fastest; headers are much the same.
const LEVEL: i32 = 1;
/// Of the archive's bytes that are held before they are a part.
const LARGEST_PART: usize = 256 << 10;

type Out = zstd::Encoder<'static, BufWriter<File>>;

/// Passes an archive on and writes its split meanwhile. What cannot be written is no fault of the
/// layer: it then has none.
pub(super) struct Splitter<R> {
    source: R,
    out: Option<(PathBuf, Out)>,
    /// What is no data since the last part.
    not_data: Vec<u8>,
    /// Bytes of the current file's data that are still to come, and that were passed on.
    data_to_come: u64,
    data_passed: u64,
}

impl<R: BufRead> Splitter<R> {
    /// Without a path nothing is written.
    pub(super) fn new(source: R, path: Option<&Path>) -> Splitter<R> {
        let out = path.and_then(|path| match make(path) {
            Ok(out) => Some((path.to_owned(), out)),
            Err(e) => {
                tracing::debug!("{}: {e}", path.display());
                None
            }
        });
        Splitter { source, out, not_data: Vec::new(), data_to_come: 0, data_passed: 0 }
    }

    /// What it reads from.
    pub(super) fn source(&mut self) -> &mut R {
        &mut self.source
    }

    /// The next bytes are the data of a file.
    pub(super) fn begin_data(&mut self, size: u64) {
        (self.data_to_come, self.data_passed) = (size, 0);
    }

    /// They went into the file at this path, if there is one.
    pub(super) fn end_data(&mut self, file: Option<&RelPath>) {
        let to_come = std::mem::take(&mut self.data_to_come);
        let passed = std::mem::take(&mut self.data_passed);
        match file {
            _ if passed == 0 => {}
            Some(path) if to_come == 0 => self.write(|out, not_data| {
                write_not_data(out, not_data)?;
                write_file(out, path, passed)
            }),
            _ => self.give_up(),
        }
    }

    /// Ends it: the bytes that it takes, 0 if there is none. Of a layer that is not `whole`, because
    /// it has a path twice, there can be none.
    pub(super) fn finish(mut self, whole: bool) -> u64 {
        if !whole {
            self.give_up();
        }
        self.write(write_not_data);
        let Some((path, out)) = self.out.take() else { return 0 };
        let size = |mut file: BufWriter<File>| {
            file.flush()?;
            Ok(file.get_ref().metadata()?.len())
        };
        match out.finish().and_then(size) {
            Ok(bytes) => bytes.next_multiple_of(4096),
            Err(e) => {
                tracing::debug!("{}: {e}", path.display());
                remove(&path);
                0
            }
        }
    }

    fn write(&mut self, work: impl FnOnce(&mut Out, &mut Vec<u8>) -> io::Result<()>) {
        let Some((path, out)) = &mut self.out else { return };
        if let Err(e) = work(out, &mut self.not_data) {
            tracing::debug!("{}: {e}", path.display());
            self.give_up();
        }
    }

    fn give_up(&mut self) {
        if let Some((path, _)) = self.out.take() {
            remove(&path);
        }
        self.not_data = Vec::new();
    }
}

fn make(path: &Path) -> io::Result<Out> {
    zstd::Encoder::new(BufWriter::new(rrun_sys::record::create(path, 0o666)?), LEVEL)
}

fn remove(path: &Path) {
    if let Err(e) = std::fs::remove_file(path) {
        tracing::debug!("{}: {e}", path.display());
    }
}

fn write_not_data(out: &mut Out, bytes: &mut Vec<u8>) -> io::Result<()> {
    for part in bytes.chunks(LARGEST_PART) {
        out.write_all(b"R")?;
        out.write_all(&(part.len() as u32).to_le_bytes())?;
        out.write_all(part)?;
    }
    bytes.clear();
    Ok(())
}

fn write_file(out: &mut Out, path: &RelPath, size: u64) -> io::Result<()> {
    let path = path.as_bytes();
    let length = u16::try_from(path.len()).map_err(io::Error::other)?;
    out.write_all(b"F")?;
    out.write_all(&length.to_le_bytes())?;
    out.write_all(path)?;
    out.write_all(&size.to_le_bytes())
}

impl<R: BufRead> Read for Splitter<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let have = self.fill_buf()?;
        let n = have.len().min(to.len());
        to[..n].copy_from_slice(&have[..n]);
        self.consume(n);
        Ok(n)
    }
}

impl<R: BufRead> BufRead for Splitter<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.source.fill_buf()
    }

    fn consume(&mut self, n: usize) {
        let data = n.min(usize::try_from(self.data_to_come).unwrap_or(usize::MAX));
        self.data_to_come -= data as u64;
        self.data_passed += data as u64;
        if n > data && self.out.is_some() {
            // They were shown to the caller, so they are still there.
            let is_seen = match self.source.fill_buf() {
                Ok(have) if have.len() >= n => {
                    self.not_data.extend_from_slice(&have[data..n]);
                    true
                }
                _ => false,
            };
            if !is_seen {
                self.give_up();
            } else if self.not_data.len() >= LARGEST_PART {
                self.write(write_not_data);
            }
        }
        self.source.consume(n);
    }
}

/// Writes the archive of the layer in `folder` again, from its split.
///
/// # Errors
/// `Invalid` where the layer is not as its split says; else of the disk, and of `to`.
pub(crate) fn join(split: &Path, folder: &Path, to: &mut dyn Write) -> Result<()> {
    let root = RootDir::open(folder, Rule::Beneath).context(folder.display())?;
    let file = rrun_sys::record::open(split).context(split.display())?;
    let decoder = zstd::Decoder::new(file).map(Whole).context(split.display())?;
    let mut parts = BufReader::new(decoder);
    while let Some(part) = next_part(&mut parts).context(split.display())? {
        match part {
            Part::Rest(length) => {
                copy(&mut (&mut parts).take(length.into()), length.into(), to)
                    .context(split.display())?;
            }
            Part::File(path, size) => join_file(&root, &path, size, to).context(&path)?,
        }
    }
    Ok(())
}

/// A part of a split.
enum Part {
    /// So many bytes follow.
    Rest(u32),
    /// The data of a file with so many bytes.
    File(RelPath, u64),
}

fn next_part(parts: &mut impl Read) -> Result<Option<Part>> {
    let mut letter = [0];
    if parts.read(&mut letter)? == 0 {
        return Ok(None);
    }
    match letter[0] {
        b'R' => Ok(Some(Part::Rest(u32::from_le_bytes(number(parts)?)))),
        b'F' => {
            let mut path = vec![0; u16::from_le_bytes(number(parts)?).into()];
            parts.read_exact(&mut path)?;
            let size = u64::from_le_bytes(number(parts)?);
            Ok(Some(Part::File(RelPath::parse(&path)?, size)))
        }
        other => Err(Error::invalid(format!("a part that is called {:?}", char::from(other)))),
    }
}

fn number<const N: usize>(parts: &mut impl Read) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    parts.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// What zstd cannot read is no fault of the disk: it is not what was written.
struct Whole<R>(R);

impl<R: Read> Read for Whole<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        self.0.read(to).map_err(|e| match e.raw_os_error() {
            Some(_) => e,
            None => io::Error::new(io::ErrorKind::InvalidData, e),
        })
    }
}

fn join_file(root: &RootDir, path: &RelPath, size: u64, to: &mut dyn Write) -> Result<()> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = match root.open_at(path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return Err(Error::invalid("it is gone"));
        }
        Err(e) => return Err(e.into()),
    };
    let found = file.metadata()?;
    if !found.is_file() || found.len() != size {
        return Err(Error::invalid(format_args!("it is not the file of {size} bytes that it was")));
    }
    copy(&mut file.take(size), size, to)
}

fn copy(from: &mut dyn Read, size: u64, to: &mut dyn Write) -> Result<()> {
    let copied = io::copy(from, to)?;
    match copied == size {
        true => Ok(()),
        false => Err(Error::new(Kind::Invalid, format!("{copied} of {size} bytes are there"))),
    }
}
