//! The person's terminal.

use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use std::fmt::Display;
use std::io::{IsTerminal, stdin};
use std::os::fd::AsFd;

/// Tells the person something on standard error. It may hold what a container, an image or a
/// registry said.
pub fn tell(text: impl Display) {
    eprintln!("rrun: {}", rrun_error::printable(&text.to_string()));
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

/// Rows and columns of the terminal on standard input, if it is one that has a size.
pub fn size() -> Option<(u16, u16)> {
    rrun_sys::pty::size(stdin().as_fd()).ok().filter(|(rows, columns)| *rows > 0 && *columns > 0)
}
