//! Collection of images, and what is on record of it.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use rrun_images::gc::{Keep, PERIOD, Policy, Verdict};
use rrun_images::{Collection, Config};
use tokio::sync::watch;

use super::*;

/// All of the disk is wanted.
fn all() -> Policy {
    Policy::new(1, 0, Duration::ZERO, Duration::ZERO).unwrap()
}

fn none() -> BTreeSet<String> {
    BTreeSet::new()
}

/// Sets when an image was last used, in seconds since the epoch.
fn used(scratch: &Scratch, image: &Image, at: i64) {
    let db = rusqlite::Connection::open(scratch.root().join("records.db")).unwrap();
    let n = db.execute("UPDATE image SET used=?2 WHERE id=?1", (image.id.to_string(), at));
    assert_eq!(n.unwrap(), 1);
}

fn verdict<'a>(done: &'a Collection, image: &Image) -> &'a Verdict {
    &done.decisions.iter().find(|one| one.id == image.id).unwrap().verdict
}

#[tokio::test]
async fn the_longest_unused_goes_first_what_is_held_stays_and_what_is_told_is_what_is_freed() {
    let scratch = Scratch::new().await;
    let store = &scratch.store;
    let [first, second] = two_images(store).await;
    used(&scratch, &first, 2000);
    used(&scratch, &second, 1000);
    let planned = store.plan_collection(all(), none()).await.unwrap();
    let order: Vec<_> = planned.decisions.iter().map(|one| one.id.clone()).collect();
    assert_eq!(order, [second.id.clone(), first.id.clone()]);
    assert_eq!(store.list().await.unwrap().len(), 2, "a plan removes nothing");

    store.hold(&holder("c"), &first.id).await.unwrap();
    let before = store.fs_info().await.unwrap();
    let done = store.collect_images(all(), none()).await.unwrap().unwrap();
    assert_eq!(verdict(&done, &first), &Verdict::Keep(Keep::InUse("container/c".to_owned())));
    store.empty_trash().await.unwrap();
    let after = store.fs_info().await.unwrap();
    assert!(done.frees.bytes > 0 && done.is_short(), "{done:?}");
    assert_eq!(done.frees.bytes, before.bytes - after.bytes);
    assert_eq!(done.frees.inodes, before.inodes - after.inodes);
    assert_eq!(done.present(), BTreeSet::from([first.id.to_string()]));
    assert!(done.trouble().unwrap().starts_with("Insufficient free disk space on the node's"));
    scratch.assert_no_debris().await;
}

#[tokio::test]
async fn what_is_pinned_or_spared_stays_and_a_pin_that_is_taken_back_counts_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let (pins, pinned) = watch::channel(Vec::new());
    let store = Store::open(Config { pinned, ..config(dir.path()) }).await.unwrap();
    let [first, second] = two_images(&store).await;
    let digest = second.digests[0].rsplit_once('@').unwrap().1;
    pins.send_replace(vec![digest.parse().unwrap()]);
    let found = store.find(&second.id.to_string()).await.unwrap().unwrap();
    assert!(found.pinned && !first.pinned);
    let spared = BTreeSet::from([first.tags[0].clone(), "nothing:1".to_owned()]);
    let done = store.collect_images(all(), spared).await.unwrap().unwrap();
    assert_eq!(verdict(&done, &first), &Verdict::Keep(Keep::Named));
    assert_eq!(verdict(&done, &second), &Verdict::Keep(Keep::Pinned));
    pins.send_replace(Vec::new());
    assert!(!store.list().await.unwrap().iter().any(|image| image.pinned));
    store.collect_images(all(), none()).await.unwrap().unwrap();
    assert!(store.list().await.unwrap().is_empty());
}

#[tokio::test]
async fn what_was_held_was_used_until_it_was_released() {
    let scratch = Scratch::new().await;
    let [first, second] = two_images(&scratch.store).await;
    scratch.store.hold(&holder("c"), &first.id).await.unwrap();
    used(&scratch, &first, 1000);
    used(&scratch, &second, 2000);
    scratch.store.release(&holder("c")).await.unwrap();
    let an_hour = Policy::new(100, 0, Duration::ZERO, Duration::from_secs(3600)).unwrap();
    // Both were seen a moment ago, which counts like a use.
    let planned = scratch.store.plan_collection(an_hour, none()).await.unwrap();
    assert_eq!(planned.present().len(), 2);
    let db = rusqlite::Connection::open(scratch.root().join("records.db")).unwrap();
    db.execute("UPDATE image SET detected=1000", []).unwrap();
    let done = scratch.store.collect_images(an_hour, none()).await.unwrap().unwrap();
    assert_eq!(done.present(), BTreeSet::from([first.id.to_string()]));
    assert_eq!(done.trouble(), None);
}

#[tokio::test]
async fn an_image_that_could_not_be_removed_stayed_for_that_and_for_no_want_of_need() {
    let scratch = Scratch::new().await;
    let store = &scratch.store;
    let [first, second] = two_images(store).await;
    let db = rusqlite::Connection::open(scratch.root().join("records.db")).unwrap();
    let refuse = format!(
        "CREATE TRIGGER refuses BEFORE DELETE ON image WHEN OLD.id='{}'
         BEGIN SELECT RAISE(ABORT, 'not this one'); END",
        first.id
    );
    db.execute_batch(&refuse).unwrap();
    let done = store.collect_images(all(), none()).await.unwrap().unwrap();
    assert!(matches!(verdict(&done, &second), Verdict::Remove { .. }), "{done:?}");
    let kept = verdict(&done, &first).to_string();
    assert!(
        kept.starts_with("it could not be removed: ") && kept.contains("not this one"),
        "{kept}"
    );
    assert_eq!(done.present(), BTreeSet::from([first.id.to_string()]));
    let trouble = done.trouble().unwrap();
    assert!(trouble.contains(&format!("remove image {}: ", first.id)), "{trouble}");
    let on_record = store.journal(Some(&first.tags[0])).await.unwrap();
    assert_eq!((on_record.len(), on_record[0].is_removed), (1, false));
    assert_eq!(on_record[0].why, kept);
    assert_eq!(store.list().await.unwrap().len(), 1);
    db.execute_batch("DROP TRIGGER refuses").unwrap();
    let done = store.collect_images(all(), none()).await.unwrap().unwrap();
    assert!(done.present().is_empty() && done.failures.is_empty(), "{done:?}");
}

#[tokio::test]
async fn it_is_time_five_minutes_after_a_store_is_made_and_after_each_collection() {
    let scratch = Scratch::new().await;
    two_images(&scratch.store).await;
    let asked = async || scratch.store.collect_images_when_due(all(), none()).await.unwrap();
    let (done, next) = asked().await;
    assert!(done.is_none() && next <= PERIOD, "{next:?}");
    let turn = std::fs::File::open(scratch.root().join("collected")).unwrap();
    turn.set_modified(SystemTime::now() - PERIOD).unwrap();
    turn.lock().unwrap();
    assert!(asked().await.0.is_none(), "another process collects");
    assert!(scratch.store.collect_images(all(), none()).await.unwrap().is_none());
    turn.unlock().unwrap();
    assert_eq!(asked().await.0.unwrap().decisions.len(), 2);
    let (again, next) = asked().await;
    assert!(again.is_none() && next > PERIOD - Duration::from_secs(60), "{next:?}");
}

#[tokio::test]
async fn every_decision_is_on_record_with_its_reason_and_what_stayed_once() {
    let scratch = Scratch::new().await;
    let store = &scratch.store;
    let [first, second] = two_images(store).await;
    store.hold(&holder("c"), &first.id).await.unwrap();
    for _ in 0..2 {
        store.collect_images(all(), none()).await.unwrap().unwrap();
    }
    let of = async |image: &str| store.journal(Some(image)).await.unwrap();
    let gone = of(&second.tags[0]).await;
    assert_eq!((gone.len(), gone[0].is_removed, gone[0].origin), (1, true, Origin::Collection));
    assert!(gone[0].why.starts_with("the disk was too full") && gone[0].bytes > 0, "{gone:?}");
    assert!(gone[0].why.contains("% of the disk"), "{gone:?}");
    let kept = of(&first.id.digest().hex()[..12]).await;
    assert_eq!((kept.len(), kept[0].is_removed), (1, false));
    assert_eq!(kept[0].why, "container/c has it");

    store.remove(&first.tags[0], Origin::Kubelet).await.unwrap();
    let all_of = of(&first.digests[0]).await;
    assert_eq!((all_of.len(), all_of[0].origin), (2, Origin::Kubelet), "the newest first");
    assert_eq!(all_of[0].names.len(), 2);
    assert!(all_of[0].why.starts_with("it was asked for; "), "{all_of:?}");
    assert_eq!(store.journal(None).await.unwrap().len(), 3);
    assert!(of("nothing:1").await.is_empty());
    // Another process sees it, and the next boot.
    let other = Store::open(config(scratch.dir.path())).await.unwrap();
    assert_eq!(other.journal(None).await.unwrap().len(), 3);
}

#[tokio::test]
async fn a_prune_removes_what_nobody_has_and_leaves_names_unless_it_is_told_otherwise() {
    let scratch = Scratch::new().await;
    let store = &scratch.store;
    let [first, second] = two_images(store).await;
    // The second one's only tag goes to the first one.
    store.tag(&first.tags[0], &reference(&second.tags[0])).await.unwrap();
    let done = store.prune(false, none()).await.unwrap();
    assert_eq!(verdict(&done, &first), &Verdict::Keep(Keep::HasName));
    assert!(matches!(verdict(&done, &second), Verdict::Remove { .. }));
    assert!(done.frees.bytes > 0 && done.trouble().is_none());
    store.hold(&holder("c"), &first.id).await.unwrap();
    assert_eq!(store.prune(true, none()).await.unwrap().present().len(), 1);
    store.release(&holder("c")).await.unwrap();
    store.prune(true, none()).await.unwrap();
    assert!(store.list().await.unwrap().is_empty());
    let origins: Vec<Origin> =
        store.journal(None).await.unwrap().into_iter().map(|entry| entry.origin).collect();
    assert_eq!(origins, [Origin::Person, Origin::Person]);
}
