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
    /// From, to, and in which steps.
    Slice(Option<i64>, Option<i64>, usize),
    /// All that each of these leads to, one after the other.
    Union(Vec<Vec<Step>>),
    All,
    /// What is at hand and all that is in it, however deep.
    Deep,
    Filter(Box<Filter>),
}

/// `?(@.type=="Ready")`; without an operator, that there is something.
#[derive(Clone, Debug, PartialEq)]
struct Filter {
    left: Operand,
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

    /// What it is of this value. A field that is not there is nothing.
    ///
    /// # Errors
    /// An item that is not there, and one of what has none, as for kubectl.
    pub fn print(&self, root: &Value) -> Result<String, String> {
        let mut out = String::new();
        print(&self.0, root, root, &mut out)?;
        Ok(out)
    }
}

impl Path {
    /// Reads a path, as it stands between braces.
    pub fn parse(text: &str) -> Result<Path, String> {
        read::path(text)
    }

    /// What it leads to; nothing, where an item is not there.
    pub fn find<'a>(&self, root: &'a Value) -> Vec<&'a Value> {
        self.find_from(root, root).unwrap_or_default()
    }

    fn find_from<'a>(&self, root: &'a Value, here: &'a Value) -> Result<Vec<&'a Value>, String> {
        follow(&self.steps, root, vec![if self.from_root { root } else { here }])
    }
}

fn follow<'a>(
    steps: &[Step],
    root: &'a Value,
    from: Vec<&'a Value>,
) -> Result<Vec<&'a Value>, String> {
    let mut found = from;
    for step in steps {
        let mut next = Vec::new();
        if let Step::Union(members) = step {
            for member in members {
                next.extend(follow(member, root, found.clone())?);
            }
        } else {
            for at in found {
                step.of(root, at, &mut next)?;
            }
        }
        found = next;
    }
    Ok(found)
}

impl Step {
    fn of<'a>(
        &self,
        root: &'a Value,
        at: &'a Value,
        found: &mut Vec<&'a Value>,
    ) -> Result<(), String> {
        match self {
            Step::Field(name) => found.extend(at.get(name)),
            Step::Item(i) => found.extend(part(items(at)?, Some(*i), None, true)?),
            Step::Slice(from, to, by) => {
                found.extend(part(items(at)?, *from, *to, false)?.iter().step_by(*by));
            }
            Step::Union(members) => {
                for member in members {
                    found.extend(follow(member, root, vec![at])?);
                }
            }
            Step::All => found.extend(children(at)),
            Step::Deep => found.extend(deep(at)),
            Step::Filter(filter) => {
                for item in items(at)? {
                    if filter.takes(root, item)? {
                        found.push(item);
                    }
                }
            }
        }
        Ok(())
    }
}

/// What is in a list. Nothing has nothing in it.
fn items(at: &Value) -> Result<&[Value], String> {
    match at {
        Value::Array(items) => Ok(items),
        Value::Null => Ok(&[]),
        Value::Object(_) => Err("a map is not an array".to_owned()),
        other => Err(format!("{other} is not an array")),
    }
}

/// The part of a list between two bounds, from its end if they are negative; or one item of it.
fn part(
    items: &[Value],
    from: Option<i64>,
    to: Option<i64>,
    is_one: bool,
) -> Result<&[Value], String> {
    let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
    let bound = |i: i64| if i < 0 { length.saturating_add(i) } else { i };
    let from = bound(from.unwrap_or(0));
    let to = if is_one { from.saturating_add(1) } else { to.map_or(length, bound) };
    if from == to {
        return Ok(&[]);
    }
    let beyond = |i| Err(format!("array index out of bounds: index {i}, length {length}"));
    if !(0..length).contains(&from) {
        return beyond(from);
    }
    if !(0..=length).contains(&to) {
        return beyond(to - 1);
    }
    let bounds = usize::try_from(from).ok().zip(usize::try_from(to).ok());
    let part = bounds.and_then(|(from, to)| items.get(from..to));
    part.ok_or_else(|| format!("starting index {from} is greater than ending index {to}"))
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
    fn takes(&self, root: &Value, item: &Value) -> Result<bool, String> {
        let left = self.left.values(root, item)?;
        let Some((op, operand)) = &self.compared else { return Ok(!left.is_empty()) };
        let right = operand.values(root, item)?;
        let pair = left.first().zip(right.first());
        Ok(pair.and_then(|(left, right)| order(left, right)).is_some_and(|order| op.takes(order)))
    }
}

impl Operand {
    fn values<'a>(&'a self, root: &'a Value, item: &'a Value) -> Result<Vec<&'a Value>, String> {
        match self {
            Operand::Literal(value) => Ok(vec![value]),
            Operand::Path(path) => path.find_from(root, item),
        }
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

fn print(parts: &[Part], root: &Value, here: &Value, out: &mut String) -> Result<(), String> {
    for part in parts {
        match part {
            Part::Text(text) => out.push_str(text),
            Part::Print(path) => {
                let found: Vec<String> =
                    path.find_from(root, here)?.into_iter().map(words).collect();
                out.push_str(&found.join(" "));
            }
            Part::Range(path, inner) => {
                for item in path.find_from(root, here)? {
                    print(inner, root, item, out)?;
                }
            }
        }
    }
    Ok(())
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
            (r"{.items[0].metadata.labels['a\.io/b']}", "y"),
            ("{.items[0].metadata.labels['a.io/b']}", ""),
            ("{.items[*]['metadata.name', 'status.phase']}", "web db Running Pending"),
            ("{.items[*]['metadata.name','status.none']}", "web db"),
            ("{.items[0]['metadata']['name']}", "web"),
            ("{.items[0,1].status.n}", "3 1"),
            ("{.items[::2].metadata.name}", "web"),
            ("{.items[0:2:1].metadata.name}", "web db"),
            ("{.items[-2:-1].metadata.name}", "web"),
            ("{.items[1:1].metadata.name}", ""),
            ("{.items[:].metadata.name} {.items[1:].metadata.name}", "web db db"),
            ("{.none[0].a}", ""),
            ("{ .items[0].metadata.name }", "web"),
            (r#"{.items[0].status.conditions[?(@.type != "a==b")].type}"#, "Ready Initialized"),
            (r#"{.items[?("web"==@.metadata.name)].status.n}"#, "3"),
            (r#"{"a\n\tb\u00e9\x41\"'"}"#, "a\n\tb\u{e9}A\"'"),
            (r"{'it\'s'}", "it's"),
            (
                r#"{range .items[*]}{.metadata.name}:{range .status.conditions[*]} {.type}{end}{"\n"}{end}."#,
                "web: Ready Initialized\ndb:\n.",
            ),
            ("{.items[-1:].metadata.name}", "db"),
            ("{.items[0:1].metadata.name}", "web"),
            ("{.items[-1].metadata.name}", "db"),
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
            assert_eq!(read.print(&pods()).as_deref(), Ok(printed), "{template}");
        }
    }

    #[test]
    fn an_item_that_is_not_there_is_a_fault_as_for_kubectl() {
        for (template, why) in [
            ("{.items[7].metadata.name}", "array index out of bounds: index 7, length 2"),
            ("{.items[-3]}", "array index out of bounds: index -1, length 2"),
            ("{.items[0:3]}", "array index out of bounds: index 2, length 2"),
            ("{.items[1:0]}", "starting index 1 is greater than ending index 0"),
            ("{.items[0].metadata[0]}", "a map is not an array"),
            ("{.items[0].metadata.name[?(@.a)]}", "\"web\" is not an array"),
        ] {
            let read = Template::parse(template).unwrap_or_else(|e| panic!("{template}: {e}"));
            assert_eq!(read.print(&pods()), Err(why.to_owned()), "{template}");
        }
        let path = Path::parse(".items[7].metadata").unwrap();
        assert_eq!(path.find(&pods()), Vec::<&Value>::new());
    }

    #[test]
    fn a_template_that_cannot_be_read_says_why() {
        for (template, why) in [
            ("{.a", "a { without its }, at column 1"),
            ("é: {.a", "a { without its }, at column 4"),
            ("{range .items[*]}{.a}", "a range without its {end}, at column 22"),
            ("{end}", "an {end} without its range, at column 2"),
            ("{.a[x]}", "want a number, a slice, *, a name in quotes or ?(...), at column 5"),
            ("{.a[]}", "want a number, a slice"),
            ("{.a[0:1:0]}", "a step must be more than 0, at column 5"),
            ("{.a[1:2:3:4]}", "want a number, a slice"),
            ("{.a['b'", "a [ without its ], at column 4"),
            ("{.a[?(@.b)}", "want a ], at column 11"),
            ("{.a[?(@.b==1}", "want ==, !=, <, <=, >, >= or a ), at column 13"),
            ("{.a[?(@.b=~1)]}", "want ==, !="),
            (
                r#"{.a[?(@.b=="x" && @.c=="y")]}"#,
                "a filter is one comparison: there is no && and no ||, at column 16",
            ),
            ("{.a[?(@.b||@.c)]}", "a filter is one comparison"),
            ("{.a[?(@.b==c)]}", "want a path, a number or a quote, at column 12"),
            ("{.a[0]b}", "want a ., a [ or a }, at column 7"),
            ("{a}", "want a ., a [ or a }, at column 2"),
            ("{..}", "a . without a name, at column 4"),
            ("{\"x}", "a quote without its end, at column 2"),
            (r#"{"a\q"}"#, "no escape, at column 4"),
        ] {
            let error = Template::parse(template).unwrap_err();
            assert!(error.starts_with(why), "{template}: {error}");
        }
    }
}
