//! Variables from files that other containers of the pod have written.

use super::*;

const SPEC: &str = "  containers:
  - name: a
    image: x:1
    env: [{name: A, valueFrom: {fileKeyRef: {volumeName: v, path: out/env, key: TOKEN}}}]
    volumeMounts: [{name: v, mountPath: /v}]
  volumes: [{name: v}]
";

#[tokio::test(start_paused = true)]
async fn a_file_without_its_variable_is_a_config_error_until_it_has_one() {
    let scene = Scene::new().await;
    let pod = scene.run(SPEC);
    let message = || match &now(&pod).containers[0].state {
        State::Waiting { message, .. } => message.clone(),
        other => panic!("{other:?}"),
    };
    let write = |text: &str| {
        scene.node.files.lock().unwrap().insert("/v/v/out/env".into(), text.to_owned());
    };
    seconds(2).await;
    assert_eq!(waiting(&now(&pod), "a"), "CreateContainerConfigError");
    assert!(message().contains("couldn't parse env file \"out/env\""), "{}", message());
    for (text, said) in [
        ("TOKEN=x\n", "line 1: has a value without single quotes"),
        ("OTHER='x'\n", "environment variable key \"TOKEN\" not found in file \"out/env\" of v"),
    ] {
        write(text);
        seconds(300).await;
        assert!(message().contains(said), "{}", message());
    }
    write("TOKEN='x'\n");
    seconds(300).await;
    assert_eq!(waiting(&now(&pod), "a"), "running");
}

#[tokio::test(start_paused = true)]
async fn an_optional_variable_may_be_missing_but_not_its_file() {
    let scene = Scene::new().await;
    let pod = scene.run(&SPEC.replace("key: TOKEN", "key: TOKEN, optional: true"));
    seconds(2).await;
    assert_eq!(waiting(&now(&pod), "a"), "CreateContainerConfigError");
    scene.node.files.lock().unwrap().insert("/v/v/out/env".into(), String::new());
    seconds(300).await;
    assert_eq!(waiting(&now(&pod), "a"), "running");
}

#[tokio::test(start_paused = true)]
async fn a_volume_that_no_container_mounts_has_no_file_of_variables() {
    let scene = Scene::new().await;
    let pod = scene.run(&SPEC.replace("    volumeMounts: [{name: v, mountPath: /v}]\n", ""));
    scene.node.files.lock().unwrap().insert("/v/v/out/env".into(), "TOKEN='x'\n".into());
    seconds(2).await;
    let State::Waiting { message, .. } = &now(&pod).containers[0].state else {
        panic!("{:?}", now(&pod))
    };
    assert_eq!(message, "cannot find the volume \"v\" referenced by FileKeyRef");
}
