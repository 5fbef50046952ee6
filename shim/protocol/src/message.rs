//! What is said. Every request has exactly one reply; events come between them, unasked.

use rrun_runtime::plan::{ExecPlan, Plan};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Said by the daemon to a shim.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// Opens the conversation. Reply: [`Reply::Hello`].
    Hello {
        /// Oldest version the sender speaks.
        oldest: u16,
        /// Newest version the sender speaks.
        newest: u16,
    },
    /// Makes the pod's namespaces, its seed mount namespace and its reaper. Reply:
    /// [`Reply::Sandbox`]. Idempotent.
    Sandbox(Sandbox),
    /// Makes a container's init and leaves it waiting. Descriptors: the plan's slots in order.
    /// Reply: [`Reply::Created`] with the init's pidfd.
    Create(Create),
    /// Lets a container's init execute its program. Reply: [`Reply::Started`], or
    /// [`Reply::Error`] with kind [`WireKind::Exec`] when the program cannot be executed; the
    /// container has ended then, with code 128. Done while it runs, for one who has given up
    /// waiting for the first reply.
    Start {
        /// Container id.
        container: String,
    },
    /// Sends `signal` once, SIGKILL to the whole container after `grace_ms`, and replies
    /// [`Reply::Exited`] when it has ended and its log is flushed. A second stop never signals
    /// again, it may only shorten the grace. A grace of 0 kills at once.
    Stop {
        /// Container id.
        container: String,
        /// Signal number.
        signal: i32,
        /// Milliseconds from now.
        grace_ms: u64,
    },
    /// Sends a signal to a container's init. Reply: [`Reply::Done`].
    Signal {
        /// Container id.
        container: String,
        /// Signal number.
        signal: i32,
    },
    /// Forgets a container that has ended, and removes its control groups. Unknown is done.
    /// Reply: [`Reply::Done`].
    Delete {
        /// Container id.
        container: String,
    },
    /// Runs one more process in a container. Descriptors: stdin, stdout, stderr as far as `stdio`
    /// says; a terminal's master comes back with [`Reply::ExecStarted`]. It is killed with its
    /// tree when this connection ends. Its end is an [`Event::ExecExited`] on this connection.
    Exec(Exec),
    /// Kills an exec with its tree. Reply: [`Reply::Done`].
    KillExec {
        /// As given in [`Exec`].
        exec: u64,
    },
    /// Gives a container's terminal a size. Reply: [`Reply::Done`].
    Resize {
        /// Container id.
        container: String,
        /// Rows.
        rows: u16,
        /// Columns.
        columns: u16,
    },
    /// Copies a container's output from now on into the descriptors that come along (stdout,
    /// stderr as told), which the shim makes non-blocking: a reader that does not keep up is cut.
    /// With `stdin`, the reply carries the write end of the container's stdin, or a duplicate of
    /// the terminal's master. The copies are closed when the container ends. Reply:
    /// [`Reply::Attached`].
    Attach {
        /// Container id.
        container: String,
        /// A descriptor for stdout comes along.
        stdout: bool,
        /// A descriptor for stderr comes along.
        stderr: bool,
        /// The write end of stdin is wanted.
        stdin: bool,
    },
    /// Closes the shim's write end of a container's stdin (`stdin_once`). Reply: [`Reply::Done`].
    CloseStdin {
        /// Container id.
        container: String,
    },
    /// Opens a container's log anew at its path; on failure the old file goes on. Reply:
    /// [`Reply::Done`].
    ReopenLog {
        /// Container id.
        container: String,
    },
    /// Asks for duplicates of a container's ends of pipes, so that neither its next write ends it
    /// by SIGPIPE nor its input ends if the shim dies, and what it has written is not lost. Reply:
    /// [`Reply::LogPipes`]. Since version 2.
    LogPipes {
        /// Container id.
        container: String,
    },
    /// What is here. Reply: [`Reply::State`].
    State,
    /// Ends the shim: kills what runs, unpins the namespaces, removes its files. Reply:
    /// [`Reply::Done`], then the connection ends.
    Shutdown,
}

/// A pod's own surroundings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sandbox {
    /// Namespaces to make, in the order of [`NamespaceKind`]; they are the pod's slots for plans:
    /// slot n of a [`Plan`] below `namespaces.len()` is `namespaces[n]`, the descriptors that
    /// come with the plan follow.
    pub namespaces: Vec<NamespaceKind>,
    /// Where namespaces are pinned on the host. Only the network's is.
    pub pins: Vec<Pin>,
    /// Host name, when the pod has a UTS namespace.
    pub hostname: Option<String>,
    /// Values below `/proc/sys`, written inside the pod's network and IPC namespaces.
    pub sysctls: Vec<(String, String)>,
    /// Size in bytes of the pod's `/dev/shm`, seed directory `shm`; `None` makes none.
    pub shm_size: Option<u64>,
    /// The process with pid 1 of a shared PID namespace.
    pub reaper: Option<Reaper>,
}

/// The first process of a PID namespace that containers share: its own program, executed in an
/// empty read-only root with no descriptors and no capabilities.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reaper {
    /// Its namespaces, groups, user and filter; root and mounts are the shim's business, and
    /// `process.args` only names it. Its PID namespace becomes the pod's.
    pub plan: Plan,
}

/// A kind of namespace, in the order in which a pod's slots count them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum NamespaceKind {
    /// Network.
    Network,
    /// System V IPC and POSIX message queues.
    Ipc,
    /// Host name.
    Uts,
    /// Process ids; made by the reaper.
    Pid,
}

/// A namespace bound to a path on the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// Which of [`Sandbox::namespaces`].
    pub kind: NamespaceKind,
    /// The file, made by the shim.
    pub path: PathBuf,
}

/// A container to make.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Create {
    /// Container id: 64 hexadecimal digits.
    pub container: String,
    /// What to do.
    pub plan: Plan,
    /// Where its output goes; `None` drains it.
    pub log: Option<LogSpec>,
    /// Keep a pipe for stdin; otherwise it is `/dev/null`. A terminal always has input.
    pub stdin: bool,
    /// Close stdin when the first attached client closes its own.
    pub stdin_once: bool,
}

/// A container log in CRI format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogSpec {
    /// Absolute path; parents are made 0755, the file 0640.
    pub path: PathBuf,
}

/// A process to add to a container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Exec {
    /// Chosen by the daemon, unique on its connection.
    pub exec: u64,
    /// Container id.
    pub container: String,
    /// What to run. The group directory `exec-<n>` of the unified hierarchy is the shim's to
    /// choose: `{exec}` in a path of the plan stands for it.
    pub plan: ExecPlan,
    /// Which of stdin, stdout and stderr come along as descriptors; `/dev/null` for the others.
    pub stdio: [bool; 3],
    /// Kill the tree after so many milliseconds.
    pub timeout_ms: Option<u64>,
}

/// Said by a shim to the daemon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    /// The version that rules, and who answers.
    Hello {
        /// The highest version that both speak.
        version: u16,
        /// The shim's process id.
        pid: i32,
        /// The release of the shim.
        release: String,
    },
    /// The pod's surroundings stand.
    Sandbox {
        /// Process id of the reaper, seen from the host.
        reaper: Option<i32>,
    },
    /// The init waits. Descriptor: its pidfd.
    Created {
        /// Process id of the init, seen from the host.
        pid: i32,
    },
    /// The program runs.
    Started {
        /// Nanoseconds since the epoch.
        at: i64,
    },
    /// The process runs. Descriptor: the terminal's master, if there is one.
    ExecStarted {
        /// Process id, seen from the host.
        pid: i32,
    },
    /// The container has ended and its log is flushed.
    Exited(Exit),
    /// Output is copied from now on. Descriptor: stdin or the terminal, if it was asked for.
    Attached,
    /// Descriptors: the read end of the shim's own pipe (see [`crate::log_journal`]), then as told
    /// here.
    LogPipes {
        /// The read end of its output, or its terminal's master.
        stdout: bool,
        /// The read end of its error output.
        stderr: bool,
        /// The write end of its stdin.
        stdin: bool,
    },
    /// What is here.
    State(ShimReport),
    /// Nothing to add.
    Done,
    /// Refused or failed.
    Error(WireError),
}

/// Said by a shim unasked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// A container has ended; its exit record is on disk. A hint: records are the truth.
    Exited {
        /// Container id.
        container: String,
        /// How it ended.
        exit: Exit,
    },
    /// An exec of this connection has ended, its output is all written.
    ExecExited {
        /// As given in [`Exec`].
        exec: u64,
        /// How it ended.
        exit: Exit,
    },
}

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Exit code, 128 + n for signal n.
    pub code: i32,
    /// Nanoseconds since the epoch.
    pub at: i64,
    /// Why.
    pub reason: ExitReason,
    /// The error of one that could not be executed, else empty.
    pub message: String,
}

/// Why a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExitReason {
    /// It ended, or was killed by somebody.
    Ended,
    /// The kernel killed it for want of memory in its group, in this run.
    OutOfMemory,
    /// Its program could not be executed.
    StartError,
    /// It was killed because its time was over.
    Timeout,
}

/// Everything that a shim knows of its pod.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShimReport {
    /// The sandbox was made.
    pub sandbox: bool,
    /// Process id of the reaper, if it runs.
    pub reaper: Option<i32>,
    /// Containers, in the order in which they were made.
    pub containers: Vec<ContainerReport>,
}

/// One container of a shim.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContainerReport {
    /// Container id.
    pub id: String,
    /// Process id of its init, seen from the host, while it lives.
    pub pid: Option<i32>,
    /// Where it stands.
    pub state: ContainerState,
}

/// Where a container stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ContainerState {
    /// Its init waits.
    Created,
    /// Its program runs.
    Running {
        /// Nanoseconds since the epoch.
        started_at: i64,
    },
    /// It has ended.
    Exited {
        /// Nanoseconds since the epoch; 0 if it never started.
        started_at: i64,
        /// How.
        exit: Exit,
    },
}

/// An error that crosses a process border: never flattened to one string.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireError {
    /// What sort of error.
    pub kind: WireKind,
    /// Contexts, outermost first: `create web`, `mount /etc/hosts`, `EPERM`.
    pub chain: Vec<String>,
}

/// Sorts of errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WireKind {
    /// No such container or exec.
    NotFound,
    /// It is there already.
    Exists,
    /// The request makes no sense, now or ever.
    Invalid,
    /// A program cannot be executed: code 127 when it is missing, else 126.
    Exec(i32),
    /// The kernel refused.
    Kernel,
}
