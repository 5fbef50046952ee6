//! Variables, and `$(VAR)` in texts.

use std::collections::BTreeSet;

use crate::error::{Error, Kind, Result};

/// Bytes of the values in a container's environment, and of what its command or its arguments
/// become: a line of the manifest may double the one before it. The kernel gives a process 6 MiB.
pub(super) const MOST_EXPANDED: usize = 16 << 20;

/// Variables in order; a later one replaces an earlier one in its place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment(Vec<(String, String)>);

impl Environment {
    /// Sets a variable, in the place where it is set already.
    pub(super) fn set(&mut self, name: String, value: String) {
        match self.0.iter_mut().find(|(n, _)| *n == name) {
            Some(slot) => slot.1 = value,
            None => self.0.push((name, value)),
        }
    }

    /// The value of a variable.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// Every variable.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(n, v)| (n.as_str(), v.as_str()))
    }

    /// Replaces `$(NAME)` by its value, `$$` by `$`; what is not set stays as it is.
    ///
    /// # Errors
    /// `Invalid` where they become longer than any process could be given.
    pub fn expand(&self, texts: &[String]) -> Result<Vec<String>> {
        let mut room = MOST_EXPANDED;
        let expand = |text: &String| {
            let (text, _) = expand(text, |name| self.get(name), room)?;
            take(&mut room, text)
        };
        texts.iter().map(expand).collect()
    }

    /// As [`Environment::expand`], but a name that is not set is an error (`subPathExpr`).
    pub fn expand_strictly(&self, text: &str) -> Result<String> {
        match expand(text, |name| self.get(name), MOST_EXPANDED)? {
            (text, missing) if missing.is_empty() => Ok(text),
            (_, missing) => {
                let names: Vec<String> = missing.into_iter().collect();
                Err(Error::new(Kind::Invalid, format!("missing value for {}", names.join(", "))))
            }
        }
    }
}

/// Takes a text out of the room that is left.
pub(super) fn take(room: &mut usize, text: String) -> Result<String> {
    *room = room.checked_sub(text.len()).ok_or_else(too_long)?;
    Ok(text)
}

fn too_long() -> Error {
    let text = format!("the values of variables become longer than {MOST_EXPANDED} bytes");
    Error::new(Kind::Invalid, text)
}

/// The expansion and the names that had no value (Kubernetes' `expansion.Expand`); an error if its
/// values are longer than `room`.
pub(super) fn expand<'v>(
    text: &str,
    value: impl Fn(&str) -> Option<&'v str>,
    room: usize,
) -> Result<(String, BTreeSet<String>)> {
    let mut left = room;
    let mut out = String::with_capacity(text.len());
    let mut missing = BTreeSet::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let tail = &rest[at + 1..];
        rest = tail;
        if let Some(after) = tail.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = tail.strip_prefix('(').and_then(|t| t.split_once(')')) {
            match value(name) {
                Some(value) => {
                    left = left.checked_sub(value.len()).ok_or_else(too_long)?;
                    out.push_str(value);
                }
                None => {
                    missing.insert(name.to_owned());
                    out.push_str("$(");
                    out.push_str(name);
                    out.push(')');
                }
            }
            rest = after;
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    Ok((out, missing))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_expand_as_in_kubernetes() {
        let mut env = Environment::default();
        for (name, value) in [("A", "1"), ("B", "two"), ("E", "")] {
            env.set(name.into(), value.into());
        }
        for (text, want) in [
            ("$(A)", "1"),
            ("x$(A)y$(B)", "x1ytwo"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$1"),
            ("$(MISSING)", "$(MISSING)"),
            ("$(A", "$(A"),
            ("$A ${A}", "$A ${A}"),
            ("$", "$"),
            ("$(E)|", "|"),
            ("é$(B)é", "étwoé"),
            ("$()", "$()"),
        ] {
            assert_eq!(env.expand(&[text.to_owned()]).unwrap(), [want], "{text}");
        }
        assert_eq!(
            env.expand_strictly("a/$(NO)/$(A)/$(MISSING)/$(NO)").unwrap_err().to_string(),
            "missing value for MISSING, NO"
        );
    }

    #[test]
    fn texts_that_variables_make_too_long_are_refused() {
        let mut env = Environment::default();
        env.set("A".into(), "x".repeat(1 << 20));
        let texts = vec!["$(A)$(A)".to_owned(); 9];
        assert_eq!(env.expand(&texts).unwrap_err().to_string(), too_long().to_string());
        assert_eq!(env.expand(&texts[..8]).unwrap().len(), 8);
    }
}
