//! What devices hold, and what follows when that is not what is expected.

use super::{App, By, Error, act::Done, devices::unknown};
use crate::store::{devices, doorstep, enrolments::hex, inventories, policies};
use kusabi_api::{
    Hex,
    admin::{DeviceInventory, InventoryReport, Text, TypePolicy},
};
use serde_json::json;

impl App {
    /// The newest signed inventory of a device, and how it differs from the expected one, item by item.
    ///
    /// # Errors
    /// There is no such device; the database.
    pub async fn device_inventory(&self, id: &str) -> Result<DeviceInventory, Error> {
        let mut reader = self.store.read("show a device's inventory").await?;
        let device = devices::find(reader.on(), id)
            .await?
            .ok_or_else(|| unknown(id))?;
        let said = doorstep::facts(reader.on(), id).await?.inventory.map(Hex);
        let report = match inventories::find(reader.on(), id).await? {
            None => None,
            Some(row) => Some(InventoryReport {
                digest: row.digest,
                at_ms: row.at_ms,
                signer: row.signer,
                statement: hex(&row.statement),
                expected: row.expected,
                missing: row.tally.missing,
                unexpected: row.tally.unexpected,
                changed: row.tally.changed,
                differences: serde_json::from_str(&row.differences)?,
            }),
        };
        Ok(DeviceInventory {
            verdict: device.inventory,
            said,
            report,
        })
    }

    /// What follows by itself for the devices of a type.
    ///
    /// # Errors
    /// The database.
    pub async fn type_policy(&self, device_type: &Text) -> Result<TypePolicy, Error> {
        let mut reader = self.store.read("show a type's policy").await?;
        Ok(policies::find(reader.on(), device_type).await?)
    }

    /// Sets what follows by itself for the devices of a type, from now on.
    ///
    /// # Errors
    /// The database.
    pub async fn set_type_policy(
        &self,
        by: &By,
        device_type: &Text,
        policy: TypePolicy,
    ) -> Result<TypePolicy, Error> {
        self.act(by, "type.policy", move |tx, _| {
            Box::pin(async move {
                if policies::find(tx.on(), device_type).await? == policy {
                    return Ok(Done::nothing(policy));
                }
                policies::set(tx.on(), device_type, &policy).await?;
                let detail = json!({ "repair": policy.repair, "fork": policy.fork });
                Ok(Done::changed(policy, device_type.as_str(), detail))
            })
        })
        .await
    }
}
