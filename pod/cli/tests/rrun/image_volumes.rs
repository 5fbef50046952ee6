//! Images that are volumes of pods.

use crate::images::private;
use crate::machine::{IMAGE, Machine, TALK, await_that, pod};

/// A pod that sleeps, with this image as a volume.
fn with_volume(name: &str, image: &str, policy: &str, mount: &str) -> String {
    let plain = pod(name, "Always", &["sleeper"]);
    format!(
        "{plain}      volumeMounts: [{{name: data, {mount}}}]
  volumes: [{{name: data, image: {{reference: {image}, pullPolicy: {policy}}}}}]
"
    )
}

#[test]
fn a_pod_has_the_files_of_an_image_and_keeps_the_image() {
    let machine = Machine::new();
    let manifest = with_volume("mine", TALK, "Never", "mountPath: /data");
    let whole = machine.write("whole", &manifest);
    machine.ok(&["validate", &whole]);
    let explained = machine.ok(&["explain", &whole]);
    for words in [
        format!("  data: the image {TALK}, which must be here\n"),
        "  mount: /data is the volume data, read-only\n".to_owned(),
    ] {
        assert!(explained.contains(&words), "{words}: {explained}");
    }
    let run = machine.start(&["run", &whole]);
    run.expect("pod mine: Running");
    assert_eq!(machine.ok(&["exec", "mine", "--", "/data/bin/talk", "say", "hello"]), "hello");
    let written = machine.rrun(&["exec", "mine", "--", "/data/bin/talk", "write", "/data/x", "y"]);
    assert_ne!(written.status.code(), Some(0));
    assert!(machine.ok(&["describe", "mine"]).contains(TALK));
    let status: serde_json::Value =
        serde_json::from_str(&machine.ok(&["ps", "-o", "json"])).unwrap();
    let id = machine.ok(&["images", "-q", TALK]);
    assert!(
        status
            .to_string()
            .contains(&format!(r#""volumeStatus":{{"image":{{"imageRef":"{}"}}}}"#, id.trim())),
        "{status}"
    );

    // Whoever looks through the store, or collects images, knows of it.
    let used = machine.ok(&["image", "du", TALK]);
    assert!(used.contains("container/"), "{used}");
    assert!(machine.ok(&["fsck"]).ends_with("nothing is wrong\n"));
    machine.ok(&["image", "prune", "--all"]);
    assert!(machine.ok(&["images"]).contains("talk"));
    machine.ok(&["rmi", TALK]);
    assert_eq!(machine.ok(&["exec", "mine", "--", "/data/bin/talk", "say", "hello"]), "hello");
    assert!(machine.ok(&["fsck"]).ends_with("nothing is wrong\n"));
    run.signal("INT");
    run.end();
    machine.rrun(&["rm", "mine"]);
    let layers = machine.sandbox.state().join("images/layers");
    await_that("its layer is gone", || std::fs::read_dir(&layers).unwrap().count() == 1);
}

#[test]
fn a_folder_of_an_image_is_a_volume_and_one_that_is_not_there_is_told() {
    let machine = Machine::new();
    let manifest = with_volume("part", TALK, "Never", "mountPath: /data, subPath: bin");
    let run = machine.run("part", &manifest);
    run.expect("pod part: Running");
    assert_eq!(machine.ok(&["exec", "part", "--", "/data/talk", "say", "hello"]), "hello");
    // A container that is started again has it again.
    machine.rrun(&["exec", "part", "--", "/data/talk", "write", "/restart", ""]);
    run.signal("INT");
    run.end();
    let manifest = with_volume("none", TALK, "Never", "mountPath: /data, subPath: none");
    machine.ok(&["run", "--detach", &machine.write("none", &manifest)]);
    let said = "Error: ImageVolumeMountFailed: create container main: mount /data: image sha256:";
    await_that(said, || {
        let told = machine.ok(&["events", "none"]);
        told.contains(said) && told.contains("image_sub_path \"none\": not found in the image")
    });
    assert!(machine.ok(&["why", "none"]).contains("CreateContainerError"));
    machine.ok(&["rm", "--force", "none"]);
    let bad =
        with_volume("bad", TALK, "Never", "mountPath: /data, mountPropagation: Bidirectional");
    let bad = bad.replace("args:", "securityContext: {privileged: true}\n      args:");
    let refused = machine.refused(&["validate", &machine.write("bad", &bad)]);
    assert!(
        refused.contains("mountPropagation: Bidirectional: nothing can be mounted"),
        "{refused}"
    );
}

#[test]
fn an_image_of_a_volume_is_pulled_by_its_policy_with_the_pods_secrets() {
    let machine = Machine::new();
    let (registry, image) = private(&machine);
    let manifest = |name: &str, policy: &str, secret: &str| {
        let plain = with_volume(name, &image, policy, "mountPath: /data");
        let plain = plain.replace(IMAGE, TALK).replace("[\"sleeper\"]", "[ask, '']");
        machine.write(name, &format!("{plain}  imagePullSecrets: [{{name: {secret}}}]\n"))
    };
    let auths = format!(
        r#"{{"auths": {{"{}": {{"username": "someone", "password": "right"}}}}}}"#,
        registry.address()
    );
    let secret = format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: own}}\n\
         type: kubernetes.io/dockerconfigjson\nstringData: {{.dockerconfigjson: '{auths}'}}\n"
    );
    let secret = machine.write("secret", &secret);
    let told = |name: &str, said: &str| {
        await_that(said, || machine.ok(&["events", name]).contains(said));
    };
    // It waits with the reason of the volume's image; its own is here.
    machine.ok(&["run", "--detach", &manifest("never", "Never", "none")]);
    told("never", &format!("Container image \"{image}\" is not present with pull policy of Never"));
    told("never", "Error: ErrImageNeverPull");
    machine.ok(&["rm", "--force", "never"]);
    machine.ok(&["run", "--detach", &manifest("without", "IfNotPresent", "none")]);
    told("without", "401 unauthorized");
    told("without", "Error: ErrImagePull");
    await_that("it waits", || {
        machine.ok(&["why", "without"]).contains("ErrImagePull")
            || machine.ok(&["why", "without"]).contains("ImagePullBackOff")
    });
    machine.ok(&["rm", "--force", "without"]);

    machine.ok(&["run", "--detach", "--with", &secret, &manifest("with", "Always", "own")]);
    machine.await_ps("with", "1/1", "Running");
    let events = machine.ok(&["events", "with"]);
    for said in ["Pulling image", "Successfully pulled image"] {
        assert!(events.contains(&format!("{said} \"{image}\"")), "{events}");
    }
    let shown = machine.ok(&["exec", "with", "--", "/bin/talk", "show", "/data/etc/passwd"]);
    assert!(shown.starts_with("root:"), "{shown}");
    machine.ok(&["rm", "--force", "with"]);
}
