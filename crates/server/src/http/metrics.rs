//! Counters in the text format of Prometheus.

use axum::http::StatusCode;
use kusabi_api::admin::DeviceState;
use std::{
    fmt::Write as _,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

/// What the API counts.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    /// Answers by the hundreds of their status; the first stands for all others.
    answers: [AtomicU64; 6],
}

impl Metrics {
    pub(super) fn answered(&self, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100);
        self.answers
            .get(class)
            .unwrap_or(&self.answers[0])
            .fetch_add(1, Relaxed);
    }

    /// The page.
    pub(super) fn page(&self, devices: &[(DeviceState, u64)]) -> String {
        let mut page = String::from(
            "# HELP kusabi_server_http_answers_total Answers by class of status.\n\
             # TYPE kusabi_server_http_answers_total counter\n",
        );
        // Writing to a string cannot fail.
        for (class, count) in ["other", "1xx", "2xx", "3xx", "4xx", "5xx"]
            .iter()
            .zip(&self.answers)
        {
            let count = count.load(Relaxed);
            let _ = writeln!(
                page,
                "kusabi_server_http_answers_total{{class=\"{class}\"}} {count}"
            );
        }
        page.push_str(
            "# HELP kusabi_server_devices Devices by state.\n# TYPE kusabi_server_devices gauge\n",
        );
        for state in DeviceState::ALL {
            let count = devices.iter().find(|(one, _)| one == state);
            let count = count.map_or(0, |(_, count)| *count);
            let _ = writeln!(
                page,
                "kusabi_server_devices{{state=\"{}\"}} {count}",
                state.name()
            );
        }
        page
    }
}
