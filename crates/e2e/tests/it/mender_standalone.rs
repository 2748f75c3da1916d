//! Mender's client as Debian has it, without Mender's server: the agent has it install, commit and roll back. The update module
//! is the package's own `single-file`.

use std::fs;

use crate::tools::{Bench, Space, needs, program, sh};

struct Machine {
    bench: Bench,
    /// The client's files stand where it is compiled to look for them.
    _space: Space,
}

impl Machine {
    fn new() -> Self {
        for (tool, package) in [
            ("mender", "mender-client"),
            ("mender-artifact", "mender-artifact"),
            ("openssl", "openssl"),
        ] {
            needs(tool, package);
        }
        let mut bench = Bench::new();
        let folder = bench.folder();
        sh(
            &folder,
            "mkdir keys app; echo good factory >app/camera
            for name in right wrong; do
                openssl ecparam -name prime256v1 -genkey -noout -out keys/$name.key
                openssl ec -in keys/$name.key -pubout -out keys/$name.pub
            done",
        );
        let space = Space::new(
            &folder,
            r#"mkdir -p /etc/mender; mount -t tmpfs mender /etc/mender; mount -t tmpfs mender /var/lib; mkdir /var/lib/mender
            echo artifact_name=factory >/etc/mender/artifact_info
            echo device_type=cam-a >/var/lib/mender/device_type
            cp keys/right.pub /etc/mender/verify.pub
            echo '{"ArtifactVerifyKey":"/etc/mender/verify.pub","DeviceTypeFile":"/var/lib/mender/device_type","DBus":{"Enabled":false}}' >/etc/mender/mender.conf"#,
            "",
        );
        let test = r#"cd "$(dirname "$0")"; grep -q good app/camera"#;
        program(&folder.join("self-test"), test);
        bench.device.update_by(&format!(
            r#"[update]
restart = ["/bin/true"]
restarts = "service"
self-test = ["{folder}/self-test"]

[update.mender]
program = "/usr/bin/mender"
options = ["--no-syslog"]
"#,
            folder = folder.display()
        ));
        bench.device = bench.device.through(&space.enter());
        Self {
            bench,
            _space: space,
        }
    }

    fn camera(&self) -> String {
        fs::read_to_string(self.bench.folder().join("app/camera")).unwrap()
    }

    /// An artifact that holds a camera, and the release of it.
    fn release(&self, version: &str, camera: &str, key: &str) -> String {
        let folder = self.bench.folder();
        sh(
            &folder,
            &format!(
                "rm -rf make; mkdir make; echo {camera} >make/camera
                printf %s $PWD/app >make/dest_dir; printf camera >make/filename; printf 644 >make/permissions
                mender-artifact write module-image -T single-file -t cam-a -n {version} -o {version}.mender -k keys/{key}.key \
                    -f make/dest_dir -f make/filename -f make/permissions -f make/camera"
            ),
        );
        let artifact = folder.join(format!("{version}.mender"));
        self.bench.site.release_of(version, &artifact, "mender")
    }
}

#[test]
fn artifacts_are_installed_tested_committed_or_rolled_back() {
    let _with_others = crate::fleet::with_others();
    let mut machine = Machine::new();
    machine.bench.device.start_as(&["check"]);
    assert_eq!(machine.bench.device.ended(), Some(0));
    machine.bench.device.activate();

    let release = machine.release("2.0", "good 2.0", "right");
    let (mark, order) = machine.bench.order(&release);
    machine.bench.ends(mark, order, "done");
    assert_eq!(machine.camera(), "good 2.0\n");

    let release = machine.release("3.0", "broken 3.0", "right");
    let (mark, order) = machine.bench.order(&release);
    machine.bench.ends(mark, order, "failed");
    assert_eq!(machine.camera(), "good 2.0\n");

    // One that Mender does not believe.
    let release = machine.release("4.0", "good 4.0", "wrong");
    let (mark, order) = machine.bench.order(&release);
    machine.bench.ends(mark, order, "failed");
    let said = machine.bench.lines(mark, "signer: verification failed");
    assert!(
        !said.is_empty(),
        "{}",
        machine.bench.device.said(mark).join("\n")
    );
    assert_eq!(machine.camera(), "good 2.0\n");
}
