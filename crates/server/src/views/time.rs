//! How long ago, and when. Pages carry the exact time in UTC; a script shows it in the reader's zone.

use super::texts::{Texts, fill};

const SECOND: u64 = 1000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const YEAR: u64 = 365 * DAY;

/// How long ago. What lies ahead (a clock was set back) is now.
pub(crate) fn age(t: &Texts, now_ms: u64, at_ms: u64) -> String {
    let ago = now_ms.saturating_sub(at_ms);
    let (text, count) = if ago < 5 * SECOND {
        return String::from(t.age_now);
    } else if ago < MINUTE {
        (t.age_s, ago / SECOND)
    } else if ago < HOUR {
        (t.age_min, ago / MINUTE)
    } else if ago < 2 * DAY {
        // Until the second day hours say more.
        (t.age_h, ago / HOUR)
    } else if ago < YEAR {
        (t.age_d, ago / DAY)
    } else {
        (t.age_y, ago / YEAR)
    };
    fill(text, count)
}

/// A time as RFC 3339 writes it, to the second, in UTC. What no calendar knows is the last second that one does.
pub(crate) fn rfc3339(at_ms: u64) -> String {
    let at = i64::try_from(at_ms).unwrap_or(i64::MAX);
    let at = jiff::Timestamp::from_millisecond(at).unwrap_or(jiff::Timestamp::MAX);
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The same for people.
pub(crate) fn utc(at_ms: u64) -> String {
    rfc3339(at_ms).replace('T', " ").replace('Z', " UTC")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::views::texts::{EN, JA};

    #[test]
    fn ages() {
        let now = 2_000_000_000_000;
        for (ago, text) in [
            (0, "now"),
            (4_999, "now"),
            (5_000, "5 sec ago"),
            (59_999, "59 sec ago"),
            (60_000, "1 min ago"),
            (HOUR - 1, "59 min ago"),
            (HOUR, "1 hr ago"),
            (2 * DAY - 1, "47 hr ago"),
            (2 * DAY, "2 days ago"),
            (YEAR - 1, "364 days ago"),
            (56 * YEAR, "56 yr ago"),
        ] {
            assert_eq!(age(&EN, now, now - ago), text);
        }
        assert_eq!(age(&EN, now, now + 1), "now");
        assert_eq!(age(&JA, now, now - 3 * MINUTE), "3 分前");
    }

    #[test]
    fn times() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(utc(1_764_000_000_000), "2025-11-24 16:00:00 UTC");
        assert!(rfc3339(u64::MAX).starts_with("9999-12-3"));
    }
}
