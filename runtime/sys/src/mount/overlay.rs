//! An overlay as a detached mount, by whichever way this kernel has.

use super::{FsContext, MountAttr, attach, clone_tree, open_root, set_attributes};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, fstat};
use std::ffi::{CStr, CString};
use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Why there is no mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The kernel's answer.
    pub errno: Errno,
    /// What the kernel has said about it, where it says anything.
    pub said: Vec<String>,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.said.iter().try_for_each(|line| write!(f, "{line}: "))?;
        write!(f, "{:?}", self.errno)
    }
}

impl std::error::Error for Refused {}

impl From<Errno> for Refused {
    fn from(errno: Errno) -> Refused {
        Refused { errno, said: Vec::new() }
    }
}

/// An option of the overlay, such as `volatile` or `index=off`.
pub type Setting<'a> = (&'a CStr, Option<&'a CStr>);

/// Mounts an overlay that is in nobody's mount table: layers from the uppermost to the lowest,
/// the directories for changes (`upper` and the `work` beside it on one file system; `None` for
/// a read-only overlay), and further options.
///
/// A layer goes in as a descriptor of its own (`O_RDONLY`, kernel 6.13) or by its name (6.7).
/// Older kernels have only the list of mount(2) (before 6.5 the new calls only gather that
/// list, and refuse descriptors with `EOPNOTSUPP`): the overlay is mounted in a mount namespace that
/// lives as long as the call, and detached from there. The layers must then fit into one page of
/// options, about 800 of them.
///
/// # Errors
/// What the kernel says, with its own words where it has some; `E2BIG` for too many layers.
pub fn overlay(
    lower: &[BorrowedFd<'_>],
    changes: Option<(BorrowedFd<'_>, BorrowedFd<'_>)>,
    options: &[Setting<'_>],
) -> Result<OwnedFd, Refused> {
    let layers = Layers { lower, are_detached: false, changes, options };
    match layers.by_context()? {
        Some(mount) => Ok(mount),
        None => Ok(layers.by_list()?),
    }
}

/// As [`overlay`], of layers that are detached mounts, such as those whose ids are mapped. Kernels
/// before 6.15 take no others than those of the caller's mount namespace: there they are attached in
/// one that lives as long as the call, and are of no other use afterwards.
///
/// # Errors
/// As [`overlay`].
pub fn overlay_of_mounts(
    lower: &[BorrowedFd<'_>],
    changes: Option<(BorrowedFd<'_>, BorrowedFd<'_>)>,
    options: &[Setting<'_>],
) -> Result<OwnedFd, Refused> {
    let layers = Layers { lower, are_detached: true, changes, options };
    match layers.by_context() {
        Ok(Some(mount)) => Ok(mount),
        Err(refused) if refused.errno != Errno::EINVAL => Err(refused),
        Ok(None) | Err(_) => Ok(layers.by_list()?),
    }
}

struct Layers<'a> {
    lower: &'a [BorrowedFd<'a>],
    /// They are mounts of no mount namespace.
    are_detached: bool,
    changes: Option<(BorrowedFd<'a>, BorrowedFd<'a>)>,
    options: &'a [Setting<'a>],
}

/// How far one way has led.
enum Way {
    Mounted(OwnedFd),
    /// This kernel does not know it.
    Unknown,
    /// Nor any other but the list.
    OnlyList,
}

impl Layers<'_> {
    /// Layer by layer; `None`: this kernel has no way for that.
    fn by_context(&self) -> Result<Option<OwnedFd>, Refused> {
        for way in [Layers::by_descriptor, Layers::by_name] {
            match way(self)? {
                Way::Mounted(mount) => return Ok(Some(mount)),
                Way::Unknown => {}
                Way::OnlyList => break,
            }
        }
        Ok(None)
    }

    fn by_descriptor(&self) -> Result<Way, Refused> {
        self.set_each(|context, key, layer| context.set_fd(key, layer))
    }

    fn by_name(&self) -> Result<Way, Refused> {
        self.set_each(|context, key, layer| {
            let name = format!("/proc/self/fd/{}", layer.as_raw_fd());
            context.set(key, Some(&c_string(name)?))
        })
    }

    fn set_each(
        &self,
        set: impl Fn(&FsContext, &CStr, BorrowedFd<'_>) -> Result<(), Errno>,
    ) -> Result<Way, Refused> {
        let context = FsContext::open(c"overlay")?;
        let said =
            |errno| Refused { errno, said: std::iter::from_fn(|| context.message()).collect() };
        context.set(c"source", Some(c"overlay")).map_err(said)?;
        for (at, layer) in self.lower.iter().enumerate() {
            match set(&context, c"lowerdir+", *layer) {
                // The first one tells whether the kernel knows how; EBADF: no O_PATH (before 6.14).
                Err(Errno::EINVAL | Errno::EBADF) if at == 0 => return Ok(Way::Unknown),
                Err(Errno::EOPNOTSUPP) if at == 0 => return Ok(Way::OnlyList),
                other => other.map_err(said)?,
            }
        }
        for (key, directory) in self.changed() {
            set(&context, key, directory).map_err(said)?;
        }
        for (key, value) in self.options {
            context.set(key, *value).map_err(said)?;
        }
        Ok(Way::Mounted(context.mount(0).map_err(said)?))
    }

    fn changed(&self) -> impl Iterator<Item = (&'static CStr, BorrowedFd<'_>)> {
        self.changes
            .into_iter()
            .flat_map(|(upper, work)| [(c"upperdir", upper), (c"workdir", work)])
    }

    fn by_list(&self) -> Result<OwnedFd, Errno> {
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("overlay".into());
            let thread = thread.spawn_scoped(scope, || self.mount_apart());
            let thread = thread.map_err(|_| Errno::EAGAIN)?;
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Mounts in a mount namespace of the calling thread's own, over `/proc`, which is there and
    /// of no more use by then, and takes a detached copy.
    fn mount_apart(&self) -> Result<OwnedFd, Errno> {
        unshare(CloneFlags::CLONE_FS | CloneFlags::CLONE_NEWNS)?;
        let private = MountAttr { propagation: libc::MS_PRIVATE, ..Default::default() };
        set_attributes(AT_FDCWD, c"/", &private, true)?;
        // An overlay takes layers of the caller's own mount namespace only.
        let layer = match self.are_detached {
            true => attached,
            false => found_again,
        };
        let lower: Vec<OwnedFd> =
            self.lower.iter().map(|fd| layer(*fd)).collect::<Result<_, _>>()?;
        let changed: Vec<(&CStr, OwnedFd)> = self
            .changed()
            .map(|(key, directory)| Ok((key, found_again(directory)?)))
            .collect::<Result<_, Errno>>()?;
        let data = self.list(&lower, &changed)?;
        nix::unistd::chdir(c"/proc/self/fd")?;
        mount(Some(c"overlay"), c"/proc", Some(c"overlay"), MsFlags::empty(), Some(&*data))?;
        clone_tree(AT_FDCWD, c"/proc", false)
    }

    /// The options for mount(2). Layers are numbers: names below `/proc/self/fd`, which is the
    /// working directory then, so that many fit and none needs an escape.
    fn list(&self, lower: &[OwnedFd], changed: &[(&CStr, OwnedFd)]) -> Result<CString, Errno> {
        let numbers: Vec<String> = lower.iter().map(|fd| fd.as_raw_fd().to_string()).collect();
        let mut all = format!("lowerdir={}", numbers.join(":")).into_bytes();
        for (key, directory) in changed {
            let number = directory.as_raw_fd().to_string();
            all.extend([b",", key.to_bytes(), b"=", number.as_bytes()].concat());
        }
        for (key, value) in self.options {
            all.extend([b",", key.to_bytes()].concat());
            if let Some(value) = value {
                all.extend([b"=", value.to_bytes()].concat());
            }
        }
        // The kernel cuts off what is beyond a page.
        if all.len() >= 4096 { Err(Errno::E2BIG) } else { c_string(all) }
    }
}

/// The same mount, over the root of the mount namespace of the calling thread: it is looked at through
/// its descriptor.
fn attached(mount: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    // A copy of a shared mount is its peer: what is attached over that one next would come to the host.
    let private = MountAttr { propagation: libc::MS_PRIVATE, ..Default::default() };
    set_attributes(mount, c"", &private, false)?;
    attach(mount, open_root()?.as_fd())?;
    mount.try_clone_to_owned().map_err(|_| Errno::EMFILE)
}

/// The same directory, opened in the mount namespace of the calling thread: by its name, and seen
/// to be the same one.
fn found_again(directory: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let name = nix::fcntl::readlink(format!("/proc/self/fd/{}", directory.as_raw_fd()).as_str())?;
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let found = openat(AT_FDCWD, name.as_os_str(), flags, Mode::empty())?;
    let (was, is) = (fstat(directory)?, fstat(&found)?);
    if (was.st_dev, was.st_ino) != (is.st_dev, is.st_ino) {
        return Err(Errno::ESTALE);
    }
    Ok(found)
}

fn c_string(text: impl Into<Vec<u8>>) -> Result<CString, Errno> {
    CString::new(text).map_err(|_| Errno::EINVAL)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::path::PathBuf;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let path = std::env::temp_dir().join(format!("overlay-{}-{name}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Folder(path)
        }

        fn layer(&self, name: &str) -> File {
            let path = self.0.join(name);
            std::fs::create_dir_all(&path).unwrap();
            std::fs::write(path.join(name), name).unwrap();
            std::fs::write(path.join("which"), name).unwrap();
            File::open(path).unwrap()
        }

        fn empty(&self, name: &str) -> File {
            let path = self.0.join(name);
            std::fs::create_dir_all(&path).unwrap();
            File::open(path).unwrap()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn read(mount: &OwnedFd, name: &str) -> String {
        let path = format!("/proc/self/fd/{}/{name}", mount.as_raw_fd());
        std::fs::read_to_string(path).unwrap()
    }

    /// Each way that this kernel knows; the list always is.
    fn ways(layers: &Layers<'_>) -> Vec<OwnedFd> {
        let mut mounts = vec![layers.by_list().unwrap()];
        for way in [Layers::by_descriptor, Layers::by_name] {
            match way(layers) {
                Ok(Way::Mounted(mount)) => mounts.push(mount),
                Ok(Way::Unknown) => {}
                Ok(Way::OnlyList) => break,
                Err(refused) => panic!("{refused}"),
            }
        }
        mounts
    }

    #[test]
    fn two_hundred_layers_are_mounted_by_every_kernel() {
        if !nix::unistd::geteuid().is_root() {
            return println!("skipped: needs root");
        }
        let folder = Folder::new("many");
        let layers: Vec<File> = (0..200).map(|n| folder.layer(&format!("layer-{n}"))).collect();
        let lower: Vec<_> = layers.iter().map(AsFd::as_fd).collect();
        let mount = overlay(&lower, None, &[]).unwrap();
        assert_eq!(read(&mount, "which"), "layer-0");
        assert_eq!(read(&mount, "layer-199"), "layer-199");
    }

    #[test]
    fn a_list_that_the_kernel_would_cut_off_is_refused() {
        let long = c_string("x".repeat(4096)).unwrap();
        let options: [Setting<'_>; 1] = [(c"option", Some(&long))];
        let layers = Layers { lower: &[], are_detached: false, changes: None, options: &options };
        assert_eq!(layers.list(&[], &[]), Err(Errno::E2BIG));
    }

    #[test]
    fn every_way_shows_the_same_layers() {
        if !nix::unistd::geteuid().is_root() {
            return println!("skipped: needs root");
        }
        let folder = Folder::new("same");
        let (top, bottom) = (folder.layer("top"), folder.layer("bottom"));
        let lower = [top.as_fd(), bottom.as_fd()];
        let layers = Layers {
            lower: &lower,
            are_detached: false,
            changes: None,
            options: &[(c"xino", Some(c"off"))],
        };
        for mount in ways(&layers) {
            assert_eq!(read(&mount, "which"), "top");
            assert_eq!(read(&mount, "bottom"), "bottom");
        }
    }

    #[test]
    fn mounts_of_no_namespace_are_layers_for_every_kernel() {
        if !nix::unistd::geteuid().is_root() {
            return println!("skipped: needs root");
        }
        let folder = Folder::new("detached");
        let folders = [folder.layer("top"), folder.layer("bottom")];
        let copies = || folders.each_ref().map(|f| clone_tree(f.as_fd(), c"", false).unwrap());
        let listed = |copies: [OwnedFd; 2]| {
            let lower = copies.each_ref().map(AsFd::as_fd);
            Layers { lower: &lower, are_detached: true, changes: None, options: &[] }.by_list()
        };
        let made = |copies: [OwnedFd; 2]| {
            overlay_of_mounts(&copies.each_ref().map(AsFd::as_fd), None, &[])
        };
        for mount in [listed(copies()).unwrap(), made(copies()).unwrap()] {
            assert_eq!(read(&mount, "which"), "top");
            assert_eq!(read(&mount, "bottom"), "bottom");
        }
    }

    #[test]
    fn copies_of_shared_mounts_leave_none_where_they_are_from() {
        if !nix::unistd::geteuid().is_root() {
            return println!("skipped: needs root");
        }
        let folder = Folder::new("shared");
        let layers = [folder.layer("top"), folder.layer("bottom")];
        let mounts = std::thread::scope(|scope| {
            let host = scope.spawn(|| {
                // As on a host with systemd.
                unshare(CloneFlags::CLONE_FS | CloneFlags::CLONE_NEWNS).unwrap();
                let shared = MountAttr { propagation: libc::MS_SHARED, ..Default::default() };
                set_attributes(AT_FDCWD, c"/", &shared, true).unwrap();
                let folders = layers.each_ref().map(|layer| {
                    let name = format!("/proc/self/fd/{}", layer.as_raw_fd());
                    File::open(std::fs::read_link(name).unwrap()).unwrap()
                });
                let copies = folders.each_ref().map(|f| clone_tree(f.as_fd(), c"", false).unwrap());
                let lower = copies.each_ref().map(AsFd::as_fd);
                let layers =
                    Layers { lower: &lower, are_detached: true, changes: None, options: &[] };
                assert_eq!(read(&layers.by_list().unwrap(), "which"), "top");
                std::fs::read_to_string("/proc/thread-self/mountinfo").unwrap()
            });
            host.join().unwrap()
        });
        let left: Vec<&str> =
            mounts.lines().filter(|line| line.contains(folder.0.to_str().unwrap())).collect();
        assert!(left.is_empty(), "{left:?}");
    }

    #[test]
    fn the_list_takes_changes_and_leaves_no_mount_on_the_host() {
        if !nix::unistd::geteuid().is_root() {
            return println!("skipped: needs root");
        }
        let folder = Folder::new("changes");
        let (bottom, upper, work) =
            (folder.layer("bottom"), folder.empty("upper"), folder.empty("work"));
        let lower = [bottom.as_fd()];
        let changes = Some((upper.as_fd(), work.as_fd()));
        let mount =
            Layers { lower: &lower, are_detached: false, changes, options: &[] }.by_list().unwrap();
        std::fs::write(format!("/proc/self/fd/{}/new", mount.as_raw_fd()), "new").unwrap();
        assert_eq!(std::fs::read(folder.0.join("upper/new")).unwrap(), b"new");
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(
            !mounts.contains(folder.0.to_str().unwrap()) && std::fs::exists("/proc/self").unwrap()
        );
    }

    #[test]
    fn the_kernels_own_words_are_in_the_error() {
        if !nix::unistd::geteuid().is_root() {
            return println!("skipped: needs root");
        }
        let folder = Folder::new("words");
        let bottom = folder.layer("bottom");
        let options: [Setting<'_>; 1] = [(c"no-such-option", None)];
        let lower = [bottom.as_fd()];
        let layers = Layers { lower: &lower, are_detached: false, changes: None, options: &[] };
        if let Ok(Way::OnlyList) = layers.by_descriptor() {
            return println!("skipped: mount(2) gives no reason");
        }
        let refused = overlay(&lower, None, &options).unwrap_err();
        assert_eq!(refused.errno, Errno::EINVAL);
        assert!(refused.to_string().contains("no-such-option"), "{refused}");
    }
}
