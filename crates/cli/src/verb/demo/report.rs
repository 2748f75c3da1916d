//! What the demo says at the end: a row for each step, with how often it was done and how long one took.

use std::time::Duration;

use serde::Serialize;

use crate::page::{Answer, Page};

/// One step.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Step {
    /// Its name; stable, for scripts.
    pub(super) name: &'static str,
    /// Whether what it shows was seen.
    pub(super) ok: bool,
    /// How often it was done.
    pub(super) count: usize,
    /// How long one took at the median, in milliseconds.
    pub(super) p50_ms: f64,
    /// How long the slowest of a hundred took.
    pub(super) p99_ms: f64,
    /// What was seen; where `ok` is false, what was not.
    pub(super) seen: String,
}

impl Step {
    /// A step of these times.
    pub(super) fn new(
        name: &'static str,
        ok: bool,
        mut times: Vec<Duration>,
        seen: String,
    ) -> Self {
        times.sort_unstable();
        Self {
            name,
            ok,
            count: times.len(),
            p50_ms: percentile(&times, 50),
            p99_ms: percentile(&times, 99),
            seen,
        }
    }
}

/// Everything that was shown.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// Whether every step held.
    pub(super) ok: bool,
    /// Devices that took part.
    pub(super) devices: u16,
    /// How long it took, in seconds.
    pub(super) seconds: f64,
    /// The steps in their order.
    pub(super) steps: Vec<Step>,
    /// Where everything lies, if it was kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) kept: Option<std::path::PathBuf>,
}

impl Answer for Report {
    fn page(&self, page: &mut Page) {
        let width = self.steps.iter().map(|step| step.name.len()).max();
        let width = width.unwrap_or_default();
        page.gap();
        page.text(&format!("  {:width$}        n       p50       p99", "step"));
        for step in &self.steps {
            let mark = if step.ok { "✓" } else { "✗" };
            page.text(&format!(
                "{mark} {:width$}  {:>7}  {:>8}  {:>8}",
                step.name,
                step.count,
                span(step.p50_ms),
                span(step.p99_ms)
            ));
        }
        page.gap();
        let failed = self.steps.iter().filter(|step| !step.ok).count();
        let all = format!(
            "{} steps, {} devices, {:.0} s.",
            self.steps.len(),
            self.devices,
            self.seconds
        );
        if failed == 0 {
            page.good("All of it held:", &all);
        } else {
            page.bad(&format!("{failed} did not hold:"), &all);
        }
        if let Some(kept) = &self.kept {
            page.field("kept in", kept.display().to_string());
        }
    }
}

/// The `percent` percentile in milliseconds, by nearest rank; 0 of nothing.
fn percentile(sorted: &[Duration], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted
        .get(rank - 1)
        .map_or(0.0, |time| (time.as_secs_f64() * 100_000.0).round() / 100.0)
}

/// `0.42 ms`, `37 ms`, `2.1 s`.
fn span(ms: f64) -> String {
    match ms {
        ms if ms < 10.0 => format!("{ms:.1} ms"),
        ms if ms < 1_000.0 => format!("{ms:.0} ms"),
        ms => format!("{:.1} s", ms / 1_000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_nearest_rank() {
        let times: Vec<_> = (1..=200).map(Duration::from_millis).collect();
        let step = Step::new("x", true, times, String::new());
        assert_eq!((step.count, step.p50_ms, step.p99_ms), (200, 100.0, 198.0));
        let one = Step::new("x", true, vec![Duration::from_micros(1_234)], String::new());
        assert_eq!((one.p50_ms, one.p99_ms), (1.23, 1.23));
        let none = Step::new("x", false, Vec::new(), String::new());
        assert_eq!((none.count, none.p50_ms), (0, 0.0));
    }

    #[test]
    fn spans_are_short() {
        for (ms, text) in [(0.42, "0.4 ms"), (37.4, "37 ms"), (2_130.0, "2.1 s")] {
            assert_eq!(span(ms), text);
        }
    }
}
