//! Containers over images of few and of many layers, and what programs in them read.

use super::images::Server;
use super::layered::{FOLDER, LAYERS, LIST, name, storage};
use super::pods::{self, Pod};
use super::subject::{LARGE_HOST, Subject, sleeper, spec};
use super::table::Table;
use super::{Rounds, cost};
use anyhow::{Context, Result};
use nix::unistd::sync;
use rrun_cri_api::Cri;
use rrun_cri_api::v1::*;
use std::fs;
use std::time::{Duration, Instant};

/// Starts, then reads, of each subject in turn.
pub async fn run(table: &mut Table, servers: &[Server], rounds: Rounds) -> Result<()> {
    let storage = storage().context("the images of few and of many layers")?;
    let mut subjects = Vec::new();
    for server in servers {
        let subject = server.start(&storage).await?;
        for layers in LAYERS {
            subject.pull(&image(layers)).await?;
        }
        subjects.push(subject);
    }
    sync();
    for layers in LAYERS {
        // The first is not counted.
        for round in 0..=rounds.starts {
            for (at, subject) in subjects.iter().enumerate() {
                let (pod, times) = start(subject, layers).await?;
                let ended = end(subject, &pod).await?;
                let phases = ["CreateContainer", "StartContainer"].into_iter().zip(times);
                let phases = phases.chain([("end", ended)]).filter(|_| round > 0);
                for (phase, time) in phases {
                    table.time(&format!("{layers} layers: {phase}"), at, time);
                }
            }
        }
    }
    for _ in 0..rounds.reads {
        for layers in LAYERS {
            for (at, subject) in subjects.iter().enumerate() {
                let read = read(table, at, subject, layers).await;
                read.with_context(|| format!("{}: {layers} layers", subject.name))?;
            }
        }
    }
    Ok(())
}

fn image(layers: u64) -> String {
    format!("{LARGE_HOST}/{}", name(layers))
}

/// A pod with a container of the image; how long CreateContainer and StartContainer have taken.
async fn start(subject: &Subject, layers: u64) -> Result<(Pod, [Duration; 2])> {
    let config = subject.pod(&format!("layers-{layers}"), NamespaceMode::Node);
    let container = ContainerConfig { image: Some(spec(&image(layers))), ..sleeper() };
    let (pod, phases) = pods::start_of(subject, config, container).await?;
    pod.ready().await?;
    let of = |name| phases.iter().find(|(phase, _)| *phase == name).map(|(_, time)| *time);
    let times = ["CreateContainer", "StartContainer"].map(|name| of(name).unwrap_or_default());
    Ok((pod, times))
}

/// How long the container took to go.
async fn end(subject: &Subject, pod: &Pod) -> Result<Duration> {
    let phases = pods::end(subject, pod).await?;
    Ok(phases.iter().filter(|(phase, _)| phase.ends_with("Container")).map(|(_, time)| *time).sum())
}

/// What is read in a container, cold and warm, and the removal of its image after that.
async fn read(table: &mut Table, at: usize, subject: &Subject, layers: u64) -> Result<()> {
    let row = |what: &str| format!("{layers} layers: {what}");
    subject.pull(&image(layers)).await?;
    cold()?;
    let (pod, times) = start(subject, layers).await?;
    table.time(&row("cold start"), at, times.iter().sum());
    let of_all: [(&str, &[&str]); 4] = [
        ("first exec of a shell", &["/bin/sh", "-c", "exit 0"]),
        ("look at 20,000 files", &["/bin/reads", "walk", FOLDER]),
        ("import of 2,000 files", &["/bin/reads", "import", LIST]),
        ("read of all files", &["/bin/reads", "all", FOLDER]),
    ];
    let mut cached = 0.0;
    for (what, command) in of_all {
        cold()?;
        let before = cost::cached()?;
        table.time(&row(&format!("{what}, cold")), at, exec(subject, &pod, command).await?);
        cached = cost::cached()? - before;
        table.time(&row(&format!("{what}, warm")), at, exec(subject, &pod, command).await?);
    }
    table.add(&row("page cache after that [MiB]"), at, cached);
    end(subject, &pod).await?;
    let begin = Instant::now();
    let request = RemoveImageRequest { image: Some(spec(&image(layers))) };
    subject.answer("RemoveImage", subject.client.remove_image(request)).await?;
    table.time(&row("removal of the image"), at, begin.elapsed());
    Ok(())
}

async fn exec(subject: &Subject, pod: &Pod, command: &[&str]) -> Result<Duration> {
    pods::exec(subject, &pod.container, command).await
}

/// Nothing of a file system is in memory that can be read again.
fn cold() -> Result<()> {
    sync();
    // Clean pages, and entries of folders and inodes (Documentation/admin-guide/sysctl/vm.rst).
    let path = "/proc/sys/vm/drop_caches";
    fs::write(path, "3").context(path)
}
