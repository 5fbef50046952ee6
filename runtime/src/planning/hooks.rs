//! Hooks: which there are, and who runs them.

use super::invalid;
use crate::plan::{Hook, Hooks, StateText};
use crate::{Context, Result};
use oci_spec::runtime::{self as oci, Spec};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Whose hooks they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HookPlace {
    /// The container's id.
    pub id: String,
    /// The bundle's folder, as hooks are told it. `config.json` is there, and the directory that
    /// `root.path` names.
    pub bundle: PathBuf,
}

/// The hooks that run in the namespaces of the runtime, and what they read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeHooks {
    /// `prestart`, then `createRuntime`: where the container's process asks for it.
    pub create: Vec<Hook>,
    /// `poststart`: when the program runs.
    pub start: Vec<Hook>,
    /// `poststop`: when the container is removed.
    pub stop: Vec<Hook>,
    /// What those of `create` read.
    pub creating: StateText,
    /// What those of `start` read.
    pub running: StateText,
    /// What those of `stop` read.
    pub stopped: StateText,
}

/// The part of a plan that is about hooks.
///
/// # Errors
/// `Invalid`, with the hook: where nobody runs hooks, and for a path that is not absolute.
pub(super) fn plan(spec: &Spec, place: Option<&HookPlace>) -> Result<Option<Hooks>> {
    let Some(all) = Listed::of(spec)? else { return Ok(None) };
    let Some(place) = place else {
        return Err(invalid(format!("hooks.{} is not supported", all.first())));
    };
    let has_early = !all.create_runtime.is_empty() || !all.create_container.is_empty();
    if !has_early && all.start_container.is_empty() {
        return Ok(None);
    }
    let root = spec.root().as_ref().map_or(Path::new("rootfs"), |root| root.path().as_path());
    Ok(Some(Hooks {
        rootfs: has_early.then(|| place.bundle.join(root)),
        ask: !all.create_runtime.is_empty(),
        create_container: all.create_container,
        start_container: all.start_container,
        creating: state(spec, place, "creating"),
        created: state(spec, place, "created"),
    }))
}

/// The hooks that whoever makes the container runs.
///
/// # Errors
/// As those of a plan.
pub fn of_runtime(spec: &Spec, place: &HookPlace) -> Result<RuntimeHooks> {
    let Some(all) = Listed::of(spec)? else { return Ok(RuntimeHooks::default()) };
    Ok(RuntimeHooks {
        create: all.create_runtime,
        start: all.poststart,
        stop: all.poststop,
        creating: state(spec, place, "creating"),
        running: state(spec, place, "running"),
        stopped: state(spec, place, "stopped"),
    })
}

/// As a configuration has them.
struct Listed {
    create_runtime: Vec<Hook>,
    create_container: Vec<Hook>,
    start_container: Vec<Hook>,
    poststart: Vec<Hook>,
    poststop: Vec<Hook>,
    has_prestart: bool,
}

impl Listed {
    /// `None` where there is none.
    #[allow(deprecated, reason = "a configuration may have them all the same")]
    fn of(spec: &Spec) -> Result<Option<Listed>> {
        let Some(hooks) = spec.hooks() else { return Ok(None) };
        let prestart = checked("prestart", hooks.prestart().as_deref())?;
        let create_runtime = checked("createRuntime", hooks.create_runtime().as_deref())?;
        let all = Listed {
            has_prestart: !prestart.is_empty(),
            create_runtime: [prestart, create_runtime].concat(),
            create_container: checked("createContainer", hooks.create_container().as_deref())?,
            start_container: checked("startContainer", hooks.start_container().as_deref())?,
            poststart: checked("poststart", hooks.poststart().as_deref())?,
            poststop: checked("poststop", hooks.poststop().as_deref())?,
        };
        Ok(all.is_filled().then_some(all))
    }

    fn is_filled(&self) -> bool {
        let lists = [
            &self.create_runtime,
            &self.create_container,
            &self.start_container,
            &self.poststart,
            &self.poststop,
        ];
        lists.into_iter().any(|list| !list.is_empty())
    }

    fn first(&self) -> &'static str {
        match self {
            _ if self.has_prestart => "prestart",
            Listed { create_runtime, .. } if !create_runtime.is_empty() => "createRuntime",
            Listed { create_container, .. } if !create_container.is_empty() => "createContainer",
            Listed { start_container, .. } if !start_container.is_empty() => "startContainer",
            Listed { poststart, .. } if !poststart.is_empty() => "poststart",
            _ => "poststop",
        }
    }
}

fn checked(name: &str, hooks: Option<&[oci::Hook]>) -> Result<Vec<Hook>> {
    let hooks = hooks.unwrap_or_default().iter().enumerate();
    hooks.map(|(at, hook)| one(hook).context(|| format!("hooks.{name}[{at}]"))).collect()
}

fn one(hook: &oci::Hook) -> Result<Hook> {
    let path = hook.path().to_str().filter(|path| path.starts_with('/'));
    let path = path.ok_or_else(|| {
        invalid(format!("path {:?} is not absolute", hook.path().to_string_lossy()))
    })?;
    let args = hook.args().clone().filter(|args| !args.is_empty());
    let timeout = match hook.timeout() {
        None => None,
        Some(seconds) => match u32::try_from(seconds) {
            Ok(seconds @ 1..) => Some(seconds),
            _ => return Err(invalid(format!("timeout {seconds} is not above zero"))),
        },
    };
    let text = args.iter().flatten().chain(hook.env().iter().flatten());
    if let Some(text) = text.chain([&path.to_owned()]).find(|text| text.contains('\0')) {
        return Err(invalid(format!("NUL in {text:?}")));
    }
    Ok(Hook {
        path: path.to_owned(),
        args: args.unwrap_or_else(|| vec![path.to_owned()]),
        env: hook.env().clone().unwrap_or_default(),
        timeout,
    })
}

/// <https://github.com/opencontainers/runtime-spec/blob/main/runtime.md#state>
fn state(spec: &Spec, place: &HookPlace, status: &str) -> StateText {
    StateText {
        before: format!(r#"{},"status":"{status}","pid":"#, name(spec, place)),
        after: format!(r#",{}}}"#, belongings(spec, place)),
    }
}

/// The same without status, pid and closing brace, which come last.
pub(super) fn open_state(spec: &Spec, place: &HookPlace) -> String {
    format!("{},{}", name(spec, place), belongings(spec, place))
}

fn name(spec: &Spec, place: &HookPlace) -> String {
    format!(r#"{{"ociVersion":{},"id":{}"#, json!(spec.version()), json!(place.id))
}

fn belongings(spec: &Spec, place: &HookPlace) -> String {
    let annotations = spec.annotations().as_ref().filter(|all| !all.is_empty());
    let annotations = annotations.map_or(String::new(), |all| {
        // In one order, so that one configuration has one plan.
        let sorted: std::collections::BTreeMap<_, _> = all.iter().collect();
        format!(r#","annotations":{}"#, json!(sorted))
    });
    format!(r#""bundle":{}{annotations}"#, json!(place.bundle.to_string_lossy()))
}
