//! YAML text → a tree that knows its lines.
//!
//! Kubernetes' own YAML reader is `go.yaml.in/yaml/v2`, a port of libyaml: what the text may look
//! like is libyaml's here too, and anchors, merge keys, tags and keys that appear twice mean what
//! they mean there; [`super::scalar`] has the scalars. Size, depth, the number of nodes and the length
//! of their text are bounded, and every copy counts: no document can make the tree larger than its
//! bound.

use std::collections::HashMap;

use libyaml_safer::{Encoding, EventData as Event, Parser, ScalarStyle};

use super::fault::Fault;
use super::fields::Notes;
use super::scalar::{self, scalar};
use super::text;
use super::tree::{Value, YamlNode};

/// Largest manifest that is read, in bytes (the kubelet's bound for static pods).
pub const MAX_BYTES: usize = 10 << 20;
const MAX_DEPTH: usize = 64;
const MAX_NODES: usize = 200_000;
/// Text of all scalars, in bytes: that of the largest manifest and of a copy of all of it.
const MAX_TEXT: usize = 32 << 20;

/// Reads every document of `bytes`, UTF-8 or UTF-16 with a byte order mark, and notes the keys
/// that appear twice.
pub fn documents(bytes: &[u8], notes: &Notes) -> Result<Vec<YamlNode>, Fault> {
    if bytes.len() > MAX_BYTES {
        return Err(Fault::at(0, "", format!("larger than {MAX_BYTES} bytes")));
    }
    let text = text::decode(bytes)?;
    without_commas_after_tags(&text, notes)?;
    let mut builder = Builder::new(&text, notes);
    let mut found = Vec::new();
    loop {
        match builder.next()? {
            (Event::StreamEnd, _) => return Ok(found),
            (Event::DocumentStart { .. }, _) => {
                builder.anchors.clear();
                let node = builder.node(0)?;
                if node.value != Value::Null {
                    found.push(node);
                }
            }
            _ => {}
        }
    }
}

/// A fault for a tag that a comma follows at once (`[!a, b]`), which Kubernetes' reader refuses
/// too and the parser gives up the program at. It is looked for in the text with a space between
/// them: where there is such a tag, and no mere text that looks like one, its value is empty.
fn without_commas_after_tags(text: &str, notes: &Notes) -> Result<(), Fault> {
    let mut spaced = String::new();
    let mut lines = Vec::new();
    for (i, text) in text.split_inclusive('\n').enumerate() {
        let found = spaced.len();
        for word in text.split_inclusive(char::is_whitespace) {
            // A tag in full, `!<tag:yaml.org,2002:str>`, may have commas.
            let from = word.find('!').unwrap_or(word.len());
            let full = word[from..].starts_with("!<").then(|| word[from..].find('>')).flatten();
            let (before, tag) = word.split_at(from + full.unwrap_or(0));
            spaced.push_str(before);
            spaced.push_str(&tag.replace(',', " ,"));
        }
        if spaced.len() - found > text.len() {
            lines.push(i + 1);
        }
    }
    if lines.is_empty() {
        return Ok(());
    }
    let mut builder = Builder::new(&spaced, notes);
    loop {
        match builder.next()? {
            (Event::StreamEnd, _) => return Ok(()),
            (Event::Scalar { value, tag: Some(_), .. }, line)
                if value.is_empty() && lines.iter().any(|found| *found >= line) =>
            {
                let message = "YAML: a space is needed between a tag and a comma";
                return Err(Fault::at(line, "", message));
            }
            _ => {}
        }
    }
}

/// How large a part of the tree is.
#[derive(Clone, Copy, Default)]
struct Size {
    nodes: usize,
    /// Bytes of their text.
    text: usize,
}

struct Builder<'t> {
    text: &'t str,
    notes: &'t Notes,
    parser: Parser<&'t [u8]>,
    anchors: HashMap<String, (YamlNode, Size)>,
    size: Size,
}

impl<'t> Builder<'t> {
    fn new(text: &'t str, notes: &'t Notes) -> Self {
        let mut parser = Parser::new();
        parser.set_encoding(Encoding::Utf8);
        parser.set_input(text.as_bytes());
        Builder { text, notes, parser, anchors: HashMap::new(), size: Size::default() }
    }

    /// What comes next, and the line it begins on.
    fn next(&mut self) -> Result<(Event, usize), Fault> {
        match self.parser.parse() {
            Ok(event) => Ok((event.data, line(event.start_mark.line))),
            Err(e) => {
                // What libyaml's reader refuses are control characters.
                let at = e.problem_mark().map_or_else(|| self.control(), |mark| line(mark.line));
                let context = e.context().map(|context| format!("{context}, ")).unwrap_or_default();
                Err(Fault::at(at, "", format!("YAML: {context}{}", e.problem())))
            }
        }
    }

    /// The line of the first control character.
    fn control(&self) -> usize {
        let allowed = |c| matches!(c, '\t' | '\n' | '\r' | '\u{85}');
        let at = self.text.find(|c: char| c.is_control() && !allowed(c)).unwrap_or(0);
        self.text[..at].matches('\n').count() + 1
    }

    fn node(&mut self, depth: usize) -> Result<YamlNode, Fault> {
        let (event, line) = self.next()?;
        self.node_of(event, line, depth)
    }

    fn node_of(&mut self, event: Event, line: usize, depth: usize) -> Result<YamlNode, Fault> {
        if depth > MAX_DEPTH {
            return Err(Fault::at(line, "", format!("nested deeper than {MAX_DEPTH}")));
        }
        let before = self.size;
        let text = if let Event::Scalar { value, .. } = &event { value.len() } else { 0 };
        self.count(line, Size { nodes: 1, text })?;
        let (value, anchor) = match event {
            Event::Alias { anchor } => return self.alias(&anchor, line),
            Event::Scalar { value, style, anchor, tag, .. } => {
                (scalar(&value, style, tag.as_deref(), line)?, anchor)
            }
            // A tag on a collection says nothing that its shape does not say.
            Event::SequenceStart { anchor, .. } => (self.list(depth)?, anchor),
            Event::MappingStart { anchor, .. } => (self.map(depth)?, anchor),
            _ => return Err(Fault::at(line, "", "YAML: unexpected end")),
        };
        let node = YamlNode { line, value };
        if let Some(anchor) = anchor {
            let nodes = self.size.nodes - before.nodes;
            let size = Size { nodes, text: self.size.text - before.text };
            self.count(line, size)?;
            self.anchors.insert(anchor, (node.clone(), size));
        }
        Ok(node)
    }

    fn alias(&mut self, anchor: &str, line: usize) -> Result<YamlNode, Fault> {
        let missing = || Fault::at(line, "", format!("YAML: no anchor {anchor:?} before it"));
        let size = self.anchors.get(anchor).ok_or_else(missing)?.1;
        // A copy costs what the original cost: a document of nested aliases ends here.
        self.count(line, size)?;
        self.anchors.get(anchor).map(|(node, _)| node.clone()).ok_or_else(missing)
    }

    fn list(&mut self, depth: usize) -> Result<Value, Fault> {
        let mut items = Vec::new();
        loop {
            let (event, line) = self.next()?;
            if matches!(event, Event::SequenceEnd) {
                return Ok(Value::List(items));
            }
            items.push(self.node_of(event, line, depth + 1)?);
        }
    }

    fn map(&mut self, depth: usize) -> Result<Value, Fault> {
        let mut entries = Entries::default();
        loop {
            let (event, line) = self.next()?;
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
            if entries.own(key.clone(), line, value) {
                self.notes.add(&format!("line {line}: {key} appears twice, the last one counts"));
            }
        }
    }

    fn count(&mut self, line: usize, by: Size) -> Result<(), Fault> {
        self.size.nodes += by.nodes;
        self.size.text += by.text;
        if self.size.nodes > MAX_NODES {
            return Err(Fault::at(line, "", format!("more than {MAX_NODES} values")));
        }
        if self.size.text > MAX_TEXT {
            return Err(Fault::at(line, "", format!("more than {MAX_TEXT} bytes of text")));
        }
        Ok(())
    }
}

/// `<<` as a plain scalar, or with its own tag.
fn is_merge(event: &Event) -> bool {
    let Event::Scalar { value, style, tag, .. } = event else { return false };
    let plain = *style == ScalarStyle::Plain;
    value == "<<" && tag.as_ref().map_or(plain, |tag| tag == "tag:yaml.org,2002:merge")
}

/// Lines are counted from 1.
fn line(mark: u64) -> usize {
    usize::try_from(mark).unwrap_or(usize::MAX).saturating_add(1)
}

/// A mapping while it is read: what is found where, and which keys were merged in.
#[derive(Default)]
struct Entries {
    list: Vec<(String, usize, YamlNode)>,
    places: HashMap<String, (usize, bool)>,
}

impl Entries {
    /// An entry of the mapping itself. It replaces one that was there before it; true if that
    /// was one of the mapping itself too.
    fn own(&mut self, key: String, line: usize, value: YamlNode) -> bool {
        let twice = matches!(self.places.get(&key), Some((_, false)));
        self.put(key, line, value, false);
        twice
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

    fn read(bytes: &[u8]) -> Result<Vec<YamlNode>, Fault> {
        documents(bytes, &Notes::default())
    }

    fn one(text: &str) -> Value {
        read(text.as_bytes()).unwrap().remove(0).value
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
            assert!(read(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn text_is_laid_out_as_loosely_as_kubernetes_reader_takes_it() {
        for (text, want) in [
            // Brackets and quoted lines that stand further left than what they belong to.
            ("a:\n  b: [\n  x,\n  z\n]\n  c: {\nd: 1\n}\n", "{a:{b:[x z] c:{d:1}}}"),
            ("a:\n  b: \"x\nz\"\n  c: 'p\nq'\n", "{a:{b:x z c:p q}}"),
            ("a: \"x\n\ty\"\n", "{a:x y}"),
            ("a: [tar, -x, -]\n", "{a:[tar -x -]}"),
            ("a: 'x'#y\n", "{a:x}"),
            ("a: {b: [\n1,\n2\n], c: {\n}}\nd: 1\n", "{a:{b:[1 2] c:{}} d:1}"),
            ("a: |\n  x\n  ", "{a:x\n}"),
            ("a: |\r\n  x\r\n  y\r\nb: >\r\n  p\r\n  q\r\n", "{a:x\ny\n b:p q\n}"),
            ("{\"a\":\"\\/x\",\"b\":[1,2]}", "{a:/x b:[1 2]}"),
            ("{\n\t\"a\": [\n\t\t1\n\t]\n}\n", "{a:[1]}"),
            ("a: [x,\n  # why\n  z, # here\n]\n", "{a:[x z]}"),
            ("--- # first\na: 1\n", "{a:1}"),
        ] {
            assert_eq!(keys(text), want, "{text}");
        }
    }

    #[test]
    fn of_a_key_that_appears_twice_the_last_counts_and_it_is_noted() {
        let notes = Notes::default();
        let found = documents(b"a: 1\nb: {<<: {a: 1}, a: 2}\na: 3\n", &notes).unwrap();
        let Value::Map(entries) = &found[0].value else { panic!("a map") };
        assert_eq!(entries[0].2.value, Value::Int(3));
        assert_eq!(notes.into_sentences(), ["line 3: a appears twice, the last one counts"]);
    }

    #[test]
    fn a_tag_before_a_comma_is_refused_and_text_like_it_is_not() {
        for text in ["a:\n- [!x, b]\n", "a:\n- {b: !!str, c: x}\n", "a:\n- [&z\n !x, b"] {
            let fault = read(text.as_bytes()).unwrap_err();
            assert!(fault.message.contains("between a tag and a comma"), "{text}");
            assert_eq!(fault.line, 2, "{text}");
        }
        for (text, want) in [
            ("a: [hello !world, 'b !c,d']\n", "{a:[hello !world b !c,d]}"),
            ("a: |\n  [ !x, b]\nb: [!x , !x c, d]\n", "{a:[ !x, b]\n b:[ c d]}"),
        ] {
            assert_eq!(keys(text), want, "{text}");
        }
    }

    #[test]
    fn an_anchor_ends_with_its_document() {
        assert_eq!(read(b"a: &x 1\n---\nb: *x\n").unwrap_err().line, 3);
    }

    #[test]
    fn every_value_knows_its_line() {
        let doc = read(b"a: 1\nb:\n  - x\n  - y: 2\n").unwrap().remove(0);
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
        let fault = read(text.as_bytes()).unwrap_err();
        assert_eq!(fault.message, "more than 200000 values");
    }

    #[test]
    fn a_bomb_of_merges_or_of_nested_anchors_ends_at_the_bound() {
        let mut text = String::from("a0: &a0 {k: [x, x, x, x, x, x, x, x, x, x]}\n");
        for i in 1..12 {
            let keys: Vec<String> = (0..10).map(|k| format!("k{k}: {{<<: *a{}}}", i - 1)).collect();
            text.push_str(&format!("a{i}: &a{i} {{{}}}\n", keys.join(", ")));
        }
        let fault = read(text.as_bytes()).unwrap_err();
        assert_eq!(fault.message, "more than 200000 values");
        // Each anchor around a large list keeps a copy of it.
        let (open, close) =
            ((0..40).map(|i| format!("&n{i} [")).collect::<String>(), "]".repeat(40));
        let text = format!("{open}{}{close}\n", "x, ".repeat(20_000));
        let fault = read(text.as_bytes()).unwrap_err();
        assert_eq!(fault.message, "more than 200000 values");
    }

    #[test]
    fn copies_of_a_long_text_end_at_the_bound_wherever_they_stand() {
        let long = "y".repeat(1 << 20);
        let refs = |of: &str| vec![of; 100].join(", ");
        let keys = (0..100).map(|i| format!("k{i}: {{*a : 1}}")).collect::<Vec<_>>().join(", ");
        let merges = (0..100).map(|i| format!("k{i}: {{<<: *m}}")).collect::<Vec<_>>().join(", ");
        for (text, line) in [
            (format!("x: &a \"{long}\"\nb: [{}]\n", refs("*a")), 2),
            (format!("x: &a {long}\nb: {{{keys}}}\n"), 2),
            (format!("x: &m {{? {long} : 1}}\nb: {{{merges}}}\n"), 2),
            (format!("{}\n{long}{}\n", "&n [".repeat(40), "]".repeat(40)), 1),
        ] {
            let fault = read(text.as_bytes()).unwrap_err();
            assert_eq!(
                (fault.line, fault.message.as_str()),
                (line, "more than 33554432 bytes of text")
            );
        }
        let once = format!("x: &a {long}\nb: *a\n");
        assert_eq!(read(once.as_bytes()).unwrap().len(), 1);
    }

    #[test]
    fn broken_yaml_is_a_fault_with_its_line() {
        for (text, line) in [
            ("a: [1, 2\nb: 3\n", 2),
            ("a: b: c\n", 1),
            ("a: &x {b: *x}\n", 1),
            ("a: 1\n# \u{1b}\n", 2),
        ] {
            assert_eq!(read(text.as_bytes()).unwrap_err().line, line, "{text}");
        }
        assert_eq!(read(b"a: 1\nb: \xff\n").unwrap_err().line, 2);
        let deep = "[".repeat(5_000);
        assert!(read(deep.as_bytes()).is_err());
    }
}
