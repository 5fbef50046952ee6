use std::fs;
use std::path::Path;

use super::*;
use crate::clock::{Clock, Timestamp};
use crate::error::Kind;
use crate::events::{Reason, Recorder};
use crate::status::Phase;

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path().join("root"), dir.path().join("run"));
    (dir, store)
}

async fn lock(store: &Store, dir: &Path, text: &str) -> Result<LockedPod> {
    let path = dir.join("pod.yaml");
    let head = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec:\n";
    fs::write(&path, format!("{head}{text}")).unwrap();
    let definition = Definition::read(&path, &[], None)?;
    let meta = definition.pod()?.meta;
    store.lock_to_run(definition, &meta).await
}

const SPEC: &str = "  containers: [{name: a, image: x:1}]\n";

#[tokio::test]
async fn a_pod_that_is_taken_over_has_its_uid_state_and_events() {
    let (dir, store) = store();
    let mut first = lock(&store, dir.path(), SPEC).await.unwrap();
    assert!(store.is_locked(&first.entry).await);
    let pod = first.entry.pod().unwrap();
    let mut state = PodState::new(&pod, Timestamp::from_nanos(7));
    state.status.phase = Phase::Running;
    first.save(state.clone()).await.unwrap();
    let recorder = Recorder::new(Clock::system());
    recorder.normal(Some("a"), Reason::Started, "Container started");
    let event = recorder.subscribe().next_now().unwrap();
    first.record(event.clone()).await.unwrap();
    let uid = first.entry.uid.clone();
    let again = lock(&store, dir.path(), SPEC).await.unwrap_err();
    assert_eq!(again.to_string(), "pod default/web: another rrun works on it");
    drop(first);
    let second = lock(&store, dir.path(), SPEC).await.unwrap();
    assert_eq!((&second.entry.uid, second.entry.state.as_ref()), (&uid, Some(&state)));
    assert_eq!(store.events(&second.entry).await.unwrap(), [event]);
    drop(second);
    let other = lock(&store, dir.path(), &SPEC.replace("x:1", "x:2")).await.unwrap_err();
    assert!(other.to_string().contains("another manifest"), "{other}");
}

#[tokio::test]
async fn an_ended_pod_is_not_run_again_before_it_is_removed() {
    let (dir, store) = store();
    let mut first = lock(&store, dir.path(), SPEC).await.unwrap();
    let mut state = PodState::new(&first.entry.pod().unwrap(), Timestamp::from_nanos(7));
    state.status.phase = Phase::Failed;
    first.save(state).await.unwrap();
    drop(first);
    let refused = lock(&store, dir.path(), SPEC).await.unwrap_err();
    let text = "pod default/web: it has ended (Failed): rrun rm it first";
    assert_eq!(refused.to_string(), text);
}

#[tokio::test]
async fn a_broken_state_is_set_aside_by_name_and_the_pod_goes_on_without_it() {
    let (dir, store) = store();
    let mut first = lock(&store, dir.path(), SPEC).await.unwrap();
    let state = PodState::new(&first.entry.pod().unwrap(), Timestamp::from_nanos(7));
    first.save(state).await.unwrap();
    let path = dir.path().join("root/default_web/state");
    fs::write(&path, "state 1 00 {}\n").unwrap();
    drop(first);
    let (entries, faults) = store.all().await.unwrap();
    assert!(entries[0].state.is_none());
    assert!(faults[0].to_string().contains("state.broken"), "{}", faults[0]);
    assert!(path.with_extension("broken").exists() && !path.exists());
    assert!(store.all().await.unwrap().1.is_empty());
}

#[tokio::test]
async fn a_pod_is_found_by_its_name_its_full_name_and_a_beginning_of_its_uid() {
    let (dir, store) = store();
    let locked = lock(&store, dir.path(), SPEC).await.unwrap();
    let uid = locked.entry.uid.to_string();
    for text in ["web", "default/web", &uid, &uid[..8]] {
        assert_eq!(store.find(text).await.unwrap().uid, locked.entry.uid, "{text}");
    }
    assert_eq!(store.find("other/web").await.unwrap_err().kind(), Kind::NotFound);
}

#[tokio::test]
async fn behind_the_name_of_a_jobs_pod_is_the_one_that_was_made_in_its_place() {
    let (dir, store) = store();
    let path = dir.path().join("job.yaml");
    let job = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: pi}\nspec: {template: {spec: \
        {restartPolicy: Never, containers: [{name: a, image: i}]}}}\n";
    fs::write(&path, job).unwrap();
    let first = Definition::read(&path, &[], None).unwrap();
    let run = async |definition: Definition, ip: &str, phase: Phase| {
        let meta = definition.pod().unwrap().meta;
        let mut pod = store.lock_to_run(definition, &meta).await.unwrap();
        let mut state = PodState::new(&pod.entry.pod().unwrap(), Timestamp::from_nanos(7));
        state.addresses = vec![ip.to_owned()];
        state.status.phase = phase;
        pod.save(state).await.unwrap();
    };
    run(first.clone(), "10.0.0.1", Phase::Failed).await;
    assert_eq!(store.addresses("default", "pi").await, Ok(None));
    run(first.clone().again(1), "10.0.0.2", Phase::Failed).await;
    run(first.again(2), "10.0.0.3", Phase::Running).await;
    assert_eq!(store.addresses("default", "pi").await, Ok(Some(vec!["10.0.0.3".to_owned()])));
    // One that is merely called so is none.
    let path = dir.path().join("other.yaml");
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: web-retry1}\nspec:\n";
    fs::write(&path, format!("{pod}{SPEC}")).unwrap();
    run(Definition::read(&path, &[], None).unwrap(), "10.0.0.4", Phase::Running).await;
    assert_eq!(store.addresses("default", "web").await, Ok(None));
}
