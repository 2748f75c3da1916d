//! Trees that do not change, as damaged images may have them.

use std::ffi::OsString;

use super::*;

struct Graph {
    /// Levels of directories, each with the next one under two names.
    depth: usize,
    /// Whether names can be looked up that are listed.
    found: bool,
}

impl Tree for Graph {
    type File<'a> = io::Empty;

    fn look(&self, path: &Path) -> io::Result<Node> {
        if !self.found && path.parent().is_some() {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(Node {
            kind: Kind::Dir,
            mode: 0o755,
            stamp: None,
        })
    }

    fn list(&self, dir: &Path, each: &mut dyn FnMut(OsString, bool) -> bool) -> io::Result<()> {
        if dir.components().count() < self.depth {
            each("a".into(), true);
            each("b".into(), true);
        }
        Ok(())
    }

    fn link(&self, _: &Path) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn open(&self, _: &Path) -> io::Result<Option<(io::Empty, u32)>> {
        Ok(None)
    }
}

/// Directories that lie in each other are few on the disk, and as many as they like in a walk.
#[test]
fn directories_that_lie_in_each_other_end_the_walk() {
    let walk = walk(Path::new("/"), &["/"], &[]);
    let mut small = Graph {
        depth: 10,
        found: true,
    };
    let summary = walk.take_of(&small, &mut Vec::new()).unwrap();
    assert_eq!(summary.count(), 0);
    small.depth = 40;
    let refused = walk.take_of(&small, &mut Vec::new());
    assert!(
        matches!(refused, Err(WalkError::TooMany { .. })),
        "{refused:?}"
    );
}

#[test]
fn what_an_image_lists_and_does_not_have_is_no_component_less() {
    let lost = Graph {
        depth: 1,
        found: false,
    };
    let all = walk(Path::new("/"), &["/"], &[]);
    let refused = all.take_of(&lost, &mut Vec::new());
    assert!(
        matches!(&refused, Err(WalkError::Lost { path }) if path == Path::new("a")),
        "{refused:?}"
    );
    // A path that was configured and that nobody listed is one.
    let not_there = walk(Path::new("/"), &["/c"], &[]);
    let summary = not_there.take_of(&lost, &mut Vec::new()).unwrap();
    assert_eq!(summary.count(), 0);
    // Nor is one that is passed over looked up.
    let excluded = walk(Path::new("/"), &["/"], &["/a", "/b"]);
    excluded.take_of(&lost, &mut Vec::new()).unwrap();
}
