//! `kusabi device expected`: what the inventory of a type's devices is as they leave the factory.

use std::path::PathBuf;

use serde::Serialize;

use crate::{
    exit::Exit,
    failure::{Failure, Result},
    fleet::{self, Fleet},
    page::{Answer, Page, grouped},
    roster,
    session::Session,
    verb::provision::{Image, Told},
};

/// Tell the server what to expect of a type's devices, from the root file system of their factory image
///
/// As provision --expected does. A release says it for those who install it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The type
    #[arg(value_name = "TYPE")]
    device_type: String,
    /// Root file system of the factory image: a folder, or an ext4, SquashFS or tar image
    #[arg(value_name = "FOLDER|IMAGE")]
    root: PathBuf,
    /// The agent's configuration on these devices: which paths it inventories
    #[arg(long, value_name = "FILE.toml")]
    agent_config: Option<PathBuf>,
}

#[derive(Serialize)]
struct Expected {
    #[serde(flatten)]
    told: Told,
}

impl Answer for Expected {
    fn page(&self, page: &mut Page) {
        page.good(
            "Expected",
            &format!("of devices of type {}", self.told.device_type),
        )
        .field("components", grouped(self.told.components.into()))
        .field("digest", &*self.told.digest);
    }
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<Exit> {
    roster::check_type(&args.device_type)
        .map_err(|why| Failure::new(Exit::Usage, format!("{}: {why}", args.device_type)))?;
    let device_type = fleet::text("the type", &args.device_type)?;
    let config = args.agent_config.as_deref();
    let image = Image::of(&args.root, config, Some(&args.device_type))?;
    let told = image.tell(&Fleet::open(session)?, device_type)?;
    session.output().say(&Expected { told })?;
    Ok(Exit::Ok)
}
