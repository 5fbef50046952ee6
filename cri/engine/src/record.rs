//! What is on disk about pods and containers.
//!
//! A record is a line with what it is, its version and a checksum, then JSON. It is written to a
//! temporary file and renamed. It is not fsynced: after a power cut the boot id has changed, every
//! pod has ended, and what a lost record would have told is found again through the records of the
//! network and the holders of root file systems. The checksum tells a torn record.
//!
//! What a record holds may grow within a version: a field that is added has a default
//! (`#[serde(default)]`), and one that is not known is passed over. A field that goes, or means
//! something else, is another version. A record of a version that is not known is put away by
//! name, as a broken one is.

use crate::error::{Context, Error, Result};
use crate::handlers::CommandLine;
use crate::id::{ContainerId, Owner, PodId};
use crate::model::{ContainerConfig, ImageSpec, MountSpec, PodConfig, Resources};
use crate::phase::{ContainerPhase, PodPhase};
use crate::status::{ContainerExit, LinuxUser};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use rrun_runtime::cgroup::Resources as Limits;
use rrun_sys::fnv;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fmt::Debug;
use std::fs;
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const VERSION: u32 = 1;

/// Something that is put on record.
pub(crate) trait Record: Serialize + DeserializeOwned {
    /// What it is, in its first line.
    const WHAT: &'static str;
    /// Where it stands.
    type Phase: Copy + PartialEq + Debug + Send;

    fn id(&self) -> &str;

    fn phase(&self) -> Self::Phase;

    /// Whether it may go from one phase to the next.
    fn may_go(from: Self::Phase, to: Self::Phase) -> bool;
}

/// A pod on record. Everything that an undo needs is here before the first effect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct PodRecord {
    pub(crate) id: PodId,
    pub(crate) owner: Owner,
    /// The boot that this record was written in.
    pub(crate) boot: String,
    pub(crate) config: Arc<PodConfig>,
    pub(crate) handler: String,
    pub(crate) phase: PodPhase,
    /// Nanoseconds since the epoch.
    pub(crate) created_at: i64,
    /// Where the network namespace is pinned; `None` on the host's network.
    pub(crate) netns: Option<PathBuf>,
    /// The pod's control group, in cgroupfs spelling.
    pub(crate) cgroup: String,
    /// The group is ours to make and to remove.
    pub(crate) own_cgroup: bool,
    pub(crate) ips: Vec<IpAddr>,
    /// Process id of the reaper, if there is one.
    pub(crate) reaper: Option<i32>,
    /// Why it is not ready, if that was nobody's wish.
    pub(crate) reason: String,
    /// Steps that could not be undone, and why.
    pub(crate) not_undone: Vec<(String, String)>,
    /// What it costs and has, where that was told anew since.
    #[serde(default)]
    pub(crate) resized: Option<Resized>,
}

/// What a pod costs and has, as its client tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Resized {
    pub(crate) overhead: Option<Resources>,
    pub(crate) resources: Option<Resources>,
}

impl Record for PodRecord {
    const WHAT: &'static str = "pod";
    type Phase = PodPhase;

    fn id(&self) -> &str {
        self.id.as_str()
    }

    fn phase(&self) -> PodPhase {
        self.phase
    }

    fn may_go(from: PodPhase, to: PodPhase) -> bool {
        from.may_become(to)
    }
}

/// A container on record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ContainerRecord {
    pub(crate) id: ContainerId,
    pub(crate) pod: PodId,
    pub(crate) config: Arc<ContainerConfig>,
    pub(crate) phase: ContainerPhase,
    /// Nanoseconds since the epoch.
    pub(crate) created_at: i64,
    /// Nanoseconds since the epoch; 0: never.
    pub(crate) started_at: i64,
    pub(crate) exit: Option<ContainerExit>,
    pub(crate) image_id: String,
    pub(crate) image_ref: String,
    /// What it was made of, if that is not the image that was asked for, which was a checkpoint.
    #[serde(default)]
    pub(crate) base: Option<Arc<ImageSpec>>,
    /// Process id of its init, seen from the host; 0: none.
    pub(crate) pid: i32,
    /// Its control group, in cgroupfs spelling.
    pub(crate) cgroup: String,
    /// Absolute path; empty: none.
    pub(crate) log_path: String,
    pub(crate) mounts: Vec<MountSpec>,
    /// As the client asked for them.
    pub(crate) resources: Resources,
    /// What is in force in its groups.
    #[serde(default)]
    pub(crate) limits: Limits,
    pub(crate) user: LinuxUser,
    pub(crate) stop_signal: i32,
    /// Its configuration has hooks.
    #[serde(default)]
    pub(crate) hooks: bool,
    /// Who makes it, if not its shim, as it was known then.
    #[serde(default)]
    pub(crate) program: Option<CommandLine>,
}

impl Record for ContainerRecord {
    const WHAT: &'static str = "container";
    type Phase = ContainerPhase;

    fn id(&self) -> &str {
        self.id.as_str()
    }

    fn phase(&self) -> ContainerPhase {
        self.phase
    }

    fn may_go(from: ContainerPhase, to: ContainerPhase) -> bool {
        from.may_become(to)
    }
}

/// The record as it stands on disk.
pub(crate) fn encode<R: Record>(record: &R) -> Result<Vec<u8>> {
    let json = serde_json::to_vec(record)
        .map_err(|error| Error::internal(format!("encode {} record: {error}", R::WHAT)))?;
    let mut text =
        format!("rrun {} {VERSION} {:016x}\n", R::WHAT, fnv::of_bytes(&json)).into_bytes();
    text.extend_from_slice(&json);
    Ok(text)
}

/// Reads a record back; the error says what is wrong with it.
pub(crate) fn decode<R: Record>(bytes: &[u8]) -> Result<R> {
    let broken = |why: &str| Error::internal(format!("broken {} record: {why}", R::WHAT));
    let end = bytes.iter().position(|b| *b == b'\n').ok_or_else(|| broken("no first line"))?;
    let line = std::str::from_utf8(&bytes[..end]).map_err(|_| broken("first line is no text"))?;
    let parts: Vec<&str> = line.split(' ').collect();
    let ["rrun", what, version, sum] = parts[..] else {
        return Err(broken("unknown first line"));
    };
    if what != R::WHAT {
        return Err(broken(&format!("it is a {what:?} record")));
    }
    if version.parse() != Ok(VERSION) {
        return Err(broken(&format!("version {version}, known is {VERSION}")));
    }
    let json = &bytes[end + 1..];
    if u64::from_str_radix(sum, 16) != Ok(fnv::of_bytes(json)) {
        return Err(broken("checksum does not match, it is torn or was changed"));
    }
    serde_json::from_slice(json).map_err(|error| broken(&error.to_string()))
}

/// Writes a record to `path` by way of a temporary file beside it.
pub(crate) fn write<R: Record>(path: &Path, record: &R) -> Result<()> {
    replace(path, &encode(record)?)
}

/// Replaces a file by way of a temporary one beside it.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut temporary = path.to_owned();
    temporary.as_mut_os_string().push(".tmp");
    rrun_sys::record::create(&temporary, 0o666)
        .and_then(|mut file| file.write_all(bytes))
        .and_then(|()| put(&temporary, path))
        .context(|| format!("write {}", path.display()))
}

/// Exchanges the two rather than rename over what is there: ext4 takes that for a program which
/// forgot to sync, and writes the new file out at once (`auto_da_alloc`, 0.7 ms a time here). A
/// record that lives for seconds need never reach the disk. A kill in between leaves the old
/// record under the temporary name, where the next one goes.
fn put(temporary: &Path, path: &Path) -> io::Result<()> {
    match renameat2(AT_FDCWD, temporary, AT_FDCWD, path, RenameFlags::RENAME_EXCHANGE) {
        Ok(()) => fs::remove_file(temporary),
        // Nothing to exchange it with, or a file system that cannot.
        Err(Errno::ENOENT | Errno::EINVAL) => fs::rename(temporary, path),
        Err(errno) => Err(errno.into()),
    }
}

/// Reads the record at `path`.
pub(crate) fn read<R: Record>(path: &Path) -> Result<R> {
    let bytes = rrun_sys::record::read(path).context(|| format!("read {}", path.display()))?;
    decode(&bytes).context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> PodRecord {
        PodRecord {
            id: "0123456789abcdef".repeat(4).parse().unwrap(),
            owner: Owner::Engine("rrun".into()),
            boot: "b".into(),
            config: Arc::new(PodConfig { name: "web".into(), ..PodConfig::default() }),
            handler: String::new(),
            phase: PodPhase::Ready,
            created_at: 1,
            netns: Some("/var/run/netns/cni-1".into()),
            cgroup: "/rrun/x".into(),
            own_cgroup: true,
            ips: vec!["10.0.0.1".parse().unwrap()],
            reaper: None,
            reason: String::new(),
            not_undone: vec![("engine.run-pod.network".into(), "no".into())],
            resized: None,
        }
    }

    #[test]
    fn a_record_is_read_back() {
        assert_eq!(decode::<PodRecord>(&encode(&record()).unwrap()).unwrap(), record());
    }

    #[test]
    fn a_record_replaces_the_one_before_and_leaves_no_other_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pod.json");
        for reason in ["", "ShimLost"] {
            let record = PodRecord { reason: reason.into(), ..record() };
            write(&path, &record).unwrap();
            assert_eq!(read::<PodRecord>(&path).unwrap(), record);
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        }
    }

    #[test]
    fn a_record_torn_anywhere_says_so() {
        let bytes = encode(&record()).unwrap();
        for cut in 0..bytes.len() {
            assert!(decode::<PodRecord>(&bytes[..cut]).is_err(), "{cut}");
        }
    }

    #[test]
    fn a_record_with_any_byte_changed_is_refused() {
        let bytes = encode(&record()).unwrap();
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 0x01;
            let same = decode::<PodRecord>(&bad).is_ok_and(|read| read == record());
            assert!(decode::<PodRecord>(&bad).is_err() || same, "{at}");
        }
    }

    /// As the first release wrote them, with fields that a later one may have added.
    const POD: &str = r#"{"id":"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        "owner":"cri","boot":"b","config":{"name":"web","unheard-of":{"a":[1]}},"handler":"",
        "phase":"ready","created_at":1,"netns":null,"cgroup":"/x","own_cgroup":true,"ips":[],
        "reaper":null,"reason":"","not_undone":[],"also-unheard-of":7}"#;
    const CONTAINER: &str = r#"{
        "id":"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        "pod":"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        "config":{"name":"main","image":{"image":"i"},"security":{"run_as_user":7}},
        "phase":"created","created_at":1,"started_at":0,"exit":null,"image_id":"i",
        "image_ref":"i","pid":9,"cgroup":"/x/y","log_path":"","mounts":[{"host_path":"/h"}],
        "resources":{"cpu_shares":2},"user":{"uid":1,"gid":2,"groups":[]},"stop_signal":15}"#;

    fn framed(what: &str, json: &str) -> Vec<u8> {
        format!("rrun {what} 1 {:016x}\n{json}", fnv::of_bytes(json.as_bytes())).into_bytes()
    }

    #[test]
    fn a_record_with_fields_too_few_or_too_many_is_read() {
        let pod = decode::<PodRecord>(&framed("pod", POD)).unwrap();
        assert_eq!((pod.config.name.as_str(), pod.phase), ("web", PodPhase::Ready));
        let container = decode::<ContainerRecord>(&framed("container", CONTAINER)).unwrap();
        assert_eq!(container.config.security.run_as_user, Some(7));
        assert_eq!(container.resources.cpu_shares, 2);
        assert_eq!(container.mounts[0].host_path, "/h");
    }

    #[test]
    fn a_record_of_another_version_or_kind_is_refused_by_name() {
        let text = String::from_utf8(encode(&record()).unwrap()).unwrap();
        let other = text.replacen("rrun pod 1", "rrun pod 9", 1);
        let error = decode::<PodRecord>(other.as_bytes()).unwrap_err().to_string();
        assert!(error.contains("version 9"), "{error}");
        let error = decode::<ContainerRecord>(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains("\"pod\""), "{error}");
    }
}
