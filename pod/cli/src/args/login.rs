//! `rrun login` and `logout`.

const LOGIN: &str = "\
Examples:
  rrun login                                         docker.io; asks for user and password
  rrun login -u anna quay.io                         asks for the password
  rrun login -u anna --password-stdin quay.io <FILE  asks for nothing
  rrun login -u robot --password-stdin quay.io/team  for the images below quay.io/team alone

The registry is asked first, by what is configured for it (certs.d, hosts.toml). What it takes is kept
in /root/.docker/config.json, as docker does, or by the credential helper that the file names.";

const LOGOUT: &str = "\
Examples:
  rrun logout quay.io
  rrun logout --all";

#[derive(clap::Args)]
#[command(after_help = LOGIN)]
pub struct Login {
    /// A registry, or a part of it; docker.io if there is none
    pub registry: Option<String>,
    /// User name
    #[arg(short, long, value_name = "USER")]
    pub username: Option<String>,
    /// Password or token; whoever lists the processes of this machine sees it
    #[arg(short, long, value_name = "PASSWORD", conflicts_with = "password_stdin")]
    pub password: Option<String>,
    /// Take the password from standard input
    #[arg(long, requires = "username")]
    pub password_stdin: bool,
}

#[derive(clap::Args)]
#[command(after_help = LOGOUT)]
pub struct Logout {
    /// A registry, or the part of it that one logged in to; docker.io if there is none
    #[arg(conflicts_with = "all")]
    pub registry: Option<String>,
    /// Out of all that /root/.docker/config.json names
    #[arg(short, long)]
    pub all: bool,
}
