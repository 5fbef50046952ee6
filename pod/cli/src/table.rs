//! Tables on standard output.

use rrun_error::printable_line;
use std::io::Write;

/// Prints rows in columns as wide as they must be. What containers and images have put into a cell
/// stays in it, and a terminal obeys none of it.
pub fn print<const N: usize>(rows: &[[String; N]]) -> std::io::Result<()> {
    write(&format(rows))
}

/// Prints text as it is. A reader that has gone is no error.
pub fn write(text: &str) -> std::io::Result<()> {
    shown(text).map(drop)
}

/// Prints text as it is: false when nobody reads any more.
pub fn shown(text: &str) -> std::io::Result<bool> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        other => other.map(|()| true),
    }
}

/// Rows in columns as wide as they must be.
pub fn format<const N: usize>(rows: &[[String; N]]) -> String {
    let widths = widths(rows);
    rows.iter().map(|row| line(row, &widths)).collect()
}

/// How wide the columns must be.
pub fn widths<const N: usize>(rows: &[[String; N]]) -> [usize; N] {
    let width = |cell: &str| printable_line(cell).chars().count();
    std::array::from_fn(|column| rows.iter().map(|row| width(&row[column])).max().unwrap_or(0))
}

/// A row in columns that are as wide as these, or wider.
pub fn line<const N: usize>(row: &[String; N], widths: &[usize; N]) -> String {
    // A column with nothing in it is none.
    let columns = row.iter().zip(widths).filter(|(_, width)| **width > 0);
    let cells = columns.map(|(cell, width)| {
        let cell = printable_line(cell);
        format!("{cell:width$}")
    });
    format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
}

#[cfg(test)]
mod tests {
    use super::format;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_lines_have_no_blank_end() {
        let rows = [["NAME", "X", "IP"], ["größer", "1", ""], ["a", "", "::1"]];
        let rows = rows.map(|row| row.map(String::from));
        assert_eq!(format(&rows), "NAME    X  IP\ngrößer  1\na          ::1\n");
    }

    #[test]
    fn a_cell_is_one_line_that_no_terminal_obeys() {
        let rows = [["\x1b]0;owned\x07", "a\nb\tc"].map(String::from)];
        assert_eq!(format(&rows), "\u{fffd}]0;owned\u{fffd}  a b c\n");
    }
}
