//! `rrun run` and `rrun apply`.

use clap::Args;
use rrun_pod::gc::policy::GcPolicy;
use rrun_pod::go_duration;
use rrun_pod::quantity::Quantity;
use rrun_pod::supervise::rotate::Limits;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(Args)]
pub struct Run {
    /// The manifest, or a folder of manifests; - is standard input
    #[arg(required_unless_present = "file")]
    pub manifest: Option<PathBuf>,
    /// The manifest, as kubectl takes it
    #[arg(short, long, conflicts_with = "manifest")]
    pub file: Option<PathBuf>,
    /// ConfigMaps, Secrets, claims and Services that pods refer to; may be repeated
    #[arg(long = "with", value_name = "FILE")]
    pub objects: Vec<PathBuf>,
    /// Of several pods this one alone
    #[arg(long, value_name = "NAME")]
    pub pod: Option<String>,
    /// Of a process for one pod of several, whose notes are printed by another
    #[arg(skip)]
    pub is_one_of_many: bool,
    /// Of a process for a pod of a Job
    #[arg(skip)]
    pub tries: Option<u32>,
    /// Of a process for a Job
    #[arg(skip)]
    pub job: Option<String>,
    /// Leave the ended pod with its logs, for rrun rm to remove
    #[arg(long)]
    pub keep: bool,
    /// Go on in the background and print the pod's uid; implies --keep
    #[arg(short, long)]
    pub detach: bool,
    #[command(flatten)]
    pub process: Process,
}

const APPLIES: &str = "\
Examples:
  rrun apply -f web.yaml              run it in the background, or bring it up to date
  rrun apply -f ./manifests --with config.yaml
  helm template ./chart | rrun apply -f -

Of a pod that is there may change: requests and limits of CPU and memory, which are changed while it
runs (a container whose resizePolicy says RestartContainer is started again), but not so that its QoS
class is another; images, whose containers are made anew; activeDeadlineSeconds, to less; labels and
annotations; and the data of ConfigMaps and Secrets, which volumes follow at once and variables at a
container's next start. Any other change is refused by its path, and nothing of that pod is changed.";

#[derive(Args)]
#[command(after_help = APPLIES)]
pub struct Apply {
    /// The manifest, or a folder of manifests; - is standard input
    #[arg(short, long, value_name = "FILE")]
    pub file: PathBuf,
    /// ConfigMaps, Secrets, claims and Services that pods refer to; may be repeated
    #[arg(long = "with", value_name = "FILE")]
    pub objects: Vec<PathBuf>,
    #[command(flatten)]
    pub process: Process,
}

const MANIFESTS: &str = "\
Examples:
  systemctl enable --now rrun-manifests
  cp web.yaml /etc/rrun/manifests/    its pods run
  rm /etc/rrun/manifests/web.yaml     and end
  rrun manifests --dir ./manifests    without the service

Files are read by name, those that begin with a dot are not. A change of a file ends its pod and begins
another one; a file that cannot be read changes nothing. The pods go on when this process ends.";

#[derive(Args)]
#[command(after_help = MANIFESTS)]
pub struct Manifests {
    /// Instead of the configuration's folder: /etc/rrun/manifests
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    #[command(flatten)]
    pub process: Process,
}

impl Apply {
    /// Running its pods in the background.
    pub fn run(self) -> Run {
        Run {
            manifest: None,
            file: Some(self.file),
            objects: self.objects,
            pod: None,
            is_one_of_many: false,
            tries: None,
            job: None,
            keep: true,
            detach: true,
            process: self.process,
        }
    }
}

// Of the process that runs a pod. A doc comment would be the command's.
#[derive(Args)]
pub struct Process {
    /// Sysctls that pods may set beside the safe ones: names, or prefixes ending in *
    #[arg(long = "allowed-unsafe-sysctls", value_name = "NAMES", value_delimiter = ',')]
    pub unsafe_sysctls: Vec<String>,
    /// Rotate a container's log at this size
    #[arg(long, value_name = "SIZE", default_value = "10Mi", value_parser = size)]
    pub log_max_size: u64,
    /// Keep so many files of a log, at least 2
    #[arg(long, value_name = "N", default_value_t = Limits::default().max_files, value_parser = files)]
    pub log_max_files: usize,
    /// Collect dead containers this often, 1s at least
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = period)]
    pub container_gc_period: Duration,
    #[command(flatten)]
    pub containers: DeadContainers,
}

// The kubelet's flags of its container collection. A doc comment would be the command's.
#[derive(Args)]
pub struct DeadContainers {
    /// Collect no dead container that was made less than this ago: 1m, 90s, 1h30m
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = go_duration::parse)]
    #[arg(allow_hyphen_values = true)]
    pub minimum_container_ttl_duration: i64,
    /// Keep so many dead runs of each container of a pod; any number if negative
    #[arg(long, value_name = "N", default_value_t = 2, allow_negative_numbers = true)]
    pub maximum_dead_containers_per_container: i32,
    /// Keep so many dead containers of all pods; any number if negative
    #[arg(long, value_name = "N", default_value_t = 100, allow_negative_numbers = true)]
    pub maximum_dead_containers: i32,
}

impl DeadContainers {
    pub fn policy(&self) -> rrun_pod::error::Result<GcPolicy> {
        let per_container = self.maximum_dead_containers_per_container;
        let age = self.minimum_container_ttl_duration;
        GcPolicy::new(age, per_container, self.maximum_dead_containers)
    }
}

impl Run {
    /// Whether the manifest is on standard input.
    pub fn reads_stdin(&self) -> bool {
        self.manifest() == Path::new("-")
    }

    /// The manifest, by whichever way it was given.
    pub fn manifest(&self) -> &Path {
        let path = self.file.as_ref().or(self.manifest.as_ref());
        path.map_or(Path::new("-"), |path| path)
    }
}

/// `10Mi` in bytes.
fn size(text: &str) -> Result<u64, String> {
    let value = Quantity::parse(text).map_err(|error| error.to_string())?.value();
    u64::try_from(value).ok().filter(|value| *value > 0).ok_or("want more than nothing".to_owned())
}

/// The file that is written, and those that were rotated.
fn files(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|files| *files >= 2).ok_or("want 2 or more".to_owned())
}

/// As the kubelet's flags have durations.
fn period(text: &str) -> Result<Duration, String> {
    let nanos = go_duration::parse(text)?;
    let period = Duration::from_nanos(u64::try_from(nanos).unwrap_or(0));
    if period < Duration::from_secs(1) { Err("want 1s or more".to_owned()) } else { Ok(period) }
}

#[cfg(test)]
mod tests {
    use super::{period, size};

    #[test]
    fn sizes_and_periods_have_units() {
        assert_eq!((size("10Mi"), size("1k")), (Ok(10 << 20), Ok(1_000)));
        assert!(size("-1").is_err() && size("0").is_err() && size("x").is_err());
        assert_eq!(period("1m30s"), Ok(std::time::Duration::from_secs(90)));
        assert!(["", "5", "0s", "-1s", "999ms"].iter().all(|text| period(text).is_err()));
    }
}
