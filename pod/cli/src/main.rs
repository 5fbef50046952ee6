//! `rrun`: runs pods from YAML, with no daemon and no cluster.
//!
//! It joins the pod engine with a container runtime: the one in its own process, or with
//! `--endpoint` any CRI server ([`runtime`]). Records, locks and sockets of pods are those of
//! [`rrun_pod::supervise`]; a pod that nobody supervises is taken over by the command that wants
//! something of it.

mod age;
mod apply;
mod args;
mod attach;
mod collector;
mod container_gc;
mod context;
mod cp;
mod debug;
mod delete;
mod describe;
mod detach;
mod display;
mod doctor;
mod events;
mod exec;
mod explain;
mod fsck;
mod get;
mod image;
mod image_du;
mod image_gc;
mod images;
mod inspect;
mod jobs;
mod json;
mod jsonpath;
mod lines;
mod login;
mod logs;
mod manifests;
mod manual;
mod many;
mod object;
mod pod_cgroups;
mod port_forward;
mod processes;
mod ps;
mod pull;
mod row;
mod run;
mod runtime;
mod selector;
mod stop;
mod streaming;
mod table;
mod terminal;
mod top;
mod trace;
mod validate;
mod wait;
mod watch;
mod why;
mod why_removed;
mod yaml;

use anyhow::{Context as _, Result, anyhow};
use args::{Args, Gc, Image, Verb};
use clap::Parser;
use context::Context;
use rrun_cri::config::{Config, check_run};
use std::process::ExitCode;
use std::time::Duration;

/// For threads of which few run at a time.
const HEAPS: i32 = 2;

/// How long a thread for calls that block is kept without one. They take turns: what is done every few
/// seconds for each of many pods would otherwise keep all that were ever needed at once.
const IDLE: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    rrun_sys::heap::keep_to(HEAPS);
    let args = Args::parse();
    rrun_cri::log::start("error");
    match start(args) {
        Ok(code) => code,
        Err(error) => tell(&error),
    }
}

/// What an error is most likely about that somebody else than root meets.
fn without_root() -> &'static str {
    if nix::unistd::geteuid().is_root() { "" } else { " (rrun works as root only)" }
}

fn start(mut args: Args) -> Result<ExitCode> {
    let mut config = Config::load(args.config.as_deref())?;
    // As they are kept: a background half may have another working directory.
    if let Some(root) = &args.root {
        config.root = std::path::absolute(root)?;
    }
    if let Some(run) = &args.run {
        config.run = std::path::absolute(run)?;
        // Of another runtime there are no shims below it.
        if args.endpoint.is_none() {
            check_run(&config.run).map_err(|why| anyhow!("--run {}: {why}", run.display()))?;
        }
    }
    if args.background
        && let Verb::Apply(apply) = args.verb
    {
        args.verb = Verb::Run(apply.run());
    }
    if let Verb::Run(run) = &mut args.verb {
        (run.tries, run.job) = (args.tries, args.job);
        if let Some(pod) = args.only {
            run.pod = Some(pod);
            run.is_one_of_many = true;
        }
    }
    let context = Context::new(config, args.endpoint);
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.enable_all().thread_keep_alive(IDLE).build().context("start")?;
    let code = runtime.block_on(verb(args.verb, context, args.background));
    // A read of standard input that never ends must not keep us.
    runtime.shutdown_background();
    code
}

async fn verb(verb: Verb, context: Context, background: bool) -> Result<ExitCode> {
    if let (Some(endpoint), false) = (&context.endpoint, is_of_images(&verb)) {
        // Some of what follows goes by our own records: an endpoint that nobody serves would merely
        // seem to have no pods.
        match (runtime::connect(endpoint).await, &verb) {
            (Err(error), Verb::Exec(_) | Verb::Attach(_) | Verb::Debug(_)) => {
                return Ok(exec::or_not_begun(Err(error)));
            }
            (Err(error), verb) if goes_by_records(verb) && !context.pods().await?.is_empty() => {
                terminal::tell(format_args!("{error:#}; what is on record of its pods is shown"));
            }
            (connected, _) => drop(connected?),
        }
    }
    match verb {
        Verb::Run(run) if run.detach && !background => detach::detach(&context, run).await,
        Verb::Run(run) => run::run(&context, run, background).await,
        Verb::Apply(args) => apply::apply(&context, args).await,
        Verb::Validate { manifest, objects, output } => {
            validate::validate(&manifest, &objects, output)
        }
        Verb::Explain { manifest, objects } => explain::explain(&context, &manifest, &objects),
        Verb::Exec(exec) => Ok(exec::or_not_begun(exec::exec(&context, exec).await)),
        Verb::Attach(args) => Ok(exec::or_not_begun(attach::run(&context, args).await)),
        Verb::PortForward(args) => port_forward::port_forward(&context, args).await,
        Verb::Debug(args) => Ok(exec::or_not_begun(debug::debug(&context, args).await)),
        Verb::Cp(args) => cp::cp(&context, &args).await,
        Verb::Ps(ps) => ps::ps(&context, &ps).await,
        Verb::Get(args) => get::get(&context, &args).await,
        Verb::Logs(logs) => logs::logs(&context, logs).await,
        Verb::Events { pod, watch, output } => events::events(&context, &pod, watch, output).await,
        Verb::Trace { pod, output, html } => {
            trace::trace(&context, &pod, output, html.as_deref()).await
        }
        Verb::Top(args) => top::top(&context, &args).await,
        Verb::Stats(args) => top::stats(&context, &args).await,
        Verb::Inspect(args) => inspect::inspect(&context, &args).await,
        Verb::Why { pod, output } => why::why(&context, &pod, output).await,
        Verb::Describe { pods } => describe::describe(&context, &pods).await,
        Verb::Wait { pods, what, timeout } => wait::wait(&context, &pods, &what, timeout).await,
        Verb::Stop { pods, time } => each(&pods, |pod| stop::stop(&context, pod, time)).await,
        Verb::Restart { pods } => each(&pods, |pod| stop::restart(&context, pod)).await,
        Verb::Delete(args) => {
            let pods = delete::pods(&context, &args).await?;
            each(&pods, |pod| delete::delete(&context, &args, pod)).await
        }
        Verb::Rm { pods, force } => each(&pods, |pod| stop::remove(&context, pod, force)).await,
        Verb::Gc(Gc::Containers { dry_run, containers }) => {
            container_gc::containers(&context, containers.policy()?, dry_run).await
        }
        Verb::Fsck { repair, quick, output } => fsck::fsck(&context, repair, !quick, output).await,
        Verb::Doctor { output } => doctor::doctor(&context, output),
        Verb::WhyRemoved { name_or_id, output } => {
            why_removed::why_removed(&context, name_or_id.as_deref(), output).await
        }
        Verb::Images(list) => images::list(&context, &list).await,
        Verb::Pull(args) => pull::pull(&context, &args).await,
        Verb::Login(args) => login::login(&context, &args).await,
        Verb::Logout(args) => login::logout(&args).await,
        Verb::Rmi(of) => images::remove(&context, &of.images).await,
        Verb::Image(verb) => image_verb(verb, &context).await,
        Verb::Gc(Gc::Images { dry_run }) => image_gc::images(&context, dry_run).await,
        Verb::Completion { shell } => manual::completion(shell),
        Verb::Man { folder } => manual::man(&folder),
        Verb::Manifests(args) => manifests::manifests(&context, &args).await,
    }
}

/// Whether it is about no pod.
fn is_of_images(verb: &Verb) -> bool {
    matches!(
        verb,
        Verb::Images(_)
            | Verb::Pull(_)
            | Verb::Login(_)
            | Verb::Logout(_)
            | Verb::Rmi { .. }
            | Verb::Image(_)
            | Verb::Gc(_)
            | Verb::Fsck { .. }
            | Verb::Doctor { .. }
            | Verb::WhyRemoved { .. }
            | Verb::Completion { .. }
            | Verb::Man { .. }
    )
}

/// Whether it needs no runtime: what it shows, or waits for, is on record, by whoever runs the pod. That
/// goes on while a server is away.
fn goes_by_records(verb: &Verb) -> bool {
    matches!(
        verb,
        Verb::Ps(_)
            | Verb::Get(_)
            | Verb::Logs(_)
            | Verb::Events { .. }
            | Verb::Trace { .. }
            | Verb::Why { .. }
            | Verb::Describe { .. }
            | Verb::Wait { .. }
    )
}

/// Does something to each pod. One that it fails for keeps the others from nothing.
async fn each<'a, T, F: Future<Output = Result<T>>>(
    pods: &'a [String],
    mut work: impl FnMut(&'a str) -> F,
) -> Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    for pod in pods {
        if let Err(error) = work(pod).await {
            code = tell(&error);
        }
    }
    Ok(code)
}

/// Says what could not be done.
fn tell(error: &anyhow::Error) -> ExitCode {
    let causes: Vec<String> = error.chain().map(rrun_error::reason).collect();
    terminal::tell(format_args!("{}{}", causes.join(": "), without_root()));
    ExitCode::from(2)
}

async fn image_verb(verb: Image, context: &Context) -> Result<ExitCode> {
    match verb {
        Image::Ls(list) => images::list(context, &list).await,
        Image::Inspect(of) => image::inspect(context, &of.images).await,
        Image::History { image, no_trunc, output } => {
            image::history(context, &image, no_trunc, output).await
        }
        Image::Du { image, output } => {
            image_du::disk_usage(context, image.as_deref(), output).await
        }
        Image::Tag { image, names } => image::tag(context, &image, &names).await,
        Image::Untag { names } => image::untag(context, names).await,
        Image::Rm(of) => images::remove(context, &of.images).await,
        Image::Prune { all } => image_gc::prune(context, all).await,
        Image::Verify { images, no_repair } => image::verify(context, images, !no_repair).await,
        Image::Export { images, output } => image::export(context, &images, &output).await,
        Image::Import { layout, name } => images::import(context, &layout, name.as_deref()).await,
    }
}
