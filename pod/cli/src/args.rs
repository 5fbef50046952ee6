//! The command line.

mod access;
mod debug;
mod image;
mod login;
mod run;
mod show;

pub use access::{Attach, Cp, Exec, PortForward};
pub use debug::Debug;
pub use image::{Image, ImageList, Images};
pub use login::{Login, Logout};
pub use run::{Apply, DeadContainers, Manifests, Process, Run};
pub use show::{Get, GetOutput, Inspect, Logs, Ps, PsOutput, Stats, Top, TopField};

use crate::wait;
use clap::{Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

const CODES: &str = "\
Exit codes:
  0  done; of run: the pods succeeded, the Jobs are complete
  1  of run: a pod or a Job failed; of wait: it took too long
  2  the command could not be carried out, standard error says why
  N  of exec: the command's own; of debug -i: the container's
  125 of exec, attach and debug: could not be carried out, standard error says why
  126 of exec: the program is there and cannot be run
  127 of exec: there is no such program

Examples:
  rrun run pod.yaml                   until the pod ends, or Ctrl-C stops it
  rrun apply -f pod.yaml              in the background, or bring it up to date
  rrun get -w                         the pods, and what becomes of them
  rrun logs -f web                    what a pod writes
  rrun exec -it web -- sh             look into it
  rrun why web                        what it waits for";

const FSCK_CODES: &str = "\
Exit codes:
  0  nothing is wrong
  1  what was wrong is put right
  2  the command could not be carried out, standard error says why
  3  something is wrong, and nothing was changed
  4  something is wrong, and not all of it could be put right

What a daemon or another rrun works on is passed over. Layers that are damaged are fetched anew
from where their image was pulled. What rrund ends at its start is ended by --repair where no rrund
runs; until it has, none can start.";

const COMPLETIONS: &str = "\
Examples:
  rrun completion bash > /etc/bash_completion.d/rrun
  rrun completion zsh > /usr/local/share/zsh/site-functions/_rrun
  rrun completion fish > ~/.config/fish/completions/rrun.fish
  source <(rrun completion bash)      for this shell alone";

const RESTARTS: &str = "\
Example:
  rrun restart web                    as after RestartAllContainers: hooks, stop signals, then anew

The pod keeps its uid, addresses and volumes, and ephemeral containers go on. It is answered when the
containers have ended.";

const TRACES: &str = "\
Examples:
  rrun trace web
  rrun trace web -o json > web.json   for ui.perfetto.dev or chrome://tracing
  rrun trace web --html web.html      to look at in a browser

It shows what the pod's process has waited for: volumes, RunPodSandbox (namespaces and network), pulls,
CreateContainer, StartContainer and hooks, the first 64 of them, and when containers ran and the pod was
ready. What is done within a call has no times of its own.";

/// Runs pods from YAML, with no daemon and no cluster.
#[derive(Parser)]
#[command(name = "rrun", version, after_help = CODES)]
pub struct Args {
    /// Configuration file (TOML, as rrund's); /etc/rrun/rrund.toml if it is there
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// State that survives a reboot, instead of the configuration's
    #[arg(long, global = true, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// State of this boot, instead of the configuration's
    #[arg(long, global = true, value_name = "DIR")]
    pub run: Option<PathBuf>,
    /// Another CRI server instead of the runtime in this process: unix:///run/x.sock
    #[arg(long, global = true, value_name = "URL")]
    pub endpoint: Option<String>,
    /// The background half of run --detach
    #[arg(long, hide = true)]
    pub background: bool,
    /// The process for one pod of several: namespace/name
    #[arg(long, hide = true)]
    pub only: Option<String>,
    /// Of the process for a pod of a Job: how many have failed in its place before
    #[arg(long, hide = true)]
    pub tries: Option<u32>,
    /// The process that makes the pods of a Job in the background: namespace/name
    #[arg(long, hide = true)]
    pub job: Option<String>,
    #[command(subcommand)]
    pub verb: Verb,
}

#[derive(Subcommand)]
pub enum Verb {
    /// Run the pods of a manifest until they end, or until Ctrl-C stops them
    Run(Run),
    /// Run the pods of a manifest in the background, or change those that are there as it says
    Apply(Apply),
    /// Run the pods of a folder of manifests, as a kubelet has static pods: a service does this
    Manifests(Manifests),
    /// Print which pods a manifest has and whether they can be run, and make nothing
    Validate {
        /// The manifest, or a folder of manifests; - is standard input
        manifest: PathBuf,
        /// ConfigMaps, Secrets, claims and Services that pods refer to; may be repeated
        #[arg(long = "with", value_name = "FILE")]
        objects: Vec<PathBuf>,
        /// json: for programs
        #[arg(short, long, value_name = "FORMAT")]
        output: Option<Output>,
    },
    /// Print what would be done with the pods of a manifest, from start to end, and make nothing
    Explain {
        /// The manifest, or a folder of manifests; - is standard input
        manifest: PathBuf,
        /// ConfigMaps, Secrets, claims and Services that pods refer to; may be repeated
        #[arg(long = "with", value_name = "FILE")]
        objects: Vec<PathBuf>,
    },
    /// List pods that have not ended
    Ps(Ps),
    /// Print pods as kubectl does: a table, their YAML or JSON, or parts of it
    Get(Get),
    /// Print a pod's logs: of each container the newest run, rotated parts first
    Logs(Logs),
    /// Print what happened to a pod
    Events {
        /// Name, namespace/name or uid of the pod
        pod: String,
        /// Go on until nobody runs the pod any more
        #[arg(short, long)]
        watch: bool,
        /// json: for programs, an object a line
        #[arg(short, long, value_name = "FORMAT")]
        output: Option<Output>,
    },
    /// Print what a pod waits for now: calls, pulls, probes, back-offs, processes that hang
    Why {
        /// Name, namespace/name or uid of the pod
        pod: String,
        /// json: for programs
        #[arg(short, long, value_name = "FORMAT")]
        output: Option<Output>,
    },
    /// Print how the start of a pod went: each call to the runtime, when and how long
    #[command(after_help = TRACES)]
    Trace {
        /// Name, namespace/name or uid of the pod
        pod: String,
        /// json: in the Chrome trace event format, for a trace viewer
        #[arg(short, long, value_name = "FORMAT")]
        output: Option<Output>,
        /// Write a page for a browser, which needs nothing beside itself
        #[arg(long, value_name = "FILE", conflicts_with = "output")]
        html: Option<PathBuf>,
    },
    /// Show what the containers of pods use, again and again; elsewhere than on a terminal once
    Top(Top),
    /// Print once what containers use: CPU, memory, pressure, disk, restarts, probes
    Stats(Stats),
    /// Print pods and their containers as the runtime has them, as JSON: ids, processes, mounts
    Inspect(Inspect),
    /// Print all that is known of pods
    Describe {
        /// Names, namespace/name or uids of pods
        #[arg(required = true)]
        pods: Vec<String>,
    },
    /// Wait until pods are as they should be; ends with 1 when that takes too long
    Wait {
        /// Names, namespace/name or uids of pods
        #[arg(required = true)]
        pods: Vec<String>,
        /// create, delete, condition=NAME[=VALUE] or jsonpath='{.status.phase}'[=VALUE]
        #[arg(long = "for", value_name = "WHAT", value_parser = wait::parse)]
        what: wait::For,
        /// For so long in all: 30s, 5m; 0 looks once, less than that waits a week
        #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = wait::limit)]
        #[arg(allow_hyphen_values = true)]
        timeout: Duration,
    },
    /// Run a command in a container
    Exec(Exec),
    /// See what a container writes from now on, and with -i write to it
    Attach(Attach),
    /// Pass connections to ports of this machine on to ports of a pod
    PortForward(PortForward),
    /// Add a container to a pod that runs, to look into it
    Debug(Debug),
    /// Copy files between a container and this machine; nothing in the container is needed for it
    Cp(Cp),
    /// Stop pods: hooks, stop signals, and SIGKILL after the grace
    Stop {
        /// Names, namespace/name or uids of pods
        #[arg(required = true)]
        pods: Vec<String>,
        /// Instead of the pod's own grace
        #[arg(short, long, value_name = "SECONDS")]
        time: Option<u32>,
    },
    /// Start all containers of pods again, from the first init container on
    #[command(after_help = RESTARTS)]
    Restart {
        /// Names, namespace/name or uids of pods
        #[arg(required = true)]
        pods: Vec<String>,
    },
    /// Stop pods and remove them: the named ones, or those of a manifest
    Delete(Delete),
    /// Remove ended pods
    Rm {
        /// Names, namespace/name or uids of pods
        #[arg(required = true)]
        pods: Vec<String>,
        /// End those without grace that run
        #[arg(short, long)]
        force: bool,
    },
    /// Remove what is not needed any more, as the pods' own processes do from time to time
    #[command(subcommand)]
    Gc(Gc),
    /// Look through images, networks and pods for what is wrong, and with --repair put it right
    #[command(after_help = FSCK_CODES)]
    Fsck {
        /// Put right what can be put right; without it nothing is changed
        #[arg(long)]
        repair: bool,
        /// Do not hash the content of layers
        #[arg(long)]
        quick: bool,
        /// json: for programs
        #[arg(short, long, value_name = "FORMAT")]
        output: Option<Output>,
    },
    /// Say what this host has and lacks, and what follows; the exit code is 1 where no pod can be run
    Doctor {
        /// json: for programs
        #[arg(short, long, value_name = "FORMAT")]
        output: Option<Output>,
    },
    /// Print why a container was removed, how it had ended, and its last lines; or why an image went
    WhyRemoved {
        /// Of a container: its id or a beginning of it, pod/container, or the name of either. Of an
        /// image: a name or an id that it had. Default: what was decided about all images
        name_or_id: Option<String>,
        /// json: all that is on record
        #[arg(short, long, value_name = "FORMAT")]
        output: Option<Output>,
    },
    /// List images
    Images(ImageList),
    /// Pull an image
    Pull(Pull),
    /// Log in to a registry, for pulls from there by rrun
    Login(Login),
    /// Log out of a registry
    Logout(Logout),
    /// Remove images, each under all of its names
    Rmi(Images),
    /// Look at images, name them, import them
    #[command(subcommand)]
    Image(Image),
    /// Print a script that completes the words of rrun in a shell
    #[command(after_help = COMPLETIONS)]
    Completion {
        /// bash, zsh or fish
        shell: Shell,
    },
    /// Write the manual pages, a file for each command, as packages have them
    #[command(hide = true)]
    Man {
        /// The folder, which is there
        folder: PathBuf,
    },
}

/// The shells whose scripts are tried.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// What `rrun pull` is given.
#[derive(clap::Args)]
pub struct Pull {
    /// For example docker.io/library/busybox:1.36
    pub reference: String,
    /// Print the image's id alone
    #[arg(short, long, conflicts_with = "output")]
    pub quiet: bool,
    /// json: what happens as it happens, an object a line; the last one has the image's id
    #[arg(short, long, value_name = "FORMAT")]
    pub output: Option<Output>,
}

#[derive(Subcommand)]
pub enum Gc {
    /// Remove dead containers that are too many, and logs of pods that are gone
    Containers {
        /// Print what would be removed, and why
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        containers: DeadContainers,
    },
    /// Remove images as the daemon and rrun run do when the disk is full, and print why of each
    Images {
        /// Print what would be removed, and remove nothing
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    Json,
}

#[derive(clap::Args)]
pub struct Delete {
    /// Names, namespace/name or uids of pods
    #[arg(required_unless_present = "file")]
    pub pods: Vec<String>,
    /// The pods of this manifest or folder of manifests; - is standard input
    #[arg(short, long, conflicts_with = "pods")]
    pub file: Option<PathBuf>,
    /// Instead of each pod's own grace
    #[arg(long, value_name = "SECONDS")]
    pub grace_period: Option<u32>,
    /// What is not there is deleted
    #[arg(long)]
    pub ignore_not_found: bool,
}

#[cfg(test)]
mod tests {
    use super::Args;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }
}
