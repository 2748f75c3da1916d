//! The command line as it was typed: parsing has no side effects, reads no file and asks no ledger.
//!
//! Every verb is a file under `verb/` with its `Args` and its `run`; [`Session`](crate::session::Session) turns what
//! stands here into what the verbs need.

use std::path::PathBuf;

use anstyle::AnsiColor;
use clap::{Args, Parser, Subcommand, ValueEnum, builder::Styles};

use crate::verb;

/// Colours of the help: those of answers.
const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default())
    .error(AnsiColor::Red.on_default().bold())
    .valid(AnsiColor::Cyan.on_default())
    .invalid(AnsiColor::Yellow.on_default().bold());

/// Keys of IoT fleets on a ledger, without certificates.
///
/// Every answer of a ledger is checked before it is shown: what you see was signed by the ledger's quorum.
#[derive(Debug, Parser)]
#[command(
    name = "kusabi",
    version,
    styles = STYLES,
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    max_term_width = 100,
    after_help = "Start here: kusabi up --data fleet"
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) globals: Globals,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// What every verb understands.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Everywhere")]
pub(crate) struct Globals {
    /// Answer with JSON: one object, or one per line
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Say nothing when all is well
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    /// Colours on the terminal
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        hide_default_value = true
    )]
    pub(crate) color: Color,
    /// Profile: which ledger, whose keys [default: profile.toml in $KUSABI_HOME or ~/.config/kusabi]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) profile: Option<PathBuf>,
    /// Address of a node, instead of the profile's
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) ledger: Option<String>,
    /// Chain ID (genesis hash), instead of the profile's
    #[arg(long, global = true, value_name = "HASH")]
    pub(crate) chain: Option<String>,
    /// Address of a server's admin API, instead of the profile's
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) server: Option<String>,
    /// File that holds the token for the server, instead of the profile's
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Certificates (PEM) that the server's comes from, instead of those that this machine trusts
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) server_ca: Option<PathBuf>,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless `NO_COLOR` is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Run the ledger and the server in one process; found both if there are none
    Up(verb::up::Args),
    /// Make the files with which devices leave the factory, and register them
    Provision(Box<verb::provision::Args>),
    /// Devices: list, show, order, quarantine, readmit, revoke
    #[command(subcommand)]
    Device(verb::device::Verb),
    /// Orders that were given
    #[command(subcommand)]
    Order(verb::order::Verb),
    /// Alarms: what needs a person
    #[command(subcommand)]
    Alarm(verb::alarm::Verb),
    /// Firmware, from its files to the ledger and the server
    #[command(subcommand)]
    Release(verb::release::Verb),
    /// Roll a release out to many devices, in phases
    #[command(subcommand)]
    Rollout(verb::rollout::Verb),
    /// The lowest counter that a channel's releases must have
    #[command(subcommand)]
    Channel(verb::channel::Verb),
    /// Devices that are in the field already
    #[command(subcommand)]
    Enrol(verb::enrol::Verb),
    /// Stock Mender devices that ask to be let in
    #[command(subcommand)]
    Mender(verb::mender::Verb),
    /// Run a server apart from the ledger's node
    #[command(subcommand)]
    Server(verb::server::Verb),
    /// Bring a server's database back from the ledger
    Rebuild(verb::rebuild::Args),
    /// Look for what is wrong, and say what to do
    Doctor(verb::doctor::Args),
    /// Run a node of the ledger; found one if there is none
    #[command(subcommand)]
    Node(verb::node::Verb),
    /// Found a ledger together with other organisations
    #[command(subcommand)]
    Genesis(verb::genesis::Verb),
    /// The validators of the next epoch: appoint them together
    #[command(subcommand)]
    Epoch(verb::epoch::Verb),
    /// Make, register, look up, replace and revoke keys
    #[command(subcommand)]
    Key(verb::key::Verb),
    /// Make and register many keys at once
    #[command(subcommand)]
    Batch(verb::batch::Verb),
    /// Sign a file
    Sign(verb::sign::Args),
    /// Check a signed file
    Verify(verb::verify::Args),
    /// Who may write in an organisation's name
    #[command(subcommand)]
    Org(verb::org::Verb),
    /// Measure a ledger on this machine
    Bench(verb::bench::Args),
    /// Watch a fleet live
    Demo(verb::demo::Args),
    /// Copy the ledger's blocks to a file
    Backup(verb::backup::Args),
    /// Bring a ledger's blocks back from a backup
    Restore(verb::restore::Args),
    /// Go on after the disk was lost, with the recovery key
    Recover(verb::recover::Args),
    /// Replay the ledger from its genesis and compare every root and signature
    Audit(verb::audit::Args),
    /// Print a completion script for a shell
    Completions(verb::completions::Args),
    /// Write the manual pages to a folder
    Man(verb::man::Args),
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::exit::Exit;

    const UNITS: [&str; 2] = [
        include_str!("../../../packaging/kusabi-node.service"),
        include_str!("../../../packaging/kusabi-server.service"),
    ];

    /// The value of the only line of a unit with this name.
    fn line<'t>(unit: &'t str, name: &str) -> &'t str {
        let named = |line: &'t str| line.strip_prefix(name)?.strip_prefix('=');
        let mut values = unit.lines().filter_map(named);
        let value = values.next().unwrap_or_else(|| panic!("no {name}"));
        assert_eq!(values.next(), None, "{name} twice");
        value
    }

    #[test]
    fn the_packaged_units_start_what_there_is() {
        for (unit, verb) in UNITS.into_iter().zip(["node", "server"]) {
            let words: Vec<_> = line(unit, "ExecStart").split(' ').collect();
            let cli = Cli::try_parse_from(&words).unwrap();
            let (data, config) = match cli.verb {
                Verb::Node(verb::node::Verb::Run(args)) if verb == "node" => {
                    (args.data, args.config)
                }
                Verb::Server(verb::server::Verb::Run(args)) if verb == "server" => args.places(),
                other => panic!("{other:?}"),
            };
            assert_eq!(words.first(), Some(&"/usr/bin/kusabi"));
            // The directory is the unit's own, and the file the one that is packaged beside it.
            let state = format!("/var/lib/{}", line(unit, "StateDirectory"));
            assert_eq!(data.to_str(), Some(&*state));
            assert_eq!(line(unit, "Environment"), format!("KUSABI_HOME={state}"));
            assert_eq!(line(unit, "User"), line(unit, "StateDirectory"));
            assert!(line(unit, "AssertPathExists").starts_with(&format!("{state}/")));
            let packaged = format!("/etc/kusabi/{verb}.toml");
            assert_eq!(config.unwrap().to_str(), Some(&*packaged));
        }
    }

    #[test]
    fn the_packaged_units_do_not_repeat_what_a_person_has_to_mend() {
        let prevented = UNITS.map(|unit| {
            assert_eq!(line(unit, "Restart"), "on-failure");
            let codes = line(unit, "RestartPreventExitStatus").split(' ');
            let codes: Vec<u8> = codes.map(|code| code.parse().unwrap()).collect();
            for code in &codes {
                let mut known = Exit::TABLE.iter();
                assert!(known.any(|(exit, ..)| *exit as u8 == *code), "{code}");
            }
            codes
        });
        for exit in [
            Exit::Usage,
            Exit::File,
            Exit::Config,
            Exit::NotWritable,
            Exit::DiskFull,
            Exit::OtherChain,
            Exit::Genesis,
            Exit::Damaged,
        ] {
            let code = exit as u8;
            assert!(
                prevented.iter().all(|codes| codes.contains(&code)),
                "{code}"
            );
        }
        for exit in [Exit::VotesLost, Exit::WrongKey, Exit::OtherFormat] {
            assert!(prevented[0].contains(&(exit as u8)));
        }
        // These pass by themselves, or need not come again.
        for exit in [
            Exit::Unavailable,
            Exit::InUse,
            Exit::Address,
            Exit::Internal,
        ] {
            let code = exit as u8;
            assert!(
                !prevented.iter().any(|codes| codes.contains(&code)),
                "{code}"
            );
        }
    }
}
