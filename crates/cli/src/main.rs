//! The `kusabi` command: keys of IoT fleets on a ledger, from a terminal or a script.
//!
//! [`args`] is the command line as typed, [`session`] what it resolves to, `verb/` what is done, [`page`] how it is said
//! and [`exit`] how the process ends. Everything that a node answers is checked by `kusabi-core` before it is shown.

mod args;
mod backup_file;
mod bundle;
mod connection;
mod digest;
mod entry;
mod exit;
mod failure;
mod files;
mod floor;
mod founding;
mod kept;
mod keyfile;
mod officers;
mod page;
mod profile;
mod progress;
mod record;
mod session;
mod verb;
mod visible;
mod who;

use std::process::ExitCode;

use clap::Parser as _;

use crate::{
    args::{Cli, Color, Verb},
    exit::Exit,
    failure::{Failure, Result},
    page::Output,
    session::Session,
};

fn main() -> ExitCode {
    let Cli { globals, verb } = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return not_understood(&error),
    };
    match globals.color {
        Color::Auto => {}
        Color::Always => anstream::ColorChoice::Always.write_global(),
        Color::Never => anstream::ColorChoice::Never.write_global(),
    }
    let output = Output::new(globals.json, globals.quiet);
    match run(&verb, &Session::new(globals, output)) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            output.fail(&failure);
            failure.exit().into()
        }
    }
}

/// Help and version are answers; everything else is an error that names the way out.
fn not_understood(error: &clap::Error) -> ExitCode {
    let json = std::env::args_os().any(|argument| argument == "--json");
    if json && error.use_stderr() {
        let text = error.render().to_string();
        let (what, advice) = text.split_once("\n\n").unwrap_or((&text, ""));
        let failure = Failure::new(Exit::Usage, what.trim_start_matches("error: "));
        Output::new(true, false).fail(&match advice.trim() {
            "" => failure,
            advice => failure.advise(advice),
        });
    } else {
        // Nothing is left to do when the stream is closed.
        let _ = error.print();
    }
    if error.use_stderr() {
        Exit::Usage.into()
    } else {
        Exit::Ok.into()
    }
}

/// Does what was asked. An answer of “no” is no failure: it is said on standard output and ends with its own code.
fn run(verb: &Verb, session: &Session) -> Result<Exit> {
    let done = |()| Exit::Ok;
    match verb {
        Verb::Node(verb) => verb::node::run(verb, session).map(done),
        Verb::Key(verb) => verb::key::run(verb, session),
        Verb::Batch(verb) => verb::batch::run(verb, session),
        Verb::Sign(args) => verb::sign::run(args, session).map(done),
        Verb::Verify(args) => verb::verify::run(args, session),
        Verb::Org(verb) => verb::org::run(verb, session),
        Verb::Bench(args) => verb::bench::run(args, session),
        Verb::Backup(args) => verb::backup::run(args, session).map(done),
        Verb::Restore(args) => verb::restore::run(args, session).map(done),
        Verb::Recover(args) => verb::recover::run(args, session).map(done),
        Verb::Audit(args) => verb::audit::run(args, session),
        Verb::Completions(args) => verb::completions::run(args, session).map(done),
        Verb::Man(args) => verb::man::run(args, session).map(done),
    }
}
