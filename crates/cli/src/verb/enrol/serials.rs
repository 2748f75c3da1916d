//! `kusabi enrol serials`: devices that are let in by themselves.

use std::path::PathBuf;

use kusabi_api::admin::{EnrolmentLabels, Text};
use serde::Serialize;

use crate::{
    exit::Exit,
    failure::{Failure, Result},
    files,
    fleet::Fleet,
    page::{Answer, Page, grouped},
    session::Session,
};

/// Longest list: 64 MiB are half a million serials of the longest kind.
const LIMIT: u64 = 64 << 20;

/// Serials of one request: the longest ones fit its body.
const AT_ONCE: usize = 100;

/// Name serials that are accepted by themselves, each once, when a device comes with a token and calls itself so
///
/// What a device says it is, anyone can say who has a token: keep the token from others until the devices have come.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// List of serials, one a line
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

#[derive(Serialize)]
struct Named {
    serials: usize,
    new: u64,
}

impl Answer for Named {
    fn page(&self, page: &mut Page) {
        page.good(
            "Named",
            &format!("{} serials", grouped(self.serials as u64)),
        )
        .field("new", grouped(self.new));
    }
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<Exit> {
    let bytes = files::read(&args.file, LIMIT)?;
    let wrong = |line: usize, why: &str| {
        Failure::new(
            Exit::File,
            format!("{}, line {line}: {why}", args.file.display()),
        )
        .advise("mend the list and run the same command again: nothing of it was used")
    };
    let text = String::from_utf8(bytes).map_err(|_| wrong(1, "the list is not UTF-8"))?;
    let mut serials = Vec::new();
    for (number, line) in (1..).zip(text.trim_start_matches('\u{feff}').lines()) {
        let line = line.trim();
        if !line.is_empty() {
            serials.push(Text::new(line).map_err(|why| wrong(number, &why.to_string()))?);
        }
    }
    if serials.is_empty() {
        return Err(wrong(1, "there is no serial in the list"));
    }
    let fleet = Fleet::open(session)?;
    let mut new = 0;
    for chunk in serials.chunks(AT_ONCE) {
        let labels = EnrolmentLabels {
            labels: chunk.to_vec(),
        };
        new += fleet.ask(fleet.client().add_enrolment_labels(&labels))?;
    }
    session.output().say(&Named {
        serials: serials.len(),
        new,
    })?;
    Ok(Exit::Ok)
}
