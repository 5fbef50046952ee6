//! Pulls that fail, and images that were pulled with credentials.

use std::sync::atomic::Ordering;

use rrun_cri_api::v1;

use super::*;
use crate::credentials::{Known, NodeCredentials};
use crate::error::{Error, Kind};
use crate::node::Node;
use crate::pull_records::Access;

#[tokio::test(start_paused = true)]
async fn a_pull_that_fails_backs_off_and_says_why() {
    let scene = Scene::new().await;
    scene.cri.fail_pulls("r/x:1", 3);
    let pod = scene.run("  containers: [{name: a, image: 'r/x:1'}]\n");
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(waiting(&now(&pod), "a"), "ErrImagePull");
    seconds(5).await;
    assert_eq!(waiting(&now(&pod), "a"), "ImagePullBackOff");
    seconds(10).await;
    assert_eq!(waiting(&now(&pod), "a"), "ErrImagePull");
    seconds(10).await;
    let status = now(&pod);
    let State::Waiting { reason, message } = &status.containers[0].state else { panic!("waiting") };
    assert_eq!(reason, "ImagePullBackOff");
    assert_eq!(message, "Back-off pulling image \"r/x:1\": ErrImagePull: no such host");
    seconds(100).await;
    assert_eq!(now(&pod).phase, Phase::Running);
    assert_eq!(scene.cri.when("pull r/x:1"), [0, 11, 31, 71]);
    let told = drain(pod.events());
    let reasons: Vec<Reason> = told.iter().map(|e| e.reason).collect();
    assert_eq!(reasons[..3], [Reason::Pulling, Reason::Failed, Reason::Failed]);
    assert_eq!(reasons[reasons.len() - 3..], [Reason::Pulled, Reason::Created, Reason::Started]);
}

/// A pod of its own uid with an image that is here, and with these credentials if it has any.
fn private(uid: &str, policy: &str, user: Option<&str>) -> Pod {
    let secret = |user: &str| {
        format!(
            "---
apiVersion: v1
kind: Secret
metadata: {{name: {uid}}}
type: kubernetes.io/dockerconfigjson
stringData: {{.dockerconfigjson: '{{\"auths\": {{\"r.io\": {{\"username\": \"{user}\", \"password\": \"p\"}}}}}}'}}
"
        )
    };
    let mut pod = testing::pod(&format!(
        "  imagePullSecrets: [{{name: {uid}}}]
  containers: [{{name: a, image: r.io/p:1, imagePullPolicy: {policy}}}]
{}",
        user.map(secret).unwrap_or_default()
    ));
    pod.meta.uid = PodUid::parse(uid).unwrap();
    pod
}

#[tokio::test(start_paused = true)]
async fn an_image_that_was_pulled_with_credentials_is_not_for_pods_without_them() {
    let scene = Scene::new().await;
    scene.cri.private.lock().unwrap().insert("r.io/p:1".into(), "anna".into());
    let preloaded = scene.engine.run(private("u-0", "IfNotPresent", None));
    seconds(2).await;
    assert_eq!(waiting(&now(&preloaded), "a"), "running", "nobody pulled it for a pod");
    let first = scene.engine.run(private("u-1", "Always", Some("anna")));
    seconds(2).await;
    assert_eq!(waiting(&now(&first), "a"), "running");
    let pulls = || scene.cri.when("pull r.io/p:1").len();
    assert_eq!(pulls(), 1);
    for (uid, policy, user, want, more) in [
        ("u-2", "IfNotPresent", Some("anna"), "running", 0),
        ("u-3", "Never", Some("anna"), "running", 0),
        ("u-4", "Never", None, "ErrImageNeverPull", 0),
        ("u-5", "IfNotPresent", None, "ImagePullBackOff", 1),
        ("u-6", "IfNotPresent", Some("bob"), "ImagePullBackOff", 1),
    ] {
        let before = pulls();
        let pod = scene.engine.run(private(uid, policy, user));
        seconds(2).await;
        assert_eq!((waiting(&now(&pod), "a").as_str(), pulls() - before), (want, more), "{uid}");
    }
    // Who may pull it without credentials makes it everybody's.
    scene.cri.private.lock().unwrap().clear();
    for uid in ["u-7", "u-8"] {
        let pod = scene.engine.run(private(uid, "IfNotPresent", None));
        seconds(2).await;
        assert_eq!(waiting(&now(&pod), "a"), "running");
    }
    assert_eq!(pulls(), 4);
    let said = drain(preloaded.events());
    let here =
        "Container image \"r.io/p:1\" already present on machine and can be accessed by the pod";
    assert!(said.iter().any(|e| e.reason == Reason::Pulled && e.message == here), "{said:?}");
}

#[tokio::test(start_paused = true)]
async fn after_fitting_credentials_nobody_tries_without_and_what_each_was_answered_is_told() {
    let own = "r.io/p:1";
    let node = |user: &str| Known {
        auth: v1::AuthConfig { username: user.into(), password: "p".into(), ..Default::default() },
        source: "/c.json".into(),
    };
    let hung = Error::new(Kind::Timeout, "not done after 60 s").context("docker-credential-x");
    for (user, of_node, missing, shown, told) in [
        (None, None, None, &[None][..], "nobody may not pull it"),
        (
            Some("bob"),
            None,
            None,
            &[Some("bob")],
            "bob may not pull it (credentials of secret default/u-1)",
        ),
        (
            None,
            Some(node("node")),
            None,
            &[Some("node")],
            "node may not pull it (credentials of the node: /c.json)",
        ),
        (
            Some("bob"),
            Some(node("node")),
            None,
            &[Some("bob"), Some("node")],
            "[bob may not pull it (credentials of secret default/u-1), \
             node may not pull it (credentials of the node: /c.json)]",
        ),
        (
            None,
            None,
            Some(hung),
            &[None],
            "nobody may not pull it (missing credentials: docker-credential-x: not done after 60 s)",
        ),
    ] {
        let scene = Scene::new().await;
        scene.cri.private.lock().unwrap().insert(own.into(), "anna".into());
        let known = Vec::from_iter(of_node);
        let missing = Vec::from_iter(missing);
        *scene.node.credentials.lock().unwrap() = NodeCredentials { known, missing };
        let pod = scene.engine.run(private("u-1", "Always", user));
        seconds(1).await;
        let asked = scene.cri.shown.lock().unwrap().clone();
        let asked: Vec<_> = asked.iter().map(Option::as_deref).collect();
        assert_eq!(asked, shown);
        let status = now(&pod);
        let State::Waiting { reason, message } = &status.container("a").unwrap().state else {
            panic!("{status:?}");
        };
        assert_eq!((reason.as_str(), message.as_str()), ("ErrImagePull", told));
    }
}

#[tokio::test(start_paused = true)]
async fn a_pull_that_the_pods_end_cuts_off_is_on_no_record_and_what_came_of_it_is_nobodys() {
    for (image, came) in [("r.io/none:1", false), ("r.io/p:1", true)] {
        let scene = Scene::new().await;
        scene.cri.pull_takes.store(60, Ordering::Relaxed);
        if !came {
            scene.cri.fail_pulls(image, usize::MAX);
        }
        let spec =
            format!("  containers: [{{name: a, image: '{image}', imagePullPolicy: Always}}]\n");
        let pod = scene.run(&spec);
        seconds(2).await;
        assert_eq!(scene.node.pulling.lock().unwrap().len(), 1);
        pod.stop(Some(1));
        seconds(5).await;
        assert!(*scene.node.torn_down.lock().unwrap());
        assert!(scene.node.pulling.lock().unwrap().is_empty(), "{image}");
        let pulls = scene.node.pulls.lock().unwrap();
        let access = pulls.get("sha256:id").map(|found| found.access["r.io/p"].clone());
        assert_eq!(access, came.then(|| Access::Credentials([].into())), "{image}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_pull_whose_process_was_killed_goes_off_the_record_with_the_pod() {
    let scene = Scene::new().await;
    let pod = private("u-1", "Always", None);
    let others = PodUid::parse("u-2").unwrap();
    scene.node.pull_begins(&pod.meta.uid, "r.io/p:1").await.unwrap();
    scene.node.pull_begins(&others, "r.io/p:1").await.unwrap();
    scene.engine.remove(&pod).await.unwrap();
    assert_eq!(scene.node.pulls_of(&pod.meta.uid).await.unwrap(), [""; 0]);
    assert_eq!(scene.node.pulls_of(&others).await.unwrap(), ["r.io/p:1"]);
}
