//! What the next process finds, after an exit, a kill, a power cut or a reboot.

use super::*;

#[tokio::test]
async fn a_damaged_database_is_set_aside_and_everything_is_found_again() {
    let registry = TestRegistry::start().await;
    registry.put("r/i", "1", &TestImage::of(&[base(), top("x")]));
    let scratch = Scratch::new().await;
    let name = format!("{}/r/i:1", registry.address);
    let image = scratch.store.pull(&reference(&name), None, None).await.unwrap();
    let rootfs = scratch.store.prepare(&holder("c"), &image.id).await.unwrap();
    let Scratch { dir, store } = scratch;
    drop(store);
    for end in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(dir.path().join(format!("images/records.db{end}")));
    }
    std::fs::write(dir.path().join("images/records.db"), b"not a database at all".repeat(500))
        .unwrap();
    let store = Store::open(config(dir.path())).await.unwrap();
    let found = store.find(&name).await.unwrap().unwrap();
    assert_eq!(
        (found.id, found.tags, found.digests),
        (image.id.clone(), image.tags, image.digests)
    );
    assert_eq!(store.holders().await.unwrap(), [holder("c")]);
    assert_eq!(store.prepare(&holder("c"), &image.id).await.unwrap(), rootfs);
    assert!(dir.path().join("images/records.db.damaged").exists());
}

#[tokio::test]
async fn what_a_killed_pull_left_is_swept_at_the_next_start() {
    let scratch = Scratch::new().await;
    let left = scratch.root().join("tmp").join("a".repeat(64));
    std::fs::create_dir_all(left.join("deep/er")).unwrap();
    // It died before its leases were on record.
    std::fs::write(scratch.root().join("locks/pull-1-0"), "").unwrap();
    let _store = Store::open(config(scratch.dir.path())).await.unwrap();
    assert_eq!(scratch.names("tmp"), [""; 0]);
    assert_eq!(scratch.names("locks"), [""; 0]);
}

/// As if the machine had lost power before the layer with this content was synced.
fn lose_power(scratch: &Scratch, tar: &[u8]) {
    let key = Digest::of(tar).hex().to_owned();
    std::fs::write(scratch.root().join("layers").join(&key).join("base"), "").unwrap();
    let db = rusqlite::Connection::open(scratch.root().join("records.db")).unwrap();
    let doubt = "UPDATE layer SET durable=0, boot='before' WHERE key=?1";
    assert_eq!(db.execute(doubt, [&key]).unwrap(), 1);
}

#[tokio::test]
async fn a_layer_that_a_power_cut_may_have_hit_is_pulled_anew_though_an_old_lease_has_it() {
    let registry = TestRegistry::start().await;
    let image = TestImage::of(&[base(), top("x")]);
    registry.put("r/i", "1", &image);
    let scratch = Scratch::new().await;
    let name = reference(&format!("{}/r/i:1", registry.address));
    let id = scratch.store.pull(&name, None, None).await.unwrap().id;
    let rootfs = scratch.store.prepare(&holder("old"), &id).await.unwrap();
    lose_power(&scratch, &base().0);

    let store = Store::open(config(scratch.dir.path())).await.unwrap();
    assert!(store.find(&id.to_string()).await.unwrap().is_none());
    assert_eq!(scratch.names("records"), [""; 0]);
    let error = store.prepare(&holder("old"), &id).await.unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound, "{error}");
    assert!(error.to_string().contains("not synced before the last boot ended"), "{error}");

    assert_eq!(store.pull(&name, None, None).await.unwrap().id, id);
    assert_eq!(registry.count(&image.blobs[0].0.to_string()), 2);
    assert_eq!(registry.count(&image.blobs[1].0.to_string()), 1, "the other layer was durable");
    assert_eq!(store.prepare(&holder("old"), &id).await.unwrap(), rootfs);
    let base = rootfs.lower.iter().map(|dir| dir.join("base")).find(|file| file.exists());
    assert_eq!(std::fs::read(base.unwrap()).unwrap(), b"b");

    // Whoever opens the store next in this boot has no doubts any more.
    let again = Store::open(config(scratch.dir.path())).await.unwrap();
    assert_eq!(again.find(&id.to_string()).await.unwrap().unwrap().tags.len(), 1);
    again.release(&holder("old")).await.unwrap();
    assert!(again.find(&id.to_string()).await.unwrap().is_some());
    assert!(again.remove(&id.to_string(), Origin::Person).await.unwrap());
    for folder in ["layers", "records", "writable", "locks"] {
        assert_eq!(scratch.names(folder), [""; 0], "{folder}");
    }
    scratch.assert_no_debris().await;
}

#[tokio::test]
async fn an_old_lease_on_a_lost_image_is_released_with_nothing_left() {
    let registry = TestRegistry::start().await;
    registry.put("r/i", "1", &TestImage::of(&[base(), top("x")]));
    let scratch = Scratch::new().await;
    let name = reference(&format!("{}/r/i:1", registry.address));
    let id = scratch.store.pull(&name, None, None).await.unwrap().id;
    scratch.store.prepare(&holder("old"), &id).await.unwrap();
    lose_power(&scratch, &base().0);
    let store = Store::open(config(scratch.dir.path())).await.unwrap();
    store.release(&holder("old")).await.unwrap();
    for folder in ["layers", "records", "writable", "locks"] {
        assert_eq!(scratch.names(folder), [""; 0], "{folder}");
    }
}

#[tokio::test]
async fn a_layer_whose_record_was_lost_is_removed_at_the_next_start() {
    let registry = TestRegistry::start().await;
    registry.put("r/i", "1", &TestImage::of(&[base()]));
    let scratch = Scratch::new().await;
    let name = reference(&format!("{}/r/i:1", registry.address));
    let image = scratch.store.pull(&name, None, None).await.unwrap();
    let stray = scratch.root().join("layers").join("a".repeat(64));
    std::fs::create_dir_all(stray.join("deep/er")).unwrap();
    let store = Store::open(config(scratch.dir.path())).await.unwrap();
    assert!(!stray.exists());
    assert!(store.find(&image.id.to_string()).await.unwrap().is_some());
    assert_eq!(scratch.names("layers").len(), 1);
}

#[tokio::test]
async fn images_that_were_found_again_beside_a_damaged_database_are_there_after_the_next_boot() {
    let registry = TestRegistry::start().await;
    registry.put("r/i", "1", &TestImage::of(&[base(), top("x")]));
    let scratch = Scratch::new().await;
    let name = format!("{}/r/i:1", registry.address);
    scratch.store.pull(&reference(&name), None, None).await.unwrap();
    let Scratch { dir, store } = scratch;
    drop(store);
    std::fs::write(dir.path().join("images/records.db"), "no database".repeat(500)).unwrap();
    let store = Store::open(config(dir.path())).await.unwrap();
    let scratch = Scratch { dir, store };
    reboot(&scratch);
    let store = Store::open(config(scratch.dir.path())).await.unwrap();
    assert!(store.find(&name).await.unwrap().is_some());
}

/// As if the machine had been started anew since.
fn reboot(scratch: &Scratch) {
    let db = rusqlite::Connection::open(scratch.root().join("records.db")).unwrap();
    db.execute("UPDATE layer SET boot='before'", []).unwrap();
}

#[tokio::test]
async fn an_image_that_was_pulled_or_imported_is_there_after_the_next_boot() {
    let registry = TestRegistry::start().await;
    let image = TestImage::of(&[base(), layer(&[file("tmp/x", "x"), file("srv/y", "y")])]);
    registry.put("r/i", "1", &image);
    let scratch = Scratch::new().await;
    let name = reference(&format!("{}/r/i:1", registry.address));
    let pulled = scratch.store.pull(&name, None, None).await.unwrap().id;
    // Of layers that the pull has not brought.
    let image = TestImage::of(&[top("imported"), layer(&[file("tmp/x", "i"), file("srv/y", "i")])]);
    let path = scratch.dir.path().join("layout.tar");
    write_layout(&path, &image, "example.com/a/b:3");
    let imported = scratch.store.import_layout(&path, None).await.unwrap()[0].image.id.clone();
    reboot(&scratch);
    let store = Store::open(config(scratch.dir.path())).await.unwrap();
    let name = name.to_string();
    for (container, name, id, layers) in
        [("c", &*name, pulled, 3), ("d", "example.com/a/b:3", imported, 2)]
    {
        let found = store.find(name).await.unwrap().unwrap();
        assert_eq!(found.id, id);
        let rootfs = store.prepare(&holder(container), &id).await.unwrap();
        let lower = &rootfs.lower;
        assert!(lower.len() >= layers, "{name}, with the layer of directories: {lower:?}");
        assert!(rootfs.lower.iter().all(|dir| dir.is_dir()));
    }
}

#[tokio::test]
async fn what_a_dead_pull_held_is_collected_and_what_a_living_one_holds_is_not() {
    let scratch = Scratch::new().await;
    let db = rusqlite::Connection::open(scratch.root().join("records.db")).unwrap();
    let key = |digit: &str| digit.repeat(64);
    for (holder, key) in [("pull/1-1", key("a")), ("pull/2-2", key("b"))] {
        std::fs::create_dir(scratch.root().join("layers").join(&key)).unwrap();
        let layer = "INSERT INTO layer(key, bytes, inodes, implied, opaque, boot, durable, used)
                     VALUES(?1, 1, 1, '[]', 0, 'b', 1, 1000)";
        db.execute(layer, [&key]).unwrap();
        db.execute("INSERT INTO layer_lease(holder, key) VALUES(?1, ?2)", [holder, &key]).unwrap();
    }
    let alive = std::fs::File::create(scratch.root().join("locks/pull-2-2")).unwrap();
    alive.lock().unwrap();
    scratch.store.collect().await.unwrap();
    assert_eq!(scratch.names("layers"), [key("b")]);
    drop(alive);
    scratch.store.collect().await.unwrap();
    assert_eq!(scratch.names("layers"), [""; 0]);
    scratch.assert_no_debris().await;
}
