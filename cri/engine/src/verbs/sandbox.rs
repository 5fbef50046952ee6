//! What a pod's shim is asked for: pure.

use crate::config::Lsm;
use crate::error::{Context, Error, Kind, Result};
use crate::files;
use crate::model::{NamespaceMode, PodConfig};
use crate::record::PodRecord;
use crate::spec::{self, Planner};
use rrun_shim_protocol::{NamespaceKind, Pin, Reaper, Sandbox};

/// Size of a pod's `/dev/shm`, bytes.
const SHM_SIZE: u64 = 64 << 20;

/// Refuses what cannot be.
pub(crate) fn check(config: &PodConfig, lsm: &Lsm) -> Result<()> {
    let namespaces = &config.security.namespaces;
    if let Some(userns) = &namespaces.userns
        && userns.mode != NamespaceMode::Node
    {
        spec::refuse_userns(userns)?;
    }
    for (name, mode) in [("network", namespaces.network), ("ipc", namespaces.ipc)] {
        if !matches!(mode, NamespaceMode::Pod | NamespaceMode::Node) {
            return Err(Error::invalid(format!("{name} namespace mode {mode:?} of a pod")));
        }
    }
    if namespaces.pid == NamespaceMode::Target {
        return Err(Error::invalid("pid namespace mode Target of a pod"));
    }
    check_text(config)?;
    check_ids(config)?;
    spec::refuse_selinux(config.security.selinux.as_ref(), lsm)?;
    spec::pod_apparmor(&config.security, lsm)?;
    let own = |name: &str| {
        let network = name.starts_with("net.") && files::has_network(config);
        let ipc = ["kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue."]
            .iter()
            .any(|prefix| name.starts_with(prefix));
        network || (ipc && namespaces.ipc != NamespaceMode::Node)
    };
    match config.sysctls.keys().find(|name| !own(name)) {
        Some(name) => {
            let message = format!("sysctl {name} is not of a namespace that the pod has");
            Err(Error::new(Kind::Invalid, message))
        }
        None => Ok(()),
    }
}

/// Names, paths and lines of files: each must stay what and where it says.
fn check_text(config: &PodConfig) -> Result<()> {
    let PodConfig { hostname, log_directory, cgroup_parent, .. } = config;
    if hostname.len() > 64 {
        return Err(Error::invalid(format!("hostname {hostname:?} is longer than 64")));
    }
    if !hostname.chars().all(|c| c.is_ascii_graphic() && c != '/') {
        return Err(Error::invalid(format!("hostname {hostname:?} is no host name")));
    }
    if !log_directory.is_empty() && !log_directory.starts_with('/') {
        return Err(Error::invalid(format!("log_directory {log_directory:?} is not absolute")));
    }
    if cgroup_parent.split('/').any(|part| part == "..") {
        return Err(Error::invalid(format!("cgroup_parent {cgroup_parent:?} has `..`")));
    }
    let Some(dns) = &config.dns else { return Ok(()) };
    for (what, words) in
        [("server", &dns.servers), ("search", &dns.searches), ("option", &dns.options)]
    {
        // A line break would begin another line of resolv.conf.
        if let Some(word) = words.iter().find(|word| word.contains(char::is_whitespace)) {
            return Err(Error::invalid(format!("dns {what} {word:?} is not one word")));
        }
    }
    Ok(())
}

fn check_ids(config: &PodConfig) -> Result<()> {
    let security = &config.security;
    let users = security.run_as_user.iter().map(|id| ("run_as_user", id));
    let groups = security.run_as_group.iter().map(|id| ("run_as_group", id));
    let more = security.supplemental_groups.iter().map(|id| ("supplemental_groups", id));
    users.chain(groups).chain(more).try_for_each(|(what, id)| spec::numeric_id(*id, what).map(drop))
}

/// The namespaces of a pod, in the order of its slots.
pub(crate) fn namespaces(config: &PodConfig) -> Vec<NamespaceKind> {
    let options = &config.security.namespaces;
    let mut kinds = Vec::with_capacity(4);
    if files::has_network(config) {
        kinds.push(NamespaceKind::Network);
    }
    if options.ipc != NamespaceMode::Node {
        kinds.push(NamespaceKind::Ipc);
    }
    if files::has_network(config) {
        kinds.push(NamespaceKind::Uts);
    }
    if options.pid == NamespaceMode::Pod {
        kinds.push(NamespaceKind::Pid);
    }
    kinds
}

/// The group of the reaper: a leaf in the pod's, named by the pod's id.
pub(crate) fn reaper_group(record: &PodRecord) -> String {
    format!("{}/{}", record.cgroup, record.id)
}

/// Blocks: the reaper may have a seccomp profile of the node, which is read.
pub(crate) fn request(
    planner: &Planner,
    record: &PodRecord,
    apparmor: Option<&str>,
) -> Result<Sandbox> {
    let config = &record.config;
    let namespaces = namespaces(config);
    let has = |kind| namespaces.contains(&kind);
    let pin = |path: &std::path::PathBuf| Pin { kind: NamespaceKind::Network, path: path.clone() };
    let reaper = match has(NamespaceKind::Pid) {
        true => {
            let group = reaper_group(record);
            let plan = planner.reaper(config, &namespaces, &group, apparmor);
            Some(Reaper { plan: plan.context(|| "plan reaper")? })
        }
        false => None,
    };
    let host_name = nix::unistd::gethostname().unwrap_or_default();
    let name = files::hostname(config, &host_name.to_string_lossy()).to_owned();
    Ok(Sandbox {
        pins: record.netns.iter().map(pin).collect(),
        hostname: has(NamespaceKind::Uts).then_some(name),
        sysctls: sysctls(config),
        shm_size: has(NamespaceKind::Ipc).then_some(SHM_SIZE),
        reaper,
        namespaces,
    })
}

/// Those asked for, and what containerd's users have come to expect: ports from 0 and ping for
/// everybody inside.
fn sysctls(config: &PodConfig) -> Vec<(String, String)> {
    let mut all = config.sysctls.clone();
    if files::has_network(config) {
        for (name, value) in [
            ("net.ipv4.ip_unprivileged_port_start", "0"),
            ("net.ipv4.ping_group_range", "0 2147483647"),
        ] {
            all.entry(name.to_owned()).or_insert_with(|| value.to_owned());
        }
    }
    all.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Dns, IdMapping, NamespaceOptions, UserNamespace};

    const NONE: Lsm = Lsm { apparmor: false, selinux: false };

    fn pod(change: impl FnOnce(&mut NamespaceOptions)) -> PodConfig {
        let mut config = PodConfig::default();
        change(&mut config.security.namespaces);
        config
    }

    #[test]
    fn a_pod_has_the_namespaces_it_asks_for() {
        use NamespaceKind::{Ipc, Network, Pid, Uts};
        assert_eq!(namespaces(&pod(|_| {})), [Network, Ipc, Uts, Pid]);
        assert_eq!(namespaces(&pod(|n| n.pid = NamespaceMode::Container)), [Network, Ipc, Uts]);
        assert_eq!(namespaces(&pod(|n| n.pid = NamespaceMode::Node)), [Network, Ipc, Uts]);
        assert_eq!(namespaces(&pod(|n| n.ipc = NamespaceMode::Node)), [Network, Uts, Pid]);
        assert_eq!(namespaces(&pod(|n| n.network = NamespaceMode::Node)), [Ipc, Pid]);
    }

    #[test]
    fn a_user_namespace_is_refused_by_name() {
        let ids = vec![IdMapping { host_id: 65536, container_id: 0, length: 65536 }];
        let userns = UserNamespace { mode: NamespaceMode::Pod, uids: ids.clone(), gids: ids };
        let error = check(&pod(|n| n.userns = Some(userns)), &NONE).unwrap_err();
        assert!(error.to_string().contains("user namespace"), "{error}");
        let host = UserNamespace { mode: NamespaceMode::Node, ..UserNamespace::default() };
        assert!(check(&pod(|n| n.userns = Some(host)), &NONE).is_ok());
    }

    #[test]
    fn a_sysctl_of_the_host_is_refused() {
        let with = |name: &str, change: fn(&mut NamespaceOptions)| {
            let mut config = pod(change);
            config.sysctls.insert(name.into(), "1".into());
            check(&config, &NONE)
        };
        assert!(with("net.ipv4.ip_forward", |_| {}).is_ok());
        assert!(with("kernel.shm_rmid_forced", |_| {}).is_ok());
        assert!(with("kernel.panic", |_| {}).is_err());
        assert!(with("net.ipv4.ip_forward", |n| n.network = NamespaceMode::Node).is_err());
        assert!(with("kernel.shmmax", |n| n.ipc = NamespaceMode::Node).is_err());
    }

    type Odd = (&'static str, fn(&mut PodConfig));

    #[test]
    fn text_that_would_lead_elsewhere_is_refused_by_name() {
        fn dns(change: impl FnOnce(&mut Dns)) -> Option<Dns> {
            let mut dns = Dns::default();
            change(&mut dns);
            Some(dns)
        }
        let table: [Odd; 8] = [
            ("is longer than 64", |p| p.hostname = "h".repeat(65)),
            (r#"hostname "a b\n" is no host name"#, |p| p.hostname = "a b\n".into()),
            (r#"log_directory "logs" is not absolute"#, |p| p.log_directory = "logs".into()),
            (r#"cgroup_parent "/a/../b" has `..`"#, |p| p.cgroup_parent = "/a/../b".into()),
            (r#"dns server "1.1.1.1\nx" is not one word"#, |p| {
                p.dns = dns(|dns| dns.servers = vec!["1.1.1.1\nx".into()]);
            }),
            (r#"dns search "a b" is not one word"#, |p| {
                p.dns = dns(|dns| dns.searches = vec!["a b".into()]);
            }),
            ("run_as_user: no such id -1", |p| p.security.run_as_user = Some(-1)),
            ("supplemental_groups: no such id 4294967296", |p| {
                p.security.supplemental_groups = vec![1 << 32];
            }),
        ];
        for (expected, change) in table {
            let mut config = PodConfig { hostname: "web-0".into(), ..PodConfig::default() };
            check(&config, &NONE).unwrap();
            change(&mut config);
            let error = check(&config, &NONE).unwrap_err();
            assert_eq!(error.kind(), Kind::Invalid);
            assert!(error.to_string().contains(expected), "{error}");
        }
    }

    #[test]
    fn the_default_sysctls_give_way_to_those_asked_for() {
        let mut config = PodConfig::default();
        config.sysctls.insert("net.ipv4.ping_group_range".into(), "1 0".into());
        let all = sysctls(&config);
        assert!(all.contains(&("net.ipv4.ping_group_range".into(), "1 0".into())));
        assert!(all.contains(&("net.ipv4.ip_unprivileged_port_start".into(), "0".into())));
        assert!(sysctls(&pod(|n| n.network = NamespaceMode::Node)).is_empty());
    }
}
