//! Which pods are meant, by their labels and fields.

use anyhow::Result;
use rrun_pod::manifest::Selector;
use rrun_pod::model::Pod;
use rrun_pod::node;
use rrun_pod::supervise::Entry;
use std::str::FromStr;

/// The way to a field's value.
type Way = fn(&Subject) -> Option<String>;

/// The fields by which an API server selects pods, each with the way to its value.
const FIELDS: [(&str, Way); 10] = [
    ("metadata.name", |of| Some(of.entry.name.clone())),
    ("metadata.namespace", |of| Some(of.entry.namespace.clone())),
    ("spec.nodeName", |of| {
        of.pod.map(|pod| pod.spec.node_name.clone().unwrap_or_else(|| of.node.to_owned()))
    }),
    ("spec.restartPolicy", |of| of.pod.map(|pod| pod.spec.restart_policy.as_str().to_owned())),
    ("spec.schedulerName", |of| {
        let spec = of.entry.definition.spec()?;
        Some(spec["schedulerName"].as_str().unwrap_or("default-scheduler").to_owned())
    }),
    ("spec.serviceAccountName", |of| of.pod.map(|pod| pod.spec.service_account.clone())),
    ("spec.hostNetwork", |of| of.pod.map(|pod| pod.spec.host_network.to_string())),
    ("status.phase", |of| Some(of.entry.phase().as_str().to_owned())),
    ("status.podIP", |of| of.entry.state.as_ref()?.status.pod_ips.first().cloned()),
    // Nobody preempts other pods here.
    ("status.nominatedNodeName", |_| None),
];

/// What fields must be so that a pod is selected: all of it.
#[derive(Clone, Debug)]
pub struct Fields(Vec<Term>);

#[derive(Clone, Debug)]
struct Term {
    field: Way,
    is_negated: bool,
    value: String,
}

/// A pod that is looked at.
struct Subject<'a> {
    entry: &'a Entry,
    /// None where its manifest cannot be read.
    pod: Option<&'a Pod>,
    node: &'a str,
}

/// Keeps those that are selected.
pub fn retain(
    pods: &mut Vec<Entry>,
    labels: Option<&Selector>,
    fields: Option<&Fields>,
) -> Result<()> {
    if labels.is_none() && fields.is_none() {
        return Ok(());
    }
    let node = node::node_name()?;
    pods.retain(|entry| {
        let pod = entry.pod().ok();
        let subject = Subject { entry, pod: pod.as_ref(), node: &node };
        let own = pod.as_ref().map(|pod| pod.meta.labels.clone()).unwrap_or_default();
        labels.is_none_or(|labels| labels.matches(&own))
            && fields.is_none_or(|fields| fields.matches(&subject))
    });
    Ok(())
}

impl Fields {
    /// What a pod has not is an empty text, as for an API server.
    fn matches(&self, subject: &Subject) -> bool {
        self.0.iter().all(|term| {
            let is_equal = (term.field)(subject).unwrap_or_default() == term.value;
            is_equal != term.is_negated
        })
    }
}

impl FromStr for Fields {
    type Err = String;

    fn from_str(text: &str) -> Result<Fields, String> {
        let terms = split(text).into_iter().filter(|term| !term.is_empty());
        terms.map(term).collect::<Result<_, _>>().map(Fields)
    }
}

/// At the commas that have no backslash before them.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut is_escaped) = (Vec::new(), 0, false);
    for (at, c) in text.char_indices() {
        if c == ',' && !is_escaped {
            parts.push(&text[start..at]);
            start = at + 1;
        }
        is_escaped = c == '\\' && !is_escaped;
    }
    parts.push(&text[start..]);
    parts
}

fn term(text: &str) -> Result<Term, String> {
    let known = || FIELDS.map(|(name, _)| name).join(", ");
    let at = text.find(['=', '!']).unwrap_or(text.len());
    let (name, rest) = text.split_at(at);
    let operators = [("!=", true), ("==", false), ("=", false)];
    let found = operators.into_iter().find_map(|(operator, is_negated)| {
        rest.strip_prefix(operator).map(|value| (is_negated, value))
    });
    let Some((is_negated, value)) = found else {
        return Err(format!("{text}: want FIELD=VALUE, FIELD==VALUE or FIELD!=VALUE"));
    };
    match FIELDS.into_iter().find(|(field, _)| *field == name) {
        Some((_, field)) => Ok(Term { field, is_negated, value: unescaped(value)? }),
        None => Err(format!("field label not supported: {name} (there are {})", known())),
    }
}

/// A backslash stands before a backslash, a comma or an equals sign that is meant as such.
fn unescaped(value: &str) -> Result<String, String> {
    let mut out = String::new();
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(c @ ('\\' | ',' | '=')) => out.push(c),
                Some(c) => return Err(format!("invalid field selector: \\{c} in {value}")),
                None => return Err(format!("invalid field selector: \\ at the end of {value}")),
            },
            '=' => return Err(format!("invalid field selector: unescaped = in {value}")),
            c => out.push(c),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<(bool, String)>, String> {
        let fields: Fields = text.parse()?;
        Ok(fields.0.into_iter().map(|term| (term.is_negated, term.value)).collect())
    }

    #[test]
    fn terms_are_split_at_commas_and_values_may_have_what_is_escaped() {
        let one = |is_negated: bool, value: &str| (is_negated, value.to_owned());
        assert_eq!(read(""), Ok(vec![]));
        assert_eq!(read("metadata.name=a"), Ok(vec![one(false, "a")]));
        assert_eq!(
            read("status.podIP==,,spec.nodeName!=b\\,c\\=\\\\,"),
            Ok(vec![one(false, ""), one(true, "b,c=\\")])
        );
    }

    #[test]
    fn what_is_no_field_selector_is_refused_and_the_known_fields_are_named() {
        for (text, says) in [
            ("spec.host=a", "field label not supported: spec.host (there are metadata.name, "),
            ("Status.phase=a", "field label not supported: Status.phase"),
            ("status.phase", "status.phase: want FIELD=VALUE"),
            ("status.phase!Running", "status.phase!Running: want FIELD=VALUE"),
            ("status.phase in (a)", "status.phase in (a): want FIELD=VALUE"),
            ("metadata.name=a=b", "invalid field selector: unescaped = in a=b"),
            ("metadata.name=a\\b", "invalid field selector: \\b in a\\b"),
            ("metadata.name=a\\", "invalid field selector: \\ at the end of a\\"),
        ] {
            let said = read(text).unwrap_err();
            assert!(said.starts_with(says), "{text}: {said}");
        }
    }
}
