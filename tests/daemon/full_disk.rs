//! A disk on which nothing more can be written.

use crate::suite::*;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::statvfs::statvfs;
use rrun_cri_api::Cri;
use rrun_cri_api::v1::*;
use rrun_tests::harness::{BUSYBOX, WORK};
use rrun_tests::sandbox::in_mounts_of;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use tonic::Code;

/// A small file system over a folder of the sandbox; dropped, it is unmounted.
pub struct Small {
    at: PathBuf,
    inside: PathBuf,
    pid: u32,
}

impl Small {
    /// `at` is the folder's path in the sandbox.
    pub fn mount(suite: &Suite, at: &Path, size: &str) -> Small {
        let (pid, inside) = (
            suite.harness.sandbox().pid(),
            suite.harness.sandbox().inside(&at.display().to_string()),
        );
        fs::create_dir_all(&inside).unwrap();
        let options = format!("size={size}");
        in_mounts_of(pid, || {
            mount(Some("small"), at, Some("tmpfs"), MsFlags::empty(), Some(&*options))
        });
        Small { at: at.to_owned(), inside, pid }
    }

    /// Until so many bytes, and hardly more, can be written, and the answer is dropped.
    pub fn fill_but(&self, left: u64) -> Filler {
        let filler = Filler(self.inside.join("filler"));
        let file = fs::File::create(&filler.0).unwrap();
        let free = statvfs(&self.inside).unwrap();
        let free = free.blocks_available() * free.fragment_size();
        let taken = i64::try_from(free.saturating_sub(left)).unwrap();
        fallocate(&file, FallocateFlags::empty(), 0, taken).unwrap();
        filler
    }

    /// How many percent are used, as the kubelet counts them.
    pub fn used(&self) -> u8 {
        let found = statvfs(&self.inside).unwrap();
        rrun_images::gc::percent(found.blocks(), found.blocks_available())
    }

    /// Until nothing more can be written.
    fn fill(&self) {
        let name = |n: u32| self.inside.join(format!("filler{n}"));
        let path = (0..).map(name).find(|path| !path.exists()).unwrap();
        let mut file = fs::File::create(path).unwrap();
        let page = [0; 4096];
        while file.write_all(&page).is_ok() {}
        assert!(self.is_full());
    }

    fn grow(&self, size: &str) {
        let options = format!("size={size}");
        let remount = MsFlags::MS_REMOUNT;
        in_mounts_of(self.pid, || {
            mount(Some("small"), &self.at, Some("tmpfs"), remount, Some(&*options))
        });
    }

    fn is_full(&self) -> bool {
        statvfs(&self.inside).unwrap().blocks_available() == 0
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        in_mounts_of(self.pid, || umount2(&self.at, MntFlags::MNT_DETACH));
    }
}

/// A file that takes a disk's room; dropped, it gives it back.
pub struct Filler(PathBuf);

impl Drop for Filler {
    fn drop(&mut self) {
        fs::remove_file(&self.0).unwrap();
    }
}

/// Fills a disk that was mounted over the state with what is below it.
pub fn copy_state(suite: &Suite) {
    let sandbox = suite.harness.sandbox();
    let mut copy = sandbox.command("cp");
    copy.arg("-a").arg(format!("{}/.", sandbox.state().display())).arg("/var/lib/rrun");
    assert!(rrun_tests::limit::status(&mut copy).unwrap().success());
}

#[tokio::test]
async fn pods_are_stopped_and_removed_though_the_disk_of_the_state_is_full() {
    let mut suite = Suite::start().await;
    suite.harness.kill();
    let state = Small::mount(&suite, Path::new("/var/lib/rrun"), "96m");
    copy_state(&suite);
    suite.restart().await;
    let config = suite.harness.pod("stands");
    let (pod, main) = suite.run("stands", &["/bin/sleeper"]).await;
    let second = suite.add(&pod, &config, "second", &["/bin/sleeper"]).await;
    let third = suite.add(&pod, &config, "third", &["/bin/true"]).await;
    let unstarted = suite.harness.container("unstarted", WORK, &["/bin/sleeper"]);
    let unstarted = suite.create(&pod, unstarted, &config).await.unwrap();
    suite.ended(&third).await;
    let (other, _) = suite.run("other", &["/bin/sleeper"]).await;
    state.fill();
    let request =
        RunPodSandboxRequest { config: Some(suite.harness.pod("late")), ..Default::default() };
    let refused = suite.harness.client.run_pod_sandbox(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");

    assert_eq!(suite.exec(&main, &["/bin/true"], 10).await.unwrap().exit_code, 0);
    suite.start_container(&unstarted).await.unwrap();
    assert_eq!(suite.status(&unstarted).await.state, RUNNING);
    suite.stop_container(&second, 1).await;
    assert_eq!(suite.status(&second).await.state, EXITED);
    for container in [&second, &third, &unstarted] {
        suite.remove_container(container).await;
    }
    suite.stop(&pod).await;
    assert_eq!(suite.status(&main).await.state, EXITED);
    assert_eq!(suite.pod_status(&pod).await.state, NOT_READY);
    // What a daemon knows that has to be told all of it by the disk and the shims.
    state.fill();
    suite.restart().await;
    suite.remove(&pod).await;
    suite.remove(&other).await;
    let image = ImageSpec { image: BUSYBOX.to_owned(), ..Default::default() };
    suite.harness.client.remove_image(RemoveImageRequest { image: Some(image) }).await.unwrap();
    let left = suite.harness.client.list_pod_sandbox(Default::default()).await.unwrap();
    assert_eq!(left.items, []);
    suite.harness.kill();
    drop(state);
    suite.restart().await;
    suite.assert_nothing_left();
}

#[tokio::test]
async fn a_pod_whose_log_has_no_more_room_ends_as_others_do_and_both_tell_what_is_missing() {
    let suite = Suite::start().await;
    let config = suite.harness.pod("full");
    let logs = Small::mount(&suite, Path::new(&config.log_directory), "256k");
    let pod = suite.run_pod(&config).await;
    let writes = suite.harness.container("main", BUSYBOX, &["yes"]);
    let id = suite.create(&pod, writes, &config).await.unwrap();
    suite.start_container(&id).await.unwrap();
    suite.until("the disk is full", async || logs.is_full()).await;
    let text = || {
        let mut files = fs::read_dir(&logs.inside).unwrap();
        fs::read_to_string(files.next().unwrap().unwrap().path()).unwrap()
    };
    logs.grow("512k");
    suite.until("a line of the gap", async || text().contains(": ENOSPC\n")).await;
    suite.until("the disk is full again", async || logs.is_full()).await;

    let (other, beside) = suite.run("other", &["/bin/sleeper"]).await;
    assert_eq!(suite.exec(&beside, &["/bin/true"], 10).await.unwrap().exit_code, 0);
    suite.remove(&other).await;
    assert_eq!(suite.exec(&id, &["true"], 10).await.unwrap().exit_code, 0);
    suite.stop(&pod).await;
    let status = suite.status(&id).await;
    assert_eq!(status.state, EXITED);
    let (count, words) = status.message.split_once(' ').unwrap();
    assert_eq!(words, "bytes of output are missing in the log, which was full or too slow");
    let text = text();
    let is_whole = |line: &str| line.len() == 41 && line.ends_with("Z stdout F y");
    let told: Vec<_> = text.lines().filter(|line| !is_whole(line)).collect();
    let told = told.into_iter().map(|line| {
        let words = line.split_once("Z stderr F rrun: ").expect(line).1;
        words.strip_suffix(" bytes are missing here: ENOSPC").expect(line).parse::<u64>().unwrap()
    });
    assert!((1..=count.parse().unwrap()).contains(&told.sum::<u64>()), "{count}");
    assert!(text.ends_with('\n'));
    suite.remove(&pod).await;
    drop(logs);
    suite.assert_nothing_left();
}
