//! Ephemeral containers: added to a pod that runs, for somebody to look into it. They are started once
//! and never again, have no probes, no hooks and no resources, and nothing of the pod waits for them.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};
use crate::ids;
use crate::manifest::default_pull_policy;
use crate::model::{
    Capabilities, Container, ContainerSecurity, Lifecycle, Pod, ResizePolicy, Resources,
    TerminationMessagePolicy,
};

/// One of them, as a person asks for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ephemeral {
    /// DNS label, unlike that of any other container of the pod.
    pub name: String,
    /// Its image.
    pub image: String,
    /// Program and arguments instead of the image's; none for those.
    pub command: Vec<String>,
    /// The container whose processes it sees.
    pub target: Option<String>,
    /// Whether its standard input is kept open.
    pub stdin: bool,
    /// Whether it has a terminal.
    pub tty: bool,
}

impl Ephemeral {
    /// Refuses what the API server would.
    ///
    /// # Errors
    /// `Invalid` with the field.
    pub fn check(&self, pod: &Pod, others: &[Ephemeral]) -> Result<()> {
        let refuse = |field: &str, why: String| {
            let at = format!("spec.ephemeralContainers[{}].{field}", others.len());
            let text = format!("The Pod {:?} is invalid: {at}: {why}", pod.meta.name);
            Err(Error::new(Kind::Invalid, text))
        };
        let name = &self.name;
        if let Some(why) = ids::label_fault(name) {
            return refuse("name", format!("Invalid value: {name:?}: {why}"));
        }
        if pod.spec.find(name).is_some() || others.iter().any(|other| other.name == *name) {
            return refuse("name", format!("Duplicate value: {name:?}"));
        }
        let is_odd = self.image.bytes().any(|byte| byte <= b' ' || byte >= 127);
        if self.image.is_empty() || is_odd {
            return refuse("image", format!("Invalid value: {:?}", self.image));
        }
        match &self.target {
            Some(target) if pod.spec.find(target).is_none() => {
                refuse("targetContainerName", format!("Not found: {target:?}"))
            }
            _ => Ok(()),
        }
    }

    /// As the rest of a pod's containers are. It may trace what it sees, as kubectl's profile `general`
    /// has it.
    pub fn container(&self) -> Container {
        let add = vec!["SYS_PTRACE".to_owned()];
        let capabilities = Some(Capabilities { add, drop: Vec::new() });
        Container {
            name: self.name.clone(),
            image: self.image.clone(),
            command: self.command.clone(),
            args: Vec::new(),
            working_dir: String::new(),
            ports: Vec::new(),
            env_from: Vec::new(),
            env: Vec::new(),
            resources: Resources::default(),
            resize_policy: ResizePolicy::default(),
            restart_policy: None,
            restart_rules: Vec::new(),
            mounts: Vec::new(),
            liveness: None,
            readiness: None,
            startup: None,
            lifecycle: Lifecycle::default(),
            termination_message_path: "/dev/termination-log".to_owned(),
            termination_message_policy: TerminationMessagePolicy::File,
            pull_policy: default_pull_policy(&self.image),
            security: ContainerSecurity { capabilities, ..ContainerSecurity::default() },
            stdin: self.stdin,
            stdin_once: self.stdin,
            tty: self.tty,
        }
    }
}
