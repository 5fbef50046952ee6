//! What is beneath every container's image.

use std::os::fd::{AsFd, AsRawFd};
use std::process::Command;

use super::holder;
use super::support::layer::{Item, dir, file, layer, symlink};
use super::support::{Scratch, TestImage, import};
use rrun_images::Lower;

/// What a container of an image finds, by a program of the shell in its root, and what that program
/// has left in the writable layer.
pub async fn in_container(layers: &[Vec<Item>], program: &str) -> (String, Vec<String>) {
    let scratch = Scratch::new().await;
    let image = TestImage::of(&layers.iter().map(|items| layer(items)).collect::<Vec<_>>());
    let image = import(&scratch, &image).await.unwrap();
    let rootfs = scratch.store.prepare(&holder("c"), &image.id).await.unwrap();
    let open = |path: &std::path::Path| std::fs::File::open(path).unwrap();
    let all: Vec<Lower> = rootfs.lower.iter().chain(&rootfs.mount_points).cloned().collect();
    let lower: Vec<_> = all.iter().map(|path| open(path)).collect();
    let lower: Vec<_> = lower.iter().map(AsFd::as_fd).collect();
    let (upper, work) = (open(&rootfs.upper), open(&rootfs.work));
    let changes = Some((upper.as_fd(), work.as_fd()));
    let mount = rrun_sys::mount::overlay(&lower, changes, Lower::options(&all)).unwrap();
    let root = format!("/proc/{}/fd/{}", std::process::id(), mount.as_raw_fd());
    let script = format!("cd {root} && {program}");
    let done = Command::new("sh").args(["-ec", &script]).output().unwrap();
    assert!(done.status.success(), "{done:?}");
    drop(mount);
    let changed = std::fs::read_dir(&rootfs.upper).unwrap();
    let changed = changed.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    (String::from_utf8(done.stdout).unwrap(), changed.collect())
}

const LIST: &str = "find . -mindepth 1 -printf '%p %M %s\\n' | grep -v ' d' | sort; find . -mindepth 1 -type d -printf '%p %m\\n' | sort";

#[tokio::test]
async fn an_image_without_them_has_the_mount_points_of_every_container_and_nothing_is_written() {
    let (found, changed) = in_container(&[vec![dir("./"), dir("etc").mode(0o711)]], LIST).await;
    let files =
        ["hostname", "hosts", "resolv.conf"].map(|name| format!("./etc/{name} -rw-r--r-- 0"));
    let folders = ["./dev 755", "./etc 711", "./proc 755", "./sys 755"];
    assert_eq!(found.trim_end(), format!("{}\n{}", files.join("\n"), folders.join("\n")));
    assert_eq!(changed, [""; 0]);
}

#[tokio::test]
async fn what_an_image_has_in_their_place_or_has_removed_is_as_the_image_says() {
    let base = vec![
        dir("./"),
        symlink("dev", "elsewhere"),
        file("proc", "a file"),
        file("etc/hosts", "its own"),
        file("etc/resolv.conf", "removed later"),
    ];
    let top = vec![file("etc/.wh.resolv.conf", ""), file(".wh.sys", "")];
    let (found, _) = in_container(&[base, top], LIST).await;
    let want = "./dev lrwxrwxrwx 9\n./etc/hostname -rw-r--r-- 0\n./etc/hosts -rw-r--r-- 7\n\
                ./proc -rw-r--r-- 6\n./etc 755\n";
    assert_eq!(found, want);
}

#[tokio::test]
async fn they_are_made_anew_when_the_store_is_opened_and_an_image_as_a_volume_has_none() {
    let scratch = Scratch::new().await;
    let folder = scratch.root().join("mountpoints");
    let Scratch { dir, store } = scratch;
    drop(store);
    std::fs::remove_dir_all(&folder).unwrap();
    let store = rrun_images::Store::open(super::config(dir.path())).await.unwrap();
    assert!(folder.join("etc/hosts").is_file() && folder.join("proc").is_dir());
    let scratch = Scratch { dir, store };
    let image = import(&scratch, &TestImage::of(&[super::base()])).await.unwrap();
    let view = scratch.store.view(&holder("v"), &image.id).await.unwrap();
    assert!(view.iter().all(|lower| !lower.ends_with("mountpoints")), "{view:?}");
}
