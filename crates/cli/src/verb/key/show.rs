//! `kusabi key show`: what is public about a key file.

use std::path::PathBuf;

use serde::Serialize;

use crate::{
    exit::Exit,
    failure::{Failure, Result},
    keyfile::{KeyFile, words},
    page::{Answer, Page},
    session::Session,
};

/// Show what is public about a key
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The key file
    #[arg(value_name = "KEYFILE")]
    file: PathBuf,
    /// Show the kusabi-ID too; who knows it can tell which record is the device's, so do not pass it on
    #[arg(long)]
    id: bool,
}

#[derive(Serialize)]
struct Shown {
    file: PathBuf,
    purpose: &'static str,
    suite: u8,
    handle: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    signing_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agreement_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip)]
    words: &'static str,
    #[serde(skip)]
    algorithms: String,
}

impl Answer for Shown {
    fn page(&self, page: &mut Page) {
        page.good(self.words, &format!("in {}", self.file.display()))
            .field("purpose", self.purpose)
            .field("suite", format!("{}, {}", self.suite, self.algorithms))
            .field("handle", &*self.handle)
            .field_if("signing key", self.signing_key.as_deref())
            .field_if("agreement key", self.agreement_key.as_deref())
            .field_if("ID", self.id.as_deref());
    }
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<Exit> {
    let key = KeyFile::read(&args.file)?;
    let public = key.public();
    let id = match (args.id, key.id()) {
        (false, _) => None,
        (true, Some(id)) => {
            session
                .output()
                .warn("the ID is a secret of the device: keep it out of chats, tickets and logs");
            Some(id.to_text().expose().to_owned())
        }
        (true, None) => {
            return Err(Failure::new(
                Exit::Usage,
                format!("a {} key has no ID", key.purpose()),
            ));
        }
    };
    session.output().say(&Shown {
        file: args.file.clone(),
        purpose: key.purpose().name(),
        suite: key.suite().into(),
        handle: key.handle().to_string(),
        signing_key: public
            .verification_key()
            .map(|key| crate::keyfile::hex(key.raw())),
        agreement_key: public
            .agreement_key()
            .map(|key| crate::keyfile::hex(key.raw())),
        id,
        words: words(key.purpose()),
        algorithms: key.suite().to_string(),
    })?;
    Ok(Exit::Ok)
}
