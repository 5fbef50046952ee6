//! The command line.

use clap::{Parser, Subcommand};
use std::path::PathBuf;

/// Runs single pods from a Pod YAML, with no daemon and no cluster.
#[derive(Parser)]
#[command(name = "rrun", version)]
pub struct Args {
    /// Configuration file (TOML, as rrund's); /etc/rrun/rrund.toml if it is there.
    #[arg(long, global = true)]
    pub config: Option<PathBuf>,
    /// State that survives a reboot, instead of the configuration's.
    #[arg(long, global = true)]
    pub root: Option<PathBuf>,
    /// State of this boot, instead of the configuration's.
    #[arg(long, global = true)]
    pub run: Option<PathBuf>,
    #[command(subcommand)]
    pub verb: Verb,
}

#[derive(Subcommand)]
pub enum Verb {
    /// Run a pod until it ends, or until Ctrl-C stops it.
    Run(Run),
    /// List pods.
    Ps {
        /// Ended ones too.
        #[arg(short, long)]
        all: bool,
    },
    /// Print a pod's logs.
    Logs {
        /// Name, namespace/name or uid of the pod.
        pod: String,
        /// Of this container alone.
        #[arg(short, long)]
        container: Option<String>,
        /// Go on until the pod ends.
        #[arg(short, long)]
        follow: bool,
    },
    /// Run a command in a container.
    Exec(Exec),
    /// Stop a pod: hooks, stop signals, and SIGKILL after the grace.
    Stop {
        /// Name, namespace/name or uid of the pod.
        pod: String,
        /// Seconds, instead of the pod's own grace.
        #[arg(short, long)]
        time: Option<u32>,
    },
    /// Remove an ended pod.
    Rm {
        /// Name, namespace/name or uid of the pod.
        pod: String,
        /// End it without grace if it runs.
        #[arg(short, long)]
        force: bool,
    },
    /// List images.
    Images,
    /// Pull an image.
    Pull {
        /// For example docker.io/library/busybox:1.36.
        reference: String,
    },
    /// Remove an image under all of its names.
    Rmi {
        /// A name or an id.
        image: String,
    },
    /// Images from files.
    #[command(subcommand)]
    Image(Image),
}

#[derive(clap::Args)]
pub struct Run {
    /// The manifest; `-` is standard input.
    #[arg(required_unless_present = "file")]
    pub manifest: Option<PathBuf>,
    /// The manifest, as kubectl takes it.
    #[arg(short, long, conflicts_with = "manifest")]
    pub file: Option<PathBuf>,
    /// ConfigMaps and Secrets that the pod refers to; may be repeated.
    #[arg(long = "with", value_name = "FILE")]
    pub objects: Vec<PathBuf>,
    /// Sysctls that pods may set beside the safe ones: names, or prefixes ending in `*`.
    #[arg(long = "allowed-unsafe-sysctls", value_name = "NAMES", value_delimiter = ',')]
    pub unsafe_sysctls: Vec<String>,
    /// Leave the ended pod with its logs, for `rrun rm` to remove.
    #[arg(long)]
    pub keep: bool,
    /// Go on in the background once the pod runs; implies --keep.
    #[arg(short, long)]
    pub detach: bool,
    /// The background half of --detach.
    #[arg(long, hide = true)]
    pub detached: bool,
}

#[derive(clap::Args)]
pub struct Exec {
    /// Pass standard input.
    #[arg(short = 'i', long)]
    pub stdin: bool,
    /// On a terminal.
    #[arg(short, long)]
    pub tty: bool,
    /// Name, namespace/name or uid of the pod.
    pub pod: String,
    /// In this container; default: the first.
    #[arg(short, long)]
    pub container: Option<String>,
    /// Program and arguments.
    #[arg(last = true, required = true)]
    pub command: Vec<String>,
}

#[derive(Subcommand)]
pub enum Image {
    /// Import an OCI image layout: a directory, or a tar file of one.
    Import {
        /// The layout.
        layout: PathBuf,
        /// The image's name, instead of the one in the layout.
        name: Option<String>,
    },
}
