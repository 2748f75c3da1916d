//! `kusabi release import`: a manifest from a Mender artifact.

use std::{
    fs::File,
    io::{self, Read, Write as _},
    path::{Path, PathBuf},
    str::FromStr,
};

use kusabi_core::{
    id::{Digest, Handle, OrgName},
    release::{Content, Label, ManifestParts, PayloadParts, TargetParts},
};
use kusabi_mender::{Artifact, ArtifactKey, Limits, Sink};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;

use super::expected::{self, Placed};
use crate::{
    artifact_key,
    connection::Connection,
    exit::Exit,
    failure::{Failure, Result},
    files::{self, Mode},
    page::{Answer, Page, grouped},
    session::Session,
};

/// Make the manifest of a release from a Mender artifact, which devices with the updater "mender" install as it is
///
/// The artifact is read strictly: sums, sizes, names and signature. Its device types become those of the release.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The artifact
    #[arg(value_name = "FILE.mender")]
    file: PathBuf,
    /// A key that may have signed the artifact: a public key (PEM), or the handle of a release key of suite 2 or of one that came with --foreign; several times for several
    #[arg(
        long = "key",
        value_name = "FILE.pem|HANDLE",
        required_unless_present = "unsigned"
    )]
    keys: Vec<Signer>,
    /// Take it whoever signed it or nobody did: then only the release's own signatures say that it is good, and stock Mender devices that check artifacts refuse it
    #[arg(long, conflicts_with = "keys")]
    unsigned: bool,
    /// How many security holes are closed up to it: devices above this number refuse it
    #[arg(long, value_name = "NUMBER")]
    counter: u64,
    /// What a device's counter rises to when it keeps the release [default: 0, so that it can go back]
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    minimum_counter: u64,
    /// Channel that it is for
    #[arg(long, value_name = "CHANNEL", default_value = "stable")]
    channel: String,
    /// Its name [default: the artifact's, up to a '-' before a digit]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Its version [default: the artifact's name from that digit on]
    #[arg(long, value_name = "VERSION")]
    version: Option<String>,
    /// The artifact's only file is the image of the root file system: what an inventory is then expected to say
    #[arg(long, conflicts_with = "roots")]
    rootfs_payload: bool,
    /// Root file system after the installation: what an inventory is then expected to say; a folder, or an ext4, SquashFS or tar image
    #[arg(long = "rootfs", value_name = "[TYPE=]FOLDER|IMAGE")]
    roots: Vec<String>,
    /// The agent's configuration on these devices: which paths it inventories. That is signed with the release, and holds there
    #[arg(long = "agent-config", value_name = "[TYPE=]FILE.toml")]
    agent_configs: Vec<String>,
    /// Organisation whose release it is [default: the profile's]
    #[arg(long, value_name = "NAME")]
    org: Option<OrgName>,
    /// Folder for the manifest
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    out: PathBuf,
}

/// A key as a person names it.
#[derive(Clone, Debug)]
enum Signer {
    File(PathBuf),
    Handle(Handle),
}

impl FromStr for Signer {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        Ok(text
            .parse()
            .map_or_else(|_| Self::File(text.into()), Self::Handle))
    }
}

#[derive(Serialize)]
struct Imported {
    file: PathBuf,
    digest: String,
    name: String,
    version: String,
    counter: u64,
    types: Vec<String>,
    artifact: String,
    artifact_bytes: u64,
    artifact_digest: String,
    modules: Vec<String>,
    scripts: usize,
    #[serde(flatten)]
    expected: Placed,
    /// The one of the keys that signed the artifact.
    #[serde(skip_serializing_if = "Option::is_none")]
    signed_by: Option<String>,
}

impl Answer for Imported {
    fn page(&self, page: &mut Page) {
        page.good("Made", &self.file.display().to_string())
            .field(
                "release",
                format!("{} {}, counter {}", self.name, self.version, self.counter),
            )
            .field("digest", &*self.digest)
            .field("for", self.types.join(", "))
            .field(
                "artifact",
                format!("{}, {} bytes", self.artifact, grouped(self.artifact_bytes)),
            )
            .field("update modules", self.modules.join(", "))
            .field("state scripts", self.scripts.to_string())
            .field(
                "artifact signed by",
                self.signed_by
                    .as_deref()
                    .unwrap_or("not looked at (--unsigned)"),
            );
        self.expected.page(page);
        page.gap()
            .text("Sign it where the release key is, then publish it:")
            .command(&format!("kusabi release sign {}", self.file.display()))
            .command(&format!(
                "kusabi release publish {}",
                self.file.with_extension("release").display()
            ));
    }
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<Exit> {
    let org = session.org(args.org.as_ref())?;
    let keys = keys(&args.keys, &org, session)?;
    let watched = args.rootfs_payload || !args.roots.is_empty();
    if !watched && !args.agent_configs.is_empty() {
        return Err(Failure::new(
            Exit::Usage,
            "--agent-config says which paths are expected, and nothing says where they lie",
        )
        .advise("add --rootfs-payload, or --rootfs FOLDER or IMAGE"));
    }
    let mut only_file = args
        .rootfs_payload
        .then(|| OnlyFile::new(&args.out))
        .transpose()?;
    let counted = (!args.unsigned).then_some(&*keys);
    let (artifact, content, signer) = match &mut only_file {
        Some(sink) => read(&args.file, counted, sink),
        None => read(&args.file, counted, &mut ()),
    }?;
    let signed_by = signer
        .and_then(|at| args.keys.get(at))
        .map(|key| match key {
            Signer::File(path) => path.display().to_string(),
            Signer::Handle(handle) => handle.to_string(),
        });
    let (name, version) = called(args, artifact.name())?;
    for device_type in artifact.device_types() {
        fits("device type", device_type)?;
    }
    let payload = args
        .file
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    fits("file", payload)?;

    let mut types = artifact.device_types().to_vec();
    types.sort();
    let mut parts = ManifestParts {
        org: org.id(),
        name: name.clone(),
        version: version.clone(),
        channel: args.channel.clone(),
        counter: args.counter,
        minimum_counter: args.minimum_counter,
        targets: types
            .iter()
            .map(|name| TargetParts {
                device_type: name.clone(),
                inventory: None,
                payloads: vec![0],
            })
            .collect(),
        payloads: vec![PayloadParts {
            name: payload.to_owned(),
            format: String::from("mender"),
            content,
            chunk_index: None,
        }],
        documents: Vec::new(),
    };
    let payload_root = only_file.as_ref().map(OnlyFile::path).transpose()?;
    let expected = expected::make(
        &expected::Wanted {
            release: &format!("{name}-{version}"),
            types: &types,
            roots: payload_root
                .as_ref()
                .map_or(&args.roots, std::slice::from_ref),
            agent_configs: &args.agent_configs,
        },
        &mut parts,
    )?;
    let bytes = parts.encode().map_err(|why| {
        Failure::new(
            Exit::Usage,
            format!("{name} {version} cannot be a release: {why}"),
        )
    })?;
    files::make_folder(&args.out)?;
    let file = args.out.join(format!("{name}-{version}.manifest"));
    files::refuse_existing(&file)?;
    let expected = expected.place(&args.out)?;
    // Last: a manifest is there only when what it names beside the payload is.
    files::create(&file, &bytes, Mode::Public)?;
    session.output().say(&Imported {
        file,
        digest: Digest::of(&bytes).to_string(),
        name,
        version,
        counter: args.counter,
        types,
        artifact: artifact.name().to_owned(),
        artifact_bytes: content.size(),
        artifact_digest: content.digest().to_string(),
        modules: artifact
            .payloads()
            .iter()
            .map(|payload| payload.module.clone().unwrap_or_else(|| "none".to_owned()))
            .collect(),
        scripts: artifact.scripts().len(),
        expected,
        signed_by,
    })?;
    Ok(Exit::Ok)
}

/// The keys that count, in their order.
fn keys(named: &[Signer], org: &OrgName, session: &Session) -> Result<Vec<ArtifactKey>> {
    let mut connection = None;
    let mut keys = Vec::new();
    for signer in named {
        keys.push(match signer {
            Signer::File(path) => artifact_key::read(path)?.1,
            Signer::Handle(handle) => {
                let connection = match &connection {
                    Some(open) => open,
                    None => connection.insert(Connection::open(session)?),
                };
                artifact_key::of_record(connection, handle, org)?
            }
        });
    }
    Ok(keys)
}

/// Reads the artifact once: what it is, what its bytes are, and which of the keys that count signed it. Of an artifact that none of them
/// signed nothing behind the signature is read: whoever wrote that is a stranger.
fn read(
    path: &Path,
    keys: Option<&[ArtifactKey]>,
    sink: &mut impl Sink,
) -> Result<(Artifact, Content, Option<usize>)> {
    let mut hashed = Hashed {
        input: File::open(path).map_err(|error| Failure::io("read", path, &error))?,
        hasher: Sha256::new(),
    };
    let failed = |exit, why: &dyn std::fmt::Display| {
        Failure::new(exit, format!("{}: {why}", path.display()))
    };
    let opened = kusabi_mender::open(&mut hashed, &Limits::default())
        .map_err(|why| failed(Exit::File, &why))?;
    let signer = keys
        .map(|keys| opened.manifest().verify(keys))
        .transpose()
        .map_err(|why| failed(Exit::Negative, &why))?;
    let artifact = opened.read(sink).map_err(|why| failed(Exit::File, &why))?;
    let digest = Digest::new(hashed.hasher.finalize().into());
    let content = Content::new(artifact.bytes(), digest).map_err(|why| failed(Exit::File, &why))?;
    Ok((artifact, content, signer))
}

/// The only file of an artifact, as an image that can be read; gone with this value.
struct OnlyFile {
    image: NamedTempFile,
    files: usize,
}

impl OnlyFile {
    /// In a folder that has room for it, as it will hold the release.
    fn new(folder: &Path) -> Result<Self> {
        files::make_folder(folder)?;
        let image = NamedTempFile::new_in(folder)
            .map_err(|error| Failure::io("written", folder, &error))?;
        Ok(Self { image, files: 0 })
    }

    /// Where it lies, once the artifact was read.
    fn path(&self) -> Result<String> {
        if self.files != 1 {
            return Err(Failure::new(
                Exit::Usage,
                format!(
                    "the artifact has {} files, and --rootfs-payload wants the only one",
                    self.files
                ),
            )
            .advise("name the root file system: --rootfs FOLDER or IMAGE"));
        }
        let path = self.image.path();
        path.to_str().map(ToOwned::to_owned).ok_or_else(|| {
            Failure::new(
                Exit::Usage,
                format!("{}: this folder's name is no text", path.display()),
            )
        })
    }
}

impl Sink for OnlyFile {
    fn begin(&mut self, _: usize, _: &str, _: u64) -> io::Result<()> {
        self.files += 1;
        Ok(())
    }

    fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.files == 1 {
            self.image.write_all(bytes)?;
        }
        Ok(())
    }
}

struct Hashed {
    input: File,
    hasher: Sha256,
}

impl Read for Hashed {
    fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        let count = self.input.read(to)?;
        self.hasher.update(to.get(..count).unwrap_or_default());
        Ok(count)
    }
}

/// Name and version of the release.
fn called(args: &Args, artifact: &str) -> Result<(String, String)> {
    let apart = apart(artifact);
    let name = args
        .name
        .clone()
        .or_else(|| apart.map(|(name, _)| name.to_owned()));
    let version = args
        .version
        .clone()
        .or_else(|| apart.map(|(_, version)| version.to_owned()));
    let (Some(name), Some(version)) = (name, version) else {
        return Err(Failure::new(
            Exit::Usage,
            format!("the artifact's name {artifact:?} does not say where a version begins"),
        )
        .advise("say it: --name NAME --version VERSION"));
    };
    fits("name", &name)?;
    fits("version", &version)?;
    Ok((name, version))
}

/// `NAME-VERSION`, where the version is what follows the first '-' before a digit.
fn apart(artifact: &str) -> Option<(&str, &str)> {
    artifact
        .match_indices('-')
        .map(|(at, _)| (&artifact[..at], &artifact[at + 1..]))
        .find(|(name, version)| {
            !name.is_empty() && version.starts_with(|first: char| first.is_ascii_digit())
        })
}

/// Labels have fewer characters than what stands in artifacts.
fn fits(what: &str, text: &str) -> Result<()> {
    Label::new(text).map(|_| ()).map_err(|_| {
        Failure::new(
            Exit::Usage,
            format!("the {what} {text:?} cannot stand in a release: it has 1 to 64 characters of A-Z, a-z, 0-9, '.', '_', '+', '-', a letter or digit first"),
        )
        .advise(match what {
            "name" | "version" => "say another one: --name NAME --version VERSION",
            "file" => "call the file otherwise",
            _ => "make the artifact for a device type with such a name: mender-artifact write -t TYPE",
        })
    })
}

#[cfg(test)]
mod tests {
    use super::apart;

    #[test]
    fn an_artifacts_name_is_taken_apart_before_its_first_number() {
        for (artifact, parts) in [
            ("app-1.2.3", Some(("app", "1.2.3"))),
            ("my-app-2024-01-05", Some(("my-app", "2024-01-05"))),
            ("app-1.2-rc1", Some(("app", "1.2-rc1"))),
            ("app", None),
            ("app-", None),
            ("-1", None),
            ("release-v1", None),
        ] {
            assert_eq!(apart(artifact), parts, "{artifact}");
        }
    }
}
