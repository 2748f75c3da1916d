//! Votes as they leave, and certificates as they come: a vote of this node's key that this node has not cast was cast by a copy of it.

use super::super::{Digest, PublicKey, Scheme};
use commonware_actor::{Feedback, Unreliable};
use commonware_codec::DecodeExt as _;
use commonware_consensus::{
    Reporter, Viewable as _,
    simplex::types::{Activity, Vote},
};
use commonware_p2p::{CheckedSender, LimitedSender, Recipients};
use commonware_runtime::IoBufs;
use commonware_utils::{Participant, sync::Mutex};
use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
    time::SystemTime,
};
use tokio::sync::Notify;

/// Views that are remembered. The engine takes no certificate that is so old.
const VIEWS: usize = 1024;

/// The votes that this node has cast since it began. Clones are the same.
#[derive(Clone, Debug)]
pub(in crate::engine) struct Own(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    me: Participant,
    noted: Mutex<Noted>,
    /// The view in which the key was first seen to vote elsewhere.
    seen: OnceLock<u64>,
    elsewhere: Notify,
}

#[derive(Debug)]
struct Noted {
    /// Nothing is said of votes in views up to this one: they were cast before this run, or are forgotten.
    floor: u64,
    views: BTreeMap<u64, Cast>,
}

/// What was voted for in a view.
#[derive(Clone, Copy, Debug, Default)]
struct Cast {
    notarize: Option<Digest>,
    nullify: bool,
    finalize: Option<Digest>,
}

impl Own {
    /// Of the validator with this index, who has cast no vote above the view `floor` yet.
    pub(in crate::engine) fn new(me: u8, floor: u64) -> Self {
        Self(Arc::new(Inner {
            me: Participant::new(me.into()),
            noted: Mutex::new(Noted {
                floor,
                views: BTreeMap::new(),
            }),
            seen: OnceLock::new(),
            elsewhere: Notify::new(),
        }))
    }

    fn note(&self, vote: &Vote<Scheme, Digest>) {
        let noted = &mut *self.0.noted.lock();
        let cast = noted.views.entry(vote.view().get()).or_default();
        match vote {
            Vote::Notarize(vote) => cast.notarize = Some(vote.proposal.payload),
            Vote::Nullify(_) => cast.nullify = true,
            Vote::Finalize(vote) => cast.finalize = Some(vote.proposal.payload),
        }
        while noted.views.len() > VIEWS
            && let Some((view, _)) = noted.views.pop_first()
        {
            noted.floor = noted.floor.max(view);
        }
    }

    /// Whether this node may have cast the vote of its own that `shown` has, a vote or a certificate that was verified. A block that
    /// it has not voted for is none of its own, also where it voted for another one in that view.
    pub(super) fn knows(&self, shown: &Activity<Scheme, Digest>) -> bool {
        let noted = self.0.noted.lock();
        let view = shown.view().get();
        if view <= noted.floor {
            return true;
        }
        let cast = noted.views.get(&view).copied().unwrap_or_default();
        match shown {
            Activity::Notarize(of) => cast.notarize == Some(of.proposal.payload),
            Activity::Notarization(of) => cast.notarize == Some(of.proposal.payload),
            Activity::Nullify(_) | Activity::Nullification(_) => cast.nullify,
            Activity::Finalize(of) => cast.finalize == Some(of.proposal.payload),
            Activity::Finalization(of) => cast.finalize == Some(of.proposal.payload),
            _ => true,
        }
    }

    /// Looks whether a certificate, which the engine has verified, has a vote of this node's key that this node has not cast.
    fn look(&self, activity: &Activity<Scheme, Digest>) {
        let has_mine = signers(activity).is_some_and(|signers| signers.contains(&self.0.me));
        if has_mine && !self.knows(activity) {
            let view = activity.view().get();
            let first = self.0.seen.set(view).is_ok();
            if first {
                tracing::error!(
                    view,
                    "a certificate has a vote of this node's vote key that this node has not cast"
                );
            }
            self.0.elsewhere.notify_one();
        }
    }

    /// When it is certain that the key votes elsewhere, too.
    pub(in crate::engine) async fn elsewhere(&self) {
        self.0.elsewhere.notified().await;
    }
}

/// Whose votes a certificate has; `None`: it is none.
pub(super) fn signers(activity: &Activity<Scheme, Digest>) -> Option<Vec<Participant>> {
    let certificate = match activity {
        Activity::Notarization(of) => &of.certificate,
        Activity::Nullification(of) => &of.certificate,
        Activity::Finalization(of) => &of.certificate,
        _ => return None,
    };
    Some(certificate.signers.iter().collect())
}

/// The sending end of the channel of votes, by vote keys: each vote is noted before anybody can have it.
#[derive(Clone, Debug)]
pub(in crate::engine) struct Noting<S> {
    pub(in crate::engine) inner: S,
    pub(in crate::engine) own: Own,
}

/// A [`Noting`] that knows to whom it may send now; to nobody where all have had their share. A vote that is sent to nobody counts here.
#[derive(Debug)]
pub(in crate::engine) struct MaySend<C> {
    inner: Option<C>,
    own: Own,
}

impl<C: CheckedSender<PublicKey = PublicKey>> CheckedSender for MaySend<C> {
    type PublicKey = PublicKey;

    fn recipients(&self) -> Vec<PublicKey> {
        let inner = self.inner.as_ref();
        inner.map(CheckedSender::recipients).unwrap_or_default()
    }

    fn send(self, message: impl Into<IoBufs> + Send, priority: bool) -> Unreliable<Feedback> {
        let message: IoBufs = message.into();
        if let Ok(vote) = Vote::decode(message.clone()) {
            self.own.note(&vote);
        }
        match self.inner {
            Some(inner) => inner.send(message, priority),
            None => Unreliable::Rejected,
        }
    }
}

impl<S: LimitedSender<PublicKey = PublicKey>> LimitedSender for Noting<S> {
    type PublicKey = PublicKey;
    type Checked<'a> = MaySend<S::Checked<'a>>;

    fn check(
        &mut self,
        recipients: Recipients<PublicKey>,
    ) -> Result<Self::Checked<'_>, SystemTime> {
        let own = self.own.clone();
        Ok(MaySend {
            inner: self.inner.check(recipients).ok(),
            own,
        })
    }
}

/// Looks at what the engine reports, and passes it on.
#[derive(Clone)]
pub(in crate::engine) struct Watch<R> {
    pub(in crate::engine) inner: R,
    pub(in crate::engine) own: Own,
    pub(in crate::engine) heard: super::Heard,
}

impl<R: Reporter<Activity = Activity<Scheme, Digest>>> Reporter for Watch<R> {
    type Activity = R::Activity;

    fn report(&mut self, activity: Self::Activity) -> Feedback {
        self.own.look(&activity);
        self.heard.certificate(&activity);
        self.inner.report(activity)
    }
}
