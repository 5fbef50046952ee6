//! Who may pull.

use crate::proxy::{Proxy, Verdict};
use crate::setup::{IMAGE, Setup, hosted, registry, someone};
use rrun_images::Kind;
use rrun_tests::images;
use rrun_tests::registry::Registry;

/// `someone`, `right`.
const HTPASSWD: &str = "someone:$2y$04$GAfcVQdCnE2L6nB9vWuFoeZAFckbj34JsGPUH7dWao/8VuMuwzai.\n";
/// `someone:right` in base64.
const BASIC: &str = "Basic c29tZW9uZTpyaWdodA==";
const TOKEN: &str = r#"{"token":"opaque-token"}"#;

#[tokio::test]
async fn htpasswd_lets_the_right_password_in_and_a_wrong_one_and_none_are_denied() {
    let setup = Setup::new().await;
    let file = setup.root().join("htpasswd");
    std::fs::write(&file, HTPASSWD).unwrap();
    let storage = images::store().unwrap().storage;
    let registry = Registry::options(&storage).read_only().htpasswd(&file).start().unwrap();
    let name = format!("{}/{IMAGE}", registry.address());
    for auth in [None, Some(someone("wrong"))] {
        let error = setup.pull(&name, auth.as_ref()).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Denied, "{error}");
        assert!(error.to_string().contains("401 unauthorized"), "{error}");
        assert!(!error.to_string().contains("wrong"), "{error}");
        setup.assert_empty().await;
    }
    setup.pull(&name, Some(&someone("right"))).await.unwrap();
    // The image is here now, and still nobody gets it by a wrong password.
    let error = setup.pull(&name, Some(&someone("wrong"))).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Denied, "{error}");
}

#[tokio::test]
async fn a_token_server_gives_a_bearer_token_for_the_password() {
    let registry = registry();
    let proxy = Proxy::before(registry.address(), |request| {
        if request.path.starts_with("/token") {
            let is_scoped = request.path.contains("repository%3Ae2e-test-images%2Fbusybox%3Apull");
            return match request.authorization == BASIC && is_scoped {
                true => Verdict::Say("200 OK", String::new(), TOKEN),
                false => Verdict::Say("401 Unauthorized", String::new(), ""),
            };
        }
        if request.authorization == "Bearer opaque-token" {
            return Verdict::Pass;
        }
        let realm = format!("Bearer realm=\"http://{}/token\",service=\"test\"", request.host);
        let scope = "scope=\"repository:e2e-test-images/busybox:pull\"";
        let challenge = format!("www-authenticate: {realm},{scope}\r\n");
        Verdict::Say("401 Unauthorized", challenge, "")
    });
    let setup = Setup::new().await;
    setup.hosts(&format!("server = 'http://{}'\n", proxy.address));
    for auth in [None, Some(someone("wrong"))] {
        let error = setup.pull(&hosted(), auth.as_ref()).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Denied, "{error}");
        assert!(error.to_string().contains("token server http://"), "{error}");
        setup.assert_empty().await;
    }
    setup.pull(&hosted(), Some(&someone("right"))).await.unwrap();
}
