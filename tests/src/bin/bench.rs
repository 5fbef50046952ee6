//! `bench`: rrund beside containerd, and rrun-oci beside runc and crun.

use anyhow::{Context, Result, bail};
use rrun_tests::bench::subject::Subject;
use rrun_tests::bench::table::Table;
use rrun_tests::bench::{Rounds, hundred, images, manifests, oci, pods, pull, starts};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

const USAGE: &str = "usage: bench [--quick] [--only WHAT] [--endpoint URL | --before FOLDER]
  Measures rrund and containerd + runc over CRI, then rrun-oci, runc and crun, in turn.
  --quick         few rounds
  --only WHAT     pods, execs, hundred, pull, images, starts and lists (which images has too), manifests or
                  oci; may be given more than once
  --endpoint URL  only this CRI server, which runs already and can pull
                  images.rrun.test/work; no memory, pull or images
  --before FOLDER rrun of another commit, whose programs are in FOLDER, in the
                  peers' place; bars are not judged then
  Fails if a bar is missed.";

const ALL: [&str; 9] =
    ["pods", "execs", "hundred", "pull", "images", "starts", "lists", "manifests", "oci"];
/// Those that need images of their own.
const OF_IMAGES: [&str; 3] = ["images", "starts", "lists"];

struct Options {
    rounds: Rounds,
    only: Vec<String>,
    endpoint: Option<String>,
    before: Option<PathBuf>,
}

impl Options {
    fn parse() -> Result<Self> {
        let mut options =
            Self { rounds: Rounds::FULL, only: Vec::new(), endpoint: None, before: None };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().context(USAGE);
            match argument.as_str() {
                "--quick" => options.rounds = Rounds::QUICK,
                "--only" => options.only.push(value()?),
                "--endpoint" => options.endpoint = Some(value()?),
                "--before" => options.before = Some(value()?.into()),
                _ => bail!("{USAGE}"),
            }
        }
        match options.only.iter().find(|what| !ALL.contains(&what.as_str())) {
            Some(what) => bail!("--only {what}: there are {}\n{USAGE}", ALL.join(", ")),
            None => Ok(options),
        }
    }

    fn table(&self, names: Vec<String>) -> Table {
        if self.before.is_some() { Table::without_bars(names) } else { Table::new(names) }
    }

    fn wants(&self, what: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == what)
    }
}

fn main() -> ExitCode {
    match Options::parse().and_then(|options| run(&options)) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(missed) => {
            println!("{missed} bars missed");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Tables as they get ready; how many bars were missed.
fn run(options: &Options) -> Result<usize> {
    let mut missed = 0;
    if ["pods", "execs", "hundred", "pull"].iter().any(|what| options.wants(what)) {
        let runtime = tokio::runtime::Runtime::new()?;
        missed += show(&runtime.block_on(servers(options))?);
    }
    if options.endpoint.is_none() && OF_IMAGES.iter().any(|what| options.wants(what)) {
        let runtime = tokio::runtime::Runtime::new()?;
        missed += show(&runtime.block_on(of_images(options))?);
    }
    if options.endpoint.is_none() && options.wants("manifests") {
        let builds = manifests::builds(options.before.as_deref())?;
        let names = ["rrun manifests", "before"].iter().take(builds.len());
        let mut table = options.table(names.map(|name| (*name).to_owned()).collect());
        manifests::run(&mut table, &builds, options.rounds)?;
        missed += show(&table);
    }
    if options.endpoint.is_none() && options.wants("oci") {
        let runtimes = oci::runtimes(options.before.as_deref())?;
        let names = runtimes.iter().map(|runtime| runtime.name.to_owned()).collect();
        let mut table = options.table(names);
        oci::run(&mut table, &runtimes, options.rounds.containers)?;
        missed += show(&table);
    }
    Ok(missed)
}

fn show(table: &Table) -> usize {
    let (text, missed) = table.render();
    println!("{text}");
    missed
}

async fn servers(options: &Options) -> Result<Table> {
    let subjects = match &options.endpoint {
        Some(endpoint) => vec![Subject::endpoint(endpoint).await?],
        None => {
            let large = options.wants("pull").then(pull::storage).transpose();
            let large = large.context("the large image")?;
            let large = large.as_deref();
            let peer = match &options.before {
                Some(folder) => Subject::before(folder, large).await?,
                None => Subject::containerd(large).await?,
            };
            vec![Subject::rrund(large).await?, peer]
        }
    };
    let subjects: Vec<_> = subjects.into_iter().map(Arc::new).collect();
    let names = subjects.iter().map(|subject| subject.name.clone()).collect();
    let (mut table, rounds) = (options.table(names), options.rounds);
    if options.wants("pods") {
        pods::lives(&mut table, &subjects, rounds).await.context("pods")?;
    }
    if options.wants("execs") {
        pods::execs(&mut table, &subjects, rounds).await.context("execs")?;
    }
    if options.wants("hundred") {
        hundred::run(&mut table, &subjects, rounds).await.context("hundred")?;
    }
    if options.wants("pull") && options.endpoint.is_none() {
        pull::run(&mut table, &subjects, rounds).await.context("pull")?;
    }
    Ok(table)
}

async fn of_images(options: &Options) -> Result<Table> {
    let (servers, ours) = images::Server::all(options.before.as_deref());
    let names = servers.iter().map(images::Server::name).chain(["floor"]).map(str::to_owned);
    let mut table = options.table(names.collect()).with_ours(ours);
    let wants = |what| options.wants("images") || options.wants(what);
    if wants("starts") {
        starts::run(&mut table, &servers, options.rounds)
            .await
            .context("containers over images")?;
    }
    if options.wants("images") {
        images::pulls(&mut table, &servers, options.rounds).await.context("images")?;
    }
    if wants("lists") {
        images::lists(&mut table, &servers, options.rounds).await.context("lists of images")?;
    }
    Ok(table)
}
