//! `kusabi genesis finish`: all signatures in one file, with which every node starts.

use std::path::PathBuf;

use serde::Serialize;

use crate::{
    exit::Exit,
    failure::{Failure, Result},
    files::{self, Mode},
    page::{Answer, Page},
    proposal::Proposal,
    session::Session,
};

/// Bring all signatures together: the one file with which every node starts
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The genesis, as `genesis new` made it
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Files of `genesis sign`
    #[arg(value_name = "SIGNATURE-FILE")]
    signatures: Vec<PathBuf>,
    /// The new file
    #[arg(long, value_name = "GENESIS")]
    out: PathBuf,
}

#[derive(Serialize)]
struct Finished {
    file: PathBuf,
    chain: String,
    signatures: usize,
}

impl Answer for Finished {
    fn page(&self, page: &mut Page) {
        page.good("Finished", &self.file.display().to_string())
            .field("chain", &*self.chain)
            .field(
                "signatures",
                format!("{}, all that it needs", self.signatures),
            )
            .gap()
            .text("Send it to every organisation. Each starts its node with it:")
            .command(&format!(
                "kusabi node run --data DIR --genesis {}",
                self.file.display()
            ));
    }
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<()> {
    let mut proposal = Proposal::read(&args.file)?;
    for path in &args.signatures {
        let signed = Proposal::read(path)?;
        if !signed.is_same(&proposal) {
            return Err(Failure::new(
                Exit::Usage,
                format!(
                    "{} signs another genesis ({}) than {} ({})",
                    path.display(),
                    signed.chain(),
                    args.file.display(),
                    proposal.chain()
                ),
            )
            .advise("all sign one file: send it to that organisation again"));
        }
        signed.check_signatures(path)?;
        proposal = proposal.with(signed.transaction().signatures())?;
    }
    proposal.founding(&args.file, &mut session.rng())?;
    files::create(&args.out, proposal.transaction().as_bytes(), Mode::Public)?;
    session.output().say(&Finished {
        file: args.out.clone(),
        chain: proposal.chain().to_string(),
        signatures: proposal.transaction().signatures().len(),
    })
}
