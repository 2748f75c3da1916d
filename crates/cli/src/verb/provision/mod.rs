//! `kusabi provision`: what devices leave their build environment with.
//!
//! ```text
//! OUT/<serial>.device   0600, one for each device: its factory key and what it is to believe (spec/device-protocol.md)
//! OUT/devices.csv       public: who is who, and each key's public half
//! OUT/devices.list      public: the same keys for `kusabi batch submit`; only with --offline
//! ```
//! In this order: every file is on the disk before its line is in `devices.csv`, and every line before its key is put on the
//! ledger. So a run that was cut goes on where it stopped, also where files were taken to their devices meanwhile, and makes no
//! key twice.

mod basis;
mod expected;
mod folder;

use std::path::PathBuf;

use clap::ValueEnum;
use kusabi_api::admin::Text;
use kusabi_core::{
    device::{FactoryKey, KeyOrigin, Provisioning},
    id::{KusabiId, OrgName},
    keystore::Seed,
    suite::{BindingContext, Purpose},
    tx::Entry,
};
use serde::Serialize;
use zeroize::Zeroizing;

pub(crate) use expected::{Image, Told};

use self::{basis::Basis, folder::Folder};
use crate::{
    bundle::List,
    connection::Connection,
    exit::Exit,
    failure::{Failure, Result},
    files::{self, Mode},
    fleet::{self, Fleet},
    keyfile::KeyFile,
    page::{Answer, Page, counted, grouped},
    progress,
    roster::{self, DEVICES_MAX, Wanted},
    session::Session,
    verb::{
        batch::{Tally, submit_all},
        device::{Import, import_all},
        key::SuiteName,
    },
};

/// Make the files with which devices leave the factory, register their keys, and tell the server who they are
///
/// One file for each device, to be copied onto it once. Interrupted, the same command goes on where it stopped. With --offline
/// nothing but a file of --public is needed: the ledger and the server learn of the devices later.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true))]
pub(crate) struct Args {
    /// Table of devices; its first line names the columns: serial,type,group,name (`;` between several groups)
    #[arg(value_name = "FILE.csv", group = "what")]
    table: Option<PathBuf>,
    /// So many devices, with numbered serials
    #[arg(long, value_name = "NUMBER", group = "what", value_parser = clap::value_parser!(u32).range(1..=DEVICES_MAX as i64))]
    count: Option<u32>,
    /// Make only the organisation's file for devices in the field, which enrol by themselves: it holds no key
    #[arg(long, group = "what")]
    public: bool,
    /// Folder for the devices' files; with --public the name of the file
    #[arg(long, value_name = "PATH")]
    out: PathBuf,
    /// With --count: what the serials begin with
    #[arg(long, value_name = "TEXT", default_value = "device-")]
    prefix: String,
    /// Type of the devices for which the table says none
    #[arg(long = "type", value_name = "TYPE")]
    device_type: Option<String>,
    /// A group for all of them, beside those that the table names
    #[arg(long = "group", value_name = "GROUP")]
    groups: Vec<String>,
    /// Where devices reach the server, up to four times [default: what the server says]
    #[arg(long = "address", value_name = "URL")]
    addresses: Vec<String>,
    /// Who makes the device key at activation
    #[arg(long, value_enum, default_value_t = Origin::Device)]
    key_origin: Origin,
    /// Which algorithms the factory keys have
    #[arg(long, value_enum, default_value_t = SuiteName::Curve25519)]
    suite: SuiteName,
    /// Root file system of the factory image: what an inventory of these devices is expected to say
    #[arg(long, value_name = "FOLDER", conflicts_with = "offline")]
    expected: Option<PathBuf>,
    /// The agent's configuration on these devices: which paths it inventories
    #[arg(long, value_name = "FILE.toml", requires = "expected")]
    agent_config: Option<PathBuf>,
    /// With no network: take organisation, server and anchor from a file that --public made
    #[arg(long, value_name = "FILE", conflicts_with_all = ["public", "addresses"])]
    offline: Option<PathBuf>,
    /// Organisation that owns the devices [default: the profile's]
    #[arg(long, value_name = "NAME")]
    org: Option<OrgName>,
    /// Key file of the writer [default: the profile's]
    #[arg(long, value_name = "KEYFILE")]
    writer: Option<PathBuf>,
}

/// Who makes the device key.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Origin {
    /// The device itself: no private key ever travels
    Device,
    /// The server, for devices without good randomness; it wipes the key after it was handed over
    Server,
}

impl From<Origin> for KeyOrigin {
    fn from(origin: Origin) -> Self {
        match origin {
            Origin::Device => Self::Device,
            Origin::Server => Self::Server,
        }
    }
}

#[derive(Serialize)]
struct Provisioned {
    devices: usize,
    /// Files made in this run; the others were there.
    made: usize,
    files: PathBuf,
    organisation: String,
    chain: String,
    addresses: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    keys: Option<Tally>,
    #[serde(skip_serializing_if = "Option::is_none")]
    known: Option<Import>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expected: Option<expected::Told>,
    #[serde(skip_serializing_if = "Option::is_none")]
    list: Option<PathBuf>,
    table: PathBuf,
}

impl Answer for Provisioned {
    fn page(&self, page: &mut Page) {
        page.good(
            "Provisioned",
            &format!(
                "{} of {}",
                counted(self.devices as u64, "device"),
                self.organisation
            ),
        )
        .field(
            "files",
            format!(
                "{}, secret: each goes onto its device and nowhere else",
                self.files.display()
            ),
        );
        if self.made != self.devices {
            page.field("made before", grouped((self.devices - self.made) as u64));
        }
        page.field("chain", &*self.chain)
            .field("server", self.addresses.join("\n"));
        if let Some(keys) = &self.keys {
            page.field(
                "registered",
                format!("{} factory keys", grouped(keys.registered as u64)),
            );
            if keys.already > 0 {
                page.field("registered before", grouped(keys.already as u64));
            }
        }
        if let Some(known) = &self.known {
            page.field("the server knows", counted(known.devices as u64, "device"));
        }
        if let Some(told) = &self.expected {
            page.field(
                "expected",
                format!(
                    "{} component{} of {}",
                    grouped(told.components.into()),
                    if told.components == 1 { "" } else { "s" },
                    told.device_type
                ),
            );
        }
        if let Some(list) = &self.list {
            page.gap()
                .text("Where the ledger and the server can be reached:")
                .command(&format!("kusabi batch submit {}", list.display()))
                .command(&format!("kusabi device import {}", self.table.display()));
        }
        if let Some(keys) = &self.keys {
            keys.page_foreign(page);
        }
    }
}

#[derive(Serialize)]
struct Public {
    file: PathBuf,
    organisation: String,
    chain: String,
    addresses: Vec<String>,
    height: u64,
}

impl Answer for Public {
    fn page(&self, page: &mut Page) {
        page.good("Made", &self.file.display().to_string())
            .field("organisation", &*self.organisation)
            .field("chain", &*self.chain)
            .field("server", self.addresses.join("\n"))
            .field("anchored at", format!("block {}", grouped(self.height)))
            .text("It holds nothing secret: devices in the field enrol with it, and a factory without a network provisions from it.");
    }
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<Exit> {
    if args.public {
        return public(args, session);
    }
    let wanted = wanted(args)?;
    let image = args
        .expected
        .as_deref()
        .map(|root| Image::of(root, args.agent_config.as_deref(), None))
        .transpose()?;
    let (basis, reach) = match &args.offline {
        Some(file) => (Basis::from_file(file, session)?, None),
        None => {
            let reach = Reach::open(args, session)?;
            let basis = Basis::ask(&reach.connection, reach.org, &args.addresses, &reach.fleet)?;
            (basis, Some(reach))
        }
    };
    let told = image
        .as_ref()
        .map(|image| image.device_type(&wanted))
        .transpose()?;
    let mut folder = Folder::open(&args.out, &basis.chain(), &basis.org)?;
    folder.refuse_contradiction(&wanted, args.table.as_deref())?;
    if let Some(reach) = &reach {
        refuse_taken(&wanted, &folder, &reach.fleet, session)?;
    }

    let mut made = 0;
    let bar = progress::bar(session.output(), "Making files", wanted.len() as u64);
    for device in &wanted {
        if folder.entry(&device.serial).is_none() {
            let (entry, new) = file(args, &basis, &folder, device, session)?;
            folder.note(device, entry)?;
            made += usize::from(new);
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    folder.sync()?;

    let mut answer = Provisioned {
        devices: wanted.len(),
        made,
        files: args.out.clone(),
        organisation: basis.org_name(),
        chain: basis.chain().to_string(),
        addresses: basis.addresses(),
        keys: None,
        known: None,
        expected: None,
        list: None,
        table: folder.table().to_owned(),
    };
    let mut exit = Exit::Ok;
    match reach {
        None => answer.list = Some(list(&folder, &basis, args)?),
        Some(reach) => {
            let keys = submit_all(
                &folder.entries(),
                &basis.org,
                &reach.writer,
                &reach.connection,
                session,
            )?;
            if !keys.foreign.is_empty() {
                exit = Exit::Negative;
            }
            answer.known = Some(import_all(
                &reach.fleet,
                folder.devices(),
                &keys.foreign,
                session,
            )?);
            answer.keys = Some(keys);
            if let (Some(image), Some(device_type)) = (&image, told) {
                answer.expected = Some(image.tell(&reach.fleet, device_type)?);
            }
        }
    }
    session.output().say(&answer)?;
    Ok(exit)
}

/// What is asked and told where there is a network.
struct Reach {
    org: OrgName,
    connection: Connection,
    fleet: Fleet,
    writer: KeyFile,
}

impl Reach {
    fn open(args: &Args, session: &Session) -> Result<Self> {
        Ok(Self {
            org: session.org(args.org.as_ref())?,
            writer: session.writer_key(args.writer.as_deref())?,
            fleet: Fleet::open(session)?,
            connection: Connection::open(session)?,
        })
    }
}

/// The devices that the command line asks for.
fn wanted(args: &Args) -> Result<Vec<Wanted>> {
    let device_type = args
        .device_type
        .as_deref()
        .map(|name| {
            roster::check_type(name)
                .map_err(|why| Failure::new(Exit::Usage, format!("--type {name}: {why}")))?;
            fleet::text("--type", name)
        })
        .transpose()?;
    let groups = args
        .groups
        .iter()
        .map(|group| fleet::text("--group", group))
        .collect::<Result<Vec<_>>>()?;
    let mut wanted = match (&args.table, args.count) {
        (Some(table), _) => roster::read(table)?,
        (None, count) => numbered(&args.prefix, count.unwrap_or(0))?,
    };
    for device in &mut wanted {
        if device.entry.take().is_some() {
            return Err(Failure::new(
                Exit::Usage,
                "this table was written by kusabi provision: its devices have keys already",
            )
            .advise("kusabi device import makes them known to a server; name the table that they were provisioned from"));
        }
        if device.device_type.is_none() {
            device.device_type.clone_from(&device_type);
        }
        device.groups.extend_from_slice(&groups);
        device.groups.sort();
        device.groups.dedup();
    }
    Ok(wanted)
}

fn numbered(prefix: &str, count: u32) -> Result<Vec<Wanted>> {
    let wrong = |why: String| Failure::new(Exit::Usage, format!("--prefix {prefix}: {why}"));
    (1..=count)
        .map(|number| {
            let serial = format!("{prefix}{number:06}");
            roster::check_serial(&serial).map_err(wrong)?;
            Ok(Wanted {
                line: 0,
                serial: Text::new(serial).map_err(|why| wrong(why.to_string()))?,
                device_type: None,
                groups: Vec::new(),
                name: None,
                entry: None,
            })
        })
        .collect()
}

/// A serial that the server gave to another device would come out after the keys were made: it is asked for before.
fn refuse_taken(
    wanted: &[Wanted],
    folder: &Folder,
    fleet: &Fleet,
    session: &Session,
) -> Result<()> {
    let new: Vec<_> = wanted
        .iter()
        .filter(|device| {
            folder.entry(&device.serial).is_none() && !folder.file(&device.serial).exists()
        })
        .collect();
    let bar = progress::bar(session.output(), "Asking for serials", new.len() as u64);
    for device in new {
        if let Some(there) = fleet.with_serial(&device.serial)? {
            let place = match device.line {
                0 => String::new(),
                line => format!("line {line}: "),
            };
            return Err(Failure::new(
                Exit::Negative,
                format!(
                    "{place}the server knows another device with the serial {}: {}",
                    device.serial, there.id
                ),
            )
            .advise("nothing was made; was this batch provisioned before, into another folder? else choose other serials"));
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(())
}

/// The device's file, and what is public about the key in it: of an earlier run that was cut before it noted it, or new.
fn file(
    args: &Args,
    basis: &Basis,
    folder: &Folder,
    device: &Wanted,
    session: &Session,
) -> Result<(Entry, bool)> {
    let path = folder.file(&device.serial);
    files::sweep(&path);
    if path.exists() {
        let bytes = files::read_secret(&path, Provisioning::LEN_MAX as u64)?;
        let there = Provisioning::decode(&bytes)
            .map_err(|why| Failure::new(Exit::File, format!("{}: {why}", path.display())))?;
        let key = there.key.as_ref().filter(|_| {
            there.org == basis.org
                && there.trust.anchor().chain() == basis.chain()
                && there.serial.as_str() == device.serial.as_str()
        });
        let key = key.ok_or_else(|| {
            Failure::new(
                Exit::File,
                format!(
                    "{} is there already, for another device, organisation or ledger",
                    path.display()
                ),
            )
            .advise("choose another folder with --out")
        })?;
        return Ok((entry(key, basis)?, false));
    }
    let mut rng = session.rng();
    let key = FactoryKey {
        purpose: Purpose::Pre,
        suite: args.suite.into(),
        id: KusabiId::generate(&mut rng),
        seed: Seed::generate(&mut rng),
    };
    let entry = entry(&key, basis)?;
    let provisioning = basis.file(args.key_origin.into(), device.serial.as_str(), Some(key))?;
    let mut bytes = Zeroizing::new(vec![0; Provisioning::LEN_MAX]);
    let length = provisioning.encode(&mut bytes).map_err(unmade)?;
    files::create(&path, bytes.get(..length).unwrap_or_default(), Mode::Secret)?;
    Ok((entry, true))
}

/// What the ledger is told about a factory key.
fn entry(key: &FactoryKey, basis: &Basis) -> Result<Entry> {
    let public = key.public_keys().map_err(unmade)?;
    let context = BindingContext {
        chain: &basis.chain(),
        owner: &basis.org,
        purpose: key.purpose,
    };
    let binding = public.bind(&key.id, &context);
    Entry::new(key.id.handle(), key.purpose, public, binding, None)
        .map_err(|why| Failure::new(Exit::Internal, why.to_string()))
}

fn unmade(why: kusabi_core::device::ProvisioningError) -> Failure {
    Failure::new(
        Exit::Internal,
        format!("no provisioning file could be made: {why}"),
    )
}

/// The public half for the writer. Made anew each time: it follows from the table.
fn list(folder: &Folder, basis: &Basis, args: &Args) -> Result<PathBuf> {
    let org = args
        .org
        .or(basis.name)
        .filter(|org| org.id() == basis.org)
        .ok_or_else(|| {
            Failure::new(
                Exit::Usage,
                format!(
                    "the organisation {} has another name than the one that is named",
                    basis.org
                ),
            )
            .advise("give --org NAME, the organisation of the file of --public")
        })?;
    let list = List {
        chain: basis.chain(),
        org,
        entries: folder.entries(),
    };
    let path = folder.list();
    files::replace(&path, list.to_text().as_bytes(), Mode::Public)?;
    Ok(path)
}

/// The organisation's file without a key.
fn public(args: &Args, session: &Session) -> Result<Exit> {
    let org = session.org(args.org.as_ref())?;
    let fleet = Fleet::open(session)?;
    let connection = Connection::open(session)?;
    let basis = Basis::ask(&connection, org, &args.addresses, &fleet)?;
    let file = basis.file(args.key_origin.into(), "", None)?;
    let mut bytes = vec![0; Provisioning::LEN_MAX];
    let length = file.encode(&mut bytes).map_err(unmade)?;
    files::create(
        &args.out,
        bytes.get(..length).unwrap_or_default(),
        Mode::Public,
    )?;
    session.output().say(&Public {
        file: args.out.clone(),
        organisation: basis.org_name(),
        chain: basis.chain().to_string(),
        addresses: basis.addresses(),
        height: file.trust.anchor().height().get(),
    })?;
    Ok(Exit::Ok)
}
