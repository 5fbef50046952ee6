//! `rrun cp`: files between a container and this machine.
//!
//! The container's file system is reached through its process, and nothing in it is run: it needs no
//! `tar`. Whatever stands there was written by somebody else, so no link of it is followed out of
//! the container, and none is made here ([`copy`]).

mod container;
mod copy;

use crate::args;
use crate::context::Context;
use crate::exec;
use crate::runtime::{alongside, reach};
use crate::terminal;
use anyhow::{Context as _, Result, bail};
use container::ContainerRoot;
use copy::{Copier, Found};
use rrun_pod::supervise::reach::Reached;
use rrun_sys::root::{Place, RootDir, Rule};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;

/// As many warnings are printed one by one.
const WARNINGS: usize = 10;

/// One end of a copy.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Here(PathBuf),
    There { pod: String, path: String },
}

impl End {
    /// `path`, or `[namespace/]pod:path`. What begins with `.` or `/` is a path here.
    fn parse(text: &str) -> Result<End> {
        let (pod, path) = match text.split_once(':') {
            Some((pod, path)) if !pod.starts_with(['.', '/']) => (pod, path),
            _ => return Ok(End::Here(PathBuf::from(text))),
        };
        if pod.is_empty() || pod.ends_with('/') || pod.matches('/').count() > 1 {
            bail!("{text:?}: want POD:PATH or NAMESPACE/POD:PATH");
        }
        if path.is_empty() {
            bail!("{text:?}: filepath can not be empty");
        }
        Ok(End::There { pod: pod.to_owned(), path: path.to_owned() })
    }
}

/// Copies a file or a folder.
pub async fn cp(context: &Context, args: &args::Cp) -> Result<ExitCode> {
    let ends = (End::parse(&args.from)?, End::parse(&args.to)?);
    let (pod, from_there) = match &ends {
        (End::There { pod, .. }, End::Here(_)) => (pod, true),
        (End::Here(_), End::There { pod, .. }) => (pod, false),
        (End::Here(_), End::Here(_)) => {
            bail!("one of src or dest must be a remote file specification (POD:PATH)")
        }
        _ => bail!("one of src or dest must be a local file specification"),
    };
    let (entry, name) = exec::target(context, pod, args.container.as_deref()).await?;
    let open = async {
        let Reached { cri, locked } = reach(context, &entry).await?;
        let id = exec::running(&*cri, entry.uid.as_str(), &name).await?;
        let there = container::open(&*cri, &id).await;
        Ok((there.with_context(|| format!("container {name}"))?, locked))
    };
    let (there, locked) = alongside(context, &entry, open).await?;
    let mut copier = match (from_there, args.no_preserve) {
        (true, plain) => Copier::to_here(!plain),
        (false, plain) => Copier::to_container(there.owner, !plain),
    };
    match ends {
        (End::There { path, .. }, End::Here(to)) => from_container(&there, &path, &to, &mut copier),
        (End::Here(from), End::There { path, .. }) => {
            into_container(&from, &there, &path, &mut copier)
        }
        _ => Ok(()),
    }?;
    drop(locked);
    let (told, more) = copier.warnings(WARNINGS);
    told.iter().for_each(terminal::tell);
    if more > 0 {
        terminal::tell(format_args!("{more} more were left out"));
    }
    Ok(ExitCode::SUCCESS)
}

fn from_container(there: &ContainerRoot, path: &str, to: &Path, copier: &mut Copier) -> Result<()> {
    let path = there.path(path)?;
    let from = Found::in_root(&there.root, &path);
    let from = from.with_context(|| format!("/{path} in the container"))?;
    let shown = || format!("{}", to.display());
    let (folder, name) = if to.is_dir() {
        (to, Some(path.name()))
    } else {
        let name = to.file_name().with_context(|| format!("{}: it is no folder", shown()))?;
        if ends_with_slash(to) && !matches!(from, Found::Folder(_)) {
            bail!("{}: it is no folder", shown());
        }
        let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty());
        (parent.unwrap_or(Path::new(".")), Some(name.as_bytes()))
    };
    let folder = RootDir::open(folder, Rule::Beneath).with_context(shown)?;
    copy_to(copier, from, &folder, name.filter(|name| !name.is_empty()))
}

fn into_container(
    from: &Path,
    there: &ContainerRoot,
    path: &str,
    copier: &mut Copier,
) -> Result<()> {
    let found = Found::of_host(from).with_context(|| from.display().to_string())?;
    let to = there.path(path)?;
    let shown = || format!("/{to} in the container");
    let is_folder = there.root.dir(&to).is_ok();
    if !is_folder && path.ends_with('/') && !matches!(found, Found::Folder(_)) {
        bail!("{}: it is no folder", shown());
    }
    if is_folder {
        let folder = there.root.dir(&to).with_context(shown)?;
        let name = match from.components().next_back() {
            Some(Component::Normal(name)) if !ends_with_dot(from) => Some(name.as_bytes()),
            _ => None,
        };
        return copy_to(copier, found, &folder, name);
    }
    let place = there.root.place(&to).with_context(shown)?;
    copier.copy(found, &place).with_context(shown)
}

/// Copies into a folder, under this name; what is in a folder without one.
fn copy_to(copier: &mut Copier, from: Found, folder: &RootDir, name: Option<&[u8]>) -> Result<()> {
    match (from, name) {
        (from, Some(name)) => {
            let place: Place = folder.child(name)?;
            copier.copy(from, &place)
        }
        (Found::Folder(from), None) => copier.children(&from, folder),
        (Found::File(..), None) => bail!("the file has no name there"),
    }
}

fn ends_with_slash(path: &Path) -> bool {
    path.as_os_str().as_bytes().ends_with(b"/")
}

/// `folder/.` is what is in the folder.
fn ends_with_dot(path: &Path) -> bool {
    path.as_os_str().as_bytes().ends_with(b"/.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_end_is_a_pods_and_paths_here_may_have_colons() {
        let there = |pod: &str, path: &str| End::There { pod: pod.into(), path: path.into() };
        for (text, end) in [
            ("a/b.txt", End::Here("a/b.txt".into())),
            ("./a:b", End::Here("./a:b".into())),
            ("/a:b", End::Here("/a:b".into())),
            ("web:/etc/x", there("web", "/etc/x")),
            ("ns/web:x:y", there("ns/web", "x:y")),
        ] {
            assert_eq!(End::parse(text).unwrap(), end, "{text}");
        }
        for text in [":/x", "web:", "a/b/c:/x", "ns/:/x"] {
            assert!(End::parse(text).is_err(), "{text}");
        }
    }
}
