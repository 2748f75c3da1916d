//! A phase as it stands on the command line: `10%`, `500,after=2h`, `rest,by-hand,success=95,failures=5%`.

use kusabi_api::admin::{FailureLimit, Phase, PhaseSize, PhaseStart};

/// How it is written.
const FORM: &str = "a phase is SIZE[,WHEN][,success=N][,failures=N or N%]; SIZE is N%, a number of devices or rest; \
                    WHEN is after=TIME (90s, 30m, 2h, 1d), at=TIME (2027-01-31T02:00:00Z) or by-hand";

/// Reads a phase.
pub(super) fn phase(text: &str) -> Result<Phase, String> {
    read(text).ok_or_else(|| FORM.to_owned())
}

fn read(text: &str) -> Option<Phase> {
    let mut parts = text.split(',');
    let size = match parts.next()? {
        "rest" => PhaseSize::Rest,
        size => match size.strip_suffix('%') {
            Some(part) => PhaseSize::Percent(part.parse().ok()?),
            None => PhaseSize::Count(size.parse().ok()?),
        },
    };
    let mut phase = Phase::new(size);
    for part in parts {
        match part.split_once('=') {
            None if part == "by-hand" => phase.start = PhaseStart::ByHand,
            Some(("after", time)) => phase.start = PhaseStart::After(secs(time).ok()?),
            Some(("at", time)) => phase.start = PhaseStart::At(instant(time).ok()?),
            Some(("success", part)) => {
                phase.success_percent = part.trim_end_matches('%').parse().ok()?;
            }
            Some(("failures", limit)) => {
                phase.failures = match limit.strip_suffix('%') {
                    Some(part) => FailureLimit::Percent(part.parse().ok()?),
                    None => FailureLimit::Count(limit.parse().ok()?),
                };
            }
            _ => return None,
        }
    }
    Some(phase)
}

/// Seconds, as `90s`, `30m`, `2h` or `1d`.
pub(super) fn secs(text: &str) -> Result<u64, String> {
    let wrong = || "a time is a number with s, m, h or d: 90s, 30m, 2h, 1d".to_owned();
    let unit = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 60 * 60,
        Some('d') => 24 * 60 * 60,
        _ => return Err(wrong()),
    };
    let number: u64 = text
        .get(..text.len() - 1)
        .and_then(|number| number.parse().ok())
        .ok_or_else(wrong)?;
    number.checked_mul(unit).ok_or_else(wrong)
}

/// Milliseconds since 1970 of a time in RFC 3339, with its zone.
pub(super) fn instant(text: &str) -> Result<u64, String> {
    let at: Result<jiff::Timestamp, _> = text.parse();
    at.ok()
        .and_then(|at| u64::try_from(at.as_millisecond()).ok())
        .ok_or_else(|| {
            "a time is written as 2027-01-31T02:00:00Z, or with another zone than Z".to_owned()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_as_people_write_them() {
        let of = |size| Phase::new(size);
        for (text, expected) in [
            ("10%", of(PhaseSize::Percent(10))),
            ("500", of(PhaseSize::Count(500))),
            (
                "rest,by-hand",
                Phase {
                    start: PhaseStart::ByHand,
                    ..of(PhaseSize::Rest)
                },
            ),
            (
                "25%,after=2h,success=95,failures=5%",
                Phase {
                    start: PhaseStart::After(7200),
                    success_percent: 95,
                    failures: FailureLimit::Percent(5),
                    ..of(PhaseSize::Percent(25))
                },
            ),
            (
                "rest,failures=3,at=1970-01-01T01:00:00+01:00",
                Phase {
                    start: PhaseStart::At(0),
                    failures: FailureLimit::Count(3),
                    ..of(PhaseSize::Rest)
                },
            ),
        ] {
            assert_eq!(phase(text).unwrap(), expected, "{text}");
        }
        for text in [
            "",
            "%",
            "x%",
            "-1",
            "10%,",
            "10%,after",
            "10%,after=2",
            "10%,after=ah",
            "10%,at=noon",
            "10%,by-foot",
            "256%",
            "10%,success=x",
            "10%,at=1969-12-31T00:00:00Z",
            "1,after=é",
        ] {
            assert!(phase(text).is_err(), "{text}");
        }
    }
}
