//! Ranges of bytes (RFC 9110, section 14).

use axum::http::{HeaderMap, header};
use std::ops::Range;

/// What is to be sent of something that has `size` bytes and this entity tag.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    All,
    Part(Range<u64>),
    /// The range begins beyond the end.
    Beyond,
}

/// Reads `Range` and `If-Range`. A range of another unit, several ranges and what cannot be read are passed over, as the RFC allows: then
/// all of it is sent.
pub(super) fn wanted(headers: &HeaderMap, size: u64, etag: &str) -> Wanted {
    let text = |name| {
        let mut values = headers.get_all(name).iter();
        values.next().and_then(|value| value.to_str().ok())
    };
    let Some(range) = text(header::RANGE) else {
        return Wanted::All;
    };
    // Only a strong tag says that the bytes are the same; a date says nothing here.
    if text(header::IF_RANGE).is_some_and(|condition| condition.trim() != etag) {
        return Wanted::All;
    }
    let Some((unit, set)) = range.split_once('=') else {
        return Wanted::All;
    };
    let Some((from, to)) = set.trim().split_once('-') else {
        return Wanted::All;
    };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Wanted::All;
    }
    match (number(from), number(to)) {
        // The last bytes.
        (None, Some(last)) if from.trim().is_empty() => match last {
            0 => Wanted::Beyond,
            last => Wanted::Part(size.saturating_sub(last)..size),
        },
        (Some(from), None) if to.trim().is_empty() => part(from, size, size),
        (Some(from), Some(to)) if from <= to => part(from, to.saturating_add(1), size),
        _ => Wanted::All,
    }
}

fn part(from: u64, to: u64, size: u64) -> Wanted {
    match from < size {
        true => Wanted::Part(from..to.min(size)),
        false => Wanted::Beyond,
    }
}

/// Digits only: a sign would be read by the library.
fn number(text: &str) -> Option<u64> {
    let text = text.trim();
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // More digits than a number holds are beyond any end.
    Some(text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(range: &str, if_range: Option<&str>) -> Wanted {
        let mut headers = HeaderMap::new();
        headers.insert(header::RANGE, range.parse().unwrap());
        if let Some(condition) = if_range {
            headers.insert(header::IF_RANGE, condition.parse().unwrap());
        }
        wanted(&headers, 100, "\"ab\"")
    }

    #[test]
    fn ranges_are_read_as_the_rfc_says() {
        for (range, expected) in [
            ("bytes=0-", Wanted::Part(0..100)),
            ("bytes=99-", Wanted::Part(99..100)),
            ("bytes=10-19", Wanted::Part(10..20)),
            ("Bytes = 10-19", Wanted::Part(10..20)),
            ("bytes=10-1000", Wanted::Part(10..100)),
            ("bytes=10-18446744073709551615", Wanted::Part(10..100)),
            ("bytes=-1", Wanted::Part(99..100)),
            ("bytes=-1000", Wanted::Part(0..100)),
            ("bytes=100-", Wanted::Beyond),
            ("bytes=99999999999999999999999-", Wanted::Beyond),
            ("bytes=-0", Wanted::Beyond),
            ("bytes=20-10", Wanted::All),
            ("bytes=0-1,5-6", Wanted::All),
            ("bytes=+1-2", Wanted::All),
            ("bytes=-", Wanted::All),
            ("bytes=", Wanted::All),
            ("lines=1-2", Wanted::All),
            ("", Wanted::All),
        ] {
            assert_eq!(of(range, None), expected, "{range}");
        }
    }

    #[test]
    fn only_the_same_tag_keeps_a_range() {
        assert_eq!(of("bytes=5-", Some("\"ab\"")), Wanted::Part(5..100));
        for other in ["\"cd\"", "W/\"ab\"", "Thu, 01 Jan 1970 00:00:00 GMT"] {
            assert_eq!(of("bytes=5-", Some(other)), Wanted::All, "{other}");
        }
    }
}
