//! `rrun exec`, `attach`, `port-forward` and `cp`.

use crate::port_forward::{Address, Ports};
use clap::Args;

const EXECS: &str = "\
Examples:
  rrun exec web -- ls -l /srv         in the pod's first container
  rrun exec -it web -c server -- sh   on this terminal
  echo hello | rrun exec -i web -- tee /tmp/greeting

Its exit code is ours: 126 when the program is there and cannot be run, 127 when there is none. When the
command could not be begun, the exit code is 125 and standard error says why.";

#[derive(Args)]
#[command(after_help = EXECS)]
pub struct Exec {
    /// Pass standard input
    #[arg(short = 'i', long)]
    pub stdin: bool,
    /// On a terminal
    #[arg(short, long)]
    pub tty: bool,
    /// Name, namespace/name or uid of the pod
    pub pod: String,
    /// In this container; default: the first
    #[arg(short, long, value_name = "NAME")]
    pub container: Option<String>,
    /// Program and arguments
    #[arg(last = true, required = true)]
    pub command: Vec<String>,
}

const ATTACHES: &str = "\
Examples:
  rrun attach web                     what its first container writes, until Ctrl-C
  rrun attach -it web -c shell        a container with stdin: true and tty: true

What was written before is in rrun logs. Ctrl-C leaves the container as it is, unless -i -t pass it on.";

#[derive(Args)]
#[command(after_help = ATTACHES)]
pub struct Attach {
    /// Pass standard input; the container needs stdin: true
    #[arg(short = 'i', long)]
    pub stdin: bool,
    /// On a terminal; the container needs tty: true
    #[arg(short, long)]
    pub tty: bool,
    /// Name, namespace/name or uid of the pod
    pub pod: String,
    /// To this container; default: the first
    #[arg(short, long, value_name = "NAME")]
    pub container: Option<String>,
}

const FORWARDS: &str = "\
Examples:
  rrun port-forward web 8080:80       port 8080 of this machine is the pod's port 80
  rrun port-forward web 80 8443:https the same number, and a port that the manifest names
  rrun port-forward web :80           any port that is free, which is told
  rrun port-forward --address 0.0.0.0 web 8080:80

It goes on until Ctrl-C, or until the pod ends: then it ends with 1.";

#[derive(Args)]
#[command(after_help = FORWARDS)]
pub struct PortForward {
    /// Name, namespace/name or uid of the pod
    pub pod: String,
    /// [LOCAL:]REMOTE, or :REMOTE for a local port that is free
    #[arg(required = true, value_name = "PORTS")]
    pub ports: Vec<Ports>,
    /// Listen there: localhost or addresses of this machine
    #[arg(long, value_name = "ADDRESSES", value_delimiter = ',', default_value = "localhost")]
    pub address: Vec<Address>,
}

const COPIES: &str = "\
Examples:
  rrun cp web:/var/log/app ./logs     a folder of the first container of the pod web
  rrun cp -c server ./web.conf web:/etc/web.conf
  rrun cp ./site/. web:/srv           what is in a folder

A folder that is there takes the copy under the name that it had. Out of a container come no links,
devices, FIFOs and sockets; those that are left out are told.";

#[derive(Args)]
#[command(after_help = COPIES)]
pub struct Cp {
    /// A file or folder: a path here, or POD:PATH or NAMESPACE/POD:PATH in a container
    pub from: String,
    /// Where to: the same; one of both is in a container
    pub to: String,
    /// Of this container; default: the first
    #[arg(short, long, value_name = "NAME")]
    pub container: Option<String>,
    /// Ownership and permissions will not be preserved
    #[arg(long)]
    pub no_preserve: bool,
}
