//! What one try of a probe can find.

/// What one try found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeResult {
    /// It worked.
    Success(String),
    /// It worked, with something to say.
    Warning(String),
    /// It did not.
    Failure(String),
    /// The try itself failed: it counts for nothing.
    Error(String),
}
