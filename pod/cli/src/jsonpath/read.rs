//! How templates are read.

use super::{Filter, Op, Operand, Part, Path, Step};
use serde_json::Value;

/// The parts of a template.
pub(super) fn template(text: &str) -> Result<Vec<Part>, String> {
    let mut rest = text;
    let parts = parts(&mut rest, false)?;
    Ok(parts)
}

fn parts(rest: &mut &str, in_range: bool) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    while let Some(open) = rest.find('{') {
        if open > 0 {
            parts.push(Part::Text(rest[..open].to_owned()));
        }
        let inner = &rest[open + 1..];
        let close = end_of(inner, '}')?.ok_or("a { without its }")?;
        let action = inner[..close].trim();
        *rest = &inner[close + 1..];
        if action == "end" {
            return if in_range { Ok(parts) } else { Err("an {end} without its range".to_owned()) };
        }
        if let Some(of) = action.strip_prefix("range ") {
            let of = path(of.trim())?;
            parts.push(Part::Range(of, self::parts(rest, true)?));
        } else if action.starts_with(['"', '\'']) {
            parts.push(Part::Text(quoted(action)?));
        } else {
            parts.push(Part::Print(path(action)?));
        }
    }
    if in_range {
        return Err("a range without its {end}".to_owned());
    }
    if !rest.is_empty() {
        parts.push(Part::Text((*rest).to_owned()));
    }
    *rest = "";
    Ok(parts)
}

/// Where `close` stands outside of quotes.
fn end_of(text: &str, close: char) -> Result<Option<usize>, String> {
    let mut quote = None;
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match quote {
            Some(open) if letter == open => quote = None,
            _ if letter == '\\' => drop(letters.next()),
            Some(_) => {}
            None if letter == close => return Ok(Some(at)),
            None if letter == '"' || letter == '\'' => quote = Some(letter),
            None => {}
        }
    }
    if quote.is_some() { Err("a quote without its end".to_owned()) } else { Ok(None) }
}

/// Text between quotes, with Go's escapes.
fn quoted(text: &str) -> Result<String, String> {
    let open = text.chars().next().unwrap_or('"');
    let inner = text.strip_prefix(open).and_then(|rest| rest.strip_suffix(open));
    let inner = inner.filter(|_| text.len() > 1).ok_or("a quote without its end")?;
    let mut out = String::new();
    let mut letters = inner.chars();
    while let Some(letter) = letters.next() {
        match (letter, if letter == '\\' { letters.next() } else { None }) {
            (_, Some('n')) => out.push('\n'),
            (_, Some('t')) => out.push('\t'),
            (_, Some('r')) => out.push('\r'),
            (_, Some(other)) => out.push(other),
            (letter, None) => out.push(letter),
        }
    }
    Ok(out)
}

/// `.status.containerStatuses[0].ready`, with `$` or `@` before it or not.
pub(super) fn path(text: &str) -> Result<Path, String> {
    let (from_root, mut rest) = match text.strip_prefix('$') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('@').unwrap_or(text)),
    };
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix("..") {
            steps.push(Step::Deep);
            rest = after;
            if !rest.starts_with('[') {
                rest = field(rest, text, &mut steps)?;
            }
        } else if let Some(after) = rest.strip_prefix('.') {
            // `.` alone is what is at hand.
            rest = if after.is_empty() { after } else { field(after, text, &mut steps)? };
        } else if let Some(after) = rest.strip_prefix('[') {
            let close = end_of(after, ']')?.ok_or("a [ without its ]")?;
            steps.push(index(&after[..close])?);
            rest = &after[close + 1..];
        } else {
            return Err(format!("{rest:?} in {text:?}: want a . or a ["));
        }
    }
    Ok(Path { from_root, steps })
}

/// The name that `text` begins with; behind a backslash a dot is part of it.
fn field<'a>(text: &'a str, whole: &str, steps: &mut Vec<Step>) -> Result<&'a str, String> {
    let mut name = String::new();
    let mut letters = text.char_indices();
    let mut rest = "";
    while let Some((at, letter)) = letters.next() {
        match letter {
            '.' | '[' => {
                rest = &text[at..];
                break;
            }
            '\\' => name.extend(letters.next().map(|(_, letter)| letter)),
            _ if letter.is_whitespace() => return Err(format!("a blank in {whole:?}")),
            _ => name.push(letter),
        }
    }
    match name.as_str() {
        "" => return Err(format!("a . without a name in {whole:?}")),
        "*" => steps.push(Step::All),
        _ => steps.push(Step::Field(name)),
    }
    Ok(rest)
}

/// What stands between `[` and `]`.
fn index(text: &str) -> Result<Step, String> {
    let text = text.trim();
    let wrong = || format!("[{text}]: want a number, a slice, *, a name in quotes or ?(...)");
    if text == "*" {
        return Ok(Step::All);
    }
    if text.starts_with(['\'', '"']) {
        return quoted(text).map(Step::Field);
    }
    if let Some(inner) = text.strip_prefix("?(") {
        return filter(inner.strip_suffix(')').ok_or_else(wrong)?);
    }
    let number = |text: &str| match text.trim() {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| wrong()),
    };
    match text.split_once(':') {
        Some((from, to)) => Ok(Step::Slice(number(from)?, number(to)?)),
        None => number(text)?.map(Step::Item).ok_or_else(wrong),
    }
}

const OPERATORS: [(&str, Op); 6] = [
    ("==", Op::Equal),
    ("!=", Op::Unequal),
    ("<=", Op::AtMost),
    (">=", Op::AtLeast),
    ("<", Op::Less),
    (">", Op::More),
];

fn filter(text: &str) -> Result<Step, String> {
    let at = |op: &str| text.find(op).map(|at| (at, op.len()));
    let found = OPERATORS.iter().find_map(|(words, op)| Some((at(words)?, *op)));
    let Some(((at, length), op)) = found else {
        let left = path(text.trim())?;
        return Ok(Step::Filter(Box::new(Filter { left, compared: None })));
    };
    let (left, right) = (path(text[..at].trim())?, text[at + length..].trim());
    let operand = match right.chars().next() {
        Some('"' | '\'') => Operand::Literal(Value::String(quoted(right)?)),
        Some('@' | '$' | '.') => Operand::Path(path(right)?),
        _ => {
            let value = serde_json::from_str(right);
            Operand::Literal(value.map_err(|_| format!("{right:?}: want a number or a quote"))?)
        }
    };
    Ok(Step::Filter(Box::new(Filter { left, compared: Some((op, operand)) })))
}
