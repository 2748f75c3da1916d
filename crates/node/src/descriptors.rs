//! File descriptors: the engine ends when it cannot open a file, so clients get only what it leaves over.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that are kept for the engine, at least: some sixty at first, about three hundred at ten million keys.
pub const RESERVED: u64 = 512;
/// Connections without which serving makes no sense.
const CONNECTIONS_MIN: u64 = 64;

/// The process may open too few files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this process may open {0} files, and a node needs {min}", min = RESERVED + CONNECTIONS_MIN)]
pub struct TooFew(pub u64);

/// Raises the process's limit as far as it may, and tells how many connections it can serve, at most `wanted`.
///
/// # Errors
/// [`TooFew`]
pub fn connections(wanted: usize) -> Result<usize, TooFew> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit {
            current: limit.maximum,
            ..limit
        };
        // Where it may not be raised, what there is has to do.
        let _ = setrlimit(Resource::Nofile, raised);
    }
    share(getrlimit(Resource::Nofile).current, wanted)
}

fn share(limit: Option<u64>, wanted: usize) -> Result<usize, TooFew> {
    // `None` is no limit.
    let limit = limit.unwrap_or(u64::MAX);
    let left = limit.saturating_sub(RESERVED);
    if left < CONNECTIONS_MIN {
        return Err(TooFew(limit));
    }
    Ok(usize::try_from(left).unwrap_or(usize::MAX).min(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engine_comes_first() {
        assert_eq!(share(None, 1024), Ok(1024));
        assert_eq!(share(Some(1 << 20), 1024), Ok(1024));
        assert_eq!(share(Some(1024), 1024), Ok(512));
        assert_eq!(share(Some(576), 1024), Ok(64));
        assert_eq!(share(Some(575), 1024), Err(TooFew(575)));
        assert_eq!(share(Some(0), 1024), Err(TooFew(0)));
    }
}
