//! The node's integration tests, one module per topic.
mod http;
