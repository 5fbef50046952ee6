//! What `rrun run` does about the disk: it collects images and ends pods that take too much.

use crate::machine::{IMAGE, Machine, TALK, await_that, pod};

#[test]
fn images_that_nobody_uses_are_collected_when_the_disk_is_used_over_the_threshold() {
    let machine = Machine::new();
    machine.configure(
        "[images]
image_gc_high_threshold_percent = 1
image_gc_low_threshold_percent = 0
image_minimum_gc_age = 0
",
    );
    // As if five minutes had gone by since somebody collected.
    let turn = std::fs::File::open(machine.sandbox.state().join("images/collected"));
    let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(301);
    turn.unwrap().set_modified(long_ago).unwrap();
    let run = machine.run("mine", &pod("mine", "Always", &["sleeper"]));
    run.expect("pod mine: Running");
    await_that("the removal of the image that nobody uses", || {
        !machine.ok(&["images"]).contains(TALK)
    });
    assert!(machine.ok(&["images"]).contains(IMAGE));
    // All of the disk was wanted.
    await_that("the event", || machine.ok(&["events", "mine"]).contains("FreeDiskSpaceFailed"));
    let told = machine.ok(&["why-removed", TALK]);
    assert!(told.contains("removed") && told.contains("the disk was too full"), "{told}");
    let told = machine.ok(&["why-removed", IMAGE]);
    // The container may not have been made by then.
    let why = ["container/", "a pod of rrun names it"];
    assert!(told.contains("kept") && why.iter().any(|why| told.contains(why)), "{told}");
    machine.ok(&["stop", "mine"]);
    assert_eq!(run.end(), Some(0));

    machine.configure("[images]\nimage_gc_high_threshold_percent = 80\n");
    let path = machine.write("mine", &pod("mine", "Always", &["sleeper"]));
    let refused = machine.refused(&["run", &path]);
    let expected = "config: images.image_gc_low_threshold_percent: 80: must be less than";
    assert!(refused.contains(expected), "{refused}");
}

#[test]
fn a_collection_by_hand_tells_of_every_image_what_becomes_of_it_and_why() {
    let machine = Machine::new();
    let all = "[images]\nimage_gc_high_threshold_percent = 1\nimage_gc_low_threshold_percent = 0\n";
    machine.configure(&format!("{all}pinned = ['{TALK}']\n"));
    let row = |text: &str, image: &str| -> String {
        text.lines().find(|line| line.starts_with(image)).unwrap_or_default().to_owned()
    };
    let planned = machine.ok(&["gc", "images", "--dry-run"]);
    assert!(
        row(&planned, TALK).ends_with("the configuration pins it (images.pinned)"),
        "{planned}"
    );
    assert!(row(&planned, IMAGE).contains("image_minimum_gc_age"), "{planned}");
    machine.configure(&format!("{all}image_minimum_gc_age = 0\npinned = ['{TALK}']\n"));
    let planned = machine.ok(&["gc", "images", "--dry-run"]);
    assert!(row(&planned, IMAGE).contains("  remove  "), "{planned}");
    assert!(planned.lines().last().unwrap().ends_with(" would be freed"), "{planned}");
    assert!(machine.ok(&["images"]).contains(IMAGE));

    let refused = machine.refused(&["gc", "images"]);
    assert!(refused.contains("Insufficient free disk space"), "{refused}");
    assert!(!machine.ok(&["images"]).contains(IMAGE));
    let told = machine.ok(&["why-removed", IMAGE]);
    assert!(row(&told, "20").contains(IMAGE) && told.contains("% of the disk"), "{told}");

    let nobodys = machine.refused(&["why-removed", "none:1"]);
    assert_eq!(
        nobodys,
        "rrun: none:1: no removed container or image of that name or id is on record\n"
    );
    machine.configure("");
    let unwanted = machine.ok(&["image", "prune"]);
    assert!(unwanted.ends_with("\n0 B and 0 inodes freed\n"), "{unwanted}");
    assert!(machine.ok(&["image", "prune", "--all"]).contains(TALK));
    assert_eq!(machine.ok(&["images"]), "IMAGE  ID  SIZE\n");
    let told = machine.ok(&["why-removed"]);
    assert!(row(&told, "20").contains("rrun"), "the newest first: {told}");
}

#[test]
fn a_pod_that_takes_more_of_the_disk_than_its_limits_is_evicted() {
    let machine = Machine::new();
    let volume = "      volumeMounts: [{name: v, mountPath: /v}]
  volumes: [{name: v, emptyDir: {sizeLimit: 1Mi}}]
";
    let limit = "      resources: {limits: {ephemeral-storage: 1Mi}}\n";
    let volume = pod("volume", "Always", &["write", "/v/file", "2"]) + volume;
    let layer = pod("layer", "Always", &["write", "/file", "2"]) + limit;
    let logs = pod("logs", "Never", &["lines", "40000", "64"]) + limit;
    let cases = [
        ("volume", volume, "Usage of EmptyDir volume \"v\" exceeds the limit \"1Mi\". "),
        (
            "layer",
            layer,
            "Pod ephemeral local storage usage exceeds the total limit of containers 1Mi. ",
        ),
        (
            "logs",
            logs + BESIDE,
            "Container main exceeded its local ephemeral storage limit \"1Mi\". ",
        ),
    ];
    // Beside each other: a pod is measured every ten seconds.
    let runs = cases.map(|(name, manifest, message)| {
        let path = machine.write(name, &manifest);
        (name, machine.start(&["run", "--keep", &path]), message)
    });
    for (name, run, message) in runs {
        run.expect(&format!("! Evicted: {}", message.trim_end()));
        run.expect(&format!("pod {name}: Failed: Evicted: {message}"));
        assert_eq!(run.end(), Some(1), "{name}");
        assert_eq!(machine.ps(name).unwrap()[3], "Evicted", "{name}");
        machine.ok(&["rm", name]);
    }
    machine.assert_nothing_left();
}

/// It keeps the pod alive whose other container has ended, and its limit above the other's.
const BESIDE: &str = "    - name: beside
      image: images.rrun.test/work:latest
      imagePullPolicy: Never
      args: [sleeper]
      resources: {limits: {ephemeral-storage: 100Mi}}
";
