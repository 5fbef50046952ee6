//! What several plugins ask for.

use super::*;
use crate::api::{
    Hook, Hooks, KeyValue, LinuxContainerAdjustment, LinuxContainerUpdate, LinuxMemory, Mount,
    OptionalInt64,
};

fn container() -> Container {
    Container {
        id: "c".into(),
        env: vec!["A=1".into(), "B=2".into()],
        mounts: vec![mount("/proc"), mount("/data")],
        annotations: [("k".to_owned(), "v".to_owned())].into(),
        args: vec!["sleep".into()],
        ..Container::default()
    }
}

fn mount(destination: &str) -> Mount {
    Mount { destination: destination.into(), ..Mount::default() }
}

fn env(all: &[(&str, &str)]) -> ContainerAdjustment {
    let all =
        all.iter().map(|(key, value)| KeyValue { key: (*key).into(), value: (*value).into() });
    ContainerAdjustment { env: all.collect(), ..ContainerAdjustment::default() }
}

fn memory(limit: i64) -> LinuxResources {
    let memory = LinuxMemory { limit: Some(OptionalInt64 { value: limit }), ..Default::default() };
    LinuxResources { memory: Some(memory), ..Default::default() }
}

fn update(id: &str, limit: i64, ignore_failure: bool) -> ContainerUpdate {
    let linux = LinuxContainerUpdate { resources: Some(memory(limit)) };
    ContainerUpdate { container_id: id.into(), linux: Some(linux), ignore_failure }
}

#[test]
fn each_plugin_sees_what_those_before_it_have_changed() {
    let mut merge = Merge::of_create(container());
    merge.adjust(env(&[("B", "3"), ("-A", ""), ("C", "4")]), "00-a").unwrap();
    assert_eq!(merge.container().env, ["B=3", "C=4"]);
    let adjust = ContainerAdjustment {
        mounts: vec![mount("-/data"), mount("/new")],
        annotations: [("-k".to_owned(), String::new()), ("l".to_owned(), "w".to_owned())].into(),
        args: vec!["echo".into()],
        ..ContainerAdjustment::default()
    };
    merge.adjust(adjust, "10-b").unwrap();
    let seen: Vec<_> = merge.container().mounts.iter().map(|m| &*m.destination).collect();
    assert_eq!(
        (seen, merge.container().args.as_slice()),
        (vec!["/proc", "/new"], &["echo".into()][..])
    );
    assert_eq!(merge.container().annotations, [("l".to_owned(), "w".to_owned())].into());
    let adjust = merge.done().adjust;
    let env: Vec<_> = adjust.env.iter().map(|var| format!("{}={}", var.key, var.value)).collect();
    assert_eq!(env, ["B=3", "C=4", "-A="]);
    let mounts: Vec<_> = adjust.mounts.iter().map(|m| &*m.destination).collect();
    assert_eq!(mounts, ["/new", "-/data"]);
    assert_eq!(adjust.annotations.keys().collect::<Vec<_>>(), ["-k", "l"]);
}

#[test]
fn what_two_plugins_set_is_a_conflict_by_both_their_names_unless_it_is_removed_first() {
    let mut merge = Merge::of_create(container());
    merge.adjust(env(&[("X", "1")]), "00-a").unwrap();
    let error = merge.adjust(env(&[("X", "1")]), "10-b").unwrap_err();
    let words = r#"NRI plugins "10-b" and "00-a" both tried to set environment variable "X" of container c"#;
    assert_eq!((error.kind(), error.to_string().as_str()), (Kind::Invalid, words));
    merge.adjust(env(&[("-X", ""), ("X", "2")]), "20-c").unwrap();
    assert_eq!(merge.container().env.last().unwrap(), "X=2");
    let limits = |limit| {
        let linux =
            LinuxContainerAdjustment { resources: Some(memory(limit)), ..Default::default() };
        ContainerAdjustment { linux: Some(linux), ..Default::default() }
    };
    merge.adjust(limits(5), "00-a").unwrap();
    let error = merge.adjust(limits(6), "10-b").unwrap_err().to_string();
    assert!(error.contains("both tried to set memory limit of container c"), "{error}");
    let args = |args: &[&str]| ContainerAdjustment {
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        ..Default::default()
    };
    merge.adjust(args(&["a"]), "00-a").unwrap();
    assert!(merge.adjust(args(&["b"]), "10-b").is_err());
    merge.adjust(args(&["", "b"]), "10-b").unwrap();
    assert_eq!(merge.done().adjust.args, ["b"]);
}

#[test]
fn hooks_of_all_plugins_are_added_up() {
    let mut merge = Merge::of_create(container());
    for plugin in ["00-a", "10-b"] {
        let hook = Hook { path: format!("/{plugin}"), ..Hook::default() };
        let hooks = Hooks { poststop: vec![hook], ..Hooks::default() };
        let adjust = ContainerAdjustment { hooks: Some(hooks), ..Default::default() };
        merge.adjust(adjust, plugin).unwrap();
    }
    let request = merge.validation(PodSandbox::default(), std::iter::empty());
    assert_eq!(request.owners.unwrap().owners["c"].simple[&3], "00-a,10-b");
    let paths: Vec<_> =
        merge.done().adjust.hooks.unwrap().poststop.into_iter().map(|hook| hook.path).collect();
    assert_eq!(paths, ["/00-a", "/10-b"]);
}

#[test]
fn limits_of_others_are_put_together_and_a_conflict_that_may_fail_is_left_out() {
    let mut merge = Merge::of_update("c", memory(1));
    merge.updates(vec![update("c", 2, false), update("d", 3, true)], "00-a").unwrap();
    assert_eq!(merge.resources(), Some(&memory(2)));
    merge.updates(vec![update("d", 4, true)], "10-b").unwrap();
    let error = merge.updates(vec![update("d", 4, false)], "10-b").unwrap_err().to_string();
    assert!(error.contains("memory limit of container d"), "{error}");
    let answer = merge.done();
    assert_eq!((answer.resources, answer.updates), (Some(memory(2)), vec![update("d", 3, true)]));
    let mut merge = Merge::of_create(container());
    let error = merge.updates(vec![update("c", 2, false)], "00-a").unwrap_err().to_string();
    assert!(error.contains("which is being made"), "{error}");
}
