//! Devices: made known, listed, shown.

use super::{App, By, Change, Cut, Error, act::Done};
use crate::store::{Tx, devices, groups, timeline};
use kusabi_api::{
    Hex32,
    admin::{
        Device, DeviceClass, DeviceDetail, DeviceImport, DeviceKey, DeviceState, EventKind,
        Freshness, Inventory, Page, Text,
    },
};
use kusabi_core::{
    id::Handle,
    row::{Record, Status},
    suite::{Purpose, Suite},
};
use serde_json::json;

/// Which devices a list shows: those for which all that is said holds.
#[derive(Clone, Debug, Default)]
pub struct DeviceQuery {
    /// In this group.
    pub group: Option<String>,
    /// Of this type.
    pub device_type: Option<Text>,
    /// In this state.
    pub state: Option<DeviceState>,
    /// With this serial.
    pub serial: Option<Text>,
    /// With this verdict on its newest inventory, and not another owner's by now.
    pub inventory: Option<Inventory>,
    /// With this text somewhere in its serial or name, upper or lower case. It is looked for in every device that fits the rest.
    pub search: Option<Text>,
}

impl App {
    /// The devices, by ID.
    ///
    /// # Errors
    /// A bad cursor or limit; the database.
    pub async fn devices(&self, query: DeviceQuery, cut: &Cut) -> Result<Page<Device>, Error> {
        let (after, count) = (cut.after()?, cut.fetch()?);
        let filter = devices::Filter {
            group: query.group,
            device_type: query.device_type,
            state: query.state,
            serial: query.serial,
            inventory: query.inventory,
            search: query.search,
        };
        let mut reader = self.store.read("list devices").await?;
        let devices = devices::list(reader.on(), &filter, after, count).await?;
        cut.page(devices, |device| device.id.clone())
    }

    /// One device.
    ///
    /// # Errors
    /// There is none with this ID; the database.
    pub async fn device(&self, id: &str) -> Result<DeviceDetail, Error> {
        let mut reader = self.store.read("show a device").await?;
        let device = devices::find(reader.on(), id)
            .await?
            .ok_or_else(|| unknown(id))?;
        Ok(DeviceDetail {
            device,
            keys: devices::keys(reader.on(), id).await?,
            groups: groups::of_device(reader.on(), id).await?,
        })
    }

    /// Makes a device known whose first key stands on the ledger: proven there, of this organisation, a factory or device key; active,
    /// or that of a device to which the ledger was followed. A repeat changes nothing.
    ///
    /// # Errors
    /// The key is not such a one; the serial is another device's; ledger or database fail.
    pub async fn import_device(&self, by: &By, import: DeviceImport) -> Result<Device, Error> {
        let handle = Handle::new(import.handle.0);
        let proven = self.ask(self.ledger.record(&handle)).await?;
        let record = self.check_first_key(import.handle, proven.value().as_ref())?;
        let ended = match record.status() {
            Status::Active => None,
            status => Some(kusabi_api::view::status(status)),
        };
        let class = class_of(record.keys().suite());
        let (state, purpose) = match record.purpose() {
            Purpose::Pre => (DeviceState::Registered, "pre"),
            _ => (DeviceState::Active, "act"),
        };
        let key = DeviceKey {
            handle: import.handle,
            purpose: purpose.into(),
            predecessor: None,
            registered: record.registered().get(),
            status: String::from("active"),
            ended: None,
        };
        let (import, key) = (&import, &key);
        self.act(by, "device.import", move |tx, now_ms| {
            Box::pin(async move {
                let device = Device {
                    id: kusabi_api::admin::device_id(&import.handle),
                    class,
                    state,
                    device_type: import.device_type.clone(),
                    serial: import.serial.clone(),
                    name: import.name.clone(),
                    firmware: None,
                    inventory: Inventory::Unknown,
                    freshness: Freshness::Unknown,
                    last_contact_ms: None,
                    created_ms: now_ms,
                };
                if let Some(id) = devices::with_key(tx.on(), import.handle.0).await? {
                    let there = devices::find(tx.on(), &id)
                        .await?
                        .ok_or_else(|| unknown(&id))?;
                    let same = (&there.device_type, &there.serial, &there.name)
                        == (&device.device_type, &device.serial, &device.name);
                    let nameless =
                        (&there.device_type, &there.serial, &there.name) == (&None, &None, &None);
                    if same {
                        return Ok(Done::nothing(there));
                    }
                    if !nameless {
                        return Err(exists("key", id));
                    }
                    // The ledger was followed to it before anyone told what it is called.
                    serial_is_free(tx, device.serial.as_ref()).await?;
                    let described = Device {
                        device_type: device.device_type,
                        serial: device.serial,
                        name: device.name,
                        ..there
                    };
                    devices::describe(tx.on(), &described).await?;
                    let detail = particulars(import);
                    let told = Change::Device(id.clone());
                    return Ok(Done::changed(described, id, detail).telling([told]));
                }
                if let Some(ended) = ended {
                    return Err(Error::Unfit(format!(
                        "the key {} is not active any more: {ended}",
                        import.handle
                    )));
                }
                serial_is_free(tx, device.serial.as_ref()).await?;
                devices::insert(tx.on(), &device).await?;
                devices::insert_key(tx.on(), &device.id, key).await?;
                let detail = particulars(import);
                timeline::append(tx.on(), &device.id, now_ms, EventKind::Known, &detail).await?;
                let id = device.id.clone();
                let told = Change::Device(id.clone());
                Ok(Done::changed(device, id, detail).telling([told]))
            })
        })
        .await
    }

    fn check_first_key<'r>(
        &self,
        handle: Hex32,
        record: Option<&'r Record>,
    ) -> Result<&'r Record, Error> {
        let unfit = |why: String| Error::Unfit(format!("the key {handle} {why}"));
        let record = record.ok_or_else(|| {
            unfit(String::from(
                "is not on the ledger; register it first, then import the device",
            ))
        })?;
        if record.owner() != self.org() {
            return Err(unfit(String::from("belongs to another organisation")));
        }
        if !matches!(record.purpose(), Purpose::Pre | Purpose::Act) {
            return Err(unfit(format!(
                "is of purpose {}; a device has one of purpose pre or act",
                record.purpose().name()
            )));
        }
        if let Some(predecessor) = record.predecessor() {
            return Err(unfit(format!(
                "is not the device's first; that is {predecessor} or an earlier one"
            )));
        }
        Ok(record)
    }
}

/// What the audit log says of an import.
fn particulars(import: &DeviceImport) -> serde_json::Value {
    json!({
        "handle": import.handle, "type": import.device_type,
        "serial": import.serial, "name": import.name,
    })
}

async fn serial_is_free(tx: &mut Tx<'_>, serial: Option<&Text>) -> Result<(), Error> {
    if let Some(serial) = serial
        && let Some(id) = devices::with_serial(tx.on(), serial).await?
    {
        return Err(exists("serial", id));
    }
    Ok(())
}

/// What a device of these keys is. Who has a foreign one cannot speak kusabi's protocol.
pub(super) const fn class_of(suite: Suite) -> DeviceClass {
    match suite {
        Suite::Curve25519 | Suite::P256 => DeviceClass::Kusabi,
        Suite::Foreign => DeviceClass::Mender,
    }
}

pub(super) fn unknown(id: &str) -> Error {
    Error::Unknown {
        what: "device",
        id: id.to_owned(),
    }
}

fn exists(by: &'static str, id: String) -> Error {
    Error::Exists {
        what: "a device",
        by,
        id,
    }
}
