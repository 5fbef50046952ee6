//! AppArmor: the profile of containers that ask for none, and whether a profile is loaded.
//!
//! A profile is compiled by `apparmor_parser`, which every distribution with AppArmor has: what
//! the kernel takes is a compiled automaton, and its form changes with the kernel.

use crate::error::{Context, Error, Kind, Result};
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::{Command, Stdio};

/// The profile of what asks for none, and of `RuntimeDefault`. A release has a name of its own, so
/// that its text is loaded beside the former one's, which running containers keep.
pub(crate) const DEFAULT: &str = concat!("rrun-default-", env!("CARGO_PKG_VERSION"));

/// Its text, with `@NAME@` in the place of the name.
const TEXT: &str = include_str!("default.apparmor");

/// Profiles that are loaded, a line each: `name (mode)`.
const LOADED: &str = "/sys/kernel/security/apparmor/profiles";

/// Where the parser is looked for: a daemon's `PATH` often lacks the sbin folders.
const PARSERS: [&str; 3] =
    ["/usr/sbin/apparmor_parser", "/sbin/apparmor_parser", "/usr/bin/apparmor_parser"];

/// Makes sure that the profile is loaded. [`DEFAULT`] is loaded when it is not: at the first use,
/// and again when somebody took it away (`aa-remove-unknown` does). Blocks.
///
/// # Errors
/// `Invalid` for a profile of somebody else's that is not loaded, `Unavailable` when there is no
/// parser for our own.
pub(crate) fn ensure(profile: &str) -> Result<()> {
    let loaded = fs::read_to_string(LOADED).context(|| format!("read {LOADED}"))?;
    match is_listed(&loaded, profile) {
        true => Ok(()),
        false if profile == DEFAULT => load(),
        false => Err(Error::invalid(format!("AppArmor profile {profile} is not loaded"))),
    }
}

fn is_listed(loaded: &str, profile: &str) -> bool {
    loaded.lines().filter_map(|line| line.rsplit_once(" (")).any(|(name, _)| name == profile)
}

fn text() -> String {
    TEXT.replace("@NAME@", DEFAULT)
}

fn load() -> Result<()> {
    let what = || format!("load AppArmor profile {DEFAULT}");
    let parser = PARSERS.into_iter().find(|parser| Path::new(parser).exists());
    let Some(parser) = parser else {
        let message = "apparmor_parser is not installed (package apparmor)";
        return Err(Error::new(Kind::Unavailable, message).context(what()));
    };
    run(parser).context(what)
}

fn run(parser: &str) -> Result<()> {
    let mut command = Command::new(parser);
    rrun_sys::limit::hand_down(&mut command);
    let mut child = command
        // The cache of the distribution is not ours to write.
        .args(["--replace", "--skip-cache", "--quiet"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context(|| parser)?;
    let wrote = child.stdin.take().map_or(Ok(()), |mut to| to.write_all(text().as_bytes()));
    let ended = child.wait_with_output().context(|| parser)?;
    if ended.status.success() {
        return Ok(());
    }
    match wrote {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error).context(|| parser),
        _ => {
            let said = String::from_utf8_lossy(&ended.stderr);
            Err(Error::internal(format!("{}: {}", ended.status, said.trim())).context(parser))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_loaded_when_a_line_has_its_whole_name() {
        let loaded = "rrun-default-0.0.9 (enforce)\n/usr/bin/man (complain)\na b (enforce)\n";
        for (name, expected) in [
            ("/usr/bin/man", true),
            ("a b", true),
            ("rrun-default-0.0.9", true),
            ("rrun-default-0.0", false),
            ("a", false),
            ("", false),
        ] {
            assert_eq!(is_listed(loaded, name), expected, "{name}");
        }
    }

    #[test]
    fn the_text_speaks_of_the_profile_by_its_name() {
        let text = text();
        assert!(text.contains(&format!("profile {DEFAULT} flags=")), "{text}");
        assert!(!text.contains('@'), "{text}");
    }

    #[test]
    #[ignore = "needs apparmor_parser"]
    fn the_parser_takes_the_text() {
        let parser = PARSERS.into_iter().find(|parser| Path::new(parser).exists()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("profile");
        fs::write(&file, text()).unwrap();
        let checked = Command::new(parser)
            .args(["--skip-kernel-load", "--skip-cache", "--names"])
            .arg(file)
            .output()
            .unwrap();
        assert!(checked.status.success(), "{checked:?}");
        assert_eq!(String::from_utf8_lossy(&checked.stdout).trim(), DEFAULT);
    }
}
