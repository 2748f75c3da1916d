//! `kusabi enrol token`: what devices in the field ask with.

use std::path::PathBuf;

use kusabi_api::admin::{EnrolmentToken, EnrolmentTokenCreate};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::{
    exit::Exit,
    failure::{Failure, Result},
    files::{self, Mode},
    fleet::{Fleet, idempotency_key, text},
    page::{Answer, Page, grouped, instant},
    session::Session,
};

/// Make a token with which devices in the field ask to be enrolled
///
/// It lets a device ask, and nothing else: a person accepts each, or a list of serials does.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// File for the token (0600); it is shown nowhere else
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// What it is for
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Type of the devices that come with it
    #[arg(long = "type", value_name = "TYPE")]
    device_type: Option<String>,
    /// The group that they are put into, by its name or ID
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    /// How many devices may ask with it [default: any number]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    uses: Option<u64>,
    /// How many days it is good [default: until it is revoked]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..=36_500))]
    days: Option<u64>,
}

#[derive(Serialize)]
struct Made {
    file: PathBuf,
    #[serde(flatten)]
    token: EnrolmentToken,
}

impl Answer for Made {
    fn page(&self, page: &mut Page) {
        page.good("Made", &self.file.display().to_string())
            .field("token", &*self.token.id)
            .field_if(
                "type",
                self.token.device_type.as_ref().map(ToString::to_string),
            )
            .field_if("devices", self.token.uses_left.map(grouped))
            .field_if("good until", self.token.expires_ms.map(instant))
            .gap()
            .text("On the device, with the file of kusabi provision --public:")
            .command(
                "kusabi-agent enrol --token-file FILE --file ORGANISATION-FILE --label SERIAL",
            );
    }
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<Exit> {
    if args.file.symlink_metadata().is_ok() {
        return Err(Failure::io(
            "created",
            &args.file,
            &std::io::ErrorKind::AlreadyExists.into(),
        ));
    }
    let fleet = Fleet::open(session)?;
    let create = EnrolmentTokenCreate {
        name: args
            .name
            .as_deref()
            .map(|name| text("--name", name))
            .transpose()?,
        device_type: args
            .device_type
            .as_deref()
            .map(|name| text("--type", name))
            .transpose()?,
        group: match &args.group {
            Some(group) => Some(fleet.group(group)?.id),
            None => None,
        },
        uses: args.uses,
        expires_ms: args
            .days
            .map(|days| session.now_ms().saturating_add(days * 86_400_000)),
    };
    let key = idempotency_key(session);
    let created = fleet.ask(fleet.client().create_enrolment_token(&create, &key))?;
    let line = Zeroizing::new(format!("{}\n", created.secret));
    files::create(&args.file, line.as_bytes(), Mode::Secret)?;
    session.output().say(&Made {
        file: args.file.clone(),
        token: created.token,
    })?;
    Ok(Exit::Ok)
}
