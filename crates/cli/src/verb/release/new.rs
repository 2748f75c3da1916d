//! `kusabi release new`: a manifest from the files of a release.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use kusabi_api::sbom;
use kusabi_core::{
    id::{Digest, OrgName},
    release::{Content, Label, ManifestError, ManifestParts, PayloadParts, TargetParts},
};
use serde::Serialize;

use super::{
    chunks::{self, Packed, Packing},
    expected::{self, Placed, for_type, within},
};
use crate::{
    digest::digest_of_file,
    exit::Exit,
    failure::{Failure, Result},
    files::{self, Mode},
    page::{Answer, Page, grouped},
    session::Session,
};

/// Make the manifest of a release from its files; nothing is signed and nothing is sent
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Its name; devices and people see it
    #[arg(long, value_name = "NAME")]
    name: String,
    /// Its version, for people: no rule compares it
    #[arg(long, value_name = "VERSION")]
    version: String,
    /// How many security holes are closed up to it: devices above this number refuse it
    #[arg(long, value_name = "NUMBER")]
    counter: u64,
    /// What a device's counter rises to when it keeps the release [default: 0, so that it can go back]
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    minimum_counter: u64,
    /// Channel that it is for
    #[arg(long, value_name = "CHANNEL", default_value = "stable")]
    channel: String,
    /// A device type that it is for; several times for several
    #[arg(long = "type", value_name = "TYPE", required = true)]
    types: Vec<String>,
    /// A file to install, in this order; TYPE=FILE for one that only devices of that type take
    #[arg(long = "payload", value_name = "[TYPE=]FILE", required = true)]
    payloads: Vec<String>,
    /// What the files are to the updater: tar, raw [default: tar for names ending in .tar, else raw]
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Root file system after the installation: what an inventory is then expected to say; a folder, or an ext4, SquashFS or tar image
    #[arg(long = "rootfs", value_name = "[TYPE=]FOLDER|IMAGE")]
    roots: Vec<String>,
    /// The agent's configuration on these devices: which paths it inventories. That is signed with the release, and holds there
    #[arg(
        long = "agent-config",
        value_name = "[TYPE=]FILE.toml",
        requires = "roots"
    )]
    agent_configs: Vec<String>,
    /// Its bill of materials, CycloneDX in JSON: kept with the release, and searched by device with
    #[arg(long, value_name = "FILE")]
    sbom: Option<PathBuf>,
    /// Something else that goes with it and is not installed
    #[arg(long = "document", value_name = "KIND=FILE")]
    documents: Vec<String>,
    /// Leave it at whole payloads: no chunk index, so that devices fetch all of a payload, also what they have
    #[arg(long)]
    no_chunks: bool,
    /// Organisation whose release it is [default: the profile's]
    #[arg(long, value_name = "NAME")]
    org: Option<OrgName>,
    /// Folder for the manifest
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    out: PathBuf,
}

#[derive(Serialize)]
struct Made {
    file: PathBuf,
    digest: String,
    name: String,
    version: String,
    counter: u64,
    types: Vec<String>,
    payload_bytes: u64,
    #[serde(flatten)]
    expected: Placed,
    chunks: Vec<Packed>,
}

impl Answer for Made {
    fn page(&self, page: &mut Page) {
        page.good("Made", &self.file.display().to_string())
            .field(
                "release",
                format!("{} {}, counter {}", self.name, self.version, self.counter),
            )
            .field("digest", &*self.digest)
            .field("for", self.types.join(", "))
            .field("payloads", format!("{} bytes", grouped(self.payload_bytes)));
        self.expected.page(page);
        for packed in &self.chunks {
            page.field("chunks", packed.told());
        }
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
    let mut parts = ManifestParts {
        org: org.id(),
        name: args.name.clone(),
        version: args.version.clone(),
        channel: args.channel.clone(),
        counter: args.counter,
        minimum_counter: args.minimum_counter,
        targets: args
            .types
            .iter()
            .map(|name| TargetParts {
                device_type: name.clone(),
                inventory: None,
                payloads: Vec::new(),
            })
            .collect(),
        payloads: Vec::new(),
        documents: Vec::new(),
    };
    // Files are called after them.
    for label in [&args.name, &args.version] {
        Label::new(label).map_err(|why| unfit(args, why))?;
    }
    let file = within(
        &args.out,
        format!("{}-{}.manifest", args.name, args.version),
    );
    // What it names lies beside it under names that follow from its own: none of that is replaced under a manifest.
    files::make_folder(&args.out)?;
    files::refuse_existing(&file)?;
    let mut payload_bytes = 0;
    let mut packings = Vec::new();
    let mut stems = BTreeSet::new();
    for (index, named) in args.payloads.iter().enumerate() {
        let (device_type, path) = for_type(named, &args.types);
        let content = content(path, session)?;
        payload_bytes += content.size();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default()
            .to_owned();
        let format = args.format.clone().unwrap_or_else(|| {
            let tar = Path::new(&name)
                .extension()
                .is_some_and(|ending| ending.eq_ignore_ascii_case("tar"));
            String::from(if tar { "tar" } else { "raw" })
        });
        let packing = match args.no_chunks {
            true => None,
            false => {
                // Two types may have payloads of one name.
                let mut stem = format!("{}-{}-{name}", args.name, args.version);
                while !stems.insert(stem.clone()) {
                    stem = format!("{stem}-{index}");
                }
                chunks::pack(path, &content, &within(&args.out, stem), session)?
            }
        };
        parts.payloads.push(PayloadParts {
            name,
            format,
            content,
            chunk_index: packing.as_ref().map(Packing::content),
        });
        packings.extend(packing);
        for target in &mut parts.targets {
            if device_type.is_none_or(|only| only == target.device_type) {
                target.payloads.push(index);
            }
        }
    }
    for document in &args.documents {
        let (kind, path) = document.split_once('=').ok_or_else(|| {
            Failure::new(
                Exit::Usage,
                format!("--document {document}: it is KIND=FILE"),
            )
        })?;
        parts
            .documents
            .push((kind.to_owned(), content(Path::new(path), session)?));
    }
    if let Some(path) = &args.sbom {
        if parts.documents.iter().any(|(kind, _)| kind == sbom::KIND) {
            return Err(Failure::new(
                Exit::Usage,
                "--sbom and --document sbom=… are the same: give one of them",
            ));
        }
        parts
            .documents
            .push((sbom::KIND.to_owned(), bill_of_materials(path, session)?));
    }
    let expected = expected::make(
        &expected::Wanted {
            release: &format!("{}-{}", args.name, args.version),
            types: &args.types,
            roots: &args.roots,
            agent_configs: &args.agent_configs,
        },
        &mut parts,
    )?;
    let bytes = parts.encode().map_err(|why| unfit(args, why))?;

    // From here on only the disk can fail.
    let chunks = packings
        .into_iter()
        .map(Packing::place)
        .collect::<Result<_>>()?;
    let expected = expected.place(&args.out)?;
    // Last: a manifest is there only when what it names beside the payloads is.
    files::create(&file, &bytes, Mode::Public)?;
    session.output().say(&Made {
        file,
        digest: Digest::of(&bytes).to_string(),
        name: args.name.clone(),
        version: args.version.clone(),
        counter: args.counter,
        types: args.types.clone(),
        payload_bytes,
        expected,
        chunks,
    })?;
    Ok(Exit::Ok)
}

fn content(path: &Path, session: &Session) -> Result<Content> {
    let digest = digest_of_file(path, session.output())?;
    let size = path
        .metadata()
        .map_err(|error| Failure::io("read", path, &error))?
        .len();
    Content::new(size, digest)
        .map_err(|why| Failure::new(Exit::File, format!("{}: {why}", path.display())))
}

/// A bill of materials that the server will be able to search.
fn bill_of_materials(path: &Path, session: &Session) -> Result<Content> {
    let named = content(path, session)?;
    let bytes = files::read(path, sbom::BYTES_MAX)?;
    let components = sbom::components(&bytes).map_err(|why| {
        Failure::new(Exit::File, format!("{}: {why}", path.display()))
            .advise("make it with the build, as CycloneDX in JSON")
    })?;
    if components.is_empty() {
        return Err(
            Failure::new(Exit::File, format!("{} names no component", path.display()))
                .advise("it would find nothing; leave --sbom away, or make it with the build"),
        );
    }
    Ok(named)
}

fn unfit(args: &Args, why: ManifestError) -> Failure {
    let failure = Failure::new(
        Exit::Usage,
        format!("{} {} cannot be a release: {why}", args.name, args.version),
    );
    match why {
        ManifestError::Label => failure
            .advise("name, version, channel, types, and the names of the files are such names"),
        _ => failure,
    }
}
