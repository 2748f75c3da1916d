//! The log that a stock client sends of a deployment that failed, as text.

/// Most bytes of a log that are kept: its end, where the reason stands.
const LOG_BYTES_MAX: usize = 64 * 1024;

#[derive(serde::Deserialize)]
struct Message {
    #[serde(default)]
    timestamp: String,
    #[serde(default)]
    level: String,
    #[serde(default)]
    message: String,
}

/// A log as lines, its end where it is long. Some clients send JSON that breaks off: what can be read of it is kept, and of what is no
/// such JSON the bytes.
pub(super) fn log_text(bytes: &[u8]) -> String {
    let mut rest = bytes
        .iter()
        .position(|byte| *byte == b'[')
        .and_then(|at| bytes.get(at.saturating_add(1)..))
        .unwrap_or_default();
    let mut lines = Vec::new();
    loop {
        let mut messages = serde_json::Deserializer::from_slice(rest).into_iter::<Message>();
        let Some(Ok(message)) = messages.next() else {
            break;
        };
        let Message {
            timestamp,
            level,
            message,
        } = message;
        lines.push(plain(&format!("{timestamp} {level}: {message}")));
        rest = rest.get(messages.byte_offset()..).unwrap_or_default();
        let skip = rest
            .iter()
            .position(|byte| !byte.is_ascii_whitespace() && *byte != b',')
            .unwrap_or(rest.len());
        rest = rest.get(skip..).unwrap_or_default();
    }
    if lines.is_empty() {
        lines.push(plain(&String::from_utf8_lossy(bytes)));
    }
    let mut kept = Vec::new();
    let mut room = LOG_BYTES_MAX;
    let mut left_out = lines.len();
    for mut line in lines.into_iter().rev() {
        if kept.is_empty() && line.len() > room {
            line.truncate(line.floor_char_boundary(room.saturating_sub(1)));
        }
        let Some(less) = room.checked_sub(line.len().saturating_add(1)) else {
            break;
        };
        room = less;
        left_out = left_out.saturating_sub(1);
        kept.push(line);
    }
    if left_out > 0 {
        kept.push(format!("({left_out} earlier messages were left out)"));
    }
    kept.reverse();
    let mut text = kept.join("\n");
    text.push('\n');
    text
}

/// A text without what a terminal or a database would take for more than text.
fn plain(text: &str) -> String {
    let is_plain = |c: char| !c.is_control() || matches!(c, '\n' | '\t');
    text.chars()
        .map(|c| if is_plain(c) { c } else { '\u{fffd}' })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_breaks_off_is_read_as_far_as_it_goes() {
        let whole = br#"{"messages":[{"timestamp":"t1","level":"info","message":"a [b], \"c\""},
            {"timestamp":"t2","level":"error","message":"d\u0000"}]}"#;
        let both = "t1 info: a [b], \"c\"\nt2 error: d\u{fffd}\n";
        assert_eq!(log_text(whole), both);
        assert_eq!(log_text(&whole[..whole.len() - 2]), both);
        assert_eq!(
            log_text(&whole[..whole.len() - 8]),
            both.lines().next().unwrap().to_owned() + "\n"
        );
        let cut = br#"{"messages":[{"level":"info","message":"x"},{"#;
        assert_eq!(log_text(cut), " info: x\n");
        assert_eq!(log_text(b"no JSON\xff"), "no JSON\u{fffd}\n");
        assert_eq!(log_text(b""), "\n");
    }

    #[test]
    fn of_a_long_log_its_end_is_kept() {
        let message = |n: usize| format!(r#"{{"level":"info","message":"{n:01000}"}}"#);
        let all: Vec<String> = (0..200).map(message).collect();
        let log = log_text(format!(r#"{{"messages":[{}]}}"#, all.join(",")).as_bytes());
        assert!(log.len() <= LOG_BYTES_MAX + 64, "{}", log.len());
        assert!(
            log.starts_with("(135 earlier messages were left out)\n"),
            "{}",
            &log[..60]
        );
        assert!(log.ends_with("0199\n"));
        let one = log_text(format!(r#"[{{"message":"{}"}}"#, "é".repeat(LOG_BYTES_MAX)).as_bytes());
        assert!(one.len() <= LOG_BYTES_MAX && one.starts_with(" : é"));
    }
}
