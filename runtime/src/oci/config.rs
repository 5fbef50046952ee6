//! Reading a bundle, and what is looked up before a plan is made.

use crate::log::Log;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use oci_spec::runtime::{Process, Spec};
use rrun_runtime::{Context, Error, Kind, Result, planning};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Where the host's control groups are mounted.
pub const CGROUP_ROOT: &str = "/sys/fs/cgroup";

/// The longest configuration that is read.
const CONFIG_MAX: u64 = 64 << 20;

/// The longest `/etc/passwd` that is looked at.
const PASSWD_MAX: u64 = 1 << 20;

/// A bundle's folder, absolute, and its configuration, which may be another one than its own.
pub fn bundle(path: &Path, config: Option<&Path>, log: &Log) -> Result<(PathBuf, Spec)> {
    let folder = std::fs::canonicalize(path).context(|| format!("bundle {}", path.display()))?;
    let file = self::file(&folder, config);
    let context = || format!("read {}", file.display());
    let json = rrun_sys::in_root::read_regular_of_host(&file, CONFIG_MAX).context(context)?;
    let loaded = planning::load(&json).context(context)?;
    loaded.warnings.iter().for_each(|warning| log.warning(warning));
    Ok((folder, loaded.value))
}

/// Where the configuration is: in the bundle, if no other one is named.
pub fn file(bundle: &Path, config: Option<&Path>) -> PathBuf {
    config.map_or_else(|| bundle.join("config.json"), Path::to_owned)
}

/// A `process.json`.
pub fn process(path: &Path, log: &Log) -> Result<Process> {
    let context = || format!("read {}", path.display());
    let json = std::fs::read(path).context(context)?;
    let loaded = planning::load_process(&json).context(context)?;
    loaded.warnings.iter().for_each(|warning| log.warning(warning));
    Ok(loaded.value)
}

/// Sets `HOME` from the container's own `/etc/passwd` where the environment has none, as runc
/// does; `/` for a user who is not in it.
pub fn set_home(process: &mut Process, root: Option<&OwnedFd>) -> Result<()> {
    let env = process.env_mut().get_or_insert_default();
    if env.iter().any(|entry| entry.starts_with("HOME=")) {
        return Ok(());
    }
    let uid = process.user().uid();
    let home = root.and_then(|root| home(root, uid)).unwrap_or_else(|| "/".to_owned());
    process.env_mut().get_or_insert_default().push(format!("HOME={home}"));
    Ok(())
}

/// The folder that a container has for its root.
pub fn open_root(path: &Path) -> Result<OwnedFd> {
    let directory = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    Ok(nix::fcntl::open(path, directory, Mode::empty())?)
}

fn home(root: &OwnedFd, uid: u32) -> Option<String> {
    let text = rrun_sys::in_root::read_regular(root.as_fd(), c"etc/passwd", PASSWD_MAX).ok()?;
    passwd_home(&String::from_utf8_lossy(&text), uid).map(str::to_owned)
}

/// passwd(5): name, password, uid, gid, comment, home, shell.
fn passwd_home(text: &str, uid: u32) -> Option<&str> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let found = fields.nth(2)?.parse() == Ok(uid);
        fields.nth(2).filter(|home| found && !home.is_empty())
    })
}

/// Uid and gid of `uid[:gid]`.
pub fn user(text: &str) -> Result<(u32, u32)> {
    let (uid, gid) = text.split_once(':').unwrap_or((text, "0"));
    match (uid.parse(), gid.parse()) {
        (Ok(uid), Ok(gid)) => Ok((uid, gid)),
        _ => Err(Error::new(Kind::Invalid, format!("--user {text:?} is not uid[:gid]"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{CgroupManager, Global, LogFormat, LogLevel, Rootless};

    #[test]
    fn a_home_is_found_by_number_and_broken_lines_are_passed_over() {
        let text = "broken\nroot:x:0:0:root:/root:/bin/sh\na:x:7:7::/home/a:\nb:x:8:8:::\n";
        assert_eq!(passwd_home(text, 0), Some("/root"));
        assert_eq!(passwd_home(text, 7), Some("/home/a"));
        assert_eq!(passwd_home(text, 8), None);
        assert_eq!(passwd_home(text, 9), None);
    }

    #[test]
    fn a_configuration_that_is_no_file_is_refused_by_its_name_and_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().canonicalize().unwrap().join("config.json");
        nix::unistd::mkfifo(&file, Mode::S_IRWXU).unwrap();
        let log = Log::open(&Global {
            version: None,
            root: PathBuf::new(),
            log: None,
            log_format: LogFormat::Text,
            log_level: LogLevel::Warning,
            debug: false,
            systemd_cgroup: false,
            cgroup_manager: CgroupManager::Cgroupfs,
            rootless: Rootless::Auto,
        });
        let error = bundle(folder.path(), None, &log).unwrap_err().to_string();
        assert_eq!(error, format!("read {}: not a regular file", file.display()));
    }

    #[test]
    fn a_user_is_numbers() {
        assert_eq!(user("5").unwrap(), (5, 0));
        assert_eq!(user("5:6").unwrap(), (5, 6));
        assert!(user("root").is_err());
    }
}
