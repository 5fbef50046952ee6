//! What systemd, or whoever started the daemon as it does, is told and hands over: sd_notify(3),
//! sd_watchdog_enabled(3), sd_listen_fds(3).

use crate::health;
use rrun_error::reason;
use rrun_sys::inherited::Inherited;
use sd_notify::NotifyState;
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use tokio::net::UnixListener;
use tokio::time::MissedTickBehavior;

/// Calls are served from now on.
pub fn ready() {
    tell(NotifyState::Ready);
}

/// They will soon be no more.
pub fn stopping() {
    tell(NotifyState::Stopping);
}

/// Where nobody is to be told, nothing is done.
fn tell(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!("tell systemd: {}", reason(&error));
    }
}

/// Tells the watchdog, if there is one, that the daemon answers at `socket`, twice as often as it
/// wants, and only while that is so: one that hangs is ended and started anew, and pods go on.
pub async fn watchdog(socket: PathBuf) {
    let Some(period) = sd_notify::watchdog_enabled().filter(|period| !period.is_zero()) else {
        return;
    };
    let mut ticks = tokio::time::interval(period / 2);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match health::answers(&socket).await {
            Ok(()) => tell(NotifyState::Watchdog),
            Err(why) => tracing::error!("the watchdog is not told that all is well: {why}"),
        }
    }
}

/// The socket that was opened for the daemon, which must be the one at `socket`.
///
/// # Errors
/// What was handed over is something else.
pub fn handed_over(socket: &Path) -> Result<Option<UnixListener>, String> {
    let count =
        sd_notify::listen_fds().map_err(|error| format!("LISTEN_FDS: {}", reason(&error)))?;
    let count = count.len();
    match count {
        0 => return Ok(None),
        1 => {}
        _ => return Err(format!("LISTEN_FDS: {count} sockets are handed over, want one")),
    }
    let inherited = Inherited::take(1).map_err(|fd| format!("LISTEN_FDS: {fd} is not open"))?;
    let what = |error: std::io::Error| format!("LISTEN_FDS: {}", reason(&error));
    let first = inherited.first().map_err(|errno| what(errno.into()))?;
    let listener = StdListener::from(first);
    let address = listener.local_addr().map_err(what)?;
    if address.as_pathname() != Some(socket) {
        let (at, wanted) = (address.as_pathname(), socket.display());
        let at = at.map_or("no path".to_owned(), |path| path.display().to_string());
        return Err(format!("LISTEN_FDS: the socket is at {at}, and config: socket is {wanted}"));
    }
    listener.set_nonblocking(true).map_err(what)?;
    UnixListener::from_std(listener).map(Some).map_err(what)
}
