//! How long a container and an exec take: medians of many, on a quiet machine. Needs root.
//!
//! `cargo bench -p rrun-runtime --bench lifecycle`

#[path = "../tests/support/mod.rs"]
mod support;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use rrun_runtime::plan::*;
use rrun_runtime::run::{self, pod_mounts};
use rrun_runtime::{Error, Kind, Result, cgroup};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use support::*;

const ROUNDS: usize = 300;

/// The smallest program that ends, so that what is measured is not its own start.
fn install_program(root: &Path) -> Result<()> {
    let source = root.join("tmp/end.c");
    std::fs::write(&source, "int main(void) { return 0; }\n")?;
    let mut compiler = Command::new("cc");
    compiler.args(["-static", "-O2", "-o"]).arg(root.join("bin/end")).arg(source);
    match compiler.status()?.success() {
        true => Ok(()),
        false => Err(Error::new(Kind::Invalid, "cc -static failed")),
    }
}

fn main() -> Result<()> {
    let place = Box::new();
    install_program(&place.root)?;
    let pod_mounts = pod_mounts::make(None)?;
    let mut plan = place.plan(&["/bin/end"]);
    plan.namespaces.cgroup = Namespace::New;
    let cpu = cpu_time();
    let mut phases = [(); 5].map(|()| Vec::with_capacity(ROUNDS));
    for _ in 0..ROUNDS {
        let mut last = Instant::now();
        let mut lap = |phase: usize| {
            phases[phase].push(last.elapsed());
            last = Instant::now();
        };
        let mut child = run::spawn(&plan, &[], Some(pod_mounts.as_fd()), None)?;
        lap(0);
        ready(&mut child)?;
        lap(1);
        child.release()?;
        running(&mut child)?;
        lap(2);
        wait(&child);
        lap(3);
        cgroup::remove(&place.groups.dirs)?;
        lap(4);
    }
    let totals = (0..ROUNDS).map(|round| phases.iter().map(|phase| phase[round]).sum()).collect();
    for (name, times) in ["spawn returns", "ready", "running", "exited", "groups removed"]
        .into_iter()
        .zip(phases)
        .chain([("container, whole life", totals)])
    {
        report(name, times);
    }

    println!("container, processor     {:6} µs", (cpu_time() - cpu).as_micros() / ROUNDS as u128);

    let init = place.start(&place.plan(&["sleep", "1000"]))?;
    let exec = place.exec_plan(&["/bin/end"]);
    let mut times = Vec::with_capacity(ROUNDS);
    let mut returns = Vec::with_capacity(ROUNDS);
    let cpu = cpu_time();
    for _ in 0..ROUNDS {
        let begin = Instant::now();
        let mut child = run::exec(&exec, init.pidfd(), None)?;
        returns.push(begin.elapsed());
        running(&mut child)?;
        wait(&child);
        times.push(begin.elapsed());
    }
    println!("exec, processor          {:6} µs", (cpu_time() - cpu).as_micros() / ROUNDS as u128);
    report("exec returns", returns);
    report("exec, whole life", times);
    let files = cgroup::stats::Files::find(&place.groups);
    let times = (0..ROUNDS).map(|_| {
        let begin = Instant::now();
        files.read().map(|_| begin.elapsed())
    });
    report("figures of a container", times.collect::<Result<_>>()?);
    place.kill(&init);
    Ok(())
}

/// Of this process and its children, which other load does not change much.
fn cpu_time() -> Duration {
    [UsageWho::RUSAGE_SELF, UsageWho::RUSAGE_CHILDREN]
        .into_iter()
        .filter_map(|who| getrusage(who).ok())
        .flat_map(|usage| [usage.user_time(), usage.system_time()])
        .map(|time| Duration::from_micros(u64::try_from(time.num_microseconds()).unwrap_or(0)))
        .sum()
}

fn report(name: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_micros();
    println!("{name:24} p50 {:6} µs   p10 {:6}   p99 {:6}", at(50), at(10), at(99));
}
