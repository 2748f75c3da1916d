//! `kusabi-agent`: the daemon, and what a person or a script asks of it.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;

use kusabi_agent::config::{Config, ConfigError};
use kusabi_agent::daemon::{Daemon, DaemonError, Enrolment, Once, Status, Stop, TOKEN_BYTES};
use kusabi_agent::log::Log;
use lexopt::{Arg, Parser, ValueExt as _};
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;
use zeroize::Zeroizing;

const HELP: &str = "\
The device's daemon of kusabi.

usage: kusabi-agent [--config FILE] [run] [--once]
       kusabi-agent [--config FILE] enrol --token-file FILE [--file FILE] [--label SERIAL]
       kusabi-agent [--config FILE] status | check

run              polls, and does what it is ordered, until SIGTERM; SIGUSR1 polls now
  --once         one poll with everything that it brings, then ends
enrol            makes a key for a device in the field and waits until it is accepted
  --token-file   file with the token, or - for standard input; --token is the same: a token itself is never an argument
  --file         the organisation's public file; otherwise the configuration's `provisioning`
  --label        what people call the device: its serial number
status           what this device is, and when a server was heard last; may be asked while it runs
check            reads the configuration and what it leads to, changes nothing

--config FILE    configuration (TOML); otherwise /etc/kusabi/agent.toml

exit codes
  0  done
  1  it failed: the disk, the key store, the updater
  2  wrong usage
  3  the configuration is wrong
  4  the device is not provisioned, or its provisioning file is refused
  5  another agent runs on this state directory
  6  --once: no server answered a poll
  7  --once: an order failed or was refused; the server knows
  8  --once: something is not finished: the machine is to restart, or it goes on next time
  9  the enrolment was refused
 10  the enrolment waits to be accepted; the next start goes on with it
";

const CONFIG: &str = "/etc/kusabi/agent.toml";

fn main() -> ExitCode {
    match command().and_then(Command::run) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            // Whoever closed standard error does not want to know.
            let _ = writeln!(io::stderr(), "kusabi-agent: {failure}");
            ExitCode::from(failure.code())
        }
    }
}

/// Why a command ended.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}\nkusabi-agent --help says what there is")]
    Usage(String),
    #[error("{}: {error}", path.display())]
    Config { path: PathBuf, error: ConfigError },
    #[error("{0}")]
    Daemon(#[from] DaemonError),
    #[error("{path}: {error}", path = path.display())]
    Token { path: PathBuf, error: io::Error },
    #[error("the signals cannot be caught: {0}")]
    Signals(io::Error),
    #[error("standard output: {0}")]
    Output(io::Error),
}

impl Failure {
    const fn code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Config { .. } => 3,
            Self::Daemon(error) => match error {
                DaemonError::NotProvisioned { .. }
                | DaemonError::Provisioning { .. }
                | DaemonError::Exposed { .. }
                | DaemonError::PublicFile { .. }
                | DaemonError::PrivateFile { .. }
                | DaemonError::Enrolled => 4,
                DaemonError::NoTls { .. } | DaemonError::Ca(_) => 3,
                DaemonError::Running { .. } => 5,
                DaemonError::Token | DaemonError::Label => 2,
                _ => 1,
            },
            Self::Token { .. } | Self::Signals(_) | Self::Output(_) => 1,
        }
    }
}

impl From<lexopt::Error> for Failure {
    fn from(error: lexopt::Error) -> Self {
        Self::Usage(error.to_string())
    }
}

struct Command {
    config: PathBuf,
    verb: Verb,
}

enum Verb {
    Run { once: bool },
    Enrol(Enrol),
    Status,
    Check,
    Say(&'static str),
}

#[derive(Default)]
struct Enrol {
    token: Option<PathBuf>,
    file: Option<PathBuf>,
    label: String,
}

/// Reads the arguments; nothing is done yet.
fn command() -> Result<Command, Failure> {
    let mut parser = Parser::from_env();
    let mut config = None;
    let mut verb: Option<OsString> = None;
    let mut once = false;
    let mut enrol = Enrol::default();
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Short('h') | Arg::Long("help") => return Ok(say(HELP)),
            Arg::Short('V') | Arg::Long("version") => {
                return Ok(say(concat!(
                    "kusabi-agent ",
                    env!("CARGO_PKG_VERSION"),
                    "\n"
                )));
            }
            Arg::Short('c') | Arg::Long("config") => config = Some(parser.value()?.into()),
            Arg::Long("once") => once = true,
            Arg::Long("token-file" | "token") => enrol.token = Some(parser.value()?.into()),
            Arg::Long("file") => enrol.file = Some(parser.value()?.into()),
            Arg::Long("label") => enrol.label = parser.value()?.string()?,
            Arg::Value(word) if verb.is_none() => verb = Some(word),
            other => return Err(other.unexpected().into()),
        }
    }
    let name = verb.as_deref().and_then(|word| word.to_str());
    let enrols = enrol.token.is_some() || enrol.file.is_some() || !enrol.label.is_empty();
    let verb = match (verb.as_ref(), name) {
        (None, _) | (_, Some("run")) => Verb::Run { once },
        (_, Some("enrol")) => Verb::Enrol(enrol),
        (_, Some("status")) => Verb::Status,
        (_, Some("check")) => Verb::Check,
        (Some(word), _) => {
            let word = word.to_string_lossy();
            return Err(Failure::Usage(format!("there is no {word:?} to do")));
        }
    };
    if once && !matches!(verb, Verb::Run { .. }) {
        return Err(Failure::Usage("--once belongs to run".into()));
    }
    if enrols && !matches!(verb, Verb::Enrol(_)) {
        return Err(Failure::Usage(
            "--token-file, --file and --label belong to enrol".into(),
        ));
    }
    Ok(Command {
        config: config.unwrap_or_else(|| CONFIG.into()),
        verb,
    })
}

fn say(text: &'static str) -> Command {
    Command {
        config: PathBuf::new(),
        verb: Verb::Say(text),
    }
}

impl Command {
    fn run(self) -> Result<u8, Failure> {
        if let Verb::Say(text) = self.verb {
            return print(text);
        }
        let config = Config::load(&self.config).map_err(|error| Failure::Config {
            path: self.config.clone(),
            error,
        })?;
        match self.verb {
            Verb::Run { once: false } => {
                let daemon = Daemon::open(config)?;
                daemon.run(&bell()?)?;
                Ok(0)
            }
            Verb::Run { once: true } => {
                let daemon = Daemon::open(config)?;
                Ok(code(daemon.once(&bell()?)?))
            }
            Verb::Enrol(enrol) => {
                let path = enrol
                    .token
                    .ok_or_else(|| Failure::Usage("enrol needs --token-file FILE".into()))?;
                let log = Log::to_stderr(config.log);
                let enrolment = Enrolment {
                    file: enrol.file.unwrap_or_else(|| config.provisioning.clone()),
                    token: token(&path)?,
                    label: enrol.label,
                };
                let daemon = Daemon::enrol(config, &enrolment, log)?;
                Ok(match daemon.wait_for_enrolment(&bell()?)? {
                    Once::Stopped => code(Once::Waiting),
                    ended => code(ended),
                })
            }
            Verb::Status => print(&status(&Daemon::status(&config)?)),
            Verb::Check => {
                Daemon::check(&config)?;
                print("in order\n")
            }
            Verb::Say(text) => print(text),
        }
    }
}

const fn code(once: Once) -> u8 {
    match once {
        Once::Unreachable => 6,
        Once::OrderFailed => 7,
        Once::Unfinished => 8,
        Once::Refused => 9,
        Once::Waiting => 10,
        _ => 0,
    }
}

/// A bell that the process's signals ring.
fn bell() -> Result<Stop, Failure> {
    let stop = Stop::new();
    let rung = stop.clone();
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGUSR1]).map_err(Failure::Signals)?;
    thread::spawn(move || {
        for signal in signals.forever() {
            if signal == SIGUSR1 {
                rung.poll_now();
            } else {
                rung.stop();
            }
        }
    });
    Ok(stop)
}

/// Reads a token: a line, or the whole of a file without a line end.
fn token(path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let failed = |error| Failure::Token {
        path: path.into(),
        error,
    };
    // Room for all of it at once, so that growing leaves no copies behind.
    let limit = TOKEN_BYTES.end() + 3;
    let mut token = Zeroizing::new(Vec::with_capacity(limit + 1));
    let reader: Box<dyn io::Read> = if path == Path::new("-") {
        Box::new(io::stdin())
    } else {
        Box::new(std::fs::File::open(path).map_err(failed)?)
    };
    reader
        .take(limit as u64)
        .read_to_end(&mut token)
        .map_err(failed)?;
    while token.last().is_some_and(u8::is_ascii_whitespace) {
        token.pop();
    }
    Ok(token)
}

fn status(status: &Status) -> String {
    let contact = match &status.contact {
        None => "never".to_owned(),
        Some((age, server)) => format!("{} s ago, {}", age.as_secs(), server.escape_default()),
    };
    let present = match &status.freshness {
        Some((age, text)) => match text.split_once(' ') {
            Some(("shown", height)) => format!(
                "shown {} s ago, at height {}",
                age.as_secs(),
                height.escape_default()
            ),
            Some(("stale", _)) => {
                "not shown: nothing is installed and no server adopted until it is".to_owned()
            }
            _ => "not shown yet since the start".to_owned(),
        },
        None => "not shown yet since the start".to_owned(),
    };
    let registered = if status.registered {
        ""
    } else {
        ", waits to be enrolled"
    };
    let release = status
        .release
        .map_or_else(|| "factory image".to_owned(), |digest| digest.to_string());
    format!(
        "handle       {}\npurpose      {}{registered}\nserial       {}\nservers      {}\nfloor        height {}, epoch {}\nrelease      {release}\ncounter      {}\nupdate       {}\nlast contact {contact}\npresent      {present}\n",
        status.handle,
        status.purpose,
        status.serial.escape_default(),
        status.servers.join(" "),
        status.floor,
        status.epoch,
        status.counter,
        status.phase,
    )
}

fn print(text: &str) -> Result<u8, Failure> {
    io::stdout()
        .write_all(text.as_bytes())
        .map_err(Failure::Output)?;
    Ok(0)
}
