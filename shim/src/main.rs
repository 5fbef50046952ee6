//! `rrun-shim`: the supervisor of one pod.
//!
//! It is the parent of every process of the pod, carries out plans, keeps stdio, namespaces and
//! exit codes, and lives on when the daemon dies or is upgraded. One thread waits in one epoll
//! set ([`shim`] names the two calls of it that may take long), another writes logs, and a third is
//! there while many control groups are removed. It decides nothing: see [`rrun_shim_protocol`] for
//! what it is told.

mod args;
mod asks;
mod attach;
mod by_program;
mod call;
mod child;
mod connection;
mod connections;
mod container;
mod create;
mod drain;
mod end;
mod exec;
mod exec_process;
mod exit;
mod log;
mod oom;
mod output;
mod own_log;
mod pod;
mod poll;
mod process;
mod processes;
mod removals;
mod requests;
mod restored;
mod restoring;
mod shim;
mod shutdown;
mod start;
mod timers;
mod update;

use args::Args;
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::stat::{Mode, umask};
use rrun_error::reason;
use rrun_shim_protocol::Launch;
use rrun_sys::daemon::daemon;
use rrun_sys::limit::raise_files;
use rrun_sys::step;
use shim::Shim;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    rrun_sys::heap::keep_to(1);
    if std::env::args_os().nth(1).is_some_and(|first| first == attach::FLAG) {
        return attach::main(std::env::args_os().skip(2));
    }
    if std::env::args_os().nth(1).is_some_and(|first| first == restoring::FLAG) {
        return restoring::main(std::env::args_os().skip(2));
    }
    if let Some(text) = args::about(std::env::args_os().nth(1)) {
        println!("{text}");
        return ExitCode::SUCCESS;
    }
    let started = args::parse(std::env::args_os().skip(1)).and_then(|args| {
        let prepared = prepare(&args)?;
        Ok((args, prepared))
    });
    let (args, prepared) = match started {
        Ok(started) => started,
        Err(error) => {
            eprintln!("rrun-shim: {error}");
            return ExitCode::FAILURE;
        }
    };
    // From here the daemon may dial: the parent's exit tells it so.
    let Prepared { listener, group } = prepared;
    let (path, directory) = group.unzip();
    let become_daemon = || daemon(directory.as_ref().map(AsFd::as_fd));
    if let Err(error) = step::run("shim.launch.daemon", become_daemon) {
        let place = path.map_or_else(String::new, |path| format!(" in {}", path.display()));
        eprintln!("rrun-shim: daemon{place}: {}", reason(&error));
        return ExitCode::FAILURE;
    }
    drop(directory);
    let run_dir = args.run_dir.clone();
    match supervise(args, listener) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            own_log::note(&run_dir, &format!("supervise: {}", reason(&error)));
            ExitCode::FAILURE
        }
    }
}

/// What the supervisor goes on with.
struct Prepared {
    listener: UnixListener,
    /// The group of the unified hierarchy to be born in.
    group: Option<(PathBuf, File)>,
}

/// What can fail in front of the daemon's eyes.
fn prepare(args: &Args) -> Result<Prepared, String> {
    umask(Mode::from_bits_truncate(0o022));
    raise_files();
    let group = step::run("shim.launch.cgroup", || join(&args.cgroups))?;
    step::run("shim.launch.oom-score", || protect(args.oom_score_adj))?;
    let socket = Launch::socket(&args.run_dir);
    let listen = || {
        // One that a killed shim has left has nobody behind it.
        let _ = fs::remove_file(&socket);
        let old = umask(Mode::from_bits_truncate(0o177));
        let listener = UnixListener::bind(&socket);
        umask(old);
        listener
    };
    let listener = step::run("shim.launch.socket", listen)
        .map_err(|error| format!("listen on {}: {}", socket.display(), reason(&error)))?;
    Ok(Prepared { listener, group })
}

/// Moves to groups of the shims' own: out of the daemon's, whose end may be the end of everything
/// in them, and not into the pod's, whose limits are the pod's. `tasks` of v1 takes a single thread
/// without the lock that `cgroup.procs` waits for; the group of the unified hierarchy, which has
/// only that, is returned: the supervisor is born there.
fn join(groups: &[PathBuf]) -> Result<Option<(PathBuf, File)>, String> {
    let mut unified = None;
    for group in groups {
        let name = |error: io::Error| format!("join {}: {}", group.display(), reason(&error));
        match OpenOptions::new().write(true).open(group.join("tasks")) {
            Ok(mut tasks) => tasks.write_all(b"0").map_err(name)?,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                unified = Some((group.clone(), File::open(group).map_err(name)?));
            }
            Err(error) => return Err(name(error)),
        }
    }
    Ok(unified)
}

/// As near to the wanted score as the kernel allows: lowering it takes CAP_SYS_RESOURCE.
fn protect(wanted: i32) -> Result<(), String> {
    let path = "/proc/self/oom_score_adj";
    if fs::write(path, wanted.to_string()).is_err() {
        let _ = fs::write(path, wanted.max(0).to_string());
    }
    Ok(())
}

fn supervise(args: Args, listener: UnixListener) -> io::Result<()> {
    let _ = prctl::set_name(c"rrun-shim");
    prctl::set_child_subreaper(true)?;
    // A container that shares a PID namespace with its shim's children must not read them.
    prctl::set_dumpable(false)?;
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGCHLD);
    mask.add(Signal::SIGTERM);
    mask.thread_block()?;
    let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
    let exits = rrun_shim_protocol::exit_record::folder(&args.run_dir);
    step::run("shim.launch.exits", || fs::create_dir_all(exits))?;
    let (pid, file) = (std::process::id().to_string(), args.run_dir.join("shim.pid"));
    let put = || rrun_sys::record::create(&file, 0o666)?.write_all(pid.as_bytes());
    step::run("shim.launch.pid", put)?;
    Shim::new(listener, signals, args.run_dir)?.run()
}
