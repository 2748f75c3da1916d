//! `kusabi org apply`: an organisation asks to be admitted to a ledger that is there already.

use std::path::PathBuf;

use serde::Serialize;

use crate::{
    application::Application,
    exit::Exit,
    failure::{Failure, Result},
    founding::Places,
    keyfile::{KeyFile, hex},
    member::{Member, file_in},
    page::{Answer, Page},
    session::Session,
};

/// Make an application: with it a member proposes that your organisation is admitted to a ledger
///
/// Each officer's key signs it, for this ledger only. Needed is the chain ID, no connection.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Directory that `kusabi org init` made
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Key files of officers that are kept elsewhere
    #[arg(long = "officer", value_name = "KEYFILE")]
    officers: Vec<PathBuf>,
    /// The new file
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Serialize)]
struct Applied {
    file: PathBuf,
    organisation: String,
    chain: String,
    threshold: u8,
    officers: Vec<String>,
}

impl Answer for Applied {
    fn page(&self, page: &mut Page) {
        page.good("Application", &format!("of {}", self.organisation))
            .field("to the ledger", &*self.chain)
            .field(
                "officers",
                format!("{} of {} act for it", self.threshold, self.officers.len()),
            );
        for officer in &self.officers {
            page.field("officer", &**officer);
        }
        page.field("file", self.file.display().to_string())
            .gap()
            .text("Send the file to a member. It compares the officers' keys with you, by another way, and proposes:")
            .command(&format!(
                "kusabi org propose --admit {} --quota ROWS",
                self.file.display()
            ));
    }
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<()> {
    let chain = session.chain()?;
    let path = file_in(&args.dir)?.ok_or_else(|| {
        Failure::new(
            Exit::File,
            format!("{} holds no member file", args.dir.display()),
        )
        .advise("`kusabi org init DIR --name ORG` makes an organisation's keys")
    })?;
    let member = Member::read(&path)?;
    let mut keys = KeyFile::read_all(&Places::new(&args.dir).officer_keys()?)?;
    for key in KeyFile::read_all(&args.officers)? {
        if !keys.iter().any(|other| other.handle() == key.handle()) {
            keys.push(key);
        }
    }
    if keys.len() != member.officers.len() {
        return Err(Failure::new(
            Exit::File,
            format!(
                "{} has {} officers, and the keys of {} are here",
                member.name,
                member.officers.len(),
                keys.len()
            ),
        )
        .advise("name those that are kept elsewhere with --officer KEYFILE"));
    }
    let application = Application::sign(chain, member.name, member.threshold, &keys)?;
    application.create(&args.out)?;
    let signing = |(_, key): &(_, kusabi_core::suite::VerificationKey)| hex(key.raw());
    session.output().say(&Applied {
        file: args.out.clone(),
        organisation: member.name.to_string(),
        chain: chain.to_string(),
        threshold: member.threshold,
        officers: member.officers.iter().map(signing).collect(),
    })
}
