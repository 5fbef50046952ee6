//! The kernel, its control groups and its security modules.

use super::Row;
use crate::config::Config;
use rrun_engine::{CgroupDriver, HostLook, Mode};
use rrun_sys::kernel::Feature;
use rrun_sys::lsm;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The oldest kernel.
const OLDEST: (u32, u32) = (5, 14);

/// Without these a limit that a pod asks for cannot be set.
const CONTROLLERS: [(&str, &str); 6] = [
    ("cpu", "limits of CPU cannot be set"),
    ("cpuset", "pods cannot be bound to processors"),
    ("memory", "limits of memory cannot be set, and stats have none"),
    ("pids", "the number of processes cannot be limited"),
    ("io", "reads and writes are not counted or limited by group"),
    ("hugetlb", "limits of huge pages cannot be set"),
];

pub(super) fn rows(config: &Config) -> Vec<Row> {
    let root = nix::unistd::geteuid().is_root();
    let who = if root { "root" } else { "not root" };
    let mut rows = vec![
        Row::new("kernel", "user", who).missing_unless(root, "all of it needs root"),
        version(),
    ];
    match HostLook::take(&config.cgroup.mount) {
        Ok(look) => {
            rows.extend(look.features.iter().map(feature));
            rows.extend(cgroups(&look));
        }
        Err(error) => {
            let row = Row::new("cgroup", "hierarchies", error.to_string());
            rows.push(row.missing("the daemon does not start"));
        }
    }
    rows.push(driver(config));
    rows.extend(security());
    rows.extend(modules());
    rows
}

fn version() -> Row {
    let release = nix::sys::utsname::uname().ok();
    let release = release.map(|name| name.release().to_string_lossy().into_owned());
    let release = release.unwrap_or_default();
    let is_new = number(&release).is_none_or(|found| found >= OLDEST);
    let row = Row::new("kernel", "Linux", release.as_str());
    row.missing_unless(
        is_new,
        format!("{}.{} is the oldest that is known to do", OLDEST.0, OLDEST.1),
    )
}

/// The first two numbers of a release.
fn number(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn feature(feature: &Feature) -> Row {
    let Feature { name, since, instead, missing } = feature;
    match (missing, instead) {
        (None, _) => Row::new("kernel", *name, "there"),
        (Some(errno), instead) => {
            let row = Row::new("kernel", *name, format!("{errno:?}; Linux {since} has it"));
            match instead {
                Some(instead) => row.note(*instead),
                None => row.missing("no pod can be run"),
            }
        }
    }
}

fn cgroups(look: &HostLook) -> Vec<Row> {
    let (found, follows) = match look.cgroups {
        Mode::V2 => ("v2", ""),
        Mode::Hybrid => (
            "v1 for limits, v2 beside it",
            "pressure and out-of-memory events of groups \
                          are fewer; kubelets of 1.35 and later refuse v1 unless they are told to",
        ),
        Mode::V1 => (
            "v1",
            "processes are killed one by one; kubelets of 1.35 and later refuse v1 \
                      unless they are told to",
        ),
    };
    let mut rows =
        vec![Row::new("cgroup", "hierarchies", found).note_unless(follows.is_empty(), follows)];
    let has = |name: &str| {
        // v1 calls it otherwise.
        look.controllers.contains(name) || (name == "io" && look.controllers.contains("blkio"))
    };
    for (name, follows) in CONTROLLERS {
        let found = if has(name) { "there" } else { "not there" };
        let row = Row::new("cgroup", format!("controller {name}"), found);
        rows.push(row.note_unless(has(name), follows));
    }
    let psi = Path::new("/proc/pressure/cpu").exists();
    let row = Row::new("cgroup", "pressure (PSI)", if psi { "there" } else { "not there" });
    rows.push(row.note_unless(psi, "stats and metrics have no pressure"));
    rows
}

fn driver(config: &Config) -> Row {
    let driver = config.cgroup.driver();
    let name = match driver {
        CgroupDriver::Systemd => "systemd",
        CgroupDriver::Cgroupfs => "cgroupfs",
    };
    let row = Row::new("cgroup", "driver", name);
    if let Err(error) = config.cgroup.check(driver) {
        return row.missing(error);
    }
    match driver.reach() {
        Err(error) => row.missing(format!("the daemon does not start: {error}")),
        Ok(()) if driver != CgroupDriver::of_host() => {
            row.note("another program makes control groups here as well: use its driver")
        }
        Ok(()) => row,
    }
}

fn security() -> Vec<Row> {
    let state = |on| if on { "on" } else { "off" };
    let (apparmor, selinux) = (lsm::apparmor(), lsm::selinux());
    let parser = ["/usr/sbin/apparmor_parser", "/sbin/apparmor_parser", "/usr/bin/apparmor_parser"];
    let has_parser = parser.iter().any(|path| Path::new(path).exists());
    let armour = Row::new("lsm", "AppArmor", state(apparmor));
    let armour = match (apparmor, has_parser) {
        (true, true) => armour,
        (true, false) => armour.note("apparmor_parser is not there: pods run without a profile"),
        (false, _) => {
            armour.note("pods that ask for a profile are refused, others run without one")
        }
    };
    let labels = Row::new("lsm", "SELinux", state(selinux));
    let labels =
        labels.note_unless(!selinux, "pods have no labels, and those that ask are refused");
    vec![armour, labels]
}

/// Those that pods need, by what the kernel has: built in, loaded, or to be loaded by itself.
fn modules() -> Vec<Row> {
    let loaded = fs::read_to_string("/proc/modules").unwrap_or_default();
    let release = nix::sys::utsname::uname().ok();
    let release = release.map(|name| name.release().to_string_lossy().into_owned());
    let folder = format!("/lib/modules/{}", release.unwrap_or_default());
    let known = ["modules.builtin", "modules.dep"]
        .map(|file| fs::read_to_string(format!("{folder}/{file}")).unwrap_or_default())
        .concat();
    let systems = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let systems: BTreeSet<&str> = systems.split_whitespace().collect();
    let found = |name: &str| match name {
        name if systems.contains(name) || Path::new("/sys/module").join(name).exists() => "there",
        name if is_listed(&loaded, name) => "loaded",
        name if is_known(&known, name) => "loaded when it is needed",
        // A kernel may have it built in and no list of that.
        _ if known.is_empty() => "not told",
        _ => "not there",
    };
    let row = |name: &str, follows: &str| {
        let found = found(name);
        let row = Row::new("module", name, found);
        match found {
            "not there" => row.note(follows),
            "not told" => {
                row.note(format!("{folder} lists no modules; if it is not there, {follows}"))
            }
            _ => row,
        }
    };
    vec![
        row("erofs", "layers are unpacked as directories"),
        row("bridge", "the built-in bridge and CNI's bridge cannot be made"),
        row("veth", "pods have no way out of their network namespaces"),
        row("nf_tables", "there are no host ports and no masquerading of the built-in bridge"),
        row("nf_nat", "there are no host ports and no masquerading of the built-in bridge"),
        row("br_netfilter", "kube-proxy's Services do not reach pods of the same bridge"),
    ]
}

/// A line of `/proc/modules` begins with its name.
fn is_listed(loaded: &str, name: &str) -> bool {
    loaded.lines().any(|line| line.split(' ').next() == Some(name))
}

/// A line has the path of its file first, which writes `-` for some `_`.
fn is_known(lists: &str, name: &str) -> bool {
    let files = lists.lines().filter_map(|line| line.split([':', ' ']).next()?.rsplit('/').next());
    files
        .into_iter()
        .any(|file| file.split('.').next().map(|n| n.replace('-', "_")).as_deref() == Some(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::errno::Errno;

    #[test]
    fn a_release_is_compared_by_its_numbers() {
        for (release, expected) in
            [("6.1.0-13-amd64", (6, 1)), ("5.14", (5, 14)), ("6.19.3+rpt", (6, 19))]
        {
            assert_eq!(number(release), Some(expected));
        }
        assert!(number("5.4.0").unwrap() < OLDEST && number("5.20").unwrap() > OLDEST);
        assert_eq!(number("next"), None);
    }

    #[test]
    fn a_feature_without_which_no_pod_runs_is_missing_and_any_other_a_note() {
        use super::super::Verdict;
        let of = |missing, instead| {
            feature(&Feature { name: "x", since: "9.9", instead, missing }).verdict
        };
        assert_eq!(of(None, None), Verdict::Ok);
        assert_eq!(of(Some(Errno::ENOSYS), Some("by hand")), Verdict::Note);
        assert_eq!(of(Some(Errno::ENOSYS), None), Verdict::Missing);
    }

    #[test]
    fn a_module_is_known_by_the_name_of_its_file() {
        let lists = "kernel/net/bridge/br_netfilter.ko.xz: kernel/net/bridge/bridge.ko.xz\n\
                     kernel/drivers/net/veth.ko\nkernel/net/netfilter/nf-tables.ko:\n";
        for name in ["br_netfilter", "veth", "nf_tables"] {
            assert!(is_known(lists, name), "{name}");
        }
        assert!(!is_known(lists, "bridge"), "what another one needs has a line of its own");
        assert!(is_listed("veth 1 0 - Live 0x0\n", "veth") && !is_listed("veth2 1\n", "veth"));
    }
}
