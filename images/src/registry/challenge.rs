//! `WWW-Authenticate`, RFC 9110 section 11: pure parsing.

/// One challenge: a scheme and its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// The scheme in lower case, such as `bearer`.
    pub scheme: String,
    /// Parameters in order, names in lower case.
    pub parameters: Vec<(String, String)>,
}

impl Challenge {
    /// The first parameter of that name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Parses one header value, which may hold several challenges. Never fails: what cannot be
/// understood ends the list, as a broken challenge is none.
pub fn parse(value: &str) -> Vec<Challenge> {
    let mut challenges: Vec<Challenge> = Vec::new();
    let mut rest = value.trim_start_matches(is_gap);
    while !rest.is_empty() {
        let (word, after) = split_token(rest);
        if word.is_empty() {
            break;
        }
        let spaced = after.trim_start();
        // `name=` is a parameter of the challenge before, anything else a scheme.
        match (spaced.strip_prefix('='), challenges.last_mut()) {
            (Some(text), Some(challenge)) => {
                let Some((content, after)) = split_value(text.trim_start()) else { break };
                challenge.parameters.push((word.to_ascii_lowercase(), content));
                rest = after;
            }
            (Some(_), None) => break,
            (None, _) => {
                let scheme = word.to_ascii_lowercase();
                challenges.push(Challenge { scheme, parameters: Vec::new() });
                rest = after;
            }
        }
        rest = rest.trim_start_matches(is_gap);
    }
    challenges
}

fn is_gap(c: char) -> bool {
    c == ',' || c.is_whitespace()
}

fn split_token(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !(c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)))
        .unwrap_or(text.len());
    text.split_at(end)
}

/// A token or a quoted string with its escapes.
fn split_value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        // Some registries leave URLs unquoted: anything up to a comma or space.
        let end = text.find(is_gap).unwrap_or(text.len());
        return Some((text[..end].to_owned(), &text[end..]));
    };
    let mut content = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((content, &quoted[at + 1..])),
            '\\' => content.push(chars.next()?.1),
            _ => content.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(value: &str) -> String {
        let one = |c: &Challenge| {
            let parameters: Vec<_> =
                c.parameters.iter().map(|(k, v)| format!("{k}=<{v}>")).collect();
            format!("{}({})", c.scheme, parameters.join(" "))
        };
        parse(value).iter().map(one).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn challenges_are_read_with_quotes_escapes_and_several_at_once() {
        let table = [
            (
                r#"Bearer realm="https://a/t",service="s""#,
                "bearer(realm=<https://a/t> service=<s>)",
            ),
            (r#"Basic realm="x", Bearer realm="y""#, "basic(realm=<x>) bearer(realm=<y>)"),
            (
                r#"BEARER Realm = "a\"b" , scope="r:x:pull,push""#,
                r#"bearer(realm=<a"b> scope=<r:x:pull,push>)"#,
            ),
            ("Basic", "basic()"),
            ("Negotiate, Basic realm=x", "negotiate() basic(realm=<x>)"),
            ("Bearer realm=https://a/t,service=s", "bearer(realm=<https://a/t> service=<s>)"),
            (r#"Bearer realm="unterminated"#, "bearer()"),
            ("realm=x", ""),
            ("", ""),
            (",,, ,", ""),
            ("\u{fe}\u{ff}", ""),
        ];
        for (value, want) in table {
            assert_eq!(show(value), want, "{value}");
        }
    }
}
