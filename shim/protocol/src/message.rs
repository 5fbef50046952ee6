//! What is said. Every request has exactly one reply; events come between them, unasked.

use crate::program::Program;
use crate::report::{Exit, ShimReport, WireError};
use minicbor::{Decode, Encode};
use rrun_runtime::plan::{Cgroups, ExecPlan, IdMaps, Plan, encoding};
use std::path::PathBuf;

/// Said by the daemon to a shim.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
pub enum Request {
    /// Opens the conversation. Reply: [`Reply::Hello`].
    #[n(0)]
    Hello {
        /// Oldest version the sender speaks.
        #[n(0)]
        oldest: u16,
        /// Newest version the sender speaks.
        #[n(1)]
        newest: u16,
    },
    /// Makes the pod's namespaces, a mount namespace of its own and its reaper. Reply:
    /// [`Reply::Sandbox`]. Idempotent.
    #[n(1)]
    Sandbox(#[n(0)] Sandbox),
    /// Makes a container's init and leaves it waiting. Descriptors: the plan's slots in order.
    /// Reply: [`Reply::Created`] with the init's pidfd.
    #[n(2)]
    Create(#[n(0)] Create),
    /// Lets a container's init execute its program. Reply: [`Reply::Started`], or
    /// [`Reply::Error`] with kind [`crate::WireKind::Exec`] when the program cannot be executed; the
    /// container has ended then, with code 128. Done while it runs, for one who has given up
    /// waiting for the first reply.
    #[n(3)]
    Start {
        /// Container id.
        #[n(0)]
        container: String,
    },
    /// Sends `signal` once, SIGKILL to the whole container after `grace_ms`, and replies
    /// [`Reply::Exited`] when it has ended and its log is flushed. A second stop never signals
    /// again, it may only shorten the grace. A grace of 0 kills at once.
    #[n(4)]
    Stop {
        /// Container id.
        #[n(0)]
        container: String,
        /// Signal number.
        #[n(1)]
        signal: i32,
        /// Milliseconds from now.
        #[n(2)]
        grace_ms: u64,
    },
    /// Forgets a container that has ended, and removes its control groups. Unknown is done.
    /// Reply: [`Reply::Done`].
    #[n(5)]
    Delete {
        /// Container id.
        #[n(0)]
        container: String,
    },
    /// Runs one more process in a container. Descriptors: stdin, stdout, stderr as far as `stdio`
    /// says; a terminal's master comes back with [`Reply::ExecStarted`]. It is killed with its
    /// tree when this connection ends. Its end is an [`Event::ExecExited`] on this connection.
    #[n(6)]
    Exec(#[n(0)] Exec),
    /// Kills an exec with its tree. Reply: [`Reply::Done`].
    #[n(7)]
    KillExec {
        /// As given in [`Exec`].
        #[n(0)]
        exec: u64,
    },
    /// Gives a container's terminal a size. Reply: [`Reply::Done`].
    #[n(8)]
    Resize {
        /// Container id.
        #[n(0)]
        container: String,
        /// Rows.
        #[n(1)]
        rows: u16,
        /// Columns.
        #[n(2)]
        columns: u16,
    },
    /// Copies a container's output from now on into the descriptors that come along (stdout,
    /// stderr as told), which the shim makes non-blocking: a reader that does not keep up is cut.
    /// With `stdin`, the reply carries the write end of the container's stdin, or a duplicate of
    /// the terminal's master. The copies are closed when the container ends. Reply:
    /// [`Reply::Attached`].
    #[n(9)]
    Attach {
        /// Container id.
        #[n(0)]
        container: String,
        /// A descriptor for stdout comes along.
        #[n(1)]
        stdout: bool,
        /// A descriptor for stderr comes along.
        #[n(2)]
        stderr: bool,
        /// The write end of stdin is wanted.
        #[n(3)]
        stdin: bool,
    },
    /// Closes the shim's write end of a container's stdin (`stdin_once`). Reply: [`Reply::Done`].
    #[n(10)]
    CloseStdin {
        /// Container id.
        #[n(0)]
        container: String,
    },
    /// Opens a container's log anew at its path; on failure the old file goes on. Reply:
    /// [`Reply::Done`].
    #[n(11)]
    ReopenLog {
        /// Container id.
        #[n(0)]
        container: String,
    },
    /// Asks for duplicates of a container's ends of pipes, so that neither its next write ends it
    /// by SIGPIPE nor its input ends if the shim dies, and what it has written is not lost. Reply:
    /// [`Reply::LogPipes`].
    #[n(12)]
    LogPipes {
        /// Container id.
        #[n(0)]
        container: String,
    },
    /// What is here. Reply: [`Reply::State`].
    #[n(13)]
    State,
    /// Ends the shim: kills what runs, unpins the namespaces, removes its files. Reply:
    /// [`Reply::Done`], then the connection ends.
    #[n(14)]
    Shutdown,
    /// Changes what limits a container that is created or runs. Reply: [`Reply::Done`]; where the
    /// change is refused, what was written of it is taken back. Since version 2.
    #[n(15)]
    Update(#[n(0)] Update),
    /// Answers [`Event::Asks`]. Reply: [`Reply::Done`]. Since version 2.
    #[n(16)]
    Answer {
        /// Container id.
        #[n(0)]
        container: String,
        /// Why it is not done; `None`: it is, and the container goes on.
        #[n(1)]
        refusal: Option<AskRefusal>,
    },
}

impl Request {
    /// The first version of the protocol that has it; 0 for the one that agrees on a version.
    pub fn since(&self) -> u16 {
        match self {
            Request::Hello { .. } => 0,
            Request::Create(Create { restore: Some(_), .. }) => 6,
            Request::Create(Create { program: Some(_), .. })
            | Request::Exec(Exec { process: Some(_), .. }) => 5,
            Request::Sandbox(Sandbox { id_maps: Some(_), .. }) => 3,
            Request::Update(_) | Request::Answer { .. } => 2,
            _ => 1,
        }
    }
}

/// New limits of a container: both values are planned by the daemon, which knows what is in force.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct Update {
    /// Container id.
    #[n(0)]
    pub container: String,
    /// What to write, and the device filter that replaces the one in force. The directories are
    /// the container's own.
    #[n(1)]
    pub change: Cgroups,
    /// What takes that back.
    #[n(2)]
    pub back: Cgroups,
}

/// What a container that is being made wants done by others, before it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub enum Ask {
    /// Place its process into its control groups (a scope of systemd).
    #[n(0)]
    Place,
    /// Run the hooks that belong into the daemon's namespaces. Since version 4.
    #[n(1)]
    RunHooks,
}

/// Why something that was asked is not done.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct AskRefusal {
    /// An errno: the step of the container fails with it.
    #[n(0)]
    pub errno: i32,
    /// In words; 250 bytes of them arrive.
    #[n(1)]
    pub words: String,
}

/// A pod's own surroundings.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct Sandbox {
    /// Namespaces to make, in the order of [`NamespaceKind`]; they are the pod's slots for plans:
    /// slot n of a [`Plan`] below `namespaces.len()` is `namespaces[n]`, the descriptors that
    /// come with the plan follow.
    #[n(0)]
    pub namespaces: Vec<NamespaceKind>,
    /// Where namespaces are pinned on the host. Only the network's is.
    #[n(1)]
    pub pins: Vec<Pin>,
    /// Host name, when the pod has a UTS namespace.
    #[n(2)]
    pub hostname: Option<String>,
    /// Values below `/proc/sys`, written inside the pod's network and IPC namespaces.
    #[n(3)]
    pub sysctls: Vec<(String, String)>,
    /// Size in bytes of the pod's `/dev/shm`, which is mounted at `/shm` in the pod's own mount
    /// namespace; `None` makes none.
    #[n(4)]
    pub shm_size: Option<u64>,
    /// The process with pid 1 of a shared PID namespace.
    #[cbor(n(5), with = "encoding::strict_option")]
    pub reaper: Option<Reaper>,
    /// What the ids of the pod's user namespace are outside of it: there with
    /// [`NamespaceKind::User`]. Since version 3.
    #[n(6)]
    pub id_maps: Option<IdMaps>,
}

/// The first process of a PID namespace that containers share: its own program, executed in an
/// empty read-only root with no descriptors and no capabilities.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct Reaper {
    /// Its namespaces, groups, user and filter; root and mounts are the shim's business, and
    /// `process.args` only names it. Its PID namespace becomes the pod's.
    #[n(0)]
    pub plan: Plan,
}

/// A kind of namespace, in the order in which a pod's slots count them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(map)]
pub enum NamespaceKind {
    /// Network.
    #[n(0)]
    Network,
    /// System V IPC and POSIX message queues.
    #[n(1)]
    Ipc,
    /// Host name.
    #[n(2)]
    Uts,
    /// Users; the others belong to it. Since version 3.
    #[n(4)]
    User,
    /// Process ids; made by the reaper.
    #[n(3)]
    Pid,
}

/// A namespace bound to a path on the host.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Pin {
    /// Which of [`Sandbox::namespaces`].
    #[n(0)]
    pub kind: NamespaceKind,
    /// The file, made by the shim.
    #[n(1)]
    pub path: PathBuf,
}

/// A container to make.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct Create {
    /// Container id: 64 hexadecimal digits.
    #[n(0)]
    pub container: String,
    /// What to do.
    #[n(1)]
    pub plan: Plan,
    /// Where its output goes; `None` drains it.
    #[cbor(n(2), with = "encoding::strict_option")]
    pub log: Option<LogSpec>,
    /// Keep a pipe for stdin; otherwise it is `/dev/null`. A terminal always has input.
    #[n(3)]
    pub stdin: bool,
    /// Close stdin when the first attached client closes its own.
    #[n(4)]
    pub stdin_once: bool,
    /// Who makes it, if not the shim itself. Of the plan stands then what the shim needs of it
    /// afterwards: groups, namespaces, and whether there is a terminal. Since version 5.
    #[cbor(n(5), with = "encoding::strict_option")]
    pub program: Option<Program>,
    /// The image of the processes that it has from its start on, in the place of the program of the
    /// plan, which says how they are confined and where what is mounted comes from. Since version 6.
    #[n(6)]
    pub restore: Option<Restore>,
}

/// Processes that were dumped by criu. They are made again before the container waits for its start,
/// which lets them go on.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Restore {
    /// The program criu.
    #[n(0)]
    pub criu: PathBuf,
    /// Folder of the image.
    #[n(1)]
    pub images: PathBuf,
    /// Folder of criu's log.
    #[n(2)]
    pub work: PathBuf,
    /// A folder of nobody else's, in which the root and what is mounted are attached meanwhile, in a
    /// mount namespace that ends with it.
    #[n(3)]
    pub bundle: PathBuf,
}

/// A container log in CRI format.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct LogSpec {
    /// Absolute path; parents are made 0755, the file 0640.
    #[n(0)]
    pub path: PathBuf,
    /// How many milliseconds after the container's end its last output is waited for, when the
    /// disk is slow; `None` is the shim's default.
    #[n(1)]
    pub drain_timeout_ms: Option<u64>,
    /// How many bytes are read after its end: somebody outside may hold the other end of a pipe
    /// and write for ever. `None` is the shim's default.
    #[n(2)]
    pub drain_bytes: Option<u64>,
}

/// A process to add to a container.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct Exec {
    /// Chosen by the daemon, unique on its connection.
    #[n(0)]
    pub exec: u64,
    /// Container id.
    #[n(1)]
    pub container: String,
    /// What to run. The name of its own group is the shim's to choose.
    #[n(2)]
    pub plan: ExecPlan,
    /// Which of stdin, stdout and stderr come along as descriptors; `/dev/null` for the others.
    #[n(3)]
    pub stdio: [bool; 3],
    /// Kill the tree after so many milliseconds.
    #[n(4)]
    pub timeout_ms: Option<u64>,
    /// The process as the program of the container's [`Create::program`] is to be told it: OCI's
    /// `process`, in JSON. Since version 5.
    #[n(5)]
    pub process: Option<String>,
}

/// Said by a shim to the daemon.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
pub enum Reply {
    /// The version that rules, and who answers.
    #[n(0)]
    Hello {
        /// The highest version that both speak.
        #[n(0)]
        version: u16,
        /// The shim's process id.
        #[n(1)]
        pid: i32,
        /// The release of the shim.
        #[n(2)]
        release: String,
    },
    /// The pod's surroundings stand.
    #[n(1)]
    Sandbox {
        /// Process id of the reaper, seen from the host.
        #[n(0)]
        reaper: Option<i32>,
    },
    /// The init waits. Descriptor: its pidfd.
    #[n(2)]
    Created {
        /// Process id of the init, seen from the host.
        #[n(0)]
        pid: i32,
        /// What could not be set as asked, and was set as far as this host allows: in words.
        #[cbor(n(1), default)]
        clamped: Vec<String>,
    },
    /// The program runs.
    #[n(3)]
    Started {
        /// Nanoseconds since the epoch.
        #[n(0)]
        at: i64,
        /// As in [`Reply::Created`]: what a process sets only when it has been let go.
        #[cbor(n(1), default)]
        clamped: Vec<String>,
    },
    /// The process runs. Descriptor: the terminal's master, if there is one.
    #[n(4)]
    ExecStarted {
        /// Process id, seen from the host.
        #[n(0)]
        pid: i32,
    },
    /// The container has ended and its log is flushed.
    #[n(5)]
    Exited(#[n(0)] Exit),
    /// Output is copied from now on. Descriptor: stdin or the terminal, if it was asked for.
    #[n(6)]
    Attached,
    /// Descriptors: the read end of the shim's own pipe (see [`crate::log_journal`]), then as told
    /// here.
    #[n(7)]
    LogPipes {
        /// The read end of its output, or its terminal's master.
        #[n(0)]
        stdout: bool,
        /// The read end of its error output.
        #[n(1)]
        stderr: bool,
        /// The write end of its stdin.
        #[n(2)]
        stdin: bool,
    },
    /// What is here.
    #[n(8)]
    State(#[n(0)] ShimReport),
    /// Nothing to add.
    #[n(9)]
    Done,
    /// Refused or failed.
    #[n(10)]
    Error(#[n(0)] WireError),
}

/// Said by a shim unasked.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
pub enum Event {
    /// A container has ended; its exit record is on disk. A hint: records are the truth.
    #[n(0)]
    Exited {
        /// Container id.
        #[n(0)]
        container: String,
        /// How it ended.
        #[n(1)]
        exit: Exit,
    },
    /// An exec of this connection has ended, its output is all written.
    #[n(1)]
    ExecExited {
        /// As given in [`Exec`].
        #[n(0)]
        exec: u64,
        /// How it ended.
        #[n(1)]
        exit: Exit,
    },
    /// A container whose creation was asked for on this connection wants something done before it
    /// goes on; [`Request::Answer`] says that it is. Where nobody can answer, because the
    /// connection has ended or is of version 1, it is refused. Since version 2.
    #[n(2)]
    Asks {
        /// Container id.
        #[n(0)]
        container: String,
        /// Its process, seen from the host.
        #[n(1)]
        pid: i32,
        /// What.
        #[n(2)]
        ask: Ask,
    },
}
