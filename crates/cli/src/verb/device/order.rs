//! `kusabi device order`: tells a device, or a group of them, to do something.

use clap::ValueEnum;
use kusabi_api::{
    Hex,
    admin::{Order, OrderCreate, OrderKind, Target},
};
use serde::Serialize;

use crate::{
    exit::Exit,
    failure::{Failure, Result},
    fleet::{Fleet, idempotency_key},
    page::{Answer, Page, grouped},
    session::Session,
    verb::release::Which,
};

/// Give an order to a device or to the devices of a group
///
/// A device that holds a request open gets it at once, the others at their next poll.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("whom").required(true))]
pub(crate) struct Args {
    /// What to do
    #[arg(value_enum, value_name = "KIND")]
    kind: Kind,
    /// The device: its serial, or its ID (dev_…)
    #[arg(value_name = "DEVICE", group = "whom")]
    device: Option<String>,
    /// The devices that are in this group now, by its name or ID
    #[arg(long, value_name = "GROUP", group = "whom")]
    group: Option<String>,
    /// With update and repair: the release, by its digest or its file
    #[arg(long, value_name = "RELEASE")]
    release: Option<Which>,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Install a release
    Update,
    /// Send the inventory, signed
    Report,
    /// Take a new device key
    Rotate,
    /// Install a release even if it is the one that runs
    Repair,
}

impl From<Kind> for OrderKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Update => Self::Update,
            Kind::Report => Self::Report,
            Kind::Rotate => Self::Rotate,
            Kind::Repair => Self::Repair,
        }
    }
}

#[derive(Serialize)]
struct Given {
    #[serde(flatten)]
    order: Order,
    #[serde(skip)]
    whom: String,
}

impl Answer for Given {
    fn page(&self, page: &mut Page) {
        let order = &self.order;
        page.good(
            "Ordered",
            &format!("{} for {}", order.kind.name(), self.whom),
        )
        .field("order", order.id.to_string())
        .field_if("release", order.release.map(|digest| digest.to_string()))
        .field("devices", grouped(order.devices));
        if order.devices == 0 {
            // Only one that has moved is left out.
            let why = match order.target {
                Target::Group(_) => "No device of yours is in this group".to_owned(),
                Target::Device(_) | Target::Rollout(_) => {
                    format!("{} belongs to another organisation now", self.whom)
                }
            };
            page.text(&format!("{why}, so nothing will happen."));
        }
    }
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<Exit> {
    let takes_release = matches!(args.kind, Kind::Update | Kind::Repair);
    let release = match (&args.release, takes_release) {
        (Some(release), true) => Some(Hex(release.digest()?.to_bytes())),
        (None, false) => None,
        (None, true) => {
            return Err(Failure::new(
                Exit::Usage,
                "an order to update or repair names a release",
            )
            .advise("give --release DIGEST or --release FILE; kusabi release list shows those that there are"));
        }
        (Some(_), false) => {
            return Err(Failure::new(
                Exit::Usage,
                "only orders to update and repair name a release",
            ));
        }
    };
    let fleet = Fleet::open(session)?;
    let (target, whom) = match (&args.device, &args.group) {
        (Some(device), _) => (Target::Device(fleet.device_id(device)?), device.clone()),
        (None, Some(group)) => {
            let group = fleet.group(group)?;
            (Target::Group(group.id), format!("the group {}", group.name))
        }
        // One of them is required.
        (None, None) => return Err(Failure::new(Exit::Usage, "nobody is named")),
    };
    let create = OrderCreate {
        kind: args.kind.into(),
        release,
        target,
    };
    let key = idempotency_key(session);
    let order = fleet.ask(fleet.client().create_order(&create, &key))?;
    session.output().say(&Given { order, whom })?;
    Ok(Exit::Ok)
}
