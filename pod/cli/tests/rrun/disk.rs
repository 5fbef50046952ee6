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
    let run = machine.run("mine", &pod("mine", "Always", &["sleeper"]));
    run.expect("pod mine: Running");
    await_that("the removal of the image that nobody uses", || {
        !machine.ok(&["images"]).contains(TALK)
    });
    assert!(machine.ok(&["images"]).contains(IMAGE));
    // All of the disk was wanted.
    await_that("the event", || machine.ok(&["events", "mine"]).contains("FreeDiskSpaceFailed"));
    machine.ok(&["stop", "mine"]);
    assert_eq!(run.end(), Some(0));

    machine.configure("[images]\nimage_gc_high_threshold_percent = 80\n");
    let path = machine.write("mine", &pod("mine", "Always", &["sleeper"]));
    let refused = machine.refused(&["run", &path]);
    let expected = "configuration: images.image_gc_low_threshold_percent: 80: must be less than";
    assert!(refused.contains(expected), "{refused}");
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
