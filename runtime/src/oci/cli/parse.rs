//! Reading the command line.
//!
//! A container's life is a few commands, each of them a process of some milliseconds, and to
//! describe all the commands there are to clap takes more of that than to read the line. So the line is
//! read first by who knows its own command alone.

use super::{Cli, Create, Delete, Exec, Global, Kill, NAME, One, Run, VERSION};
use clap::{Args, FromArgMatches, Parser};
use std::ffi::OsString;

/// Reads the words of a command line, the program's name first.
///
/// # Errors
/// What is wrong, or the help or version that was asked for.
pub fn parse(words: Vec<OsString>) -> clap::error::Result<Cli> {
    match by_own_command(&words) {
        Some(cli) => Ok(cli),
        // Also for what is not understood: who reads of it, reads of all commands.
        None => Cli::try_parse_from(words),
    }
}

/// Describes the arguments of a command.
type Augment = fn(clap::Command) -> clap::Command;

/// What is described to clap here is the same, but for all commands save the one that a word names:
/// a line that is understood so means the same with all of them.
fn by_own_command(words: &[OsString]) -> Option<Cli> {
    let commands: [(&'static str, Augment); 9] = [
        ("create", Create::augment_args),
        ("start", One::augment_args),
        ("state", One::augment_args),
        ("pause", One::augment_args),
        ("resume", One::augment_args),
        ("run", Run::augment_args),
        ("delete", Delete::augment_args),
        ("exec", Exec::augment_args),
        ("kill", Kill::augment_args),
    ];
    let of = |word: &OsString| commands.iter().find(|(name, _)| word == *name);
    let (name, augment) = words.iter().skip(1).find_map(of)?;
    let named = augment(clap::Command::new(*name));
    let all = clap::Command::new(NAME).version(VERSION).disable_version_flag(true);
    let all = Global::augment_args(all).subcommand_required(true).disable_help_subcommand(true);
    let matches = all.subcommand(named).try_get_matches_from(words).ok()?;
    Cli::from_arg_matches(&matches).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(Into::into).collect()
    }

    #[test]
    fn a_line_means_the_same_to_who_knows_its_own_command_alone() {
        for line in [
            "rrun-oci --root r create --bundle b --pid-file p c",
            "rrun-oci --systemd-cgroup --log l --log-format json create --bundle b c",
            "rrun-oci run -d -b b c",
            "rrun-oci --debug start c",
            "rrun-oci state c",
            "rrun-oci pause c",
            "rrun-oci resume c",
            "rrun-oci kill --all c 9",
            "rrun-oci delete --force c",
            "rrun-oci exec --process f --detach --pid-file p c",
            "rrun-oci exec c create --bundle b",
            "rrun-oci exec c run",
        ] {
            let short = by_own_command(&words(line)).unwrap();
            let whole = Cli::try_parse_from(words(line)).unwrap();
            assert_eq!(format!("{short:?}"), format!("{whole:?}"), "{line}");
        }
    }

    #[test]
    fn a_word_that_only_looks_like_the_command_is_an_argument() {
        for line in ["rrun-oci --root delete create c", "rrun-oci --root create list"] {
            assert!(by_own_command(&words(line)).is_none(), "{line}");
            let whole = Cli::try_parse_from(words(line)).unwrap();
            assert_eq!(format!("{:?}", parse(words(line)).unwrap()), format!("{whole:?}"));
        }
    }

    #[test]
    fn what_is_not_understood_is_told_by_who_knows_all_commands() {
        for line in ["rrun-oci create --odd c", "rrun-oci create", "rrun-oci start --help"] {
            let told = parse(words(line)).unwrap_err().to_string();
            assert_eq!(told, Cli::try_parse_from(words(line)).unwrap_err().to_string(), "{line}");
        }
        Cli::command().debug_assert();
    }
}
