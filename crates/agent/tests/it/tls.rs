//! The daemon over TLS, with an owner's own authority. `cargo test -p kusabi-agent --features tls`.

use std::net::TcpStream;
use std::sync::Arc;

use kusabi_agent::daemon::{Daemon, DaemonError, Once, Stop};
use kusabi_core::protocol::reply::Task;
use kusabi_core::protocol::request::OutcomeCode;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::crypto::ring;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::daemon::Site;
use crate::server::Served;

/// An owner's authority.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap());
        Self(issuer.unwrap())
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    /// A server whose certificate is for this address or name, as the changes leave it.
    fn serves(&self, name: &str, change: impl Fn(&mut CertificateParams)) -> Served {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        change(&mut params);
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let secret = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], secret);
        let config = Arc::new(config.unwrap());
        Served::start_over("https", move |shared, stream: &TcpStream| {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            shared.serve(StreamOwned::new(connection, stream))
        })
    }
}

/// A device of this server that trusts these authorities.
fn device(server: Served, roots: &str) -> Site {
    let mut site = Site::of(server);
    site.put("ca.pem", roots.as_bytes(), 0o644);
    site.more = format!("ca = {:?}", site.path("ca.pem"));
    site
}

#[test]
fn a_device_lives_over_tls_with_its_owners_authority() {
    let (owner, other) = (Authority::new(), Authority::new());
    let site = device(
        owner.serves("127.0.0.1", |_| {}),
        &(other.pem() + &owner.pem()),
    );
    assert!(site.server.url.starts_with("https://"));
    assert_eq!(site.once(), Once::Done, "{}", site.said());
    let release = site.release("2", &[&b"good "[..], &[7; 300_000]].concat());
    let order = site.order(Task::Update(release));
    assert_eq!(site.rounds(), Once::Done, "{}", site.said());
    assert_eq!(site.outcome(order), Some(OutcomeCode::Done));
    assert!(!site.server.world().shop.reports[&0].is_empty());
}

#[test]
fn a_server_with_another_certificate_is_not_spoken_to() {
    let (owner, other) = (Authority::new(), Authority::new());
    let past = |params: &mut CertificateParams| params.not_after = date_time_ymd(2020, 1, 1);
    let future = |params: &mut CertificateParams| params.not_before = date_time_ymd(4000, 1, 1);
    for (site, said) in [
        (
            device(owner.serves("127.0.0.1", |_| {}), &other.pem()),
            "`server.ca` names the file",
        ),
        // Without the key Mozilla's list counts, on which the owner is not.
        (
            Site::of(owner.serves("127.0.0.1", |_| {})),
            "`server.ca` names the file",
        ),
        (
            device(owner.serves("127.0.0.2", |_| {}), &owner.pem()),
            "for the name or address",
        ),
        (
            device(owner.serves("127.0.0.1", past), &owner.pem()),
            "clock is wrong",
        ),
        (
            device(owner.serves("127.0.0.1", future), &owner.pem()),
            "clock is wrong",
        ),
    ] {
        assert_eq!(site.once(), Once::Unreachable, "{}", site.said());
        assert!(site.said().contains(said), "{said}: {}", site.said());
        assert_eq!(site.server.count("/"), 0, "nothing was asked");
    }
}

#[test]
fn a_file_that_names_nobody_is_told_at_the_start() {
    let owner = Authority::new();
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let cut = &owner.pem()[..200];
    for (roots, said) in [
        ("", "no certificate (PEM)"),
        ("a page of text\n", "no certificate (PEM)"),
        (cut, "is not PEM"),
        (broken, "its certificate 1 cannot be used"),
        (&(owner.pem() + broken), "its certificate 2 cannot be used"),
    ] {
        let site = device(owner.serves("127.0.0.1", |_| {}), roots);
        let why = Daemon::check(&site.config(0)).unwrap_err().to_string();
        assert!(why.contains(said) && why.contains("ca.pem"), "{why}");
        let daemon = Daemon::open_with(site.config(0), site.log()).unwrap();
        let why = daemon.once(&Stop::new()).unwrap_err();
        assert!(matches!(why, DaemonError::Ca(_)), "{why}");
    }
    let mut site = Site::of(owner.serves("127.0.0.1", |_| {}));
    site.more = String::from("ca = \"/nowhere/ca.pem\"");
    let why = Daemon::check(&site.config(0)).unwrap_err().to_string();
    assert!(why.contains("/nowhere/ca.pem: No such file"), "{why}");
}
