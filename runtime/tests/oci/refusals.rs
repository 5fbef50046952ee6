//! What this runtime does not do, it refuses by name; other runtimes are not asked.

use crate::bundle::{Bundle, text};
use crate::is_peer;
use serde_json::json;

#[test]
fn options_that_are_not_supported_are_refused_by_name() {
    if is_peer() {
        return;
    }
    let bundle = Bundle::new(&["true"]);
    bundle.write();
    let dir = bundle.dir.to_str().unwrap();
    for (args, name) in [
        (&["create", "--preserve-fds", "1", "-b", dir, &bundle.id][..], "--preserve-fds"),
        (&["create", "--no-pivot", "-b", dir, &bundle.id], "--no-pivot"),
        (&["create", "-b", dir, "../x"], "../x"),
    ] {
        assert!(bundle.fails(args).contains(name), "{name}");
    }
    // An activation names the process that the sockets are for.
    let script = "LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" \"$@\"";
    let run = bundle.runtime(&["run", "-b", dir, &bundle.id]);
    let output = crate::support::limited("sh")
        .args(["-c", script])
        .arg(run.get_program())
        .args(run.get_args())
        .output()
        .unwrap();
    assert!(text(&output.stderr).contains("LISTEN_FDS"), "{}", text(&output.stderr));
    bundle.fails(&["state", &bundle.id]);
    // One that is another process's is nobody's business.
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
    bundle.config["hooks"] = json!({ "poststop": [{ "path": "/bin/true" }] });
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
    assert!(message.ends_with("hooks.poststop is not supported"), "{message}");
    assert!(message.starts_with(&format!("create {}", bundle.id)), "{message}");
    assert!(text(&output.stderr).contains(message));
    assert!(!bundle.root.join(&bundle.id).exists());
    assert!(bundle.groups().is_empty());
}
