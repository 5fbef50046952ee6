//! The command line, spelled as runc spells it.

use crate::id::Id;
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use nix::poll::PollTimeout;
use std::path::PathBuf;
use std::str::FromStr;

mod checkpoint;
mod create;
mod exec;
mod parse;
mod update;

pub use checkpoint::{Checkpoint, Image, Restore};
pub use create::{Create, Run};
pub use exec::Exec;
pub use parse::parse;
pub use update::Update;

const NAME: &str = "rrun-oci";

/// Two lines as runc and crun have them, which podman, CRI-O and containerd's client read.
const VERSION: &str = concat!("version ", env!("CARGO_PKG_VERSION"), "\nspec: 1.3.0");

/// Runs containers from OCI bundles.
#[derive(Debug, Parser)]
#[command(name = NAME, version = VERSION, disable_version_flag = true)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// What every command takes.
#[derive(Args, Debug)]
pub struct Global {
    /// Print version
    #[arg(short = 'v', short_alias = 'V', long, action = ArgAction::Version)]
    pub version: Option<bool>,
    /// Folder of the containers' records [default: /run/rrun-oci; rrun-oci in $XDG_RUNTIME_DIR for
    /// somebody else than root]
    #[arg(long, default_value_os_t = crate::rootless::default_root(), hide_default_value = true)]
    pub root: PathBuf,
    /// Where errors and warnings go, beside stderr: a file, file:PATH, journald:NAME or syslog:NAME
    #[arg(long)]
    pub log: Option<String>,
    /// Format of the log
    #[arg(long, value_enum, default_value = "text")]
    pub log_format: LogFormat,
    /// What is told of what goes wrong
    #[arg(long, value_enum, default_value = "warning")]
    pub log_level: LogLevel,
    /// Accepted for other runtimes' callers
    #[arg(long)]
    pub debug: bool,
    /// Have systemd make control groups: linux.cgroupsPath is slice:prefix:name then
    #[arg(long)]
    pub systemd_cgroup: bool,
    /// Who makes control groups: systemd is as --systemd-cgroup; disabled leaves containers in the
    /// caller's groups, without limits
    #[arg(long, value_enum, default_value = "cgroupfs")]
    pub cgroup_manager: CgroupManager,
    /// Accepted for other runtimes' callers: who is not root is seen without it
    #[arg(long, value_enum, default_value = "auto")]
    pub rootless: Rootless,
}

impl Global {
    /// Control groups are systemd's to make.
    pub fn is_systemd(&self) -> bool {
        self.systemd_cgroup || self.cgroup_manager == CgroupManager::Systemd
    }
}

/// Who makes control groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CgroupManager {
    Cgroupfs,
    Systemd,
    Disabled,
}

/// What is told of what goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum LogLevel {
    Error,
    Warning,
    Debug,
}

/// Whether the caller is somebody else than root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Rootless {
    Auto,
    True,
    False,
}

/// Format of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

/// Format of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ListFormat {
    Table,
    Json,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a container, up to the point where its program waits for its start
    Create(Create),
    /// Start the program of a created container
    Start(One),
    /// Print the state of a container
    State(One),
    /// Send a signal to a container's first process
    Kill(Kill),
    /// Remove what a stopped container holds
    Delete(Delete),
    /// Create, start, wait and delete
    Run(Run),
    /// Run one more process in a container
    Exec(Exec),
    /// List containers
    List {
        #[arg(long, short, value_enum, default_value = "table")]
        format: ListFormat,
        /// Ids only
        #[arg(long, short)]
        quiet: bool,
    },
    /// List the processes of a container
    Ps(Ps),
    /// Change what limits a container
    Update(Update),
    /// Stop every process of a container where it is
    Pause(One),
    /// Let a paused container go on
    Resume(One),
    /// Write the processes of a container into an image, for a restore
    Checkpoint(Checkpoint),
    /// Make a container that goes on where a checkpoint was made
    Restore(Restore),
    /// Print what a container uses, and that it was killed for want of memory, as JSON
    Events(Events),
    /// Add and remove mounts of a container that runs
    Mounts(Mounts),
    /// Write a configuration to begin with
    Spec {
        #[arg(long, short, default_value = ".")]
        bundle: PathBuf,
        /// File to write instead of the bundle's `config.json`
        #[arg(long, short)]
        file: Option<PathBuf>,
        /// For a user namespace in which nobody but the caller has an id
        #[arg(long)]
        rootless: bool,
    },
    /// Print what this runtime can do
    Features,
}

/// What is for one container and takes nothing else.
#[derive(Args, Debug)]
pub struct One {
    pub id: Id,
}

#[derive(Args, Debug)]
pub struct Events {
    pub id: Id,
    /// Print once
    #[arg(long)]
    pub stats: bool,
    /// Time from one print to the next, such as 5s, 500ms or 1m30s
    #[arg(long, default_value = "5s")]
    pub interval: Interval,
}

/// A time to wait, as Go writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval(pub PollTimeout);

impl FromStr for Interval {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Interval, String> {
        let wrong = || format!("{text:?} is no time above 0, such as 5s, 500ms or 1m30s");
        let (mut rest, mut all) = (text, 0_f64);
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
            let (number, after) = rest.split_at(digits);
            let unit = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
            let ms = match &after[..unit] {
                "ms" => 1.0,
                "s" => 1000.0,
                "m" => 60_000.0,
                "h" => 3_600_000.0,
                _ => return Err(wrong()),
            };
            all += ms * number.parse::<f64>().map_err(|_| wrong())?;
            rest = &after[unit..];
        }
        if !(1.0..=f64::from(i32::MAX)).contains(&all) {
            return Err(wrong());
        }
        PollTimeout::try_from(all as i32).map(Interval).map_err(|_| wrong())
    }
}

#[derive(Args, Debug)]
pub struct Ps {
    pub id: Id,
    #[arg(long, short, value_enum, default_value = "table")]
    pub format: ListFormat,
    /// Options of ps(1), whose lines about the container's processes are printed then
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub options: Vec<String>,
}

#[derive(Args, Debug)]
pub struct Kill {
    /// Its id, or with --regex an expression
    pub id: String,
    /// Name or number
    #[arg(default_value = "SIGTERM")]
    pub signal: String,
    /// To every process of the container
    #[arg(long, short)]
    pub all: bool,
    /// To every container whose id matches an extended regular expression, regex(7)
    #[arg(long, short)]
    pub regex: bool,
}

#[derive(Args, Debug)]
pub struct Delete {
    /// Its id, or with --regex an expression
    pub id: String,
    /// Kill it first if it runs; no error if there is none
    #[arg(long, short)]
    pub force: bool,
    /// Every container whose id matches an extended regular expression, regex(7)
    #[arg(long, short)]
    pub regex: bool,
}

#[derive(Args, Debug)]
pub struct Mounts {
    #[command(subcommand)]
    pub change: MountChange,
}

/// What happens to the mounts of a container that runs.
#[derive(Debug, Subcommand)]
pub enum MountChange {
    /// Mount what a file says
    Add { id: Id, file: PathBuf },
    /// Unmount what is mounted at the destinations that a file has
    Remove { id: Id, file: PathBuf },
}

#[cfg(test)]
mod tests {
    use super::update::LIMITS;
    use super::*;

    #[test]
    fn intervals_are_written_as_go_writes_them() {
        for (text, ms) in [("5s", 5000), ("500ms", 500), ("1m30s", 90_000), ("0.5s", 500)] {
            let expected = PollTimeout::try_from(ms).unwrap();
            assert_eq!(text.parse(), Ok(Interval(expected)), "{text}");
        }
        for text in ["", "5", "0s", "s", "5 s", "-1s", "1d", "9999999h", "1s5"] {
            assert!(text.parse::<Interval>().is_err(), "{text}");
        }
    }

    fn parse(line: &str) -> clap::error::Result<Cli> {
        super::parse(line.split(' ').map(Into::into).collect())
    }

    #[test]
    fn what_a_file_takes_the_place_of_is_refused_beside_it_by_name() {
        let exec = [
            "--cwd",
            "--env",
            "--user",
            "--additional-gids",
            "--cap",
            "--apparmor",
            "--process-label",
        ];
        let exec = exec.map(|option| (format!("exec -p f {option} 1 c"), option));
        let flags =
            [("exec -p f --no-new-privs c", "--no-new-privs"), ("exec -p f c sh", "COMMAND")];
        let flags = flags.map(|(line, option)| (line.to_owned(), option));
        let limits = LIMITS.map(|name| format!("--{}", name.replace('_', "-")));
        let update = limits.iter().map(|name| (format!("update -r f {name} 1 c"), name.as_str()));
        for (line, option) in exec.into_iter().chain(flags).chain(update) {
            let error = parse(&format!("rrun-oci {line}")).unwrap_err();
            assert_eq!(error.kind(), clap::error::ErrorKind::ArgumentConflict, "{line}: {error}");
            assert!(error.to_string().contains(option), "{line}: {error}");
        }
    }

    #[test]
    fn what_callers_give_beside_a_file_is_taken() {
        for line in [
            // conmon, for podman and CRI-O
            "exec --pid-file p --process f --detach --tty --console-socket s --preserve-fds 0 c",
            // containerd's shim
            "exec --process f --console-socket s --detach --pid-file p c",
            "update --resources - c",
        ] {
            parse(&format!("rrun-oci {line}")).unwrap();
        }
    }
}
