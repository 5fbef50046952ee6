//! A process that pulls, imports, tags, removes and collects images is killed at each of its steps:
//! whoever opens the store next finds no image that is not whole, and nothing that is nobody's.
// What the suite `disk` checks after a power cut is checked here.
#![allow(missing_docs, dead_code, clippy::unwrap_used, clippy::expect_used)]

#[path = "disk/cut.rs"]
mod cut;
#[path = "disk/fuse.rs"]
mod fuse;
#[path = "disk/medium.rs"]
mod medium;
#[path = "disk/mounted.rs"]
mod mounted;
#[path = "disk/script.rs"]
mod script;
mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use rrun_images::{Config, Layers, Origin, Store};
use script::{State, World, state};
use support::{config, reference};

/// Where [`body`] finds its folder.
const FOLDER: &str = "RRUN_TEST_KILLED_IN";
/// And its registry.
const REGISTRY: &str = "RRUN_TEST_KILLED_FROM";
/// What its layers become.
const LAYERS: &str = "RRUN_TEST_KILLED_LAYERS";

const VERBS: [&str; 7] = ["pull", "import", "tag", "untag", "remove", "pull another", "prune"];

async fn carry_out(verb: &str, store: &Store, registry: &str, layout: &Path) {
    let pull = async |image: &str| {
        let name = reference(&format!("{registry}/r/{image}:1"));
        store.pull(&name, None, None).await.unwrap();
    };
    match verb {
        "pull" => pull("large").await,
        "import" => {
            let name = reference("example.com/b:1");
            store.import_layout(layout, Some(&name)).await.unwrap();
        }
        "tag" => drop(store.tag("example.com/b:1", &reference("example.com/t:1")).await.unwrap()),
        "untag" => drop(store.untag(&reference("example.com/b:1")).await.unwrap()),
        "remove" => {
            let name = format!("{registry}/r/large:1");
            assert!(store.remove(&name, Origin::Person).await.unwrap());
        }
        "pull another" => pull("small").await,
        "prune" => drop(store.prune(true, BTreeSet::new()).await.unwrap()),
        other => panic!("{other}"),
    }
}

#[tokio::test]
#[ignore = "the other test runs it as a process of its own"]
async fn body() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    // Without one it has an image already.
    let Ok(registry) = std::env::var(REGISTRY) else { return unpack_again(&folder).await };
    let is_erofs = std::env::var(LAYERS).unwrap() == "erofs";
    let layers = if is_erofs { Layers::Erofs } else { Layers::Directory };
    let config = Config { layers, ..config(&folder) };
    let store = Store::open(config).await.unwrap();
    let mut ended = fs::File::create(folder.join("ended")).unwrap();
    for verb in VERBS {
        carry_out(verb, &store, &registry, &folder.join("layout")).await;
        ended.write_all(b".").unwrap();
    }
    store.empty_trash().await.unwrap();
}

fn live(folder: &Path, world: &World, environment: (&str, &str)) -> ExitStatus {
    world.write_layout(&folder.join("layout"));
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "body"]).env(environment.0, environment.1);
    command.env(LAYERS, if world.layers == Layers::Erofs { "erofs" } else { "directory" });
    let ended = command.env(FOLDER, folder).env(REGISTRY, &world.registry.address).output();
    ended.unwrap().status
}

/// Every point of the life, and what is to be seen before its first verb and after each.
async fn learn(world: &World) -> (Vec<String>, Vec<State>) {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("steps");
    assert!(live(folder.path(), world, ("RRUN_STEP_LOG", log.to_str().unwrap())).success());
    let log = fs::read_to_string(log).unwrap();
    let points = log.lines().filter_map(|line| line.split_once(' '));
    // Those of the opening are walked with the daemon's.
    let points = points.filter(|(_, point)| !point.contains("/images.open."));
    let points = points.map(|(_, point)| point.to_owned()).collect();
    let folder = tempfile::tempdir().unwrap();
    world.write_layout(&folder.path().join("layout"));
    let store = Store::open(world.config(folder.path())).await.unwrap();
    let mut states = vec![state(&store).await];
    for verb in VERBS {
        let layout = folder.path().join("layout");
        carry_out(verb, &store, &world.registry.address, &layout).await;
        states.push(state(&store).await);
    }
    (points, states)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_killed_at_any_step_leaves_no_image_that_is_not_whole_and_nothing_that_is_nobodys()
 {
    for layers in [Layers::Directory, Layers::Erofs] {
        killed_at_any_step(layers).await;
    }
}

async fn killed_at_any_step(layers: Layers) {
    let world = World::new(layers, 10_000).await;
    let (points, states) = learn(&world).await;
    for point in &points {
        let folder = tempfile::tempdir().unwrap();
        let ended = live(folder.path(), &world, ("RRUN_KILL_AT", point));
        assert_eq!(ended.signal(), Some(9), "{point}: nobody has died there");
        let verbs = fs::metadata(folder.path().join("ended")).unwrap().len() as usize;
        let config = world.config(folder.path());
        let store = Store::open(config.clone()).await.unwrap();
        let seen = state(&store).await;
        let [before, after] = [&states[verbs], &states[verbs + 1]];
        // Of several images one goes after the other.
        let is_half = after.len() < before.len()
            && seen.iter().all(|(id, names)| before.get(id) == Some(names));
        assert!(is_half || [before, after].contains(&&seen), "{point}: {seen:?}");
        cut::assert_clean(&store, &config, false, point).await;
        for name in ["tmp", "trash"] {
            assert_eq!(cut::names(&config.root, name), [""; 0], "{point}: {name}");
        }
        let here = cut::assert_reused(&world, &store, &config.root, point).await;
        cut::assert_clean(&store, &config, false, point).await;
        cut::assert_removed(&store, &config.root, &here, point).await;
    }
    println!("{layers:?}: {} points", points.len());
    for step in ["images.pull.", "images.remove.", "images.collect."] {
        assert!(points.iter().filter(|point| point.contains(step)).count() > 3, "{step}");
    }
}

/// A container's start on a store of images that was moved to where the kernel mounts none.
async fn unpack_again(folder: &Path) {
    let store = Store::open(Config { layers: Layers::Auto, ..config(folder) }).await.unwrap();
    let image = store.list().await.unwrap()[0].id.clone();
    store.prepare(&script::container(), &image).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_killed_while_he_unpacks_a_layer_as_a_directory_leaves_all_of_it_or_nothing() {
    let world = World::new(Layers::Erofs, 10_000).await;
    let disk = tempfile::tempdir().unwrap();
    world.write_layout(&disk.path().join("layout"));
    let store = Store::open(world.config(disk.path())).await.unwrap();
    carry_out("import", &store, "", &disk.path().join("layout")).await;
    drop(store);
    let step = |name: &str| ["before", "after"].map(|end| format!("images.directory.{name}:{end}"));
    for point in [step("unpack"), step("place")].as_flattened() {
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        let copied = Command::new("cp")
            .arg("-a")
            .arg(disk.path().join("images"))
            .arg(folder.path())
            .status();
        assert!(copied.unwrap().success());
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--ignored", "--exact", "body"]).env(FOLDER, folder.path());
        let ended = command.env("RRUN_KILL_AT", point).output().unwrap();
        assert_eq!(ended.status.signal(), Some(9), "{point}: nobody has died there");
        let config = world.config(folder.path());
        let store = Store::open(config.clone()).await.unwrap();
        let image = store.list().await.unwrap()[0].id.clone();
        let rootfs = store.prepare(&script::container(), &image).await.unwrap();
        let read = |layer: usize, name: &str| fs::read(rootfs.lower[layer].join(name)).unwrap();
        assert_eq!((read(0, "imported").len(), read(1, "noise").len()), (5000, 10_000), "{point}");
        store.release(&script::container()).await.unwrap();
        store.empty_trash().await.unwrap();
        for name in ["tmp", "trash"] {
            assert_eq!(cut::names(&config.root, name), [""; 0], "{point}: {name}");
        }
    }
}
