//! What `rrun fsck` finds in a store, what it leaves alone, and what it puts right.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rrun_images::Fault::{self, *};
use rrun_images::{Check, Containers, Digest, Holder, Image, Kind, Outcome, Report, Store, fsck};
use support::layer::{dir, file, layer};
use support::registry::TestRegistry;
use support::{IS_EROFS, Scratch, TestImage, anonymous, config, reference};

/// A store with an image of two layers that no process has open.
struct Closed {
    registry: TestRegistry,
    dir: tempfile::TempDir,
    image: Image,
    /// The folder names of its layers.
    keys: [String; 2],
}

fn layers() -> [(Vec<u8>, Vec<u8>); 2] {
    [layer(&[dir("./"), file("base", "b")]), layer(&[file("top", "t")])]
}

impl Closed {
    async fn new() -> Closed {
        let registry = TestRegistry::start().await;
        registry.put("r/i", "1", &TestImage::of(&layers()));
        let Scratch { dir, store } = Scratch::new().await;
        let name = reference(&format!("{}/r/i:1", registry.address));
        let image = store.pull(&name, None, None).await.unwrap();
        let keys = layers().map(|(tar, _)| Digest::of(&tar).hex().to_owned());
        Closed { registry, dir, image, keys }
    }

    /// The same, and the container `c` has the image.
    async fn held() -> Closed {
        let closed = Closed::new().await;
        let store = Store::open(config(closed.dir.path())).await.unwrap();
        store.prepare(&Holder::container("c").unwrap(), &closed.image.id).await.unwrap();
        closed
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("images")
    }

    fn sql(&self, text: &str) {
        rusqlite::Connection::open(self.root().join("records.db"))
            .unwrap()
            .execute_batch(text)
            .unwrap();
    }

    async fn look(&self, repair: bool) -> rrun_images::Result<Report> {
        self.look_with(repair, known(&["c"])).await
    }

    async fn look_with(&self, repair: bool, containers: Containers) -> rrun_images::Result<Report> {
        let repair = repair.then(anonymous);
        fsck(config(self.dir.path()), Check { hash: true, containers, repair }).await
    }

    /// The image is here, whole, under its name.
    async fn assert_whole(&self, what: &str) {
        let store = Store::open(config(self.dir.path())).await.unwrap();
        let found = store.find(&self.image.tags[0]).await.unwrap();
        assert_eq!(found.map(|found| found.id).as_ref(), Some(&self.image.id), "{what}");
        for layer in store.verify(&self.image.id.to_string()).await.unwrap() {
            assert_eq!(layer.state, rrun_images::LayerState::Whole, "{what}");
        }
    }
}

fn known(containers: &[&str]) -> Containers {
    let known: BTreeSet<String> = containers.iter().map(|&id| id.to_owned()).collect();
    Arc::new(move || Ok(known.clone()))
}

fn faults(report: &Report) -> Vec<Fault> {
    report.findings.iter().map(|(finding, _)| finding.fault).collect()
}

/// All that lies in the store, but for what SQLite keeps beside its file.
fn tree(root: &Path) -> Vec<(PathBuf, u32, u64, SystemTime)> {
    let mut all = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let found = path.symlink_metadata().unwrap();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if found.is_dir() {
                folders.push(path.clone());
            }
            if !name.starts_with("records.db-") {
                let size = if found.is_dir() { 0 } else { found.len() };
                all.push((path, found.mode(), size, found.modified().unwrap()));
            }
        }
    }
    all.sort();
    all
}

#[tokio::test]
async fn a_whole_store_is_clean_and_a_look_changes_nothing_in_it() {
    let store = Closed::held().await;
    let before = tree(&store.root());
    for repair in [false, true] {
        let report = store.look(repair).await.unwrap();
        assert_eq!((report.findings, report.hashed), (vec![], 2));
        assert_eq!(tree(&store.root()), before, "repair: {repair}");
    }
    // With somebody who has it open.
    let open = Store::open(config(store.dir.path())).await.unwrap();
    assert_eq!(store.look(false).await.unwrap().findings, []);
    drop(open);
}

#[tokio::test]
async fn where_there_is_no_store_none_is_made() {
    let dir = tempfile::tempdir().unwrap();
    for repair in [None, Some(anonymous())] {
        let check = Check { hash: true, containers: known(&[]), repair };
        let report = fsck(config(dir.path()), check).await.unwrap();
        assert!(report.findings.is_empty() && report.notes.len() == 1, "{report:?}");
        assert!(!dir.path().join("images").exists());
    }
}

type Harm = fn(&Closed);

fn write(path: PathBuf, text: &str) {
    fs::write(path, text).unwrap();
}

fn key(store: &Closed, folder: &str) -> PathBuf {
    store.root().join(folder).join(&store.keys[0])
}

fn copy(store: &Closed) -> PathBuf {
    store.root().join(format!("records/{}.json", store.image.id.digest().hex()))
}

fn partial(store: &Closed, name: &str) -> PathBuf {
    store.root().join("partial").join(name)
}

/// Where the first layer's data are.
fn data(store: &Closed) -> PathBuf {
    key(store, "layers").join(if IS_EROFS { "archive" } else { "base" })
}

fn index(store: &Closed) -> PathBuf {
    key(store, "layers").join("index")
}

fn forget_layer(store: &Closed) {
    store.sql(&format!("DELETE FROM layer WHERE key='{}'", store.keys[0]));
}

/// What is done to layers that are directories, as [`HARMS`].
const TO_DIRECTORIES: &[(Harm, &[Fault], &str)] = &[
    (|s| write(data(s), "longer"), &[Layer], "base: it is not the file of 1"),
    (|s| fs::remove_file(key(s, "splits")).unwrap(), &[Split], "it is gone"),
    (|s| write(key(s, "splits"), "garbage"), &[Layer], "splits/"),
    (forget_layer, &[Image, Split, Orphan, Lock], "has no record"),
];

/// The same of those that are EROFS images.
const TO_IMAGES: &[(Harm, &[Fault], &str)] = &[
    (|s| fs::remove_file(data(s)).unwrap(), &[Layer], "it is gone"),
    (|s| fs::remove_file(index(s)).unwrap(), &[Layer], "it is gone"),
    (|s| write(index(s), "x"), &[Layer], "the index is not as it was written"),
    (
        |s| {
            let mut bytes = fs::read(index(s)).unwrap();
            bytes[1024 + 64] ^= 1;
            fs::write(index(s), bytes).unwrap();
        },
        &[Layer],
        "the index is not as it was written",
    ),
    (forget_layer, &[Image, Orphan, Lock], "has no record"),
];

/// What is done to the store, what is found then, and a word of the first finding.
const HARMS: &[(Harm, &[Fault], &str)] = &[
    (|s| fs::remove_dir_all(key(s, "layers")).unwrap(), &[Layer], "its folder is gone"),
    (|s| write(data(s), "x"), &[Layer], "the content has digest"),
    (
        |s| fs::create_dir(s.root().join("layers").join("a".repeat(64))).unwrap(),
        &[Orphan],
        "not on record",
    ),
    (|s| write(s.root().join("splits").join("a".repeat(64)), "x"), &[Split], "not on record"),
    (
        |s| fs::create_dir(s.root().join("tmp").join("a".repeat(64))).unwrap(),
        &[Staging],
        "a pull that is dead",
    ),
    (
        |s| fs::create_dir(s.root().join(format!("tmp/{}-damaged", s.keys[0]))).unwrap(),
        &[Staging],
        "a repair that is dead",
    ),
    (
        |s| {
            let path = partial(s, &format!("sha256-{}", "a".repeat(64)));
            write(path.clone(), "part");
            let day = SystemTime::now() - Duration::from_secs(25 * 3600);
            fs::File::options().write(true).open(path).unwrap().set_modified(day).unwrap();
        },
        &[Partial],
        "for a day",
    ),
    (|s| write(partial(s, "nobody"), "x"), &[Partial], "its name is no digest"),
    (
        |s| fs::create_dir(partial(s, &format!("sha256-{}", "b".repeat(64)))).unwrap(),
        &[Partial],
        "no regular file",
    ),
    (|s| write(s.root().join("locks").join("a".repeat(64)), ""), &[Lock], "is gone"),
    (|s| write(s.root().join("locks/pull-1-1"), ""), &[Lock], "is gone"),
    (|s| fs::remove_file(copy(s)).unwrap(), &[Copy], "ENOENT"),
    (|s| write(copy(s), "{"), &[Copy], "EOF"),
    (|s| write(copy(s).with_extension("new"), "{"), &[Copy], "half a copy"),
    (
        |s| write(s.root().join("records").join(format!("{}.json", "a".repeat(64))), "{}"),
        &[Copy],
        "not on record",
    ),
    (
        |s| s.sql("UPDATE name SET name='r.test/other:1' WHERE kind=0"),
        &[Copy],
        "its names are not those on record",
    ),
    (|s| s.sql("DELETE FROM image_layer WHERE pos=0"), &[Image], "not those of its config"),
    (|s| s.sql("UPDATE image_layer SET pos=2-pos*2"), &[Image], "not those of its config"),
    (|s| s.sql("UPDATE image SET config=x'7b7d'"), &[Image], "its config, in the records"),
    (|s| s.sql("UPDATE layer SET implied='{' WHERE seq=1"), &[Records], "cannot be read"),
    (
        |s| {
            s.sql("INSERT INTO journal(at, image, names, removed, origin, why, bytes) VALUES(1, 'x', '[]', 1, 'rrun', '', 0)")
        },
        &[Journal],
        "no image's id",
    ),
    (
        |s| s.sql(&format!("INSERT INTO layer_lease VALUES('pull/1-1', '{}')", s.keys[0])),
        &[Lease],
        "its pull has ended",
    ),
    (|s| s.sql("INSERT INTO layer_lease VALUES('nobody', 'x')"), &[Records], "no holder"),
    (|s| fs::create_dir(s.root().join("writable/container-x")).unwrap(), &[Orphan], "nobody holds"),
    (|s| fs::remove_dir(s.root().join("trash")).unwrap(), &[Directory], "it is missing"),
    (
        |s| {
            fs::set_permissions(s.root().join("layers"), fs::Permissions::from_mode(0o755)).unwrap()
        },
        &[Directory],
        "its mode is 0755, not 0700",
    ),
    (|s| s.sql("INSERT INTO trash VALUES('x', 1, 1)"), &[Trash], "still counted"),
    (
        |s| {
            for end in ["", "-wal", "-shm"] {
                let _ = fs::remove_file(s.root().join(format!("records.db{end}")));
            }
        },
        &[Records],
        "it is gone",
    ),
    (
        |s| {
            for end in ["-wal", "-shm"] {
                let _ = fs::remove_file(s.root().join(format!("records.db{end}")));
            }
            write(s.root().join("records.db"), &"not a database at all".repeat(500));
        },
        &[Records],
        "it is damaged",
    ),
];

#[tokio::test]
async fn each_damage_is_found_and_left_and_then_put_right() {
    let of_format = if IS_EROFS { TO_IMAGES } else { TO_DIRECTORIES };
    for (harm, wanted, word) in HARMS.iter().chain(of_format) {
        let store = Closed::new().await;
        harm(&store);
        let before = tree(&store.root());
        let found = store.look(false).await.unwrap();
        assert_eq!(faults(&found), *wanted, "{word}: {found:?}");
        let (first, outcome) = &found.findings[0];
        assert!(first.what.contains(word), "{word}: {found:?}");
        assert_eq!(outcome, &Outcome::Found);
        assert_eq!(tree(&store.root()), before, "{word}");
        let done = store.look(true).await.unwrap();
        let is_repaired = |outcome: &Outcome| matches!(outcome, Outcome::Repaired(_));
        assert!(done.findings.iter().all(|(_, outcome)| is_repaired(outcome)), "{word}: {done:?}");
        let after = store.look(false).await.unwrap();
        assert_eq!(after.findings, [], "{word}: {done:?}");
        if !word.contains("names") {
            store.assert_whole(word).await;
        }
    }
}

#[tokio::test]
async fn what_a_living_process_works_on_is_passed_over() {
    let store = Closed::new().await;
    let root = store.root();
    let other = "a".repeat(64);
    fs::create_dir(root.join("tmp").join(&other)).unwrap();
    fs::create_dir(root.join("layers").join(&other)).unwrap();
    write(root.join("splits").join(&other), "half");
    store.sql(&format!("INSERT INTO layer_lease VALUES('pull/1-1', '{other}')"));
    let locks = [root.join("locks").join(&other), root.join("locks/pull-1-1")];
    let held: Vec<fs::File> = locks.iter().map(|path| fs::File::create(path).unwrap()).collect();
    for lock in &held {
        lock.lock().unwrap();
    }
    // What was removed is deleted by whoever opens the store next, and nothing is wrong with it.
    fs::create_dir(root.join("trash/going")).unwrap();
    let found = store.look(false).await.unwrap();
    assert_eq!(found.findings, []);
    assert!(found.notes.iter().any(|note| note.contains("1 removed")), "{found:?}");
    drop(held);
    let found = store.look(false).await.unwrap();
    assert_eq!(faults(&found), [Split, Orphan, Staging, Lease], "{found:?}");
}

#[tokio::test]
async fn a_lease_of_a_container_that_is_gone_is_ended_and_one_of_which_nobody_knows_is_not() {
    let store = Closed::held().await;
    let nobody_knows: Containers = Arc::new(|| Err("somebody is at it".to_owned()));
    let report = store.look_with(true, nobody_knows).await.unwrap();
    assert_eq!(report.findings, []);
    assert!(report.notes.iter().any(|note| note.contains("somebody is at it")), "{report:?}");
    let report = store.look_with(true, known(&["d"])).await.unwrap();
    assert_eq!(faults(&report), [Lease], "{report:?}");
    assert_eq!(report.findings[0].1, Outcome::Repaired("released".to_owned()));
    assert!(!store.root().join("writable/container-c").exists());
    store.assert_whole("released").await;
}

#[tokio::test]
async fn what_cannot_be_put_right_is_left_and_says_why() {
    // Somebody has it mounted.
    let store = Closed::held().await;
    write(data(&store), "x");
    fs::remove_dir_all(store.root().join("writable/container-c/upper")).unwrap();
    write(store.root().join("empty/visible"), "x");
    write(store.root().join("mountpoints/etc/passwd"), "x");
    write(store.root().join("mountpoints/etc/hosts"), "x");
    let done = store.look(true).await.unwrap();
    assert_eq!(faults(&done), [Directory, Directory, Directory, Layer, Lease], "{done:?}");
    let left = |at: usize| match &done.findings[at].1 {
        Outcome::Left(why) => why.clone(),
        other => panic!("{other:?}"),
    };
    assert!(left(0).contains("move away what is in it"));
    assert!(left(1).contains("move it away") && left(2).contains("move it away"));
    assert!(left(3).contains("container/c has it"), "{}", left(3));
    assert!(left(4).contains("remove the container"));
    assert!(data(&store).exists(), "damaged as it is");

    // Nobody has it to fetch. When it is imported again, all is well.
    let scratch = Scratch::new().await;
    let image = TestImage::of(&layers());
    let imported = support::import(&scratch, &image).await.unwrap();
    let Scratch { dir, store } = scratch;
    drop(store);
    let gone = dir.path().join("images/layers").join(Digest::of(&layers()[0].0).hex());
    fs::remove_dir_all(&gone).unwrap();
    let look = async |repair| {
        let repair = if repair { Some(anonymous()) } else { None };
        let check = Check { hash: true, containers: known(&[]), repair };
        fsck(config(dir.path()), check).await.unwrap()
    };
    let done = look(true).await;
    assert!(done.findings.iter().all(|(_, of)| matches!(of, Outcome::Left(_))), "{done:?}");
    let why = format!("{:?}", done.findings[0]);
    assert!(why.contains("it was not pulled from a registry"), "{why}");
    let store = Store::open(config(dir.path())).await.unwrap();
    let scratch = Scratch { dir, store };
    assert_eq!(support::import(&scratch, &image).await.unwrap().id, imported.id);
    let check = Check { hash: true, containers: known(&[]), repair: None };
    assert_eq!(fsck(config(scratch.dir.path()), check).await.unwrap().findings, []);
}

#[tokio::test]
async fn damaged_records_that_somebody_has_open_are_left_and_those_of_another_version_refused() {
    let store = Closed::new().await;
    let lock = fs::File::open(store.root().join("records.lock")).unwrap();
    lock.lock_shared().unwrap();
    for end in ["-wal", "-shm"] {
        let _ = fs::remove_file(store.root().join(format!("records.db{end}")));
    }
    let database = store.root().join("records.db");
    let whole = fs::read(&database).unwrap();
    write(database.clone(), &"not a database at all".repeat(500));
    let done = store.look(true).await.unwrap();
    let Outcome::Left(why) = &done.findings[0].1 else { panic!("{done:?}") };
    assert!(why.contains("another process has them open"), "{why}");
    drop(lock);
    fs::write(&database, whole).unwrap();
    store.sql("PRAGMA user_version=99");
    let refused = store.look(true).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Unavailable, "{refused}");
    assert!(refused.to_string().contains("version 99"), "{refused}");
}

/// Both have it: what one of them is given back is the other's, too.
#[tokio::test]
async fn a_layer_that_two_images_have_is_fetched_once() {
    let store = Closed::new().await;
    let registry = TestRegistry::start().await;
    let [base, _] = layers();
    let other = TestImage::of(&[base, layer(&[file("other", "o")])]);
    registry.put("r/j", "1", &other);
    let name = reference(&format!("{}/r/j:1", registry.address));
    let open = Store::open(config(store.dir.path())).await.unwrap();
    open.pull(&name, None, None).await.unwrap();
    drop(open);
    fs::remove_dir_all(key(&store, "layers")).unwrap();
    let count = || {
        let seen = store.registry.seen().into_iter().chain(registry.seen());
        seen.filter(|seen| seen.path.ends_with(&other.blobs[0].0.to_string())).count()
    };
    let before = count();
    let done = store.look(true).await.unwrap();
    assert!(matches!(done.findings[..], [(_, Outcome::Repaired(_))]), "{done:?}");
    assert_eq!(count(), before + 1);
}
