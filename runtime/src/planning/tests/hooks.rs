//! Hooks.

use super::*;
use crate::plan::{FIRST, Hook, WITH_HOOKS};
use crate::planning::{HookPlace, runtime_hooks};
use std::path::Path;

fn with_place() -> Overrides {
    let place = HookPlace { id: "c1".into(), bundle: "/run/b".into() };
    Overrides { hooks: Some(place), ..Overrides::default() }
}

fn plan_of(patch: &Value) -> Result<Plan> {
    let mut config = config();
    merge(&mut config, patch);
    let spec = serde_json::from_value(config).unwrap();
    plan(&spec, &host(full_v2()), &with_place())
}

#[test]
fn hooks_are_the_plans_that_run_in_the_container_and_the_others_are_asked_for() {
    let hook = |path: &str| json!([{ "path": path, "args": ["x", "y"], "timeout": 3 }]);
    let patch = json!({ "annotations": { "b": "2", "a": "\"" }, "hooks": {
        "prestart": hook("/1"), "createRuntime": hook("/2"), "createContainer": hook("/3"),
        "startContainer": [{ "path": "/4" }], "poststart": hook("/5"), "poststop": hook("/6"),
    } });
    let plan = plan_of(&patch).unwrap();
    let hooks = plan.hooks.unwrap();
    assert_eq!((plan.version, hooks.ask), (WITH_HOOKS, true));
    assert_eq!(hooks.rootfs.as_deref(), Some(Path::new("/run/b/rootfs")));
    let full = |path: &str| Hook {
        path: path.into(),
        args: vec!["x".into(), "y".into()],
        env: Vec::new(),
        timeout: Some(3),
    };
    assert_eq!(hooks.create_container, [full("/3")]);
    let plain = Hook { args: vec!["/4".into()], timeout: None, ..full("/4") };
    assert_eq!(hooks.start_container, [plain]);
    let state: Value = serde_json::from_str(&hooks.created.of(7)).unwrap();
    let expected = json!({ "ociVersion": "1.2.0", "id": "c1", "status": "created", "pid": 7,
        "bundle": "/run/b", "annotations": { "a": "\"", "b": "2" } });
    assert_eq!(state, expected);

    let mut config = config();
    merge(&mut config, &patch);
    let spec = serde_json::from_value(config).unwrap();
    let of_runtime = runtime_hooks(&spec, &with_place().hooks.unwrap()).unwrap();
    assert_eq!(of_runtime.create, [full("/1"), full("/2")]);
    assert_eq!((of_runtime.start, of_runtime.stop), (vec![full("/5")], vec![full("/6")]));
}

#[test]
fn a_plan_without_hooks_of_its_own_is_of_an_earlier_version() {
    let plan = plan_of(&json!({ "hooks": { "poststop": [{ "path": "/bin/true" }] } })).unwrap();
    assert_eq!((plan.version, plan.hooks), (FIRST, None));
    let hooks = json!({ "hooks": { "startContainer": [{ "path": "/x" }] } });
    assert_eq!(plan_of(&hooks).unwrap().hooks.unwrap().rootfs, None);
}

#[test]
fn a_hook_that_makes_no_sense_is_refused_by_its_place() {
    for (patch, words) in [
        (
            json!({ "hooks": { "poststop": [{ "path": "x" }] } }),
            "hooks.poststop[0]: path \"x\" is not",
        ),
        (
            json!({ "hooks": { "poststart": [{ "path": "/x", "timeout": 0 }] } }),
            "hooks.poststart[0]: timeout 0",
        ),
    ] {
        let error = plan_of(&patch).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}
