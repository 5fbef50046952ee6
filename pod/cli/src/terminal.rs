//! The person's terminal.

use anyhow::{Result, bail};
use nix::sys::termios::{LocalFlags, SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use std::collections::BTreeSet;
use std::fmt::Display;
use std::io::{IsTerminal, stdin};
use std::os::fd::AsFd;
use tokio::io::{AsyncBufReadExt, BufReader, Stdin};

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

/// The terminal in raw mode; dropped, it is as it was.
pub struct Raw(Termios);

impl Raw {
    /// Puts standard input in raw mode; `None` when it is no terminal.
    pub fn enter() -> Option<Raw> {
        if !stdin().is_terminal() {
            return None;
        }
        let before = tcgetattr(stdin()).ok()?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        tcsetattr(stdin(), SetArg::TCSANOW, &raw).ok()?;
        Some(Raw(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = tcsetattr(stdin(), SetArg::TCSANOW, &self.0);
    }
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
        let hidden = Hidden::enter()?;
        let line = self.ask(prompt).await;
        drop(hidden);
        eprintln!();
        line
    }
}

/// A terminal that does not show what is typed; dropped, it is as it was.
struct Hidden(Termios);

impl Hidden {
    fn enter() -> Result<Hidden> {
        let before = tcgetattr(stdin())?;
        let mut hidden = before.clone();
        hidden.local_flags.remove(LocalFlags::ECHO);
        tcsetattr(stdin(), SetArg::TCSANOW, &hidden)?;
        Ok(Hidden(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        let _ = tcsetattr(stdin(), SetArg::TCSANOW, &self.0);
    }
}

/// A terminal that hands over each key at once and does not show it; dropped, it is as it was.
pub struct Keys(Termios);

impl Keys {
    /// Signals stay what they are.
    pub fn enter() -> Result<Keys> {
        let before = tcgetattr(stdin())?;
        let mut keys = before.clone();
        keys.local_flags.remove(LocalFlags::ECHO | LocalFlags::ICANON);
        tcsetattr(stdin(), SetArg::TCSANOW, &keys)?;
        Ok(Keys(before))
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        let _ = tcsetattr(stdin(), SetArg::TCSANOW, &self.0);
    }
}

/// Rows and columns of the terminal on standard input, if it is one that has a size.
pub fn size() -> Option<(u16, u16)> {
    rrun_sys::pty::size(stdin().as_fd()).ok().filter(|(rows, columns)| *rows > 0 && *columns > 0)
}
