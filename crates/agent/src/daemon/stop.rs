//! The bell of a daemon: how others tell it to stop, or to poll now.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};

/// What the bell means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ring {
    Stop,
    Poll,
}

/// Tells a daemon to stop, or to poll now; from any thread, before, while and after it runs. Clones are the same bell.
#[derive(Clone, Default)]
pub struct Stop(Arc<Bell>);

type Listener = Box<dyn Fn(Ring) + Send>;

#[derive(Default)]
struct Bell {
    stopped: AtomicBool,
    listener: Mutex<Option<Listener>>,
}

impl Stop {
    /// A bell that nobody has rung.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The daemon ends what it does in order, and [`Daemon::run`](super::Daemon::run) returns.
    pub fn stop(&self) {
        self.0.stopped.store(true, Ordering::SeqCst);
        self.ring(Ring::Stop);
    }

    /// The daemon polls now. Before it runs this does nothing: it polls at its start.
    pub fn poll_now(&self) {
        self.ring(Ring::Poll);
    }

    /// Whether [`stop`](Self::stop) was called.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.0.stopped.load(Ordering::SeqCst)
    }

    fn ring(&self, ring: Ring) {
        let listener = self
            .0
            .listener
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(listener) = listener.as_ref() {
            listener(ring);
        }
    }

    /// From now on this hears the bell.
    pub(crate) fn listen<T: Send + 'static>(&self, to: Sender<T>, as_what: fn(Ring) -> T) {
        let listener: Listener = Box::new(move |ring| {
            // Whoever has ended hears nothing.
            let _ = to.send(as_what(ring));
        });
        *self
            .0
            .listener
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(listener);
    }
}

impl std::fmt::Debug for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Stop").field(&self.is_stopped()).finish()
    }
}
