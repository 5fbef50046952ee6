//! The same for what a person does with a store: import, tag and prune.

use std::collections::BTreeSet;
use std::path::Path;

use rrun_images::{Error, Layers, Store};

use crate::faults::{Scene, close, fail_after, fill};
use crate::mounted::{Ground, Mounted, mounted_copy, run};
use crate::script::{State, state};
use crate::support::reference;

/// What is done with a store that has the small image, and another that was imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Import,
    Tag,
    Prune,
}

impl Verb {
    pub const ALL: [Verb; 3] = [Verb::Import, Verb::Tag, Verb::Prune];

    /// Carries it out. What a prune could not remove is in its answer.
    async fn run(self, store: &Store, scene: &Scene) -> Result<(), String> {
        let small = scene.world.tagged("small", "1").to_string();
        let text = |error: Error| error.to_string();
        match self {
            Verb::Import => {
                let name = reference("example.com/imported:1");
                let done = store.import_layout(&scene.ground.at("layout"), Some(&name)).await;
                done.map(drop).map_err(text)
            }
            Verb::Tag => {
                let done = store.tag(&small, &reference("example.com/tagged:1")).await;
                done.map(drop).map_err(text)
            }
            Verb::Prune => {
                let done = store.prune(true, BTreeSet::from([small])).await.map_err(text)?;
                done.trouble().map_or(Ok(()), Err)
            }
        }
    }

    /// Whether it is to be seen that it was carried out.
    fn is_done(self, state: &State) -> bool {
        let has = |name: &str| state.values().flatten().any(|found| found == name);
        match self {
            Verb::Import => has("example.com/imported:1"),
            Verb::Tag => has("example.com/tagged:1"),
            Verb::Prune => !has("example.com/old:1"),
        }
    }

    /// How each of its failures begins.
    fn says(self, scene: &Scene) -> String {
        match self {
            Verb::Import => format!("import {}: ", scene.ground.at("layout").display()),
            Verb::Tag => {
                let small = scene.world.tagged("small", "1");
                format!("tag {small} as example.com/tagged:1: ")
            }
            Verb::Prune => String::new(),
        }
    }

    /// The disk of a scene with what it is for.
    async fn scene(self, ground: Ground, layers: Layers) -> Scene {
        let mut scene = Scene::new(ground, layers, 30_000).await;
        let layout = scene.ground.at("layout");
        scene.world.write_layout(&layout);
        if self == Verb::Prune {
            let mut disk = scene.disk();
            let store = scene.open(disk.at()).await;
            let name = reference("example.com/old:1");
            store.import_layout(&layout, Some(&name)).await.unwrap();
            close(store, disk.at());
            disk.unmount();
            let bytes = disk.medium().bytes().to_vec();
            drop(disk);
            scene.bytes = bytes;
        }
        scene
    }

    fn assert_told(self, scene: &Scene, why: &str, reasons: &[&str], what: &str) {
        assert!(why.starts_with(&self.says(scene)), "{what}: {why}");
        assert!(reasons.iter().any(|reason| why.ends_with(reason)), "{what}: {why}");
    }

    /// Done before or now, and all is well.
    async fn assert_done(self, store: &Store, scene: &Scene, at: &Path, what: &str) {
        self.run(store, scene).await.unwrap_or_else(|why| panic!("{what}: {why}"));
        assert!(self.is_done(&state(store).await), "{what}");
        scene.assert_well(store, at, what).await;
    }
}

const REASONS: [&str; 4] =
    ["EIO", "EROFS", "disk I/O error", "attempt to write a readonly database"];

/// From the request on that is so many after its beginning, nothing is written any more.
pub async fn the_disk_fails_in_the_middle(ground: Ground, layers: Layers, verb: Verb) {
    let scene = verb.scene(ground, layers).await;
    let mut failed = 0;
    for after in [0, 1, 3, 6, 10, 16] {
        let what = format!("{verb:?} of {layers:?}, request {after}");
        let disk = scene.disk();
        let store = scene.open(disk.at()).await;
        fail_after(&disk, after);
        let done = verb.run(&store, &scene).await;
        if let Err(why) = &done {
            verb.assert_told(&scene, why, &REASONS, &what);
            failed += 1;
        }
        drop(store);
        let bytes = disk.medium().bytes().to_vec();
        drop(disk);
        let copy = mounted_copy(&scene.ground, &bytes);
        let store = scene.open(&copy.at).await;
        // A prune makes no promise of the disk: what it removed is back, and goes again.
        let is_promised = done.is_ok() && verb != Verb::Prune;
        assert!(!is_promised || verb.is_done(&state(&store).await), "{what}");
        scene.assert_well(&store, &copy.at, &what).await;
        verb.assert_done(&store, &scene, &copy.at, &what).await;
    }
    assert!(failed > 0, "{verb:?} of {layers:?} never failed");
}

pub async fn the_disk_is_full(ground: Ground, layers: Layers, verb: Verb) {
    let scene = verb.scene(ground, layers).await;
    let path = scene.ground.at("file");
    let mut failed = 0;
    for left in [0, 4, 16, 64, 128, 2000] {
        let what = format!("{verb:?} of {layers:?}, {left} KiB were left");
        std::fs::write(&path, &scene.bytes).unwrap();
        let disk = Mounted::new(&path, &scene.ground.at("full"), "errors=remount-ro");
        let store = scene.open(&disk.at).await;
        let before = state(&store).await;
        let filler = fill(&disk.at, left << 10);
        if let Err(why) = verb.run(&store, &scene).await {
            failed += 1;
            verb.assert_told(&scene, &why, &["ENOSPC", "database or disk is full"], &what);
            assert_eq!(state(&store).await, before, "{what}");
        } else {
            assert!(verb.is_done(&state(&store).await), "{what}");
        }
        scene.assert_well(&store, &disk.at, &what).await;
        std::fs::remove_file(filler).unwrap();
        verb.assert_done(&store, &scene, &disk.at, &what).await;
        close(store, &disk.at);
        disk.unmount();
    }
    // Whoever frees room needs none.
    assert_eq!(failed > 0, verb != Verb::Prune, "{verb:?} of {layers:?}: {failed}");
    assert!(failed < 6, "{verb:?} of {layers:?}");
}

/// As ext4 makes itself after an error, beneath a store that is open.
pub async fn the_disk_gets_read_only(ground: Ground, verb: Verb) {
    let scene = verb.scene(ground, Layers::Directory).await;
    let mut disk = scene.disk();
    let store = scene.open(disk.at()).await;
    let before = state(&store).await;
    run("mount", &["-o", "remount,abort", &disk.at().display().to_string()]);
    let why = verb.run(&store, &scene).await.unwrap_err();
    verb.assert_told(&scene, &why, &REASONS, &format!("{verb:?}"));
    assert_eq!(state(&store).await, before, "{verb:?}");
    close(store, disk.at());
    disk.unmount();
    disk.mount();
    let store = scene.open(disk.at()).await;
    assert_eq!(state(&store).await, before, "{verb:?}");
    verb.assert_done(&store, &scene, disk.at(), "when it could be written again").await;
    close(store, disk.at());
    disk.unmount();
}
