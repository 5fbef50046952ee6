//! Layers that are EROFS images: what the daemon has mounted of them, and for how long.

use crate::suite::*;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::statfs::{FsType, statfs};
use rrun_cri_api::Cri;
use rrun_cri_api::v1::*;
use rrun_tests::harness::BUSYBOX;
use rrun_tests::sandbox::in_mounts_of;
use std::fs;
use std::path::PathBuf;

const MAGIC: FsType = FsType(0xe0f5_e1e2);

/// Images that the daemon has mounted: no mount table has them, only descriptors.
fn mounted(suite: &Suite) -> usize {
    let folder = format!("/proc/{}/fd", suite.harness.daemon().unwrap().pid());
    let all = fs::read_dir(folder).unwrap().flatten();
    let is_image = |file: &fs::DirEntry| {
        statfs(&file.path()).is_ok_and(|found| found.filesystem_type() == MAGIC)
    };
    all.filter(is_image).count()
}

fn is_in_table(pid: i64) -> bool {
    let table = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap();
    table.contains(" - erofs ")
}

async fn started(suite: &Suite, pod: &str, of: &PodSandboxConfig, name: &str) -> String {
    let config = suite.harness.container(name, BUSYBOX, &["/bin/sleep", "1000000"]);
    let id = suite.create(pod, config, of).await.unwrap();
    suite.start_container(&id).await.unwrap();
    id
}

/// A file of the image that was not read before is read, and its name is of the image's device.
async fn reads(suite: &Suite, id: &str, file: &str) {
    let script =
        format!("cat {file} >/dev/null && [ \"$(stat -c %d {file})\" = \"$(stat -c %d /)\" ]");
    let done = suite.exec(id, &["/bin/sh", "-c", &script], 60).await.unwrap();
    assert_eq!(done.exit_code, 0, "{script}: {done:?}");
}

async fn remove_image(suite: &Suite) {
    let image = ImageSpec { image: BUSYBOX.to_owned(), ..Default::default() };
    let remove = RemoveImageRequest { image: Some(image) };
    suite.harness.client.remove_image(remove).await.unwrap();
}

/// Layers as they are on the disk: images, and directories.
fn formats(suite: &Suite) -> [usize; 2] {
    let folder = suite.harness.sandbox().inside("/var/lib/rrun/images/layers");
    let all: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|it| it.unwrap().path()).collect();
    let images = all.iter().filter(|layer| layer.join("index").is_file()).count();
    [images, all.len() - images]
}

#[tokio::test]
async fn a_layer_is_mounted_once_by_each_daemon_and_goes_with_its_image_and_its_containers() {
    let mut suite = Suite::start_with("[images]\nlayers = 'erofs'").await;
    let quiet = mounted(&suite);
    let config = suite.harness.pod("over-erofs");
    let pod = suite.run_pod(&config).await;
    let first = started(&suite, &pod, &config, "first").await;
    let second = started(&suite, &pod, &config, "second").await;
    assert_eq!(mounted(&suite), quiet + 1, "one layer, two containers");
    reads(&suite, &first, "/bin/busybox").await;
    let tables = [suite.harness.sandbox().pid().into(), suite.pid(&first).await];
    assert_eq!(tables.map(is_in_table), [false; 2]);

    suite.restart().await;
    assert_eq!(mounted(&suite), 0, "this daemon has needed none");
    reads(&suite, &first, "/etc/passwd").await;
    let third = started(&suite, &pod, &config, "third").await;
    assert_eq!(mounted(&suite), 1);
    reads(&suite, &third, "/etc/passwd").await;

    // A layer of an image that containers have stays, and the mount with it.
    remove_image(&suite).await;
    reads(&suite, &second, "/etc/group").await;
    reads(&suite, &third, "/etc/group").await;
    assert_eq!(mounted(&suite), 1);
    suite.remove(&pod).await;
    suite.until("the mount is gone", async || mounted(&suite) == 0).await;
    suite.harness.pull(BUSYBOX).await.unwrap();
    suite.assert_nothing_left();
}

#[tokio::test]
async fn where_the_kernel_panics_at_warnings_no_layer_is_mounted_and_new_ones_are_directories() {
    let mut suite = Suite::start().await;
    let [images, 0] = formats(&suite) else { panic!("this host cannot mount them") };
    let sandbox = suite.harness.sandbox();
    let (pid, panics) = (sandbox.pid(), sandbox.root().join("panic_on_warn"));
    fs::write(&panics, "1\n").unwrap();
    // The host's own is left alone.
    let sysctl = "/proc/sys/kernel/panic_on_warn";
    let bind = || mount(Some(&panics), sysctl, None::<&str>, MsFlags::MS_BIND, None::<&str>);
    in_mounts_of(pid, bind);
    suite.restart().await;

    let config = suite.harness.pod("at-warnings");
    let pod = suite.run_pod(&config).await;
    let of_before = started(&suite, &pod, &config, "of-before").await;
    reads(&suite, &of_before, "/etc/passwd").await;
    remove_image(&suite).await;
    suite.harness.pull(BUSYBOX).await.unwrap();
    assert_eq!(formats(&suite), [images, 0], "a container has the layer");
    suite.remove_container(&of_before).await;
    remove_image(&suite).await;
    suite.until("the layer is gone", async || formats(&suite) == [images - 1, 0]).await;
    suite.harness.pull(BUSYBOX).await.unwrap();
    assert_eq!(formats(&suite), [images - 1, 1]);
    let anew = started(&suite, &pod, &config, "anew").await;
    reads(&suite, &anew, "/etc/passwd").await;
    assert_eq!(mounted(&suite), 0);
    assert!(suite.daemon_log().contains("(kernel.panic_on_warn)"), "{}", suite.daemon_log());

    suite.remove(&pod).await;
    remove_image(&suite).await;
    suite.until("the layer is gone", async || formats(&suite) == [images - 1, 0]).await;
    in_mounts_of(pid, || umount2(sysctl, MntFlags::empty()));
    fs::remove_file(&panics).unwrap();
    suite.restart().await;
    suite.harness.pull(BUSYBOX).await.unwrap();
    assert_eq!(formats(&suite), [images, 0], "the kernel panics no more");
    suite.assert_nothing_left();
}
