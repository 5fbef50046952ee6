//! Services that lead to other pods of the manifest.

use super::*;

const MANIFEST: &str = "  containers: [{name: a, image: x:1}]
---
apiVersion: v1
kind: Pod
metadata: {name: db, labels: {app: db}}
spec: {containers: [{name: a, image: x:1}]}
---
apiVersion: v1
kind: Service
metadata: {name: db}
spec: {selector: {app: db}, ports: [{port: 5432}]}
";

const LINE: &str = "\tdb.default.svc.cluster.local\tdb.default.svc\tdb.default\tdb\n";

fn starts(scene: &Scene) -> usize {
    scene.cri.when("start a").len()
}

#[tokio::test(start_paused = true)]
async fn containers_wait_for_the_addresses_that_their_services_lead_to() {
    let scene = Scene::new().await;
    let is_at = |address: &[&str]| {
        let addresses = address.iter().map(|text| (*text).to_owned()).collect();
        scene.node.others.lock().unwrap().insert("default/db".to_owned(), addresses);
    };
    let hosts = || scene.node.hosts.lock().unwrap().last().cloned().unwrap_or_default();
    is_at(&[]);
    let _pod = scene.run(MANIFEST);
    seconds(5).await;
    assert_eq!(starts(&scene), 0, "its address is not known");
    is_at(&["10.0.0.7"]);
    seconds(1).await;
    assert_eq!(starts(&scene), 1);
    assert!(hosts().ends_with(&format!("10.0.0.7{LINE}")), "{}", hosts());
    // It was made anew.
    is_at(&["10.0.0.8"]);
    seconds(7).await;
    assert_eq!(starts(&scene), 1);
    assert!(hosts().ends_with(&format!("10.0.0.8{LINE}")), "{}", hosts());
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_nobody_runs_is_not_waited_for_long() {
    let scene = Scene::new().await;
    let _pod = scene.run(MANIFEST);
    seconds(1).await;
    assert_eq!(starts(&scene), 0);
    seconds(2).await;
    assert_eq!(starts(&scene), 1);
    assert!(!scene.node.hosts.lock().unwrap().concat().contains("db"), "it has no address");
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_gets_no_address_is_given_up_after_a_while() {
    let scene = Scene::new().await;
    scene.node.others.lock().unwrap().insert("default/db".to_owned(), Vec::new());
    let pod = scene.run(MANIFEST);
    seconds(11).await;
    assert_eq!(starts(&scene), 1);
    pod.stop(Some(0));
    pod.wait().await;
}
