//! `rrun images`, `image import` and `rmi`.

use crate::machine::{IMAGE, Machine, TALK, await_that, pod, talk_layout, text};
use rrun_tests::registry::Registry;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

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
    assert_eq!(layers.len(), 3, "{layers:?}");
    assert_eq!(inspected[0]["RootFS"]["Layers"][0], layers[1][0].as_str());
    assert_eq!(layers[1][1..3], layers[1][5..7], "all of it would be freed");
    assert_eq!(layers[2][..4], ["rrun", "rmi", "would", "free"].map(String::from));
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
    let said = text(&machine.rrun(&["image", "export", "-o", &folder, TALK, IMAGE]).stderr);
    assert_eq!(said, "", "their layers were never compressed: they are as they came");
    let digests = || machine.ok(&["images", "--digests", "--no-trunc"]);
    let before = digests();
    let piped = machine.rrun(&["image", "export", TALK]).stdout;
    assert!(!piped.is_empty() && piped.len().is_multiple_of(512));
    machine.ok(&["rmi", TALK, IMAGE]);
    let names = format!("{TALK}\n{IMAGE}\n");
    for from in [&tar, &folder] {
        assert_eq!(machine.ok(&["image", "import", from]), names);
        assert_eq!(digests(), before);
    }
    let layer = layer_of_talk(&machine);
    let (damaged, said) = match layer.join("archive") {
        archive if archive.exists() => (archive, "damaged: the content has digest sha256:"),
        _ => (layer.join("bin/talk"), "damaged: bin/talk: it is not the file of "),
    };
    std::fs::write(damaged, "x").unwrap();
    let told = machine.rrun(&["image", "verify", "--no-repair", TALK]);
    assert_eq!(told.status.code(), Some(1));
    let told = text(&told.stdout);
    assert!(told.contains(said), "{told}");
    let refused = machine.refused(&["image", "verify", TALK]);
    assert!(refused.contains("repair sha256:") && refused.contains("/talk@sha256:"), "{refused}");
    assert!(machine.ok(&["images"]).contains(TALK), "it stays as it was");
    assert!(machine.refused(&["image", "export", "none:1"]).contains("none:1: no such image"));
}

/// Where the layer of an image is, a directory or its archive and the index of that.
fn layer_of_talk(machine: &Machine) -> std::path::PathBuf {
    let inspected = machine.ok(&["image", "inspect", TALK]);
    let inspected: serde_json::Value = serde_json::from_str(&inspected).unwrap();
    let diff_id = inspected[0]["RootFS"]["Layers"][0].as_str().unwrap();
    let name = diff_id.strip_prefix("sha256:").unwrap();
    machine.sandbox.state().join("images/layers").join(name)
}

/// `someone`, `right`.
const HTPASSWD: &str = "someone:$2y$04$GAfcVQdCnE2L6nB9vWuFoeZAFckbj34JsGPUH7dWao/8VuMuwzai.\n";

/// A registry that wants them, and an image of it.
pub fn private(machine: &Machine) -> (Registry, String) {
    let file = machine.sandbox.root().join("htpasswd");
    std::fs::write(&file, HTPASSWD).unwrap();
    let storage = rrun_tests::images::store().unwrap().storage;
    let registry = Registry::options(&storage).read_only().htpasswd(&file);
    let registry = registry.behind(&machine.sandbox.prefix()).start().unwrap();
    let image = format!("{}/e2e-test-images/busybox:1.29-2", registry.address());
    (registry, image)
}

#[test]
fn a_pull_tells_people_a_line_for_each_layer_and_programs_an_object_for_each_event() {
    let machine = Machine::new();
    let storage = rrun_tests::images::store().unwrap().storage;
    let registry = Registry::options(&storage).read_only().behind(&machine.sandbox.prefix());
    let registry = registry.start().unwrap();
    let image = format!("{}/e2e-test-images/busybox:1.29-2", registry.address());
    let told = machine.rrun(&["pull", &image]);
    assert!(told.status.success(), "{}", text(&told.stderr));
    let (id, said) = (text(&told.stdout), text(&told.stderr));
    assert!(id.starts_with("sha256:"), "{id}");
    assert!(said.starts_with(&format!("rrun: {image}: 1 layer, ")), "{said}");
    assert!(said.contains(": 1 layer; manifest "), "{said}");
    assert_eq!(said.lines().count(), 3, "{said}");

    let quiet = machine.rrun(&["pull", "--quiet", &image]);
    assert_eq!((text(&quiet.stdout), text(&quiet.stderr)), (id.clone(), String::new()));

    let objects = |output: &str| -> Vec<serde_json::Value> {
        output.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let here = objects(&machine.ok(&["pull", "-o", "json", &image]));
    assert_eq!((&here[0]["event"], here.len()), (&"upToDate".into(), 2));
    machine.ok(&["rmi", &image]);
    let all = objects(&machine.ok(&["pull", "-o", "json", &image]));
    let events: Vec<&str> = all.iter().map(|one| one["event"].as_str().unwrap()).collect();
    assert_eq!(
        (events[0], &events[events.len() - 3..]),
        ("resolved", &["recording", "recorded", "pulled"][..])
    );
    assert!(events.contains(&"fetched") && events.contains(&"unpacked"), "{events:?}");
    assert_eq!(all.last().unwrap()["id"], id.trim_end());

    // What came compressed is kept uncompressed, and so it is exported.
    let path = machine.sandbox.root().join("out.tar").display().to_string();
    let said = text(&machine.rrun(&["image", "export", "-o", &path, &image]).stderr);
    let (name, _) = image.rsplit_once(':').unwrap();
    let lost = format!(" it is not found as {name}@sha256:");
    assert!(said.starts_with(&format!("rrun: {image}: written as sha256:")), "{said}");
    assert!(said.contains(&lost), "{said}");
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

    // A program of the node's owner has the last word, also about what is here.
    let verifiers = machine.sandbox.root().join("verifiers");
    std::fs::create_dir(&verifiers).unwrap();
    let program = verifiers.join("policy");
    std::fs::write(&program, "#!/bin/sh\necho \"$2: not today\"\nexit 1\n").unwrap();
    let mode = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(&program, 0o755);
    machine.configure(&format!("[images]\nverifier_bin_dir = {verifiers:?}\n"));
    let refused = machine.refused(&["pull", &image]);
    let said = format!("verifier policy: it refuses the image (exit status 1): {image}: not today");
    assert!(refused.contains(&said), "{refused}");
    mode(&program, 0o777);
    let refused = machine.refused(&["pull", &image]);
    assert!(refused.contains("policy: others may write to it (mode 0777)"), "{refused}");
    assert!(machine.ok(&["images"]).contains(&image));
}

#[test]
fn what_is_listed_and_looked_at_is_for_people_and_for_programs() {
    let machine = Machine::new();
    let json = |args: &[&str]| -> serde_json::Value {
        serde_json::from_str(&machine.ok(&[args, &["-o", "json"]].concat())).unwrap()
    };
    let listed = json(&["images", TALK]);
    assert_eq!((listed.as_array().unwrap().len(), &listed[0]["repoTags"][0]), (1, &TALK.into()));
    let id = listed[0]["id"].as_str().unwrap();
    let repository = TALK.trim_end_matches(":latest");
    for wanted in [repository, id, &id["sha256:".len()..][..6]] {
        assert_eq!(machine.ok(&["images", "--quiet", wanted]), format!("{id}\n"), "{wanted}");
    }
    assert_eq!(machine.ok(&["image", "ls", "none"]), "IMAGE  ID  SIZE\n");
    assert_eq!(machine.ok(&["image", "list", "-q"]).lines().count(), 2);
    let by_digest = listed[0]["repoDigests"][0].as_str().unwrap();
    let digest = by_digest.rsplit_once('@').unwrap().1;
    let row = machine.ok(&["images", "--digests", "--no-trunc", repository]);
    assert!(row.contains(digest) && row.contains(id), "{row}");

    // What is there is told, and what is not as well.
    let done = machine.rrun(&["image", "inspect", digest, "none:1"]);
    assert_eq!(done.status.code(), Some(2));
    assert_eq!(text(&done.stderr), "rrun: image none:1: not found (rrun images)\n");
    let inspected: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(inspected[0]["Id"], id);
    assert!(inspected[0]["LastUsed"].as_str().unwrap().ends_with('Z'), "{inspected}");

    machine.ok(&["image", "tag", digest, "a:1", "b:1"]);
    assert!(machine.refused(&["image", "tag", TALK, "c:1", "UPPER"]).contains("UPPER"));
    let refused = machine.refused(&["image", "tag", TALK, &format!("c@{digest}")]);
    assert!(refused.contains("want a name and a tag, no digest"), "{refused}");
    let tags = json(&["images", id])[0]["repoTags"].clone();
    let wanted = ["docker.io/library/a:1", "docker.io/library/b:1", TALK];
    assert_eq!(tags, serde_json::json!(wanted));

    let refused = machine.refused(&["image", "untag", "a:1", "none:1", TALK]);
    assert_eq!(refused, "rrun: untag docker.io/library/none:1: no image has that name\n");
    let tags = json(&["images", id])[0]["repoTags"].clone();
    assert_eq!(tags, serde_json::json!(["docker.io/library/b:1"]));
    machine.ok(&["image", "untag", "b:1"]);
    assert_eq!(json(&["images", id])[0]["repoTags"], serde_json::json!([]));
    machine.ok(&["image", "tag", id, TALK]);

    let usage = json(&["image", "du", TALK]);
    let layer = &usage["images"][0]["layers"][0];
    assert_eq!(layer["freed"], layer["bytes"]);
    let steps = json(&["image", "history", TALK]);
    assert!(steps.as_array().unwrap().iter().all(|step| step["size"].is_u64()), "{steps}");
    let path = talk_layout().to_str().unwrap();
    let refused = machine.refused(&["image", "import", path, by_digest]);
    assert!(refused.contains("want a name and a tag, no digest"), "{refused}");
}

#[test]
fn the_store_is_looked_through_and_put_right_and_exit_codes_tell_which() {
    let machine = Machine::new();
    let fsck = |args: &[&str]| {
        let done = machine.rrun(&[&["fsck"], args].concat());
        (done.status.code(), text(&done.stdout), text(&done.stderr))
    };
    let run = machine.run("mine", &pod("mine", "Always", &["sleeper"]));
    run.expect("pod mine: Running");
    for args in [&[][..], &["--repair"], &["--quick"]] {
        let (code, said, error) = fsck(args);
        assert_eq!((code, error.as_str()), (Some(0), ""), "{said}");
        let hashed = if args == ["--quick"] { 0 } else { 2 };
        let looked = format!(
            ": images ({hashed} layers hashed), network (1 attachment), pods (1 pod, 1 container): \
             nothing is wrong\n"
        );
        assert!(said.ends_with(&looked), "{said}");
    }
    machine.assert_exec_works("mine");
    run.signal("INT");
    run.end();

    let images = machine.sandbox.state().join("images");
    let left = images.join("tmp").join("a".repeat(64));
    std::fs::create_dir(&left).unwrap();
    let (code, said, _) = fsck(&[]);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("staging  tmp/aaaa") && said.contains("  found\n"), "{said}");
    let (code, said, _) = fsck(&["-o", "json"]);
    let told: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &told["findings"][0]["kind"]), (Some(3), &"staging".into()));
    assert_eq!(told["findings"][0]["state"], "found");
    assert!(left.exists());
    let (code, said, _) = fsck(&["--repair"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("repaired: removed") && said.contains("1 repaired, 0 not"), "{said}");
    assert_eq!(fsck(&[]).0, Some(0));

    // It was imported, and there is no such registry.
    std::fs::remove_dir_all(layer_of_talk(&machine)).unwrap();
    let (code, said, _) = fsck(&["--repair"]);
    assert_eq!(code, Some(4), "{said}");
    assert!(
        said.contains("its folder is gone") && said.contains("not repaired: repair "),
        "{said}"
    );
    machine.ok(&["image", "import", talk_layout().to_str().unwrap()]);
    assert_eq!(fsck(&[]).0, Some(0));
    assert!(machine.refused(&["fsck", "--endpoint", "unix:///none"]).contains("its own tool does"));
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
