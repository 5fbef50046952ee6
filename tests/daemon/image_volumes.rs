//! Images that are volumes.

use crate::foreign_image::{Entry, import, import_all, layer, open};
use crate::suite::*;
use rrun_cri_api::Cri;
use rrun_cri_api::v1::*;
use rrun_tests::harness::{BUSYBOX, WORK};
use std::fs;
use std::time::{Duration, UNIX_EPOCH};
use tonic::Code;

fn volume(image: &str, container_path: &str, image_sub_path: &str) -> Mount {
    Mount {
        container_path: container_path.to_owned(),
        readonly: true,
        image: Some(ImageSpec { image: image.to_owned(), ..Default::default() }),
        image_sub_path: image_sub_path.to_owned(),
        ..Default::default()
    }
}

/// A container with a shell, which may mount, and these volumes.
fn shell(suite: &Suite, name: &str, mounts: Vec<Mount>) -> ContainerConfig {
    let mut config = suite.harness.container(name, BUSYBOX, &["/bin/sleep", "1000000"]);
    let security = LinuxContainerSecurityContext {
        capabilities: Some(Capability {
            add_capabilities: vec!["SYS_ADMIN".to_owned()],
            ..Default::default()
        }),
        ..Default::default()
    };
    config.linux.get_or_insert_default().security_context = Some(security);
    config.mounts = mounts;
    config
}

/// What a script prints.
async fn said(suite: &Suite, id: &str, script: &str) -> String {
    let done = suite.exec(id, &["/bin/sh", "-c", script], 60).await.unwrap();
    assert_eq!(done.exit_code, 0, "{script}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
}

async fn fails(suite: &Suite, id: &str, script: &str) {
    let done = suite.exec(id, &["/bin/sh", "-c", script], 60).await.unwrap();
    assert_ne!(done.exit_code, 0, "{script} succeeds");
}

fn mounts_of_host(suite: &Suite) -> String {
    fs::read_to_string(format!("/proc/{}/mountinfo", suite.harness.sandbox().pid())).unwrap()
}

#[tokio::test]
async fn an_image_is_a_volume_that_nobody_writes_to() {
    let suite = Suite::start().await;
    let bottom = layer(&[
        ("etc", Entry::Folder),
        ("etc/old", Entry::Text("old")),
        ("etc/both", Entry::Text("bottom")),
    ]);
    let top = layer(&[("etc/.wh.old", Entry::Text("")), ("etc/both", Entry::Text("top"))]);
    let image = import_all(&suite, "data", "", &[&bottom, &top]).await;
    let config = suite.harness.pod("volumes");
    let pod = suite.run_pod(&config).await;
    let before = mounts_of_host(&suite);
    let volumes = vec![
        volume("images.rrun.test/data:1", "/data", ""),
        volume(&image, "/again/deep", ""),
        volume(&image, "/etc/of-data", "etc"),
        volume(WORK, "/work", ""),
    ];
    let id = suite.started(&pod, shell(&suite, "main", volumes), &config).await;
    assert_eq!(mounts_of_host(&suite), before);
    for folder in ["/data/etc", "/again/deep/etc", "/etc/of-data"] {
        assert_eq!(said(&suite, &id, &format!("ls -A {folder}")).await, "both");
        assert_eq!(said(&suite, &id, &format!("cat {folder}/both")).await, "top");
        fails(&suite, &id, &format!("touch {folder}/new")).await;
        fails(&suite, &id, &format!("rm {folder}/both")).await;
    }
    // Nor whoever may mount.
    fails(&suite, &id, "mount -o remount,rw /data && touch /data/new").await;
    // Its programs may be executed.
    assert_eq!(suite.exec(&id, &["/work/bin/true"], 60).await.unwrap().exit_code, 0);
    let status = suite.status(&id).await;
    let told = status.mounts[0].image.clone().unwrap();
    assert_eq!([&told.image, &told.image_ref], [&image, &image]);
    assert_eq!(told.user_specified_image, "images.rrun.test/data:1");
    assert!(status.mounts[0].readonly);
    assert_eq!(status.mounts[2].image_sub_path, "etc");
    suite.remove(&pod).await;
    suite.harness.client.remove_image(removal(&image)).await.unwrap();
    suite.until_clean();
    suite.assert_nothing_left();
}

fn removal(image: &str) -> RemoveImageRequest {
    let image = ImageSpec { image: image.to_owned(), ..Default::default() };
    RemoveImageRequest { image: Some(image) }
}

#[tokio::test]
async fn a_sub_path_is_looked_up_inside_the_image() {
    let suite = Suite::start().await;
    let files = layer(&[
        ("releases/1", Entry::Folder),
        ("releases/1/file", Entry::Text("first")),
        ("absolute", Entry::Link("/releases/1")),
        ("far", Entry::Link("../../../../releases/1")),
        ("outside", Entry::Link("/proc")),
        ("loop", Entry::Link("loop")),
        ("file", Entry::Text("x")),
        ("fifo", Entry::Fifo),
    ]);
    let image = import(&suite, "releases", "", &files).await;
    let config = suite.harness.pod("sub-paths");
    let pod = suite.run_pod(&config).await;
    for image_sub_path in ["releases/1", "./releases//1/", "absolute", "far", "absolute/."] {
        let volumes = vec![volume(&image, "/sub", image_sub_path)];
        let id = suite.started(&pod, shell(&suite, "main", volumes), &config).await;
        assert_eq!(said(&suite, &id, "cat /sub/file").await, "first");
        // What is beside the folder cannot be reached.
        fails(&suite, &id, "ls /sub/../releases").await;
        suite.stop_container(&id, 0).await;
        suite.remove_container(&id).await;
    }
    for (image_sub_path, code, why) in [
        ("none", Code::NotFound, "image_sub_path \"none\": not found in the image"),
        ("outside", Code::NotFound, "image_sub_path \"outside\": not found in the image"),
        ("file", Code::InvalidArgument, "image_sub_path \"file\": it is no folder of the image"),
        ("fifo", Code::InvalidArgument, "image_sub_path \"fifo\": it is no folder of the image"),
        ("file/x", Code::InvalidArgument, "image_sub_path \"file/x\": it is no folder"),
        ("loop", Code::InvalidArgument, "image_sub_path \"loop\": ELOOP"),
        ("../etc", Code::InvalidArgument, "image_sub_path \"../etc\" is no relative path"),
        ("/releases", Code::InvalidArgument, "image_sub_path \"/releases\" is no relative path"),
    ] {
        let volumes = vec![volume(&image, "/sub", image_sub_path)];
        let refused =
            suite.create(&pod, shell(&suite, "main", volumes), &config).await.unwrap_err();
        assert_eq!(refused.code(), code, "{image_sub_path}: {refused}");
        assert!(refused.message().contains(why), "{refused}");
        let leads =
            refused.message().starts_with("ImageVolumeMountFailed: create container main: ");
        assert_eq!(leads, !why.contains("relative"), "{refused}");
    }
    suite.remove(&pod).await;
    suite.harness.client.remove_image(removal(&image)).await.unwrap();
    suite.until_clean();
    suite.assert_nothing_left();
}

#[tokio::test]
async fn an_image_without_layers_is_an_empty_volume_and_one_of_one_layer_hides_what_it_deletes() {
    let suite = Suite::start().await;
    let none = import_all(&suite, "none", "", &[]).await;
    let one = layer(&[("kept", Entry::Text("kept")), (".wh.gone", Entry::Text(""))]);
    let one = import(&suite, "one", "", &one).await;
    let config = suite.harness.pod("few-layers");
    let pod = suite.run_pod(&config).await;
    let volumes = vec![volume(&none, "/none", ""), volume(&one, "/one", "")];
    let id = suite.started(&pod, shell(&suite, "main", volumes), &config).await;
    assert_eq!(said(&suite, &id, "ls -A /none").await, "");
    fails(&suite, &id, "touch /none/new").await;
    assert_eq!(said(&suite, &id, "ls -A /one").await, "kept");
    suite.remove(&pod).await;
    for image in [none, one] {
        suite.harness.client.remove_image(removal(&image)).await.unwrap();
    }
    suite.until_clean();
    suite.assert_nothing_left();
}

#[tokio::test]
async fn an_image_stays_as_long_as_a_container_has_it_for_a_volume() {
    let mut suite = Suite::start().await;
    let files = layer(&[("file", Entry::Text("text"))]);
    let image = import(&suite, "kept", "", &files).await;
    let state = suite.harness.sandbox().state();
    let layer = state.join("images/layers").join(files.diff_id.strip_prefix("sha256:").unwrap());
    let found = || async { open(&state).await.find(&image).await.unwrap() };
    let config = suite.harness.pod("kept");
    let pod = suite.run_pod(&config).await;
    let volumes = vec![volume(&image, "/data", "")];
    let id = suite.create(&pod, shell(&suite, "main", volumes), &config).await.unwrap();
    let records = rusqlite::Connection::open(state.join("images/records.db")).unwrap();
    records.execute("UPDATE image SET used=7", []).unwrap();
    drop(records);
    suite.start_container(&id).await.unwrap();
    // The start of the container is a use of its volume, for whose record it does not wait.
    let is_used = async || found().await.unwrap().last_used > UNIX_EPOCH + Duration::from_secs(7);
    suite.until("the volume is on record as used", is_used).await;
    let used = found().await.unwrap();
    assert_eq!(used.holders, [format!("container/{id}").parse().unwrap()]);
    // Whoever collects images does not take it.
    let store = open(&state).await;
    store.prune(true, [WORK.to_owned()].into()).await.unwrap();
    assert!(store.find(&image).await.unwrap().is_some());
    drop(store);
    suite.harness.client.remove_image(removal(&image)).await.unwrap();
    suite.restart().await;
    assert_eq!(said(&suite, &id, "cat /data/file").await, "text");
    suite.stop_container(&id, 0).await;
    suite.restart().await;
    assert!(layer.is_dir(), "the container is there, though it has ended");
    assert_eq!(suite.status(&id).await.mounts[0].image.as_ref().unwrap().image, image);
    suite.remove_container(&id).await;
    suite.until("its layers are deleted", async || !layer.exists()).await;
    suite.remove(&pod).await;
    suite.until_clean();
    suite.assert_nothing_left();
}

#[tokio::test]
async fn a_container_whose_volume_cannot_be_mounted_leaves_nothing() {
    let suite = Suite::start().await;
    let config = suite.harness.pod("refused");
    let pod = suite.run_pod(&config).await;
    let (one, other) = (volume(WORK, "/a", ""), volume(WORK, "/a/", "bin"));
    for (mounts, code, why) in [
        (
            vec![volume("images.rrun.test/none:1", "/a", "")],
            Code::NotFound,
            "ImageVolumeMountFailed: create container main: mount /a: image images.rrun.test/none:1: not found",
        ),
        (
            vec![Mount { readonly: false, ..one.clone() }],
            Code::InvalidArgument,
            "readonly is false",
        ),
        (vec![one.clone(), other], Code::InvalidArgument, "mount /a: an image and something else"),
        (
            vec![one.clone(), volume(WORK, "/bin/sh", "")],
            Code::InvalidArgument,
            "mount /bin/sh: ENOTDIR",
        ),
        (vec![one, volume(WORK, "/proc/x", "")], Code::InvalidArgument, "it is inside /proc"),
    ] {
        let refused = suite.create(&pod, shell(&suite, "main", mounts), &config).await.unwrap_err();
        assert_eq!(refused.code(), code, "{refused}");
        assert!(refused.message().contains(why), "{refused}");
    }
    suite.remove(&pod).await;
    suite.assert_nothing_left();
}

#[tokio::test]
async fn a_daemon_that_dies_between_the_steps_of_a_volume_leaves_nothing_of_it() {
    let mut suite = Suite::start().await;
    let config = suite.harness.pod("cut");
    for point in ["volume-leases:before", "volume-leases:after", "volumes:before", "volumes:after"]
    {
        let point = format!("engine.create-container.{point}");
        suite.harness.restart_with(&[("RRUN_KILL_AT", &point)]).await.unwrap();
        let pod = suite.run_pod(&config).await;
        let volumes = || vec![volume(WORK, "/work", "bin")];
        let cut = suite.create(&pod, shell(&suite, "main", volumes()), &config).await;
        assert!(cut.is_err(), "{point}: nobody has died there");
        suite.restart().await;
        let id = suite.started(&pod, shell(&suite, "main", volumes()), &config).await;
        assert_eq!(suite.exec(&id, &["/work/true"], 60).await.unwrap().exit_code, 0);
        suite.remove(&pod).await;
        suite.assert_nothing_left();
    }
}
