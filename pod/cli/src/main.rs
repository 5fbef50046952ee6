//! `rrun`: runs single pods from a Pod YAML, with no daemon and no cluster.
//!
//! It joins the pod engine with the container engine and the images in its own process. Whoever
//! runs a pod holds its shelf ([`shelf`]) and answers others on sockets beside it ([`control`]);
//! a pod that nobody holds is taken over by the command that wants something of it ([`node`]).

mod args;
mod control;
mod exec;
mod images;
mod logs;
mod node;
mod ps;
mod run;
mod shelf;
mod show;
mod stop;
mod terminal;

use anyhow::{Context, Result};
use args::{Args, Image, Verb};
use clap::Parser;
use rrun_cri::config::Config;
use std::process::ExitCode;
use std::sync::Arc;

fn main() -> ExitCode {
    let args = Args::parse();
    rrun_cri::log::start("error");
    match start(args) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("rrun: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn start(args: Args) -> Result<ExitCode> {
    let mut config = Config::load(args.config.as_deref())?;
    // As they are kept: a detached half may have another working directory.
    if let Some(root) = &args.root {
        config.root = std::path::absolute(root)?;
    }
    if let Some(run) = &args.run {
        config.run = std::path::absolute(run)?;
    }
    let runtime = tokio::runtime::Runtime::new().context("start")?;
    let code = runtime.block_on(verb(args.verb, Arc::new(config)));
    // A read of standard input that never ends must not keep us.
    runtime.shutdown_background();
    code
}

async fn verb(verb: Verb, config: Arc<Config>) -> Result<ExitCode> {
    match verb {
        Verb::Run(run) if run.detach => run::detach(&config, run).await,
        Verb::Run(run) => run::run(config, run).await,
        Verb::Exec(exec) => exec::exec(config, exec).await,
        Verb::Ps { all } => ps::ps(&config, all),
        Verb::Logs { pod, container, follow } => {
            logs::logs(&config, &pod, container.as_deref(), follow).await
        }
        Verb::Stop { pod, time } => stop::stop(config, &pod, time).await,
        Verb::Rm { pod, force } => stop::remove(config, &pod, force).await,
        Verb::Images => images::list(&config),
        Verb::Pull { reference } => images::pull(&config, &reference).await,
        Verb::Rmi { image } => images::remove(&config, &image),
        Verb::Image(Image::Import { layout, name }) => {
            images::import(&config, &layout, name.as_deref()).await
        }
    }
}
