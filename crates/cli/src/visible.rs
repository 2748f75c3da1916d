//! Text that is shown as it is, whoever wrote it: what would move the cursor, hide or reorder other text is escaped.
//!
//! A node's sentences, a proof that somebody sent and a file's name reach the terminal through here and nowhere else.

use std::{borrow::Cow, fmt::Write as _};

/// Longest text that is shown, in characters; a longer one is cut and says so.
const SHOWN_MAX: usize = 4_096;

/// One line: line breaks are escaped too.
pub(crate) fn line(text: &str) -> Cow<'_, str> {
    escaped(text, is_hidden)
}

/// Several lines.
pub(crate) fn lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| c != '\n' && is_hidden(c))
}

/// A line of JSON: the same characters, in JSON's own escapes. JSON escapes those below U+0020 itself, and outside of its
/// strings there are none.
pub(crate) fn json(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_hidden(c) {
            // Writing to a string cannot fail.
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(shown, "\\u{unit:04x}");
            }
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

fn escaped(text: &str, hidden: impl Fn(char) -> bool) -> Cow<'_, str> {
    let end = text.char_indices().nth(SHOWN_MAX).map(|(at, _)| at);
    let whole = text.get(..end.unwrap_or(text.len())).unwrap_or(text);
    if end.is_none() && !whole.contains(&hidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(whole.len() + 16);
    for c in whole.chars() {
        if hidden(c) {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    if end.is_some() {
        shown.push_str(" … (cut)");
    }
    Cow::Owned(shown)
}

/// Control characters of both halves, and what reorders text or has no width.
const fn is_hidden(c: char) -> bool {
    matches!(
        c,
        '\0'..='\x1f'
            | '\x7f'..='\u{9f}'
            | '\u{ad}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_stays() {
        for text in ["", "key „Kamera“ für Ñandú 東京 🔑", "a = 1"] {
            assert!(matches!(line(text), Cow::Borrowed(shown) if shown == text));
            assert!(matches!(json(text), Cow::Borrowed(shown) if shown == text));
        }
        assert_eq!(lines("a\nb"), "a\nb");
    }

    #[test]
    fn what_moves_the_cursor_or_hides_is_escaped() {
        assert_eq!(line("a\x1b[2K\nb"), "a\\u{1b}[2K\\u{a}b");
        for c in "\0\t\r\x08\x7f\u{85}\u{9b}\u{202e}\u{2066}\u{200b}\u{feff}\u{e0041}".chars() {
            let text = format!("x{c}y");
            assert!(
                !line(&text).contains(c) && !lines(&text).contains(c),
                "{c:?}"
            );
            let shown = json(&text);
            assert!(!shown.contains(c));
            let read: String = serde_json::from_str(&format!("\"{shown}\"")).unwrap();
            assert_eq!(read, text);
        }
    }

    #[test]
    fn a_long_text_is_cut() {
        let shown = line(&"é".repeat(SHOWN_MAX + 1)).into_owned();
        assert_eq!(
            shown.chars().count(),
            SHOWN_MAX + " … (cut)".chars().count()
        );
        assert!(shown.ends_with(" … (cut)"));
        assert!(matches!(line(&"é".repeat(SHOWN_MAX)), Cow::Borrowed(_)));
    }
}
