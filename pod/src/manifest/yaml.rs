//! YAML text → a tree that knows its lines.
//!
//! Anchors, merge keys and tags mean what they mean to Kubernetes' own YAML reader
//! (`go.yaml.in/yaml/v2`); [`super::scalar`] has the scalars. Size, depth and the number of nodes
//! are bounded, and every copy counts: no document can make the tree larger than its bound.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};

use super::fault::Fault;
use super::scalar::{self, scalar};
use super::text;
use super::tree::{Value, YamlNode};

/// Largest manifest that is read, in bytes (the kubelet's bound for static pods).
pub const MAX_BYTES: usize = 10 << 20;
const MAX_DEPTH: usize = 64;
const MAX_NODES: usize = 200_000;

/// Reads every document of `bytes`, UTF-8 or UTF-16 with a byte order mark.
pub fn documents(bytes: &[u8]) -> Result<Vec<YamlNode>, Fault> {
    if bytes.len() > MAX_BYTES {
        return Err(Fault::at(0, "", format!("larger than {MAX_BYTES} bytes")));
    }
    let text = text::decode(bytes)?;
    let mut builder =
        Builder { parser: Parser::new_from_str(&text), anchors: HashMap::new(), nodes: 0 };
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
    anchors: HashMap<usize, (YamlNode, usize)>,
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

    fn node(&mut self, depth: usize) -> Result<YamlNode, Fault> {
        let (event, span) = self.next()?;
        self.node_of(event, span.start.line(), depth)
    }

    fn node_of(&mut self, event: Event<'t>, line: usize, depth: usize) -> Result<YamlNode, Fault> {
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
            // A tag on a collection says nothing that its shape does not say.
            Event::SequenceStart(anchor, _) => (self.list(depth)?, anchor),
            Event::MappingStart(anchor, _) => (self.map(depth)?, anchor),
            _ => return Err(Fault::at(line, "", "YAML: unexpected end")),
        };
        let node = YamlNode { line, value };
        if anchor != 0 {
            let size = self.nodes - before;
            self.count(line, size)?;
            self.anchors.insert(anchor, (node.clone(), size));
        }
        Ok(node)
    }

    fn alias(&mut self, id: usize, line: usize) -> Result<YamlNode, Fault> {
        let Some((node, size)) = self.anchors.get(&id) else {
            return Err(Fault::at(line, "", "YAML: alias to an anchor that is not complete"));
        };
        // A copy costs what the original cost: a document of nested aliases ends here.
        let (node, size) = (node.clone(), *size);
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
        let mut entries = Entries::default();
        loop {
            let (event, span) = self.next()?;
            let line = span.start.line();
            if matches!(event, Event::MappingEnd) {
                return Ok(Value::Map(entries.list));
            }
            if is_merge(&event) {
                let value = self.node(depth + 1)?;
                entries.merge(value, line)?;
                continue;
            }
            let key = self.node_of(event, line, depth + 1)?;
            let key = scalar::key(&key.value)
                .ok_or_else(|| Fault::at(line, "", "YAML: a key must be a string"))?;
            let value = self.node(depth + 1)?;
            entries.own(key, line, value)?;
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

/// `<<` as a plain scalar, or with its own tag.
fn is_merge(event: &Event<'_>) -> bool {
    let Event::Scalar(text, style, _, tag) = event else { return false };
    let tagged = |tag: &Tag| tag.is_yaml_core_schema() && tag.suffix == "merge";
    text == "<<" && tag.as_ref().map_or(*style == ScalarStyle::Plain, |tag| tagged(tag))
}

/// A mapping while it is read: what is found where, and which keys were merged in.
#[derive(Default)]
struct Entries {
    list: Vec<(String, usize, YamlNode)>,
    places: HashMap<String, (usize, bool)>,
}

impl Entries {
    /// An entry of the mapping itself. It replaces one that was merged in before it.
    fn own(&mut self, key: String, line: usize, value: YamlNode) -> Result<(), Fault> {
        match self.places.get(&key) {
            Some((_, false)) => Err(Fault::at(line, &key, "the key appears twice")),
            _ => {
                self.put(key, line, value, false);
                Ok(())
            }
        }
    }

    /// Merges a mapping, or a list of them of which the earlier ones win. As with Kubernetes'
    /// reader, a merge that stands after a key replaces it.
    fn merge(&mut self, value: YamlNode, line: usize) -> Result<(), Fault> {
        let wrong = || Fault::at(line, "<<", "YAML: a merge needs a mapping or a list of mappings");
        let maps = match value.value {
            Value::Map(entries) => vec![entries],
            Value::List(items) => {
                let map = |item: YamlNode| match item.value {
                    Value::Map(entries) => Ok(entries),
                    _ => Err(wrong()),
                };
                items.into_iter().rev().map(map).collect::<Result<_, _>>()?
            }
            _ => return Err(wrong()),
        };
        for (key, line, value) in maps.into_iter().flatten() {
            self.put(key, line, value, true);
        }
        Ok(())
    }

    fn put(&mut self, key: String, line: usize, value: YamlNode, merged: bool) {
        match self.places.get_mut(&key) {
            Some((i, was_merged)) => {
                *was_merged = merged;
                self.list[*i] = (key, line, value);
            }
            None => {
                self.places.insert(key.clone(), (self.list.len(), merged));
                self.list.push((key, line, value));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Value {
        documents(text.as_bytes()).unwrap().remove(0).value
    }

    fn keys(text: &str) -> String {
        fn show(value: &Value) -> String {
            match value {
                Value::Map(entries) => {
                    let all: Vec<String> = entries
                        .iter()
                        .map(|(key, _, node)| format!("{key}:{}", show(&node.value)))
                        .collect();
                    format!("{{{}}}", all.join(" "))
                }
                Value::List(items) => {
                    let all: Vec<String> = items.iter().map(|node| show(&node.value)).collect();
                    format!("[{}]", all.join(" "))
                }
                Value::Text(text) => text.clone(),
                Value::Int(n) => n.to_string(),
                other => format!("{other:?}"),
            }
        }
        show(&one(text))
    }

    #[test]
    fn anchors_and_merges_mean_what_they_mean_to_kubernetes_reader() {
        for (text, want) in [
            ("a: &x {p: 1}\nb: *x\n", "{a:{p:1} b:{p:1}}"),
            ("a: &x 5\nb: *x\nc: [*x, &y z, *y]\n", "{a:5 b:5 c:[5 z z]}"),
            ("a: &x {p: 1, q: 2}\nb: {<<: *x, p: 3}\n", "{a:{p:1 q:2} b:{p:3 q:2}}"),
            // Unlike YAML's own text says: a merge that comes later wins.
            ("a: &x {p: 1}\nb: {p: 3, <<: *x}\n", "{a:{p:1} b:{p:1}}"),
            ("b: {<<: {p: 1}, q: 2}\n", "{b:{p:1 q:2}}"),
            (
                "a: &x {p: 1}\nb: &y {p: 2, q: 2}\nc: {<<: [*x, *y, {r: 3}]}\n",
                "{a:{p:1} b:{p:2 q:2} c:{r:3 p:1 q:2}}",
            ),
            (
                "a: &x {p: 1}\nb: &y {<<: *x, q: 2}\nc: {<<: *y}\n",
                "{a:{p:1} b:{p:1 q:2} c:{p:1 q:2}}",
            ),
            ("a: &x {p: 1}\nb: {<<: *x, <<: {q: 2}}\n", "{a:{p:1} b:{p:1 q:2}}"),
            ("a: &x 1\na2: &x 2\nb: *x\n", "{a:1 a2:2 b:2}"),
            ("&k name: 1\nb: {*k : 2}\n", "{name:1 b:{name:2}}"),
            ("'<<': 1\n", "{<<:1}"),
            ("!!map {a: !!seq [1]}\n", "{a:[1]}"),
            ("1: a\nyes: b\n1.5: c\n", "{1:a true:b 1.5:c}"),
            ("%YAML 1.1\n---\na: 1\n", "{a:1}"),
        ] {
            assert_eq!(keys(text), want, "{text}");
        }
        for text in
            ["b: {<<: 1}\n", "b: {<<: [1]}\n", "a: &x [1]\nb: {<<: *x}\n", "[a]: 1\n", "null: 1\n"]
        {
            assert!(documents(text.as_bytes()).is_err(), "{text}");
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
    fn a_bomb_of_merges_or_of_nested_anchors_ends_at_the_bound() {
        let mut text = String::from("a0: &a0 {k: [x, x, x, x, x, x, x, x, x, x]}\n");
        for i in 1..12 {
            let keys: Vec<String> = (0..10).map(|k| format!("k{k}: {{<<: *a{}}}", i - 1)).collect();
            text.push_str(&format!("a{i}: &a{i} {{{}}}\n", keys.join(", ")));
        }
        let fault = documents(text.as_bytes()).unwrap_err();
        assert_eq!(fault.message, "more than 200000 values");
        // Each anchor around a large list keeps a copy of it.
        let (open, close) =
            ((0..40).map(|i| format!("&n{i} [")).collect::<String>(), "]".repeat(40));
        let text = format!("{open}{}{close}\n", "x, ".repeat(20_000));
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
