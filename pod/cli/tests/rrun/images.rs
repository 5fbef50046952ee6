//! `rrun images`, `image import` and `rmi`.

use crate::machine::{IMAGE, Machine, TALK, await_that, pod, talk_layout, text};
use rrun_tests::registry::Registry;

#[test]
fn images_are_imported_listed_and_removed_by_name_and_id() {
    let machine = Machine::new();
    let listed = machine.ok(&["images"]);
    let rows: Vec<Vec<&str>> =
        listed.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["IMAGE", "ID", "SIZE"]);
    assert_eq!((rows[1][0], rows[2][0], rows.len()), (TALK, IMAGE, 3), "{listed}");
    assert!(rows[1][1].len() == 12 && rows[1][3] == "KiB", "{listed}");

    let path = talk_layout().to_str().unwrap();
    let other = "other.rrun.test/talk:2";
    assert_eq!(machine.ok(&["image", "import", path, other]), format!("{other}\n"));
    let tar = machine.sandbox.root().join("talk.tar");
    let packed = std::process::Command::new("tar")
        .args(["-cf", tar.to_str().unwrap(), "-C", path, "."])
        .status();
    assert!(packed.unwrap().success());
    assert!(machine.ok(&["image", "import", tar.to_str().unwrap()]).contains(TALK));

    machine.ok(&["rmi", rows[1][1]]);
    let left = machine.ok(&["images"]);
    assert!(!left.contains("talk") && left.contains(IMAGE), "{left}");
    machine.ok(&["rmi", IMAGE]);
    assert_eq!(machine.ok(&["images"]), "IMAGE  ID  SIZE\n");
    assert_eq!(
        machine.refused(&["rmi", IMAGE]),
        format!("rrun: image {IMAGE}: not found (rrun images)\n")
    );
    let missing = machine.refused(&["image", "import", "/none"]);
    assert!(missing.contains("/none"), "{missing}");
    let other = machine.refused(&["image", "import", "/etc/hostname"]);
    assert!(
        other.contains("/etc/hostname: no OCI layout and no archive of docker save"),
        "{other}"
    );
    let wrong = machine.refused(&["pull", "UPPER/case"]);
    assert!(wrong.contains("UPPER/case"), "{wrong}");
    let nowhere = machine.refused(&["pull", "127.0.0.1:1/none:1"]);
    assert!(nowhere.contains("127.0.0.1:1"), "{nowhere}");
}

#[test]
fn images_are_looked_at_named_and_removed_several_at_once() {
    let machine = Machine::new();
    machine.ok(&["image", "tag", TALK, "spoken:1"]);
    let inspected = machine.ok(&["image", "inspect", "spoken:1", IMAGE]);
    let inspected: serde_json::Value = serde_json::from_str(&inspected).unwrap();
    assert_eq!(inspected[0]["RepoTags"], serde_json::json!(["docker.io/library/spoken:1", TALK]));
    assert_eq!(
        (&inspected[1]["RepoTags"][0], &inspected[1]["Os"]),
        (&IMAGE.into(), &"linux".into())
    );
    assert_eq!(inspected[0]["RootFS"]["Layers"].as_array().unwrap().len(), 1);

    let rows = |text: &str| -> Vec<Vec<String>> {
        text.lines().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
    };
    let all = rows(&machine.ok(&["image", "du"]));
    assert_eq!(all.len(), 4, "{all:?}");
    assert_eq!(all[1][0], "docker.io/library/spoken:1");
    assert_eq!((&all[1][2..4], &all[1][4..6]), (&all[1][6..8], &["0", "B"].map(String::from)[..]));
    let layers = rows(&machine.ok(&["image", "du", TALK]));
    assert_eq!(layers.len(), 2, "{layers:?}");
    assert_eq!(inspected[0]["RootFS"]["Layers"][0], layers[1][0].as_str());
    let history = machine.ok(&["image", "history", TALK]);
    assert!(history.starts_with("CREATED"), "{history}");

    assert_eq!(machine.ok(&["image", "ls"]), machine.ok(&["images"]));
    let refused = machine.refused(&["image", "rm", "none:1", TALK, "none:2"]);
    assert_eq!(
        refused,
        "rrun: image none:1: not found (rrun images)\nrrun: image none:2: not found (rrun images)\n"
    );
    assert!(!machine.ok(&["images"]).contains("spoken"));
    for verb in ["inspect", "history", "du"] {
        assert!(machine.refused(&["image", verb, TALK]).contains("talk:latest: not found"));
    }
    assert!(machine.refused(&["image", "tag", TALK, "other:1"]).contains("no such image"));
    assert!(machine.refused(&["image", "tag", IMAGE, "UPPER"]).contains("UPPER"));
}

#[test]
fn images_are_hashed_again_and_exported_to_a_file_a_folder_or_a_pipe() {
    let machine = Machine::new();
    let whole = machine.ok(&["image", "verify"]);
    assert_eq!(whole.matches("  whole\n").count(), 2, "{whole}");
    let path = |name: &str| machine.sandbox.root().join(name).display().to_string();
    let (tar, folder) = (path("two.tar"), path("two/"));
    machine.ok(&["image", "export", "-o", &tar, TALK, IMAGE]);
    machine.ok(&["image", "export", "-o", &folder, TALK, IMAGE]);
    let piped = machine.rrun(&["image", "export", TALK]).stdout;
    assert!(!piped.is_empty() && piped.len().is_multiple_of(512));
    machine.ok(&["rmi", TALK, IMAGE]);
    let names = format!("{TALK}\n{IMAGE}\n");
    for from in [&tar, &folder] {
        assert_eq!(machine.ok(&["image", "import", from]), names);
    }
    let layers = machine.sandbox.state().join("images/layers");
    let mut layers = std::fs::read_dir(layers).unwrap().map(|entry| entry.unwrap().path());
    let program = layers.find_map(|layer| Some(layer.join("bin/talk")).filter(|p| p.exists()));
    std::fs::write(program.unwrap(), "x").unwrap();
    let told = machine.rrun(&["image", "verify", "--no-repair", TALK]);
    assert_eq!(told.status.code(), Some(1));
    let told = text(&told.stdout);
    assert!(told.contains("damaged: bin/talk: it is not the file of "), "{told}");
    let refused = machine.refused(&["image", "verify", TALK]);
    assert!(refused.contains("repair sha256:") && refused.contains("/talk@sha256:"), "{refused}");
    assert!(machine.ok(&["images"]).contains(TALK), "it stays as it was");
    assert!(machine.refused(&["image", "export", "none:1"]).contains("none:1: no such image"));
}

/// `someone`, `right`.
const HTPASSWD: &str = "someone:$2y$04$GAfcVQdCnE2L6nB9vWuFoeZAFckbj34JsGPUH7dWao/8VuMuwzai.\n";

/// A registry that wants them, and an image of it.
fn private(machine: &Machine) -> (Registry, String) {
    let file = machine.sandbox.root().join("htpasswd");
    std::fs::write(&file, HTPASSWD).unwrap();
    let storage = rrun_tests::images::store().unwrap().storage;
    let registry = Registry::options(&storage).read_only().htpasswd(&file);
    let registry = registry.behind(&machine.sandbox.prefix()).start().unwrap();
    let image = format!("{}/e2e-test-images/busybox:1.29-2", registry.address());
    (registry, image)
}

#[test]
fn a_pull_by_hand_shows_the_nodes_own_credentials() {
    let machine = Machine::new();
    let (registry, image) = private(&machine);
    let refused = machine.refused(&["pull", &image]);
    assert!(refused.contains("401 unauthorized"), "{refused}");
    let folder = machine.sandbox.inside("/var/lib/kubelet");
    std::fs::create_dir_all(&folder).unwrap();
    let auths = |password: &str| {
        let name = registry.address();
        let who = format!(r#"{{"username": "someone", "password": "{password}"}}"#);
        format!(r#"{{"auths": {{"{name}": {who}}}}}"#)
    };
    std::fs::write(folder.join("config.json"), auths("wrong")).unwrap();
    let refused = machine.refused(&["pull", &image]);
    assert!(refused.contains("401 unauthorized"), "{refused}");
    std::fs::write(folder.join("config.json"), auths("right")).unwrap();
    machine.ok(&["pull", &image]);
    assert!(machine.ok(&["images"]).contains(&image));
}

#[test]
fn an_image_that_one_pod_pulled_with_a_secret_is_not_for_a_pod_without_it() {
    let machine = Machine::new();
    let (registry, image) = private(&machine);
    let manifest = |name: &str, policy: &str, secret: &str| {
        let plain = pod(name, "Never", &["true"]).replace(IMAGE, &image);
        let plain = plain.replace("PullPolicy: Never", &format!("PullPolicy: {policy}"));
        machine.write(name, &format!("{plain}  imagePullSecrets: [{{name: {secret}}}]\n"))
    };
    let secret = |name: &str| {
        let auths = format!(
            r#"{{"auths": {{"{}": {{"username": "someone", "password": "right"}}}}}}"#,
            registry.address()
        );
        let kind = "kubernetes.io/dockerconfigjson";
        let text = format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}}}\ntype: {kind}\n\
             stringData: {{.dockerconfigjson: '{auths}'}}\n"
        );
        machine.write(&format!("secret-{name}"), &text)
    };
    let with = |path: &str, secret: &str| machine.rrun(&["run", "--with", secret, path]);
    let first = with(&manifest("first", "IfNotPresent", "own"), &secret("own"));
    assert_eq!(first.status.code(), Some(0), "{}", text(&first.stderr));
    for (policy, said) in
        [("Never", "not present with pull policy of Never"), ("IfNotPresent", "401 unauthorized")]
    {
        machine.ok(&["run", "--detach", &manifest("other", policy, "none")]);
        await_that(said, || machine.ok(&["events", "other"]).contains(said));
        machine.ok(&["rm", "--force", "other"]);
    }
    // Another file and another name, and the same credentials.
    let third = with(&manifest("third", "Never", "same"), &secret("same"));
    assert_eq!(third.status.code(), Some(0), "{}", text(&third.stderr));
    let on_record = || {
        let folder = machine.sandbox.state().join("pulls/local/pulled");
        std::fs::read_dir(folder).unwrap().count()
    };
    // What a registry does not take is told by the name of the Secret.
    let wrong = std::fs::read_to_string(secret("wrong")).unwrap();
    let wrong = machine.write("secret-wrong", &wrong.replace("\"right\"", "\"false\""));
    machine.ok(&["run", "--detach", "--with", &wrong, &manifest("fourth", "Always", "wrong")]);
    let said = "(credentials of secret default/wrong)";
    await_that(said, || machine.ok(&["events", "fourth"]).contains(said));
    machine.ok(&["rm", "--force", "fourth"]);
    machine.configure("[images]\nimage_pull_credentials_verification_policy = \"NeverVerify\"\n");
    machine.ok(&["run", &manifest("other", "Never", "none")]);
    machine.configure("[images]\nimage_pull_credentials_verification_policy = \"Sometimes\"\n");
    let refused = machine.refused(&["run", &manifest("other", "Never", "none")]);
    assert!(refused.contains("\"Sometimes\" is no policy of the kubelet's"), "{refused}");
    machine.configure("");
    assert_eq!(on_record(), 1);
    machine.ok(&["rmi", &image]);
    assert_eq!(on_record(), 0, "who pulled an image that was removed");
}
