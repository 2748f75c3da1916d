//! RAUC as Debian has it: its service on a D-Bus of its own, two file systems on loop devices, and a boot loader that is a script
//! (RAUC's custom backend). Plain bundles: verity would need a device mapper.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
};

use crate::{
    fleet::eventually,
    tools::{Bench, Space, needs, program, sh},
};

/// The boot loader: which slot is started next, and what is known of each.
const BACKEND: &str = r#"cd "$(dirname "$0")/boot"
case "$1" in
get-primary) cat primary ;;
set-primary) echo "$2" >primary ;;
get-state) cat "state-$2" ;;
set-state) echo "$3" >"state-$2" ;;
esac
"#;

const CONFIG: &str = r#"[system]
compatible=cam-a
bootloader=custom
bundle-formats=plain
mountprefix=FOLDER/mount
statusfile=FOLDER/rauc.status
activate-installed=false

[keyring]
path=FOLDER/keys/right.crt

[handlers]
bootloader-custom-backend=FOLDER/backend

[slot.rootfs.0]
device=LOOP_A
type=ext4
bootname=A

[slot.rootfs.1]
device=LOOP_B
type=ext4
bootname=B
"#;

struct Machine {
    bench: Bench,
    space: Space,
    service: Option<Child>,
}

impl Machine {
    fn new() -> Self {
        for (tool, package) in [
            ("rauc", "rauc"),
            ("dbus-daemon", "dbus"),
            ("mksquashfs", "squashfs-tools"),
            ("mkfs.ext4", "e2fsprogs"),
            ("losetup", "mount"),
            ("openssl", "openssl"),
        ] {
            needs(tool, package);
        }
        let policy = Path::new("/usr/share/dbus-1/system.d/de.pengutronix.rauc.conf");
        assert!(
            policy.exists(),
            "this test needs RAUC's rules for D-Bus: apt-get install rauc-service"
        );
        let mut bench = Bench::new();
        let folder = bench.folder();
        sh(
            &folder,
            "mkdir boot keys mount look make
            echo A >boot/primary; echo good >boot/state-A; echo bad >boot/state-B
            for name in right wrong; do
                openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 \
                    -subj /CN=$name -keyout keys/$name.key -out keys/$name.crt
            done
            truncate -s 8M a.img b.img
            mkdir factory; echo good factory >factory/camera
            mkfs.ext4 -q -d factory a.img; mkfs.ext4 -q b.img",
        );
        program(&folder.join("backend"), BACKEND);
        let space = Space::new(
            &folder,
            "mkdir -p /run/dbus; mount -t tmpfs bus /run/dbus
            a=$(losetup --find --show a.img); b=$(losetup --find --show b.img)
            echo $a >loop-a; echo $b >loop-b
            bus=$(dbus-daemon --system --fork --nopidfile --print-pid)",
            "kill $bus; losetup --detach $a; losetup --detach $b",
        );
        let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
        let config = CONFIG
            .replace("FOLDER", folder.to_str().unwrap())
            .replace("LOOP_A", read("loop-a").trim())
            .replace("LOOP_B", read("loop-b").trim());
        fs::write(folder.join("system.conf"), config).unwrap();
        // What runs says whether it is good.
        program(
            &folder.join("self-test"),
            r#"cd "$(dirname "$0")"
device=$(cat "loop-$(tr AB ab <booted)")
mount -o ro "$device" look || exit 9
grep -q good look/camera; works=$?
umount look
exit $works
"#,
        );
        bench.device.update_by(&format!(
            "[update]
restart = [\"/bin/true\"]
restarts = \"machine\"
boot-id = \"{folder}/boot-id\"
self-test = [\"{folder}/self-test\"]

[update.rauc]
program = \"/usr/bin/rauc\"
",
            folder = folder.display()
        ));
        bench.device = bench.device.through(&space.enter());
        let mut machine = Self {
            bench,
            space,
            service: None,
        };
        machine.start("A");
        machine
    }

    /// The machine has started this slot, and RAUC in it.
    fn start(&mut self, slot: &str) {
        self.end_service();
        let folder = self.bench.folder();
        fs::write(folder.join("booted"), slot).unwrap();
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(folder.join("rauc.log"));
        let log = log.unwrap();
        let [nsenter, space] = self.space.enter();
        let service = Command::new(nsenter)
            .args([space, "rauc", "-c"])
            .arg(folder.join("system.conf"))
            .arg(format!("--override-boot-slot={slot}"))
            .arg("service")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn();
        self.service = Some(service.unwrap());
        eventually("RAUC's service", || {
            let mut asked = Command::new(nsenter);
            asked.args([space, "rauc", "status"]);
            let asked = asked.stdout(Stdio::null()).stderr(Stdio::null()).status();
            asked.unwrap().success().then_some(())
        });
    }

    fn end_service(&mut self) {
        if let Some(mut service) = self.service.take() {
            service.kill().unwrap();
            service.wait().unwrap();
        }
    }

    /// The slot that the boot loader starts next.
    fn primary(&self) -> String {
        let primary = fs::read_to_string(self.bench.folder().join("boot/primary")).unwrap();
        primary.trim().to_owned()
    }

    /// A bundle that holds a camera, and the release of it.
    fn release(&self, version: &str, camera: &str, key: &str) -> String {
        let folder = self.bench.folder();
        sh(
            &folder,
            &format!(
                "rm -rf make; mkdir -p make/rootfs make/bundle; echo {camera} >make/rootfs/camera
                truncate -s 4M make/bundle/rootfs.ext4; mkfs.ext4 -q -d make/rootfs make/bundle/rootfs.ext4
                printf '[update]\ncompatible=cam-a\nversion={version}\n[bundle]\nformat=plain\n[image.rootfs]\nfilename=rootfs.ext4\n' >make/bundle/manifest.raucm
                rauc bundle --cert keys/{key}.crt --key keys/{key}.key make/bundle {version}.raucb"
            ),
        );
        let bundle = folder.join(format!("{version}.raucb"));
        self.bench.site.release_of(version, &bundle, "raucb")
    }

    /// What a slot holds.
    fn camera(&self, slot: &str) -> String {
        let folder = self.bench.folder();
        let image = slot.to_lowercase();
        sh(
            &folder,
            &format!("debugfs -R 'cat camera' {image}.img 2>/dev/null"),
        )
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.bench.device.kill();
        if let Some(mut service) = self.service.take() {
            // It may be gone already.
            let _ = service.kill();
            let _ = service.wait();
        }
        if std::thread::panicking() {
            let log = fs::read_to_string(self.bench.folder().join("rauc.log"));
            eprintln!("RAUC said:\n{}", log.unwrap_or_default());
        }
    }
}

#[test]
fn bundles_are_installed_tested_kept_or_rolled_back() {
    let _with_others = crate::fleet::with_others();
    let mut machine = Machine::new();
    machine.bench.device.start_as(&["check"]);
    assert_eq!(machine.bench.device.ended(), Some(0));
    machine.bench.device.activate();

    // A good one.
    let release = machine.release("2.0", "good 2.0", "right");
    let (mark, order) = machine.bench.order(&release);
    machine.bench.goes_down(mark);
    assert_eq!(machine.primary(), "B");
    machine.start("B");
    let mark = machine.bench.comes_up();
    machine.bench.ends(mark, order, "done");
    assert_eq!(
        (machine.primary(), machine.camera("B")),
        ("B".into(), "good 2.0\n".into())
    );
    let good = fs::read_to_string(machine.bench.folder().join("boot/state-B")).unwrap();
    assert_eq!(good, "good\n");

    // One whose self-test fails.
    let release = machine.release("3.0", "broken 3.0", "right");
    let (mark, order) = machine.bench.order(&release);
    machine.bench.goes_down(mark);
    assert_eq!(
        (machine.primary(), machine.camera("A")),
        ("A".into(), "broken 3.0\n".into())
    );
    machine.start("A");
    let mark = machine.bench.comes_up();
    machine.bench.goes_down(mark);
    assert_eq!(machine.primary(), "B");
    let bad = fs::read_to_string(machine.bench.folder().join("boot/state-A")).unwrap();
    assert_eq!(bad, "bad\n");
    machine.start("B");
    let mark = machine.bench.comes_up();
    machine.bench.ends(mark, order, "failed");

    // One that does not start: the boot loader has gone back by itself, and the machine is not restarted for that.
    let release = machine.release("4.0", "good 4.0", "right");
    let (mark, order) = machine.bench.order(&release);
    machine.bench.goes_down(mark);
    machine.start("B");
    let mark = machine.bench.comes_up();
    machine.bench.ends(mark, order, "failed");
    assert_eq!(machine.primary(), "B");
    assert!(machine.bench.lines(mark, "goes down").is_empty());

    // One that RAUC does not believe, though the ledger lists it: two locks, each for itself.
    let release = machine.release("5.0", "good 5.0", "wrong");
    let (mark, order) = machine.bench.order(&release);
    machine.bench.ends(mark, order, "failed");
    let said = machine.bench.lines(mark, "signature verification failed");
    assert!(
        !said.is_empty(),
        "{}",
        machine.bench.device.said(mark).join("\n")
    );
    assert_eq!(
        (machine.primary(), machine.camera("B")),
        ("B".into(), "good 2.0\n".into())
    );

    // RAUC's service is gone: that is said, and nothing else is lost.
    let release = machine.release("6.0", "good 6.0", "right");
    machine.end_service();
    let (mark, order) = machine.bench.order(&release);
    machine.bench.ends(mark, order, "failed");
    assert!(!machine.bench.lines(mark, "D-Bus").is_empty());
    machine.start("B");
    let repeated = machine.bench.order(&release);
    machine.bench.goes_down(repeated.0);
    machine.start("A");
    let mark = machine.bench.comes_up();
    machine.bench.ends(mark, repeated.1, "done");
    assert_eq!(machine.camera("A"), "good 6.0\n");
}
