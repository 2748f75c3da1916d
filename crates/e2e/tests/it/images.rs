//! The expected inventory of an image is what the agent says of a device that installed it: made of ext4, SquashFS and tar images by the
//! tools that make them, and compared with the agent's walk over the files that went in, and over those that come out.

use std::{
    fs::{self, File},
    os::unix::fs::{FileExt as _, PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use kusabi_agent::inventory::{Tree as _, Walk};
use kusabi_core::inventory::{ComponentKind, Inventory};
use kusabi_image::{Image, ImageError};

/// Runs a program that has to succeed.
fn run(program: &str, package: &str, args: &[&Path]) {
    let done = Command::new(program)
        .args(args)
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .output();
    let done = done.unwrap_or_else(|why| {
        panic!("`{program}` cannot be run ({why}); it is of the package {package}: apt-get install {package}")
    });
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{program}: {said}");
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

fn make() -> Made {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let root = at("root");
    tree(&root);
    let mut images = Vec::new();
    let image = at("ext4");
    File::create(&image).unwrap().set_len(8 << 20).unwrap();
    let mut args = words(&["-q", "-F", "-t", "ext4", "-d"]);
    args.extend([root.as_path(), image.as_path()]);
    run("mke2fs", "e2fsprogs", &args);
    images.push(image);
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
