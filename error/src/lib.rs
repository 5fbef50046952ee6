//! What was being done when something failed, from the operation down to the cause.
//!
//! Each crate has an error of its own, with the kinds that its callers decide by. What they have in
//! common is here, and how text of others is shown to people.

mod text;

pub use text::{printable, printable_line};

use nix::errno::Errno;
use std::error::Error;
use std::fmt;
use std::io;

/// A cause, and the contexts that were added to it on the way up. Shown from the outside in:
/// `create web: mount /etc/hosts: EPERM`.
///
/// Much of both is text of others: of clients, plugins, programs, files. Each part is one line that no
/// terminal obeys, whoever shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Innermost first, because context is added on the way up.
    parts: Vec<String>,
}

impl Chain {
    /// A cause without context yet.
    pub fn new(cause: impl Into<String>) -> Chain {
        Chain { parts: vec![part(cause)] }
    }

    /// The chain of an error of another crate or process, which tells it from the outside in.
    pub fn from_outermost<S: Into<String>>(parts: impl IntoIterator<Item = S>) -> Chain {
        let mut parts: Vec<String> = parts.into_iter().map(part).collect();
        parts.reverse();
        Chain { parts }
    }

    /// Puts what was being done before all that is there.
    pub fn push(&mut self, doing: impl Into<String>) {
        self.parts.push(part(doing));
    }

    /// What was being done, outermost first, ending with the cause.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().rev().map(String::as_str)
    }

    /// The cause alone.
    pub fn cause(&self) -> &str {
        self.parts.first().map_or("", String::as_str)
    }
}

fn part(text: impl Into<String>) -> String {
    let text = text.into();
    match text.contains(char::is_control) {
        true => printable_line(&text),
        false => text,
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, part) in self.iter().enumerate() {
            if at > 0 {
                f.write_str(": ")?;
            }
            f.write_str(part)?;
        }
        Ok(())
    }
}

/// What an error says for itself, without its sources. Where the system refused something it is the
/// errno's name: that is what people search for.
pub fn reason(error: &(dyn Error + 'static)) -> String {
    let io = error.downcast_ref::<io::Error>();
    if let Some(wrapped) = io.and_then(io::Error::get_ref) {
        return reason(wrapped);
    }
    let errno = io.and_then(io::Error::raw_os_error).map(Errno::from_raw);
    match errno.or_else(|| error.downcast_ref().copied()) {
        Some(errno) => format!("{errno:?}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_reads_from_the_outside_in_wherever_it_comes_from() {
        let mut chain = Chain::new("EPERM");
        assert_eq!(chain.to_string(), "EPERM");
        chain.push("mount /etc/hosts");
        chain.push("create web");
        assert_eq!(chain.to_string(), "create web: mount /etc/hosts: EPERM");
        assert_eq!(chain.cause(), "EPERM");
        assert_eq!(Chain::from_outermost(chain.iter()), chain);
    }

    #[test]
    fn text_of_others_in_a_chain_is_one_line_that_no_terminal_obeys() {
        let mut chain = Chain::new("no\nway\x1b[2J");
        chain.push("plugin a\tb");
        let shown = "plugin a b: no way\u{fffd}[2J";
        assert_eq!(chain.to_string(), shown);
        assert_eq!(Chain::from_outermost(["plugin a\tb", "no\nway\x1b[2J"]).to_string(), shown);
    }

    #[test]
    fn a_reason_of_the_system_is_the_name_of_its_errno() {
        let full = io::Error::from_raw_os_error(Errno::ENOSPC as i32);
        assert_eq!(reason(&full), "ENOSPC");
        assert_eq!(reason(&Errno::EPERM), "EPERM");
        assert_eq!(reason(&io::Error::other("torn")), "torn");
        assert_eq!(reason(&io::Error::other(full)), "ENOSPC");
    }
}
