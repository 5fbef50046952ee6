//! Checkpoints: the memory, descriptors, mounts and namespaces of a container's processes in files,
//! and processes made of these again, by the program `criu` (4.1 and later).
//!
//! The program is asked over a socket, as runc and crun ask it, and not by a command line: only so
//! does it hand over the master of a container's terminal and wait for hooks. Its requests are
//! protobuf, of which [`message`] has what is used here.
//!
//! What of a container is the host's is named for the image by where the container finds it, and so
//! one that runc has made can be restored here, and one of ours there: bind mounts by their
//! destinations, a namespace that was joined as `extRootNetNS` and its like, the standard descriptors
//! in the file `descriptors.json`.

mod confined;
mod dump;
mod external;
mod groups;
mod message;
mod options;
mod restore;
mod shared;
mod worker;

pub use confined::Confined;
pub use dump::{Dump, dump};
pub use message::CgroupsMode;
pub use options::Options;
pub use restore::{Helper, Restore, restore};

use crate::{Error, Kind, Result};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The oldest criu that can be used: major and minor version.
pub const OLDEST: (u32, u32) = (4, 1);

/// The file of criu's own options that the machine's owner may have made: runc's.
pub const CONFIG: &str = "/etc/criu/runc.conf";

/// The version that `criu --version` tells.
pub fn version(told: &str) -> Option<(u32, u32)> {
    let version = told.lines().find_map(|line| line.strip_prefix("Version:"))?.trim();
    let mut parts = version.split('.').map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??))
}

/// Finds the program `criu` on the path, or anywhere that `name` says.
///
/// # Errors
/// `NotFound`, with its name.
pub fn find(name: &Path) -> Result<PathBuf> {
    let runs = |path: &PathBuf| {
        path.metadata()
            .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    if name.components().count() > 1 {
        let found = Some(name.to_owned()).filter(runs);
        return found.ok_or_else(|| missing(name, "no such program"));
    }
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&folders).map(|folder| folder.join(name)).find(runs);
    found.ok_or_else(|| missing(name, "not found in PATH"))
}

fn missing(name: &Path, why: &str) -> Error {
    Error::new(Kind::NotFound, why).context(name.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_as_criu_tells_it() {
        assert_eq!(version("Version: 4.1.1\nGitID: v4.1.1\n"), Some((4, 1)));
        assert_eq!(version("Version: 3.19\n"), Some((3, 19)));
        for told in ["", "4.1", "Version: 4\n", "Version: x.y\n"] {
            assert_eq!(version(told), None, "{told}");
        }
    }
}
