//! The node's integration tests, one module per topic.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails, also in what its cases share"
)]

mod directory;
mod first;
mod following;
mod http;
mod measure;
mod oracle;
mod random;
mod several;
mod simulated;
