//! Commands that show pods.

use super::Output;
use crate::jsonpath::Template;
use crate::selector::Fields;
use clap::{Args, ValueEnum};
use rrun_pod::go_duration;
use rrun_pod::manifest::Selector;
use std::time::Duration;

const LISTS: &str = "\
Examples:
  rrun ps                             pods that have not ended
  rrun ps -a -n web                   all pods of a namespace
  rrun ps -w                          go on, a line for each change

rrun get has the columns and formats of kubectl.";

#[derive(Args)]
#[command(after_help = LISTS)]
pub struct Ps {
    /// Ended ones too
    #[arg(short, long)]
    pub all: bool,
    /// Of this namespace alone
    #[arg(short, long, value_name = "NAME")]
    pub namespace: Option<String>,
    /// Go on, and print the line of each pod that changes
    #[arg(short, long, conflicts_with = "output")]
    pub watch: bool,
    /// json, yaml: as the API has pods; wide: with the runtime that has it; name: pod/NAME alone
    #[arg(short, long, value_name = "FORMAT")]
    pub output: Option<PsOutput>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PsOutput {
    Json,
    Yaml,
    Wide,
    Name,
}

const GETS: &str = "\
Examples:
  rrun get                            all pods, ended ones too
  rrun get web db -o yaml             spec and status, as kubectl prints them
  rrun get pod/web -o jsonpath='{.status.podIP}'
  rrun get -l 'app=web,tier in (front, back)'
  rrun get --field-selector status.phase!=Running -w
  rrun get -o jsonpath='{range .items[*]}{.metadata.name}{\"\\n\"}{end}'
  rrun get -w                         go on, a line for each change";

#[derive(Args)]
#[command(after_help = GETS)]
pub struct Get {
    /// Names, namespace/name or uids of pods, pod/ before them or not; default: all. A word pods in
    /// front means nothing
    pub pods: Vec<String>,
    /// Of this namespace alone
    #[arg(short, long, value_name = "NAME")]
    pub namespace: Option<String>,
    /// Of all namespaces, as without --namespace
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    pub all_namespaces: bool,
    /// Go on, and print the line of each pod that changes
    #[arg(short, long)]
    pub watch: bool,
    /// Those with such labels alone: a=b, a!=b, a in (b,c), a notin (b,c), a, !a; all of several
    /// with commas between them
    #[arg(short = 'l', long, value_name = "LABELS")]
    pub selector: Option<Selector>,
    /// Those with such fields alone: status.phase=Running, spec.nodeName!=n; all of several with
    /// commas between them
    #[arg(long, value_name = "FIELDS")]
    pub field_selector: Option<Fields>,
    /// No line with the names of the columns
    #[arg(long)]
    pub no_headers: bool,
    /// wide, name, json, yaml or jsonpath=TEMPLATE
    #[arg(short, long, value_name = "FORMAT", value_parser = get_output)]
    pub output: Option<GetOutput>,
}

/// How `rrun get` prints.
#[derive(Clone, Debug)]
pub enum GetOutput {
    Wide,
    Name,
    Json,
    Yaml,
    JsonPath(Template),
}

fn get_output(text: &str) -> Result<GetOutput, String> {
    match text {
        "wide" => Ok(GetOutput::Wide),
        "name" => Ok(GetOutput::Name),
        "json" => Ok(GetOutput::Json),
        "yaml" => Ok(GetOutput::Yaml),
        _ => match text.strip_prefix("jsonpath=") {
            Some(template) => Template::parse(template).map(GetOutput::JsonPath),
            None => Err("want wide, name, json, yaml or jsonpath=TEMPLATE".to_owned()),
        },
    }
}

const TOPS: &str = "\
Examples:
  rrun top                            on a terminal: c, m and n sort, q ends
  rrun top web --containers           of one pod
  rrun top --sort-by memory | head -5
  rrun stats -o json                  once, all figures

CPU is of the time between two looks. PSI is the part of the last 10 seconds in which tasks waited for
CPU, memory or the disk. PROBES: startup, liveness and readiness, + passed, - failed, ? not known yet.";

#[derive(Args)]
#[command(after_help = TOPS)]
pub struct Top {
    /// Names, namespace/name or uids of pods; default: all that have not ended
    pub pods: Vec<String>,
    /// A line for each container
    #[arg(long)]
    pub containers: bool,
    /// Of this namespace alone
    #[arg(short, long, value_name = "NAME", conflicts_with = "pods")]
    pub namespace: Option<String>,
    /// What uses most of it first; default: by name
    #[arg(long, value_name = "FIELD")]
    pub sort_by: Option<TopField>,
    /// json: each container, with more figures
    #[arg(short, long, value_name = "FORMAT")]
    pub output: Option<Output>,
}

#[derive(Args)]
#[command(after_help = TOPS)]
pub struct Stats {
    /// Names, namespace/name or uids of pods; default: all that have not ended
    pub pods: Vec<String>,
    /// Of this namespace alone
    #[arg(short, long, value_name = "NAME", conflicts_with = "pods")]
    pub namespace: Option<String>,
    /// What uses most of it first; default: by name
    #[arg(long, value_name = "FIELD")]
    pub sort_by: Option<TopField>,
    /// json: with more figures, those that are not known null
    #[arg(short, long, value_name = "FORMAT")]
    pub output: Option<Output>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TopField {
    Cpu,
    Memory,
}

const INSPECTS: &str = "\
Examples:
  rrun inspect web                    the pod, its sandbox and its containers
  rrun inspect web db | grep '\"pid\"'
  rrun inspect web -c server          this container alone

status is what the CRI says, info what the runtime says of itself beside it.";

#[derive(Args)]
#[command(after_help = INSPECTS)]
pub struct Inspect {
    /// Names, namespace/name or uids of pods
    #[arg(required = true)]
    pub pods: Vec<String>,
    /// Of this container alone
    #[arg(short, long, value_name = "NAME")]
    pub container: Option<String>,
}

const LOGS: &str = "\
Examples:
  rrun logs web                       all containers, the newest run of each
  rrun logs -f web -c server          go on until the pod ends
  rrun logs web --since 1h30m --tail 20 -t
  rrun logs -p web -c server          the run before";

#[derive(Args)]
#[command(after_help = LOGS)]
pub struct Logs {
    /// Name, namespace/name or uid of the pod
    pub pod: String,
    /// Of this container alone
    #[arg(short, long, value_name = "NAME")]
    pub container: Option<String>,
    /// Go on until the pod ends
    #[arg(short, long)]
    pub follow: bool,
    /// The run before the newest, of a container that was started again
    #[arg(short, long, conflicts_with = "follow")]
    pub previous: bool,
    /// The last lines alone, of each container; -1: all
    #[arg(long, value_name = "LINES", allow_negative_numbers = true)]
    pub tail: Option<i64>,
    /// With the time before each line
    #[arg(short, long)]
    pub timestamps: bool,
    /// With the names of pod and container before each line, as kubectl has them
    #[arg(long)]
    pub prefix: bool,
    /// Of all containers, as without a name
    #[arg(long, conflicts_with = "container")]
    pub all_containers: bool,
    /// What is not older than this: 90s, 5m, 1h30m
    #[arg(long, value_name = "DURATION", value_parser = since)]
    pub since: Option<Duration>,
}

/// As Go writes durations; not less than nothing.
fn since(text: &str) -> Result<Duration, String> {
    let nanos = go_duration::parse(text)?;
    u64::try_from(nanos).map(Duration::from_nanos).map_err(|_| "want a time that has passed".into())
}

#[cfg(test)]
mod tests {
    use super::{get_output, since};
    use std::time::Duration;

    #[test]
    fn times_have_units_and_formats_are_named() {
        assert_eq!(since("1h30m"), Ok(Duration::from_secs(5_400)));
        assert!(["", "5", "-1s", "1d"].iter().all(|text| since(text).is_err()));
        assert!(get_output("jsonpath={.status.phase}").is_ok());
        assert!(
            ["xml", "jsonpath={", "custom-columns=A:.b"].iter().all(|t| get_output(t).is_err())
        );
    }
}
