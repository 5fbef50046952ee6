//! `conformance`: critest against a CRI server, compared with `tests/conformance/must-pass.txt`.

use anyhow::{Context, Result, bail};
use rrun_tests::conformance::{Critest, Outcome, Report, normal};
use rrun_tests::daemon::Daemon;
use rrun_tests::registry::Registry;
use rrun_tests::sandbox::Sandbox;
use rrun_tests::{images, place};
use std::collections::BTreeSet;
use std::process::ExitCode;

const USAGE: &str = "usage: conformance [--peer] [--parallel N] [--focus REGEX]
  Runs critest against rrund in a sandbox, then the streaming specs again over WebSocket.
  --peer        against containerd and runc, which tests the images and this program
  --parallel N  so many specs at once (4)
  --focus REGEX only these specs; the list is then not asked
  $RRUN_CONFORMANCE_ENDPOINT  a CRI server that runs already, and has the mirrors; no sandbox
  The last line counts: `N passed, N failed, N skipped`.";

const STREAMING: &str = "Streaming";
const WEBSOCKET: [&str; 3] =
    ["-websocket-exec=true", "-websocket-attach=true", "-websocket-portforward=true"];

struct Options {
    peer: bool,
    parallel: u32,
    focus: Option<String>,
}

fn main() -> ExitCode {
    match options().and_then(|options| run(&options)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("conformance: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn options() -> Result<Options> {
    let mut options = Options { peer: false, parallel: 4, focus: None };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().context(USAGE);
        match argument.as_str() {
            "--peer" => options.peer = true,
            "--parallel" => options.parallel = value()?.parse()?,
            "--focus" => options.focus = Some(value()?),
            _ => bail!("{USAGE}"),
        }
    }
    Ok(options)
}

fn run(options: &Options) -> Result<bool> {
    if let Ok(endpoint) = std::env::var("RRUN_CONFORMANCE_ENDPOINT") {
        return judge(options, &Critest::new(endpoint, Vec::new(), std::env::temp_dir()));
    }
    let sandbox = Sandbox::new()?;
    let store = images::store()?;
    let registry =
        Registry::options(&store.storage).read_only().behind(&sandbox.prefix()).start()?;
    let daemon = if options.peer {
        let certs = sandbox.root().join("certs.d");
        registry.write_mirrors(&certs)?;
        Daemon::containerd(&sandbox, &certs)?
    } else {
        registry.write_mirrors(&sandbox.inside("/etc/rrun/certs.d"))?;
        Daemon::rrund(&sandbox, "")?
    };
    let scratch = sandbox.root().join("critest");
    std::fs::create_dir(&scratch)?;
    let log = place::cache().join("conformance-daemon.log");
    println!("the daemon's log: {}", log.display());
    let passed = judge(options, &Critest::new(daemon.endpoint(), sandbox.prefix(), scratch))?;
    std::fs::write(&log, daemon.log())?;
    Ok(passed)
}

/// Runs critest twice and compares; the last line printed counts. What is on the list and did not
/// pass has failed, whatever critest says of it.
fn judge(options: &Options, critest: &Critest) -> Result<bool> {
    let focus = options.focus.as_deref();
    let mut reports = vec![critest.run("critest", focus, options.parallel, &[])?];
    reports[0].print();
    if focus.is_none() {
        println!("\nover WebSocket:");
        reports.push(critest.run("websocket", Some(STREAMING), options.parallel, &WEBSOCKET)?);
        reports[1].print();
    }
    let count = |outcome| reports.iter().map(|report| report.count(outcome)).sum::<usize>();
    let (passed, failed) = (count(Outcome::Passed), count(Outcome::Failed));
    println!("\ncritest: {passed} passed, {failed} failed, {} skipped", count(Outcome::Skipped));
    let missed = if focus.is_none() { compare(&reports)? } else { 0 };
    let failed = failed.max(missed);
    println!("{passed} passed, {failed} failed, {} skipped", count(Outcome::Skipped));
    Ok(failed == 0)
}

/// Holds the list against the reports: what is listed must pass in each where it ran, and must
/// have run. Returns how many did not.
fn compare(reports: &[Report]) -> Result<usize> {
    let path = place::workspace().join("tests/conformance/must-pass.txt");
    let text = std::fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
    let names = text.lines().map(normal);
    let listed: BTreeSet<String> =
        names.filter(|name| !name.is_empty() && !name.starts_with('#')).collect();
    let passed = |name: &String| {
        let mut outcomes = reports.iter().filter_map(|report| report.specs.get(name)).peekable();
        outcomes.peek().is_some() && outcomes.all(|spec| spec.outcome == Outcome::Passed)
    };
    let missed: Vec<_> = listed.iter().filter(|name| !passed(name)).collect();
    for name in &missed {
        println!("must pass, and did not: {name}");
    }
    for name in reports[0].specs.keys().filter(|name| passed(name) && !listed.contains(*name)) {
        println!("passes, and is not on the list: {name}");
    }
    println!("{} of {} on the list passed", listed.len() - missed.len(), listed.len());
    Ok(missed.len())
}
