//! SWUpdate as Debian has it, with its handler for files: two slots that are directories, and a boot loader that is a script.

use std::fs;

use crate::tools::{Bench, needs, program, sh};

/// The boot loader: `booted` is the slot that runs, `next` the one that the next start starts.
const BOOT: &str = r#"cd "$(dirname "$0")"
case "$1" in
current) cat booted ;;
activate) echo "$2" >next ;;
mark-good) echo "$2" >good ;;
esac
"#;

struct Machine {
    bench: Bench,
}

impl Machine {
    fn new() -> Self {
        for (tool, package) in [
            ("swupdate", "swupdate"),
            ("cpio", "cpio"),
            ("openssl", "openssl"),
        ] {
            needs(tool, package);
        }
        let mut bench = Bench::new();
        let folder = bench.folder();
        sh(
            &folder,
            "mkdir keys sockets slots slots/a slots/b; echo good factory >slots/a/camera
            echo a >booted; echo a >next
            for name in right wrong; do
                openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj /CN=$name \
                    -addext extendedKeyUsage=emailProtection -keyout keys/$name.key -out keys/$name.crt
            done",
        );
        program(&folder.join("boot"), BOOT);
        let test = r#"cd "$(dirname "$0")"; grep -q good "slots/$(cat booted)/camera""#;
        program(&folder.join("self-test"), test);
        bench.device.update_by(&format!(
            r#"[update]
restart = ["/bin/true"]
restarts = "machine"
boot-id = "{folder}/boot-id"
self-test = ["{folder}/self-test"]

[update.swupdate]
options = ["-H", "cam-a:1.0", "-k", "{folder}/keys/right.crt"]
select-a = "stable,a"
select-b = "stable,b"
current = ["{folder}/boot", "current"]
activate = ["{folder}/boot", "activate", "{{slot}}"]
mark-good = ["{folder}/boot", "mark-good", "{{slot}}"]
"#,
            folder = folder.display()
        ));
        // SWUpdate's sockets have one name on a machine.
        let sockets = format!("TMPDIR={}/sockets", folder.display());
        bench.device = bench.device.through(&["env", &sockets]);
        Self { bench }
    }

    fn start(&self, slot: &str) {
        fs::write(self.bench.folder().join("booted"), slot).unwrap();
    }

    fn read(&self, name: &str) -> String {
        let text = fs::read_to_string(self.bench.folder().join(name)).unwrap();
        text.trim().to_owned()
    }

    /// An update file that holds a camera for either slot, and the release of it.
    fn release(&self, version: &str, camera: &str, key: &str) -> String {
        let folder = self.bench.folder();
        sh(
            &folder,
            &format!(
                r#"top=$PWD; rm -rf make; mkdir make; cd make; echo {camera} >camera
                sum=$(sha256sum camera | cut -d' ' -f1)
                slot() {{ echo "$1: {{ files: ( {{ filename = \"camera\"; path = \"$top/slots/$1/camera\"; sha256 = \"$sum\"; }} ); }};"; }}
                printf 'software = {{ version = "{version}"; hardware-compatibility: [ "1.0" ]; stable: {{ %s %s }}; }}\n' "$(slot a)" "$(slot b)" >sw-description
                openssl cms -sign -in sw-description -out sw-description.sig -signer ../keys/{key}.crt -inkey ../keys/{key}.key -outform DER -nosmimecap -binary
                printf 'sw-description\nsw-description.sig\ncamera\n' | cpio --quiet -o -H crc >../{version}.swu"#
            ),
        );
        let file = folder.join(format!("{version}.swu"));
        self.bench.site.release_of(version, &file, "swu")
    }
}

#[test]
fn update_files_are_installed_tested_kept_or_rolled_back() {
    let _with_others = crate::fleet::with_others();
    let mut machine = Machine::new();
    machine.bench.device.start_as(&["check"]);
    assert_eq!(machine.bench.device.ended(), Some(0));
    machine.bench.device.activate();

    let release = machine.release("2.0", "good 2.0", "right");
    let (mark, order) = machine.bench.order(&release);
    machine.bench.goes_down(mark);
    assert_eq!(
        (machine.read("next"), machine.read("slots/b/camera")),
        ("b".into(), "good 2.0".into())
    );
    machine.start("b");
    let mark = machine.bench.comes_up();
    machine.bench.ends(mark, order, "done");
    assert_eq!(machine.read("good"), "b");

    let release = machine.release("3.0", "broken 3.0", "right");
    let (mark, order) = machine.bench.order(&release);
    machine.bench.goes_down(mark);
    machine.start("a");
    let mark = machine.bench.comes_up();
    machine.bench.goes_down(mark);
    assert_eq!(
        (machine.read("next"), machine.read("good")),
        ("b".into(), "b".into())
    );
    machine.start("b");
    let mark = machine.bench.comes_up();
    machine.bench.ends(mark, order, "failed");

    // One that SWUpdate does not believe.
    let release = machine.release("4.0", "good 4.0", "wrong");
    let (mark, order) = machine.bench.order(&release);
    machine.bench.ends(mark, order, "failed");
    let said = machine
        .bench
        .lines(mark, "Authentication of all signatures failed");
    assert!(
        !said.is_empty(),
        "{}",
        machine.bench.device.said(mark).join("\n")
    );
    let left = (
        machine.read("slots/a/camera"),
        machine.read("slots/b/camera"),
    );
    assert_eq!(left, ("broken 3.0".into(), "good 2.0".into()));
}
