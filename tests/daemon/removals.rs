//! Images that take long to remove.

use crate::foreign_image::{Entry, import, layer};
use crate::suite::*;
use rrun_cri_api::Cri;
use rrun_cri_api::v1::*;
use rrun_tests::fuse::{Answered, Fuse};
use std::path::{Path, PathBuf};

fn entries(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[tokio::test]
async fn version_is_answered_while_four_images_are_being_deleted() {
    let suite = Suite::start().await;
    let images = suite.harness.sandbox().state().join("images");
    let known = entries(&images.join("layers"));
    let mut ids = Vec::new();
    for name in ["one", "two", "three", "four"] {
        let paths: Vec<String> = (0..500).map(|n| format!("{name}-{n}")).collect();
        let files: Vec<_> = paths.iter().map(|path| (&**path, Entry::Text("x"))).collect();
        ids.push(import(&suite, name, "", &layer(&files)).await);
    }
    // A layer of each with a folder that never answers: whoever deletes it waits there.
    let sandbox = suite.harness.sandbox();
    let layers = entries(&images.join("layers")).into_iter().filter(|path| !known.contains(path));
    let hang = |layer: PathBuf| {
        let name = layer.file_name().unwrap().to_string_lossy().into_owned();
        let inside = format!("/var/lib/rrun/images/layers/{name}/hung");
        Fuse::mount(Path::new(&inside), sandbox.pid(), Answered::Nobody)
    };
    let hung: Vec<Fuse> = layers.map(hang).collect();
    assert_eq!(hung.len(), 4);

    let client = &suite.harness.client;
    let mut removals = tokio::task::JoinSet::new();
    for image in ids {
        let client = client.clone();
        let image = Some(ImageSpec { image, ..Default::default() });
        removals.spawn(async move { client.remove_image(RemoveImageRequest { image }).await });
    }
    let answered = async {
        while let Some(removed) = removals.join_next().await {
            removed.unwrap().unwrap();
        }
        suite.until("the deletion hangs", async || hung.iter().any(Fuse::hangs)).await;
        client.version(Default::default()).await.unwrap();
        let (pod, _) = suite.run("meanwhile", &["/bin/sleeper"]).await;
        suite.remove(&pod).await;
    };
    tokio::time::timeout(PATIENCE, answered).await.unwrap();
    assert!(entries(&images.join("trash")).len() >= 4, "nothing is deleted yet");
    drop(hung);
    // What was a place for a mount is deleted by whoever removes something next.
    let deleted = async || {
        let image = ImageSpec { image: "images.rrun.test/none:1".to_owned(), ..Default::default() };
        client.remove_image(RemoveImageRequest { image: Some(image) }).await.unwrap();
        entries(&images.join("trash")).is_empty()
    };
    suite.until("all is deleted", deleted).await;
}
