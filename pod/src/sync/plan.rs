//! What a sync is to do, once it is decided.

use crate::resize::Resize;

/// Why a container is killed: decides which grace applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KillReason {
    /// Its liveness probe failed.
    LivenessProbe,
    /// Its startup probe failed.
    StartupProbe,
    /// Anything else.
    Other,
}

/// One container to kill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kill {
    /// The run.
    pub id: String,
    /// The container.
    pub name: String,
    /// The event's text.
    pub message: String,
    /// Which grace applies.
    pub reason: KillReason,
}

/// What to do, in this order: kill, make a sandbox, start init containers, start the rest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Actions {
    /// End every container and the sandbox.
    pub kill_pod: bool,
    /// Make a new sandbox (after `kill_pod`).
    pub create_sandbox: bool,
    /// The new sandbox's attempt, or the present one's.
    pub attempt: u32,
    /// The present sandbox, if one stays or is replaced.
    pub sandbox: Option<String>,
    /// Indexes of ephemeral containers, which are started before all others.
    pub ephemeral: Vec<usize>,
    /// Indexes of init containers, in order.
    pub init: Vec<usize>,
    /// Indexes of regular containers, in order.
    pub regular: Vec<usize>,
    /// Containers to end first.
    pub kill: Vec<Kill>,
    /// What runs and is to have more or less, after that.
    pub resize: Resize,
}

impl Actions {
    /// Whether something is to be made.
    pub fn starts(&self) -> bool {
        let none = self.init.is_empty() && self.regular.is_empty() && self.ephemeral.is_empty();
        self.create_sandbox || !none
    }

    /// Whether nothing is to be done.
    pub fn is_empty(&self) -> bool {
        !self.kill_pod
            && !self.create_sandbox
            && self.ephemeral.is_empty()
            && self.init.is_empty()
            && self.regular.is_empty()
            && self.kill.is_empty()
            && self.resize.is_empty()
    }
}

/// A kill with its reason.
pub(super) fn kill(id: &str, name: &str, message: &str, reason: KillReason) -> Kill {
    Kill { id: id.to_owned(), name: name.to_owned(), message: message.to_owned(), reason }
}
