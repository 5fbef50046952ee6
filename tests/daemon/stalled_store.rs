//! A store of images that does not answer.

use crate::suite::*;
use rrun_cri_api::Cri;
use rrun_cri_api::v1::*;
use rusqlite::Connection;

/// More than the daemon has threads that serve.
const CALLS: usize = 12;

/// Removals beside them.
const REMOVALS: usize = 4;

#[tokio::test]
async fn calls_that_need_no_image_are_answered_while_the_store_stalls() {
    let suite = Suite::start().await;
    let (pod, _) = suite.run("stays", &["/bin/sleeper"]).await;
    let database = suite.harness.sandbox().state().join("images/records.db");
    let store = Connection::open(database).unwrap();
    store.execute_batch("BEGIN EXCLUSIVE").unwrap();

    let client = &suite.harness.client;
    let stalled = async {
        let removed =
            ImageSpec { image: "images.rrun.test/none:1".to_owned(), ..Default::default() };
        let mut all = tokio::task::JoinSet::new();
        for _ in 0..REMOVALS {
            let (client, image) = (client.clone(), Some(removed.clone()));
            let call = async move { client.remove_image(RemoveImageRequest { image }).await };
            all.spawn(async move { call.await.map(drop) });
        }
        for _ in 0..CALLS {
            let client = client.clone();
            all.spawn(async move { client.list_images(Default::default()).await.map(drop) });
        }
        all.join_all().await
    };
    tokio::pin!(stalled);
    let others = async {
        client.version(Default::default()).await.unwrap();
        let all = client.list_containers(Default::default()).await.unwrap().containers;
        assert_eq!(all.len(), 1);
        suite.stop(&pod).await;
    };
    tokio::select! {
        biased;
        _ = &mut stalled => panic!("the store did not stall"),
        () = others => {}
    }
    store.execute_batch("ROLLBACK").unwrap();
    for answered in stalled.await {
        answered.unwrap();
    }
    suite.remove(&pod).await;
    suite.assert_nothing_left();
}
