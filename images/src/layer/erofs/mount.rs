//! Images as detached mounts, and whether this host can have them.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{Cursor, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::fcntl::{OFlag, PosixFadviseAdvice, posix_fadvise};
use nix::sys::stat::Mode;
use rrun_sys::mount::{self, FsContext};
use rrun_sys::root::{RelPath, RootDir, Rule};

use super::{Files, Writer, open, shared};
use crate::digest::Digest;
use crate::error::{Context, Error, Kind, Result};
use crate::layer::entries::apply;
use crate::tar::Archive;

/// What is read ahead of an index at the most, in bytes. One of 20,000 files has 2 MiB.
const READ_AHEAD: i64 = 32 << 20;
/// What is in the only file of the image that is tried.
const TEXT: &str = "text";

/// Mounts the image in `folder`. The mount is in nobody's mount table, and goes with its descriptor
/// and with the overlays that have it.
pub(crate) fn mount(folder: &Path) -> Result<OwnedFd> {
    open(folder).and_then(|files| mount_files(&files)).context(folder.display())
}

/// The same; where a process has mounted it already, what this one gets shares its pages.
pub(crate) fn share(folder: &Path) -> Result<OwnedFd> {
    let shared = || {
        let files = open(folder)?;
        shared::find(folder, &files.index).map_or_else(|| mount_files(&files), Ok)
    };
    shared().context(folder.display())
}

fn mount_files(files: &Files) -> Result<OwnedFd> {
    // Where the index is not in memory, the kernel reads it in a way of which ext4 warns once in
    // each boot (6.18: `ext4_check_map_extents_env`). That goes for images of before, too.
    let panics = std::fs::read_to_string("/proc/sys/kernel/panic_on_warn");
    if panics.is_ok_and(|text| text.trim() != "0") {
        let why = "this host panics at a warning (kernel.panic_on_warn)";
        return Err(Error::new(Kind::Unavailable, why));
    }
    read_ahead(&files.index);
    let context = FsContext::open(c"erofs").context("EROFS")?;
    let set = |key: &CStr, file: &File| {
        // The kernel opens it once more, and keeps that.
        let name = CString::new(format!("/proc/self/fd/{}", file.as_raw_fd()));
        context.set(key, Some(&name.map_err(Error::invalid)?)).context("EROFS")
    };
    set(c"source", &files.index)?;
    set(c"device", &files.archive)?;
    context.mount(0).map_err(|errno| {
        let said: Vec<String> = std::iter::from_fn(|| context.message()).collect();
        Error::new(Kind::Internal, format!("mount EROFS: {}: {errno:?}", said.join(": ")))
    })
}

/// The kernel would read the index block by block, as a container's first processes look files up.
fn read_ahead(index: &File) {
    // Without it all is as it was, only later.
    let _ = posix_fadvise(index, 0, READ_AHEAD, PosixFadviseAdvice::POSIX_FADV_WILLNEED);
}

/// Whether images can be mounted from files on the disk under `folder`, and be layers of an overlay
/// beside the empty directory `empty`, as directories can: tried by one of a single file, of which
/// nothing is left. If not, what this host lacks.
///
/// # Errors
/// Of the disk, by which nothing is known of the host.
pub(crate) fn try_here(folder: &Path, empty: &Path) -> Result<Result<(), String>> {
    let files = write_trial(folder)?;
    let empty = File::open(empty).context(empty.display())?;
    Ok(mount_trial(&files, &empty).map_err(|refused| refused.to_string()))
}

/// Writes an image of one file.
fn write_trial(folder: &Path) -> Result<Files> {
    let unnamed = || -> Result<File> {
        let mut options = File::options();
        options.read(true).write(true).custom_flags(OFlag::O_TMPFILE.bits()).mode(0o600);
        options.open(folder).context(folder.display())
    };
    let files = Files { index: unnamed()?, archive: unnamed()? };
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(TEXT.len() as u64);
    builder.append_data(&mut header, TEXT, TEXT.as_bytes())?;
    let bytes = builder.into_inner()?;
    std::io::Write::write_all(&mut &files.archive, &bytes)?;
    files.archive.set_len((bytes.len() as u64).next_multiple_of(4096))?;
    let mut writer = Writer::new(files.index.try_clone()?);
    let mut archive = Archive::new(Cursor::new(&bytes));
    while let Some(entry) = archive.next_entry()? {
        apply(&mut writer, &entry, &mut archive)?;
    }
    writer.finish(bytes.len() as u64, &Digest::of(&bytes))?;
    Ok(files)
}

/// Mounts it, and reads the file through an overlay.
fn mount_trial(files: &Files, empty: &File) -> Result<()> {
    let image = mount_files(files)?;
    let overlay = |layer: &OwnedFd, what: &str| {
        mount::overlay(&[empty.as_fd(), layer.as_fd()], None, &[])
            .map_err(|refused| Error::new(Kind::Internal, refused).context(what))
    };
    let over_it = overlay(&image, "an overlay with a layer of EROFS")?;
    // Some kernels (6.18) count the files below an image as a file system more, and then a container
    // could not have an overlay of what is in its image, as it can where layers are directories.
    drop(overlay(&over_it, "an overlay over an overlay with a layer of EROFS")?);
    let root = RootDir::new(over_it, Rule::Beneath);
    let file = root.open_at(&RelPath::parse(TEXT)?, OFlag::O_RDONLY, Mode::empty())?;
    let mut read = String::new();
    File::from(file).read_to_string(&mut read).context("read from it")?;
    match read == TEXT {
        true => Ok(()),
        false => Err(Error::new(Kind::Internal, "what is read from it is not what was written")),
    }
}
