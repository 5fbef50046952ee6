//! What the next process finds.

use super::world::World;
use super::{Machine, run, running};
use crate::dirs::{Dirs, Lock};
use crate::record::{self, PodRecord};
use crate::{ContainerPhase, Engine, Owner, PodId, PodPhase};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use rrun_shim_protocol::Launch;
use std::fs;
use std::os::unix::fs::{FileTypeExt, symlink};
use std::path::{Path, PathBuf};

const OWNER: &Owner = &Owner::Cri;

#[test]
fn what_was_removed_and_not_deleted_is_deleted_by_the_next_process() {
    let machine = Machine::new();
    let removed = ["lib/pods", "run/pods"].map(|pods| {
        let folder =
            machine.path().join(pods).join(format!("{}.removed", PodId::random().unwrap()));
        fs::create_dir_all(folder.join("containers")).unwrap();
        folder
    });
    machine.life(async |_, recovery| {
        assert!(recovery.pods.is_empty() && recovery.not_undone.is_empty());
        while removed.iter().any(|folder| folder.exists()) {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    });
}

#[test]
fn pods_and_containers_go_on_under_the_next_process_and_ends_in_between_are_told() {
    let machine = Machine::new();
    let (pod, goes_on, (_, ends)) = machine.life(async |engine, _| {
        let (pod, goes_on) = running(&engine, "web").await;
        (pod, goes_on, running(&engine, "other").await)
    });
    machine.world.end(ends.as_str(), 4);
    machine.life(async |engine, recovery| {
        assert_eq!(recovery.pods.len(), 2);
        assert!(engine.pod_status(OWNER, pod.as_str(), false).await.unwrap().is_ready());
        let status = engine.container_status(OWNER, goes_on.as_str(), false).await.unwrap();
        assert_eq!(status.phase, ContainerPhase::Running);
        let status = engine.container_status(OWNER, ends.as_str(), false).await.unwrap();
        let exit = status.exit.unwrap();
        assert_eq!((exit.code, exit.at), (4, 99));
        assert_eq!(run(&engine, "web").await, pod, "a retry still finds it");
    });
}

#[test]
fn a_shim_that_died_meanwhile_is_one_pod_with_a_reason() {
    let machine = Machine::new();
    let (lost, id, fine) = machine.life(async |engine, _| {
        let (lost, id) = running(&engine, "web").await;
        (lost, id, running(&engine, "fine").await.0)
    });
    machine.world.end(id.as_str(), 5);
    machine.world.kill_shim(&lost);
    machine.life(async |engine, _| {
        let status = engine.pod_status(OWNER, lost.as_str(), false).await.unwrap();
        assert_eq!((status.is_ready(), status.reason.as_str()), (false, "ShimLost"));
        let status = engine.container_status(OWNER, id.as_str(), false).await.unwrap();
        assert_eq!(status.exit.unwrap().code, 5, "its shim wrote it down");
        assert!(engine.pod_status(OWNER, fine.as_str(), false).await.unwrap().is_ready());
        engine.remove_pod(OWNER, lost.as_str()).await.unwrap();
        engine.remove_pod(OWNER, fine.as_str()).await.unwrap();
    });
    assert_eq!(machine.remains(), [""; 0]);
}

#[test]
fn after_a_reboot_pods_have_ended_with_a_reason_and_their_addresses_are_free() {
    let machine = Machine::new();
    let (pod, id) = machine.life(async |engine, _| running(&engine, "web").await);
    machine.world.reboot();
    fs::remove_dir_all(machine.path().join("run")).unwrap();
    let path = Dirs::new(&machine.config(), &pod).record();
    let mut old = record::read::<PodRecord>(&path).unwrap();
    old.boot = "another".into();
    record::write(&path, &old).unwrap();
    machine.life(async |engine, _| {
        let status = engine.pod_status(OWNER, pod.as_str(), false).await.unwrap();
        assert_eq!((status.phase, status.reason.as_str()), (PodPhase::Stopped, "Rebooted"));
        let status = engine.container_status(OWNER, id.as_str(), false).await.unwrap();
        let exit = status.exit.unwrap();
        assert_eq!((exit.code, exit.reason.as_str()), (255, "Rebooted"));
        assert!(machine.remains().iter().all(|left| !left.starts_with("attachment")));
        engine.remove_pod(OWNER, pod.as_str()).await.unwrap();
    });
    assert_eq!(machine.remains(), [""; 0]);
}

#[test]
fn a_broken_record_is_put_away_with_its_name_and_the_others_are_served() {
    let machine = Machine::new();
    let (broken, (fine, id)) = machine
        .life(async |engine, _| (running(&engine, "web").await.0, running(&engine, "fine").await));
    let config = machine.config();
    fs::write(Dirs::new(&config, &broken).record(), "rrun pod 1 torn").unwrap();
    fs::write(Dirs::new(&config, &fine).container(&id), "").unwrap();
    machine.life(async |engine, recovery| {
        let mut names: Vec<_> = recovery.quarantined.iter().map(|(name, _)| name.clone()).collect();
        names.sort();
        let mut expected = vec![broken.to_string(), id.to_string()];
        expected.sort();
        assert_eq!(names, expected);
        assert_eq!(recovery.pods, std::slice::from_ref(&fine));
        assert!(engine.list_containers(OWNER, &Default::default()).is_empty());
        run(&engine, "web").await;
        for pod in engine.list_pods(OWNER, &Default::default()) {
            engine.remove_pod(OWNER, pod.id.as_str()).await.unwrap();
        }
    });
    let left = machine.remains();
    assert!(left.iter().all(|left| left.starts_with("lib/quarantine")), "{left:?}");
    assert_eq!(left.len(), 2);
}

/// Removes the record of a pod whose shim runs.
fn without_record(machine: &Machine, pod: &PodId) -> PathBuf {
    let dirs = Dirs::new(&machine.config(), pod);
    fs::write(Launch::socket(&dirs.run), "").unwrap();
    fs::remove_file(dirs.record()).unwrap();
    dirs.record()
}

#[test]
fn a_copied_record_is_put_away_and_what_it_tells_of_goes_on() {
    let machine = Machine::new();
    let ((a, in_a), (b, in_b)) =
        machine.life(async |engine, _| (running(&engine, "a").await, running(&engine, "b").await));
    let copy: PodId = "f".repeat(64).parse().unwrap();
    let renamed = "e".repeat(64).parse().unwrap();
    let [of_a, of_b, of_copy] = [&a, &b, &copy].map(|pod| Dirs::new(&machine.config(), pod));
    fs::create_dir_all(of_copy.containers()).unwrap();
    fs::copy(of_a.record(), of_copy.record()).unwrap();
    for target in [of_copy.container(&in_a), of_b.container(&in_a), of_b.container(&renamed)] {
        fs::copy(of_a.container(&in_a), target).unwrap();
    }
    machine.life(async |engine, recovery| {
        let mut put_away = recovery.quarantined;
        put_away.sort();
        let mut expected = [
            (of_copy.record(), copy.to_string(), format!("pod {a}")),
            (of_b.container(&renamed), renamed.to_string(), format!("container {in_a}")),
            (of_b.container(&in_a), in_a.to_string(), format!("container {in_a} of pod {a}")),
        ]
        .map(|(path, name, of)| (name, format!("{}: it is the record of {of}", path.display())));
        expected.sort();
        assert_eq!(put_away, expected);
        for (pod, container) in [(&a, &in_a), (&b, &in_b)] {
            assert!(engine.pod_status(OWNER, pod.as_str(), false).await.unwrap().is_ready());
            let status = engine.container_status(OWNER, container.as_str(), false).await.unwrap();
            assert_eq!(status.phase, ContainerPhase::Running);
            assert!(machine.remains().contains(&format!("lease {container}")));
            engine.remove_pod(OWNER, pod.as_str()).await.unwrap();
        }
    });
    let left = machine.remains();
    assert!(left.iter().all(|left| left.starts_with("lib/quarantine")), "{left:?}");
    assert_eq!(left.len(), 3);
}

#[test]
fn a_broken_record_under_the_name_of_another_pods_container_leaves_that_one_alone() {
    let machine = Machine::new();
    let ((_, in_a), b) =
        machine.life(async |engine, _| (running(&engine, "a").await, run(&engine, "b").await));
    let of_b = Dirs::new(&machine.config(), &b);
    fs::create_dir_all(of_b.containers()).unwrap();
    fs::write(of_b.container(&in_a), "torn").unwrap();
    machine.life(async |engine, recovery| {
        assert_eq!(recovery.quarantined.len(), 1);
        let status = engine.container_status(OWNER, in_a.as_str(), false).await.unwrap();
        assert_eq!(status.phase, ContainerPhase::Running);
        assert!(machine.remains().contains(&format!("lease {in_a}")));
    });
}

#[test]
fn a_pod_whose_record_is_gone_is_ended_and_leaves_nothing() {
    let machine = Machine::new();
    let (gone, link) = machine
        .life(async |engine, _| (running(&engine, "a").await.0, running(&engine, "b").await.0));
    without_record(&machine, &gone);
    symlink("/nowhere", without_record(&machine, &link)).unwrap();
    machine.life(async |engine, recovery| {
        assert_eq!(recovery.not_undone, []);
        assert_eq!(recovery.quarantined.len(), 1, "what a link leads to is no record");
        assert!(engine.list_pods(OWNER, &Default::default()).is_empty());
    });
    assert_eq!(machine.remains(), [format!("lib/quarantine/{:?}", link.as_str())]);
}

#[test]
fn pods_whose_disk_is_not_mounted_yet_are_not_taken_for_ones_without_a_record() {
    let machine = Machine::new();
    let pod = machine.life(async |engine, _| running(&engine, "web").await.0);
    let dirs = Dirs::new(&machine.config(), &pod);
    fs::write(Launch::socket(&dirs.run), "").unwrap();
    let [state, elsewhere] = ["lib", "elsewhere"].map(|name| machine.path().join(name));
    fs::rename(&state, &elsewhere).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let open = Engine::open(machine.config(), World::ports(&machine.world));
    let refused = runtime.block_on(open).err().unwrap().to_string();
    assert!(refused.contains("has the shims of 1 pods"), "{refused}");
    let _ = fs::remove_dir_all(&state);
    fs::rename(&elsewhere, &state).unwrap();
    machine.life(async |engine, recovery| {
        assert_eq!(recovery.pods, std::slice::from_ref(&pod));
        assert!(engine.pod_status(OWNER, pod.as_str(), false).await.unwrap().is_ready());
    });
}

#[test]
fn what_stands_in_the_place_of_a_record_and_blocks_is_named_and_the_others_are_served() {
    let machine = Machine::new();
    let (a, (b, in_b)) =
        machine.life(async |engine, _| (run(&engine, "a").await, running(&engine, "b").await));
    let [of_a, of_b] = [&a, &b].map(|pod| Dirs::new(&machine.config(), pod));
    for path in [of_a.record(), of_b.container(&in_b)] {
        fs::remove_file(&path).unwrap();
        mkfifo(&path, Mode::S_IRWXU).unwrap();
    }
    machine.life(async |engine, recovery| {
        let mut named: Vec<_> = recovery.quarantined.into_iter().map(|(name, _)| name).collect();
        named.sort();
        let mut expected = [a.to_string(), in_b.to_string()];
        expected.sort();
        assert_eq!(named, expected);
        assert_eq!(recovery.pods, std::slice::from_ref(&b));
        assert!(engine.pod_status(OWNER, b.as_str(), false).await.unwrap().is_ready());
    });
}

/// What somebody may put in the place of a lock, and of the folder that it is in.
const IN_THE_WAY: [fn(&Path); 5] = [
    |path| fs::create_dir(path).unwrap(),
    |path| fs::create_dir_all(path.join("a/b")).unwrap(),
    |path| mkfifo(path, Mode::S_IRWXU).unwrap(),
    |path| symlink("/nowhere", path).unwrap(),
    |path| symlink("/dev/null", path).unwrap(),
];

#[test]
fn a_pod_is_recovered_whatever_stands_in_the_place_of_its_lock_or_its_run_folder() {
    let machine = Machine::new();
    let names = ["dir", "full", "fifo", "dangling", "link", "folder"];
    let pods = machine.life(async |engine, _| {
        let mut pods = Vec::new();
        for name in names {
            pods.push(running(&engine, name).await);
        }
        pods
    });
    let dirs: Vec<_> = pods.iter().map(|(pod, _)| Dirs::new(&machine.config(), pod)).collect();
    for (put, dirs) in IN_THE_WAY.iter().zip(&dirs) {
        fs::remove_file(dirs.lock()).unwrap();
        put(&dirs.lock());
    }
    fs::remove_dir_all(&dirs[5].run).unwrap();
    fs::write(&dirs[5].run, "").unwrap();
    machine.life(async |engine, recovery| {
        assert_eq!(recovery.not_undone, []);
        assert_eq!(recovery.pods.len(), pods.len());
        for ((pod, container), dirs) in pods.iter().zip(&dirs) {
            assert!(Lock::take(&dirs.lock()).unwrap().is_none(), "it is ours now");
            assert!(engine.pod_status(OWNER, pod.as_str(), false).await.unwrap().is_ready());
            let status = engine.container_status(OWNER, container.as_str(), false).await.unwrap();
            assert_eq!(status.phase, ContainerPhase::Running);
            engine.stop_pod(OWNER, pod.as_str()).await.unwrap();
            engine.remove_pod(OWNER, pod.as_str()).await.unwrap();
        }
    });
    assert_eq!(machine.remains(), [""; 0]);
}

#[test]
fn what_stands_in_the_place_of_the_lock_of_another_owners_pod_is_left_alone() {
    let machine = Machine::new();
    let pod = machine.life(async |engine, _| run(&engine, "web").await);
    let dirs = Dirs::new(&machine.config(), &pod);
    let mut record = record::read::<PodRecord>(&dirs.record()).unwrap();
    record.owner = Owner::Engine("rrun".into());
    record::write(&dirs.record(), &record).unwrap();
    fs::remove_file(dirs.lock()).unwrap();
    mkfifo(&dirs.lock(), Mode::S_IRWXU).unwrap();
    machine.life(async |_, recovery| assert_eq!(recovery.foreign, std::slice::from_ref(&pod)));
    assert!(fs::symlink_metadata(dirs.lock()).unwrap().file_type().is_fifo());
}

#[tokio::test]
async fn what_another_process_works_on_is_left_to_it() {
    let machine = Machine::new();
    let (engine, _) = machine.open().await;
    let (pod, id) = running(&engine, "web").await;
    let (second, recovery) = machine.open().await;
    assert_eq!(recovery.foreign, std::slice::from_ref(&pod));
    assert!(second.list_pods(OWNER, &Default::default()).is_empty());
    let status = engine.container_status(OWNER, id.as_str(), false).await.unwrap();
    assert_eq!(status.phase, ContainerPhase::Running);
    engine.remove_pod(OWNER, pod.as_str()).await.unwrap();
    assert_eq!(machine.remains(), [""; 0]);
}

#[test]
fn what_no_record_knows_is_released() {
    let machine = Machine::new();
    machine.world.lease(&"a".repeat(64));
    machine.world.lease("somebody-else");
    machine.life(async |_, recovery| assert!(recovery.not_undone.is_empty()));
    assert_eq!(machine.remains(), ["lease somebody-else"]);
}
