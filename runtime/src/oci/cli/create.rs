//! What `create` and `run` take.

use crate::id::Id;
use clap::Args;
use std::path::PathBuf;

#[derive(Args, Debug)]
pub struct Create {
    pub id: Id,
    /// Folder of `config.json`
    #[arg(long, short, default_value = ".")]
    pub bundle: PathBuf,
    /// Configuration instead of the bundle's `config.json`
    #[arg(long, short = 'f')]
    pub config: Option<PathBuf>,
    /// File to write the first process's id to
    #[arg(long)]
    pub pid_file: Option<PathBuf>,
    /// Unix socket that gets the terminal's master
    #[arg(long)]
    pub console_socket: Option<PathBuf>,
    /// Unix socket that gets a pidfd of the first process
    #[arg(long)]
    pub pidfd_socket: Option<PathBuf>,
    /// Keep the session keyring of the caller
    #[arg(long)]
    pub no_new_keyring: bool,
    /// Enter the root by chroot(2), for a host whose own root is a RAM disk. Not safe elsewhere:
    /// the host's root stays beneath the container's
    #[arg(long)]
    pub no_pivot: bool,
    /// How many descriptors the program gets after stdio and those of $LISTEN_FDS
    #[arg(long, default_value_t = 0)]
    pub preserve_fds: u32,
    /// Accepted for other runtimes' callers
    #[arg(long, hide = true)]
    pub no_subreaper: bool,
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
