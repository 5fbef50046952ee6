//! `rrun-oci`: the runtime behind the command line that podman, containerd and people know from
//! runc. One process a command, no daemon; a container's record is a folder below `--root`.

mod checkpoint;
mod cli;
mod config;
mod console;
mod create;
mod delete;
mod descriptors;
mod events;
mod exec;
mod features;
mod first_process;
mod hooks;
mod id;
mod kill;
mod list;
mod log;
mod mounts;
mod namespaces;
mod pause;
mod pidfd_socket;
mod protect;
mod record;
mod relay;
mod restore;
mod rootless;
mod run;
mod several;
mod spec;
mod start;
mod status;
mod subgroup;
mod update;
mod wait;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use cli::{Cli, Command, One};
use descriptors::Given;
use rrun_runtime::{Error, Kind, Result};
use std::process::ExitCode;

#[cfg(target_env = "musl")]
#[global_allocator]
static HEAP: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    protect::early();
    let cli = match cli::parse(std::env::args_os().collect()) {
        Ok(cli) => cli,
        Err(error) => return refused(&error),
    };
    let given = descriptors::given(&cli.command);
    let log = log::Log::open(&cli.global);
    match given.and_then(|given| dispatch(&cli, &given, &log)) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            log.error(&error.to_string());
            ExitCode::from(exit_code(&cli.command, error.kind()))
        }
    }
}

/// A command line that is not understood ends with 1, as runc's does: 2 might be a program's. An
/// option that nobody knows is told in runc's words, by which callers find out what there is.
fn refused(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    match (error.kind(), error.get(ContextKind::InvalidArg)) {
        (ErrorKind::UnknownArgument, Some(ContextValue::String(name))) if name.starts_with('-') => {
            eprintln!("rrun-oci: flag provided but not defined: {name}");
        }
        _ => drop(error.print()),
    }
    ExitCode::FAILURE
}

/// The exit code of a container's program, or 0.
fn dispatch(cli: &Cli, given: &Given, log: &log::Log) -> Result<u8> {
    let root = &cli.global.root;
    match &cli.command {
        Command::Create(options) => {
            let until = create::Until::Created;
            create::create((&cli.global, given), options, until, log).map(|_| 0)
        }
        Command::Start(One { id }) => start::start(root, id).map(|()| 0),
        Command::State(One { id }) => status::print(root, id).map(|()| 0),
        Command::Kill(options) => kill::kill(root, options, log).map(|()| 0),
        Command::Delete(options) => delete::command(root, options, log).map(|()| 0),
        Command::Run(options) => run::run((&cli.global, given), options, log),
        Command::Exec(options) => exec::exec(root, options, given, log),
        Command::List { format, quiet } => list::list(root, *format, *quiet, log).map(|()| 0),
        Command::Ps(options) => list::processes(root, options).map(|()| 0),
        Command::Update(options) => update::update(root, options).map(|()| 0),
        Command::Pause(One { id }) => pause::pause(root, id).map(|()| 0),
        Command::Resume(One { id }) => pause::resume(root, id).map(|()| 0),
        Command::Checkpoint(options) => checkpoint::checkpoint(root, options, log).map(|()| 0),
        Command::Restore(options) => restore::restore((&cli.global, given), options, log),
        Command::Events(options) => events::events(root, options).map(|()| 0),
        Command::Mounts(options) => mounts::mounts(root, options).map(|()| 0),
        Command::Spec { bundle, file, rootless } => {
            spec::write(bundle, file.as_deref(), *rootless).map(|()| 0)
        }
        Command::Features => features::print().map(|()| 0),
    }
}

/// A program that cannot be executed gives what a shell gives, where its exit code is expected.
fn exit_code(command: &Command, kind: Kind) -> u8 {
    match (command, kind) {
        (Command::Create(_) | Command::Exec(_) | Command::Run(_), Kind::Exec { code }) => {
            u8::try_from(code).unwrap_or(255)
        }
        (Command::Exec(_), _) => 255,
        _ => 1,
    }
}

/// An error about what was asked for.
fn invalid(message: impl Into<String>) -> Error {
    Error::new(Kind::Invalid, message)
}
