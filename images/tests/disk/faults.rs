//! A disk that is full, that fails, or that became read-only: the pull says so and leaves nothing, and
//! all that was there is there.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hyper::Response;
use rrun_images::{Error, Kind, Layers, Origin, Store};

use crate::cut::{assert_clean, names};
use crate::medium::{Medium, Request};
use crate::mounted::{Disk, Ground, Mounted, mounted_copy, run};
use crate::script::{World, state};
use crate::support::registry::{Body, status, with_header};

/// Of one file in the second layer of the large image, and of nothing else.
fn is_of_layer(bytes: &[u8]) -> bool {
    let needle = [b'7'; 600];
    bytes.windows(needle.len()).any(|window| window == needle)
}

/// A store with the small image, on a disk of its own.
pub struct Scene {
    pub ground: Ground,
    pub world: World,
    /// As the disk is when the store was closed and the disk unmounted.
    pub bytes: Vec<u8>,
}

impl Scene {
    pub async fn new(ground: Ground, layers: Layers, size: usize) -> Scene {
        let world = World::new(layers, size).await;
        let start = ground.ext4(32);
        let mut disk = Disk::new(&ground, start);
        let store = Store::open(world.config(disk.at())).await.unwrap();
        world.pull(&store, "small").await.unwrap();
        close(store, disk.at());
        disk.unmount();
        let bytes = disk.medium().bytes().to_vec();
        Scene { ground, world, bytes }
    }

    pub fn disk(&self) -> Disk {
        Disk::new(&self.ground, self.bytes.clone())
    }

    pub async fn open(&self, at: &Path) -> Store {
        self.try_open(at).await.unwrap()
    }

    pub async fn try_open(&self, at: &Path) -> rrun_images::Result<Store> {
        let opened = Store::open(self.world.config(at)).await;
        assert!(!self.root(at).join("records.db.damaged").exists());
        opened
    }

    pub fn root(&self, at: &Path) -> PathBuf {
        self.world.config(at).root
    }

    /// The small image is here, and nothing is wrong.
    pub async fn assert_well(&self, store: &Store, at: &Path, what: &str) {
        assert_clean(store, &self.world.config(at), false, what).await;
        let name = self.world.tagged("small", "1").to_string();
        assert!(store.find(&name).await.unwrap().is_some(), "{what}");
        for folder in ["tmp", "trash", "partial"] {
            assert_eq!(names(&self.root(at), folder), [""; 0], "{what}: {folder}");
        }
    }

    /// What the disk is asked to write and to flush by a pull that nothing disturbs.
    async fn requests_of_a_pull(&self) -> usize {
        let disk = self.disk();
        let store = self.open(disk.at()).await;
        disk.medium().take_events();
        self.world.pull(&store, "large").await.unwrap();
        let events = disk.medium().take_events();
        close(store, disk.at());
        events.len()
    }

    /// The disk as it is after another boot: both images are here and whole.
    async fn assert_lasting(&self, disk: &Disk, what: &str) {
        let bytes = disk.medium().bytes().to_vec();
        let copy = mounted_copy(&self.ground, &bytes);
        self.ground.reboot();
        let store = self.open(&copy.at).await;
        self.assert_well(&store, &copy.at, what).await;
        assert_eq!(state(&store).await.len(), 2, "{what}");
    }
}

/// Lets go of a store, and waits until all of its threads have.
pub fn close(store: Store, at: &Path) {
    drop(store);
    let end = Instant::now() + Duration::from_secs(60);
    let is_used =
        |entry: fs::DirEntry| fs::read_link(entry.path()).is_ok_and(|to| to.starts_with(at));
    while fs::read_dir("/proc/self/fd").unwrap().any(|entry| entry.is_ok_and(is_used)) {
        assert!(Instant::now() < end, "the store is not closed");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// What a failed pull says: of what, and why, in the words of the system or of SQLite.
fn assert_told(error: &Error, world: &World, reasons: &[&str], what: &str) {
    let words = error.to_string();
    let begin = format!("pull {}: ", world.tagged("large", "1"));
    assert!(words.starts_with(&begin), "{what}: {words}");
    assert!(reasons.iter().any(|reason| words.ends_with(reason)), "{what}: {words}");
}

pub async fn what_was_lost_is_fetched_again(ground: Ground, layers: Layers) {
    let scene = Scene::new(ground, layers, 10_000).await;
    let disk = scene.disk();
    let store = scene.open(disk.at()).await;
    disk.medium().fail(|asked| matches!(asked, Request::Write(bytes) if is_of_layer(bytes)));
    let error = scene.world.pull(&store, "large").await.unwrap_err();
    assert_told(&error, &scene.world, &["images/layers: EIO"], "sync");
    scene.assert_well(&store, disk.at(), "after it has failed").await;
    disk.medium().heal();
    // The same process, on the same mount.
    scene.world.pull(&store, "large").await.unwrap();
    scene.assert_lasting(&disk, "when it was well again").await;
}

pub async fn what_another_was_told_of_fails_the_pull_whose_layer_it_was(ground: Ground) {
    let scene = Scene::new(ground, Layers::Directory, 10_000).await;
    let disk = scene.disk();
    let store = scene.open(disk.at()).await;
    disk.medium().fail(|asked| matches!(asked, Request::Write(bytes) if is_of_layer(bytes)));
    let (root, top) = (scene.root(disk.at()), scene.world.large.blobs[2].0.to_string());
    let mut is_told = false;
    scene.world.registry.fault(move |seen| {
        if !seen.path.ends_with(&top) || is_told {
            return None;
        }
        let early = too_early(&root);
        if early.is_none() {
            is_told = true;
            nix::unistd::syncfs(File::open(&root).unwrap()).unwrap_err();
        }
        early
    });
    let error = scene.world.pull(&store, "large").await.unwrap_err();
    assert_told(&error, &scene.world, &["images/layers: EIO"], "sync");
    disk.medium().heal();
    scene.world.pull(&store, "large").await.unwrap();
    scene.assert_lasting(&disk, "when it was well again").await;
}

/// What was lost is not in memory any more, and nobody is told of it.
pub async fn what_was_lost_before_the_disk_was_mounted_is_fetched_again(
    ground: Ground,
    layers: Layers,
) {
    let scene = Scene::new(ground, layers, 10_000).await;
    let mut disk = scene.disk();
    let store = scene.open(disk.at()).await;
    disk.medium().fail(|asked| matches!(asked, Request::Write(bytes) if is_of_layer(bytes)));
    let (root, top) = (scene.root(disk.at()), scene.world.large.blobs[2].0.to_string());
    scene.world.registry.fault({
        let root = root.clone();
        move |seen| {
            let is_top = seen.path.ends_with(&top);
            is_top.then(|| too_early(&root).unwrap_or_else(|| status(404)))
        }
    });
    scene.world.pull(&store, "large").await.unwrap_err();
    scene.world.registry.fault(|_| None);
    nix::unistd::syncfs(File::open(&root).unwrap()).unwrap_err();
    close(store, disk.at());
    disk.unmount();
    disk.medium().heal();
    disk.mount();
    let store = scene.open(disk.at()).await;
    scene.assert_well(&store, disk.at(), "when it was mounted again").await;
    scene.world.pull(&store, "large").await.unwrap();
    scene.assert_lasting(&disk, "when it was pulled again").await;
}

/// Whoever wants the top layer is to ask again until the two others and the small image's are there.
fn too_early(root: &Path) -> Option<Response<Body>> {
    let is_early = names(root, "layers").len() < 3;
    is_early.then(|| with_header(status(503), "retry-after", "0"))
}

/// From the request on that is so many after this one, nothing is written any more.
pub fn fail_after(disk: &Disk, mut left: usize) {
    disk.medium().fail(move |asked| {
        let is_read = matches!(asked, Request::Read { .. });
        let fails = !is_read && left == 0;
        left -= usize::from(!is_read && left > 0);
        fails
    });
}

/// The disk of a pull fails, sooner or later, and once not at all.
pub async fn the_disk_fails_in_the_middle(ground: Ground, layers: Layers) {
    let scene = Scene::new(ground, layers, 100_000).await;
    let reasons = ["EIO", "EROFS", "disk I/O error", "attempt to write a readonly database"];
    let whole = scene.requests_of_a_pull().await;
    let mut points = vec![0, 1, 2, 3, 4, 6, 8, 11, 14, 18, 22, 27, 33, 40, 50];
    // The kernel makes more or fewer of the same pull: one point is behind its end for certain.
    points.extend([whole, 4 * whole]);
    let mut failed = 0;
    for &after in &points {
        let what = format!("request {after}");
        let disk = scene.disk();
        let store = scene.open(disk.at()).await;
        fail_after(&disk, after);
        match scene.world.pull(&store, "large").await {
            Ok(_) => {}
            Err(error) => {
                assert_told(&error, &scene.world, &reasons, &what);
                failed += 1;
            }
        }
        let name = scene.world.tagged("small", "1").to_string();
        assert!(store.find(&name).await.unwrap().is_some(), "{what}");
        // Whoever starts now finds a disk that is read-only, or will be.
        drop(scene.try_open(disk.at()).await);
        drop(store);
        let bytes = disk.medium().bytes().to_vec();
        drop(disk);
        let copy = mounted_copy(&scene.ground, &bytes);
        let store = scene.open(&copy.at).await;
        scene.assert_well(&store, &copy.at, &what).await;
        scene.world.pull(&store, "large").await.unwrap();
        scene.assert_well(&store, &copy.at, &what).await;
    }
    assert!((5..points.len()).contains(&failed), "{failed} of {points:?}");
}

pub async fn what_cannot_be_read_or_written_is_not_damaged(ground: Ground) {
    let scene = Scene::new(ground, Layers::Directory, 10_000).await;
    let mut disk = scene.disk();
    // The page of the records that has the config of the image.
    let needle = br#""rootfs":{"diff_ids":["#;
    let has = |bytes: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
    let places = |medium: &Medium| -> Vec<usize> {
        let blocks = medium.bytes().chunks(4096).enumerate();
        blocks.filter(|(_, block)| has(block)).map(|(number, _)| number * 4096).collect()
    };
    let places = places(&disk.medium());
    assert!(!places.is_empty());
    disk.medium().fail(move |asked| match asked {
        Request::Read { at, length } => {
            places.iter().any(|place| (*at..at + length).contains(place))
        }
        _ => false,
    });
    let error = scene.try_open(disk.at()).await.err().unwrap();
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    assert!(error.to_string().contains("disk I/O error"), "{error}");
    let check = rrun_images::Check {
        hash: true,
        containers: std::sync::Arc::new(|| Ok(Default::default())),
        repair: None,
    };
    let error = rrun_images::fsck(scene.world.config(disk.at()), check).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    disk.medium().heal();
    let store = scene.open(disk.at()).await;
    scene.assert_well(&store, disk.at(), "when it could be read again").await;
    close(store, disk.at());

    let remount = |how: &str| {
        run("mount", &["-o", &format!("remount,{how}"), &disk.at().display().to_string()])
    };
    remount("ro");
    let error = scene.try_open(disk.at()).await.err().unwrap().to_string();
    assert!(["EROFS", "readonly database"].iter().any(|end| error.ends_with(end)), "{error}");
    remount("rw");
    let store = scene.open(disk.at()).await;
    scene.assert_well(&store, disk.at(), "when it could be written again").await;
    close(store, disk.at());
    disk.unmount();
}

/// A file that takes all the room but so much.
pub fn fill(disk: &Path, left: u64) -> PathBuf {
    let path = disk.join("filler");
    let mut file = File::create(&path).unwrap();
    while file.write_all(&[1; 4096]).is_ok() {}
    let length = file.metadata().unwrap().len();
    file.set_len(length.saturating_sub(left)).unwrap();
    file.sync_all().unwrap();
    path
}

pub async fn the_disk_is_full_in_the_middle(ground: Ground, layers: Layers) {
    let scene = Scene::new(ground, layers, 200_000).await;
    let path = scene.ground.at("file");
    fs::write(&path, &scene.bytes).unwrap();
    let disk = Mounted::new(&path, &scene.ground.at("full"), "errors=remount-ro");
    let store = scene.open(&disk.at).await;
    let before = [names(&scene.root(&disk.at), "layers"), names(&scene.root(&disk.at), "splits")];
    let mut failed = 0;
    for left in [0, 4, 8, 16, 32, 64, 128, 200, 220, 240, 260, 280, 300, 320, 340, 400, 2000] {
        let what = format!("{left} KiB were left");
        let filler = fill(&disk.at, left << 10);
        match scene.world.pull(&store, "large").await {
            Ok(_) => {}
            Err(error) => {
                failed += 1;
                assert_eq!(error.kind(), Kind::Exhausted, "{what}: {error}");
                assert_told(&error, &scene.world, &["ENOSPC", "database or disk is full"], &what);
                store.empty_trash().await.unwrap();
                let root = scene.root(&disk.at);
                assert_eq!([names(&root, "layers"), names(&root, "splits")], before, "{what}");
            }
        }
        if let Err(error) = scene.try_open(&disk.at).await {
            assert_eq!(error.kind(), Kind::Exhausted, "{what}: {error}");
        }
        scene.assert_well(&store, &disk.at, &what).await;
        fs::remove_file(filler).unwrap();
        let image = scene.world.pull(&store, "large").await.unwrap();
        assert!(store.remove(&image.id.to_string(), Origin::Person).await.unwrap());
        scene.assert_well(&store, &disk.at, &what).await;
    }
    assert!((5..17).contains(&failed), "{failed}");
}
