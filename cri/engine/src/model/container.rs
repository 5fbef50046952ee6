//! A container as its client wants it.

use super::{ContainerSecurity, IdMapping, Resources, Tags};
use serde::{Deserialize, Serialize};

/// `ContainerConfig`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerConfig {
    /// Name in its pod.
    pub name: String,
    /// Counts the containers of one name.
    pub attempt: u32,
    /// The image to start from.
    pub image: ImageSpec,
    /// Instead of the image's entrypoint and command.
    pub command: Vec<String>,
    /// Instead of the image's command.
    pub args: Vec<String>,
    /// Instead of the image's working directory.
    pub working_dir: String,
    /// After the image's own, later ones win.
    pub envs: Vec<EnvVar>,
    /// Mounts.
    pub mounts: Vec<MountSpec>,
    /// Devices of the host.
    pub devices: Vec<DeviceSpec>,
    /// Names of CDI devices.
    pub cdi_devices: Vec<String>,
    /// Kept.
    pub labels: Tags,
    /// Kept.
    pub annotations: Tags,
    /// Log file, relative to the pod's log directory; empty: no log is written.
    pub log_path: String,
    /// Keep stdin open for attach.
    pub stdin: bool,
    /// Close stdin when the first attached client closes its own.
    pub stdin_once: bool,
    /// A terminal for stdio.
    pub tty: bool,
    /// Limits.
    pub resources: Option<Resources>,
    /// Who it is and what it may do.
    pub security: ContainerSecurity,
    /// Signal number of a stop; `None`: the image's, else SIGTERM.
    pub stop_signal: Option<i32>,
}

/// `ImageSpec`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageSpec {
    /// Id, tag or digest, as the client resolved it.
    pub image: String,
    /// Kept.
    pub annotations: Tags,
    /// As the person wrote it, shown in status.
    pub user_specified: String,
    /// Kept.
    pub runtime_handler: String,
    /// Kept.
    pub image_ref: String,
}

/// One variable of the environment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EnvVar {
    /// Name.
    pub name: String,
    /// Value: any bytes but NUL.
    #[serde(with = "bytes")]
    pub value: Vec<u8>,
}

/// `Mount`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MountSpec {
    /// Where in the container.
    pub container_path: String,
    /// What of the host.
    pub host_path: String,
    /// Read-only.
    pub readonly: bool,
    /// Relabel the source for SELinux.
    pub selinux_relabel: bool,
    /// How later mounts travel.
    pub propagation: MountPropagation,
    /// Mapped user ids: those of the pod's user namespace, or none.
    pub uid_mappings: Vec<IdMapping>,
    /// Mapped group ids, likewise.
    pub gid_mappings: Vec<IdMapping>,
    /// Mounts below are read-only too; needs `readonly` and private propagation.
    pub recursive_read_only: bool,
    /// An image instead of `host_path`.
    pub image: Option<ImageSpec>,
    /// Folder in that image.
    pub image_sub_path: String,
}

/// How mounts made later travel between host and container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountPropagation {
    /// Not at all.
    #[default]
    Private,
    /// From the host into the container.
    HostToContainer,
    /// Both ways.
    Bidirectional,
}

/// `Device`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeviceSpec {
    /// Where in the container.
    pub container_path: String,
    /// A node of the host, or a folder of nodes.
    pub host_path: String,
    /// Of `r`, `w`, `m`.
    pub permissions: String,
}

/// Bytes in JSON: text where they are text, numbers where not.
mod bytes {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Value<'a> {
        Text(std::borrow::Cow<'a, str>),
        Raw(Vec<u8>),
    }

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(bytes) {
            Ok(text) => Value::Text(text.into()).serialize(to),
            Err(_) => Value::Raw(bytes.to_vec()).serialize(to),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        Ok(match Value::deserialize(from)? {
            Value::Text(text) => text.into_owned().into_bytes(),
            Value::Raw(bytes) => bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_is_no_text_survives_its_record() {
        for value in [b"plain".to_vec(), vec![0xff, 0, 0x80], Vec::new()] {
            let var = EnvVar { name: "A".into(), value };
            let json = serde_json::to_string(&var).unwrap();
            assert_eq!(serde_json::from_str::<EnvVar>(&json).unwrap(), var, "{json}");
        }
    }
}
