//! A writer of artifacts for tests, right ones and wrong ones: every part can be changed before the parts around it are made.
//!
//! Nothing of the reader is used, so that a rule that is wrong there is not wrong here too.

#![expect(
    clippy::unwrap_used,
    reason = "a test whose artifact cannot be made fails there"
)]

use std::io::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use p256::ecdsa::{SigningKey, signature::Signer as _};
use sha2::{Digest as _, Sha256};

use crate::Compression;

/// Files of a tar: names and contents.
pub type Files = Vec<(String, Vec<u8>)>;

/// What an artifact is made of.
#[derive(Clone, Debug)]
pub struct Parts {
    /// The member `version`.
    pub version: Vec<u8>,
    /// The files of the header.
    pub header: Files,
    /// The files of each payload.
    pub payloads: Vec<Files>,
    /// How header and payloads are compressed.
    pub compression: Compression,
}

impl Parts {
    /// An artifact of this name for the device type `board`, with one payload `app.bin` of these bytes.
    #[must_use]
    pub fn new(name: &str, content: &[u8]) -> Self {
        Self::with_types(name, &["board"], &[("app.bin", content)])
    }

    /// An artifact for these device types with one payload of these files.
    #[must_use]
    pub fn with_types(name: &str, types: &[&str], files: &[(&str, &[u8])]) -> Self {
        let types = serde_json::to_string(types).unwrap();
        let header_info = format!(
            r#"{{"payloads":[{{"type":"single-file"}}],"artifact_provides":{{"artifact_name":"{name}"}},"artifact_depends":{{"device_type":{types}}}}}"#
        );
        Self {
            version: br#"{"format":"mender","version":3}"#.to_vec(),
            header: vec![
                (String::from("header-info"), header_info.into_bytes()),
                (
                    String::from("headers/0000/type-info"),
                    br#"{"type":"single-file"}"#.to_vec(),
                ),
                (String::from("headers/0000/meta-data"), Vec::new()),
            ],
            payloads: vec![
                files
                    .iter()
                    .map(|(name, content)| ((*name).to_owned(), content.to_vec()))
                    .collect(),
            ],
            compression: Compression::Gzip,
        }
    }

    /// The header's member.
    #[must_use]
    pub fn header_member(&self) -> Vec<u8> {
        compress(self.compression, &tar(&self.header))
    }

    /// The manifest.
    #[must_use]
    pub fn manifest(&self) -> Vec<u8> {
        let mut manifest = Vec::new();
        for (payload, files) in self.payloads.iter().enumerate() {
            for (name, content) in files {
                line(&mut manifest, content, &format!("data/{payload:04}/{name}"));
            }
        }
        let header = format!("header{}", self.compression.suffix());
        line(&mut manifest, &self.header_member(), &header);
        line(&mut manifest, &self.version, "version");
        manifest
    }

    /// All members, signed by the key of this seed if there is one.
    #[must_use]
    pub fn members(&self, seed: Option<u8>) -> Files {
        self.members_under(&self.manifest(), seed)
    }

    /// All members, under this manifest.
    #[must_use]
    pub fn members_under(&self, manifest: &[u8], seed: Option<u8>) -> Files {
        let suffix = self.compression.suffix();
        let mut members = vec![
            (String::from("version"), self.version.clone()),
            (String::from("manifest"), manifest.to_vec()),
        ];
        if let Some(seed) = seed {
            let signature = STANDARD.encode(sign(seed, manifest));
            members.push((String::from("manifest.sig"), signature.into_bytes()));
        }
        members.push((format!("header{suffix}"), self.header_member()));
        for (payload, files) in self.payloads.iter().enumerate() {
            members.push((
                format!("data/{payload:04}{suffix}"),
                compress(self.compression, &tar(files)),
            ));
        }
        members
    }

    /// The artifact, signed by the key of this seed.
    #[must_use]
    pub fn signed(&self, seed: u8) -> Vec<u8> {
        tar(&self.members(Some(seed)))
    }

    /// The artifact without a signature.
    #[must_use]
    pub fn unsigned(&self) -> Vec<u8> {
        tar(&self.members(None))
    }
}

fn line(manifest: &mut Vec<u8>, content: &[u8], name: &str) {
    for byte in Sha256::digest(content) {
        write!(manifest, "{byte:02x}").unwrap();
    }
    writeln!(manifest, "  {name}").unwrap();
}

/// The P-256 key that a seed stands for.
#[must_use]
pub fn key(seed: u8) -> SigningKey {
    SigningKey::from_slice(&[seed; 32]).unwrap()
}

/// DER of a SubjectPublicKeyInfo of P-256 up to its point.
const P256_HEAD: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// The SubjectPublicKeyInfo of the key of a seed, DER.
#[must_use]
pub fn spki(seed: u8) -> Vec<u8> {
    let point = key(seed).verifying_key().to_sec1_point(false);
    [&P256_HEAD, point.as_bytes()].concat()
}

/// The same as a PEM file.
#[must_use]
pub fn pem(seed: u8) -> String {
    pem_of(&spki(seed))
}

/// r ‖ s by the key of a seed.
#[must_use]
pub fn sign(seed: u8, message: &[u8]) -> Vec<u8> {
    let signature: p256::ecdsa::Signature = key(seed).sign(message);
    signature.to_bytes().to_vec()
}

/// A stream of this compression.
#[must_use]
pub fn compress(compression: Compression, bytes: &[u8]) -> Vec<u8> {
    match compression {
        Compression::None => bytes.to_vec(),
        Compression::Gzip => {
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        Compression::Xz => {
            let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 0);
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        Compression::Zstd => zstd::encode_all(bytes, 1).unwrap(),
    }
}

/// A tar of plain files, with its end.
#[must_use]
pub fn tar(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut tar = Vec::new();
    for (name, content) in files {
        tar.extend(entry(name, b'0', content));
    }
    tar.extend([0; 1024]);
    tar
}

/// A file, or something else, in a tar.
#[must_use]
pub fn entry(name: &str, kind: u8, content: &[u8]) -> Vec<u8> {
    let mut entry = header(name, kind, content.len() as u64).to_vec();
    entry.extend(content);
    entry.resize(entry.len().next_multiple_of(512), 0);
    entry
}

/// A header of the kind ustar.
#[must_use]
pub fn header(name: &str, kind: u8, size: u64) -> [u8; 512] {
    let mut block = [0; 512];
    put(&mut block, 0, name.as_bytes());
    put(&mut block, 100, b"0000600\x000000000\x000000000");
    put(&mut block, 124, format!("{size:011o}").as_bytes());
    put(&mut block, 136, b"00000000000");
    put(&mut block, 156, &[kind]);
    put(&mut block, 257, b"ustar\x0000");
    put(&mut block, 329, b"0000000\x000000000");
    sum(&mut block);
    block
}

/// Writes `bytes` into a header.
pub fn put(block: &mut [u8; 512], at: usize, bytes: &[u8]) {
    block
        .iter_mut()
        .skip(at)
        .zip(bytes)
        .for_each(|(to, from)| *to = *from);
}

/// Makes the sum of a header right.
pub fn sum(block: &mut [u8; 512]) {
    put(block, 148, b"        ");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    put(block, 148, format!("{sum:06o}\0 ").as_bytes());
}

/// A record of an extended header.
#[must_use]
pub fn record(key: &str, value: &str) -> Vec<u8> {
    let rest = format!(" {key}={value}\n");
    let mut length = rest.len() + 1;
    while length != rest.len() + length.to_string().len() {
        length += 1;
    }
    format!("{length}{rest}").into_bytes()
}

/// A stock device's private key, by its kind.
#[derive(Debug)]
pub enum Signer {
    /// PKCS#1 v1.5 over SHA-256.
    Rsa(Box<ring::signature::RsaKeyPair>),
    /// ECDSA over SHA-256; the key of a seed.
    P256(SigningKey),
    /// Of the body itself; the key of a seed.
    Ed25519(Box<ring::signature::Ed25519KeyPair>),
}

impl Signer {
    /// The one RSA key of the tests, of 2,048 bits. It is a test vector: everyone has it.
    #[must_use]
    pub fn rsa() -> Self {
        let key = include_bytes!("testing/rsa-2048.pk8");
        Self::Rsa(Box::new(
            ring::signature::RsaKeyPair::from_pkcs8(key).unwrap(),
        ))
    }

    /// The P-256 key of a seed.
    #[must_use]
    pub fn p256(seed: u8) -> Self {
        Self::P256(key(seed))
    }

    /// The Ed25519 key of a seed.
    #[must_use]
    pub fn ed25519(seed: u8) -> Self {
        let key = ring::signature::Ed25519KeyPair::from_seed_unchecked(&[seed; 32]);
        Self::Ed25519(Box::new(key.unwrap()))
    }

    /// Its SubjectPublicKeyInfo, DER.
    #[must_use]
    pub fn spki(&self) -> Vec<u8> {
        use ring::signature::KeyPair as _;
        match self {
            Self::Rsa(key) => rsa_spki(key.public_key().as_ref()),
            Self::P256(key) => {
                let point = key.verifying_key().to_sec1_point(false);
                [&P256_HEAD, point.as_bytes()].concat()
            }
            Self::Ed25519(key) => {
                let head = [
                    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
                ];
                [&head, key.public_key().as_ref()].concat()
            }
        }
    }

    /// The same as a PEM file.
    #[must_use]
    pub fn pem(&self) -> String {
        pem_of(&self.spki())
    }

    /// The header `X-MEN-Signature` of a body.
    #[must_use]
    pub fn sign(&self, body: &[u8]) -> String {
        let signature = match self {
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                let random = ring::rand::SystemRandom::new();
                let padding = &ring::signature::RSA_PKCS1_SHA256;
                key.sign(padding, &random, body, &mut signature).unwrap();
                signature
            }
            Self::P256(key) => {
                let signature: p256::ecdsa::Signature = key.sign(body);
                signature.to_der().as_bytes().to_vec()
            }
            Self::Ed25519(key) => key.sign(body).as_ref().to_vec(),
        };
        STANDARD.encode(signature)
    }
}

/// The SubjectPublicKeyInfo of an `RSAPublicKey`.
#[must_use]
pub fn rsa_spki(key: &[u8]) -> Vec<u8> {
    let bits = [&[0], key].concat();
    let algorithm = [
        0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00,
    ];
    der(0x30, &[&algorithm[..], &der(0x03, &bits)].concat())
}

/// An RSA key of this many bytes that nobody has: all that counts of it is its size.
#[must_use]
pub fn rsa_of(bytes: usize) -> Vec<u8> {
    let mut modulus = vec![0xff; bytes];
    modulus.insert(0, 0);
    let key = [der(0x02, &modulus), der(0x02, &[1, 0, 1])].concat();
    rsa_spki(&der(0x30, &key))
}

/// A value of DER of 128 to 65,535 bytes, or of fewer.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let [.., high, low] = length.to_be_bytes();
    let head = match (length, high) {
        (..128, _) => vec![tag, low],
        (_, 0) => vec![tag, 0x81, low],
        _ => vec![tag, 0x82, high, low],
    };
    [&head[..], content].concat()
}

/// Any SubjectPublicKeyInfo as a PEM file.
#[must_use]
pub fn pem_of(spki: &[u8]) -> String {
    let text = STANDARD.encode(spki);
    let lines: Vec<&str> = text
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
        lines.join("\n")
    )
}
