//! The daemon: opens the parts, listens, serves until it is told to end. Pods go on without it.

use crate::config::Config;
use crate::current::{Changes, Current};
use crate::follow::Followers;
use crate::metrics::{self, Metrics};
use crate::nri::Nri;
use crate::service::Service;
use crate::{parts, systemd};
use nix::fcntl::{Flock, FlockArg};
use nix::sys::stat::{Mode, umask};
use rrun_blocking::Pool;
use rrun_cri_api::server;
use rrun_engine::ports::{NoPlugins, Plugins};
use rrun_engine::{Owner, Takeover};
use rrun_error::reason;
use rrun_sys::step;
use std::fs::{self, File};
use std::io;
use std::num::NonZeroUsize;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Threads that serve at most; most calls wait for a shim or the kernel. More than there are
/// processors only wake each other.
const MOST_WORKERS: usize = 4;

/// The configuration's file may be on a disk that hangs.
static FILE: Pool = Pool::new(1);

/// Runs the daemon until SIGTERM or SIGINT. At SIGHUP it reads `file`, or the one that it finds
/// without, again.
///
/// # Errors
/// What keeps it from serving, in words: a state folder, the socket, another daemon.
pub fn run(config: Config, file: Option<PathBuf>) -> Result<(), String> {
    let processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(processors.clamp(2, MOST_WORKERS))
        .enable_all()
        .build()
        .map_err(|error| format!("start: {}", reason(&error)))?;
    let followers = {
        let _within = tokio.enter();
        Followers::start(&config)?
    };
    let done = tokio.block_on(serve(config, file, &followers));
    followers.end();
    done
}

async fn serve(config: Config, file: Option<PathBuf>, followers: &Followers) -> Result<(), String> {
    umask(Mode::from_bits_truncate(0o022));
    // Before anybody knows of this process: without a handler the signal would end it.
    let hangups = signal(SignalKind::hangup());
    let hangups = hangups.map_err(|error| format!("handle SIGHUP: {}", reason(&error)))?;
    // Before a program is started that would get it too.
    let handed_over = systemd::handed_over(&config.socket)?;
    let _lock = lock(&config.run)?;
    let current = Arc::new(Current::new(config));
    let config = current.config();
    let nri = (!config.nri.disable).then(|| Arc::new(Nri::new(&config.nri)));
    let plugins: Arc<dyn Plugins> = match &nri {
        Some(nri) => Arc::clone(nri) as _,
        None => Arc::new(NoPlugins),
    };
    let parts = parts::open_with_plugins(&current, Takeover::Owner(Owner::Cri), plugins).await?;
    let engine = parts.engine.clone();
    let service = Service::start(parts, Owner::Cri, &current).await?;
    tokio::spawn(reload_at(hangups, file, Arc::clone(&current)));
    tokio::spawn(service.clone().collect_images(current.reader()));
    if let Some(nri) = &nri
        && let Err(error) = nri.start(engine, Owner::Cri).await
    {
        // Pods do without, unless the configuration says which plugins they need.
        tracing::error!("NRI: no plugin can connect: {error}");
    }
    // Whoever can connect to the socket finds the figures too.
    serve_metrics(&config, followers, &service).await;
    let is_own = handed_over.is_none();
    let listener = match handed_over {
        Some(listener) => listener,
        None => step::run("rrund.start.socket", || listen(&config.socket)).map_err(|error| {
            format!("listen on {}: {}", config.socket.display(), reason(&error))
        })?,
    };
    tracing::info!("serving CRI on {}", config.socket.display());
    let routes = server::Service::new(Arc::new(service.clone()));
    let routes = routes.followed_by(followers.of_calls()).routes();
    tokio::spawn(systemd::watchdog(config.socket.clone()));
    // Whoever is told that it serves may end it in the same moment.
    let told_to_end = told_to_end();
    systemd::ready();
    let ended = async {
        told_to_end.await;
        systemd::stopping();
        service.end_streams().await;
    };
    server::serve(listener, routes, ended)
        .await
        .map_err(|error| format!("serve on {}: {}", config.socket.display(), reason(&error)))?;
    nri.iter().for_each(|nri| nri.stop());
    // At one that was handed over, whoever opened it listens on.
    if is_own {
        let _ = step::run("rrund.end.socket", || fs::remove_file(&config.socket));
    }
    Ok(())
}

/// Where the configuration says so.
async fn serve_metrics(config: &Config, followers: &Followers, service: &Service) {
    let wanted = config.metrics.address.zip(followers.durations.as_ref());
    let Some((address, durations)) = wanted else { return };
    let metrics = Metrics::new(durations, service.clone());
    match TcpListener::bind(address).await {
        Ok(listener) => {
            tokio::spawn(metrics::serve(listener, metrics, config.socket.clone()));
        }
        // Pods do without.
        Err(error) => tracing::error!("metrics on {address}: {}", reason(&error)),
    }
}

/// Reads the configuration again at each signal. What cannot be used changes nothing.
async fn reload_at(mut hangups: Signal, file: Option<PathBuf>, current: Arc<Current>) {
    while hangups.recv().await.is_some() {
        let file = file.clone();
        match FILE.run(move || parts::load(file.as_deref())).await {
            Ok((_, config)) => {
                let Changes { applied, needs_restart } = current.replace(&config);
                tracing::info!("the configuration is read again; changed: {}", list(&applied));
                for key in needs_restart {
                    tracing::warn!("config: {key} is changed and needs a restart");
                }
            }
            Err(error) => {
                tracing::error!("{error}; nothing is changed by this reload");
            }
        }
    }
}

fn list(keys: &[String]) -> String {
    match keys {
        [] => "nothing".to_owned(),
        keys => keys.join(", "),
    }
}

/// One daemon per run folder: two would fight for the pods.
pub(crate) fn lock(run: &Path) -> Result<Flock<File>, String> {
    let path = run.join("rrund.lock");
    let make = || fs::create_dir_all(run).and_then(|()| rrun_sys::record::open_lock(&path));
    let file = step::run("rrund.start.lock", make);
    let file = file.map_err(|error| format!("lock {}: {}", path.display(), reason(&error)))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock)
        .map_err(|(_, error)| format!("lock {}: {error:?}: another rrund runs", path.display()))
}

fn listen(socket: &Path) -> io::Result<UnixListener> {
    if let Some(folder) = socket.parent() {
        fs::create_dir_all(folder)?;
    }
    // The lock says that nobody is behind a socket that is there. Anything else was not ours.
    match fs::symlink_metadata(socket) {
        Ok(found) if found.file_type().is_socket() => fs::remove_file(socket)?,
        Ok(_) => return Err(io::Error::other("what is there is no socket")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let listener = UnixListener::bind(socket)?;
    fs::set_permissions(socket, fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}

/// The signals are waited for from the call on.
fn told_to_end() -> impl Future<Output = ()> {
    let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    async {
        match signals {
            (Ok(mut terminate), Ok(mut interrupt)) => {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
            }
            // Without handlers the signals end the process by themselves.
            _ => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_takes_the_place_of_an_earlier_one_and_of_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sub/rrun.sock");
        drop(listen(&path).unwrap());
        drop(listen(&path).unwrap());
        fs::remove_file(&path).unwrap();
        fs::write(&path, "somebody's").unwrap();
        assert_eq!(listen(&path).unwrap_err().to_string(), "what is there is no socket");
        assert_eq!(fs::read_to_string(&path).unwrap(), "somebody's");
    }
}
