//! One of each message, with every field filled and every variant somewhere.

use rrun_runtime::plan::{
    Capabilities, CgroupDir, CgroupWrite, Cgroups, Device, ExecPlan, Hook, Hooks, IdMaps, IdRange,
    Link, Listener, Mount, MountSource, Namespace, Namespaces, Plan, Process, Propagation, Rlimit,
    Rootfs, RootfsSource, Seccomp, Slot, StateText, User, attr,
};
use rrun_shim_protocol::{
    Ask, AskRefusal, Attachment, AttachmentSource, ContainerReport, ContainerState, Create, Event,
    Exec, Exit, ExitReason, LogSpec, NamespaceKind, Pin, Program, Reaper, Reply, Request, Restore,
    Sandbox, ShimReport, Update, WireError, WireKind,
};

/// Any message.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    Request(Box<Request>),
    Reply(Reply),
    Event(Event),
}

/// Each with the name of its file. Where a `match` below does not compile, a variant is new: give
/// it a sample.
pub fn samples() -> Vec<(String, Message)> {
    let requests = requests().into_iter().map(|request| {
        let name = request_name(&request);
        (format!("request-{name}"), Message::Request(Box::new(request)))
    });
    let replies = replies().into_iter().map(|reply| {
        let name = reply_name(&reply);
        (format!("reply-{name}"), Message::Reply(reply))
    });
    let events = events().into_iter().map(|event| {
        let name = event_name(&event);
        (format!("event-{name}"), Message::Event(event))
    });
    requests.chain(replies).chain(events).collect()
}

fn text(text: &str) -> String {
    text.to_owned()
}

fn request_name(request: &Request) -> String {
    let name = match request {
        Request::Hello { .. } => "hello",
        Request::Sandbox(_) => "sandbox",
        Request::Create(create) if create.restore.is_some() => "create-restore",
        Request::Create(create) => match create.plan.rootfs.source {
            RootfsSource::Detached(_) => "create",
            RootfsSource::Directory(_) => "create-directory",
        },
        Request::Start { .. } => "start",
        Request::Stop { .. } => "stop",
        Request::Delete { .. } => "delete",
        Request::Exec(_) => "exec",
        Request::KillExec { .. } => "kill-exec",
        Request::Resize { .. } => "resize",
        Request::Attach { .. } => "attach",
        Request::CloseStdin { .. } => "close-stdin",
        Request::ReopenLog { .. } => "reopen-log",
        Request::LogPipes { .. } => "log-pipes",
        Request::State => "state",
        Request::Shutdown => "shutdown",
        Request::Update(_) => "update",
        Request::Answer { refusal: None, .. } => "answer",
        Request::Answer { refusal: Some(_), .. } => "answer-refusal",
    };
    text(name)
}

fn requests() -> Vec<Request> {
    let container = || text("c0ffee");
    let mut directory = create();
    directory.plan.rootfs.source = RootfsSource::Directory("/root/fs".into());
    directory.program = None;
    let mut restored = create();
    restored.program = None;
    restored.restore = Some(restore());
    vec![
        Request::Hello { oldest: 1, newest: 300 },
        Request::Sandbox(sandbox()),
        Request::Create(create()),
        Request::Create(directory),
        Request::Create(restored),
        Request::Start { container: container() },
        Request::Stop { container: container(), signal: 15, grace_ms: 30_000 },
        Request::Delete { container: container() },
        Request::Exec(exec()),
        Request::KillExec { exec: u64::MAX },
        Request::Resize { container: container(), rows: 24, columns: 80 },
        Request::Attach { container: container(), stdout: true, stderr: false, stdin: true },
        Request::CloseStdin { container: container() },
        Request::ReopenLog { container: container() },
        Request::LogPipes { container: container() },
        Request::State,
        Request::Shutdown,
        Request::Update(Update { container: container(), change: cgroups(), back: cgroups() }),
        Request::Answer { container: container(), refusal: None },
        Request::Answer {
            container: container(),
            refusal: Some(AskRefusal { errno: 16, words: text("systemd says no") }),
        },
    ]
}

fn reply_name(reply: &Reply) -> String {
    let name = match reply {
        Reply::Hello { .. } => "hello",
        Reply::Sandbox { .. } => "sandbox",
        Reply::Created { .. } => "created",
        Reply::Started { .. } => "started",
        Reply::ExecStarted { .. } => "exec-started",
        Reply::Exited(_) => "exited",
        Reply::Attached => "attached",
        Reply::LogPipes { .. } => "log-pipes",
        Reply::State(_) => "state",
        Reply::Done => "done",
        Reply::Error(error) => return format!("error-{}", wire_kind_name(error.kind)),
    };
    text(name)
}

fn wire_kind_name(kind: WireKind) -> &'static str {
    match kind {
        WireKind::NotFound => "not-found",
        WireKind::Exists => "exists",
        WireKind::Invalid => "invalid",
        WireKind::Exec(_) => "exec",
        WireKind::Kernel => "kernel",
    }
}

fn replies() -> Vec<Reply> {
    let chain = vec![text("create web"), text("mount /etc/hosts"), text("EPERM")];
    let kinds = [
        WireKind::NotFound,
        WireKind::Exists,
        WireKind::Invalid,
        WireKind::Exec(127),
        WireKind::Kernel,
    ];
    let mut replies = vec![
        Reply::Hello { version: 1, pid: 4711, release: text("1.2.3") },
        Reply::Sandbox { reaper: Some(7) },
        Reply::Created { pid: 8, clamped: vec![text("set oom_score_adj -998")] },
        Reply::Started { at: i64::MAX, clamped: vec![text("limit open files")] },
        Reply::ExecStarted { pid: 9 },
        Reply::Exited(exit()),
        Reply::Attached,
        Reply::LogPipes { stdout: true, stderr: false, stdin: true },
        Reply::State(report()),
        Reply::Done,
    ];
    let error = |kind| Reply::Error(WireError { kind, chain: chain.clone() });
    replies.extend(kinds.map(error));
    replies
}

fn event_name(event: &Event) -> String {
    match event {
        Event::Exited { exit, .. } => format!("exited-{}", reason_name(exit.reason)),
        Event::ExecExited { .. } => text("exec-exited"),
        Event::Asks { ask: Ask::Place, .. } => text("asks-place"),
        Event::Asks { ask: Ask::RunHooks, .. } => text("asks-run-hooks"),
    }
}

fn reason_name(reason: ExitReason) -> &'static str {
    match reason {
        ExitReason::Ended => "ended",
        ExitReason::OutOfMemory => "out-of-memory",
        ExitReason::StartError => "start-error",
        ExitReason::Timeout => "timeout",
    }
}

fn events() -> Vec<Event> {
    let reasons =
        [ExitReason::Ended, ExitReason::OutOfMemory, ExitReason::StartError, ExitReason::Timeout];
    let exited = |reason| Event::Exited { container: text("c"), exit: Exit { reason, ..exit() } };
    let mut events: Vec<Event> = reasons.map(exited).into();
    events.push(Event::ExecExited { exec: 12, exit: exit() });
    for ask in [Ask::Place, Ask::RunHooks] {
        events.push(Event::Asks { container: text("c"), pid: 8, ask });
    }
    events
}

/// How something ended.
pub fn exit() -> Exit {
    Exit {
        code: 137,
        at: -12,
        reason: ExitReason::StartError,
        message: text("no such file"),
        output_lost: 70_000,
    }
}

fn report() -> ShimReport {
    let states = [
        ContainerState::Created,
        ContainerState::Running { started_at: 5 },
        ContainerState::Exited { started_at: 6, exit: exit() },
    ];
    let named = |state: &ContainerState| match state {
        ContainerState::Created => (text("created"), Some(10)),
        ContainerState::Running { .. } => (text("running"), Some(11)),
        ContainerState::Exited { .. } => (text("exited"), None),
    };
    let report = |state| {
        let (id, pid) = named(&state);
        ContainerReport { id, pid, state }
    };
    ShimReport { sandbox: true, reaper: Some(7), containers: states.map(report).into() }
}

fn sandbox() -> Sandbox {
    let kinds = [
        NamespaceKind::Network,
        NamespaceKind::Ipc,
        NamespaceKind::Uts,
        NamespaceKind::User,
        NamespaceKind::Pid,
    ];
    let path = |kind: &NamespaceKind| match kind {
        NamespaceKind::Network => "/run/netns/n",
        NamespaceKind::Ipc => "/run/ipc",
        NamespaceKind::Uts => "/run/uts",
        NamespaceKind::User => "/run/user",
        NamespaceKind::Pid => "/run/pid",
    };
    Sandbox {
        namespaces: kinds.into(),
        pins: kinds.map(|kind| Pin { kind, path: path(&kind).into() }).into(),
        hostname: Some(text("web-0")),
        sysctls: vec![(text("net.core.somaxconn"), text("1024"))],
        shm_size: Some(64 << 20),
        reaper: Some(Reaper { plan: plan() }),
        id_maps: Some(id_maps()),
    }
}

fn create() -> Create {
    Create {
        container: text("c0ffee"),
        plan: plan(),
        log: Some(LogSpec {
            path: "/var/log/pods/p/c/0.log".into(),
            drain_timeout_ms: Some(20_000),
            drain_bytes: Some(1 << 40),
        }),
        stdin: true,
        stdin_once: true,
        program: Some(program()),
        restore: None,
    }
}

fn restore() -> Restore {
    Restore {
        criu: "/usr/sbin/criu".into(),
        images: "/state/images".into(),
        work: "/state/work".into(),
        bundle: "/run/b".into(),
    }
}

fn exec() -> Exec {
    let plan = ExecPlan { version: 1, cgroups: cgroups(), process: process() };
    let stdio = [true, false, true];
    let process = Some(text("{}"));
    Exec { exec: 12, container: text("c0ffee"), plan, stdio, timeout_ms: Some(1000), process }
}

fn program() -> Program {
    let sources = [
        AttachmentSource::Mount(Slot(3)),
        AttachmentSource::Namespace(Slot(0)),
        AttachmentSource::PodDir(text("shm")),
    ];
    let path = |source: &AttachmentSource| match source {
        AttachmentSource::Mount(_) => "/run/b/rootfs",
        AttachmentSource::Namespace(_) => "/run/b/network",
        AttachmentSource::PodDir(_) => "/run/b/shm",
    };
    let attached = |source| Attachment { path: path(&source).into(), source };
    Program {
        path: "/usr/sbin/runc".into(),
        args: vec![text("--root"), text("/run/oci")],
        bundle: "/run/b".into(),
        attachments: sources.map(attached).into(),
        timeout_ms: 30_000,
    }
}

fn plan() -> Plan {
    Plan {
        version: 1,
        namespaces: Namespaces {
            pid: Namespace::New,
            network: Namespace::Slot(Slot(0)),
            ipc: Namespace::Path("/proc/1/ns/ipc".into()),
            uts: Namespace::Host,
            cgroup: Namespace::New,
            user: Namespace::Host,
            time: Namespace::Host,
        },
        rootfs: Rootfs {
            source: RootfsSource::Detached(Slot(3)),
            readonly: true,
            propagation: Some(Propagation::Slave),
        },
        mounts: mounts(),
        devices: vec![Device {
            path: text("/dev/null"),
            mode: 0o020_666,
            rdev: 0x103,
            uid: 1,
            gid: 2,
        }],
        links: vec![Link { path: text("/dev/fd"), target: text("/proc/self/fd") }],
        masked: vec![text("/proc/kcore")],
        readonly: vec![text("/proc/sys")],
        hostname: Some(text("web-0")),
        domainname: Some(text("example")),
        sysctls: vec![(text("kernel/msgmax"), text("8192"))],
        cgroups: cgroups(),
        process: process(),
        id_maps: Some(id_maps()),
        hooks: Some(hooks()),
    }
}

fn hooks() -> Hooks {
    let hook = Hook {
        path: text("/bin/hook"),
        args: vec![text("hook"), text("go")],
        env: vec![text("A=1")],
        timeout: Some(7),
    };
    Hooks {
        rootfs: Some("/bundle/rootfs".into()),
        ask: true,
        create_container: vec![hook.clone()],
        start_container: vec![Hook { timeout: None, ..hook }],
        creating: StateText { before: text("{\"pid\":"), after: text("}") },
        created: StateText { before: text("["), after: text("]") },
    }
}

fn id_maps() -> IdMaps {
    IdMaps { users: vec![range(0)], groups: vec![range(5)] }
}

fn mounts() -> Vec<Mount> {
    let propagations = [
        Some(Propagation::Private),
        Some(Propagation::Slave),
        Some(Propagation::Shared),
        Some(Propagation::Unbindable),
        None,
    ];
    let sources = [
        MountSource::Bind { path: "/srv/data".into(), recursive: true },
        MountSource::Pod(text("shm")),
        MountSource::Detached(Slot(4)),
        MountSource::New {
            fstype: text("tmpfs"),
            source: text("tmpfs"),
            options: vec![(text("size"), Some(text("64k"))), (text("noswap"), None)],
        },
        MountSource::Bind { path: "/etc/hosts".into(), recursive: false },
    ];
    let target = |source: &MountSource, propagation: Option<Propagation>| {
        let source = match source {
            MountSource::Bind { .. } => "bind",
            MountSource::Pod(_) => "seed",
            MountSource::Detached(_) => "detached",
            MountSource::New { .. } => "new",
        };
        let propagation = match propagation {
            Some(Propagation::Private) => "private",
            Some(Propagation::Slave) => "slave",
            Some(Propagation::Shared) => "shared",
            Some(Propagation::Unbindable) => "unbindable",
            None => "as-it-is",
        };
        format!("/{source}/{propagation}")
    };
    let mount = |(source, propagation)| Mount {
        target: target(&source, propagation),
        source,
        set: attr::RDONLY | attr::NOSYMFOLLOW,
        clear: attr::NOEXEC,
        recursive_attrs: true,
        propagation,
        copy_up: true,
        id_map: Some(Slot(5)),
    };
    sources.into_iter().zip(propagations).map(mount).collect()
}

fn cgroups() -> Cgroups {
    Cgroups {
        dirs: vec![CgroupDir {
            path: "/sys/fs/cgroup/pod/c".into(),
            unified: true,
            inherit_cpuset: true,
        }],
        writes: vec![CgroupWrite {
            dir: 0,
            file: text("memory.max"),
            value: text("1048576"),
            optional: true,
        }],
        device_filter: Some(vec![0xb7, 0, 0xff]),
        asked: true,
    }
}

fn range(inside: u32) -> IdRange {
    IdRange { inside, outside: 100_000, count: 65_536 }
}

fn process() -> Process {
    Process {
        args: vec![text("sh"), text("-c")],
        env: vec![b"PATH=/bin".to_vec(), b"LATIN1=\xe4".to_vec()],
        cwd: text("/srv"),
        user: User {
            uid: 1000,
            gid: 1001,
            groups: vec![5, 6],
            umask: Some(0o27),
            outside: Some(101_000),
        },
        capabilities: Capabilities {
            bounding: 1,
            effective: 2,
            permitted: 4,
            inheritable: 8,
            ambient: 1 << 40,
        },
        no_new_privileges: true,
        seccomp: Some(Seccomp {
            filter: vec![6, 0, 0xff],
            flags: 2,
            listener: Some(Listener {
                path: text("/run/agent.sock"),
                metadata: Some(text("web")),
                oci_version: text("1.0.2"),
                state: text(r#"{"id":"c1""#),
            }),
        }),
        rlimits: vec![Rlimit { resource: 7, soft: 1024, hard: u64::MAX }],
        oom_score_adj: Some(-998),
        terminal: true,
        terminal_size: Some((24, 80)),
        apparmor: Some(text("rrun-default")),
        selinux: Some(text("system_u:system_r:container_t:s0")),
        keyring: Some(text("_ses.c1")),
    }
}
