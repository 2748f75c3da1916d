use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use kusabi_core::id::Digest;
use kusabi_core::inventory::{
    Comparison, ComponentKind, Difference, Inventory, InventoryError, NAME_BYTES_MAX, escape_name,
};

use super::*;

mod images;

fn tree(files: &[(&[u8], &[u8])]) -> tempfile::TempDir {
    // Beside what was built, which lies on a disk: of files in memory nothing is remembered.
    let built = std::env::current_exe().unwrap();
    let folder = tempfile::tempdir_in(built.parent().unwrap()).unwrap();
    for (name, content) in files {
        let path = folder.path().join(OsStr::from_bytes(name));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    folder
}

fn walk(root: &Path, paths: &[&str], excluded: &[&str]) -> Walk {
    let owned = |paths: &[&str]| paths.iter().map(PathBuf::from).collect::<Vec<_>>();
    Walk::new(root, &owned(paths), &owned(excluded)).unwrap()
}

fn take(walk: &Walk) -> Vec<u8> {
    let mut bytes = Vec::new();
    let summary = walk.take(&mut bytes).unwrap();
    assert_eq!(Inventory::decode(&bytes).unwrap().summary(), &summary);
    bytes
}

fn names(bytes: &[u8]) -> Vec<String> {
    let inventory = Inventory::decode(bytes).unwrap();
    inventory
        .components()
        .map(|component| component.name().to_owned())
        .collect()
}

#[test]
fn files_of_every_name_come_in_the_order_of_the_format() {
    let files: [&[u8]; 13] = [
        b"a/b",
        b"a/b-c",
        b"a-b",
        b"a b",
        b"a.d/x",
        b"a/z/1",
        b"a/z.1",
        b"b%",
        b"b\n",
        b"\xe6\xa5\x94/x",
        b"\xff\xfe",
        b"~/x",
        b"a\x7f/b",
    ];
    let folder = tree(&files.map(|name| (name, name)));
    let all: Vec<String> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .filter_map(|name| Some(name.to_str()?.to_owned()))
        .collect();
    // Decoding checks the order. Names that are not UTF-8 lie below the root only, so the root is walked as a whole.
    let root = folder.path().file_name().unwrap().to_str().unwrap();
    let above = folder.path().parent().unwrap();
    let bytes = take(&walk(above, &[root], &[]));
    let mut wanted: Vec<String> = files
        .iter()
        .map(|name| format!("{root}/{}", escape_name(name)))
        .collect();
    wanted.sort();
    assert_eq!(names(&bytes), wanted);
    // Given one by one, in any order, the paths make one inventory in order.
    let mut all: Vec<&str> = all.iter().map(String::as_str).collect();
    let one = take(&walk(folder.path(), &all, &[]));
    all.reverse();
    assert_eq!(take(&walk(folder.path(), &all, &[])), one);
    assert_eq!(names(&one).len(), 12);
}

#[test]
fn each_kind_is_told_and_what_is_none_is_passed_over() {
    let folder = tree(&[
        (b"d/file", b"1"),
        (b"d/program", b"2"),
        (b"d/privileged", b"3"),
        (b"out", b"4"),
    ]);
    let d = folder.path().join("d");
    let chmod = |name: &str, mode| {
        fs::set_permissions(d.join(name), fs::Permissions::from_mode(mode)).unwrap()
    };
    chmod("program", 0o755);
    chmod("privileged", 0o4755);
    symlink("../out", d.join("link")).unwrap();
    symlink("..", d.join("link-to-dir")).unwrap();
    symlink("nowhere", d.join("link-to-nothing")).unwrap();
    let _socket = UnixListener::bind(d.join("socket")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        d.join("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    fs::create_dir(d.join("empty")).unwrap();
    let bytes = take(&walk(folder.path(), &["/d"], &[]));
    let inventory = Inventory::decode(&bytes).unwrap();
    let found: BTreeMap<_, _> = inventory
        .components()
        .map(|c| (c.name(), (c.kind(), c.size(), c.digest())))
        .collect();
    let wanted = BTreeMap::from([
        ("d/file", (ComponentKind::File, 1, Digest::of(b"1"))),
        ("d/program", (ComponentKind::Program, 1, Digest::of(b"2"))),
        (
            "d/privileged",
            (ComponentKind::Privileged, 1, Digest::of(b"3")),
        ),
        ("d/link", (ComponentKind::Link, 6, Digest::of(b"../out"))),
        ("d/link-to-dir", (ComponentKind::Link, 2, Digest::of(b".."))),
        (
            "d/link-to-nothing",
            (ComponentKind::Link, 7, Digest::of(b"nowhere")),
        ),
    ]);
    assert_eq!(found, wanted);
    // The pipe as a configured path does not make it wait either.
    assert!(
        names(&take(&walk(
            folder.path(),
            &["d/pipe", "d/socket", "none"],
            &[]
        )))
        .is_empty()
    );
}

#[test]
fn malware_is_found_item_by_item() {
    let folder = tree(&[
        (b"bin/sh", b"sh"),
        (b"bin/ls", b"ls"),
        (b"etc/passwd", b"root"),
        (b"var/log/x", b"noise"),
    ]);
    let walk = walk(folder.path(), &["bin", "etc", "var"], &["var/log"]);
    let expected = take(&walk);
    fs::write(folder.path().join("bin/ls"), b"LS").unwrap();
    fs::remove_file(folder.path().join("etc/passwd")).unwrap();
    fs::write(folder.path().join("bin/miner"), b"coins").unwrap();
    fs::write(folder.path().join("var/log/x"), b"more noise").unwrap();
    fs::set_permissions(
        folder.path().join("bin/sh"),
        fs::Permissions::from_mode(0o6755),
    )
    .unwrap();
    let actual = take(&walk);

    let expected = Inventory::decode(&expected).unwrap();
    let actual = Inventory::decode(&actual).unwrap();
    let mut found = Vec::new();
    let mut report = |difference: Difference<'_>| {
        found.push(match difference {
            Difference::Missing(component) => format!("missing {}", component.name()),
            Difference::Unexpected(component) => format!("unexpected {}", component.name()),
            Difference::Changed { actual, .. } => format!("changed {}", actual.name()),
        })
    };
    let mut comparison = Comparison::new(expected.components());
    actual
        .components()
        .for_each(|component| comparison.actual(&component, &mut report));
    comparison.finish(&mut report);
    assert_eq!(
        found,
        [
            "changed bin/ls",
            "unexpected bin/miner",
            "changed bin/sh",
            "missing etc/passwd"
        ]
    );
}

#[test]
fn what_cannot_be_inventoried_is_said() {
    let folder = tree(&[(b"a/x", b"1")]);
    let paths = |paths: &[&str]| paths.iter().map(PathBuf::from).collect::<Vec<_>>();
    for path in ["../a", "a/../b", "/a/.."] {
        let refused = Walk::new(folder.path(), &paths(&[path]), &[]);
        assert!(matches!(refused, Err(WalkError::Path { .. })), "{path}");
    }
    for both in [["a", "a/x"], ["/a/x", "/a"], ["a", "a"]] {
        let refused = Walk::new(folder.path(), &paths(&both), &[]);
        assert!(matches!(refused, Err(WalkError::Nested { .. })), "{both:?}");
    }
    // A path deeper than a name may be long.
    let mut deep = folder.path().join("a");
    for _ in 0..=NAME_BYTES_MAX / 200 {
        deep.push("d".repeat(200));
    }
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("hidden"), b"malware").unwrap();
    let refused = walk(folder.path(), &["a"], &[]).take(&mut Vec::new());
    let Err(WalkError::Component { path, error }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(error, InventoryError::Name);
    // The directory with which it is too deep is not gone into.
    assert!(path.ends_with("d".repeat(200)));

    /// A full disk.
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let folder = tree(&[(b"a/x", b"1")]);
    let refused = walk(folder.path(), &["a"], &[]).take(&mut Full);
    assert!(matches!(refused, Err(WalkError::Write(_))));
}

#[test]
fn large_files_stream() {
    let folder = tree(&[]);
    // Longer than a piece, not a multiple of it.
    let content: Vec<u8> = (0..300_001u32).map(|i| i as u8).collect();
    fs::write(folder.path().join("large"), &content).unwrap();
    let bytes = take(&walk(folder.path(), &["large"], &[]));
    let inventory = Inventory::decode(&bytes).unwrap();
    let large = inventory.components().next().unwrap();
    assert_eq!(
        (large.size(), large.digest()),
        (300_001, Digest::of(&content))
    );
}

/// A walk that remembers what it hashed in `kept`, at this time.
fn remember(walk: &Walk, kept: &mut Vec<u8>, now: SystemTime) -> (Vec<u8>, Walked) {
    let before = std::mem::take(kept);
    let mut before: &[u8] = &before;
    let mut bytes = Vec::new();
    let mut cache = HashCache::new(Some(&mut before), Some(kept), now);
    let walked = walk.take_with(&mut bytes, &mut cache).unwrap();
    assert!(cache.trouble().is_none());
    (bytes, walked)
}

fn read(walked: Walked) -> (u32, u32) {
    (walked.read, walked.remembered)
}

/// Files are stamped with it.
#[expect(
    clippy::disallowed_methods,
    reason = "what is measured is the file system's time"
)]
fn now() -> SystemTime {
    SystemTime::now()
}

/// So late that nothing is recent.
fn later() -> SystemTime {
    now() + Duration::from_secs(60)
}

#[test]
fn what_is_unchanged_is_not_read_again() {
    let files: Vec<(String, String)> = (0..2000)
        .map(|i| (format!("d{}/f{i}", i % 37), format!("content {i}")))
        .collect();
    let files: Vec<(&[u8], &[u8])> = files
        .iter()
        .map(|(name, content)| (name.as_bytes(), content.as_bytes()))
        .collect();
    let folder = tree(&files);
    symlink("d1/f1", folder.path().join("link")).unwrap();
    let walk = walk(folder.path(), &["/"], &[]);
    let mut kept = Vec::new();
    let (first, walked) = remember(&walk, &mut kept, later());
    assert_eq!(read(walked), (2000, 0));
    let (second, walked) = remember(&walk, &mut kept, later());
    assert_eq!((read(walked), &second), ((0, 2000), &first));
    // One more, one less, one changed: only what is new is read, and it goes on being remembered.
    fs::remove_file(folder.path().join("d0/f0")).unwrap();
    fs::write(folder.path().join("d0/e"), b"new").unwrap();
    fs::write(folder.path().join("d36/f36"), b"changed").unwrap();
    let (third, walked) = remember(&walk, &mut kept, later());
    assert_eq!(read(walked), (2, 1998));
    assert_eq!(third, take(&walk));
    let (fourth, walked) = remember(&walk, &mut kept, later());
    assert_eq!((read(walked), fourth), ((0, 2000), third));
    // What is remembered serves a walk of fewer paths as well.
    let fewer = super::tests::walk(folder.path(), &["d1", "d36"], &["d36/f3*"]);
    let (some, walked) = remember(&fewer, &mut kept, later());
    assert_eq!(walked.read, 0);
    assert_eq!(some, take(&fewer));
}

/// Whoever changes a file can set its size and time back, but not the time at which that was done; another file in its place has another
/// number; and with what it may do, another kind.
#[test]
fn a_change_under_the_old_size_and_time_is_found() {
    let folder = tree(&[
        (b"a", b"aaaa"),
        (b"b", b"bbbb"),
        (b"c", b"cccc"),
        (b"d", b"dddd"),
    ]);
    let at = |name: &str| folder.path().join(name);
    let walk = walk(folder.path(), &["/"], &[]);
    let mut kept = Vec::new();
    remember(&walk, &mut kept, later());
    let times = |name: &str| fs::metadata(at(name)).unwrap().modified().unwrap();

    // The clock of the file system goes in steps: until it has gone on, the change would not show.
    let changed = |name: &str| {
        let metadata = fs::metadata(at(name)).unwrap();
        (metadata.ctime(), metadata.ctime_nsec())
    };
    let gone_on = |since: (i64, i64)| {
        let probe = at(".probe");
        loop {
            fs::write(&probe, b"").unwrap();
            if changed(".probe") > since {
                break;
            }
        }
        fs::remove_file(probe).unwrap();
    };
    gone_on(changed("d"));
    let modified = times("a");
    fs::write(at("a"), b"evil").unwrap();
    File::options()
        .write(true)
        .open(at("a"))
        .unwrap()
        .set_modified(modified)
        .unwrap();
    let modified = times("b");
    fs::write(at("other"), b"evil").unwrap();
    File::options()
        .write(true)
        .open(at("other"))
        .unwrap()
        .set_modified(modified)
        .unwrap();
    fs::rename(at("other"), at("b")).unwrap();
    fs::set_permissions(at("c"), fs::Permissions::from_mode(0o4755)).unwrap();
    assert_eq!(
        (times("a"), fs::metadata(at("a")).unwrap().len()),
        (times("a"), 4)
    );

    let (found, walked) = remember(&walk, &mut kept, later());
    assert_eq!(read(walked), (3, 1));
    assert_eq!(found, take(&walk));
    let inventory = Inventory::decode(&found).unwrap();
    let digests: Vec<_> = inventory
        .components()
        .map(|c| (c.kind(), c.digest()))
        .collect();
    let evil = (ComponentKind::File, Digest::of(b"evil"));
    assert_eq!(digests[..2], [evil, evil]);
    assert_eq!(digests[2], (ComponentKind::Privileged, Digest::of(b"cccc")));
}

/// A file that changed within the clock's step before the walk may change once more in the same step: it is not remembered. Nor is one
/// that says it changed at a time that is yet to come, after the clock was set back.
#[test]
fn what_changed_just_now_is_read_again() {
    let folder = tree(&[(b"a", b"1"), (b"b", b"2")]);
    let walk = walk(folder.path(), &["/"], &[]);
    let mut kept = Vec::new();
    for at in [
        now(),
        now() - Duration::from_secs(86_400),
        SystemTime::UNIX_EPOCH,
        SystemTime::UNIX_EPOCH - Duration::from_secs(1),
    ] {
        let (bytes, walked) = remember(&walk, &mut kept, at);
        assert_eq!((read(walked), bytes), ((2, 0), take(&walk)));
    }
    // Later it is remembered, and a clock that jumps from then on changes nothing: only what was hashed anew is judged by it.
    remember(&walk, &mut kept, later());
    let (_, walked) = remember(&walk, &mut kept, SystemTime::UNIX_EPOCH);
    assert_eq!(read(walked), (0, 2));
    // A time that someone gave the file.
    let future = now() + Duration::from_secs(86_400);
    File::options()
        .write(true)
        .open(folder.path().join("b"))
        .unwrap()
        .set_modified(future)
        .unwrap();
    for _ in 0..2 {
        let (_, walked) = remember(&walk, &mut kept, later());
        assert_eq!(read(walked), (1, 1));
    }
}

/// Cut anywhere, or with any bit of it turned: what is found is the same, and at worst everything is read.
#[test]
fn a_damaged_cache_costs_reads_and_nothing_else() {
    let folder = tree(&[(b"a", b"1"), (b"b/c", b"2"), (b"b/d", b"3"), (b"e", b"4")]);
    let walk = walk(folder.path(), &["/"], &[]);
    let mut whole = Vec::new();
    let (bytes, _) = remember(&walk, &mut whole, later());
    let with = |mut kept: Vec<u8>| {
        let (found, walked) = remember(&walk, &mut kept, later());
        assert_eq!(found, bytes);
        assert_eq!(kept, whole);
        walked.read
    };
    assert_eq!(with(whole.clone()), 0);
    let reads: Vec<u32> = (0..whole.len())
        .map(|end| with(whole[..end].to_vec()))
        .collect();
    assert!(
        reads.is_sorted_by(|a, b| a >= b) && reads.first() == Some(&4) && reads.last() == Some(&1)
    );
    for at in 0..whole.len() {
        let mut kept = whole.clone();
        kept[at] ^= 1 << (at % 8);
        assert!(with(kept) >= 1, "byte {at}");
    }
    // Records in another order, each good by itself.
    let record = (whole.len() - 25) / 4;
    assert!(record > 80);
    let mut twice = whole.clone();
    twice.extend_from_slice(&whole[25..]);
    assert_eq!(with(twice), 0);
}

/// The disk is full for the cache: the inventory goes out, and what was not written is said.
#[test]
fn a_cache_that_cannot_be_written_stops_no_inventory() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let folder = tree(&[(b"a", b"1")]);
    let walk = walk(folder.path(), &["/"], &[]);
    let (mut full, mut bytes) = (Full, Vec::new());
    let mut cache = HashCache::new(None, Some(&mut full), later());
    walk.take_with(&mut bytes, &mut cache).unwrap();
    assert_eq!(cache.trouble().unwrap().kind(), io::ErrorKind::StorageFull);
    assert_eq!(bytes, take(&walk));
}

#[test]
fn patterns_pass_over_what_they_name_and_what_lies_below() {
    let folder = tree(&[
        (b"etc/a.conf", b"1"),
        (b"etc/a.conf~", b"2"),
        (b"etc/d/b.conf~", b"3"),
        (b"var/log/x/y", b"4"),
        (b"var/lib/x", b"5"),
        (b"var/lib/odd%name", b"6"),
    ]);
    let walk = walk(
        folder.path(),
        &["etc", "var"],
        &["etc/*~", "/var/l*g", "var/lib/odd%*"],
    );
    let found = names(&take(&walk));
    assert_eq!(found, ["etc/a.conf", "etc/d/b.conf~", "var/lib/x"]);
    // The same rules, signed and read again, walk the same.
    let rules = walk.rules("cam-a").unwrap();
    let again = Walk::by(folder.path(), &rules, None).unwrap();
    assert_eq!(names(&take(&again)), found);
    assert_eq!(again.rules("cam-a").unwrap(), rules);
    for wrong in ["etc/../x", "/", "a/./b", &"a".repeat(257)] {
        let refused = Walk::new(folder.path(), &[], &[PathBuf::from(wrong)]);
        assert!(refused.is_err() || wrong == "a/./b", "{wrong}");
    }
}

/// A link above a configured path would lead out of an image, onto the machine that looks at it.
#[test]
fn no_path_lies_below_a_link() {
    let folder = tree(&[(b"usr/lib/x", b"1")]);
    symlink("usr/lib", folder.path().join("lib")).unwrap();
    let refused = walk(folder.path(), &["lib/x"], &[]).take(&mut Vec::new());
    let Err(WalkError::BelowLink { link, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(link, Path::new("lib"));
    assert_eq!(names(&take(&walk(folder.path(), &["lib"], &[]))), ["lib"]);
}

/// Whoever may write below a walked path can make more of it than there is memory or time.
#[test]
fn what_is_endless_ends_the_walk() {
    // Names: each directory alone has fewer than are held.
    let folder = tree(&[]);
    let mut dir = folder.path().to_owned();
    for level in 0..3 {
        for number in 0..7000 {
            fs::write(dir.join(format!("{number:0>230}")), b"").unwrap();
        }
        dir.push(format!("!{level}"));
        fs::create_dir(&dir).unwrap();
    }
    let refused = walk(folder.path(), &["/"], &[]).take(&mut Vec::new());
    let Err(WalkError::Names { path }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(path, Path::new("!0/!1"));

    // A file that says that it is large: not a byte of it is read.
    let folder = tree(&[(b"a", b"small")]);
    let sparse = fs::File::create(folder.path().join("b")).unwrap();
    sparse.set_len(1 << 40).unwrap();
    let pieces = std::cell::Cell::new(0);
    let ends = || {
        pieces.set(pieces.get() + 1);
        (pieces.get() > 100).then_some("it takes too long")
    };
    let taken = |bytes| {
        pieces.set(0);
        let bounds = Bounds { bytes, ends: &ends };
        let walk = walk(folder.path(), &["/"], &[]);
        walk.take_within(&mut Vec::new(), &mut HashCache::none(), &bounds)
    };
    assert!(matches!(taken(1 << 30), Err(WalkError::TooMuch { .. })));
    assert!(pieces.get() < 10, "{}", pieces.get());
    // And one that ends when it is told to.
    assert!(matches!(taken(1 << 50), Err(WalkError::Ended { .. })));
}

/// Where a change of content may leave no trace, nothing is remembered.
#[test]
fn nothing_is_remembered_of_a_file_system_in_memory() {
    let memory = Path::new("/dev/shm");
    let folder = tempfile::tempdir_in(memory).unwrap();
    fs::write(folder.path().join("a"), b"one").unwrap();
    let walk = walk(folder.path(), &["/"], &[]);
    let mut kept = Vec::new();
    remember(&walk, &mut kept, later());
    let (_, walked) = remember(&walk, &mut kept, later());
    assert_eq!(read(walked), (1, 0));
}
