//! The expected inventory of an image is what the agent says of a device that installed it: made of ext4, SquashFS and tar images by the
//! tools that make them, and compared with the agent's walk over the files that went in, and over those that come out.

use std::{
    fs::{self, File},
    os::unix::fs::{FileExt as _, PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use kusabi_agent::inventory::{Tree as _, Walk, WalkError};
use kusabi_core::inventory::{ComponentKind, Inventory};
use kusabi_image::{Image, ImageError};

/// Runs a program that has to succeed.
fn run(program: &str, package: &str, args: &[&Path]) {
    run_for(program, package, args, &[0]);
}

/// Checks an ext4 image, which says 1 when it mended something (e2fsck(8)).
fn check_ext4(args: &str, image: &Path) {
    let args = [&words(&[args])[..], &[image]].concat();
    run_for("e2fsck", "e2fsprogs", &args, &[0, 1]);
}

/// Runs a program that has to end with one of these codes.
fn run_for(program: &str, package: &str, args: &[&Path], codes: &[i32]) {
    let done = Command::new(program)
        .args(args)
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .output();
    let done = done.unwrap_or_else(|why| {
        panic!("`{program}` cannot be run ({why}); it is of the package {package}: apt-get install {package}")
    });
    let said = String::from_utf8_lossy(&done.stderr);
    let code = done.status.code().unwrap_or(-1);
    assert!(codes.contains(&code), "{program}: {code}: {said}");
}

fn words<'a>(words: &[&'a str]) -> Vec<&'a Path> {
    words.iter().map(|word| Path::new(*word)).collect()
}

/// A root file system with something of everything.
fn tree(root: &Path) {
    for dir in ["bin", "etc/conf.d", "usr/lib", "var/log", "dev", "empty"] {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    // Empty, in a fragment, of whole blocks, of blocks and a rest, and with holes.
    let pattern = |bytes: usize| (0..bytes).map(|i| ((i * i) >> 3) as u8).collect::<Vec<_>>();
    for (name, bytes) in [
        ("etc/none", 0),
        ("etc/conf", 17),
        ("etc/conf.d/a", 4096),
        ("usr/lib/b", 131_072),
        ("usr/lib/c", 3 * 131_072 + 5),
    ] {
        fs::write(root.join(name), pattern(bytes)).unwrap();
    }
    let holes = File::create(root.join("usr/lib/holes")).unwrap();
    holes.write_all_at(b"end", 1 << 20).unwrap();
    // Names that sort otherwise by bytes than by parts, and one that is no text.
    for name in [
        "usr/lib-a",
        "usr/lib.b",
        "usr/lib0",
        "usr/a b%c",
        "usr/\u{6954}",
    ] {
        fs::write(root.join(name), name).unwrap();
    }
    fs::write(root.join("bin/app"), b"program").unwrap();
    fs::write(root.join("bin/su"), b"privileged").unwrap();
    fs::write(root.join("var/log/x"), b"noise").unwrap();
    for (name, mode) in [("bin/app", 0o755), ("bin/su", 0o4755), ("etc/conf", 0o600)] {
        fs::set_permissions(root.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    fs::hard_link(root.join("bin/app"), root.join("bin/app2")).unwrap();
    symlink("app", root.join("bin/link")).unwrap();
    symlink("/etc/shadow", root.join("etc/absolute")).unwrap();
    // Longer than what fits into an inode.
    symlink("x/".repeat(60), root.join("etc/long")).unwrap();
    for number in 0..400 {
        fs::write(
            root.join(format!("usr/lib/many-{number}")),
            format!("{number}"),
        )
        .unwrap();
    }
    let pipe = Command::new("mkfifo").arg(root.join("dev/pipe")).status();
    assert!(pipe.unwrap().success());
}

struct Made {
    _folder: tempfile::TempDir,
    root: PathBuf,
    images: Vec<PathBuf>,
}

fn make_ext4(root: &Path, image: &Path) {
    File::create(image).unwrap().set_len(8 << 20).unwrap();
    let mut args = words(&["-q", "-F", "-t", "ext4", "-d"]);
    args.extend([root, image]);
    run("mke2fs", "e2fsprogs", &args);
}

/// Changes an ext4 image by one of debugfs' commands.
fn debugfs(command: &str, image: &Path) {
    let args = [&words(&["-w", "-R", command])[..], &[image]].concat();
    run("debugfs", "e2fsprogs", &args);
}

fn make() -> Made {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let root = at("root");
    tree(&root);
    let mut images = Vec::new();
    images.push(at("ext4"));
    make_ext4(&root, &images[0]);
    for compression in ["gzip", "xz", "zstd", "lz4"] {
        let image = at(&format!("squashfs-{compression}"));
        let mut args = vec![root.as_path(), image.as_path()];
        args.extend(words(&[
            "-comp",
            compression,
            "-quiet",
            "-no-progress",
            "-all-root",
        ]));
        run("mksquashfs", "squashfs-tools", &args);
        images.push(image);
    }
    for form in ["gnu", "pax"] {
        let image = at(&format!("{form}.tar"));
        let format = format!("--format={form}");
        let mut args = words(&["--create", &format, "--file"]);
        args.push(&image);
        args.extend(words(&["--directory"]));
        args.push(&root);
        args.extend(words(&["."]));
        run("tar", "tar", &args);
        images.push(image);
    }
    Made {
        _folder: folder,
        root,
        images,
    }
}

fn walk(root: &Path) -> Walk {
    let paths = ["bin", "dev", "etc", "usr", "var", "not-there"].map(PathBuf::from);
    Walk::new(root, &paths, &["var/log".into(), "usr/lib/many-3*".into()]).unwrap()
}

fn taken(walk: &Walk, image: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    let image = Image::open(image).unwrap();
    walk.take_of(&image, &mut bytes).unwrap();
    bytes
}

#[test]
fn an_image_says_what_the_agent_says_of_what_comes_out_of_it() {
    let made = make();
    let walk = walk(&made.root);
    let mut agents = Vec::new();
    walk.take(&mut agents).unwrap();
    let inventory = Inventory::decode(&agents).unwrap();
    let count = |kind| {
        inventory
            .components()
            .filter(|one| one.kind() == kind)
            .count()
    };
    assert_eq!(count(ComponentKind::Privileged), 1);
    assert_eq!(count(ComponentKind::Program), 2);
    assert_eq!(count(ComponentKind::Link), 3);
    assert_eq!(inventory.summary().count(), 306);

    for image in &made.images {
        assert!(taken(&walk, image) == agents, "{}", image.display());
    }
    assert!(taken(&walk, &made.root) == agents);
    // The whole of it as well, where images have more than was put in: ext4's lost+found is a directory.
    let all = Walk::new(&made.root, &["/".into()], &[]).unwrap();
    let mut whole = Vec::new();
    all.take(&mut whole).unwrap();
    for image in &made.images {
        assert!(taken(&all, image) == whole, "{}", image.display());
    }

    // What comes out again.
    let out = made.root.with_file_name("out");
    let squashfs = made
        .images
        .iter()
        .find(|one| one.ends_with("squashfs-gzip"))
        .unwrap();
    let mut args = words(&["-quiet", "-no-progress", "-dest"]);
    args.extend([out.as_path(), squashfs.as_path()]);
    run("unsquashfs", "squashfs-tools", &args);
    let mut unpacked = Vec::new();
    walk.at(&out).take(&mut unpacked).unwrap();
    assert!(unpacked == agents);
}

/// Cut, an image is refused, or says what it said before. Spoiled it may say other things, for SquashFS and tar check no name and no
/// content: then every device differs. Nothing panics or hangs.
#[test]
fn a_damaged_image_is_refused() {
    let made = make();
    let walk = walk(&made.root);
    let mut agents = Vec::new();
    walk.take(&mut agents).unwrap();
    let spoiled = made.root.with_file_name("spoiled");
    let look = || {
        let opened = Image::open(&spoiled);
        let Ok(image) = opened else { return false };
        let mut bytes = Vec::new();
        match walk.take_of(&image, &mut bytes) {
            Err(_) => false,
            Ok(_) => bytes == agents,
        }
    };
    for image in &made.images {
        let whole = fs::read(image).unwrap();
        let name = image.file_name().unwrap().to_str().unwrap().to_owned();
        let mut refused = 0;
        for part in 0..16 {
            fs::write(&spoiled, &whole[..whole.len() * part / 16]).unwrap();
            refused += usize::from(!look());
        }
        // The end of a tar, and of an ext4 image, holds nothing.
        assert!(refused >= 3, "{name}: {refused}");
        let mut state = 7u32;
        for _ in 0..25 {
            let mut bytes = whole.clone();
            for _ in 0..8 {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let at = state as usize % bytes.len().min(200_000);
                bytes[at] = bytes[at].wrapping_add(1 + (state >> 24) as u8 % 255);
            }
            fs::write(&spoiled, &bytes).unwrap();
            look();
        }
    }
    for (bytes, what) in [
        (&b"text"[..], "text"),
        (&[0; 4096], "zeros"),
        (b"", "nothing"),
    ] {
        fs::write(&spoiled, bytes).unwrap();
        let refused = Image::open(&spoiled);
        assert!(matches!(refused, Err(ImageError::Unknown { .. })), "{what}");
    }
}

/// A tar that would write elsewhere, or that says two things of one path, is none to make an inventory of.
#[test]
fn a_tar_that_contradicts_itself_is_refused() {
    let made = make();
    let file = made.root.with_file_name("other.tar");
    let root = made.root.to_str().unwrap();
    let out = file.to_str().unwrap();
    for (args, why) in [
        (
            vec!["-cf", out, "-C", root, "etc/conf", "etc/conf"],
            "twice",
        ),
        (
            vec![
                "-cPf",
                out,
                "--transform=s,etc,../etc,",
                "-C",
                root,
                "etc/conf",
            ],
            "out of",
        ),
        (
            vec![
                "-cf",
                out,
                "-C",
                root,
                "--transform=s,usr/lib0,etc/conf/x,",
                "etc/conf",
                "usr/lib0",
            ],
            "no directory",
        ),
    ] {
        run(
            "tar",
            "tar",
            &words(&[&args[..], &["--hard-dereference"]].concat()),
        );
        match Image::open(&file) {
            Err(ImageError::Damaged { why: said, .. }) => assert!(said.contains(why), "{said}"),
            other => panic!("{why}: {other:?}"),
        }
    }
    let image = Image::open(&made.images[5]).unwrap();
    assert!(image.look(Path::new("bin/link/x")).is_err());
}

/// Where char is unsigned, as it is on ARM, file systems are made whose indexed directories hash names with bytes above 0x7f otherwise
/// than elsewhere. What is not found by its name there is no inventory without it.
#[test]
fn an_ext4_image_is_never_read_without_the_names_that_are_hashed_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    for dir in ["lib", "B\u{f6}se"] {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    for number in 0..400 {
        fs::write(root.join(format!("lib/\u{e4}-{number}")), "x").unwrap();
        fs::write(root.join(format!("lib/a-{number}")), "x").unwrap();
        fs::write(root.join(format!("a-{number}")), "x").unwrap();
    }
    fs::write(root.join("B\u{f6}se/miner"), "x").unwrap();
    let all = Walk::new(&root, &["/".into()], &[]).unwrap();
    let mut agents = Vec::new();
    all.take(&mut agents).unwrap();

    let image = folder.path().join("image");
    make_ext4(&root, &image);
    debugfs("set_super_value flags 1", &image);
    check_ext4("-fyD", &image);
    assert!(taken(&all, &image) == agents);
    debugfs("set_super_value flags 2", &image);
    check_ext4("-fyD", &image);
    let opened = Image::open(&image).unwrap();
    let refused = all.take_of(&opened, &mut Vec::new());
    assert!(
        matches!(refused, Err(WalkError::Lost { .. })),
        "{refused:?}"
    );
    // What is hashed alike everywhere is found.
    let lib = Walk::new(&root, &["/lib".into()], &["/lib/\u{e4}-*".into()]).unwrap();
    let mut ascii = Vec::new();
    lib.take(&mut ascii).unwrap();
    assert!(taken(&lib, &image) == ascii);
    // What the error advises.
    let args = [&words(&["-O", "^dir_index"])[..], &[&image]].concat();
    run("tune2fs", "e2fsprogs", &args);
    check_ext4("-fy", &image);
    assert!(taken(&all, &image) == agents);
}

#[test]
fn an_ext4_image_that_was_not_unmounted_is_refused() {
    let made = make();
    let walk = walk(&made.root);
    let image = &made.images[0];
    let before = taken(&walk, image);
    debugfs("feature needs_recovery", image);
    match Image::open(image) {
        Err(ImageError::Damaged { why, .. }) => {
            assert!(why.contains("not unmounted: e2fsck -fy "), "{why}");
        }
        other => panic!("{other:?}"),
    }
    check_ext4("-fy", image);
    assert!(taken(&walk, image) == before);
}

/// Fragments are kept in memory up to a bound, and read again behind it.
#[test]
fn a_squashfs_of_more_small_files_than_are_kept_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let (root, image) = (folder.path().join("root"), folder.path().join("image"));
    fs::create_dir(&root).unwrap();
    let mut state = 1u32;
    for number in 0..450 {
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        let bytes: Vec<u8> = (0..100_000 + number).map(|_| next()).collect();
        fs::write(root.join(format!("{}", number * 7919 % 450)), bytes).unwrap();
    }
    let mut args = vec![root.as_path(), image.as_path()];
    args.extend(words(&["-comp", "lz4", "-quiet", "-no-progress"]));
    run("mksquashfs", "squashfs-tools", &args);
    let all = Walk::new(&root, &["/".into()], &[]).unwrap();
    let mut agents = Vec::new();
    all.take(&mut agents).unwrap();
    assert!(taken(&all, &image) == agents);
}

/// The library panics over it.
#[test]
fn a_squashfs_directory_of_an_impossible_size_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (root, image) = (folder.path().join("root"), folder.path().join("image"));
    let many = root.join("many");
    fs::create_dir_all(&many).unwrap();
    // Its names begin behind those of another, so that the sum of both numbers is small again.
    fs::create_dir(root.join("before")).unwrap();
    fs::write(root.join("before/file"), "").unwrap();
    // A mode that nothing else has.
    fs::set_permissions(&many, fs::Permissions::from_mode(0o751)).unwrap();
    // More names than a directory without an index has.
    for number in 0..2000 {
        fs::write(many.join(format!("a-rather-long-name-{number}")), "").unwrap();
    }
    let mut args = vec![root.as_path(), image.as_path()];
    args.extend(words(&["-noI", "-quiet", "-no-progress"]));
    run("mksquashfs", "squashfs-tools", &args);
    Image::open(&image).unwrap();
    let mut bytes = fs::read(&image).unwrap();
    // An inode of the kind 8; its size stands behind kind, mode, owner, group, time, number and links.
    let extended = [8, 0, 0o751u16.to_le_bytes()[0], 0o751u16.to_le_bytes()[1]];
    let at: Vec<_> = (0..bytes.len() - 4)
        .filter(|at| bytes[*at..*at + 4] == extended)
        .collect();
    assert_eq!(at.len(), 1);
    bytes[at[0] + 20..at[0] + 24].copy_from_slice(&u32::MAX.to_le_bytes());
    fs::write(&image, bytes).unwrap();
    match Image::open(&image) {
        Err(ImageError::Damaged { why, .. }) => assert_eq!(why, "it contradicts itself"),
        other => panic!("{other:?}"),
    }
}
