//! The person's terminal.

use crate::table;
use anyhow::{Result, bail};
use nix::sys::termios::{LocalFlags, SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use std::collections::BTreeSet;
use std::fmt::Display;
use std::io::{IsTerminal, stdin};
use std::os::fd::AsFd;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use tokio::io::{AsyncBufReadExt, BufReader, Stdin};
use tokio::signal::unix::{SignalKind, signal};

/// Tells the person something on standard error. It may hold what a container, an image or a
/// registry said.
pub fn tell(text: impl Display) {
    eprintln!("rrun: {}", rrun_error::printable(&text.to_string()));
}

/// What is told again and again, as long as it is so, and shown once.
#[derive(Default)]
pub struct Told(BTreeSet<String>);

impl Told {
    /// All that there is to tell now.
    pub fn tell(&mut self, now: impl IntoIterator<Item = impl Display>) {
        let now: BTreeSet<String> = now.into_iter().map(|text| text.to_string()).collect();
        now.difference(&self.0).for_each(tell);
        self.0 = now;
    }
}

/// Settings of the terminal that are changed; dropped, they are as they were. So they are when the
/// process ends by a signal or a panic.
pub struct Changed(());

/// What there was before, while it is changed.
static BEFORE: Mutex<Option<Before>> = Mutex::new(None);

struct Before {
    settings: Termios,
    /// What is written to leave what is shown.
    last_words: &'static str,
}

/// Signals that would end this process with the terminal as it is.
const ENDS: [(SignalKind, u8); 4] = [
    (SignalKind::interrupt(), 2),
    (SignalKind::terminate(), 15),
    (SignalKind::hangup(), 1),
    (SignalKind::quit(), 3),
];

impl Changed {
    /// Puts standard input in raw mode; `None` when it is no terminal.
    pub fn raw() -> Option<Changed> {
        if !stdin().is_terminal() {
            return None;
        }
        Changed::to("", &ENDS, cfmakeraw).ok()
    }

    /// A terminal that hands over each key at once and does not show it, with another screen. Whoever
    /// asks for it ends at SIGINT and SIGTERM by itself.
    pub fn keys(first_words: &str, last_words: &'static str) -> Result<Changed> {
        let changed = Changed::to(last_words, &ENDS[2..], |keys| {
            keys.local_flags.remove(LocalFlags::ECHO | LocalFlags::ICANON);
        })?;
        table::write(first_words)?;
        Ok(changed)
    }

    /// A terminal that does not show what is typed. Whoever asks for it ends at SIGINT by itself.
    fn hidden() -> Result<Changed> {
        Changed::to("", &ENDS[1..], |hidden| hidden.local_flags.remove(LocalFlags::ECHO))
    }

    fn to(
        last_words: &'static str,
        ends: &[(SignalKind, u8)],
        change: impl FnOnce(&mut Termios),
    ) -> Result<Changed> {
        restore_at_panic();
        for (kind, number) in ends {
            // It is waited for before anything is changed, and goes on to end the process after that.
            let (mut comes, number) = (signal(*kind)?, i32::from(*number));
            tokio::spawn(async move {
                comes.recv().await;
                restore();
                std::process::exit(128 + number);
            });
        }
        let settings = tcgetattr(stdin())?;
        let mut changed = settings.clone();
        change(&mut changed);
        *before() = Some(Before { settings, last_words });
        let guard = Changed(());
        tcsetattr(stdin(), SetArg::TCSANOW, &changed)?;
        Ok(guard)
    }
}

impl Drop for Changed {
    fn drop(&mut self) {
        restore();
    }
}

fn before() -> MutexGuard<'static, Option<Before>> {
    BEFORE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn restore() {
    let Some(Before { settings, last_words }) = before().take() else { return };
    let _ = tcsetattr(stdin(), SetArg::TCSANOW, &settings);
    let _ = table::write(last_words);
}

/// A panic aborts the process of a release: nothing is dropped then.
fn restore_at_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let tell = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore();
            tell(panic);
        }));
    });
}

/// What the person types when asked.
pub struct Answers(BufReader<Stdin>);

impl Answers {
    /// `None` when standard input is no terminal.
    pub fn open() -> Option<Answers> {
        stdin().is_terminal().then(|| Answers(BufReader::new(tokio::io::stdin())))
    }

    /// Asks for a line.
    pub async fn ask(&mut self, prompt: &str) -> Result<String> {
        eprint!("{prompt}");
        let mut line = String::new();
        if self.0.read_line(&mut line).await? == 0 {
            bail!("standard input has ended");
        }
        let line = line.strip_suffix('\n').unwrap_or(&line);
        Ok(line.strip_suffix('\r').unwrap_or(line).to_owned())
    }

    /// Asks for a line that the terminal does not show.
    pub async fn ask_secret(&mut self, prompt: &str) -> Result<String> {
        let hidden = Changed::hidden()?;
        let line = self.ask(prompt).await;
        drop(hidden);
        eprintln!();
        line
    }
}

/// Rows and columns of the terminal on standard input, if it is one that has a size.
pub fn size() -> Option<(u16, u16)> {
    rrun_sys::pty::size(stdin().as_fd()).ok().filter(|(rows, columns)| *rows > 0 && *columns > 0)
}
