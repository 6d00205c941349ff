//! Escapes for text of strangers: no terminal obeys it, and it stays in its line.
//!
//! One spelling everywhere, that of JSON: `\n`, `\u001b`.

use std::fmt::Write as _;

/// `text` for people: without anything that moves a cursor, breaks a line, or changes the order or
/// the number of the letters that are seen.
pub(super) fn printable(text: &str) -> String {
    escaped(text, |c| c.is_control() || breaks(c) || is_hidden(c))
}

/// `text` for programs that read lines: no line break in it, and no control character but the tab,
/// by which they tell columns apart.
pub(super) fn one_line(text: &str) -> String {
    escaped(text, |c| (c.is_control() && c != '\t') || breaks(c))
}

/// JSON of the same value in one line: white space between its parts is blanks, and what people or
/// readers of lines could stumble over is escaped. Such characters stand in strings only.
pub(super) fn json_line(json: &str) -> String {
    let blanks = json.replace(['\n', '\r', '\t'], " ");
    escaped(&blanks, |c| c.is_control() || breaks(c) || is_hidden(c))
}

fn escaped(text: &str, is_escaped: impl Fn(char) -> bool) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if !is_escaped(c) {
            line.push(c);
            continue;
        }
        // Writing to a `String` cannot fail. All that is escaped has four digits.
        let _ = match c {
            '\n' => line.write_str("\\n"),
            '\r' => line.write_str("\\r"),
            '\t' => line.write_str("\\t"),
            c => write!(line, "\\u{:04x}", u32::from(c)),
        };
    }
    line
}

/// The line breaks that are no control characters: the line and the paragraph separator.
const fn breaks(c: char) -> bool {
    matches!(c, '\u{2028}' | '\u{2029}')
}

/// Marks, embeddings, overrides and isolates of direction, invisible operators and the byte order
/// mark. Joiners (U+200C, U+200D) shape letters and emoji, and stay.
const fn is_hidden(c: char) -> bool {
    matches!(
        c,
        '\u{61c}'
            | '\u{200b}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a stranger may try: C0, DEL, C1, separators, every control of direction.
    fn controls() -> impl Iterator<Item = char> {
        let ranges = [
            0..=0x1f,
            0x7f..=0x9f,
            0x61c..=0x61c,
            0x200e..=0x200f,
            0x2028..=0x202e,
            0x2066..=0x2069,
        ];
        ranges.into_iter().flatten().filter_map(char::from_u32)
    }

    #[test]
    fn what_strangers_send_stays_in_its_line_and_moves_no_cursor() {
        for c in controls() {
            let shown = printable(&format!("a{c}b"));
            assert!(shown.starts_with("a\\") && !shown.contains(c), "{shown}");
            assert!(!shown.chars().any(char::is_control), "{shown}");
        }
        assert_eq!(printable("a\u{1b}[2Jb\nc\u{9b}"), "a\\u001b[2Jb\\nc\\u009b");
        for kept in ["é 🎺", "👩‍🚀", "שלום", "a\\b"] {
            assert_eq!(printable(kept), kept);
        }
    }

    #[test]
    fn programs_get_tabs_and_directions_as_they_are_and_no_second_line() {
        assert_eq!(one_line("a\tb\u{202e}"), "a\tb\u{202e}");
        assert_eq!(one_line("a\r\nb\u{85}c\u{2028}"), "a\\r\\nb\\u0085c\\u2028");
    }

    #[test]
    fn json_keeps_its_value_in_one_line() {
        let strings: String = controls().filter(|c| u32::from(*c) >= 0x7f).collect();
        let json = format!("{{\r\n\t\"{strings}\": [1,\n2]}}");
        let line = json_line(&json);
        assert!(
            !line
                .chars()
                .any(|c| c.is_control() || breaks(c) || is_hidden(c))
        );
        let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON");
        assert_eq!(value(&line), value(&json));
    }
}
