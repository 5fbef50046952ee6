//! Reading a tree field by field: what is not asked for is an error with its place.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::fault::Fault;
pub use super::fault::Read;
use super::near::nearest;
use super::scalar::whole;
use super::tree::{Value, YamlNode};
use crate::quantity::Quantity;

/// What is gathered while reading: a sentence for each thing that is not done.
#[derive(Debug, Default)]
pub struct Notes(RefCell<Vec<String>>);

impl Notes {
    /// Adds one.
    pub fn add(&self, text: &str) {
        self.0.borrow_mut().push(text.to_owned());
    }

    /// The gathered sentences.
    pub fn into_sentences(self) -> Vec<String> {
        self.0.into_inner()
    }
}

/// One value with its place.
#[derive(Clone, Debug)]
pub struct Item<'a> {
    notes: &'a Notes,
    node: &'a YamlNode,
    line: usize,
    /// `spec.containers[0].name`; empty for the document.
    pub path: String,
}

impl<'a> Item<'a> {
    /// The document itself.
    pub fn root(notes: &'a Notes, node: &'a YamlNode) -> Self {
        Item { notes, node, line: node.line, path: String::new() }
    }

    /// Where it is, counted from 1.
    pub fn line(&self) -> usize {
        self.line
    }

    /// A fault here.
    pub fn fault(&self, message: impl Into<String>) -> Fault {
        Fault::at(self.line, &self.path, message)
    }

    fn wrong_type(&self, want: &str) -> Fault {
        let hint = match (want, &self.node.value) {
            ("a string", Value::Bool(_) | Value::Int(_) | Value::Float(_)) => " (put it in quotes)",
            _ => "",
        };
        self.fault(format!("expected {want}, found {}{hint}", self.node.value.describe()))
    }

    /// A string; null, as an item of a list or a map, is the empty one.
    pub fn text(&self) -> Read<String> {
        match &self.node.value {
            Value::Text(text) => Ok(text.clone()),
            Value::Null => Ok(String::new()),
            _ => Err(self.wrong_type("a string")),
        }
    }

    /// A string that `check` finds no fault with.
    pub fn checked(&self, check: fn(&str) -> Option<&'static str>) -> Read<String> {
        let text = self.text()?;
        match check(&text) {
            None => Ok(text),
            Some(why) => Err(self.fault(format!("{text:?} {why}"))),
        }
    }

    /// One of a few words.
    pub fn one_of<T: Copy>(&self, words: &[(&str, T)]) -> Read<T> {
        let text = self.text()?;
        words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).ok_or_else(|| {
            let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            self.fault(format!("{text:?} is not one of {}", known.join(", ")))
        })
    }

    /// A boolean.
    pub fn boolean(&self) -> Read<bool> {
        match self.node.value {
            Value::Bool(b) => Ok(b),
            _ => Err(self.wrong_type("a boolean")),
        }
    }

    /// A whole number between `low` and `high`, both included.
    pub fn int(&self, low: i64, high: i64) -> Read<i64> {
        match self.number() {
            Some(n) if (low..=high).contains(&n) => Ok(n),
            Some(n) if high == i64::MAX => Err(self.fault(format!("{n} is less than {low}"))),
            Some(n) => Err(self.fault(format!("{n} is not between {low} and {high}"))),
            None => Err(self.wrong_type("an integer")),
        }
    }

    /// The whole number that stands here, however it is written.
    fn number(&self) -> Option<i64> {
        match &self.node.value {
            Value::Int(n) => Some(*n),
            Value::Float(number) => whole(number),
            _ => None,
        }
    }

    /// Seconds to end in: a negative number is 1, as the API server converts it, and more than 68
    /// years are 68 years.
    pub fn grace(&self) -> Read<u32> {
        let seconds = self.int(i64::MIN, i64::MAX)?.min(i64::from(i32::MAX));
        Ok(seconds.try_into().unwrap_or(1))
    }

    /// Whether it says what Go's decoder also has when nothing is said: `null`, `""`, 0, false,
    /// an empty list.
    fn is_zero(&self) -> bool {
        match &self.node.value {
            Value::Null | Value::Bool(false) | Value::Int(0) => true,
            Value::Text(text) => text.is_empty(),
            Value::Float(number) => whole(number) == Some(0),
            Value::List(items) => items.is_empty(),
            Value::Bool(true) | Value::Int(_) | Value::Map(_) => false,
        }
    }

    fn says_something(&self) -> bool {
        let is_empty = matches!(&self.node.value, Value::Map(entries) if entries.is_empty());
        !is_empty && !self.is_zero()
    }

    /// Seconds or a count: 0 to 2³¹−1.
    pub fn count(&self) -> Read<u32> {
        Ok(self.int(0, i64::from(i32::MAX))? as u32)
    }

    /// As [`Item::count`], but at least 1.
    pub fn positive(&self) -> Read<u32> {
        Ok(self.int(1, i64::from(i32::MAX))? as u32)
    }

    /// A uid or gid.
    pub fn id(&self) -> Read<i64> {
        self.int(0, i64::from(i32::MAX))
    }

    /// A port, 1 to 65535.
    pub fn port(&self) -> Read<u16> {
        Ok(self.int(1, 65_535)? as u16)
    }

    /// A file mode, 0 to 0777.
    pub fn mode(&self) -> Read<u32> {
        Ok(self.int(0, 0o777)? as u32)
    }

    /// A number or a string that is a quantity, not negative.
    pub fn quantity(&self) -> Read<Quantity> {
        let text = match &self.node.value {
            Value::Text(text) | Value::Float(text) => text.clone(),
            Value::Int(n) => n.to_string(),
            Value::Null => "0".to_owned(),
            _ => return Err(self.wrong_type("a quantity")),
        };
        let quantity = Quantity::parse(&text).map_err(|e| self.fault(e.to_string()))?;
        if quantity.is_negative() {
            return Err(self.fault("must not be negative"));
        }
        Ok(quantity)
    }

    /// An integer or a string.
    pub fn int_or_text(&self) -> Read<Result<i64, String>> {
        match (self.number(), &self.node.value) {
            (Some(n), _) => Ok(Ok(n)),
            (None, Value::Text(text)) => Ok(Err(text.clone())),
            _ => Err(self.wrong_type("an integer or a string")),
        }
    }

    /// A list of things.
    pub fn list<T>(&self, read: impl Fn(&Item<'a>) -> Read<T>) -> Read<Vec<T>> {
        let Value::List(nodes) = &self.node.value else { return Err(self.wrong_type("a list")) };
        let item = |(i, node): (usize, &'a YamlNode)| Item {
            notes: self.notes,
            node,
            line: node.line,
            path: format!("{}[{i}]", self.path),
        };
        nodes.iter().enumerate().map(|n| read(&item(n))).collect()
    }

    /// A list of strings.
    pub fn texts(&self) -> Read<Vec<String>> {
        self.list(Item::text)
    }

    /// An object whose keys are data.
    pub fn map<T>(&self, read: impl Fn(&str, &Item<'a>) -> Read<T>) -> Read<BTreeMap<String, T>> {
        let Value::Map(entries) = &self.node.value else {
            return Err(self.wrong_type("an object"));
        };
        let mut found = BTreeMap::new();
        for (key, line, node) in entries {
            let path = join(&self.path, key);
            let item = Item { notes: self.notes, node, line: *line, path };
            found.insert(key.clone(), read(key, &item)?);
        }
        Ok(found)
    }

    /// An object with named fields; null, as an item of a list, has none.
    pub fn fields(&self) -> Read<Fields<'a>> {
        let entries: &[_] = match &self.node.value {
            Value::Map(entries) => entries,
            Value::Null => &[],
            _ => return Err(self.wrong_type("an object")),
        };
        let seen = vec![false; entries.len()];
        Ok(Fields { at: self.clone(), entries, seen, asked: Vec::new() })
    }

    /// Reads an object with `read`, and refuses fields that it did not ask for.
    pub fn object<T>(&self, read: impl FnOnce(&mut Fields<'a>) -> Read<T>) -> Read<T> {
        let mut fields = self.fields()?;
        // The unknown field first: `prots` explains a missing `ports` better than the reverse.
        let value = read(&mut fields);
        match &value {
            Err(fault) if !fault.message.starts_with("is required") => value,
            _ => fields.finish().and(value),
        }
    }
}

/// The fields of one object.
#[derive(Debug)]
pub struct Fields<'a> {
    at: Item<'a>,
    entries: &'a [(String, usize, YamlNode)],
    seen: Vec<bool>,
    /// The names that were asked for: those that there are.
    asked: Vec<String>,
}

impl<'a> Fields<'a> {
    /// The object itself.
    pub fn here(&self) -> &Item<'a> {
        &self.at
    }

    /// The field, if it is there and not null.
    pub fn get(&mut self, name: &str) -> Option<Item<'a>> {
        self.asked.push(name.to_owned());
        let i = self.entries.iter().position(|(key, ..)| key == name)?;
        self.seen[i] = true;
        let (_, line, node) = &self.entries[i];
        if node.value == Value::Null {
            return None;
        }
        Some(Item { notes: self.at.notes, node, line: *line, path: join(&self.at.path, name) })
    }

    /// An optional field.
    pub fn opt<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&Item<'a>) -> Read<T>,
    ) -> Read<Option<T>> {
        self.get(name).map(|item| read(&item)).transpose()
    }

    /// An optional field with a default.
    pub fn or<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&Item<'a>) -> Read<T>,
        default: T,
    ) -> Read<T> {
        Ok(self.opt(name, read)?.unwrap_or(default))
    }

    /// A field that must be there.
    pub fn need<T>(&mut self, name: &str, read: impl FnOnce(&Item<'a>) -> Read<T>) -> Read<T> {
        let missing = Fault::at(self.at.line, &join(&self.at.path, name), "is required");
        self.opt(name, read)?.ok_or(missing)
    }

    /// A list, empty if absent.
    pub fn list<T>(&mut self, name: &str, read: impl Fn(&Item<'a>) -> Read<T>) -> Read<Vec<T>> {
        Ok(self.opt(name, |item| item.list(read))?.unwrap_or_default())
    }

    /// An optional string, of which `""` says nothing.
    pub fn word<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&Item<'a>) -> Read<T>,
    ) -> Read<Option<T>> {
        let said = |item: &Item<'a>| !matches!(&item.node.value, Value::Text(t) if t.is_empty());
        self.get(name).filter(said).map(|item| read(&item)).transpose()
    }

    /// An optional string with a default, which `""` stands for too.
    pub fn word_or<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&Item<'a>) -> Read<T>,
        default: T,
    ) -> Read<T> {
        Ok(self.word(name, read)?.unwrap_or(default))
    }

    /// An optional positive number with a default, which 0 stands for too.
    pub fn positive_or(&mut self, name: &str, default: u32) -> Read<u32> {
        let said = self.get(name).filter(|item| !item.is_zero());
        said.map_or(Ok(default), |item| item.positive())
    }

    /// A boolean, false if absent.
    pub fn flag(&mut self, name: &str) -> Read<bool> {
        self.or(name, Item::boolean, false)
    }

    /// Fields that mean nothing without a cluster: accepted and noted by their paths.
    pub fn ignore(&mut self, names: &[&str]) {
        for name in names {
            if let Some(item) = self.get(name).filter(Item::says_something) {
                self.note(&format!("{} means nothing without a cluster", item.path));
            }
        }
    }

    /// Fields of which nothing here depends: accepted without a word.
    pub fn skip(&mut self, names: &[&str]) {
        for name in names {
            self.get(name);
        }
    }

    /// Notes a sentence.
    pub fn note(&self, text: &str) {
        self.at.notes.add(text);
    }

    /// Fields that a later version will do: refused by name when they say something.
    pub fn refuse(&mut self, names: &[&str]) -> Read<()> {
        self.refuse_if(names, Item::says_something)
    }

    /// As [`Fields::refuse`], but an empty object says something too: which kind is meant.
    pub fn refuse_kinds(&mut self, names: &[&str]) -> Read<()> {
        self.refuse_if(names, |item| !item.is_zero())
    }

    fn refuse_if(&mut self, names: &[&str], says: fn(&Item<'a>) -> bool) -> Read<()> {
        for name in names {
            if let Some(item) = self.get(name).filter(says) {
                return Err(item.fault(format!("not supported yet: {}", item.path)));
            }
        }
        Ok(())
    }

    /// Asks for nothing more: the object is left out as a whole.
    pub fn leave(&mut self) {
        self.seen.fill(true);
    }

    fn finish(&self) -> Read<()> {
        for (seen, (key, line, _)) in self.seen.iter().zip(self.entries) {
            if !seen {
                let meant = nearest(key, self.asked.iter().map(String::as_str));
                let meant = meant.map(|meant| format!(", did you mean {meant}?"));
                let text = format!("unknown field{}", meant.unwrap_or_default());
                return Err(Fault::at(*line, &join(&self.at.path, key), text));
            }
        }
        Ok(())
    }
}

fn join(path: &str, name: &str) -> String {
    let dotted = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    match (path.is_empty(), name.bytes().all(dotted)) {
        (true, _) => name.to_owned(),
        (false, true) => format!("{path}.{name}"),
        (false, false) => format!("{path}[{name:?}]"),
    }
}
