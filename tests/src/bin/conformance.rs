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
        Daemon::rrund(&sandbox, None)?
    };
    let scratch = sandbox.root().join("critest");
    std::fs::create_dir(&scratch)?;
    let passed = judge(options, &Critest::new(daemon.endpoint(), sandbox.prefix(), scratch))?;
    let log = place::cache().join("conformance-daemon.log");
    std::fs::write(&log, daemon.log())?;
    println!("the daemon's log: {}", log.display());
    Ok(passed)
}

/// Runs critest twice and compares; the last line printed counts.
fn judge(options: &Options, critest: &Critest) -> Result<bool> {
    let focus = options.focus.as_deref();
    let spdy = critest.run("critest", focus, options.parallel, &[])?;
    spdy.print();
    let websocket = match focus {
        None => Some(critest.run("websocket", Some(STREAMING), options.parallel, &WEBSOCKET)?),
        Some(_) => None,
    };
    if let Some(report) = &websocket {
        println!("\nover WebSocket:");
        report.print();
    }
    let missed = match focus {
        None => compare(&spdy, websocket.as_ref())?,
        Some(_) => 0,
    };
    let all = || spdy.specs.iter().chain(websocket.iter().flat_map(|report| &report.specs));
    let count = |outcome| all().filter(|(_, spec)| spec.outcome == outcome).count();
    println!(
        "{} passed, {} failed, {} skipped",
        count(Outcome::Passed),
        count(Outcome::Failed),
        count(Outcome::Skipped)
    );
    Ok(missed == 0)
}

/// Holds the list against the reports; a listed streaming spec must pass over both transports.
fn compare(spdy: &Report, websocket: Option<&Report>) -> Result<usize> {
    let path = place::workspace().join("tests/conformance/must-pass.txt");
    let text = std::fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
    let names = text.lines().map(normal);
    let listed: BTreeSet<String> =
        names.filter(|name| !name.is_empty() && !name.starts_with('#')).collect();
    let mut missed = 0;
    for name in &listed {
        let over_spdy = spdy.specs.get(name).map(|spec| spec.outcome);
        let over_websocket = websocket.and_then(|report| report.specs.get(name));
        let over_websocket = over_websocket.map(|spec| spec.outcome);
        if over_spdy != Some(Outcome::Passed)
            || over_websocket.is_some_and(|outcome| outcome != Outcome::Passed)
        {
            missed += 1;
            println!("must pass, and did not: {name}");
        }
    }
    for (name, spec) in &spdy.specs {
        if spec.outcome == Outcome::Passed && !listed.contains(name) {
            println!("passes, and is not on the list: {name}");
        }
    }
    println!("{} of {} on the list passed", listed.len() - missed, listed.len());
    Ok(missed)
}
