//! The node's integration tests, one module per topic.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails, also in what its cases share"
)]

mod first;
mod http;
mod oracle;
mod simulated;
