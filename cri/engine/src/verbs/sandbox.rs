//! The request by which a shim makes a pod's namespaces and its reaper: a pure function.

use crate::error::{Context, Result};
use crate::files;
use crate::groups;
use crate::model::PodConfig;
use crate::record::PodRecord;
use crate::spec::{Planner, PodProfiles, namespaces};
use rrun_shim_protocol::{NamespaceKind, Pin, Reaper, Sandbox};

/// Size of a pod's `/dev/shm`, bytes.
const SHM_SIZE: u64 = 64 << 20;

pub(crate) fn request(
    planner: &Planner,
    record: &PodRecord,
    profiles: &PodProfiles,
) -> Result<Sandbox> {
    let config = &record.config;
    let namespaces = namespaces(config);
    let has = |kind| namespaces.contains(&kind);
    let pin = |path: &std::path::PathBuf| Pin { kind: NamespaceKind::Network, path: path.clone() };
    let reaper = match has(NamespaceKind::Pid) {
        true => {
            let group = groups::of_reaper(record);
            let plan = planner.reaper(config, &namespaces, &group, profiles);
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
        id_maps: config.id_maps(),
        shm_size: has(NamespaceKind::Ipc).then_some(SHM_SIZE),
        reaper,
        namespaces,
    })
}

/// Those asked for, and what containerd's users have come to expect: ports from 0 and ping for
/// everybody inside, whose ids are those of the pod's user namespace.
fn sysctls(config: &PodConfig) -> Vec<(String, String)> {
    let mut all = config.sysctls.clone();
    if files::has_network(config) {
        let groups =
            config.id_maps().map_or(1 << 31, |maps| maps.groups.first().map_or(1, |all| all.count));
        for (name, value) in [
            ("net.ipv4.ip_unprivileged_port_start", "0".to_owned()),
            ("net.ipv4.ping_group_range", format!("0 {}", groups - 1)),
        ] {
            all.entry(name.to_owned()).or_insert(value);
        }
    }
    all.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{NamespaceMode, NamespaceOptions};

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
    fn the_default_sysctls_give_way_to_those_asked_for() {
        let mut config = PodConfig::default();
        config.sysctls.insert("net.ipv4.ping_group_range".into(), "1 0".into());
        let all = sysctls(&config);
        assert!(all.contains(&("net.ipv4.ping_group_range".into(), "1 0".into())));
        assert!(all.contains(&("net.ipv4.ip_unprivileged_port_start".into(), "0".into())));
        assert!(sysctls(&pod(|n| n.network = NamespaceMode::Node)).is_empty());
    }
}
