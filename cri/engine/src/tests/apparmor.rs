//! Which AppArmor profile a container runs under, from the request to its configuration.

use super::{Machine, container, pod};
use crate::apparmor::DEFAULT;
use crate::config::Lsm;
use crate::error::{Error, Result};
use crate::model::{ContainerConfig, SecurityProfile};
use crate::{Kind, Owner};
use SecurityProfile::{Localhost, RuntimeDefault, Unconfined};

const OWNER: &Owner = &Owner::Cri;

fn confined() -> Machine {
    Machine { lsm: Lsm { apparmor: true, selinux: false }, ..Machine::new() }
}

/// The profile in the configuration of a container; `None` where it has none.
async fn profile(machine: &Machine, config: ContainerConfig) -> Result<Option<String>> {
    let (engine, _) = machine.open().await;
    let mut privileged = pod("web");
    privileged.security.privileged = true;
    let pod = engine.run_pod(OWNER, privileged, "").await?;
    let id = engine.create_container(OWNER, pod.as_str(), config).await?;
    let status = engine.container_status(OWNER, id.as_str(), true).await?;
    let process = &status.info.unwrap()["runtimeSpec"]["process"];
    Ok(process.get("apparmorProfile").map(|profile| profile.as_str().unwrap().to_owned()))
}

fn asking(profile: Option<SecurityProfile>, old: &str, privileged: bool) -> ContainerConfig {
    let mut config = container("c");
    config.security.apparmor = profile;
    config.security.apparmor_profile = old.to_owned();
    config.security.privileged = privileged;
    config
}

#[tokio::test]
async fn a_container_runs_under_the_profile_that_it_asks_for_and_else_under_the_default() {
    let loaded = || Localhost("loaded".into());
    for (asked, old, privileged, expected) in [
        (None, "", false, Some(DEFAULT)),
        (None, "", true, None),
        (Some(RuntimeDefault), "", false, Some(DEFAULT)),
        (Some(RuntimeDefault), "", true, None),
        (Some(Unconfined), "", false, None),
        (Some(loaded()), "", false, Some("loaded")),
        (Some(Localhost("localhost/loaded".into())), "", false, Some("loaded")),
        (Some(loaded()), "", true, Some("loaded")),
        (Some(Unconfined), "localhost/loaded", false, None),
        (None, "runtime/default", false, Some(DEFAULT)),
        (None, "unconfined", false, None),
        (None, "localhost/loaded", false, Some("loaded")),
    ] {
        let what = format!("{asked:?} {old:?} {privileged}");
        let found = profile(&confined(), asking(asked, old, privileged)).await.unwrap();
        assert_eq!(found.as_deref(), expected, "{what}");
    }
    for asked in [None, Some(RuntimeDefault), Some(Unconfined)] {
        let plain = Machine::new();
        assert_eq!(profile(&plain, asking(asked, "", false)).await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_profile_that_is_not_loaded_is_refused_by_name() {
    for config in [
        asking(Some(Localhost("strange".into())), "", false),
        asking(None, "localhost/strange", false),
        asking(Some(Localhost("strange".into())), "", true),
    ] {
        let machine = confined();
        let error = profile(&machine, config).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid, "{error}");
        let text = error.to_string();
        assert!(text.contains("apparmor: AppArmor profile strange is not loaded"), "{text}");
    }
}

#[tokio::test]
async fn a_pod_is_refused_its_profile_like_a_container() {
    let (machine, plain) = (confined(), Machine::new());
    for (machine, profile, word) in [
        (&machine, Localhost("strange".into()), "profile strange is not loaded"),
        (&machine, Localhost(String::new()), "localhost_ref is empty"),
        (&plain, Localhost("loaded".into()), "this kernel has no AppArmor"),
    ] {
        let (engine, _) = machine.open().await;
        let mut config = pod("web");
        config.security.apparmor = Some(profile);
        let error = engine.run_pod(OWNER, config, "").await.unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid, "{error}");
        assert!(error.to_string().contains(word), "{error}");
        assert_eq!(machine.remains(), [""; 0]);
    }
    let (engine, _) = machine.open().await;
    let mut config = pod("web");
    config.security.apparmor = Some(Localhost("loaded".into()));
    engine.run_pod(OWNER, config, "").await.unwrap();
    let asked = machine.world.reaper_apparmor();
    assert_eq!(asked, [Some("loaded".to_owned())]);
}

#[tokio::test]
async fn without_a_parser_what_asks_for_the_default_is_refused_and_what_asks_for_nothing_runs() {
    let without = |kind, words: &str| {
        let machine = confined();
        machine.world.set_no_default_profile(Error::new(kind, words));
        machine
    };
    let no_parser = || without(Kind::Unavailable, "apparmor_parser is not installed");
    assert_eq!(profile(&no_parser(), container("c")).await.unwrap(), None);
    let asked = asking(Some(RuntimeDefault), "", false);
    let error = profile(&no_parser(), asked).await.unwrap_err();
    assert!(error.to_string().contains("apparmor_parser is not installed"), "{error}");
    // Whatever else is wrong takes the profile from nobody.
    for kind in [Kind::Internal, Kind::Timeout, Kind::Exhausted] {
        let error = profile(&without(kind, "words"), container("c")).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().ends_with("linux.security_context.apparmor: words"), "{error}");
    }
}
