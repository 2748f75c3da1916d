//! Counters in the text format of Prometheus.

use crate::device::Counts;
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
    pub(super) fn page(&self, devices: &[(DeviceState, u64)], door: Option<&Counts>) -> String {
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
        if let Some(door) = door {
            doors(&mut page, door);
        }
        page
    }
}

/// What the device door counts.
fn doors(page: &mut String, door: &Counts) {
    page.push_str(
        "# HELP kusabi_server_handshakes_total Handshakes of devices by result.\n\
         # TYPE kusabi_server_handshakes_total counter\n",
    );
    for (result, count) in [
        ("welcomed", &door.welcomed),
        ("cookie", &door.retried),
        ("busy", &door.busy),
        ("unreadable", &door.unreadable),
        ("refused", &door.refused),
        ("put-off", &door.put_off),
        ("enrolment", &door.enrolments),
    ] {
        let count = count.load(Relaxed);
        let _ = writeln!(
            page,
            "kusabi_server_handshakes_total{{result=\"{result}\"}} {count}"
        );
    }
    for (name, kind, help, count) in [
        (
            "messages_total",
            "counter",
            "Messages of devices.",
            &door.messages,
        ),
        ("polls_total", "counter", "Polls of devices.", &door.polls),
        (
            "freshness_receipts_total",
            "counter",
            "Freshness receipts carried to devices.",
            &door.receipts,
        ),
        (
            "freshness_questions_total",
            "counter",
            "Questions for freshness receipts, each for all devices that wait.",
            &door.receipt_questions,
        ),
        (
            "held_polls",
            "gauge",
            "Polls that are held back.",
            &door.held,
        ),
        (
            "sessions",
            "gauge",
            "Open sessions of devices.",
            &door.sessions,
        ),
    ] {
        let count = count.load(Relaxed);
        let _ = writeln!(
            page,
            "# HELP kusabi_server_{name} {help}\n# TYPE kusabi_server_{name} {kind}\nkusabi_server_{name} {count}"
        );
    }
}
