//! What `checkpoint` and `restore` take.

use super::Create;
use crate::id::Id;
use clap::{Args, ValueEnum};
use rrun_runtime::criu;
use std::path::PathBuf;
use std::str::FromStr;

/// What both take.
#[derive(Args, Debug)]
pub struct Image {
    /// Folder of the image
    #[arg(long, default_value = "checkpoint")]
    pub image_path: PathBuf,
    /// Folder of the log and of what is written on the way, instead of the image's
    #[arg(long)]
    pub work_path: Option<PathBuf>,
    /// With the connections of TCP
    #[arg(long)]
    pub tcp_established: bool,
    /// Unix sockets may be connected to somebody outside
    #[arg(long)]
    pub ext_unix_sk: bool,
    /// The session or the terminal may be one of outside
    #[arg(long)]
    pub shell_job: bool,
    /// With locks on files
    #[arg(long)]
    pub file_locks: bool,
    /// Remove from an earlier image the memory that a later one has
    #[arg(long)]
    pub auto_dedup: bool,
    /// Fetch memory when it is used
    #[arg(long)]
    pub lazy_pages: bool,
    /// What becomes of control groups: those that are missing are made, all are set, none may be
    /// there before, or they are left out [default: soft; ignore where one is shared with others]
    #[arg(long, value_enum)]
    pub manage_cgroups_mode: Option<CgroupsMode>,
    /// Accepted for runc's callers: what is in a network namespace is never part of an image
    #[arg(long, value_enum)]
    pub empty_ns: Vec<EmptyNamespace>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CgroupsMode {
    Soft,
    Full,
    Strict,
    Ignore,
}

impl From<CgroupsMode> for criu::CgroupsMode {
    fn from(mode: CgroupsMode) -> criu::CgroupsMode {
        match mode {
            CgroupsMode::Soft => criu::CgroupsMode::Soft,
            CgroupsMode::Full => criu::CgroupsMode::Full,
            CgroupsMode::Strict => criu::CgroupsMode::Strict,
            CgroupsMode::Ignore => criu::CgroupsMode::Ignore,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EmptyNamespace {
    Network,
}

#[derive(Args, Debug)]
pub struct Checkpoint {
    pub id: Id,
    #[command(flatten)]
    pub image: Image,
    /// Folder of an earlier image, seen from the folder of this one
    #[arg(long)]
    pub parent_path: Option<PathBuf>,
    /// Let the container go on
    #[arg(long, short = 'R')]
    pub leave_running: bool,
    /// Leave out connections of TCP that are about to be made
    #[arg(long)]
    pub tcp_skip_in_flight: bool,
    /// Give files that are removed and still open a name again
    #[arg(long)]
    pub link_remap: bool,
    /// Memory alone, for a later checkpoint that has this one as its parent; the container goes on
    #[arg(long)]
    pub pre_dump: bool,
    /// Who takes the pages of memory
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub page_server: Option<PageServer>,
    /// Descriptor that gets a byte when memory can be fetched
    #[arg(long)]
    pub status_fd: Option<i32>,
}

/// An address and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageServer(pub String, pub u16);

impl FromStr for PageServer {
    type Err = String;

    fn from_str(text: &str) -> Result<PageServer, String> {
        let wrong = || format!("{text:?} is not ADDRESS:PORT");
        let (address, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let address = address.trim_start_matches('[').trim_end_matches(']');
        match port.parse() {
            Ok(port @ 1..) if !address.is_empty() => Ok(PageServer(address.to_owned(), port)),
            _ => Err(wrong()),
        }
    }
}

#[derive(Args, Debug)]
pub struct Restore {
    pub id: Id,
    #[command(flatten)]
    pub image: Image,
    /// Folder of `config.json`
    #[arg(long, short, default_value = ".")]
    pub bundle: PathBuf,
    /// Return when the container runs
    #[arg(long, short)]
    pub detach: bool,
    /// File to write the first process's id to
    #[arg(long)]
    pub pid_file: Option<PathBuf>,
    /// Unix socket that gets the terminal's master
    #[arg(long)]
    pub console_socket: Option<PathBuf>,
    /// A profile of AppArmor or SELinux instead of the one in the image
    #[arg(long, value_name = "TYPE:NAME")]
    pub lsm_profile: Option<String>,
    /// A context for mounts instead of the one in the image
    #[arg(long)]
    pub lsm_mount_context: Option<String>,
    /// Accepted for other runtimes' callers: the image says how the root is entered
    #[arg(long, hide = true)]
    pub no_pivot: bool,
    /// Accepted for other runtimes' callers
    #[arg(long, hide = true)]
    pub no_subreaper: bool,
}

impl Restore {
    /// The create of a container that is as this one was when it was made.
    pub fn create(&self) -> Create {
        Create {
            id: self.id.clone(),
            bundle: self.bundle.clone(),
            config: None,
            pid_file: self.pid_file.clone(),
            console_socket: self.console_socket.clone(),
            pidfd_socket: None,
            // A restored process has the keyring of whoever restores it.
            no_new_keyring: true,
            no_pivot: false,
            preserve_fds: 0,
            no_subreaper: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_server_is_an_address_and_a_port() {
        let server = |address: &str, port| Ok(PageServer(address.to_owned(), port));
        assert_eq!("10.0.0.1:27".parse(), server("10.0.0.1", 27));
        assert_eq!("[::1]:27".parse(), server("::1", 27));
        for text in ["", "a", ":1", "a:0", "a:70000", "a:b"] {
            assert!(text.parse::<PageServer>().is_err(), "{text}");
        }
    }
}
