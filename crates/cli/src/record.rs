//! How a proven record is shown.

use kusabi_api::{verify::Proven, view::RecordView};
use kusabi_core::{
    id::{Handle, OrgId},
    row::{Origin, Record, Row, Status},
};
use serde::Serialize;

use crate::{
    connection::Connection,
    entry::Binding,
    failure::Result,
    keyfile::{hex, words},
    page::{Page, grouped, instant},
};

/// Names of a record's organisations, as far as they are known: a proof that is checked offline has only their IDs.
#[derive(Default)]
pub(crate) struct Owners {
    now: Option<String>,
    /// Of the first owner, where that is another one.
    first: Option<String>,
}

impl Owners {
    /// As the ledger proves them.
    pub(crate) fn of(connection: &Connection, record: Option<&Record>) -> Result<Self> {
        let name = |org: OrgId| -> Result<Option<String>> {
            Ok(match connection.organisation(&org)?.into_value() {
                Some(Row::Organisation(row)) => Some(row.name.to_string()),
                _ => None,
            })
        };
        let Some(record) = record else {
            return Ok(Self::default());
        };
        Ok(Self {
            now: name(record.owner())?,
            first: first_owner(record).map(name).transpose()?.flatten(),
        })
    }
}

/// Whose the key was at first, where it has moved since.
fn first_owner(record: &Record) -> Option<OrgId> {
    match record.origin() {
        Origin::Registered(first) if record.moves() > 0 => Some(first),
        Origin::Registered(_) | Origin::Follows(_) => None,
    }
}

/// A record with what proves it.
#[derive(Serialize)]
pub(crate) struct Shown {
    handle: String,
    present: bool,
    /// Height and time of the proof.
    proven_at: u64,
    proven_time_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    organisation_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_organisation_name: Option<String>,
    binding: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<RecordView>,
    #[serde(skip)]
    row: Option<Record>,
    #[serde(skip)]
    tied: Binding,
}

impl Shown {
    pub(crate) fn new(
        handle: &Handle,
        proven: &Proven<Option<Record>>,
        owners: Owners,
        tied: Binding,
    ) -> Self {
        Self {
            handle: handle.to_string(),
            present: proven.value().is_some(),
            proven_at: proven.height().get(),
            proven_time_ms: proven.checkpoint().header().time_ms,
            organisation_name: owners.now,
            first_organisation_name: owners.first,
            binding: tied.word(),
            record: proven.value().as_ref().map(RecordView::from),
            row: *proven.value(),
            tied,
        }
    }

    /// Whether the key is there, in force and not someone else's.
    pub(crate) fn is_good(&self) -> bool {
        let tied = !matches!(self.tied, Binding::Broken | Binding::Moved);
        tied && self.row.as_ref().is_some_and(Record::is_active)
    }

    pub(crate) fn page(&self, page: &mut Page) {
        let proven = format!(
            "block {}, {}",
            grouped(self.proven_at),
            instant(self.proven_time_ms)
        );
        let Some(record) = &self.row else {
            page.bad("Unknown:", "the ledger proves that it has no such key")
                .field("handle", &*self.handle)
                .field("proven at", proven);
            return;
        };
        let what = words(record.purpose()).to_lowercase();
        let of = self
            .organisation_name
            .as_ref()
            .map_or_else(|| record.owner().to_string(), Clone::clone);
        let rest = format!("{what} of {of}");
        if self.tied == Binding::Broken {
            page.bad(
                "Not this ID's",
                &format!("{rest}: the binding does not hold"),
            );
        } else if self.tied == Binding::Moved && record.is_active() {
            page.careful("Moved", &format!("{rest}, from another owner"));
        } else {
            match record.status() {
                Status::Active => page.good("Active", &rest),
                Status::Spent => page.careful("Spent", &rest),
                Status::Superseded => page.careful("Superseded", &rest),
                Status::Revoked => page.bad("Revoked", &rest),
            };
        }
        page.field("handle", &*self.handle)
            .field("suite", record.keys().suite().to_string())
            .field_if(
                "signing key",
                record.keys().verification_key().map(|key| hex(key.raw())),
            )
            .field_if(
                "agreement key",
                record.keys().agreement_key().map(|key| hex(key.raw())),
            )
            .field(
                "registered",
                format!("block {}", grouped(record.registered().get())),
            );
        if let Some(ended) = record.ended() {
            let why = kusabi_api::view::reason(record.reason())
                .map_or_else(String::new, |why| format!(", {why}"));
            page.field("ended", format!("block {}{why}", grouped(ended.get())));
        }
        page.field_if(
            "first owner",
            first_owner(record).map(|id| match &self.first_organisation_name {
                Some(name) => format!("{name} ({id})"),
                None => id.to_string(),
            }),
        )
        .field_if(
            "in other hands",
            record
                .compromised_since()
                .map(|height| format!("since block {}", grouped(height.get()))),
        )
        .field_if(
            "predecessor",
            record.predecessor().map(|handle| handle.to_string()),
        )
        .field(
            "binding",
            match self.tied {
                Binding::Holds => "holds: it was made with the ID at hand",
                Binding::Broken => "broken: whoever registered this key did not know the ID",
                Binding::Moved => {
                    "with the owner before: the device replaces the key by one that is the new owner's"
                }
                Binding::Unchecked => "not checked: the ID is not at hand",
            },
        )
        .field("proven at", proven);
    }
}
