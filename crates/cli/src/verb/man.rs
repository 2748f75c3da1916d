//! `kusabi man`: manual pages, one per verb.

use std::path::PathBuf;

use clap::CommandFactory as _;
use clap_mangen::{Man, roff::Roff};
use serde::Serialize;

use crate::{
    args::Cli,
    exit::Exit,
    failure::{Failure, Result},
    files::{self, Mode},
    page::{Answer, Page},
    session::Session,
};

/// Write the manual pages to a folder.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The folder; pages that are there are replaced
    folder: PathBuf,
}

#[derive(Serialize)]
struct Written {
    folder: PathBuf,
    pages: Vec<String>,
}

impl Answer for Written {
    fn page(&self, page: &mut Page) {
        page.good(
            "Wrote",
            &format!("{} pages to {}", self.pages.len(), self.folder.display()),
        );
    }
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<()> {
    std::fs::create_dir_all(&args.folder)
        .map_err(|error| Failure::io("created", &args.folder, &error))?;
    let mut root = Cli::command();
    root.build();
    let mut pages = Vec::new();
    write(args, &root, "kusabi", &mut pages)?;
    session.output().say(&Written {
        folder: args.folder.clone(),
        pages,
    })
}

/// Writes the page of `command` and of every verb below it.
fn write(args: &Args, command: &clap::Command, name: &str, pages: &mut Vec<String>) -> Result<()> {
    for verb in command.get_subcommands() {
        write(args, verb, &format!("{name}-{}", verb.get_name()), pages)?;
    }
    let mut text = Vec::new();
    render(command, name, &mut text).map_err(|error| {
        Failure::new(
            Exit::Internal,
            format!("the page {name} could not be made: {error}"),
        )
    })?;
    let file = format!("{name}.1");
    files::replace(&args.folder.join(&file), &text, Mode::Public)?;
    pages.push(file);
    Ok(())
}

fn render(command: &clap::Command, name: &str, text: &mut Vec<u8>) -> std::io::Result<()> {
    let man = Man::new(command.clone()).title(name).manual("kusabi");
    man.render(text)?;
    let mut roff = Roff::new();
    roff.control("SH", ["EXIT STATUS"]);
    for (exit, _, line) in Exit::TABLE {
        roff.control("TP", []);
        roff.text([clap_mangen::roff::bold((*exit as u8).to_string())]);
        roff.text([clap_mangen::roff::roman(*line)]);
    }
    roff.to_writer(text)
}
