//! Containers.

use rrun_cri_api::v1;

use super::{ContainerSecurity, EnvFrom, EnvVar, Handler, Probe, Resources};

/// When an ended container is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartPolicy {
    /// Whatever its exit code.
    Always,
    /// If its exit code is not 0.
    OnFailure,
    /// Not at all.
    Never,
}

impl RestartPolicy {
    /// As the API has it.
    pub fn as_str(self) -> &'static str {
        match self {
            RestartPolicy::Always => "Always",
            RestartPolicy::OnFailure => "OnFailure",
            RestartPolicy::Never => "Never",
        }
    }
}

/// Exit codes after which a container is started again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestartRule {
    /// All containers of the pod are, from the first on (`RestartAllContainers`).
    pub all: bool,
    /// Those in the list, else those that are not.
    pub listed: bool,
    /// The list.
    pub exit_codes: Vec<i32>,
}

impl RestartRule {
    /// Whether the rule is about this exit code.
    pub fn matches(&self, exit_code: i32) -> bool {
        self.exit_codes.contains(&exit_code) == self.listed
    }
}

/// When an image is asked of its registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullPolicy {
    /// At each start.
    Always,
    /// Only if it is not here.
    IfNotPresent,
    /// Never: it must be here.
    Never,
}

/// How a container's last words are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TerminationMessagePolicy {
    /// In the termination message file.
    File,
    /// There, and if it is empty and the exit code is not 0, in the log's end.
    FallbackToLogsOnError,
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// As the API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::Tcp => "TCP",
            Protocol::Udp => "UDP",
            Protocol::Sctp => "SCTP",
        }
    }
}

/// A port a container listens on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerPort {
    /// For probes and hooks that name it.
    pub name: Option<String>,
    /// In the pod's network namespace.
    pub container_port: u16,
    /// On the node; 0 for none.
    pub host_port: u16,
    /// The node's address to listen on; empty for all.
    pub host_ip: String,
    /// TCP if the manifest says nothing.
    pub protocol: Protocol,
}

/// How mounts travel between a container's mount namespace and the node's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MountPropagation {
    /// Not at all.
    None,
    /// The node's later mounts appear in the container.
    HostToContainer,
    /// Both ways; privileged containers only.
    Bidirectional,
}

/// Whether the mounts below a read-only mount are read-only too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecursiveReadOnly {
    /// They are as they were.
    Disabled,
    /// They are where the runtime can do it.
    IfPossible,
    /// They are, or the pod does not run.
    Enabled,
}

/// Which part of a volume is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubPath {
    /// All of it.
    Whole,
    /// A relative path inside it.
    Path(String),
    /// A relative path with `$(VAR)`, expanded from the container's environment.
    Expr(String),
}

/// A volume in a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeMount {
    /// A volume of the pod.
    pub name: String,
    /// Where it appears; absolute once the working directory is known.
    pub mount_path: String,
    /// Which part of it.
    pub sub_path: SubPath,
    /// Read-only.
    pub read_only: bool,
    /// Read-only with all mounts below it.
    pub recursive_read_only: RecursiveReadOnly,
    /// How later mounts travel.
    pub propagation: MountPropagation,
}

/// The name of a signal as a manifest has it: `SIGUSR1`, `SIGRTMIN+3`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StopSignal(String);

impl StopSignal {
    /// Checks a name; `None` for no signal of Linux.
    pub fn parse(name: &str) -> Option<Self> {
        let signal = StopSignal(name.to_owned());
        // What CRI spells out, a manifest does not.
        let is_cris = name.contains("PLUS") || name.contains("MINUS");
        (!is_cris && signal.wire() != v1::Signal::RuntimeDefault).then_some(signal)
    }

    /// As CRI has it.
    pub fn wire(&self) -> v1::Signal {
        let name = self.0.replace('+', "PLUS").replace('-', "MINUS");
        v1::Signal::from_str_name(&name).unwrap_or_default()
    }
}

/// What a change of resources costs: by default nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResizePolicy {
    /// The container is started again for another request or limit of CPU.
    pub cpu_restarts: bool,
    /// Likewise of memory.
    pub memory_restarts: bool,
}

/// What runs at the ends of a container's life.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lifecycle {
    /// After start; the next container waits for it.
    pub post_start: Option<Handler>,
    /// Before the stop signal; spends grace.
    pub pre_stop: Option<Handler>,
    /// Instead of the image's stop signal.
    pub stop_signal: Option<StopSignal>,
}

/// What a container is in its pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContainerKind {
    /// Runs to its end before the next starts.
    Init,
    /// An init container with `restartPolicy: Always`: starts in order, stays beside the rest.
    Sidecar,
    /// One of `spec.containers`.
    Regular,
}

/// One container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// DNS label, unique in the pod.
    pub name: String,
    /// As written in the manifest.
    pub image: String,
    /// Instead of the image's ENTRYPOINT; `$(VAR)` is expanded at each start.
    pub command: Vec<String>,
    /// Instead of the image's CMD; likewise.
    pub args: Vec<String>,
    /// Empty for the image's.
    pub working_dir: String,
    /// Ports, names unique in the container.
    pub ports: Vec<ContainerPort>,
    /// Whole objects as environment.
    pub env_from: Vec<EnvFrom>,
    /// Single variables, in order.
    pub env: Vec<EnvVar>,
    /// Requests (filled from limits where absent) and limits.
    pub resources: Resources,
    /// Whether it is started again when they change while it runs.
    pub resize_policy: ResizePolicy,
    /// Its own policy, if it has one.
    pub restart_policy: Option<RestartPolicy>,
    /// Exit codes after which it is started again whatever its policy; the policy is set then.
    pub restart_rules: Vec<RestartRule>,
    /// Volumes, mount paths unique.
    pub mounts: Vec<VolumeMount>,
    /// Kills it when it fails.
    pub liveness: Option<Probe>,
    /// Says whether it takes traffic.
    pub readiness: Option<Probe>,
    /// Holds the other two until it succeeds.
    pub startup: Option<Probe>,
    /// Hooks.
    pub lifecycle: Lifecycle,
    /// Absolute path in the container.
    pub termination_message_path: String,
    /// Where its last words are.
    pub termination_message_policy: TerminationMessagePolicy,
    /// When its image is pulled.
    pub pull_policy: PullPolicy,
    /// Its own security context.
    pub security: ContainerSecurity,
    /// Keep stdin open.
    pub stdin: bool,
    /// Close stdin after the first attach.
    pub stdin_once: bool,
    /// With a terminal.
    pub tty: bool,
}

impl Container {
    /// The rule for an exit code: the first of its rules that is about it.
    pub fn rule_after(&self, exit_code: i32) -> Option<&RestartRule> {
        self.restart_rules.iter().find(|rule| rule.matches(exit_code))
    }

    /// What it is, when it stands among the init containers.
    pub fn init_kind(&self) -> ContainerKind {
        if self.is_sidecar() { ContainerKind::Sidecar } else { ContainerKind::Init }
    }

    /// Whether it is a sidecar (only asked of init containers).
    pub fn is_sidecar(&self) -> bool {
        self.restart_policy == Some(RestartPolicy::Always)
    }

    /// The port of that name.
    pub fn port_named(&self, name: &str) -> Option<u16> {
        self.ports.iter().find(|p| p.name.as_deref() == Some(name)).map(|p| p.container_port)
    }
}
