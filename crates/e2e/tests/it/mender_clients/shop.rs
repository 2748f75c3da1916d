//! A site that serves stock Mender devices over TLS, what its people make for them, and the devices: Debian's `mender-client`, each
//! with a file tree of its own where it wants one.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Output},
    time::Duration,
};

use rustix::process::Signal;
use serde_json::Value;

use crate::{
    fleet::{PATIENCE, Site, eventually},
    heard::Heard,
    tools::{Space, needs, program, sh},
};

/// What every device says beside its serial.
const MAC: &str = "02:00:00:00:00:01";

/// The site and its people.
pub(super) struct Shop {
    pub(super) site: Site,
    /// What devices are told to be its address.
    pub(super) url: String,
}

/// An artifact that is made.
pub(super) struct Making<'a> {
    pub(super) name: &'a str,
    pub(super) of_type: &'a str,
    /// What the camera of it says; one that holds `random` gets four MiB of it, too.
    pub(super) camera: &'a str,
    /// Who signs it: `ec`, `rsa`, `wrong`, or nobody.
    pub(super) key: &'a str,
    /// A state script of it: its name and what it does.
    pub(super) script: Option<(&'a str, &'a str)>,
}

impl Shop {
    /// With release keys `ec` and `rsa` for artifacts. Devices reach it under `url`, else at its own address.
    pub(super) fn new(url: Option<&str>) -> Self {
        for (tool, package) in [
            ("mender", "mender-client"),
            ("mender-artifact", "mender-artifact"),
            ("openssl", "openssl"),
        ] {
            needs(tool, package);
        }
        let mut told = String::new();
        let site = Site::found_with(|place, host| {
            sh(
                &place.path(""),
                &format!(
                    "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj /CN=mender \
                        -addext subjectAltName=IP:{host},IP:127.0.0.1 -keyout tls.key -out tls.crt
                    mkdir keys
                    for name in ec wrong; do openssl ecparam -name prime256v1 -genkey -noout -out keys/$name.key; done
                    openssl genrsa -traditional -out keys/rsa.key 3072
                    for name in ec rsa wrong; do openssl pkey -in keys/$name.key -pubout -out keys/$name.pub; done"
                ),
            );
            told = url.map_or_else(|| format!("https://{host}:7043"), str::to_owned);
            format!(
                "--mender-listen {host}:7043 --mender-url {told} --mender-tls-chain tls.crt --mender-tls-key tls.key"
            )
        });
        site.operator("org art --sign 1 --foreign keys/ec.pub --foreign keys/rsa.pub");
        Self { site, url: told }
    }

    /// Makes an artifact that puts a camera into /srv, for the package's own update module; its file.
    pub(super) fn artifact(&self, making: &Making<'_>) -> PathBuf {
        let Making {
            name,
            of_type,
            camera,
            key,
            script,
        } = making;
        let folder = self.site.place.path("");
        let key = match *key {
            "" => String::new(),
            key => format!("-k keys/{key}.key"),
        };
        let mut more = String::new();
        if let Some((state, does)) = script {
            program(&folder.join(state), does);
            more = format!("-s {state}");
        }
        let random = if camera.contains("random") {
            "head -c 4M /dev/urandom >>make/camera"
        } else {
            ""
        };
        sh(
            &folder,
            &format!(
                "rm -rf make; mkdir make; echo {camera} >make/camera; {random}
                printf %s /srv >make/dest_dir; printf camera >make/filename; printf 644 >make/permissions
                mender-artifact write module-image -T single-file -t {of_type} -n {name} -o {name}.mender {key} {more} \
                    -f make/dest_dir -f make/filename -f make/permissions -f make/camera"
            ),
        );
        folder.join(format!("{name}.mender"))
    }

    /// Makes an artifact, and the release of it, signed and published; the release's file.
    pub(super) fn release(&self, making: &Making<'_>) -> String {
        self.artifact(making);
        let Making { name, key, .. } = making;
        self.site.operator(&format!(
            "release import {name}.mender --key keys/{key}.pub --counter 0"
        ));
        self.site.operator(&format!("release sign {name}.manifest"));
        self.site
            .operator(&format!("release publish {name}.release"));
        format!("{name}.release")
    }

    /// A stock device of this type that installs what this key signed. It is not started yet.
    pub(super) fn device(&self, serial: &str, of_type: &str, key: &str) -> Stock {
        let folder = self.site.place.path(format!("stock/{serial}"));
        sh(
            &self.site.place.path(""),
            &format!(
                "mkdir -p stock/{serial}; cd stock/{serial}; mkdir etc identity inventory data srv; echo factory >srv/camera
                cp ../../tls.crt etc/server.crt; cp ../../keys/{key}.pub etc/verify.pub
                echo artifact_name=factory >etc/artifact_info; echo device_type={of_type} >data/device_type"
            ),
        );
        let stock = Stock {
            serial: serial.to_owned(),
            id: String::new(),
            space: Space::new(
                &folder,
                "mount --bind etc /etc/mender
                mount --bind identity /usr/share/mender/identity; mount --bind inventory /usr/share/mender/inventory
                mount --bind srv /srv; mount -t tmpfs mender /var/lib; mkdir /var/lib/mender; mount --bind data /var/lib/mender",
                "",
            ),
            heard: Heard::default(),
            folder,
        };
        stock.configure(&self.url, "");
        let says = format!("echo mac={MAC}; echo sn={serial}");
        program(&stock.folder.join("identity/mender-device-identity"), &says);
        let says = "echo kernel=6.1; echo disk=sda; echo disk=sdb";
        program(&stock.folder.join("inventory/mender-inventory-test"), says);
        stock
    }

    /// Those who wait to be accepted, by serial, with the digest of their keys.
    pub(super) fn waiting(&self) -> Vec<(String, String)> {
        let listed = self.site.operator("mender list");
        let devices = listed["devices"].as_array().unwrap().iter();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        devices
            .map(|device| {
                let key = &device["auth_sets"][0]["fingerprint"];
                (text(&device["identity"]["sn"]), text(key))
            })
            .collect()
    }

    /// Vouches for a device that has not asked yet and has a key already.
    pub(super) fn vouch(&self, stock: &mut Stock) {
        let serial = &stock.serial;
        sh(
            &stock.folder,
            "openssl pkey -in data/own.key -pubout -out own.pub",
        );
        let vouched = self.site.operator(&format!(
            "mender preauthorize stock/{serial}/own.pub --identity mac={MAC} --identity sn={serial}"
        ));
        stock.id = vouched["id"].as_str().unwrap().to_owned();
    }

    /// Waits until a device that is served has told what it is.
    pub(super) fn told(&self, stock: &Stock) {
        eventually(&format!("{} says what it is", stock.serial), || {
            let shown = self.site.shown(&stock.id);
            shown["type"].is_string().then_some(())
        });
    }

    /// Waits until it asks, accepts it, and waits until it has told what it is.
    pub(super) fn accept(&self, stock: &mut Stock) {
        let serial = &stock.serial;
        eventually(&format!("{serial} asks"), || {
            let waiting = self.waiting();
            waiting.iter().any(|(who, _)| who == serial).then_some(())
        });
        let accepted = self.site.operator(&format!("mender accept {serial}"));
        stock.id = accepted["id"].as_str().unwrap().to_owned();
        self.told(stock);
    }

    /// Orders a release for a device; the order.
    pub(super) fn order(&self, stock: &Stock, release: &str) -> u64 {
        self.site
            .order(&format!("update {} --release {release}", stock.id))
    }

    /// Waits until an order has ended; how, and why.
    pub(super) fn end(&self, stock: &Stock, order: u64) -> (String, String) {
        let what = format!("the end of order {order} at {}", stock.serial);
        let event = eventually(&what, || {
            let shown = self.site.shown(&stock.id);
            let mut events = shown["events"].as_array().unwrap().iter();
            events
                .find(|event| {
                    event["kind"] == "order-answered" && event["detail"]["order"] == order
                })
                .cloned()
        });
        let text = |name: &str| {
            event["detail"][name]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        (text("outcome"), text("reason"))
    }

    /// Waits until a device has sent the log of an order that failed.
    pub(super) fn log(&self, stock: &Stock, order: u64) -> String {
        let command = format!("device log {} {order}", stock.id);
        eventually("the log, which follows the failure", || {
            let ran = self.site.run(&command);
            (ran.code() == 0).then(|| ran.json()["log"].as_str().unwrap().to_owned())
        })
    }

    /// Runs `mender-cli` against the site, at home in its folder.
    pub(super) fn mender_cli(&self, arguments: &[&str]) -> Output {
        Command::new("mender-cli")
            .arg("--server")
            .arg(format!("http://{}", self.site.admin))
            .args(arguments)
            .current_dir(self.site.place.path(""))
            .env("HOME", self.site.place.path(""))
            .output()
            .unwrap()
    }
}

/// A stock device.
pub(super) struct Stock {
    pub(super) serial: String,
    /// As the server calls it, once it was accepted.
    pub(super) id: String,
    pub(super) folder: PathBuf,
    space: Space,
    heard: Heard,
}

impl Stock {
    /// Writes its configuration, with more members.
    pub(super) fn configure(&self, url: &str, more: &str) {
        let conf = format!(
            r#"{{"ServerURL":"{url}","ServerCertificate":"/etc/mender/server.crt","ArtifactVerifyKey":"/etc/mender/verify.pub",
            "UpdatePollIntervalSeconds":1,"InventoryPollIntervalSeconds":5,"RetryPollIntervalSeconds":1,{more}
            "DeviceTypeFile":"/var/lib/mender/device_type","UpdateLogPath":"/var/lib/mender","DBus":{{"Enabled":false}}}}"#
        );
        fs::write(self.folder.join("etc/mender.conf"), conf).unwrap();
    }

    /// Has it show itself with a key that was made for it: what `openssl` is told to make it.
    pub(super) fn keyed(&self, url: &str, make: &str) {
        sh(&self.folder, &format!("openssl {make} -out data/own.key"));
        let key = r#""Security":{"AuthPrivateKey":"/var/lib/mender/own.key"},"#;
        self.configure(url, key);
    }

    /// SHA-256 of its public key.
    pub(super) fn fingerprint(&self) -> String {
        let said = sh(
            &self.folder,
            "key=data/own.key; [ -e $key ] || key=data/mender-agent.pem
            openssl pkey -in $key -pubout -outform DER | sha256sum",
        );
        said.split(' ').next().unwrap().to_owned()
    }

    /// A command in its file tree.
    pub(super) fn command(&self, program: &str) -> Command {
        let through = self.space.enter();
        let mut command = Command::new(through[0]);
        command.args(&through[1..]).arg(program);
        command
    }

    pub(super) fn start(&mut self) {
        let mut command = self.command("mender");
        command.args(["--no-syslog", "daemon"]);
        self.heard.start(&mut command);
    }

    pub(super) fn signal(&self, signal: Signal) {
        self.heard.signal(signal);
    }

    pub(super) fn mark(&self) -> usize {
        self.heard.mark()
    }

    /// What it said from `mark` on.
    pub(super) fn said(&self, mark: usize) -> String {
        self.heard.said(mark).join("\n")
    }

    /// Waits until it says something with this in it, from `mark` on.
    pub(super) fn hear(&self, mark: usize, with: &str) -> String {
        self.hear_within(mark, with, PATIENCE)
    }

    pub(super) fn hear_within(&self, mark: usize, with: &str, within: Duration) -> String {
        let heard = self
            .heard
            .hear_within(mark, |line| line.contains(with), within);
        heard.unwrap_or_else(|| panic!("{} never said `{with}`", self.serial))
    }

    /// What its camera says.
    pub(super) fn camera(&self) -> String {
        let camera = fs::read(self.folder.join("srv/camera")).unwrap();
        let line = camera.split(|byte| *byte == b'\n').next();
        String::from_utf8(line.unwrap().to_vec()).unwrap()
    }
}

impl Drop for Stock {
    fn drop(&mut self) {
        self.heard.show_last(&self.serial);
    }
}
