//! Images are collected by the daemon when their disk gets full.

use crate::filling_disk::{hosts, on_small_disk, pull, serve_all};
use crate::reload::reload;
use crate::suite::*;
use rrun_cri_api::Cri;
use rrun_cri_api::v1::*;
use rrun_tests::harness::{BUSYBOX, WORK};
use rrun_tests::{limit, place};
use std::fs;

/// The label that a kubelet puts on every pod.
const OF_A_KUBELET: &str = "io.kubernetes.pod.uid";

/// Makes the disk too full: images are to be collected down to so many percent less, but for those of
/// the suite and one more.
async fn collect(suite: &Suite, used: u8, fewer: u8, pinned: &str) {
    let (high, low) = (used - 1, used - fewer);
    let text = format!(
        "[images]\nimage_minimum_gc_age = 0\nimage_gc_high_threshold_percent = {high}\n\
         image_gc_low_threshold_percent = {low}\npinned = ['{BUSYBOX}', '{pinned}']\n"
    );
    reload(suite, &text, "the configuration is read again; changed: images.").await;
}

async fn is_here(suite: &Suite, image: &str) -> bool {
    let image = Some(ImageSpec { image: image.to_owned(), ..Default::default() });
    let request = ImageStatusRequest { image, verbose: false };
    suite.harness.client.image_status(request).await.unwrap().image.is_some()
}

/// What `rrun why-removed` says of an image.
fn why_removed(suite: &Suite, image: &str) -> serde_json::Value {
    let mut rrun = suite.harness.sandbox().command(place::program("rrun").unwrap());
    let said = limit::output(rrun.args(["why-removed", image, "-o", "json"])).unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(said.status.success(), "{image}: {}", text(&said.stderr));
    serde_json::from_slice(&said.stdout).unwrap_or_else(|e| panic!("{e}: {}", text(&said.stdout)))
}

#[tokio::test]
async fn images_that_nobody_uses_go_the_longest_unused_first_until_the_disk_is_as_empty_as_wanted()
{
    let (mut suite, disk) = on_small_disk().await;
    let images = serve_all(&suite, &["pinned", "used", "a", "b", "c"]);
    for image in &images {
        pull(&suite, image).await.unwrap();
        // When an image was last used is known to the second.
        tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    }
    let [pinned, used, first, second, third] = &images[..] else { unreachable!() };
    let mut config = suite.harness.pod("uses-one");
    config.labels.insert(OF_A_KUBELET.to_owned(), "1".to_owned());
    let pod = suite.run_pod(&config).await;
    suite.add(&pod, &config, "main", &["/bin/sleeper"]).await;
    let of_image = suite.harness.container("uses", used, &["/never-started"]);
    suite.create(&pod, of_image, &config).await.unwrap();
    collect(&suite, disk.used(), 10, pinned).await;
    let left = "the node's kubelet is to collect images, and has not";
    suite.until(left, async || suite.daemon_log().contains(left)).await;
    for image in &images {
        assert!(is_here(&suite, image).await, "{image}");
    }
    // Of nobody's pod from now on.
    suite.remove(&pod).await;
    config.labels.clear();
    let pod = suite.run_pod(&config).await;
    let work = suite.add(&pod, &config, "main", &["/bin/sleeper"]).await;
    let of_image = suite.harness.container("uses", used, &["/never-started"]);
    suite.create(&pod, of_image, &config).await.unwrap();

    // Each image has more than 8 % of the disk.
    let full = disk.used();
    collect(&suite, full, 12, pinned).await;
    suite.until("there is room", async || disk.used() <= full - 12).await;
    for image in [first, second] {
        assert!(!is_here(&suite, image).await, "{image}");
        let why = why_removed(&suite, image);
        assert_eq!((&why[0]["decision"], &why[0]["by"]), (&"removed".into(), &"collection".into()));
        let words = why[0]["why"].as_str().unwrap();
        assert!(words.starts_with("the disk was too full"), "{words}");
    }
    for image in [third, pinned, used, WORK, BUSYBOX] {
        assert!(is_here(&suite, image).await, "{image}");
        let why = why_removed(&suite, image);
        assert_eq!(why[0]["decision"], "kept", "{image}: {why}");
    }
    assert_eq!(suite.status(&work).await.state, RUNNING);

    suite.remove(&pod).await;
    fs::remove_dir_all(hosts(&suite)).unwrap();
    suite.harness.kill();
    drop(disk);
    suite.restart().await;
    suite.assert_nothing_left();
}
