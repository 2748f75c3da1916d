use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use kusabi_core::id::Digest;
use kusabi_core::inventory::{
    Comparison, ComponentKind, Difference, Inventory, InventoryError, NAME_BYTES_MAX, escape_name,
};

use super::*;

fn tree(files: &[(&[u8], &[u8])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
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
    assert!(path.ends_with("hidden"));

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
