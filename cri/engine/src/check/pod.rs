//! What cannot be asked of a pod.

use super::{check_userns, text};
use crate::config::Lsm;
use crate::error::{Context, Error, Result};
use crate::handlers::Handlers;
use crate::model::{NamespaceMode, PodConfig};
use crate::spec::{self, numeric_id};
use rrun_runtime::plan::{Namespace, Namespaces};
use rrun_runtime::planning::check_sysctl;
use rrun_shim_protocol::NamespaceKind;

/// Refuses a pod that makes no sense, and what this release or this host cannot do.
///
/// # Errors
/// `Invalid`, with the name of the field.
pub fn pod(config: &PodConfig, handler: &str, lsm: &Lsm, handlers: &Handlers) -> Result<()> {
    if config.name.is_empty() || config.namespace.is_empty() || config.uid.is_empty() {
        return Err(Error::invalid("a pod needs a name, a namespace and a uid"));
    }
    super::handler(handlers, handler, "runtime_handler")?;
    text::of_pod(config)?;
    check_namespaces(config)?;
    check_text(config)?;
    check_ids(config)?;
    spec::refuse_selinux(config.security.selinux.as_ref(), lsm)?;
    spec::pod_apparmor(&config.security, lsm)?;
    check_sysctls(config)
}

fn check_namespaces(config: &PodConfig) -> Result<()> {
    let namespaces = &config.security.namespaces;
    if let Some(userns) = &namespaces.userns
        && userns.mode != NamespaceMode::Node
    {
        check_userns(userns)?;
        for (name, mode) in
            [("network", namespaces.network), ("pid", namespaces.pid), ("ipc", namespaces.ipc)]
        {
            if mode == NamespaceMode::Node {
                let message = format!("userns_options: not with the host's {name} namespace");
                return Err(Error::invalid(message));
            }
        }
    }
    for (name, mode) in [("network", namespaces.network), ("ipc", namespaces.ipc)] {
        if !matches!(mode, NamespaceMode::Pod | NamespaceMode::Node) {
            return Err(Error::invalid(format!("{name} namespace mode {mode:?} of a pod")));
        }
    }
    if namespaces.pid == NamespaceMode::Target {
        return Err(Error::invalid("pid namespace mode Target of a pod"));
    }
    if !namespaces.target_id.is_empty() {
        return Err(Error::invalid("namespace_options.target_id of a pod"));
    }
    Ok(())
}

fn check_sysctls(config: &PodConfig) -> Result<()> {
    let kinds = spec::namespaces(config);
    let own = |kind| match kinds.contains(&kind) {
        true => Namespace::New,
        false => Namespace::Host,
    };
    let namespaces = Namespaces {
        network: own(NamespaceKind::Network),
        ipc: own(NamespaceKind::Ipc),
        uts: own(NamespaceKind::Uts),
        // No sysctl is of these.
        pid: Namespace::Host,
        cgroup: Namespace::Host,
        user: Namespace::Host,
        time: Namespace::Host,
    };
    let check = |name: &String| check_sysctl(name, &namespaces).map(drop);
    config.sysctls.keys().try_for_each(check).context(|| "sysctls")
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
    users.chain(groups).chain(more).try_for_each(|(what, id)| {
        let id = numeric_id(*id, what)?;
        let own = security.namespaces.own_users();
        let mapped = own.and_then(|own| match what {
            "run_as_user" => own.uids.first(),
            _ => own.gids.first(),
        });
        match mapped {
            Some(mapped) if id >= mapped.length => {
                let message = format!("{what} {id} is not mapped in the pod's user namespace");
                Err(Error::invalid(message))
            }
            _ => Ok(()),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;
    use crate::model::{Dns, IdMapping, NamespaceOptions, UserNamespace};

    fn wanted(change: impl FnOnce(&mut NamespaceOptions)) -> PodConfig {
        let mut config = PodConfig {
            name: "web".into(),
            namespace: "default".into(),
            uid: "1".into(),
            ..PodConfig::default()
        };
        change(&mut config.security.namespaces);
        config
    }

    fn checked(config: &PodConfig) -> Result<()> {
        pod(config, "", &Lsm::default(), &Handlers::new())
    }

    /// What is said of ranges (inside, outside, how many) in a pod that is changed so.
    type OddUsers = (&'static str, &'static [(u32, u32, u32)], fn(&mut NamespaceOptions));

    #[test]
    fn a_user_namespace_has_one_range_from_root_on_in_which_the_hosts_root_is_not() {
        let with = |ids: &[(u32, u32, u32)], change: fn(&mut NamespaceOptions)| {
            let id = |&(container_id, host_id, length): &(u32, u32, u32)| IdMapping {
                host_id,
                container_id,
                length,
            };
            let uids: Vec<_> = ids.iter().map(id).collect();
            let userns = UserNamespace { mode: NamespaceMode::Pod, gids: uids.clone(), uids };
            checked(&wanted(|n| {
                n.userns = Some(userns);
                change(n);
            }))
        };
        const FINE: (u32, u32, u32) = (0, 65536, 65536);
        assert!(with(&[FINE], |_| {}).is_ok());
        let table: [OddUsers; 10] = [
            ("uids have 0 mappings, not one", &[], |_| {}),
            ("uids have 2 mappings, not one", &[FINE, (65536, 65536, 1)], |_| {}),
            ("uids do not start at 0", &[(1, 65536, 10)], |_| {}),
            ("uids do not start at 0", &[(0, 65536, 0)], |_| {}),
            ("uids from 0: not to be mapped", &[(0, 0, 65536)], |_| {}),
            ("uids from 4294967290: not to be mapped", &[(0, u32::MAX - 5, 6)], |_| {}),
            ("not with the host's network namespace", &[FINE], |n| n.network = NamespaceMode::Node),
            ("not with the host's pid namespace", &[FINE], |n| n.pid = NamespaceMode::Node),
            ("not with the host's ipc namespace", &[FINE], |n| n.ipc = NamespaceMode::Node),
            ("user namespace mode Target", &[FINE], |n| {
                n.userns.as_mut().unwrap().mode = NamespaceMode::Target;
            }),
        ];
        for (expected, ids, change) in table {
            let error = with(ids, change).unwrap_err();
            assert_eq!(error.kind(), Kind::Invalid);
            assert!(error.to_string().contains(expected), "{error}");
        }
        let host = UserNamespace { mode: NamespaceMode::Node, ..UserNamespace::default() };
        assert!(checked(&wanted(|n| n.userns = Some(host))).is_ok());
        let ids = vec![IdMapping { host_id: 65536, container_id: 0, length: 1000 }];
        let userns = UserNamespace { mode: NamespaceMode::Pod, uids: ids.clone(), gids: ids };
        let mut config = wanted(|n| n.userns = Some(userns));
        config.security.run_as_user = Some(999);
        assert!(checked(&config).is_ok());
        config.security.supplemental_groups = vec![1000];
        let error = checked(&config).unwrap_err().to_string();
        assert!(error.contains("supplemental_groups 1000 is not mapped"), "{error}");
    }

    #[test]
    fn a_sysctl_of_the_host_is_refused() {
        let with = |name: &str, change: fn(&mut NamespaceOptions)| {
            let mut config = wanted(change);
            config.sysctls.insert(name.into(), "1".into());
            checked(&config)
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
            let mut config = PodConfig { hostname: "web-0".into(), ..wanted(|_| {}) };
            checked(&config).unwrap();
            change(&mut config);
            let error = checked(&config).unwrap_err();
            assert_eq!(error.kind(), Kind::Invalid);
            assert!(error.to_string().contains(expected), "{error}");
        }
    }
}
