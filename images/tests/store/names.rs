//! Names given by hand, and what images take of the disk.

use super::*;

#[tokio::test]
async fn a_given_name_leads_to_the_image_and_is_there_when_the_records_are_made_anew() {
    let scratch = Scratch::new().await;
    let [first, second] = two_images(&scratch.store).await;
    let store = &scratch.store;
    let given = reference("web:test");
    assert_eq!(store.tag(&first.tags[0], &given).await.unwrap(), first.id);
    assert_eq!(store.tag(&second.id.to_string(), &given).await.unwrap(), second.id);
    let tags = async |store: &Store, id| store.find(&format!("{id}")).await.unwrap().unwrap().tags;
    assert_eq!(tags(store, &first.id).await, first.tags, "a name has one image");
    let both = ["docker.io/library/web:test".to_owned(), second.tags[0].clone()];
    assert_eq!(tags(store, &second.id).await.len(), both.len());
    let by_digest = reference(&second.digests[0]);
    for (image, name, kind) in
        [("nothing:1", &given, Kind::NotFound), (first.tags[0].as_str(), &by_digest, Kind::Invalid)]
    {
        assert_eq!(store.tag(image, name).await.unwrap_err().kind(), kind);
    }
    let records = scratch.root().join("records.db");
    let Scratch { dir, store } = scratch;
    drop(store);
    for end in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{end}", records.display()));
    }
    std::fs::write(&records, b"not a database at all".repeat(500)).unwrap();
    let store = Store::open(config(dir.path())).await.unwrap();
    let found = tags(&store, &second.id).await;
    assert_eq!(found.len(), both.len());
    assert!(both.iter().all(|tag| found.contains(tag)), "{found:?}");
    assert_eq!(tags(&store, &first.id).await, first.tags);
}

#[tokio::test]
async fn removing_an_image_frees_what_no_other_image_has() {
    let scratch = Scratch::new().await;
    let store = &scratch.store;
    let [first, _] = two_images(store).await;
    let usage = store.disk_usage().await.unwrap();
    let of = |id: &rrun_images::ImageId| usage.iter().find(|usage| usage.id == *id).unwrap();
    let freed = of(&first.id).exclusive_bytes();
    let users: Vec<u64> = of(&first.id).layers.iter().map(|layer| layer.users).collect();
    assert_eq!((users, freed < of(&first.id).bytes()), (vec![2, 1], true));
    // With a split of one block for each layer that is a directory.
    let splits = if super::support::IS_EROFS { 0 } else { 2 * 4096 };
    assert_eq!(of(&first.id).bytes(), first.size + splits);
    let before = store.fs_info().await.unwrap().bytes;
    store.remove(&first.tags[0], Origin::Person).await.unwrap();
    store.empty_trash().await.unwrap();
    assert_eq!(before - store.fs_info().await.unwrap().bytes, freed);
    let left = store.disk_usage().await.unwrap();
    assert_eq!(left.len(), 1);
    assert!(left[0].layers.iter().all(|layer| layer.users == 1 && layer.diff_id.is_some()));
    assert_eq!(left[0].exclusive_bytes(), left[0].bytes());
}

#[tokio::test]
async fn a_list_tells_what_this_process_and_another_one_have_changed_since() {
    let scratch = Scratch::new().await;
    let other = Store::open(config(scratch.dir.path())).await.unwrap();
    let listed = async || {
        let all = scratch.store.list().await.unwrap();
        for image in all.iter() {
            let id = image.id.to_string();
            let (_, digits) = id.split_once(':').unwrap();
            let names = image.tags.iter().chain(&image.digests).map(String::as_str);
            for text in names.chain([&*id, digits, &digits[..8]]) {
                let found = scratch.store.find(text).await.unwrap().unwrap();
                assert_eq!((&found.tags, &found.holders), (&image.tags, &image.holders), "{text}");
            }
        }
        assert!(scratch.store.find("x.test/none:1").await.unwrap().is_none());
        all.iter().map(|image| (image.tags.len(), image.holders.len())).collect::<Vec<_>>()
    };
    assert_eq!(listed().await, []);
    let registry = TestRegistry::start().await;
    registry.put("r/i", "1", &TestImage::of(&[base()]));
    let name = reference(&format!("{}/r/i:1", registry.address));
    let id = other.pull(&name, None, None).await.unwrap().id;
    assert_eq!(listed().await, [(1, 0)], "another one has pulled it");
    let again = [scratch.store.list().await.unwrap(), scratch.store.list().await.unwrap()];
    assert!(std::sync::Arc::ptr_eq(&again[0], &again[1]), "nothing has changed");
    scratch.store.tag(&id.to_string(), &reference("x.test/y:1")).await.unwrap();
    assert_eq!(listed().await, [(2, 0)], "this one has named it");
    other.prepare(&holder("c"), &id).await.unwrap();
    assert_eq!(listed().await, [(2, 1)], "another one holds it");
    other.release(&holder("c")).await.unwrap();
    scratch.store.remove(&id.to_string(), Origin::Person).await.unwrap();
    assert_eq!(listed().await, []);
}

#[tokio::test]
async fn what_was_read_last_is_told_at_once_without_a_thread_until_anybody_changes_something() {
    let scratch = Scratch::new().await;
    let store = &scratch.store;
    let [first, _] = two_images(store).await;
    let other = Store::open(config(scratch.dir.path())).await.unwrap();
    let at_once = || {
        let found = store.find(&first.tags[0]).now_or_never().map(|found| found.unwrap().unwrap());
        let all = store.list().now_or_never().map(|all| all.unwrap().len());
        let taken = store.fs_info().now_or_never().map(|info| info.unwrap().bytes);
        (found.map(|image| image.tags.len()), all, taken)
    };
    let read = async || {
        let all = store.list().await.unwrap().len();
        let found = store.find(&first.tags[0]).await.unwrap().unwrap();
        (Some(found.tags.len()), Some(all), Some(store.fs_info().await.unwrap().bytes))
    };
    let before = read().await;
    assert_eq!(before.1, Some(2));
    // Every thread is taken, and the records are locked.
    let path = scratch.root().join("records.db");
    let mut db = rusqlite::Connection::open(path).unwrap();
    let lock = db.transaction_with_behavior(rusqlite::TransactionBehavior::Exclusive).unwrap();
    let remove = || {
        tokio::spawn({
            let store = store.clone();
            async move { store.remove("nothing:1", Origin::Person).await }
        })
    };
    let waiting: Vec<_> = (0..20).map(|_| remove()).collect();
    tokio::task::yield_now().await;
    for _ in 0..100 {
        assert_eq!(at_once(), before);
    }
    drop(lock);
    for removal in waiting {
        assert!(!removal.await.unwrap().unwrap());
    }
    for round in 0..100 {
        let before = read().await;
        assert_eq!(at_once(), before);
        let name = format!("x.test/y:{round}");
        other.tag(&first.id.to_string(), &reference(&name)).await.unwrap();
        // Nothing, unless the thread that was asked last has read it since.
        let told = at_once().0;
        assert!(told.is_none_or(|tags| tags == first.tags.len() + round + 1), "{told:?}");
        let found = store.find(&first.tags[0]).await.unwrap().unwrap();
        assert!(found.tags.contains(&name));
        assert_eq!(found.tags.len(), first.tags.len() + round + 1);
    }
    other.remove(&first.tags[0], Origin::Person).await.unwrap();
    assert!(store.find(&first.tags[0]).await.unwrap().is_none());
    assert_eq!(store.list().await.unwrap().len(), 1);
}
