//! `kusabi rollout new`: rolls a release out.

use kusabi_api::{
    Hex, Hex32,
    admin::{DeviceFilter, DeviceState, Inventory, Phase, PhaseSize, Rollout, RolloutCreate, Text},
};
use serde::Serialize;

use super::{particulars, phase};
use crate::{
    exit::Exit,
    failure::{Failure, Result},
    fleet::{Fleet, idempotency_key, text},
    page::{Answer, Page},
    session::Session,
    verb::release::Which,
};

/// Roll a release out to many devices, in phases
///
/// The devices are chosen when the rollout begins, and stay the same: those for which all that is said holds, of the types that the
/// release is for. One that runs the release already, or that another rollout has, is skipped.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("whom").required(true).multiple(true))]
pub(crate) struct Args {
    /// What it is called
    #[arg(value_name = "NAME")]
    name: String,
    /// The release, by its digest or its file
    #[arg(long, value_name = "RELEASE")]
    release: Which,
    /// Every device that the release is for
    #[arg(long, group = "whom", conflicts_with_all = ["devices", "group", "types", "serials", "search", "state", "running", "inventory"])]
    all: bool,
    /// The device with this ID; may be given several times
    #[arg(long = "device", value_name = "DEVICE", group = "whom")]
    devices: Vec<String>,
    /// Devices that are in this group when it begins, by its name or ID
    #[arg(long, value_name = "GROUP", group = "whom")]
    group: Option<String>,
    /// Devices of this type; may be given several times
    #[arg(long = "type", value_name = "TYPE", group = "whom")]
    types: Vec<String>,
    /// The device with this serial; may be given several times
    #[arg(long = "serial", value_name = "SERIAL", group = "whom")]
    serials: Vec<String>,
    /// Devices with this text in their serial or name
    #[arg(long, value_name = "TEXT", group = "whom")]
    search: Option<String>,
    /// Devices in this state: registered, active
    #[arg(long, value_name = "STATE", value_parser = state, group = "whom")]
    state: Option<DeviceState>,
    /// Devices that run this release, by its digest or its file
    #[arg(long, value_name = "RELEASE", group = "whom")]
    running: Option<Which>,
    /// Devices with this verdict on their inventory: unknown, expected, differs
    #[arg(long, value_name = "VERDICT", value_parser = inventory, group = "whom")]
    inventory: Option<Inventory>,
    /// A phase: SIZE[,WHEN][,success=N][,failures=N or N%], as 10%, 500,after=2h or rest,by-hand; in order. All at once when not said
    #[arg(long = "phase", value_name = "PHASE", value_parser = phase::phase)]
    phases: Vec<Phase>,
    /// How many further tries a device that fails gets
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    retries: u8,
    /// Also devices that run the release already: they install it again
    #[arg(long)]
    force: bool,
    /// When it begins, as 2027-01-31T02:00:00Z; at once when not said
    #[arg(long, value_name = "TIME", value_parser = phase::instant)]
    start: Option<u64>,
    /// A device that has not answered its order after so long has failed, as 30m, 12h or 7d; without it, it is waited for
    #[arg(long, value_name = "TIME", value_parser = phase::secs)]
    deadline: Option<u64>,
}

fn state(word: &str) -> Result<DeviceState, String> {
    DeviceState::from_name(word).ok_or_else(|| "a state is registered or active".to_owned())
}

fn inventory(word: &str) -> Result<Inventory, String> {
    Inventory::from_name(word).ok_or_else(|| "a verdict is unknown, expected or differs".to_owned())
}

#[derive(Serialize)]
struct Made {
    #[serde(flatten)]
    rollout: Rollout,
}

impl Answer for Made {
    fn page(&self, page: &mut Page) {
        let rollout = &self.rollout;
        page.good("Rolling out", &rollout.plan.name.to_string());
        particulars(rollout, page);
        if rollout.began_ms.is_some() && rollout.total == 0 {
            page.text("No device is to have it, so nothing will happen.");
        } else {
            page.command(&format!("kusabi rollout show {}", rollout.id));
        }
    }
}

fn digest(which: &Which) -> Result<Hex32> {
    Ok(Hex(which.digest()?.to_bytes()))
}

fn texts(what: &str, all: &[String]) -> Result<Vec<Text>> {
    all.iter().map(|one| text(what, one)).collect()
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<Exit> {
    let name = text("the name", &args.name)?;
    let release = digest(&args.release)?;
    let fleet = Fleet::open(session)?;
    let group = args
        .group
        .as_deref()
        .map(|group| fleet.group(group))
        .transpose()?;
    let devices = DeviceFilter {
        ids: args.devices.clone(),
        group: group.map(|group| group.id),
        types: texts("the type", &args.types)?,
        serials: texts("the serial", &args.serials)?,
        search: args
            .search
            .as_deref()
            .map(|search| text("the text", search))
            .transpose()?,
        state: args.state,
        running: args.running.as_ref().map(digest).transpose()?,
        inventory: args.inventory,
    };
    if devices.is_all() && !args.all {
        return Err(Failure::new(Exit::Usage, "no devices are named")
            .advise("--all means every device that the release is for"));
    }
    let phases = match &args.phases[..] {
        [] => vec![Phase::new(PhaseSize::Rest)],
        phases => phases.to_vec(),
    };
    let create = RolloutCreate {
        name,
        release,
        devices,
        phases,
        retries: args.retries,
        force: args.force,
        start_ms: args.start,
        deadline_secs: args.deadline,
    };
    let key = idempotency_key(session);
    let rollout = fleet.ask(fleet.client().create_rollout(&create, &key))?;
    session.output().say(&Made { rollout })?;
    Ok(Exit::Ok)
}
