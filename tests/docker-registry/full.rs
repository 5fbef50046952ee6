//! A filesystem without room.

use crate::setup::{self, Setup, assert_empty, built, hosted, registry};
use rrun_images::{Kind, Result, Store};
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where [`body`] finds its folder, in which `store` is a filesystem of its own.
const FOLDER: &str = "RRUN_TEST_FULL_IN";

#[tokio::test]
async fn a_full_disk_is_one_error_with_layer_and_entry_leaves_nothing_and_is_got_over() {
    let (registry, setup) = (registry(), Setup::new().await);
    setup.hosts(&format!("server = 'http://{}'\n", registry.address()));
    // Too few blocks for the image, then too few inodes.
    for options in ["size=1m", "size=64m,nr_inodes=40"] {
        let script = "mount -t tmpfs -o $1 tmpfs $2/store && exec $3 --ignored --exact full::body";
        let ended = Command::new("unshare")
            .args(["--mount", "--propagation=private", "sh", "-c", script, "full", options])
            .args([setup.root(), &std::env::current_exe().unwrap()])
            .env(FOLDER, setup.root())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&ended.stdout);
        assert!(ended.status.success() && said.contains("1 passed"), "{options}: {said}");
    }
}

#[tokio::test]
#[ignore = "the other test runs it in a mount namespace of its own"]
async fn body() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    let store = setup::open(&folder).await;
    let words = exhausted(pull(&store).await);
    assert!(words.contains(&format!("layer {}: entry \"", built().layers[0])), "{words}");
    assert_empty(&store, &folder).await;

    // Not a block left, not even for the records.
    fill(&folder.join("store/filler"));
    exhausted(pull(&store).await);
    assert_empty(&store, &folder).await;
    drop(store);
    fill(&folder.join("store/filler"));
    if let Err(error) = setup::try_open(&folder).await {
        assert_eq!(error.kind(), Kind::Exhausted, "{error}");
    }
    assert!(!folder.join("store/records.db.damaged").exists());

    let store = make_room(&folder).await;
    pull(&store).await.unwrap();
    // All is here: at most the mark of its last use finds no room, and nothing is lost by that.
    fill(&folder.join("store/filler"));
    if let Err(error) = pull(&store).await {
        assert_eq!(error.kind(), Kind::Exhausted, "{error}");
    }
    assert_eq!(fs::read_dir(folder.join("store/records")).unwrap().count(), 1);
    drop(store);
    let store = make_room(&folder).await;
    pull(&store).await.unwrap();
    assert!(store.remove(&hosted(), rrun_images::Origin::Person).await.unwrap());
    assert_empty(&store, &folder).await;
    assert_eq!(fs::read_dir(folder.join("store/records")).unwrap().count(), 0);
}

async fn pull(store: &Store) -> Result<()> {
    store.pull(&hosted().parse().unwrap(), None, None).await.map(drop)
}

fn exhausted(done: Result<()>) -> String {
    let error = done.unwrap_err();
    assert_eq!(error.kind(), Kind::Exhausted, "{error}");
    let words = error.to_string();
    assert!(words.starts_with(&format!("pull {}: ", hosted())), "{words}");
    // Of a file, or of the records, in SQLite's words.
    let ends = ["ENOSPC", "database or disk is full"];
    assert!(ends.iter().any(|end| words.ends_with(end)), "{words}");
    words
}

async fn make_room(folder: &Path) -> Store {
    let _ = fs::remove_file(folder.join("store/filler"));
    let larger = ["-o", "remount,size=64m,nr_inodes=100000"];
    let mounted = Command::new("mount").args(larger).arg(folder.join("store")).status();
    assert!(mounted.unwrap().success());
    setup::open(folder).await
}

fn fill(path: &Path) {
    let Ok(mut file) = File::options().append(true).create(true).open(path) else { return };
    let full = std::iter::repeat_with(|| file.write(&[1; 4096])).find_map(std::result::Result::err);
    assert_eq!(full.unwrap().kind(), ErrorKind::StorageFull);
}
