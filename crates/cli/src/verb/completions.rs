//! `kusabi completions`: a script for bash, zsh, fish, elvish or PowerShell.

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::{args::Cli, failure::Result, session::Session};

/// Prints a completion script; each shell wants it in its own place:
///
///   bash        kusabi completions bash > ~/.local/share/bash-completion/completions/kusabi
///   zsh         kusabi completions zsh  > a folder of $fpath, as _kusabi
///   fish        kusabi completions fish > ~/.config/fish/completions/kusabi.fish
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// The shell
    shell: Shell,
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "kusabi", &mut script);
    session.output().raw(&script)
}
