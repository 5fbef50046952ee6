//! By tag, by digest, and what is not there.

use crate::ground::{Ground, HOST, IMAGE, built, hosted, registry};
use rrun_images::Kind;

#[tokio::test]
async fn an_image_is_pulled_by_tag_and_by_digest_removed_and_pulled_again() {
    let (registry, ground, built) = (registry(), Ground::new().await, built());
    ground.hosts(&format!("server = 'http://{}'\n", registry.address()));
    let name = IMAGE.split(':').next().unwrap();
    let by_digest = format!("{HOST}/{name}@{}", built.index);
    let first = ground.pull(&by_digest, None).await.unwrap();
    assert_eq!(first.id.to_string(), built.config);
    assert!(first.tags.is_empty());
    assert_eq!(first.digests, std::slice::from_ref(&by_digest));
    let second = ground.pull_hosted().await.unwrap();
    assert_eq!((second.id.clone(), second.tags), (first.id, vec![hosted()]));
    assert!(ground.store.remove(&hosted()).await.unwrap());
    ground.assert_empty().await;
    assert!(!ground.store.remove(&hosted()).await.unwrap());
    assert_eq!(ground.pull_hosted().await.unwrap().id, second.id);
}

#[tokio::test]
async fn a_missing_image_a_missing_tag_and_a_missing_digest_are_not_found() {
    let (registry, ground) = (registry(), Ground::new().await);
    ground.hosts(&format!("server = 'http://{}'\n", registry.address()));
    let name = IMAGE.split(':').next().unwrap();
    let nothing = format!("{name}@sha256:{}", "0".repeat(64));
    for missing in ["no/such/image:1", &format!("{name}:no-such-tag"), &nothing] {
        let error = ground.pull(&format!("{HOST}/{missing}"), None).await.unwrap_err();
        assert_eq!(error.kind(), Kind::NotFound, "{error}");
        assert!(error.to_string().contains(missing), "{error}");
        ground.assert_empty().await;
    }
}
