//! YAML text → a tree that knows its lines.
//!
//! Scalars resolve as Kubernetes' own YAML reader resolves them (YAML 1.1: `yes` and `on` are
//! booleans, `0644` is octal). Size, depth and the number of nodes are bounded, aliases included,
//! so that no document can make the tree larger than its bound.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};

use super::fields::Fault;

/// Largest manifest that is read, in bytes (the kubelet's bound for static pods).
pub const MAX_BYTES: usize = 10 << 20;
const MAX_DEPTH: usize = 64;
const MAX_NODES: usize = 200_000;

/// A value and the line it starts on, counted from 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Line of its first character.
    pub line: usize,
    /// What it is.
    pub value: Value,
}

/// One YAML value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `null`, `~` or nothing.
    Null,
    /// A boolean.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Any other number, as written.
    Float(String),
    /// A string.
    Text(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping: key, line of the key, value; keys are unique.
    Map(Vec<(String, usize, Node)>),
}

impl Value {
    /// What it is, for `expected a string, found a boolean`.
    pub fn describe(&self) -> &'static str {
        match self {
            Value::Null => "nothing",
            Value::Bool(_) => "a boolean",
            Value::Int(_) => "an integer",
            Value::Float(_) => "a number",
            Value::Text(_) => "a string",
            Value::List(_) => "a list",
            Value::Map(_) => "an object",
        }
    }
}

/// Reads every document of `text`.
pub fn documents(text: &[u8]) -> Result<Vec<Node>, Fault> {
    if text.len() > MAX_BYTES {
        return Err(Fault::at(0, "", format!("larger than {MAX_BYTES} bytes")));
    }
    let text = std::str::from_utf8(text).map_err(|e| {
        let line = text[..e.valid_up_to()].iter().filter(|b| **b == b'\n').count() + 1;
        Fault::at(line, "", "not UTF-8")
    })?;
    let mut builder =
        Builder { parser: Parser::new_from_str(text), anchors: HashMap::new(), nodes: 0 };
    let mut found = Vec::new();
    loop {
        match builder.next()? {
            (Event::StreamEnd, _) => return Ok(found),
            (Event::DocumentStart(_), _) => {
                let node = builder.node(0)?;
                if node.value != Value::Null {
                    found.push(node);
                }
            }
            _ => {}
        }
    }
}

struct Builder<'t> {
    parser: Parser<'t, saphyr_parser::StrInput<'t>>,
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
}

impl<'t> Builder<'t> {
    fn next(&mut self) -> Result<(Event<'t>, Span), Fault> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(e)) => Err(Fault::at(e.marker().line(), "", format!("YAML: {}", e.info()))),
            None => Ok((Event::StreamEnd, Span::empty(saphyr_parser::Marker::new(0, 0, 0)))),
        }
    }

    fn node(&mut self, depth: usize) -> Result<Node, Fault> {
        let (event, span) = self.next()?;
        self.node_of(event, span.start.line(), depth)
    }

    fn node_of(&mut self, event: Event<'t>, line: usize, depth: usize) -> Result<Node, Fault> {
        if depth > MAX_DEPTH {
            return Err(Fault::at(line, "", format!("nested deeper than {MAX_DEPTH}")));
        }
        let before = self.nodes;
        self.count(line, 1)?;
        let (value, anchor) = match event {
            Event::Alias(id) => return self.alias(id, line),
            Event::Scalar(text, style, anchor, tag) => {
                (scalar(&text, style, tag.as_deref(), line)?, anchor)
            }
            Event::SequenceStart(anchor, _) => (self.list(depth)?, anchor),
            Event::MappingStart(anchor, _) => (self.map(depth)?, anchor),
            _ => return Err(Fault::at(line, "", "YAML: unexpected end")),
        };
        let node = Node { line, value };
        if anchor != 0 {
            self.anchors.insert(anchor, (node.clone(), self.nodes - before));
        }
        Ok(node)
    }

    fn alias(&mut self, id: usize, line: usize) -> Result<Node, Fault> {
        let Some((node, size)) = self.anchors.get(&id).cloned() else {
            return Err(Fault::at(line, "", "YAML: alias to an anchor that is not complete"));
        };
        // A copy costs what the original cost: a document of nested aliases ends here.
        self.count(line, size)?;
        Ok(node)
    }

    fn list(&mut self, depth: usize) -> Result<Value, Fault> {
        let mut items = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::SequenceEnd) {
                return Ok(Value::List(items));
            }
            items.push(self.node_of(event, span.start.line(), depth + 1)?);
        }
    }

    fn map(&mut self, depth: usize) -> Result<Value, Fault> {
        let mut entries: Vec<(String, usize, Node)> = Vec::new();
        loop {
            let (event, span) = self.next()?;
            let line = span.start.line();
            let key = match event {
                Event::MappingEnd => return Ok(Value::Map(entries)),
                Event::Scalar(text, ..) => text.into_owned(),
                _ => return Err(Fault::at(line, "", "YAML: a key must be a string")),
            };
            if key == "<<" {
                return Err(Fault::at(line, "", "YAML: merge keys are not supported"));
            }
            let value = self.node(depth + 1)?;
            if entries.iter().any(|(k, ..)| *k == key) {
                return Err(Fault::at(line, &key, "the key appears twice"));
            }
            entries.push((key, line, value));
        }
    }

    fn count(&mut self, line: usize, by: usize) -> Result<(), Fault> {
        self.nodes += by;
        if self.nodes > MAX_NODES {
            return Err(Fault::at(line, "", format!("more than {MAX_NODES} values")));
        }
        Ok(())
    }
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>, line: usize) -> Result<Value, Fault> {
    if let Some(tag) = tag {
        return match tag.suffix.as_str() {
            "str" if tag.is_yaml_core_schema() => Ok(Value::Text(text.to_owned())),
            _ => Err(Fault::at(line, "", format!("YAML: tag {tag} is not supported"))),
        };
    }
    if style != ScalarStyle::Plain {
        return Ok(Value::Text(text.to_owned()));
    }
    Ok(match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "y" | "Y" => {
            Value::Bool(true)
        }
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" | "n" | "N" => {
            Value::Bool(false)
        }
        _ => number(text).unwrap_or_else(|| Value::Text(text.to_owned())),
    })
}

fn number(text: &str) -> Option<Value> {
    let first = text.bytes().next()?;
    if !(first.is_ascii_digit() || matches!(first, b'+' | b'-' | b'.')) {
        return None;
    }
    let plain = text.replace('_', "");
    let (sign, digits) = match plain.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, plain.strip_prefix('+').unwrap_or(&plain)),
    };
    let radix = |prefix: &str, radix| {
        let rest = digits.strip_prefix(prefix).filter(|r| !r.starts_with(['+', '-']))?;
        i64::from_str_radix(rest, radix).ok()
    };
    let int = radix("0x", 16)
        .or_else(|| radix("0b", 2))
        .or_else(|| radix("0o", 8))
        .or_else(|| (digits.len() > 1).then(|| radix("0", 8)).flatten())
        .or_else(|| {
            digits.parse().ok().filter(|_| !digits.starts_with(['0', '+', '-']) || digits == "0")
        });
    if let Some(int) = int {
        return Some(Value::Int(sign * int));
    }
    let shape =
        digits.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'));
    (shape && plain.parse::<f64>().is_ok()).then(|| Value::Float(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Value {
        documents(text.as_bytes()).unwrap().remove(0).value
    }

    #[test]
    fn scalars_resolve_as_kubernetes_resolves_them() {
        for (text, value) in [
            ("a", Value::Text("a".into())),
            ("'1'", Value::Text("1".into())),
            ("1", Value::Int(1)),
            ("-7", Value::Int(-7)),
            ("0644", Value::Int(0o644)),
            ("0o644", Value::Int(0o644)),
            ("0x1F", Value::Int(31)),
            ("1_000", Value::Int(1000)),
            ("1.5", Value::Float("1.5".into())),
            ("1e3", Value::Float("1e3".into())),
            ("100m", Value::Text("100m".into())),
            ("1.2.3.4", Value::Text("1.2.3.4".into())),
            ("2026-01-01", Value::Text("2026-01-01".into())),
            ("12:30", Value::Text("12:30".into())),
            ("yes", Value::Bool(true)),
            ("off", Value::Bool(false)),
            ("!!str 5", Value::Text("5".into())),
        ] {
            assert_eq!(one(text), value, "{text}");
        }
    }

    #[test]
    fn every_value_knows_its_line() {
        let doc = documents(b"a: 1\nb:\n  - x\n  - y: 2\n").unwrap().remove(0);
        let Value::Map(entries) = doc.value else { panic!("a map") };
        assert_eq!((entries[0].1, entries[1].1), (1, 2));
        let Value::List(items) = &entries[1].2.value else { panic!("a list") };
        assert_eq!((items[0].line, items[1].line), (3, 4));
    }

    #[test]
    fn a_bomb_of_aliases_ends_at_the_bound() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for i in 1..12 {
            let refs = vec![format!("*a{}", i - 1); 10].join(", ");
            text.push_str(&format!("a{i}: &a{i} [{refs}]\n"));
        }
        let fault = documents(text.as_bytes()).unwrap_err();
        assert_eq!(fault.message, "more than 200000 values");
    }

    #[test]
    fn broken_yaml_is_a_fault_with_its_line() {
        for (text, line) in [("a: [1, 2\nb: 3\n", 2), ("a: 1\na: 2\n", 2), ("a: &x {b: *x}\n", 1)] {
            assert_eq!(documents(text.as_bytes()).unwrap_err().line, line, "{text}");
        }
        assert_eq!(documents(b"a: 1\nb: \xff\n").unwrap_err().line, 2);
        let deep = "[".repeat(5_000);
        assert!(documents(deep.as_bytes()).is_err());
    }
}
