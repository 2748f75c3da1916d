//! Progress bars: on standard error, and only when a person watches.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::page::Output;

/// A bar for `length` steps of `what`; hidden unless a terminal shows it.
pub(crate) fn bar(output: Output, what: &str, length: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(
        Some(length),
        if output.progress() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        },
    );
    if let Ok(style) = ProgressStyle::with_template(
        "{msg:.bold} {bar:30.cyan/dim} {human_pos}/{human_len} {per_sec:.dim} {eta:.dim}",
    ) {
        bar.set_style(style.progress_chars("━━─"));
    }
    bar.set_message(what.to_owned());
    bar
}

/// A bar that counts bytes.
pub(crate) fn bytes(output: Output, what: &str, length: u64) -> ProgressBar {
    let bar = bar(output, what, length);
    if let Ok(style) = ProgressStyle::with_template(
        "{msg:.bold} {bar:30.cyan/dim} {bytes}/{total_bytes} {bytes_per_sec:.dim} {eta:.dim}",
    ) {
        bar.set_style(style.progress_chars("━━─"));
    }
    bar
}
