//! By tag, by digest, and what is not there.

use crate::setup::{HOST, IMAGE, Setup, built, hosted, registry};
use rrun_images::Kind;

#[tokio::test]
async fn an_image_is_pulled_by_tag_and_by_digest_removed_and_pulled_again() {
    let (registry, setup, built) = (registry(), Setup::new().await, built());
    setup.hosts(&format!("server = 'http://{}'\n", registry.address()));
    let name = IMAGE.split(':').next().unwrap();
    let by_digest = format!("{HOST}/{name}@{}", built.index);
    let first = setup.pull(&by_digest, None).await.unwrap();
    assert_eq!(first.id.to_string(), built.config);
    assert!(first.tags.is_empty());
    assert_eq!(first.digests, std::slice::from_ref(&by_digest));
    let second = setup.pull_hosted().await.unwrap();
    assert_eq!((second.id.clone(), second.tags), (first.id, vec![hosted()]));
    assert!(setup.store.remove(&hosted(), rrun_images::Origin::Person).await.unwrap());
    setup.assert_empty().await;
    assert!(!setup.store.remove(&hosted(), rrun_images::Origin::Person).await.unwrap());
    assert_eq!(setup.pull_hosted().await.unwrap().id, second.id);
}

#[tokio::test]
async fn a_missing_image_a_missing_tag_and_a_missing_digest_are_not_found() {
    let (registry, setup) = (registry(), Setup::new().await);
    setup.hosts(&format!("server = 'http://{}'\n", registry.address()));
    let name = IMAGE.split(':').next().unwrap();
    let nothing = format!("{name}@sha256:{}", "0".repeat(64));
    for missing in ["no/such/image:1", &format!("{name}:no-such-tag"), &nothing] {
        let error = setup.pull(&format!("{HOST}/{missing}"), None).await.unwrap_err();
        assert_eq!(error.kind(), Kind::NotFound, "{error}");
        assert!(error.to_string().contains(missing), "{error}");
        setup.assert_empty().await;
    }
}
