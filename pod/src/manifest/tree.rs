//! The tree that a manifest's text becomes, before it is known what its fields mean.

/// A value and the line it starts on, counted from 1.
#[derive(Clone, Debug, PartialEq)]
pub struct YamlNode {
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
    List(Vec<YamlNode>),
    /// A mapping: key, line of the key, value; keys are unique.
    Map(Vec<(String, usize, YamlNode)>),
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
