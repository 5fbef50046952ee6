//! A label selector in one line, as kubectl's users write it: `app=web,tier in (a, b),!canary`.

use std::iter::Peekable;
use std::str::FromStr;
use std::vec::IntoIter;

use super::{Operator, Requirement, Selector};
use crate::ids;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    /// One of `,`, `(`, `)`, `!`, `=`, `==`, `!=`, `<` and `>`.
    Sign(&'static str),
}

/// The longer ones first.
const SIGNS: [&str; 9] = ["==", "!=", ",", "(", ")", "!", "=", "<", ">"];

type Tokens = Peekable<IntoIter<Token>>;

impl FromStr for Selector {
    type Err = String;

    /// Nothing selects everything.
    fn from_str(text: &str) -> Result<Selector, String> {
        let mut tokens = tokens(text).into_iter().peekable();
        let mut all = Vec::new();
        if tokens.peek().is_none() {
            return Ok(Selector(all));
        }
        loop {
            all.push(requirement(&mut tokens)?);
            match tokens.next() {
                None => return Ok(Selector(all)),
                Some(Token::Sign(",")) => {}
                Some(other) => return Err(format!("want a comma, not {}", shown(Some(&other)))),
            }
        }
    }
}

fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        if let Some(sign) = SIGNS.into_iter().find(|sign| rest.starts_with(sign)) {
            tokens.push(Token::Sign(sign));
            rest = &rest[sign.len()..];
        } else {
            let ends = |c: char| c.is_whitespace() || "=!,()<>".contains(c);
            let end = rest.find(ends).unwrap_or(rest.len()).max(first.len_utf8());
            tokens.push(Token::Word(rest[..end].to_owned()));
            rest = &rest[end..];
        }
        rest = rest.trim_start();
    }
    tokens
}

fn requirement(tokens: &mut Tokens) -> Result<Requirement, String> {
    let is_negated = tokens.next_if_eq(&Token::Sign("!")).is_some();
    let key = match tokens.next() {
        Some(Token::Word(key)) => key,
        other => return Err(format!("want a label's key, not {}", shown(other.as_ref()))),
    };
    if let Some(fault) = ids::key_fault(&key) {
        return Err(format!("{key}: {fault}"));
    }
    let next = tokens.peek().cloned();
    let (operator, values) = match next.as_ref() {
        None | Some(Token::Sign(",")) if is_negated => (Operator::DoesNotExist, Vec::new()),
        None | Some(Token::Sign(",")) => (Operator::Exists, Vec::new()),
        other if is_negated => return Err(format!("want a comma, not {}", shown(other))),
        Some(Token::Sign("=" | "==")) => (Operator::In, one(tokens)?),
        Some(Token::Sign("!=")) => (Operator::NotIn, one(tokens)?),
        Some(Token::Sign(">")) => (Operator::GreaterThan, number(tokens)?),
        Some(Token::Sign("<")) => (Operator::LessThan, number(tokens)?),
        Some(Token::Word(word)) if word == "in" => (Operator::In, several(tokens)?),
        Some(Token::Word(word)) if word == "notin" => (Operator::NotIn, several(tokens)?),
        other => return Err(format!("want one of =, ==, !=, in, notin, not {}", shown(other))),
    };
    for value in &values {
        if let Some(fault) = ids::label_value_fault(value) {
            return Err(format!("{key}: {value}: {fault}"));
        }
    }
    Ok(Requirement { key, operator, values })
}

/// The value behind an operator. There may be none, which is an empty one.
fn one(tokens: &mut Tokens) -> Result<Vec<String>, String> {
    tokens.next();
    match tokens.next_if(|token| *token != Token::Sign(",")) {
        None => Ok(vec![String::new()]),
        Some(Token::Word(value)) => Ok(vec![value]),
        other => Err(format!("want a value, not {}", shown(other.as_ref()))),
    }
}

fn number(tokens: &mut Tokens) -> Result<Vec<String>, String> {
    let value = one(tokens)?;
    match value[0].parse::<i64>() {
        Ok(_) => Ok(value),
        Err(_) => Err(format!("want a whole number, not {:?}", value[0])),
    }
}

/// The values in parentheses. Where there is none between two signs, it is an empty one.
fn several(tokens: &mut Tokens) -> Result<Vec<String>, String> {
    tokens.next();
    if tokens.next_if_eq(&Token::Sign("(")).is_none() {
        return Err(format!("want (, not {}", shown(tokens.peek())));
    }
    let mut values = Vec::new();
    loop {
        let value = tokens.next_if(|token| matches!(token, Token::Word(_)));
        values.push(if let Some(Token::Word(value)) = value { value } else { String::new() });
        match tokens.next() {
            Some(Token::Sign(",")) => {}
            Some(Token::Sign(")")) => return Ok(values),
            other => return Err(format!("want a comma or ), not {}", shown(other.as_ref()))),
        }
    }
}

fn shown(token: Option<&Token>) -> String {
    match token {
        None => "the end".to_owned(),
        Some(Token::Word(word)) => format!("{word:?}"),
        Some(Token::Sign(sign)) => format!("{sign:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selects(selector: &str, labels: &[(&str, &str)]) -> bool {
        let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        selector.parse::<Selector>().unwrap_or_else(|e| panic!("{selector}: {e}")).matches(&labels)
    }

    #[test]
    fn a_line_selects_what_kubectl_would() {
        let web = [("app", "web"), ("tier", "front"), ("example.test/n", "7"), ("in", "x")];
        for selector in [
            "",
            "  ",
            "app",
            "app=web",
            "app==web",
            "app = web , tier=front",
            "app!=db",
            "none!=x",
            "app in (db, web)",
            "app notin(db,x)",
            "none notin (web)",
            "!none",
            "! none,app",
            "example.test/n>6,example.test/n < 8",
            "in in (x)",
            "in",
        ] {
            assert!(selects(selector, &web), "{selector}");
        }
        for selector in [
            "none",
            "app=",
            "app=web,tier=back",
            "app!=web",
            "app notin (db,web)",
            "none in (web)",
            "!app",
            "app>1",
            "none<1",
            "app in ()",
        ] {
            assert!(!selects(selector, &web), "{selector}");
        }
        assert!(selects("a=,a in (),a in (b,)", &[("a", "")]));
    }

    #[test]
    fn what_is_no_selector_says_what_was_wanted() {
        for (selector, says) in [
            (",a", "want a label's key, not \",\""),
            ("a,", "want a label's key, not the end"),
            ("a,,b", "want a label's key, not \",\""),
            ("=x", "want a label's key, not \"=\""),
            ("a b", "want one of =, ==, !=, in, notin, not \"b\""),
            ("a in x", "want (, not \"x\""),
            ("a in (x", "want a comma or ), not the end"),
            ("a in (x y)", "want a comma or ), not \"y\""),
            ("!a=b", "want a comma, not \"=\""),
            ("a=b c", "want a comma, not \"c\""),
            ("a==(", "want a value, not \"(\""),
            ("a>b", "want a whole number, not \"b\""),
            ("a/b/c=d", "a/b/c: must consist of"),
            ("a=-b", "a: -b: must consist of"),
        ] {
            let said = selector.parse::<Selector>().unwrap_err();
            assert!(said.starts_with(says), "{selector}: {said}");
        }
    }
}
