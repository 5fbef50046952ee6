//! Text of others, as it is shown on a terminal.

/// What containers, images and registries said, with nothing in it that a terminal obeys: control
/// characters but line ends and tabs become U+FFFD.
pub fn printable(text: &str) -> String {
    let shown = |c: char| match c {
        '\n' | '\t' => c,
        c if c.is_control() => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    text.chars().map(shown).collect()
}

/// The same on one line: line ends and tabs become spaces.
pub fn printable_line(text: &str) -> String {
    printable(text).replace(['\n', '\t'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_cannot_speak_to_the_terminal() {
        for (text, shown, line) in [
            ("sh", "sh", "sh"),
            ("\x1b[2J\x07", "\u{fffd}[2J\u{fffd}", "\u{fffd}[2J\u{fffd}"),
            ("a\n\tb\r", "a\n\tb\u{fffd}", "a  b\u{fffd}"),
            ("\u{9b}x ä\x7f", "\u{fffd}x ä\u{fffd}", "\u{fffd}x ä\u{fffd}"),
        ] {
            assert_eq!(
                (printable(text), printable_line(text)),
                (shown.to_owned(), line.to_owned())
            );
        }
    }
}
