//! kubectl's JSONPath templates: text, and in braces paths, `range` … `end` and quoted text.
//!
//! It is another language than RFC 9535: a name may have a `-`, a dot in it stands behind a backslash,
//! `@` may be left out, and several results are printed with blanks between them.

mod read;

use serde_json::Value;
use std::cmp::Ordering;

/// A template.
#[derive(Clone, Debug, PartialEq)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Text(String),
    Print(Path),
    Range(Path, Vec<Part>),
}

/// A way to values.
#[derive(Clone, Debug, PartialEq)]
pub struct Path {
    /// From the whole (`$`), and not from where a `range` is.
    from_root: bool,
    steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Field(String),
    /// From the end if negative.
    Item(i64),
    Slice(Option<i64>, Option<i64>),
    All,
    /// What is at hand and all that is in it, however deep.
    Deep,
    Filter(Box<Filter>),
}

/// `?(@.type=="Ready")`; without an operator, that there is something.
#[derive(Clone, Debug, PartialEq)]
struct Filter {
    left: Path,
    compared: Option<(Op, Operand)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Op {
    Equal,
    Unequal,
    Less,
    AtMost,
    More,
    AtLeast,
}

#[derive(Clone, Debug, PartialEq)]
enum Operand {
    Literal(Value),
    Path(Path),
}

impl Template {
    /// Reads a template.
    pub fn parse(text: &str) -> Result<Template, String> {
        read::template(text).map(Template)
    }

    /// What it is of this value. What is not there is nothing.
    pub fn print(&self, root: &Value) -> String {
        let mut out = String::new();
        print(&self.0, root, root, &mut out);
        out
    }
}

impl Path {
    /// Reads a path, as it stands between braces.
    pub fn parse(text: &str) -> Result<Path, String> {
        read::path(text)
    }

    /// What it leads to.
    pub fn find<'a>(&self, root: &'a Value) -> Vec<&'a Value> {
        self.find_from(root, root)
    }

    fn find_from<'a>(&self, root: &'a Value, here: &'a Value) -> Vec<&'a Value> {
        let mut found = vec![if self.from_root { root } else { here }];
        for step in &self.steps {
            found = found.into_iter().flat_map(|at| step.of(root, at)).collect();
        }
        found
    }
}

impl Step {
    fn of<'a>(&self, root: &'a Value, at: &'a Value) -> Vec<&'a Value> {
        let items = || at.as_array().map_or(&[][..], Vec::as_slice);
        let from_end = |i: i64| {
            let length = i64::try_from(items().len()).unwrap_or(i64::MAX);
            if i < 0 { length + i } else { i }
        };
        match self {
            Step::Field(name) => at.get(name).into_iter().collect(),
            Step::Item(i) => {
                let item = usize::try_from(from_end(*i)).ok().and_then(|i| items().get(i));
                item.into_iter().collect()
            }
            Step::Slice(from, to) => {
                let bound = |end: Option<i64>, none: usize| {
                    end.map_or(none, |i| usize::try_from(from_end(i)).unwrap_or(0))
                };
                let to = bound(*to, items().len()).min(items().len());
                items().get(bound(*from, 0)..to).unwrap_or_default().iter().collect()
            }
            Step::All => children(at),
            Step::Deep => deep(at),
            Step::Filter(filter) => {
                items().iter().filter(|item| filter.takes(root, item)).collect()
            }
        }
    }
}

fn children(at: &Value) -> Vec<&Value> {
    match at {
        Value::Array(items) => items.iter().collect(),
        Value::Object(fields) => fields.values().collect(),
        _ => Vec::new(),
    }
}

fn deep(at: &Value) -> Vec<&Value> {
    std::iter::once(at).chain(children(at).into_iter().flat_map(deep)).collect()
}

impl Filter {
    fn takes(&self, root: &Value, item: &Value) -> bool {
        let found = self.left.find_from(root, item);
        let Some((op, operand)) = &self.compared else { return !found.is_empty() };
        let Some(left) = found.first() else { return false };
        let right = match operand {
            Operand::Literal(value) => Some(value),
            Operand::Path(path) => path.find_from(root, item).first().copied(),
        };
        right.and_then(|right| order(left, right)).is_some_and(|order| op.takes(order))
    }
}

impl Op {
    fn takes(self, order: Ordering) -> bool {
        match self {
            Op::Equal => order.is_eq(),
            Op::Unequal => order.is_ne(),
            Op::Less => order.is_lt(),
            Op::AtMost => order.is_le(),
            Op::More => order.is_gt(),
            Op::AtLeast => order.is_ge(),
        }
    }
}

/// Of values of one kind.
fn order(one: &Value, other: &Value) -> Option<Ordering> {
    match (one, other) {
        (Value::String(one), Value::String(other)) => Some(one.cmp(other)),
        (Value::Bool(one), Value::Bool(other)) => Some(one.cmp(other)),
        (Value::Number(one), Value::Number(other)) => one.as_f64()?.partial_cmp(&other.as_f64()?),
        _ => None,
    }
}

fn print(parts: &[Part], root: &Value, here: &Value, out: &mut String) {
    for part in parts {
        match part {
            Part::Text(text) => out.push_str(text),
            Part::Print(path) => {
                let found: Vec<String> =
                    path.find_from(root, here).into_iter().map(words).collect();
                out.push_str(&found.join(" "));
            }
            Part::Range(path, inner) => {
                for item in path.find_from(root, here) {
                    print(inner, root, item, out);
                }
            }
        }
    }
}

/// A value as it is printed: text as it is, what is made of parts as JSON.
pub fn words(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pods() -> Value {
        json!({"items": [
            {"metadata": {"name": "web", "labels": {"my-app": "x", "a.io/b": "y"}},
             "status": {"phase": "Running", "n": 3, "conditions": [
                {"type": "Ready", "status": "True"}, {"type": "Initialized", "status": "False"}]}},
            {"metadata": {"name": "db"}, "status": {"phase": "Pending", "n": 1, "conditions": []}},
        ]})
    }

    #[test]
    fn a_template_is_printed_as_kubectl_prints_it() {
        for (template, printed) in [
            ("{.items[*].metadata.name}", "web db"),
            ("{.items[0].metadata.labels.my-app}", "x"),
            (r"{.items[0].metadata.labels.a\.io/b}", "y"),
            ("{.items[0].metadata.labels['a.io/b']}", "y"),
            ("{.items[-1:].metadata.name}", "db"),
            ("{.items[0:1].metadata.name}", "web"),
            ("{.items[-1].metadata.name}", "db"),
            ("{.items[7].metadata.name}", ""),
            ("{.nothing.there}", ""),
            ("{$.items[0].status.n}", "3"),
            ("{..name}", "web db"),
            ("{.items[?(@.status.n>1)].metadata.name}", "web"),
            ("{.items[?(@.status.n <= 1)].metadata.name}", "db"),
            (r#"{.items[0].status.conditions[?(@.type=="Ready")].status}"#, "True"),
            ("{.items[*].status.conditions[?(@.type!='Ready')].status}", "False"),
            ("{.items[?(@.metadata.labels)].metadata.name}", "web"),
            (
                r#"{range .items[*]}{.metadata.name}{"\t"}{.status.phase}{"\n"}{end}"#,
                "web\tRunning\ndb\tPending\n",
            ),
            ("phase: {.items[0].status.phase}!", "phase: Running!"),
            ("{.items[1].status.conditions}", "[]"),
            ("{.items[0].metadata.labels}", r#"{"a.io/b":"y","my-app":"x"}"#),
        ] {
            let read = Template::parse(template).unwrap_or_else(|e| panic!("{template}: {e}"));
            assert_eq!(read.print(&pods()), printed, "{template}");
        }
    }

    #[test]
    fn a_template_that_cannot_be_read_says_why() {
        for (template, why) in [
            ("{.a", "a { without its }"),
            ("{range .items[*]}{.a}", "a range without its {end}"),
            ("{end}", "an {end} without its range"),
            ("{.a[x]}", "[x]"),
            ("{.a[}", "a [ without its ]"),
            ("{.a[?(@.b)}", "a [ without its ]"),
            ("{.a[0]b}", "\"b\""),
            ("{a}", "\"a\""),
            ("{\"x}", "a quote without its end"),
        ] {
            let error = Template::parse(template).unwrap_err();
            assert!(error.contains(why), "{template}: {error}");
        }
    }
}
