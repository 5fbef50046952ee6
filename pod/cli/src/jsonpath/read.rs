//! How templates are read.

use super::{Filter, Op, Operand, Part, Path, Step};
use serde_json::Value;

/// What is left to be read. Where a fault is, is told by how far that has come in the whole.
struct Reader<'a> {
    whole: &'a str,
    rest: &'a str,
    /// Names end at what may follow them in a filter.
    in_filter: bool,
}

/// The parts of a template.
pub(super) fn template(text: &str) -> Result<Vec<Part>, String> {
    Reader { whole: text, rest: text, in_filter: false }.parts(false)
}

/// `.status.containerStatuses[0].ready`, with `$` or `@` before it or not.
pub(super) fn path(text: &str) -> Result<Path, String> {
    let mut reader = Reader { whole: text, rest: text, in_filter: false };
    let path = reader.path()?;
    if reader.rest.is_empty() { Ok(path) } else { Err(reader.fault("want a . or a [")) }
}

impl<'a> Reader<'a> {
    fn fault(&self, why: &str) -> String {
        let read = self.rest.as_ptr().addr() - self.whole.as_ptr().addr();
        format!("{why}, at column {}", self.whole[..read].chars().count() + 1)
    }

    fn skip(&mut self, bytes: usize) -> &'a str {
        let (skipped, rest) = self.rest.split_at(bytes);
        self.rest = rest;
        skipped
    }

    fn blanks(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn takes(&mut self, text: &str) -> bool {
        let is_next = self.rest.starts_with(text);
        self.rest = self.rest.strip_prefix(text).unwrap_or(self.rest);
        is_next
    }

    fn need(&mut self, text: &str, why: &str) -> Result<(), String> {
        self.blanks();
        if self.takes(text) { Ok(()) } else { Err(self.fault(why)) }
    }

    fn parts(&mut self, in_range: bool) -> Result<Vec<Part>, String> {
        let mut parts = Vec::new();
        while let Some(open) = self.rest.find('{') {
            if open > 0 {
                parts.push(Part::Text(self.skip(open).to_owned()));
            }
            let at_action = self.rest;
            self.skip(1);
            self.blanks();
            let after = |word: &str| self.rest.strip_prefix(word).map(str::trim_start);
            if after("end").is_some_and(|rest| rest.starts_with('}')) {
                if !in_range {
                    return Err(self.fault("an {end} without its range"));
                }
                self.skip("end".len());
                self.need("}", "want a }")?;
                return Ok(parts);
            }
            if self.rest.starts_with("range ") {
                self.skip("range ".len());
                self.blanks();
                let of = self.path()?;
                self.need("}", "want a }")?;
                let inner = self.parts(true)?;
                parts.push(Part::Range(of, inner));
                continue;
            }
            let is_text = self.rest.starts_with(['"', '\'']);
            parts.push(if is_text {
                Part::Text(self.quoted()?)
            } else {
                Part::Print(self.path()?)
            });
            self.blanks();
            if self.rest.is_empty() {
                self.rest = at_action;
                return Err(self.fault("a { without its }"));
            }
            self.need("}", "want a ., a [ or a }")?;
        }
        if in_range {
            return Err(self.fault("a range without its {end}"));
        }
        if !self.rest.is_empty() {
            parts.push(Part::Text(self.skip(self.rest.len()).to_owned()));
        }
        Ok(parts)
    }

    fn path(&mut self) -> Result<Path, String> {
        let from_root = self.takes("$");
        if !from_root {
            self.takes("@");
        }
        let mut steps = Vec::new();
        loop {
            if self.takes("..") {
                steps.push(Step::Deep);
                if !self.rest.starts_with('[') {
                    steps.push(self.field()?);
                }
            } else if self.takes(".") {
                // `.` alone is what is at hand.
                if !self.rest.is_empty() && !self.rest.starts_with(['}', '[', ')', ' ']) {
                    steps.push(self.field()?);
                }
            } else if self.rest.starts_with('[') {
                self.bracket(&mut steps)?;
            } else {
                return Ok(Path { from_root, steps });
            }
        }
    }

    /// The name that comes; behind a backslash everything is part of it.
    fn field(&mut self) -> Result<Step, String> {
        let (mut name, mut letters) = (String::new(), self.rest.char_indices());
        let mut end = self.rest.len();
        while let Some((at, letter)) = letters.next() {
            let ends = letter.is_whitespace()
                || ".,[]{}$@".contains(letter)
                || (self.in_filter && ")=!<>&|".contains(letter));
            match letter {
                '\\' => name.extend(letters.next().map(|(_, letter)| letter)),
                _ if ends => {
                    end = at;
                    break;
                }
                _ => name.push(letter),
            }
        }
        if name.is_empty() {
            return Err(self.fault("a . without a name"));
        }
        self.skip(end);
        Ok(if name == "*" { Step::All } else { Step::Field(name) })
    }

    /// `[0]`, `[1:5:2]`, `[*]`, `['name']`, `['one', 'other']` or `[?(@.a=="b")]`.
    fn bracket(&mut self, steps: &mut Vec<Step>) -> Result<(), String> {
        let at_bracket = self.rest;
        self.skip(1);
        if self.takes("?(") {
            let before = std::mem::replace(&mut self.in_filter, true);
            steps.push(Step::Filter(Box::new(self.filter()?)));
            self.in_filter = before;
            return self.need("]", "want a ]");
        }
        let mut members = Vec::new();
        loop {
            self.blanks();
            members.push(self.member()?);
            self.blanks();
            if self.takes("]") {
                break;
            }
            if self.rest.is_empty() {
                self.rest = at_bracket;
                return Err(self.fault("a [ without its ]"));
            }
            self.need(",", "want a comma or a ]")?;
        }
        match members.len() {
            1 => steps.extend(members.remove(0)),
            _ => steps.push(Step::Union(members)),
        }
        Ok(())
    }

    fn member(&mut self) -> Result<Vec<Step>, String> {
        if self.rest.starts_with(['\'', '"']) {
            return self.names();
        }
        if self.takes("*") {
            return Ok(vec![Step::All]);
        }
        let end = self.rest.find([',', ']']).unwrap_or(self.rest.len());
        let text = &self.rest[..end];
        let bounds: Option<Vec<Option<i64>>> = text.split(':').map(number).collect();
        let step = match bounds.as_deref() {
            Some([Some(item)]) => Step::Item(*item),
            Some([from, to]) => Step::Slice(*from, *to, 1),
            Some([from, to, by]) => match usize::try_from(by.unwrap_or(1)) {
                Ok(by) if by > 0 => Step::Slice(*from, *to, by),
                _ => return Err(self.fault("a step must be more than 0")),
            },
            _ => {
                let want = "want a number, a slice, *, a name in quotes or ?(...)";
                return Err(self.fault(want));
            }
        };
        self.skip(end);
        Ok(vec![step])
    }

    /// A name in quotes. A dot in it leads on, as in kubectl, if there is no backslash before it.
    fn names(&mut self) -> Result<Vec<Step>, String> {
        let inner = self.in_quotes()?;
        let mut names = Reader { whole: self.whole, rest: inner, in_filter: false };
        let mut steps = vec![names.field()?];
        steps.extend(names.path()?.steps);
        if names.rest.is_empty() { Ok(steps) } else { Err(names.fault("want a . or a [")) }
    }

    /// What is between the quotes that come.
    fn in_quotes(&mut self) -> Result<&'a str, String> {
        let mut letters = self.rest.char_indices();
        let open = letters.next().map_or('"', |(_, letter)| letter);
        while let Some((at, letter)) = letters.next() {
            match letter {
                '\\' => drop(letters.next()),
                _ if letter == open => return Ok(&self.skip(at + 1)[1..at]),
                _ => {}
            }
        }
        Err(self.fault("a quote without its end"))
    }

    /// Text in quotes, with Go's escapes.
    fn quoted(&mut self) -> Result<String, String> {
        let inner = self.in_quotes()?;
        let mut escaped = Reader { whole: self.whole, rest: inner, in_filter: false };
        let mut out = String::new();
        while let Some(backslash) = escaped.rest.find('\\') {
            out.push_str(escaped.skip(backslash));
            let (letter, length) =
                escape(escaped.rest).ok_or_else(|| escaped.fault("no escape"))?;
            out.push(letter);
            escaped.skip(length);
        }
        Ok(out + escaped.rest)
    }

    fn filter(&mut self) -> Result<Filter, String> {
        self.blanks();
        let left = self.operand()?;
        self.blanks();
        let operator = OPERATORS.into_iter().find(|(words, _)| self.takes(words));
        let compared = match operator {
            Some((_, operator)) => {
                self.blanks();
                Some((operator, self.operand()?))
            }
            None => None,
        };
        self.blanks();
        if self.rest.starts_with("&&") || self.rest.starts_with("||") {
            return Err(self.fault("a filter is one comparison: there is no && and no ||"));
        }
        self.need(")", "want ==, !=, <, <=, >, >= or a )")?;
        Ok(Filter { left, compared })
    }

    fn operand(&mut self) -> Result<Operand, String> {
        match self.rest.chars().next() {
            Some('"' | '\'') => Ok(Operand::Literal(Value::String(self.quoted()?))),
            Some('@' | '$' | '.') => Ok(Operand::Path(self.path()?)),
            _ => {
                let ends = |c: char| c.is_whitespace() || ")]}=!<>&|".contains(c);
                let end = self.rest.find(ends).unwrap_or(self.rest.len());
                let value = serde_json::from_str(&self.rest[..end]);
                let value = value.map_err(|_| self.fault("want a path, a number or a quote"))?;
                self.skip(end);
                Ok(Operand::Literal(value))
            }
        }
    }
}

/// None of what is neither a number nor nothing.
fn number(text: &str) -> Option<Option<i64>> {
    match text.trim() {
        "" => Some(None),
        text => text.parse().ok().map(Some),
    }
}

/// The letter that is meant, and how long it is written.
fn escape(text: &str) -> Option<(char, usize)> {
    let hex = |digits: usize| {
        let code = u32::from_str_radix(text.get(2..2 + digits)?, 16).ok()?;
        Some((char::from_u32(code)?, 2 + digits))
    };
    let letter = match text[1..].chars().next()? {
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        'a' => '\x07',
        'b' => '\x08',
        'f' => '\x0c',
        'v' => '\x0b',
        'x' => return hex(2),
        'u' => return hex(4),
        'U' => return hex(8),
        letter @ ('\\' | '"' | '\'') => letter,
        _ => return None,
    };
    Some((letter, 2))
}

const OPERATORS: [(&str, Op); 6] = [
    ("==", Op::Equal),
    ("!=", Op::Unequal),
    ("<=", Op::AtMost),
    (">=", Op::AtLeast),
    ("<", Op::Less),
    (">", Op::More),
];
