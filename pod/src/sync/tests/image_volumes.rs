//! Images that are volumes.

use super::*;

/// A pod with a container that mounts an image, with this policy, and one that mounts nothing.
fn spec(policy: &str) -> String {
    format!(
        "  containers:
  - {{name: b, image: 'x:1'}}
  - {{name: a, image: 'x:1', volumeMounts: [{{name: v, mountPath: /data, subPath: in/it}}]}}
  volumes: [{{name: v, image: {{reference: 'r/v:1', pullPolicy: {policy}}}}}]
"
    )
}

#[tokio::test(start_paused = true)]
async fn the_files_of_an_image_are_a_volume() {
    let scene = Scene::new().await;
    let pod = scene.run(&spec("IfNotPresent"));
    seconds(2).await;
    let status = now(&pod);
    assert_eq!(status.phase, Phase::Running);
    let mount = scene.cri.mount("/data").unwrap();
    let image = mount.image.unwrap();
    assert_eq!((mount.host_path.as_str(), mount.readonly), ("", true));
    assert_eq!(mount.image_sub_path, "in/it");
    assert_eq!([&image.image, &image.user_specified_image], ["sha256:id", "r/v:1"]);
    let json = crate::status::to_json(&status, "rrun");
    let all = json["containerStatuses"].as_array().unwrap();
    let told = &all.iter().find(|c| c["name"] == "a").unwrap()["volumeMounts"][0];
    assert_eq!(told["volumeStatus"]["image"]["imageRef"], "sha256:id");
    let told = drain(pod.events());
    let of_volume: Vec<&Event> = told.iter().filter(|e| e.message.contains("r/v:1")).collect();
    assert_eq!(
        of_volume[0].message,
        "Container image \"r/v:1\" already present on machine and can be accessed by the pod"
    );
    assert_eq!((of_volume.len(), &of_volume[0].container), (1, &None));
}

#[tokio::test(start_paused = true)]
async fn an_image_of_a_volume_that_cannot_be_pulled_keeps_only_the_containers_that_mount_it() {
    let scene = Scene::new().await;
    scene.cri.fail_pulls("r/v:1", 2);
    let pod = scene.run(&spec("IfNotPresent"));
    tokio::time::sleep(Duration::from_millis(500)).await;
    let status = now(&pod);
    assert_eq!(
        (waiting(&status, "a"), waiting(&status, "b")),
        ("ErrImagePull".into(), "running".into())
    );
    seconds(5).await;
    let status = now(&pod);
    let State::Waiting { reason, message } = &status.container("a").unwrap().state else {
        panic!("waiting")
    };
    assert_eq!(reason, "ImagePullBackOff");
    assert_eq!(message, "Back-off pulling image \"r/v:1\": ErrImagePull: no such host");
    seconds(60).await;
    assert_eq!(waiting(&now(&pod), "a"), "running");
    assert_eq!(scene.cri.when("pull r/v:1"), [0, 11, 31]);
    let told: Vec<String> = drain(pod.events()).iter().map(ToString::to_string).collect();
    for line in [
        "Normal Pulling: Pulling image \"r/v:1\"",
        "Warning Failed: Failed to pull image \"r/v:1\": no such host",
        "Warning Failed a: Error: ErrImagePull",
        "Normal BackOff: Back-off pulling image \"r/v:1\"",
        "Warning Failed a: Error: ImagePullBackOff",
    ] {
        assert!(told.iter().any(|event| event == line), "{line}: {told:#?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_image_of_a_volume_that_is_never_pulled_must_be_here() {
    let scene = Scene::new().await;
    scene.cri.fail_pulls("r/v:1", 100);
    let pod = scene.run(&spec("Never"));
    seconds(30).await;
    let status = now(&pod);
    assert_eq!(waiting(&status, "a"), "ErrImageNeverPull");
    assert!(scene.cri.when("pull r/v:1").is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_image_of_a_volume_is_asked_for_at_each_start_where_its_policy_is_always() {
    let scene = Scene::new().await;
    scene.cri.script("a", &[Life::ends(1, 0)]);
    let pod = scene.run(&spec("Always"));
    seconds(5).await;
    let pulls = scene.cri.when("pull r/v:1").len();
    assert!(pulls >= 2, "{pulls}");
    assert_eq!(now(&pod).phase, Phase::Running);
}
