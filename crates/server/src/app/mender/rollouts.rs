//! Rollouts as Mender's tools know them: deployments of an artifact by its name.
//!
//! There is no second machinery: a deployment is a rollout in one phase that no number of failures pauses, of the newest release with an
//! artifact of that name. All rollouts of releases with Mender artifacts are shown as deployments, whoever made them.

use crate::{
    app::{App, By, Error, groups},
    store::{
        groups as group_rows, is_id, mender_artifacts as artifacts, mender_orders as order_rows,
        mender_rollouts::{self as rows, Member, Shown, Wanted},
    },
};
use kusabi_api::{
    Hex32,
    admin::{
        DeviceFilter, DeviceOrder, DeviceState, FailureLimit, Phase, PhaseSize, RolloutCreate,
        RolloutState, Text,
    },
};
use kusabi_core::release::SignedManifest;
use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

/// Most devices of a deployment that are listed at once.
const AT_ONCE_MAX: u64 = 10_000;

/// The devices of one question to the database.
const PART: u16 = 500;

/// Whom a deployment is for.
#[derive(Clone, Debug)]
pub(crate) enum Whom {
    /// These, by ID.
    Devices(Vec<String>),
    /// Those that are in a group now: its name, or its ID.
    Group(String),
    /// All that are accepted.
    All,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Deploy {
    pub(crate) name: Text,
    pub(crate) artifact: String,
    pub(crate) whom: Whom,
    pub(crate) retries: u8,
    /// Also devices that have the artifact already.
    pub(crate) force: bool,
}

/// A deployment, and what it is of.
#[derive(Debug)]
pub(crate) struct Deployed {
    pub(crate) shown: Shown,
    pub(crate) artifact_name: String,
    /// IDs of the artifacts.
    pub(crate) artifacts: Vec<String>,
    /// The group's name.
    pub(crate) group: Option<String>,
}

impl App {
    /// Deploys an artifact: rolls out the newest release that has it. Gives the deployment's ID.
    ///
    /// # Errors
    /// There is no release with such an artifact, or none that has it for all types of device; there is no such device or group; the
    /// same deployment is under way; what [`App::create_rollout`] refuses; ledger or database fail.
    pub(crate) async fn deploy(&self, by: &By, deploy: Deploy) -> Result<String, Error> {
        let release = self.release_with(&deploy.artifact).await?;
        let devices = self.filter(deploy.whom).await?;
        let create = RolloutCreate {
            name: deploy.name,
            release,
            devices,
            phases: vec![Phase {
                failures: FailureLimit::Percent(100),
                ..Phase::new(PhaseSize::Rest)
            }],
            retries: deploy.retries,
            force: deploy.force,
            start_ms: None,
            deadline_secs: None,
        };
        let made = self.create_new_rollout(by, create).await;
        let made = made.map_err(|why| match why {
            // The page is there; what the body names is not.
            Error::Unknown { .. } => Error::Unfit(why.to_string()),
            Error::Exists { id, .. } => Error::Exists {
                what: "a deployment that is under way",
                by: "name, artifact and devices",
                id: id.parse().map_or(id, deployment_id),
            },
            why => why,
        })?;
        Ok(deployment_id(made.id))
    }

    async fn filter(&self, whom: Whom) -> Result<DeviceFilter, Error> {
        let mut filter = DeviceFilter::default();
        match whom {
            Whom::Devices(ids) => {
                let ids: BTreeSet<String> = ids.into_iter().collect();
                filter.ids = ids.into_iter().collect();
            }
            Whom::All => filter.state = Some(DeviceState::Active),
            Whom::Group(name) => {
                let mut reader = self.store.read("find a group").await?;
                let named = match Text::new(&*name) {
                    Ok(text) => group_rows::with_name(reader.on(), &text).await?,
                    Err(_) => None,
                };
                filter.group = match named {
                    Some(id) => Some(id),
                    None if group_rows::exists(reader.on(), &name).await? => Some(name),
                    None => return Err(groups::unknown(&name)),
                };
            }
        }
        Ok(filter)
    }

    /// The newest published release that has an artifact of this name.
    async fn release_with(&self, name: &str) -> Result<Hex32, Error> {
        let mut reader = self.store.read("find the releases of an artifact").await?;
        let of_name = artifacts::named(reader.on(), name).await?;
        let releases = rows::releases_with(reader.on(), name).await?;
        drop(reader);
        if of_name.is_empty() {
            return Err(Error::Unfit(format!(
                "there is no artifact `{name}` on this server; upload it, and make a release of it: kusabi release import FILE.mender, release sign, release publish"
            )));
        }
        let digests: BTreeSet<Hex32> = of_name.iter().map(|row| row.digest).collect();
        let mut found = Vec::new();
        for (number, digest, bytes) in releases {
            let signed = SignedManifest::decode(&bytes).map_err(|_| {
                Error::Unfit(format!("the stored manifest of {digest} cannot be read"))
            })?;
            let manifest = signed.manifest();
            let has = |target: &kusabi_core::release::Target<'_>| {
                manifest.payloads_of(target).any(|payload| {
                    digests.contains(&kusabi_api::Hex(payload.content.digest().to_bytes()))
                })
            };
            let types: BTreeSet<String> = manifest
                .targets()
                .filter(has)
                .map(|target| target.device_type.as_str().to_owned())
                .collect();
            let called = format!("{} {}", manifest.name(), manifest.version());
            found.push((manifest.counter(), number, digest, called, types));
        }
        found.sort_by_key(|(counter, number, ..)| (*counter, *number));
        let Some((.., digest, called, types)) = found.pop() else {
            return Err(Error::Unfit(format!(
                "no release that the ledger lists has the artifact `{name}`, so no device could install it; make a release of it: kusabi release import FILE.mender, release sign, release publish"
            )));
        };
        match found.iter().find(|(.., others)| !others.is_subset(&types)) {
            None => Ok(digest),
            Some((.., other, _)) => Err(Error::Unfit(format!(
                "artifacts called `{name}` are in several releases, for different types of device ({called}; {other}); make one release of them, or roll each out: kusabi rollout new"
            ))),
        }
    }

    /// A part of the deployments, and how many there are.
    pub(crate) async fn deployments(
        &self,
        wanted: &Wanted,
        skip: u64,
        count: u16,
    ) -> Result<(Vec<Deployed>, u64), Error> {
        let mut reader = self.store.read("list deployments").await?;
        let (shown, total) = rows::list(reader.on(), wanted, skip, count).await?;
        let mut known: BTreeMap<Hex32, (String, Vec<String>)> = BTreeMap::new();
        let mut all = Vec::with_capacity(shown.len());
        for shown in shown {
            let plan = &shown.kept.plan;
            let about = match known.entry(plan.release) {
                Entry::Occupied(about) => about.into_mut(),
                Entry::Vacant(place) => {
                    let found = rows::artifacts(reader.on(), plan.release).await?;
                    let names: BTreeSet<&str> = found.iter().map(|(_, name, _)| &**name).collect();
                    let names = names.into_iter().collect::<Vec<_>>().join(", ");
                    let ids = found.iter().map(|(id, ..)| id.clone()).collect();
                    place.insert((names, ids))
                }
            };
            let (artifact_name, artifacts) = about.clone();
            let group = match &plan.devices.group {
                Some(id) => {
                    let groups = group_rows::names(reader.on(), std::slice::from_ref(id)).await?;
                    groups.into_iter().next().map(|(_, name)| name.to_string())
                }
                None => None,
            };
            all.push(Deployed {
                shown,
                artifact_name,
                artifacts,
                group,
            });
        }
        Ok((all, total))
    }

    /// One deployment.
    ///
    /// # Errors
    /// There is none with this ID; the database.
    pub(crate) async fn deployment(&self, id: &str) -> Result<Deployed, Error> {
        let wanted = Wanted {
            id: Some(rollout_of(id).ok_or_else(|| unknown(id))?),
            ..Wanted::default()
        };
        let (mut found, _) = self.deployments(&wanted, 0, 1).await?;
        found.pop().ok_or_else(|| unknown(id))
    }

    /// How many of its devices stand how.
    ///
    /// # Errors
    /// There is no such deployment; the database.
    pub(crate) async fn deployment_statistics(
        &self,
        id: &str,
    ) -> Result<BTreeMap<String, u64>, Error> {
        let rollout = self.deployment(id).await?.shown.kept.id;
        let mut reader = self.store.read("count a deployment's devices").await?;
        Ok(rows::statistics(reader.on(), rollout).await?)
    }

    /// A part of its devices that stand in one of these ways, and how many they are; all ways, where none is named.
    ///
    /// # Errors
    /// There is no such deployment; the database.
    pub(crate) async fn deployment_devices(
        &self,
        id: &str,
        statuses: &[&str],
        skip: u64,
        count: u16,
    ) -> Result<(Deployed, Vec<Member>, u64), Error> {
        let deployed = self.deployment(id).await?;
        let rollout = deployed.shown.kept.id;
        let mut reader = self.store.read("list a deployment's devices").await?;
        let (members, total) = rows::members(reader.on(), rollout, statuses, skip, count).await?;
        Ok((deployed, members, total))
    }

    /// All of its devices, for tools that know no pages.
    ///
    /// # Errors
    /// There is no such deployment, or it has too many devices; the database.
    pub(crate) async fn all_deployment_devices(
        &self,
        id: &str,
    ) -> Result<(Deployed, Vec<Member>), Error> {
        let (deployed, mut all, total) = self.deployment_devices(id, &[], 0, PART).await?;
        if total > AT_ONCE_MAX {
            return Err(Error::Unfit(format!(
                "the deployment has {total} devices, and at most {AT_ONCE_MAX} are listed at once; read them in pages, from …/devices/list"
            )));
        }
        let rollout = deployed.shown.kept.id;
        let mut reader = self.store.read("list a deployment's devices").await?;
        while (all.len() as u64) < total {
            let skip = all.len() as u64;
            let (more, _) = rows::members(reader.on(), rollout, &[], skip, PART).await?;
            if more.is_empty() {
                break;
            }
            all.extend(more);
        }
        Ok((deployed, all))
    }

    /// Aborts it.
    ///
    /// # Errors
    /// There is no such deployment, or it is over; the database.
    pub(crate) async fn abort_deployment(&self, by: &By, id: &str) -> Result<(), Error> {
        let kept = self.deployment(id).await?.shown.kept;
        if kept.standing.state == RolloutState::Aborted {
            return Ok(());
        }
        self.abort_rollout(by, kept.id).await?;
        Ok(())
    }

    /// Which of these orders of a device have a log.
    ///
    /// # Errors
    /// The database.
    pub(crate) async fn orders_with_log(
        &self,
        device: &str,
        orders: &[DeviceOrder],
    ) -> Result<Vec<u64>, Error> {
        let Some(oldest) = orders.iter().map(|order| order.id).min() else {
            return Ok(Vec::new());
        };
        let mut reader = self.store.read("look which orders have a log").await?;
        Ok(order_rows::logged(reader.on(), device, oldest).await?)
    }

    /// The log that a device's client sent of a deployment, which is named as people name it or as the device does.
    ///
    /// # Errors
    /// There is none; the database.
    pub(crate) async fn deployment_log(&self, id: &str, device: &str) -> Result<String, Error> {
        let Some(rollout) = rollout_of(id) else {
            return self.mender_log_named(device, id).await;
        };
        let order = match is_id(device) {
            true => {
                let mut reader = self.store.read("find a device's order").await?;
                rows::order_of(reader.on(), rollout, device).await?
            }
            false => None,
        };
        let order = order.ok_or_else(|| Error::Unknown {
            what: "log of this device's deployment",
            id: id.to_owned(),
        })?;
        self.mender_log_of(device, order).await
    }
}

/// What the first half of a deployment's ID is: of version 8 (RFC 9562, 5.8). In the second one stands the rollout's number.
const HALF: &str = "6b757361-6269-8000-";

/// The UUID under which Mender's tools know a rollout.
pub(crate) fn deployment_id(rollout: u64) -> String {
    // The uppermost bits are the variant; there are fewer rollouts.
    let low = rollout & (u64::MAX >> 2) | 1 << 63;
    let hex = format!("{low:016x}");
    let (a, b) = hex.split_at(4);
    format!("{HALF}{a}-{b}")
}

/// The rollout that is known so.
fn rollout_of(id: &str) -> Option<u64> {
    let (a, b) = id.strip_prefix(HALF)?.split_once('-')?;
    let low = u64::from_str_radix(&format!("{a}{b}"), 16).ok()?;
    let rollout = low & (u64::MAX >> 2);
    (deployment_id(rollout) == id).then_some(rollout)
}

fn unknown(id: &str) -> Error {
    Error::Unknown {
        what: "deployment",
        id: id.chars().take(64).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deployments_id_is_a_uuid_and_leads_back_to_its_rollout() {
        assert_eq!(deployment_id(1), "6b757361-6269-8000-8000-000000000001");
        for rollout in [0, 1, 0xffff_ffff, u64::MAX >> 2] {
            assert_eq!(rollout_of(&deployment_id(rollout)), Some(rollout));
        }
        for other in [
            "",
            "6b757361-6269-8000-8000-00000000000g",
            "6b757361-6269-8000-8000-0000000000001",
            "6b757361-6269-8000-0000-000000000001",
            "6b757361-6269-8000-8000-00000000000A",
            "6b757361-6269-8000-+800-0000000000001",
            "6b757361-6269-8000-8000000000000001",
        ] {
            assert_eq!(rollout_of(other), None, "{other}");
        }
    }
}
