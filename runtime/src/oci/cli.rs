//! The command line, spelled as runc spells it.

use crate::id::Id;
use crate::invalid;
use clap::{Args, Parser, Subcommand, ValueEnum};
use nix::poll::PollTimeout;
use rrun_runtime::Result;
use std::path::PathBuf;
use std::str::FromStr;

/// Two lines as runc and crun have them, which podman, CRI-O and containerd's client read.
const VERSION: &str = concat!("version ", env!("CARGO_PKG_VERSION"), "\nspec: 1.3.0");

/// Runs containers from OCI bundles.
#[derive(Debug, Parser)]
#[command(name = "rrun-oci", version = VERSION)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// What every command takes.
#[derive(Args, Debug)]
pub struct Global {
    /// Folder of the containers' records
    #[arg(long, default_value = "/run/rrun-oci")]
    pub root: PathBuf,
    /// File that errors and warnings are appended to, beside stderr
    #[arg(long)]
    pub log: Option<PathBuf>,
    /// Format of the log
    #[arg(long, value_enum, default_value = "text")]
    pub log_format: LogFormat,
    /// Accepted for other runtimes' callers
    #[arg(long)]
    pub debug: bool,
    /// Have systemd make control groups: linux.cgroupsPath is slice:prefix:name then
    #[arg(long)]
    pub systemd_cgroup: bool,
    /// Containers of somebody else than root are not supported: only false and auto are taken
    #[arg(long, value_enum, default_value = "auto")]
    pub rootless: Rootless,
}

/// Whether the caller is somebody else than root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Rootless {
    Auto,
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
    Start { id: Id },
    /// Print the state of a container
    State { id: Id },
    /// Send a signal to a container's first process
    Kill(Kill),
    /// Remove what a stopped container holds
    Delete {
        id: Id,
        /// Kill it first if it runs; no error if there is none
        #[arg(long, short)]
        force: bool,
    },
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
    Ps {
        id: Id,
        #[arg(long, short, value_enum, default_value = "table")]
        format: ListFormat,
    },
    /// Change what limits a container
    Update(Update),
    /// Stop every process of a container where it is
    Pause { id: Id },
    /// Let a paused container go on
    Resume { id: Id },
    /// Print what a container uses, and that it was killed for want of memory, as JSON
    Events(Events),
    /// Write a configuration to begin with
    Spec {
        #[arg(long, short, default_value = ".")]
        bundle: PathBuf,
    },
    /// Print what this runtime can do
    Features,
}

#[derive(Args, Debug)]
pub struct Create {
    pub id: Id,
    /// Folder of `config.json`
    #[arg(long, short, default_value = ".")]
    pub bundle: PathBuf,
    /// File to write the first process's id to
    #[arg(long)]
    pub pid_file: Option<PathBuf>,
    /// Unix socket that gets the terminal's master
    #[arg(long)]
    pub console_socket: Option<PathBuf>,
    /// Keep the session keyring of the caller
    #[arg(long)]
    pub no_new_keyring: bool,
    /// Not supported
    #[arg(long)]
    pub no_pivot: bool,
    /// Not supported: nothing but stdio enters a container
    #[arg(long, default_value_t = 0)]
    pub preserve_fds: u32,
}

impl Create {
    /// Refuses what is not supported.
    pub fn check(&self) -> Result<()> {
        if self.no_pivot {
            return Err(invalid("--no-pivot is not supported"));
        }
        refuse_fds(self.preserve_fds)?;
        let variable = |name| std::env::var(name).unwrap_or_default();
        if is_activated(&variable("LISTEN_PID"), &variable("LISTEN_FDS"), std::process::id()) {
            return Err(invalid("LISTEN_FDS: sockets of an activation are not handed on"));
        }
        Ok(())
    }
}

/// sd_listen_fds(3): the descriptors are for the process that LISTEN_PID names.
fn is_activated(pid: &str, fds: &str, own: u32) -> bool {
    pid.parse() == Ok(own) && fds.parse().is_ok_and(|count: u32| count > 0)
}

fn refuse_fds(count: u32) -> Result<()> {
    if count > 0 {
        return Err(invalid("--preserve-fds is not supported"));
    }
    Ok(())
}

#[derive(Args, Debug)]
pub struct Run {
    #[command(flatten)]
    pub create: Create,
    /// Return when the program runs
    #[arg(long, short)]
    pub detach: bool,
    /// Do not delete the container at the end
    #[arg(long)]
    pub keep: bool,
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
pub struct Kill {
    pub id: Id,
    /// Name or number
    #[arg(default_value = "SIGTERM")]
    pub signal: String,
    /// To every process of the container
    #[arg(long, short)]
    pub all: bool,
}

/// Options of [`Update`] that a file takes the place of.
const LIMITS: [&str; 12] = [
    "memory",
    "memory_swap",
    "memory_reservation",
    "cpu_shares",
    "cpu_quota",
    "cpu_period",
    "cpu_burst",
    "cpu_idle",
    "cpuset_cpus",
    "cpuset_mems",
    "pids_limit",
    "blkio_weight",
];

/// What is not given stays as it is, and so does what is given as 0.
#[derive(Args, Debug)]
pub struct Update {
    pub id: Id,
    /// File with `linux.resources` in JSON, `-` for stdin, instead of the options below
    #[arg(long, short, conflicts_with_all = LIMITS)]
    pub resources: Option<PathBuf>,
    /// Bytes, with k, m, g or t for powers of 1024; -1 for no limit
    #[arg(long, allow_hyphen_values = true)]
    pub memory: Option<String>,
    /// Memory and swap together, as --memory
    #[arg(long, allow_hyphen_values = true)]
    pub memory_swap: Option<String>,
    /// What is left to it when memory is short, as --memory
    #[arg(long, allow_hyphen_values = true)]
    pub memory_reservation: Option<String>,
    /// Relative, 2 to 262144
    #[arg(long)]
    pub cpu_shares: Option<u64>,
    /// µs in a period; -1 for no limit
    #[arg(long, allow_hyphen_values = true)]
    pub cpu_quota: Option<i64>,
    /// µs
    #[arg(long)]
    pub cpu_period: Option<u64>,
    /// µs that may be saved up
    #[arg(long)]
    pub cpu_burst: Option<u64>,
    /// 1 to run only when nobody else does, 0 to be as others
    #[arg(long)]
    pub cpu_idle: Option<i64>,
    /// Cores, such as 0-2,7
    #[arg(long)]
    pub cpuset_cpus: Option<String>,
    /// Memory nodes
    #[arg(long)]
    pub cpuset_mems: Option<String>,
    /// Processes and threads; -1 for no limit
    #[arg(long, allow_hyphen_values = true)]
    pub pids_limit: Option<i64>,
    /// Relative, 10 to 1000
    #[arg(long)]
    pub blkio_weight: Option<u16>,
}

/// Arguments of [`Exec`] that a file takes the place of. `--tty` is none of them: conmon gives it
/// beside the file.
const OF_PROCESS: [&str; 8] =
    ["command", "cwd", "env", "user", "additional_gids", "cap", "no_new_privs", "apparmor"];

#[derive(Args, Debug)]
pub struct Exec {
    pub id: Id,
    /// The program and its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<String>,
    /// A `process.json` instead of a program and the options that describe one
    #[arg(long, short, conflicts_with_all = OF_PROCESS)]
    pub process: Option<PathBuf>,
    /// Working directory
    #[arg(long)]
    pub cwd: Option<PathBuf>,
    /// NAME=value, again for more
    #[arg(long, short)]
    pub env: Vec<String>,
    /// With a terminal: --console-socket's, or this one
    #[arg(long, short)]
    pub tty: bool,
    /// uid[:gid]
    #[arg(long, short)]
    pub user: Option<String>,
    /// Further groups
    #[arg(long, short = 'g')]
    pub additional_gids: Vec<u32>,
    /// Capabilities to add
    #[arg(long, short)]
    pub cap: Vec<String>,
    #[arg(long)]
    pub no_new_privs: bool,
    #[arg(long)]
    pub apparmor: Option<String>,
    /// Return when the program runs
    #[arg(long, short)]
    pub detach: bool,
    #[arg(long)]
    pub pid_file: Option<PathBuf>,
    #[arg(long)]
    pub console_socket: Option<PathBuf>,
    /// Not supported
    #[arg(long, default_value_t = 0)]
    pub preserve_fds: u32,
}

impl Exec {
    /// Refuses what is not supported.
    pub fn check(&self) -> Result<()> {
        refuse_fds(self.preserve_fds)
    }
}

#[cfg(test)]
mod tests {
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
        Cli::try_parse_from(line.split(' '))
    }

    #[test]
    fn what_a_file_takes_the_place_of_is_refused_beside_it_by_name() {
        let exec = ["--cwd", "--env", "--user", "--additional-gids", "--cap", "--apparmor"];
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
