//! Who may ask to be enrolled, and how many at once: anyone can say a hello, and whoever has a token can say many.

use crate::{
    app::Error,
    share::is_room,
    store::{On, enrolments},
};
use kusabi_api::admin::{EnrolmentToken, Text};

/// Places for requests that wait; what each token gets of them is the rule of [`is_room`].
const WAITING_MAX: u64 = 20_000;

/// Most labels of one upload.
pub(super) const LABELS_MAX: usize = 10_000;

/// Whether a device may ask with a token now.
pub(super) fn is_good(token: &EnrolmentToken, now_ms: u64) -> bool {
    token.revoked_ms.is_none()
        && token.expires_ms.is_none_or(|until| now_ms < until)
        && token.uses_left != Some(0)
}

/// Whether one more may come by a token, and if so whether its label is on the list: whoever is on that does not wait, and needs no place.
pub(super) async fn place(
    on: On<'_>,
    token: &str,
    label: Option<&Text>,
) -> Result<Option<bool>, Error> {
    let On { connection, org } = on;
    if let Some(label) = label {
        let on = On {
            connection: &mut *connection,
            org: org.clone(),
        };
        if enrolments::is_listed(on, label).await? {
            return Ok(Some(true));
        }
    }
    let on = On {
        connection: &mut *connection,
        org: org.clone(),
    };
    // Both are counted as far as the rule needs it. From half of the places on, those of the token are too many, whoever else waits.
    let of_token = enrolments::waiting(on, Some(token), WAITING_MAX / 2).await?;
    if !is_room(WAITING_MAX, of_token, of_token) {
        return Ok(None);
    }
    let on = On { connection, org };
    let waiting = enrolments::waiting(on, None, WAITING_MAX - of_token).await?;
    Ok(is_room(WAITING_MAX, waiting, of_token).then_some(false))
}

#[cfg(test)]
mod tests {
    use crate::{
        Store,
        app::{App, By, Caller, Edge, Enrolling, Error},
    };
    use bytes::Bytes;
    use futures_util::FutureExt as _;
    use kusabi_api::{
        Answer, Block, EventStream, Kind, Ledger, Problem, VerifyingLedger,
        ledger::{Status, Step, Submitted, Transaction},
        verify::Trust,
    };
    use kusabi_core::{
        id::{Epoch, Height, Nonce, StateKey, TxId},
        protocol::{hello, succession::NewKey},
        suite::Purpose,
    };
    use kusabi_ledger::testing::{TestKey, World};
    use serde_json::json;
    use std::{io, sync::Arc, time::Duration};
    use tokio::sync::Semaphore;

    #[derive(Debug)]
    struct Still;

    impl Edge for Still {
        fn now_ms(&self) -> u64 {
            1
        }

        fn random(&self) -> io::Result<[u8; 32]> {
            Ok([1; 32])
        }
    }

    /// A ledger that does not answer.
    struct Gone;

    fn gone<T: Send + 'static>() -> Answer<'static, T> {
        Box::pin(async { Err(Problem::new(Kind::Unreachable, "nobody listens there")) })
    }

    impl Ledger for Gone {
        fn submit(&self, _: Bytes, _: Duration) -> Answer<'_, Submitted> {
            gone()
        }

        fn transaction(&self, _: TxId) -> Answer<'_, Transaction> {
            gone()
        }

        fn lookup(&self, _: StateKey, _: Height) -> Answer<'_, Bytes> {
            gone()
        }

        fn checkpoint(&self, _: Height) -> Answer<'_, Bytes> {
            gone()
        }

        fn freshness(&self, _: Nonce) -> Answer<'_, Bytes> {
            gone()
        }

        fn block(&self, _: Height) -> Answer<'_, Block> {
            gone()
        }

        fn genesis(&self) -> Answer<'_, Bytes> {
            gone()
        }

        fn walk(&self, _: Epoch) -> Answer<'_, Vec<Step>> {
            gone()
        }

        fn events(&self, _: Height) -> Answer<'_, EventStream> {
            gone()
        }

        fn status(&self) -> Answer<'_, Status> {
            gone()
        }
    }

    #[tokio::test]
    async fn who_asks_holds_a_turn_to_read_and_a_place_to_wait_for_the_ledger() {
        let directory = tempfile::tempdir().unwrap();
        let world = World::open();
        let path = directory.path().join("server.sqlite");
        let store = Store::sqlite(&path, world.org).await.unwrap();
        let ledger: Arc<dyn Ledger> = Arc::new(Gone);
        let trust = Trust::found(&world.chain, &world.document).unwrap();
        let app = App::new(store, VerifyingLedger::new(ledger, trust), Arc::new(Still));
        let by = By::only(Caller::server());
        let create = serde_json::from_value(json!({})).unwrap();
        let secret = app
            .create_enrolment_token(&by, create)
            .await
            .unwrap()
            .secret;
        let labels = serde_json::from_value(json!({ "labels": ["SN-1"] })).unwrap();
        app.add_enrolment_labels(&by, labels).await.unwrap();
        let key = TestKey::new(7000, Purpose::Act);
        let entry = NewKey::new(&key.id, key.public_keys(), &world.chain, &world.org);
        let (turns, places) = (Semaphore::new(0), Semaphore::new(0));
        let asks = |token| Enrolling {
            token,
            entry: &entry,
            label: "SN-1",
            turns: &turns,
            places: &places,
        };
        let mut stranger = Box::pin(app.enrol(asks(b"kusabi_enrolment_none")));
        // There is no turn: it waits.
        assert!((&mut stranger).now_or_never().is_none());
        turns.add_permits(1);
        assert_eq!(stranger.await.unwrap(), hello::Enrolment::Refused);
        assert_eq!(turns.available_permits(), 1);
        // It is accepted, and finds no place to wait for the ledger; nor does its repeat.
        for _ in 0..2 {
            let told = app.enrol(asks(secret.as_bytes())).await.unwrap_err();
            assert!(matches!(told, Error::Crowded { .. }), "{told}");
        }
        places.add_permits(1);
        let told = app.enrol(asks(secret.as_bytes())).await.unwrap_err();
        assert!(matches!(told, Error::Ledger(_)), "{told}");
        assert_eq!(
            (turns.available_permits(), places.available_permits()),
            (1, 1)
        );
    }
}
