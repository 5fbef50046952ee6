//! What can be wrong with a manifest.

use std::fmt;

/// What is wrong with a manifest, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Counted from 1; 0 if no line is to blame.
    pub line: usize,
    /// `spec.containers[0].name`; may be empty.
    pub path: String,
    /// The reason.
    pub message: String,
}

impl Fault {
    /// A fault at a place.
    pub fn at(line: usize, path: &str, message: impl Into<String>) -> Self {
        Fault { line, path: path.to_owned(), message: message.into() }
    }
}

/// `12: spec.containers[0].prots: unknown field`, to follow `file:`.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "{}: ", self.line)?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// A result of reading.
pub type Read<T> = Result<T, Fault>;
