//! The `kusabi` command: keys of IoT fleets on a ledger, from a terminal or a script.
//!
//! [`args`] is the command line as typed, [`session`] what it resolves to, `verb/` what is done, [`page`] how it is said
//! and [`exit`] how the process ends. Everything that a node answers is checked by `kusabi-core` before it is shown.

mod application;
mod appointing;
mod args;
mod artifact_key;
mod backup_file;
mod bundle;
mod connection;
mod digest;
mod entry;
mod exit;
mod failure;
mod files;
mod fleet;
mod floor;
mod founding;
mod governing;
mod kept;
mod keyfile;
mod member;
mod node_file;
mod officers;
mod page;
mod profile;
mod progress;
mod proposal;
mod receipt;
mod record;
mod recovering;
mod roster;
mod session;
mod verb;
mod visible;
mod who;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use crate::{
    args::{Cli, Color, Verb},
    exit::Exit,
    failure::{Failure, Result},
    page::Output,
    session::Session,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

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
    if error.kind() == clap::error::ErrorKind::InvalidSubcommand {
        Output::new(json, false).fail(&unknown_verb(error));
    } else if json && error.use_stderr() {
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

/// A verb that there is not: those that there are, at the place where it stands.
fn unknown_verb(error: &clap::Error) -> Failure {
    let text = error.render().to_string();
    let what = text.lines().next().unwrap_or_default();
    let mut command = Cli::command();
    let mut path = String::from("kusabi");
    for argument in std::env::args().skip(1) {
        let Some(below) = command.find_subcommand(&argument) else {
            continue;
        };
        path = format!("{path} {argument}");
        command = below.clone();
    }
    let verbs: Vec<_> = command
        .get_subcommands()
        .map(|verb| verb.get_name().to_owned())
        .collect();
    let meant = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("tip: "))
        .map_or_else(String::new, |tip| format!("{tip}\n"));
    Failure::new(Exit::Usage, what.trim_start_matches("error: ")).advise(format!(
        "{meant}{path} knows: {}\n{path} --help says what each does",
        verbs.join(", ")
    ))
}

/// Does what was asked. An answer of “no” is no failure: it is said on standard output and ends with its own code.
fn run(verb: &Verb, session: &Session) -> Result<Exit> {
    let done = |()| Exit::Ok;
    match verb {
        Verb::Up(args) => verb::up::run(args, session).map(done),
        Verb::Provision(args) => verb::provision::run(args, session),
        Verb::Device(verb) => verb::device::run(verb, session),
        Verb::Order(verb) => verb::order::run(verb, session),
        Verb::Rollout(verb) => verb::rollout::run(verb, session),
        Verb::Channel(verb) => verb::channel::run(verb, session),
        Verb::Alarm(verb) => verb::alarm::run(verb, session),
        Verb::Release(verb) => verb::release::run(verb, session),
        Verb::Enrol(verb) => verb::enrol::run(verb, session),
        Verb::Mender(verb) => verb::mender::run(verb, session),
        Verb::Server(verb) => verb::server::run(verb, session).map(done),
        Verb::Rebuild(args) => verb::rebuild::run(args, session).map(done),
        Verb::Doctor(args) => verb::doctor::run(args, session),
        Verb::Genesis(verb) => verb::genesis::run(verb, session),
        Verb::Epoch(verb) => verb::epoch::run(verb, session),
        Verb::Node(verb) => verb::node::run(verb, session),
        Verb::Key(verb) => verb::key::run(verb, session),
        Verb::Batch(verb) => verb::batch::run(verb, session),
        Verb::Sign(args) => verb::sign::run(args, session).map(done),
        Verb::Verify(args) => verb::verify::run(args, session),
        Verb::Org(verb) => verb::org::run(verb, session),
        Verb::Bench(args) => verb::bench::run(args, session),
        Verb::Demo(args) => verb::demo::run(args, session),
        Verb::Backup(args) => verb::backup::run(args, session).map(done),
        Verb::Restore(args) => verb::restore::run(args, session).map(done),
        Verb::Recover(args) => verb::recover::run(args, session).map(done),
        Verb::Audit(args) => verb::audit::run(args, session),
        Verb::Completions(args) => verb::completions::run(args, session).map(done),
        Verb::Man(args) => verb::man::run(args, session).map(done),
    }
}
