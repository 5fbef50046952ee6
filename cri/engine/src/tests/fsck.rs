//! What a look finds of pods, what it leaves alone, and what takes it back.

use super::world::World;
use super::{Machine, running};
use crate::config::{Config, Takeover};
use crate::dirs::Dirs;
use crate::fsck::{Fault, Found, Look, Remedy, look};
use crate::record::{self, ContainerRecord, PodRecord, Record};
use crate::{ContainerId, ContainerPhase, Engine, PodId, PodPhase};
use rrun_shim_protocol::Launch;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Groups of others on this machine are none of ours.
fn config(machine: &Machine) -> Config {
    let parent = format!("/rrun-fsck-{}", std::process::id());
    Config { cgroup_parent: parent, ..machine.config() }
}

fn seen(machine: &Machine, attached: &[&PodId]) -> Look {
    let attached = attached.iter().map(|pod| pod.to_string()).collect();
    look(&config(machine), &attached).unwrap()
}

fn told(look: &Look) -> Vec<(Fault, &str, &str)> {
    look.found
        .iter()
        .map(|one| (one.finding.fault, &*one.finding.object, &*one.finding.what))
        .collect()
}

/// Does what the remedies say, one process after the other.
fn mend(machine: &Machine, found: &[Found]) {
    for one in found {
        let takeover = match &one.remedy {
            Remedy::TakeOver(takeover) => takeover.clone(),
            Remedy::End => Takeover::Nameless,
            Remedy::Nobody(why) => panic!("{why}: {one:?}"),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let config = Config { takeover, ..config(machine) };
            let opened = Engine::open(config, World::ports(&machine.world)).await;
            let (engine, recovery) = opened.unwrap();
            assert_eq!(recovery.not_undone, []);
            if one.remedy == Remedy::End {
                engine.end_unknown(&one.pod).await.unwrap();
            }
        });
    }
}

/// A machine with a pod and its container that nobody serves.
fn machine() -> (Machine, PodId, ContainerId, Dirs) {
    let machine = Machine::new();
    let (pod, container) = machine.life(async |engine, _| running(&engine, "web").await);
    let dirs = Dirs::new(&machine.config(), &pod);
    (machine, pod, container, dirs)
}

fn change<R: Record>(path: &Path, change: impl FnOnce(&mut R)) {
    let mut record = record::read::<R>(path).unwrap();
    change(&mut record);
    record::write(path, &record).unwrap();
}

fn tree(folder: &Path) -> BTreeSet<PathBuf> {
    let mut all = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(tree(&path));
        }
        all.insert(path);
    }
    all
}

#[test]
fn pods_that_nobody_serves_just_now_are_clean_and_a_look_makes_nothing() {
    let (machine, pod, ..) = machine();
    let before = tree(machine.path());
    let look = seen(&machine, &[&pod]);
    assert_eq!((look.found.as_slice(), look.pods, look.containers), (&[][..], 1, 1));
    assert_eq!(look.notes, BTreeSet::new());
    assert_eq!(tree(machine.path()), before);
    let nothing = Machine::new();
    let before = tree(nothing.path());
    assert_eq!(seen(&nothing, &[]).pods, 0);
    assert_eq!(tree(nothing.path()), before);
}

/// Breaks something, and tells what is to be found: its kind, and how the problem ends.
type Break = fn(&Dirs, &PodId, &ContainerId) -> (Fault, &'static str);

const BREAKS: [Break; 9] = [
    |dirs, _, _| {
        fs::write(dirs.record(), "rrun pod 1 0000000000000000\n{}").unwrap();
        (Fault::Pod, "checksum does not match, it is torn or was changed")
    },
    |dirs, _, _| {
        let text = fs::read_to_string(dirs.record()).unwrap();
        fs::write(dirs.record(), text.replacen("rrun pod 1", "rrun pod 9", 1)).unwrap();
        (Fault::Pod, "version 9, known is 1")
    },
    |dirs, _, container| {
        fs::write(dirs.container(container), "").unwrap();
        (Fault::Container, "broken container record: no first line")
    },
    |dirs, _, _| {
        fs::remove_file(dirs.record()).unwrap();
        (Fault::StateFolder, "it has no record")
    },
    |dirs, _, _| {
        fs::remove_file(dirs.record()).unwrap();
        fs::write(Launch::socket(&dirs.run), "").unwrap();
        (Fault::Shim, " has no record")
    },
    |dirs, _, _| {
        fs::remove_dir_all(&dirs.state).unwrap();
        (Fault::RunFolder, "it has no state folder")
    },
    |dirs, _, _| {
        change::<PodRecord>(&dirs.record(), |pod| pod.phase = PodPhase::Making);
        (Fault::Pod, "its making was cut off")
    },
    |dirs, _, _| {
        change::<PodRecord>(&dirs.record(), |pod| pod.phase = PodPhase::Removing);
        (Fault::Pod, "its removal was cut off")
    },
    |dirs, _, container| {
        let making = |container: &mut ContainerRecord| container.phase = ContainerPhase::Making;
        change::<ContainerRecord>(&dirs.container(container), making);
        (Fault::Container, "its making was cut off")
    },
];

#[test]
fn each_fault_is_found_once_by_its_name_and_is_gone_after_its_remedy() {
    for (at, damage) in BREAKS.iter().enumerate() {
        let (machine, pod, container, dirs) = machine();
        let (fault, what) = damage(&dirs, &pod, &container);
        let look = seen(&machine, &[&pod]);
        let [(found, object, problem)] = told(&look)[..] else { panic!("{at}: {look:?}") };
        assert_eq!(found, fault, "{at}: {problem}");
        assert!(problem.ends_with(what), "{at}: {problem}");
        assert!(object.contains(pod.as_str()) || object == container.as_str(), "{at}: {object}");
        assert_eq!(look.found, seen(&machine, &[&pod]).found, "{at}: nothing was changed");
        mend(&machine, &look.found);
        assert_eq!(seen(&machine, &[]).found, [], "{at}");
    }
}

#[test]
fn a_namespace_whose_attached_pod_is_not_on_disk_is_found_and_others_of_that_form_are_left() {
    let (machine, pod, _, dirs) = machine();
    let others = machine.config().netns_dir.join("cni-01234567-89ab-cdef-0123-456789abcdef");
    fs::write(&others, "").unwrap();
    fs::write(machine.config().netns_dir.join("vpn"), "").unwrap();
    for folder in [&dirs.state, &dirs.run] {
        fs::remove_dir_all(folder).unwrap();
    }
    // Nothing but its attachment tells whose it is.
    let look = seen(&machine, &[]);
    assert_eq!(look.found, []);
    assert!(look.notes.iter().any(|note| note.contains("2 namespaces are of no pod")), "{look:?}");
    let look = seen(&machine, &[&pod]);
    let [(Fault::Namespace, object, _)] = told(&look)[..] else { panic!("{look:?}") };
    mend(&machine, &look.found);
    assert!(!Path::new(object).exists() && others.exists());
    assert_eq!(seen(&machine, &[&pod]).found, []);
    assert!(!dirs.run.exists());
}

#[test]
fn a_control_group_of_a_pod_of_which_nothing_is_on_disk_is_found_by_its_name() {
    if !nix::unistd::geteuid().is_root() {
        return println!("skipped: needs root");
    }
    let machine = Machine::new();
    let config =
        Config { cgroup_parent: config(&machine).cgroup_parent + "-groups", ..config(&machine) };
    let layout = rrun_runtime::cgroup::Layout::detect(&config.cgroup_root).unwrap();
    // The hierarchy that is asked for processes.
    let dirs = layout.dirs(Path::new(&config.cgroup_parent));
    let parent = &dirs.iter().find(|dir| dir.unified).unwrap_or(&dirs[0]).path;
    let pod: PodId = "0a".repeat(32).parse().unwrap();
    let made = [pod.as_str(), "shims", "pod0a-1b"].map(|name| parent.join(name));
    made.iter().for_each(|group| fs::create_dir_all(group).unwrap());
    let mut process = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
    let whose = |attached: BTreeSet<String>| {
        let look = look(&config, &attached).unwrap();
        let [one] = look.found.as_slice() else { panic!("{look:?}") };
        (one.finding.what.clone(), one.remedy.clone())
    };
    fs::write(made[0].join("cgroup.procs"), process.id().to_string()).unwrap();
    let (of_nobody, ours) = (whose(BTreeSet::new()), whose([pod.to_string()].into()));
    process.kill().unwrap();
    process.wait().unwrap();
    assert!(of_nobody.0.ends_with("and processes are in it"), "{of_nobody:?}");
    assert!(matches!(of_nobody.1, Remedy::Nobody(_)) && ours.1 == Remedy::End);
    let look = look(&config, &BTreeSet::new()).unwrap();
    made.iter().for_each(|group| fs::remove_dir(group).unwrap());
    fs::remove_dir(parent).unwrap();
    let group = format!("{}/{pod}", config.cgroup_parent);
    assert_eq!(told(&look), [(Fault::Group, &*group, "its pod is not on record")]);
    assert_eq!(look.found[0].remedy, Remedy::End);
}

#[test]
fn what_somebody_works_on_is_passed_over_and_what_is_no_pods_is_noted() {
    let (machine, pod, container, dirs) = machine();
    let root = machine.config().root.join("pods");
    fs::write(root.join("lost+found"), "").unwrap();
    fs::write(dirs.containers().join("notes"), "").unwrap();
    change::<PodRecord>(&dirs.record(), |pod| pod.phase = PodPhase::Making);
    let mut other = Command::new("flock")
        .args([dirs.lock().as_os_str(), "sh".as_ref()])
        .args(["-c", "echo held; read -r end"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut held = [0; 5];
    std::io::Read::read_exact(other.stdout.as_mut().unwrap(), &mut held).unwrap();
    let look = seen(&machine, &[&pod]);
    assert_eq!(look.found, []);
    let noted = |text: &str| look.notes.iter().any(|note| note.contains(text));
    assert!(noted("pods/lost+found: no pod's") && noted("notes: no container's"), "{look:?}");
    // It was written whole, whoever has the pod.
    fs::write(dirs.container(&container), "torn").unwrap();
    assert_eq!(seen(&machine, &[&pod]).found.len(), 1);
    fs::remove_file(dirs.record()).unwrap();
    assert_eq!(seen(&machine, &[&pod]).found, []);
    drop(other.stdin.take());
    other.wait().unwrap();
    assert_eq!(seen(&machine, &[&pod]).found.len(), 1);
}

#[test]
fn pods_whose_disk_is_not_mounted_yet_are_not_judged() {
    let (machine, _, _, dirs) = machine();
    fs::write(Launch::socket(&dirs.run), "").unwrap();
    fs::remove_dir_all(&machine.config().root).unwrap();
    let refused = look(&config(&machine), &BTreeSet::new()).unwrap_err().to_string();
    assert!(refused.contains("has the shims of 1 pods"), "{refused}");
}

#[test]
fn what_bears_an_id_is_not_ended_while_there_is_such_a_pod() {
    let (machine, pod, ..) = machine();
    let config = Config { takeover: Takeover::Nameless, ..config(&machine) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (engine, recovery) = Engine::open(config, World::ports(&machine.world)).await.unwrap();
        assert_eq!(
            recovery.foreign,
            std::slice::from_ref(&pod),
            "a pod with a record is not taken"
        );
        assert!(engine.end_unknown(&pod).await.is_err());
    });
    assert_eq!(seen(&machine, &[&pod]).found, []);
}
