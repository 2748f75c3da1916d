//! `kusabi key transfer` and `kusabi key accept`: devices that come to another organisation.

use std::path::{Path, PathBuf};

use kusabi_core::{
    id::{Handle, OrgName},
    tx::{Action, Draft, Named, TARGETS_MAX, TX_BYTES_MAX, Transaction},
};
use serde::Serialize;

use crate::{
    connection::{Connection, transaction},
    exit::Exit,
    failure::{Failure, Result},
    files::{self, Mode},
    page::{Answer, Page, counted, grouped},
    session::Session,
    who::Who,
};

/// Give devices to another organisation: your officers sign, and a file goes to the other one, which accepts them
///
/// Nothing happens before `kusabi key accept`. From then on they are the other organisation's: you can do nothing with them any
/// more. Each device replaces its key by itself, as the new owner's, once it meets the new owner's server.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Factory and device keys: handles or key files
    #[arg(value_name = "KEY")]
    keys: Vec<Who>,
    /// File with one handle a line
    #[arg(long, value_name = "FILE", required_unless_present = "keys")]
    from: Option<PathBuf>,
    /// Who takes them
    #[arg(long, value_name = "ORG")]
    to: OrgName,
    /// The new file, for whoever takes them
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Organisation [default: the profile's]
    #[arg(long, value_name = "NAME")]
    org: Option<OrgName>,
    /// Key files of as many officers as the organisation asks for [default: the profile's]
    #[arg(long = "officer", value_name = "KEYFILE")]
    officers: Vec<PathBuf>,
}

/// Take devices that another organisation gives to yours
#[derive(Debug, clap::Args)]
pub(crate) struct AcceptArgs {
    /// The file that `kusabi key transfer` made
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Organisation [default: the profile's]
    #[arg(long, value_name = "NAME")]
    org: Option<OrgName>,
    /// Key file of the writer [default: the profile's]
    #[arg(long, value_name = "KEYFILE")]
    writer: Option<PathBuf>,
}

#[derive(Serialize)]
struct Offered {
    file: PathBuf,
    from: String,
    to: String,
    keys: usize,
}

impl Answer for Offered {
    fn page(&self, page: &mut Page) {
        page.good(
            "Offered",
            &format!(
                "{} of {} to {}",
                counted(self.keys as u64, "key"),
                self.from,
                self.to
            ),
        )
        .field("file", self.file.display().to_string())
        .gap()
        .text(&format!("Send it to {}, which takes them with:", self.to))
        .command(&format!("kusabi key accept {}", self.file.display()));
    }
}

#[derive(Serialize)]
struct Taken {
    from: String,
    organisation: String,
    keys: usize,
    height: u64,
}

impl Answer for Taken {
    fn page(&self, page: &mut Page) {
        page.good(
            "Taken",
            &format!("{} from {}", counted(self.keys as u64, "key"), self.from),
        )
        .field("organisation", &*self.organisation)
        .field("at block", grouped(self.height));
    }
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<Exit> {
    let org = session.org(args.org.as_ref())?;
    let mut handles = args
        .keys
        .iter()
        .map(|who| Ok(who.resolve()?.handle()))
        .collect::<Result<Vec<_>>>()?;
    if let Some(path) = &args.from {
        handles.extend(read_handles(path)?);
    }
    handles.sort_unstable();
    handles.dedup();
    if !(1..=TARGETS_MAX).contains(&handles.len()) {
        return Err(Failure::new(
            Exit::Usage,
            format!(
                "{} keys are named; 1 to {TARGETS_MAX} go together",
                handles.len()
            ),
        ));
    }
    let officers = session.officer_keys(&args.officers)?;
    let connection = Connection::open(session)?;
    // The one who takes them has to be there, or the file is good for nothing.
    connection.known_organisation(&args.to.id())?;
    let targets = handles
        .iter()
        .map(|handle| {
            let record = connection.known_record(handle)?;
            if record.owner() != org.id() {
                return Err(Failure::new(
                    Exit::Negative,
                    format!("{handle} is not a key of {org}"),
                ));
            }
            if record.move_to(args.to.id()).is_none() {
                return Err(Failure::new(
                    Exit::Negative,
                    format!(
                        "{handle} is no active factory or device key, which alone are given away"
                    ),
                ));
            }
            Ok(Named {
                handle: *handle,
                version: record.version(),
            })
        })
        .collect::<Result<Vec<_>>>()?;
    let keys = targets.len();
    let action = Action::Transfer {
        org: org.id(),
        to: args.to.id(),
        targets,
    };
    let signers: Vec<_> = officers.iter().collect();
    let draft = transaction(connection.chain(), action, &signers)?;
    files::create(&args.out, draft.as_bytes(), Mode::Public)?;
    session.output().say(&Offered {
        file: args.out.clone(),
        from: org.to_string(),
        to: args.to.to_string(),
        keys,
    })?;
    Ok(Exit::Ok)
}

fn read_handles(path: &Path) -> Result<Vec<Handle>> {
    // A line of 64 digits for each.
    let bytes = files::read(path, 80 * TARGETS_MAX as u64)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines
        .map(|line| {
            line.parse().map_err(|why| {
                Failure::new(Exit::File, format!("{}: {line}: {why}", path.display()))
            })
        })
        .collect()
}

pub(crate) fn accept(args: &AcceptArgs, session: &Session) -> Result<Exit> {
    let org = session.org(args.org.as_ref())?;
    let broken = |why: &dyn std::fmt::Display| {
        Failure::new(
            Exit::File,
            format!("{} offers no keys: {why}", args.file.display()),
        )
        .advise("`kusabi key transfer` makes such a file; have it sent again")
    };
    let bytes = files::read(&args.file, TX_BYTES_MAX as u64)?;
    let offered = Transaction::decode(&bytes).map_err(|why| broken(&why))?;
    let Action::Transfer {
        org: from,
        to,
        targets,
    } = offered.action()
    else {
        return Err(broken(&"it is another transaction"));
    };
    let (from, keys) = (*from, targets.len());
    let connection = Connection::open(session)?;
    if offered.chain() != *connection.chain() {
        return Err(Failure::new(
            Exit::OtherChain,
            format!(
                "{} is for the ledger {}",
                args.file.display(),
                offered.chain()
            ),
        ));
    }
    if *to != org.id() {
        let whose = connection.organisation_name(to)?;
        return Err(Failure::new(
            Exit::Negative,
            format!(
                "{} offers the keys to {whose}, not to {org}",
                args.file.display()
            ),
        ));
    }
    let writer = session.writer_key(args.writer.as_deref())?;
    let mut draft = Draft::from(offered);
    let wrong = |why: &dyn std::fmt::Display| Failure::new(Exit::Usage, why.to_string());
    draft
        .sign(writer.handle(), writer.purpose(), writer.key())
        .map_err(|why| wrong(&why))?;
    let transaction = draft.finish().map_err(|why| wrong(&why))?;
    let height = connection.submit(&transaction)?;
    session.output().say(&Taken {
        from: connection.organisation_name(&from)?,
        organisation: org.to_string(),
        keys,
        height: height.get(),
    })?;
    Ok(Exit::Ok)
}
