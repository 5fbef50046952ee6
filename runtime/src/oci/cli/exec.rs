//! What `exec` takes.

use crate::id::Id;
use clap::Args;
use std::path::PathBuf;

/// Arguments of [`Exec`] that a file takes the place of. `--tty` is none of them: conmon gives it
/// beside the file.
const OF_PROCESS: [&str; 9] = [
    "command",
    "cwd",
    "env",
    "user",
    "additional_gids",
    "cap",
    "no_new_privs",
    "apparmor",
    "process_label",
];

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
    /// SELinux label
    #[arg(long)]
    pub process_label: Option<String>,
    /// Return when the program runs
    #[arg(long, short)]
    pub detach: bool,
    #[arg(long)]
    pub pid_file: Option<PathBuf>,
    #[arg(long)]
    pub console_socket: Option<PathBuf>,
    /// Unix socket that gets a pidfd of the process
    #[arg(long)]
    pub pidfd_socket: Option<PathBuf>,
    /// How many descriptors the program gets after stdio
    #[arg(long, default_value_t = 0)]
    pub preserve_fds: u32,
    /// Group below the container's, which is there, to run in: one for all controllers, or
    /// CONTROLLER[,CONTROLLER]:GROUP, again for more, with cgroup v1
    #[arg(long)]
    pub cgroup: Vec<String>,
    /// In a paused container too: it runs when that is resumed
    #[arg(long)]
    pub ignore_paused: bool,
}
