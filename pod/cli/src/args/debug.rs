//! `rrun debug`.

use clap::Args;

const DEBUGS: &str = "\
Examples:
  rrun debug -it web --image busybox:1.36 --target server -- sh
  rrun debug web --image tools:1 -- tcpdump -i eth0 -c 100
  rrun logs web -c debugger-x7k2p         what one printed that nobody is attached to

The container is in the pod's network and IPC namespaces, sees the processes of --target (its own else,
or all where the pod shares them) and may trace them. It is started once and goes with the pod. With -i
it is attached to, and its exit code is ours.";

#[derive(Args)]
#[command(after_help = DEBUGS)]
pub struct Debug {
    /// Name, namespace/name or uid of the pod
    pub pod: String,
    /// The image of the container that is added
    #[arg(long, value_name = "IMAGE")]
    pub image: String,
    /// See the processes of this container
    #[arg(long, value_name = "NAME")]
    pub target: Option<String>,
    /// Its name; default: debugger- and five letters
    #[arg(short, long, value_name = "NAME")]
    pub container: Option<String>,
    /// Pass standard input, and wait for its end
    #[arg(short = 'i', long)]
    pub stdin: bool,
    /// On a terminal
    #[arg(short, long)]
    pub tty: bool,
    /// Program and arguments instead of the image's
    #[arg(last = true)]
    pub command: Vec<String>,
}
