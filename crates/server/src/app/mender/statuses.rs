//! What stock clients say of their orders, and the logs that they send.

use super::{
    MenderDevice,
    judging::{is_aborted, unclear},
    log::log_text,
    names::{Has, about, has},
    orders::{facts, within},
};
use crate::{
    app::{App, Error},
    device::journal::{Batch, batch},
    store::{
        Tx, devices, mender_artifacts as artifacts,
        mender_orders::{self as rows, HandedOrder},
        releases,
        rollouts::is_withdrawn,
    },
};
use kusabi_api::{
    Hex32,
    admin::{OrderState, Target},
};

/// Where a client stands with an order, by its own word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Downloading,
    Installing,
    Rebooting,
    PauseBeforeInstalling,
    PauseBeforeRebooting,
    PauseBeforeCommitting,
    Success,
    Failure,
    AlreadyInstalled,
}

impl Status {
    const ALL: [Self; 9] = [
        Self::Downloading,
        Self::Installing,
        Self::Rebooting,
        Self::PauseBeforeInstalling,
        Self::PauseBeforeRebooting,
        Self::PauseBeforeCommitting,
        Self::Success,
        Self::Failure,
        Self::AlreadyInstalled,
    ];

    /// Mender's word for it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Downloading => "downloading",
            Self::Installing => "installing",
            Self::Rebooting => "rebooting",
            Self::PauseBeforeInstalling => "pause_before_installing",
            Self::PauseBeforeRebooting => "pause_before_rebooting",
            Self::PauseBeforeCommitting => "pause_before_committing",
            Self::Success => "success",
            Self::Failure => "failure",
            Self::AlreadyInstalled => "already-installed",
        }
    }

    /// The one that is called so.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name() == name)
    }

    /// What becomes of the order; `None`: it is still under way.
    const fn outcome(self) -> Option<OrderState> {
        match self {
            Self::Success | Self::AlreadyInstalled => Some(OrderState::Done),
            Self::Failure => Some(OrderState::Failed),
            _ => None,
        }
    }
}

impl App {
    /// Notes what a client says of its order. What it said before it may say again.
    ///
    /// # Errors
    /// Its device was never given such an order; it was taken back ([`Error::Conflict`]: the client gives up); the database.
    pub(crate) async fn mender_status(
        &self,
        device: &MenderDevice,
        id: &str,
        status: Status,
    ) -> Result<(), Error> {
        let name = &*device.device;
        within(&self.mender.saying, name)?;
        let unsigned = match status.outcome() {
            None => {
                let mut reader = self
                    .store
                    .read("find what a Mender client was given")
                    .await?;
                let found = rows::find(reader.on(), id).await?;
                drop(reader);
                match found.filter(|handed| handed.device == name) {
                    Some(found) => self.signer_ended(found.digest).await?,
                    None => return Err(unknown(id)),
                }
            }
            Some(_) => false,
        };
        let (stopped, changes) = batch(self, "note what a Mender client says", move |batch, tx| {
            Box::pin(async move {
                let handed = given(tx, name, id).await?;
                hear_status(batch, tx, &handed, status, unsigned).await
            })
        })
        .await?;
        changes.into_iter().for_each(|change| self.announce(change));
        match stopped {
            None => Ok(()),
            Some(why) => Err(Error::Conflict(why)),
        }
    }

    /// Keeps a client's log.
    ///
    /// # Errors
    /// Its device was never given such an order; the database.
    pub(crate) async fn mender_log(
        &self,
        device: &MenderDevice,
        id: &str,
        log: &[u8],
    ) -> Result<(), Error> {
        let name = &*device.device;
        within(&self.mender.saying, name)?;
        let log = log_text(log);
        let log = &log;
        self.store
            .tx("keep a Mender client's log", move |tx| {
                Box::pin(async move {
                    given(tx, name, id).await?;
                    Ok::<_, Error>(rows::set_log(tx.on(), id, log).await?)
                })
            })
            .await
    }

    /// The log that a device's client sent of an order.
    ///
    /// # Errors
    /// There is none; the database.
    pub(crate) async fn mender_log_of(&self, device: &str, order: u64) -> Result<String, Error> {
        let mut reader = self.store.read("read a Mender client's log").await?;
        if !crate::store::is_id(device) {
            return Err(no_log(order));
        }
        rows::log(reader.on(), device, order)
            .await?
            .ok_or_else(|| no_log(order))
    }

    /// The log that a device's client sent of an order, as the client names that.
    ///
    /// # Errors
    /// There is none; the database.
    pub(crate) async fn mender_log_named(&self, device: &str, id: &str) -> Result<String, Error> {
        let found = {
            let mut reader = self
                .store
                .read("find what a Mender client was given")
                .await?;
            rows::find(reader.on(), id).await?
        };
        let found = found.filter(|handed| handed.device == device);
        let found = found.ok_or_else(|| unknown(id))?;
        self.mender_log_of(device, found.order).await
    }
}

/// What a device was given under this ID.
async fn given(tx: &mut Tx<'_>, device: &str, id: &str) -> Result<HandedOrder, Error> {
    let handed = rows::find(tx.on(), id).await?;
    handed
        .filter(|handed| handed.device == device)
        .ok_or_else(|| unknown(id))
}

fn unknown(id: &str) -> Error {
    Error::Unknown {
        what: "deployment of this device",
        id: id.chars().take(64).collect(),
    }
}

/// Notes a status; says why the client has to stop, if it has.
async fn hear_status(
    batch: &mut Batch,
    tx: &mut Tx<'_>,
    handed: &HandedOrder,
    status: Status,
    unsigned: bool,
) -> Result<Option<String>, Error> {
    let (device, order) = (&*handed.device, handed.order);
    let now_ms = batch.now_ms;
    let Some((target, release, state)) = rows::order(tx.on(), device, order).await? else {
        return Ok(Some(String::from("there is no such order any more")));
    };
    match state {
        OrderState::Sent => {}
        OrderState::Waiting | OrderState::Dropped => {
            return Ok(Some(format!("order {order} was taken back")));
        }
        // It has its end: whatever is said once more changes nothing.
        _ => return Ok(None),
    }
    let Some(outcome) = status.outcome() else {
        let why = match stopped(tx, target, release).await? {
            None if unsigned => Some(String::from("the key that signed the artifact has ended")),
            why => why,
        };
        if let Some(why) = why {
            let state = OrderState::Dropped;
            batch.settle(tx, device, order, state, Some(&why)).await?;
            return Ok(Some(why));
        }
        rows::set_status(tx.on(), &handed.id, status.name(), now_ms).await?;
        return Ok(None);
    };
    // What a device has done it has done, whatever became of its order meanwhile.
    let artifact = match status {
        Status::AlreadyInstalled => artifacts::find(tx.on(), handed.digest).await?,
        _ => None,
    };
    let (outcome, why) = match artifact {
        // The client has compared names, and downloaded nothing.
        Some(artifact) => {
            let of_type = devices::find(tx.on(), device)
                .await?
                .and_then(|device| device.device_type);
            let (of_type, name) = (
                of_type.as_ref().map(|of_type| of_type.as_str()),
                &*artifact.name,
            );
            match has(tx.on(), device, of_type, name, &artifact).await? {
                Has::Unclear => (OrderState::Failed, Some(unclear(name))),
                Has::This | Has::Other => (outcome, None),
            }
        }
        None if outcome == OrderState::Failed => {
            let why = "the Mender client reports a failure; its log says why";
            (outcome, Some(String::from(why)))
        }
        None => (outcome, None),
    };
    rows::set_status(tx.on(), &handed.id, status.name(), now_ms).await?;
    batch
        .settle(tx, device, order, outcome, why.as_deref())
        .await?;
    let runs = match (outcome, release) {
        (OrderState::Done, Some(release)) => releases::signed(tx.on(), release).await?,
        _ => None,
    };
    if let Some(signed) = runs {
        let says = facts(about(&signed), rows::counter(tx.on(), device).await?);
        batch.heard(tx, &[(device.into(), Some(says))]).await?;
    }
    Ok(None)
}

/// Why an order that is under way must not go on.
async fn stopped(
    tx: &mut Tx<'_>,
    target: Target,
    release: Option<Hex32>,
) -> Result<Option<String>, Error> {
    if let Some(release) = release
        && is_withdrawn(tx.on(), release).await?
    {
        return Ok(Some(format!("the release {release} is withdrawn")));
    }
    let Target::Rollout(id) = target else {
        return Ok(None);
    };
    let aborted = is_aborted(tx.on(), id).await?;
    Ok(aborted.then(|| format!("the rollout {id} was aborted")))
}

fn no_log(order: u64) -> Error {
    Error::Unknown {
        what: "log of this device's order",
        id: order.to_string(),
    }
}
