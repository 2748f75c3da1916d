//! Groups.

use super::{App, By, Cut, Error, act::Done, devices::unknown as unknown_device};
use crate::store::{Tx, devices, groups};
use kusabi_api::admin::{Group, GroupCreate, Page};
use serde_json::json;

impl App {
    /// The groups, by ID.
    ///
    /// # Errors
    /// A bad cursor or limit; the database.
    pub async fn groups(&self, cut: &Cut) -> Result<Page<Group>, Error> {
        let (after, count) = (cut.after()?, cut.fetch()?);
        let mut reader = self.store.read("list groups").await?;
        let groups = groups::list(reader.on(), after, count).await?;
        cut.page(groups, |group| group.id.clone())
    }

    /// Makes a group.
    ///
    /// # Errors
    /// There is one with this name; the database.
    pub async fn create_group(&self, by: &By, create: GroupCreate) -> Result<Group, Error> {
        let id = self.new_id("grp")?;
        let (create, id) = (&create, &id);
        self.act(by, "group.create", move |tx, now_ms| {
            Box::pin(async move {
                if let Some(id) = groups::with_name(tx.on(), &create.name).await? {
                    return Err(Error::Exists {
                        what: "a group",
                        by: "name",
                        id,
                    });
                }
                let group = Group {
                    id: id.clone(),
                    name: create.name.clone(),
                    created_ms: now_ms,
                };
                groups::insert(tx.on(), &group).await?;
                let detail = json!({ "name": group.name });
                Ok(Done::changed(group, id, detail))
            })
        })
        .await
    }

    /// Puts a device into a group. A repeat changes nothing.
    ///
    /// # Errors
    /// There is no such group or device; the database.
    pub async fn add_to_group(&self, by: &By, group: &str, device: &str) -> Result<(), Error> {
        self.act(by, "group.add", move |tx, _| {
            Box::pin(async move {
                both_exist(tx, group, device).await?;
                let changed = groups::add(tx.on(), group, device).await?;
                Ok(noted(changed, group, device))
            })
        })
        .await
    }

    /// Takes a device out of a group. A repeat changes nothing.
    ///
    /// # Errors
    /// There is no such group or device; the database.
    pub async fn remove_from_group(&self, by: &By, group: &str, device: &str) -> Result<(), Error> {
        self.act(by, "group.remove", move |tx, _| {
            Box::pin(async move {
                both_exist(tx, group, device).await?;
                let changed = groups::remove(tx.on(), group, device).await?;
                Ok(noted(changed, group, device))
            })
        })
        .await
    }
}

fn noted(changed: bool, group: &str, device: &str) -> Done<()> {
    match changed {
        true => Done::changed((), group, json!({ "device": device })),
        false => Done::nothing(()),
    }
}

async fn both_exist(tx: &mut Tx<'_>, group: &str, device: &str) -> Result<(), Error> {
    if !groups::exists(tx.on(), group).await? {
        return Err(unknown(group));
    }
    if devices::find(tx.on(), device).await?.is_none() {
        return Err(unknown_device(device));
    }
    Ok(())
}

pub(super) fn unknown(id: &str) -> Error {
    Error::Unknown {
        what: "group",
        id: id.to_owned(),
    }
}
