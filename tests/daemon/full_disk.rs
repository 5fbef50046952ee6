//! A disk on which nothing more can be written.

use crate::suite::*;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::statvfs::statvfs;
use rrun_tests::harness::BUSYBOX;
use std::fs;
use std::path::{Path, PathBuf};

/// A small file system over a folder of the sandbox; dropped, it is unmounted.
struct Small {
    at: PathBuf,
    inside: PathBuf,
    pid: u32,
}

impl Small {
    /// `at` is the folder's path in the sandbox.
    fn mount(suite: &Suite, at: &Path, size: &str) -> Small {
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

    fn is_full(&self) -> bool {
        statvfs(&self.inside).unwrap().blocks_available() == 0
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        in_mounts_of(self.pid, || umount2(&self.at, MntFlags::MNT_DETACH));
    }
}

#[tokio::test]
async fn a_pod_whose_log_has_no_more_room_ends_as_others_do_and_holds_up_nobody() {
    let suite = Suite::start().await;
    let config = suite.harness.pod("full");
    let logs = Small::mount(&suite, Path::new(&config.log_directory), "256k");
    let pod = suite.run_pod(&config).await;
    let writes = suite.harness.container("main", BUSYBOX, &["yes"]);
    let id = suite.create(&pod, writes, &config).await.unwrap();
    suite.start_container(&id).await.unwrap();
    suite.until("the disk is full", async || logs.is_full()).await;

    let (other, beside) = suite.run("other", &["/bin/sleeper"]).await;
    assert_eq!(suite.exec(&beside, &["/bin/true"], 10).await.unwrap().exit_code, 0);
    suite.remove(&other).await;
    assert_eq!(suite.exec(&id, &["true"], 10).await.unwrap().exit_code, 0);
    suite.stop(&pod).await;
    assert_eq!(suite.status(&id).await.state, EXITED);
    suite.remove(&pod).await;
    drop(logs);
    suite.assert_nothing_left();
}
