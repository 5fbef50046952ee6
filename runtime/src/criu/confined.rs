//! Whether restored processes are as confined as the configuration of their container says. An image
//! says by itself which namespaces, capabilities and filters they have, and it may be anybody's.

use super::groups;
use crate::plan::{Namespace, Namespaces, Plan, User};
use crate::{Context, Error, Kind, Result};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// So many processes are looked at.
const MOST: usize = 1 << 16;

/// What processes are compared with, once they stand still.
#[derive(Debug)]
pub struct Confined<'a> {
    /// The container as its configuration has it now.
    pub plan: &'a Plan,
    /// Namespaces that are somebody else's: their kinds, as `/proc/<pid>/ns` calls them, and paths.
    pub joined: &'a [(String, PathBuf)],
    /// The process that restores, whose mounts are the host's.
    pub worker: i32,
}

impl Confined<'_> {
    /// Looks at where a process is, and all that it has started.
    ///
    /// # Errors
    /// `Invalid`, with what one of them is in that the container must not be in.
    pub fn check_places(&self, first: i32) -> Result<()> {
        let place = |pid| {
            self.namespaces(pid)?;
            match groups::foreign(pid, &self.plan.cgroups)? {
                None => Ok(()),
                Some(path) => Err(refuse(format!("a process is in the control group {path}"))),
            }
        };
        each(first, place)
    }

    /// Looks at what they may do, once they have got it back.
    ///
    /// # Errors
    /// `Invalid`, with what one of them may do and the container must not.
    pub fn check_rights(&self, first: i32) -> Result<()> {
        each(first, |task| self.status(&status(task)?))
    }

    fn namespaces(&self, pid: i32) -> Result<()> {
        // criu makes a time namespace in any case, so that clocks go on where they were.
        let Namespaces { pid: pids, network, ipc, uts, cgroup, user, time: _ } =
            &self.plan.namespaces;
        let of = |pid: &str, kind: &str| identity(Path::new(&format!("/proc/{pid}/ns/{kind}")));
        let number = pid.to_string();
        for (kind, planned) in [
            ("pid", pids),
            ("net", network),
            ("ipc", ipc),
            ("uts", uts),
            ("cgroup", cgroup),
            ("user", user),
        ] {
            let (found, own) = (of(&number, kind)?, of("self", kind)?);
            let joined = self.joined.iter().find(|(joined, _)| joined == kind);
            let is_right = match (joined, planned) {
                (Some((_, path)), _) => found == identity(path)?,
                (None, Namespace::Host) => found == own,
                (None, _) => found != own,
            };
            if !is_right {
                return Err(refuse(format!("a process is in another {kind} namespace")));
            }
        }
        let (worker, mounts) = (of(&self.worker.to_string(), "mnt")?, of(&number, "mnt")?);
        if mounts == worker || mounts == of("self", "mnt")? {
            return Err(refuse("a process has the mounts of the host"));
        }
        Ok(())
    }

    fn status(&self, text: &str) -> Result<()> {
        let process = &self.plan.process;
        let value = |name: &str| value(text, name);
        ids(&process.user, value)?;
        let allowed = process.capabilities.bounding;
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            let bits = u64::from_str_radix(value(set)?, 16)
                .map_err(|_| refuse(format!("{set} of a process is no number")))?;
            if bits & !allowed != 0 {
                let more = bits & !allowed;
                return Err(refuse(format!("a process has the capabilities {more:#x} in {set}")));
            }
        }
        if process.no_new_privileges && value("NoNewPrivs")? != "1" {
            return Err(refuse("a process may get new privileges"));
        }
        if process.seccomp.is_some() && value("Seccomp")? != "2" {
            return Err(refuse("a process has no seccomp filter"));
        }
        Ok(())
    }
}

/// Who is to be root may become anybody; who is somebody else is nobody but him, and in no other groups.
/// `value` tells a line of `/proc/<pid>/status`.
fn ids<'a>(user: &User, value: impl Fn(&str) -> Result<&'a str>) -> Result<()> {
    if user.uid == 0 {
        return Ok(());
    }
    let of = |name: &str| -> Result<Vec<u32>> {
        let numbers = value(name)?.split_ascii_whitespace().map(str::parse);
        let read = numbers.collect::<std::result::Result<_, _>>();
        read.map_err(|_| refuse(format!("{name} of a process is no list of numbers")))
    };
    if let Some(other) = of("Uid")?.into_iter().find(|id| *id != user.uid) {
        let own = user.uid;
        return Err(refuse(format!("a process runs as user {other}, and not as {own}")));
    }
    let groups = of("Gid")?.into_iter().chain(of("Groups")?);
    let is_his = |id: &u32| *id == user.gid || user.groups.contains(id);
    match groups.into_iter().find(|id| !is_his(id)) {
        Some(other) => Err(refuse(format!("a process is in the group {other}"))),
        None => Ok(()),
    }
}

/// `/proc/<pid>/status`, proc(5).
fn status(task: i32) -> Result<String> {
    let path = format!("/proc/{task}/status");
    let text = rrun_sys::procfs::read(&path).context(|| format!("read {path}"))?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn value<'a>(status: &'a str, name: &str) -> Result<&'a str> {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.map(str::trim).ok_or_else(|| refuse(format!("no {name} is told of a process")))
}

/// The threads of a process and of all that it has started, none of which goes on meanwhile. One that
/// has ended, and that nobody has waited for in the image, is nowhere and may do nothing.
fn each(first: i32, look: impl Fn(i32) -> Result<()>) -> Result<()> {
    let (mut all, mut at) = (vec![first], 0);
    while let Some(&pid) = all.get(at) {
        at += 1;
        for task in tasks(pid)? {
            let has_ended = value(&status(task)?, "State")?.starts_with(['Z', 'X']);
            if !has_ended {
                look(task).context(|| "the image is not as confined as the container")?;
            }
            let path = format!("/proc/{pid}/task/{task}/children");
            let text = std::fs::read_to_string(&path).context(|| format!("read {path}"))?;
            all.extend(text.split_ascii_whitespace().filter_map(|pid| pid.parse::<i32>().ok()));
        }
        if all.len() > MOST {
            return Err(refuse(format!("the image has more than {MOST} processes")));
        }
    }
    Ok(())
}

fn tasks(pid: i32) -> Result<Vec<i32>> {
    let path = format!("/proc/{pid}/task");
    let entries = std::fs::read_dir(&path).context(|| format!("read {path}"))?;
    let name = |entry: std::io::Result<std::fs::DirEntry>| {
        let name = entry?.file_name().to_string_lossy().into_owned();
        name.parse().map_err(std::io::Error::other)
    };
    entries.map(name).collect::<std::io::Result<_>>().context(|| format!("read {path}"))
}

fn identity(path: &Path) -> Result<(u64, u64)> {
    let found = std::fs::metadata(path).context(|| format!("look at {}", path.display()))?;
    Ok((found.dev(), found.ino()))
}

fn refuse(why: impl Into<String>) -> Error {
    Error::new(Kind::Invalid, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_not_to_be_root_is_himself_and_in_his_groups_alone() {
        let user = |uid| User { uid, gid: 1000, groups: vec![7, 8], umask: None, outside: None };
        let told = |uid: u32, ids: [&'static str; 3]| {
            let value = |name: &str| match name {
                "Uid" => Ok(ids[0]),
                "Gid" => Ok(ids[1]),
                _ => Ok(ids[2]),
            };
            super::ids(&user(uid), value).map_err(|error| error.to_string())
        };
        const OWN: &str = "1000\t1000\t1000\t1000";
        assert_eq!(told(1000, [OWN, OWN, "7 8 1000"]), Ok(()));
        assert_eq!(told(1000, [OWN, "8\t8\t8\t8", ""]), Ok(()));
        assert_eq!(told(0, ["0 0 0 0", "0 0 0 0", "9"]), Ok(()));
        assert_eq!(told(0, [OWN, OWN, ""]), Ok(()));
        for (ids, why) in [
            (["0\t0\t0\t0", OWN, ""], "a process runs as user 0, and not as 1000"),
            (["1000\t1000\t0\t1000", OWN, ""], "a process runs as user 0, and not as 1000"),
            ([OWN, "1000\t0\t0\t0", ""], "a process is in the group 0"),
            ([OWN, OWN, "7 9"], "a process is in the group 9"),
            ([OWN, "x", ""], "Gid of a process is no list of numbers"),
        ] {
            assert_eq!(told(1000, ids), Err(why.to_owned()));
        }
    }
}
