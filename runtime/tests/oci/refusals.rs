//! What this runtime does not do, it refuses by name; other runtimes are not asked.

use crate::bundle::{Bundle, text};
use crate::is_peer;
use serde_json::json;

#[test]
fn what_is_no_id_is_refused_and_an_activation_of_another_process_is_nobodys_business() {
    if is_peer() {
        return;
    }
    let bundle = Bundle::new(&["true"]);
    bundle.write();
    let dir = bundle.dir.to_str().unwrap();
    assert!(bundle.fails(&["create", "-b", dir, "../x"]).contains("../x"));
    let run = bundle
        .limited(&["run", "-b", dir, &bundle.id])
        .env("LISTEN_PID", "1")
        .env("LISTEN_FDS", "1")
        .output();
    assert!(run.unwrap().status.success());
}

#[test]
fn features_name_the_architectures_that_are_built_in() {
    if is_peer() {
        return;
    }
    let features = Bundle::new(&["true"]).ok(&["features"]);
    let features: serde_json::Value = serde_json::from_str(&features).unwrap();
    let native = rrun_runtime::seccomp::Arch::NATIVE;
    let names = json!(rrun_runtime::seccomp::Arch::names(native));
    assert_eq!(features["linux"]["seccomp"]["archs"], names);
}

#[test]
fn a_profile_or_label_that_nobody_would_enforce_is_refused_and_features_say_so() {
    if is_peer() {
        return;
    }
    let features = Bundle::new(&["true"]).ok(&["features"]);
    let features: serde_json::Value = serde_json::from_str(&features).unwrap();
    let lsm = [("apparmor", rrun_sys::lsm::apparmor()), ("selinux", rrun_sys::lsm::selinux())];
    for (name, active) in lsm {
        assert_eq!(features["linux"][name]["enabled"], active);
        if active {
            continue;
        }
        let mut bundle = Bundle::new(&["true"]);
        let field = match name {
            "apparmor" => "apparmorProfile",
            _ => "selinuxLabel",
        };
        bundle.process()[field] = "foo".into();
        let (code, output) = bundle.run();
        assert!(code == 1 && output.contains(&format!("process.{field}")), "{output}");
        bundle.process().as_object_mut().unwrap().remove(field);
        bundle.start_sleeping();
        if name == "apparmor" {
            let words = bundle.fails(&["exec", "--apparmor", "foo", &bundle.id, "true"]);
            assert!(words.contains("process.apparmorProfile"), "{words}");
        } else {
            bundle.linux()["mountLabel"] = "foo".into();
            bundle.write();
            let dir = bundle.dir.to_str().unwrap();
            let words = bundle.fails(&["create", "-b", dir, "other"]);
            assert!(words.contains("linux.mountLabel"), "{words}");
        }
    }
}

#[test]
fn an_error_is_a_line_of_json_in_the_log_and_leaves_nothing() {
    if is_peer() {
        return;
    }
    let mut bundle = Bundle::new(&["true"]);
    bundle.linux()["netDevices"] = json!({ "eth9": {} });
    bundle.write();
    let log = bundle.dir.join("log.json");
    let dir = bundle.dir.to_str().unwrap();
    let output = bundle.call(&[
        "--log",
        log.to_str().unwrap(),
        "--log-format",
        "json",
        "create",
        "-b",
        dir,
        &bundle.id,
    ]);
    assert_eq!(output.status.code(), Some(1));
    let line: serde_json::Value = serde_json::from_slice(&std::fs::read(log).unwrap()).unwrap();
    assert_eq!(line["level"], "error");
    let message = line["msg"].as_str().unwrap();
    assert!(message.ends_with("linux.netDevices is not supported"), "{message}");
    assert!(message.starts_with(&format!("create {}", bundle.id)), "{message}");
    assert!(text(&output.stderr).contains(message));
    assert!(!bundle.root.join(&bundle.id).exists());
    assert!(bundle.groups().is_empty());
}
