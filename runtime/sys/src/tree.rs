//! Trees that somebody else has made, removed and looked through whatever their depth.
//!
//! A process in a container makes directories in directories as long as it likes, with relative
//! names and so beyond the longest path. What follows such a tree down level by level needs a
//! descriptor and a stack frame for each, and ends with `EMFILE` or the stack's end, which is the
//! end of the whole program. Here what is held of a tree has a bound: to be removed, what lies deep
//! is first moved to the top; to be looked at, the way back leads over `..`.

use crate::in_root::is;
use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// How deep a tree is followed, with two descriptors a level.
const DEPTH: usize = 32;

/// Removes what is at `path`, and if it is a directory, everything below it. No link is followed
/// below the parent of `path`. Nobody else may be making anything in the tree.
///
/// # Errors
/// `NotFound` when nothing is there; the kernel's first refusal, and the rest stays.
pub fn remove(path: &Path) -> io::Result<()> {
    let name = path.file_name().ok_or(Errno::EINVAL)?;
    let parent = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let parent = openat(AT_FDCWD, parent, DIRECTORY, Mode::empty())?;
    let name = CString::new(name.as_bytes()).map_err(|_| Errno::EINVAL)?;
    Ok(remove_at(parent.as_fd(), &name)?)
}

/// The same of `name` in an open directory.
///
/// # Errors
/// As [`remove`].
pub fn remove_at(parent: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
    match unlinkat(parent, name, UnlinkatFlags::NoRemoveDir) {
        Err(Errno::EISDIR) => {}
        done => return done,
    }
    let top = openat(parent, name, DIRECTORY | OFlag::O_NOFOLLOW, Mode::empty())?;
    let mut tree = Tree { top, moved: 0 };
    loop {
        let before = tree.moved;
        tree.empty(tree.top.try_clone().map_err(|_| Errno::EMFILE)?, 0)?;
        match unlinkat(parent, name, UnlinkatFlags::RemoveDir) {
            // What was moved up is there now.
            Err(Errno::ENOTEMPTY) if tree.moved > before => {}
            done => return done,
        }
    }
}

const DIRECTORY: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC);

struct Tree {
    top: OwnedFd,
    /// Directories that were moved to the top so far.
    moved: u64,
}

impl Tree {
    /// Removes everything in a directory.
    fn empty(&mut self, directory: OwnedFd, depth: usize) -> Result<(), Errno> {
        // Read from the beginning: descriptors that are copies share their place.
        let listed = openat(&directory, c".", DIRECTORY, Mode::empty())?;
        let mut listing = Dir::from_fd(listed)?;
        for entry in listing.iter() {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let is_file = match entry.file_type() {
                Some(Type::Directory) => false,
                _ => match unlinkat(&directory, name, UnlinkatFlags::NoRemoveDir) {
                    Err(Errno::EISDIR) => false,
                    done => gone(done).map(|()| true)?,
                },
            };
            if is_file {
                continue;
            }
            if depth == DEPTH {
                self.move_up(directory.as_fd(), name)?;
                continue;
            }
            let flags = DIRECTORY | OFlag::O_NOFOLLOW;
            match openat(&directory, name, flags, Mode::empty()) {
                Err(Errno::ENOENT) => continue,
                below => self.empty(below?, depth + 1)?,
            }
            gone(unlinkat(&directory, name, UnlinkatFlags::RemoveDir))?;
        }
        Ok(())
    }

    fn move_up(&mut self, directory: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
        loop {
            self.moved += 1;
            let place = format!(".deep-{}", self.moved);
            match crate::rename::to_free_place(directory, name, self.top.as_fd(), &place) {
                // A name that the tree has already.
                Err(Errno::EEXIST) => {}
                done => return done,
            }
        }
    }
}

/// Another remover may have been faster.
fn gone(removed: Result<(), Errno>) -> Result<(), Errno> {
    if removed == Err(Errno::ENOENT) { Ok(()) } else { removed }
}

/// Tells `each` the status of everything below the directory `root`, which somebody may be at work
/// in: what vanishes meanwhile is left out, no link is followed and no other file system entered, and
/// what is moved away takes what was not told yet of the directories around it with it.
///
/// # Errors
/// That `root` cannot be opened; `EMFILE` and its like.
pub fn visit(root: &Path, each: &mut dyn FnMut(&FileStat)) -> io::Result<()> {
    let top = openat(AT_FDCWD, root, DIRECTORY | OFlag::O_NOFOLLOW, Mode::empty())?;
    let device = fstat(&top)?.st_dev;
    let mut enter = |directory: BorrowedFd<'_>| -> io::Result<Vec<CString>> {
        let mut below = Vec::new();
        for_each_entry(directory, &mut |name, _| {
            let flags = AtFlags::AT_SYMLINK_NOFOLLOW;
            let Ok(stat) = fstatat(directory, name, flags) else { return };
            each(&stat);
            if is(&stat, SFlag::S_IFDIR) && stat.st_dev == device {
                below.push(name.to_owned());
            }
        })?;
        Ok(below)
    };
    walk(top, &mut enter, &mut |_, _| Ok(()))
}

/// Tells `enter` each directory from `root` down, then `leave` the parent and the name of each below
/// `root` when all below that is done. Directories that vanish meanwhile are left out, as in
/// [`visit`].
///
/// # Errors
/// That `root` cannot be opened; what the callers say; `EMFILE` and its like.
pub fn visit_directories(
    root: &Path,
    enter: &mut dyn FnMut(BorrowedFd<'_>) -> io::Result<()>,
    leave: &mut dyn FnMut(BorrowedFd<'_>, &CStr) -> io::Result<()>,
) -> io::Result<()> {
    let top = openat(AT_FDCWD, root, DIRECTORY | OFlag::O_NOFOLLOW, Mode::empty())?;
    let mut enter = |directory: BorrowedFd<'_>| -> io::Result<Vec<CString>> {
        enter(directory)?;
        let mut below = Vec::new();
        for_each_entry(directory, &mut |name, kind| {
            if matches!(kind, Some(Type::Directory) | None) {
                below.push(name.to_owned());
            }
        })?;
        Ok(below)
    };
    walk(top, &mut enter, leave)
}

/// Until the first that cannot be read.
fn for_each_entry(
    directory: BorrowedFd<'_>,
    each: &mut dyn FnMut(&CStr, Option<Type>),
) -> Result<(), Errno> {
    let listed = directory.try_clone_to_owned().map_err(|_| Errno::EMFILE)?;
    for entry in Dir::from_fd(listed)?.iter() {
        let Ok(entry) = entry else { break };
        let name = entry.file_name();
        if !matches!(name.to_bytes(), b"." | b"..") {
            each(name, entry.file_type());
        }
    }
    Ok(())
}

/// What is done in a directory: it tells the names of those in it that are entered as well.
type Enter<'a> = &'a mut dyn FnMut(BorrowedFd<'_>) -> io::Result<Vec<CString>>;

/// What is done, when all below a directory is done, with its parent and its name.
type Leave<'a> = &'a mut dyn FnMut(BorrowedFd<'_>, &CStr) -> io::Result<()>;

fn walk(top: OwnedFd, enter: Enter<'_>, leave: Leave<'_>) -> io::Result<()> {
    let mut levels = vec![Level::enter(top, CString::default(), enter)?];
    while let Some(level) = levels.last_mut() {
        let Some(directory) = &level.directory else { return Ok(()) };
        if let Some(name) = level.below.pop() {
            let flags = DIRECTORY | OFlag::O_NOFOLLOW;
            match openat(directory, name.as_c_str(), flags, Mode::empty()) {
                Ok(below) => levels.push(Level::enter(below, name, enter)?),
                Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::EACCES) => {}
                Err(errno) => return Err(errno.into()),
            }
            if let Some(far) = levels.len().checked_sub(DEPTH).and_then(|at| levels.get_mut(at)) {
                far.directory = None;
            }
            continue;
        }
        let Some(left) = levels.pop() else { return Ok(()) };
        let Some(level) = levels.last_mut() else { return Ok(()) };
        if let (Some(left), None) = (left.directory, &level.directory) {
            let above = openat(&left, c"..", DIRECTORY, Mode::empty()).ok();
            level.directory = above.filter(|above| identity(above) == Ok(level.identity));
        }
        if let Some(directory) = &level.directory {
            leave(directory.as_fd(), &left.name)?;
        }
    }
    Ok(())
}

/// A directory on the way.
struct Level {
    /// `None` far above.
    directory: Option<OwnedFd>,
    identity: (u64, u64),
    /// In the one above.
    name: CString,
    /// The directories in it that are still to be entered.
    below: Vec<CString>,
}

impl Level {
    fn enter(directory: OwnedFd, name: CString, enter: Enter<'_>) -> io::Result<Level> {
        let below = enter(directory.as_fd())?;
        Ok(Level { identity: identity(&directory)?, directory: Some(directory), name, below })
    }
}

fn identity(directory: &OwnedFd) -> Result<(u64, u64), Errno> {
    fstat(directory).map(|stat| (stat.st_dev, stat.st_ino))
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::stat::mkdirat;

    /// Directories in one another, deeper than any path, with a file and a link in each hundredth.
    fn chain(root: &Path, depth: usize) {
        std::fs::create_dir(root).unwrap();
        let mut at = openat(AT_FDCWD, root, DIRECTORY, Mode::empty()).unwrap();
        for level in 0..depth {
            if level % 100 == 0 {
                nix::unistd::symlinkat("/etc", &at, "link").unwrap();
                let flags = OFlag::O_WRONLY | OFlag::O_CREAT;
                openat(&at, "file", flags, Mode::S_IRUSR).unwrap();
            }
            mkdirat(&at, ".deep-1", Mode::S_IRWXU).unwrap();
            at = openat(&at, ".deep-1", DIRECTORY, Mode::empty()).unwrap();
        }
    }

    #[test]
    fn a_tree_deeper_than_any_path_and_any_stack_is_seen_and_removed() {
        let folder = std::env::temp_dir().join(format!("rrun-tree-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        chain(&folder.join("deep"), 3_000);
        let mut seen = 0;
        visit(&folder, &mut |_| seen += 1).unwrap();
        assert_eq!(seen, 1 + 3_000 + 2 * 30);
        let small = std::thread::Builder::new().stack_size(256 << 10);
        let deep = folder.join("deep");
        small.spawn(move || remove(&deep).unwrap()).unwrap().join().unwrap();
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
        std::fs::remove_dir(&folder).unwrap();
        assert!(Path::new("/etc").exists());
    }

    #[test]
    fn every_directory_is_entered_before_and_left_after_those_below_it() {
        let folder = std::env::temp_dir().join(format!("rrun-tree-order-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        chain(&folder.join("deep"), 3_000);
        std::fs::create_dir_all(folder.join("wide/below")).unwrap();
        let (mut entered, mut left) = (0, Vec::new());
        let mut leave = |parent: BorrowedFd<'_>, name: &CStr| -> io::Result<()> {
            left.push(name.to_owned());
            // Its files and links are still in one of a hundred, and what is around it.
            match unlinkat(parent, name, UnlinkatFlags::RemoveDir) {
                Err(Errno::ENOTEMPTY) => Ok(()),
                done => Ok(done?),
            }
        };
        let mut enter = |_: BorrowedFd<'_>| {
            entered += 1;
            Ok(())
        };
        visit_directories(&folder, &mut enter, &mut leave).unwrap();
        assert_eq!((entered, left.len()), (1 + 3_001 + 2, 3_001 + 2));
        let at = |wanted: &CStr| left.iter().position(|name| name.as_c_str() == wanted);
        assert!(at(c"below") < at(c"wide") && at(c".deep-1") < at(c"deep"));
        assert!(!folder.join("wide").exists());
        remove(&folder).unwrap();
    }

    #[test]
    fn a_link_is_removed_and_not_followed_and_what_is_not_there_is_told() {
        let folder = std::env::temp_dir().join(format!("rrun-tree-link-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("kept")).unwrap();
        std::os::unix::fs::symlink(folder.join("kept"), folder.join("link")).unwrap();
        remove(&folder.join("link")).unwrap();
        assert!(folder.join("kept").is_dir());
        assert_eq!(remove(&folder.join("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
        remove(&folder).unwrap();
        assert!(!folder.exists());
    }
}
