//! Files of variables that a container reads one from (`fileKeyRef`).
//!
//! A strict part of a shell's syntax: `NAME='value'`, where the value is what stands between the
//! quotes, over several lines too. Empty lines, and those that begin with `#`, mean nothing; a
//! comment may follow the value.

/// The longest file that is read, bytes.
pub const LONGEST: u64 = 1 << 20;

/// What a variable has in the file; `None` where it is not set, or empty, as at the kubelet.
///
/// # Errors
/// The line that is none of the syntax, and why. What stands after the variable is not looked at.
pub fn value(text: &str, wanted: &str) -> Result<Option<String>, String> {
    let mut lines = text.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        let fault = |why: &str| format!("line {}: {why}", at + 1);
        let line = line.trim_start_matches(BLANKS);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, rest) = line.split_once('=').ok_or_else(|| fault("has no '='"))?;
        if name.is_empty() || name.ends_with(BLANKS) {
            return Err(fault("has no name right before the '='"));
        }
        let value = match rest.strip_prefix('\'') {
            Some(rest) => quoted(rest, || lines.next().map(|(_, line)| line)).map_err(fault)?,
            // To a shell it is empty, and what follows is a command.
            None if rest.starts_with(BLANKS) => String::new(),
            None => return Err(fault("has a value without single quotes")),
        };
        if name == wanted {
            return Ok(Some(value).filter(|value| !value.is_empty()));
        }
    }
    Ok(None)
}

const BLANKS: [char; 2] = [' ', '\t'];

/// What stands before the closing quote, which may be in one of the next lines.
fn quoted<'t>(
    first: &'t str,
    mut next: impl FnMut() -> Option<&'t str>,
) -> Result<String, &'static str> {
    let mut value = String::new();
    let mut line = first;
    loop {
        if let Some((end, after)) = line.split_once('\'') {
            let after = after.trim_start_matches(BLANKS);
            if !after.is_empty() && !after.starts_with('#') {
                return Err("goes on behind the closing quote");
            }
            value.push_str(end);
            return Ok(value);
        }
        value.push_str(line);
        value.push('\n');
        line = next().ok_or("has a quote that is never closed")?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_is_what_stands_between_the_quotes() {
        let text = "\n# A='no'\n  A='one' # two\nB=''\nC= 'x'\nD='first\n  # second\nthird'\r\n\
                    E='$A \"\\n='\n";
        for (name, value) in [
            ("A", Some("one")),
            ("B", None),
            ("C", None),
            ("D", Some("first\n  # second\nthird")),
            ("E", Some("$A \"\\n=")),
            ("F", None),
            ("# A", None),
        ] {
            assert_eq!(super::value(text, name), Ok(value.map(str::to_owned)), "{name}");
        }
    }

    #[test]
    fn a_line_that_is_no_variable_is_told_by_its_number() {
        for (text, fault) in [
            ("A", "line 1: has no '='"),
            ("# c\n\n='x'", "line 3: has no name right before the '='"),
            ("A ='x'", "line 1: has no name right before the '='"),
            ("A=x", "line 1: has a value without single quotes"),
            ("A=\"x\"", "line 1: has a value without single quotes"),
            ("A='x'y", "line 1: goes on behind the closing quote"),
            ("B='1'\nA='x\n\n", "line 2: has a quote that is never closed"),
        ] {
            assert_eq!(value(text, "Z"), Err(fault.to_owned()), "{text:?}");
        }
        // What is found before it is found.
        assert_eq!(value("Z='1'\nbroken", "Z"), Ok(Some("1".to_owned())));
    }
}
