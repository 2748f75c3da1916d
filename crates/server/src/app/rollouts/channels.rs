//! The lowest counters of channels: an operator's guard against the own mistake (spec/firmware.md, "Counters").

use super::steps;
use crate::{
    app::{App, By, Cut, Error, act::Done, types::label},
    store::{Tx, channels, orders, rollouts as rows},
};
use kusabi_api::admin::{Channel, ChannelSet, Page};
use serde_json::json;

impl App {
    /// The channels for which a minimum was set, by name.
    ///
    /// # Errors
    /// A bad cursor or limit; the database.
    pub async fn channels(&self, cut: &Cut) -> Result<Page<Channel>, Error> {
        let after = cut.cursor.as_deref().unwrap_or_default();
        if !after.is_empty() {
            label("channel", after)?;
        }
        let count = cut.fetch()?;
        let mut reader = self.store.read("list channels").await?;
        let channels = channels::list(reader.on(), after, count).await?;
        cut.page(channels, |channel| channel.channel.clone())
    }

    /// Sets the counter that a release of a channel must have at least to be ordered. Rollouts of releases below it pause, and other
    /// orders for them that no device has fetched are taken back.
    ///
    /// # Errors
    /// The name is no label, or the counter is one that no release can have; the database.
    pub async fn set_channel(
        &self,
        by: &By,
        name: &str,
        set: ChannelSet,
    ) -> Result<Channel, Error> {
        label("channel", name)?;
        if i64::try_from(set.minimum_counter).is_err() {
            return Err(Error::Unfit(format!(
                "a counter of {} is none that can be kept",
                set.minimum_counter
            )));
        }
        self.act(by, "channel.set", move |tx, now_ms| {
            Box::pin(async move {
                let channel = Channel {
                    channel: name.to_owned(),
                    minimum_counter: set.minimum_counter,
                    changed_ms: now_ms,
                    changed_by: by.caller.id().to_owned(),
                };
                channels::set(tx.on(), &channel).await?;
                let rollouts = rows::open(tx.on(), None).await?;
                let changes = steps::settle_all(tx, now_ms, &rollouts).await?;
                take_back(tx, &channel, now_ms).await?;
                let detail = json!({ "minimum_counter": channel.minimum_counter });
                Ok(Done::changed(channel, name, detail).telling(changes))
            })
        })
        .await
    }
}

/// Takes back what no device has fetched of the orders for releases below a channel's minimum; those of rollouts went with their pause.
async fn take_back(tx: &mut Tx<'_>, channel: &Channel, now_ms: u64) -> Result<(), Error> {
    for release in orders::open_releases(tx.on()).await? {
        let Some(about) = steps::about(tx, release).await? else {
            continue;
        };
        if about.channel == channel.channel && about.counter < channel.minimum_counter {
            orders::take_back(tx.on(), release, now_ms).await?;
        }
    }
    Ok(())
}
