//! `rrun wait`

use crate::context::Context;
use crate::jsonpath::{self, Path};
use crate::{object, table, terminal};
use anyhow::{Result, bail};
use rrun_pod::error::Kind;
use rrun_pod::go_duration;
use rrun_pod::supervise::Entry;
use serde_json::Value;
use std::process::ExitCode;
use std::time::Duration;

/// How often the record of a pod is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// What a negative time limit means to kubectl.
const WEEK: Duration = Duration::from_secs(7 * 24 * 3_600);

/// What is waited for.
#[derive(Clone, Debug, PartialEq)]
pub enum For {
    /// The pod is gone.
    Delete,
    /// The pod is there.
    Create,
    /// A condition has this status; both in small letters.
    Condition(String, String),
    /// There is something at a path of the pod; and it is this, if a value is given.
    JsonPath(Path, Option<String>),
}

/// `delete`, `create`, `condition=NAME[=VALUE]`, `jsonpath={PATH}[=VALUE]`.
pub fn parse(text: &str) -> Result<For, String> {
    let wrong = || format!("unrecognized condition: {text:?}");
    if let Some(condition) = text.strip_prefix("condition=") {
        let (name, value) = condition.split_once('=').unwrap_or((condition, "true"));
        return Ok(For::Condition(name.to_lowercase(), value.to_lowercase()));
    }
    if let Some(path) = text.strip_prefix("jsonpath=") {
        let path = path.trim_matches(['\'', '"']);
        let (path, rest) =
            path.strip_prefix('{').and_then(|path| path.split_once('}')).ok_or(format!(
                "jsonpath wait has to be as jsonpath='{{.status.phase}}'=Running, not {text:?}"
            ))?;
        let value = match rest.trim_start_matches(['\'', '"']).strip_prefix('=') {
            Some("") => return Err("jsonpath wait has an empty value".to_owned()),
            Some(value) => Some(value.trim_matches(['\'', '"']).to_owned()),
            None if rest.trim_matches(['\'', '"']).is_empty() => None,
            None => return Err(wrong()),
        };
        return Ok(For::JsonPath(path_of(path).ok_or_else(wrong)?, value));
    }
    match text.to_lowercase().as_str() {
        "delete" => Ok(For::Delete),
        "create" => Ok(For::Create),
        _ => Err(wrong()),
    }
}

/// One that leads somewhere in the pod.
fn path_of(text: &str) -> Option<Path> {
    Path::parse(text).ok().filter(|_| text.len() > 1)
}

/// A time limit as kubectl has it: nanoseconds, a negative number for a week.
pub fn limit(text: &str) -> Result<Duration, String> {
    let nanos = go_duration::parse(text)?;
    Ok(u64::try_from(nanos).map_or(WEEK, Duration::from_nanos))
}

/// Waits until all of it is so: 1 when that takes too long.
pub async fn wait(
    context: &Context,
    pods: &[String],
    what: &For,
    limit: Duration,
) -> Result<ExitCode> {
    let over = tokio::time::Instant::now() + limit;
    for pod in pods {
        while !is_so(context, pod, what).await? {
            if tokio::time::Instant::now() >= over {
                terminal::tell(format_args!("timed out waiting for the condition on pods/{pod}"));
                return Ok(ExitCode::from(1));
            }
            tokio::time::sleep(LOOK).await;
        }
        table::write(&format!("pod/{pod} condition met\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn is_so(context: &Context, pod: &str, what: &For) -> Result<bool> {
    let entry = match context.store.find(pod).await {
        Ok(entry) => entry,
        Err(e) if e.kind() == Kind::NotFound => match what {
            For::Delete => return Ok(true),
            For::Create => return Ok(false),
            For::Condition(..) | For::JsonPath(..) => bail!(e),
        },
        Err(e) => bail!(e),
    };
    match what {
        For::Delete => Ok(false),
        For::Create => Ok(true),
        For::Condition(name, value) => Ok(has_condition(&entry, name, value)),
        For::JsonPath(path, value) => Ok(has_value(&object::of(&entry), path, value.as_deref())),
    }
}

fn has_condition(entry: &Entry, name: &str, value: &str) -> bool {
    let conditions = entry.state.iter().flat_map(|state| &state.status.conditions);
    let found = conditions.into_iter().find(|found| found.kind.to_lowercase() == name);
    found.is_some_and(|found| found.status.to_string() == value)
}

fn has_value(pod: &Value, path: &Path, wanted: Option<&str>) -> bool {
    let found = path.find(pod).into_iter().next().filter(|found| !found.is_null());
    found.is_some_and(|found| wanted.is_none_or(|wanted| jsonpath::words(found) == wanted))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_waited_for_is_in_kubectls_words() {
        let condition = |name: &str, value: &str| Ok(For::Condition(name.into(), value.into()));
        assert_eq!(parse("condition=Ready"), condition("ready", "true"));
        assert_eq!(parse("condition=Ready=False"), condition("ready", "false"));
        assert_eq!(parse("Delete"), Ok(For::Delete));
        assert_eq!(parse("create"), Ok(For::Create));
        for (text, why) in [
            ("ready", "unrecognized condition: \"ready\""),
            ("jsonpath=.status", "jsonpath wait has to be as"),
            ("jsonpath={.status.phase}=", "jsonpath wait has an empty value"),
            ("jsonpath={status}", "unrecognized condition"),
            ("jsonpath={.a[x]}", "unrecognized condition"),
            ("jsonpath={.a[0]b}", "unrecognized condition"),
            ("jsonpath={.a.}x", "unrecognized condition"),
        ] {
            assert!(parse(text).unwrap_err().contains(why), "{text}");
        }
    }

    #[test]
    fn a_path_leads_to_a_value_of_the_pod() {
        let pod = json!({"metadata": {"labels": {"app.example.com/name": "web", "my-app": "x"}},
            "status": {"phase": "Running", "podIP": "",
            "containerStatuses": [{"ready": false}, {"ready": true, "restartCount": 3}], "x": null}});
        for (text, so) in [
            ("jsonpath={.status.phase}=Running", true),
            ("jsonpath='{.status.phase}'=Running", true),
            ("jsonpath={.status.phase}=Pending", false),
            ("jsonpath={.status.containerStatuses[1].ready}=true", true),
            ("jsonpath={.status.containerStatuses[1].restartCount}=3", true),
            ("jsonpath={.status.containerStatuses[2].ready}=true", false),
            ("jsonpath={.status.phase}", true),
            (r"jsonpath={.metadata.labels.app\.example\.com/name}=web", true),
            ("jsonpath={.metadata.labels.app.example.com/name}=web", false),
            ("jsonpath={.metadata.labels.my-app}=x", true),
            ("jsonpath={.status.x}", false),
            ("jsonpath={.status.hostIP}", false),
        ] {
            let For::JsonPath(path, value) = parse(text).unwrap() else { panic!("{text}") };
            assert_eq!(has_value(&pod, &path, value.as_deref()), so, "{text}");
        }
    }

    #[test]
    fn a_time_limit_below_nothing_is_a_week() {
        assert_eq!(limit("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(limit("-1s"), Ok(WEEK));
        assert!(limit("30").is_err());
    }
}
