//! What a Mender device reports of itself: names with texts, which it makes up as it likes.

use super::super::{App, Change, Error};
use super::MenderDevice;
use crate::{
    share::secs,
    store::{Tx, devices, mender_devices, timeline},
};
use kusabi_api::admin::{
    EventKind, MenderAttribute, MenderDeviceDetail, MenderIdentity, MenderValue, Text,
};
use serde_json::json;
use std::collections::BTreeMap;

/// Most attributes of a device, and most bytes of one name and of all of them as JSON.
const ATTRIBUTES_MAX: usize = 512;
const NAME_BYTES_MAX: usize = 1024;
const BYTES_MAX: usize = 64 * 1024;

/// Whether what is reported takes the place of what was there, or is added to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reporting {
    /// It is all there is.
    Whole,
    /// What has the same name is replaced, the rest stays.
    Part,
}

/// A device's attributes by name.
type Attributes = BTreeMap<String, MenderValue>;

impl App {
    /// Keeps what a device reports of itself. Its type becomes the device's where none is known.
    ///
    /// # Errors
    /// It is malformed, or too much; the device reports something new too often; the database.
    pub(crate) async fn report_attributes(
        &self,
        device: &MenderDevice,
        how: Reporting,
        body: &[u8],
    ) -> Result<(), Error> {
        let reported: Vec<MenderAttribute> = serde_json::from_slice(body).map_err(|why| {
            Error::Malformed(format!(
                "the inventory is a list of names and values, each a text or a list of texts: {why}"
            ))
        })?;
        let reported: Attributes = reported
            .into_iter()
            .map(|attribute| (attribute.name, attribute.value))
            .collect();
        let long = |name: &String| name.is_empty() || name.len() > NAME_BYTES_MAX;
        if reported.keys().any(long) {
            return Err(Error::Malformed(format!(
                "the name of an attribute has 1 to {NAME_BYTES_MAX} bytes"
            )));
        }
        let kept = {
            let mut reader = self
                .store
                .read("read what a Mender device reported")
                .await?;
            mender_devices::attributes(reader.on(), &device.device).await?
        };
        let kept = text_of(kept);
        if merged(&kept, &reported, how)? == kept {
            return Ok(());
        }
        let share = self.mender.reports.take(&device.device);
        share.map_err(|wait| Error::Crowded {
            wait_secs: secs(wait),
        })?;
        let now_ms = self.edge.now_ms();
        let reported = &reported;
        self.store
            .tx("keep what a Mender device reports", move |tx| {
                Box::pin(async move {
                    let id = &device.device;
                    // As it is now: another server may have taken a part meanwhile.
                    let kept = text_of(mender_devices::attributes(tx.on(), id).await?);
                    let new = merged(&kept, reported, how)?;
                    if kept == new {
                        return Ok::<_, Error>(());
                    }
                    mender_devices::set_attributes(tx.on(), id, &new, now_ms).await?;
                    let detail = json!({ "attributes": reported.len() });
                    let kind = EventKind::InventoryChanged;
                    timeline::append(tx.on(), id, now_ms, kind, &detail).await?;
                    match type_of(reported) {
                        Some(device_type) => learn_type(tx, id, device_type).await,
                        None => Ok(()),
                    }
                })
            })
            .await?;
        self.announce(Change::Device(device.device.clone()));
        Ok(())
    }

    /// A device with what it reports of itself.
    ///
    /// # Errors
    /// There is no such device; the database.
    pub async fn mender_device_detail(&self, id: &str) -> Result<MenderDeviceDetail, Error> {
        let device = self.find_mender_device(id).await?;
        let reported = self.mender_attributes(id).await?;
        let (attributes, attributes_ms) = match reported {
            Some((attributes, at_ms)) => (attributes, Some(at_ms)),
            None => (Vec::new(), None),
        };
        Ok(MenderDeviceDetail {
            device,
            attributes,
            attributes_ms,
        })
    }

    /// What a device reported of itself last, and when. Nothing: it reported nothing, or is no Mender device.
    ///
    /// # Errors
    /// The database.
    pub async fn mender_attributes(
        &self,
        device: &str,
    ) -> Result<Option<(Vec<MenderAttribute>, u64)>, Error> {
        let mut reader = self
            .store
            .read("show what a Mender device reported")
            .await?;
        let Some((text, at_ms)) = mender_devices::attributes(reader.on(), device).await? else {
            return Ok(None);
        };
        let attributes: Attributes = serde_json::from_str(&text)?;
        let attributes = attributes
            .into_iter()
            .map(|(name, value)| MenderAttribute { name, value });
        Ok(Some((attributes.collect(), at_ms)))
    }
}

/// What is kept of a device; of one that reported nothing yet, nothing.
fn text_of(kept: Option<(String, u64)>) -> String {
    kept.map_or_else(|| String::from("{}"), |(text, _)| text)
}

/// What is kept of a device after a report, as JSON.
fn merged(kept: &str, reported: &Attributes, how: Reporting) -> Result<String, Error> {
    let mut all = match how {
        Reporting::Part => serde_json::from_str(kept)?,
        Reporting::Whole => Attributes::new(),
    };
    all.extend(
        reported
            .iter()
            .map(|(name, value)| (name.clone(), value.clone())),
    );
    let text = serde_json::to_string(&all)?;
    if all.len() > ATTRIBUTES_MAX || text.len() > BYTES_MAX {
        return Err(Error::TooMuch(format!(
            "a device has at most {ATTRIBUTES_MAX} attributes with {BYTES_MAX} bytes, not {} with {}",
            all.len(),
            text.len()
        )));
    }
    Ok(text)
}

/// A device says of what type it is: that it becomes where none is known.
pub(super) async fn learn_type(
    tx: &mut Tx<'_>,
    device: &str,
    device_type: Text,
) -> Result<(), Error> {
    match devices::find(tx.on(), device).await? {
        Some(mut there) if there.device_type.is_none() => {
            there.device_type = Some(device_type);
            Ok(devices::describe(tx.on(), &there).await?)
        }
        _ => Ok(()),
    }
}

/// The device's type, if it says one that can be one.
fn type_of(reported: &MenderIdentity) -> Option<Text> {
    match reported.get("device_type") {
        Some(MenderValue::One(text)) => text.parse().ok(),
        _ => None,
    }
}
