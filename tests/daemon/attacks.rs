//! Images that are made to let the host open, follow or read what it should not: each is refused by
//! name or harmless, and none keeps anybody waiting.

use crate::foreign_image::{Entry, import, layer};
use crate::suite::*;
use rrun_cri_api::Cri;
use rrun_cri_api::v1::*;
use std::path::Path;
use tonic::{Code, Status};

/// What a file of accounts is made of that is none, and what is said of it.
const NO_FILES: [(Entry, &str); 6] = [
    (Entry::Zero, "not a regular file"),
    (Entry::Fifo, "not a regular file"),
    (Entry::Folder, "not a regular file"),
    (Entry::Link("passwd"), "Too many levels of symbolic links"),
    (Entry::Link("/proc/self/environ"), "is not in the container's"),
    (Entry::Bytes((8 << 20) + 1), "File too large"),
];

/// Creates a container and removes it and its image again; what is said of its start, which
/// cannot succeed because the images have no program, is told too.
async fn create_and_start(
    suite: &Suite,
    pod: &(String, PodSandboxConfig),
    image: String,
    change: impl FnOnce(&mut ContainerConfig),
) -> Result<Status, Status> {
    let mut config = suite.harness.container("attacks", &image, &["/bin/true"]);
    change(&mut config);
    let created = suite.create(&pod.0, config, &pod.1);
    let created = tokio::time::timeout(PATIENCE, created).await.unwrap();
    let mut started = None;
    if let Ok(id) = &created {
        started = suite.start_container(id).await.err();
        let request = RemoveContainerRequest { container_id: id.clone() };
        suite.harness.client.remove_container(request).await.unwrap();
    }
    let image = Some(ImageSpec { image, ..Default::default() });
    suite.harness.client.remove_image(RemoveImageRequest { image }).await.unwrap();
    created.map(|_| started.unwrap())
}

async fn start(suite: &Suite) -> (String, PodSandboxConfig) {
    let config = suite.harness.pod("attacked");
    (suite.run_pod(&config).await, config)
}

async fn nothing_left(suite: &Suite, pod: &str) {
    suite.remove(pod).await;
    suite.until("nothing is left", async || suite.is_clean()).await;
}

#[tokio::test]
async fn accounts_that_are_no_plain_files_of_the_image_are_refused_by_name() {
    let suite = Suite::start().await;
    let pod = start(&suite).await;
    for (file, user) in [("passwd", "web"), ("group", "0:web")] {
        for (entry, words) in NO_FILES {
            // The link leads to itself in either case.
            let entry = match entry {
                Entry::Link("passwd") => Entry::Link(file),
                other => other,
            };
            let path = format!("etc/{file}");
            let entries = [("etc", Entry::Folder), (path.as_str(), entry)];
            let image = import(&suite, "accounts", user, &layer(&entries)).await;
            let refused = create_and_start(&suite, &pod, image, |_| {}).await.unwrap_err();
            let message = refused.message();
            assert!(message.contains(&format!("/etc/{file}")), "{entry:?}: {refused}");
            assert!(message.contains(words), "{entry:?}: {refused}");
            assert_eq!(refused.code(), Code::InvalidArgument, "{entry:?}: {refused}");
        }
    }
    nothing_left(&suite, &pod.0).await;
}

#[tokio::test]
async fn a_working_directory_that_is_none_is_refused_by_name_and_a_link_stays_in_the_image() {
    let suite = Suite::start().await;
    let pod = start(&suite).await;
    for (entry, works) in [
        (Entry::Zero, false),
        (Entry::Fifo, false),
        (Entry::Text("file"), false),
        (Entry::Link("place"), false),
        // In the image there is no such folder: it is made there.
        (Entry::Link("/../../../attacked"), true),
        (Entry::Folder, true),
    ] {
        let image = import(&suite, "place", "", &layer(&[("place", entry)])).await;
        let created =
            create_and_start(&suite, &pod, image, |c| c.working_dir = "/place".to_owned()).await;
        let refused = created.unwrap_or_else(|refused| refused);
        let words = if works { "/bin/true" } else { "/place" };
        assert!(refused.message().contains(words), "{entry:?}: {refused}");
        assert!(!Path::new("/attacked").exists(), "made on the host");
    }
    nothing_left(&suite, &pod.0).await;
}

#[tokio::test]
async fn a_mount_at_what_is_no_folder_of_the_image_is_refused_by_name_or_stays_in_it() {
    let suite = Suite::start().await;
    let pod = start(&suite).await;
    let volume = suite.harness.sandbox().root().join("volume");
    std::fs::create_dir(&volume).unwrap();
    let mount = Mount {
        host_path: volume.to_string_lossy().into_owned(),
        container_path: "/target".to_owned(),
        ..Default::default()
    };
    for (entry, works) in [
        (Entry::Zero, false),
        (Entry::Fifo, false),
        (Entry::Text("file"), false),
        (Entry::Link("target"), false),
        (Entry::Link("/../../../attacked"), true),
        (Entry::Folder, true),
    ] {
        let image = import(&suite, "target", "", &layer(&[("target", entry)])).await;
        let created =
            create_and_start(&suite, &pod, image, |c| c.mounts = vec![mount.clone()]).await;
        match created {
            Ok(_) => assert!(works, "{entry:?} is taken"),
            Err(refused) => {
                assert!(!works, "{entry:?}: {refused}");
                assert!(refused.message().contains("/target"), "{entry:?}: {refused}");
            }
        }
        assert!(!Path::new("/attacked").exists(), "made on the host");
    }
    std::fs::remove_dir(&volume).unwrap();
    nothing_left(&suite, &pod.0).await;
}
