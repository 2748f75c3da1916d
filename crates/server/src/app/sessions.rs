//! Sessions of the console: a browser shows a token once and gets a secret of its own, which ends by itself.
//!
//! A session can do what its token can, and no longer: a token that is revoked ends all of its sessions.

use super::{App, By, Caller, Error, act::Done, tokens::hash};
use crate::{
    share::{Allowance, secs},
    store::sessions,
};
use kusabi_api::admin::Text;
use serde_json::json;
use std::{num::NonZeroU32, time::Duration};

/// How long a session lasts, in milliseconds: twelve hours, a long day of work.
pub const SESSION_MS: u64 = 12 * 60 * 60 * 1000;

/// Most sessions of one token; a further one ends the oldest.
pub const SESSIONS_MAX: u16 = 20;

/// How often a token opens a session.
pub(super) const OPENINGS: Allowance =
    Allowance::new(NonZeroU32::new(60).unwrap(), Duration::from_secs(60));

/// What the secret of a session begins with, so that a scanner for leaked secrets can find it.
const SESSION_PREFIX: &str = "kusabi_session_";

/// A session that was just opened.
pub struct Opened {
    /// For the browser's cookie; the server keeps a hash.
    pub secret: String,
    /// Milliseconds until it ends.
    pub lasts_ms: u64,
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opened").finish_non_exhaustive()
    }
}

/// A session.
#[derive(Clone)]
pub struct Session {
    /// `ses_…`: what the audit log names.
    pub id: String,
    /// Who acts in it: its token.
    pub caller: Caller,
    /// The token's name.
    pub name: Text,
    /// What each form of it carries, so that no other page can send one.
    pub csrf: [u8; 32],
    /// When it was opened.
    pub created_ms: u64,
    /// When it ends.
    pub expires_ms: u64,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("id", &self.id)
            .field("caller", &self.caller)
            .finish_non_exhaustive()
    }
}

impl From<sessions::Session> for Session {
    fn from(row: sessions::Session) -> Self {
        Self {
            id: row.id,
            caller: Caller::new(row.token, row.role),
            name: row.name,
            csrf: row.csrf,
            created_ms: row.created_ms,
            expires_ms: row.expires_ms,
        }
    }
}

impl App {
    /// Opens a session with a token.
    ///
    /// # Errors
    /// The token is none, or is revoked; it has opened too many; the database.
    pub async fn open_session(&self, token: &str) -> Result<Opened, Error> {
        let (caller, name) = self.authenticate_named(token).await?;
        // Each stands in the audit log, for ever. The token goes on counting for what it is sent with.
        self.openings
            .take(&caller.id())
            .map_err(|wait| Error::Crowded {
                wait_secs: secs(wait),
            })?;
        let (id, secret) = (self.new_id("ses")?, self.secret(SESSION_PREFIX)?);
        let csrf = self.edge.random()?;
        let by = By::only(caller);
        let (by, id, name, secret_hash) = (&by, &id, &name, hash(&secret));
        self.act(by, "session.open", move |tx, now_ms| {
            Box::pin(async move {
                let session = sessions::Session {
                    id: id.clone(),
                    csrf,
                    created_ms: now_ms,
                    expires_ms: now_ms + SESSION_MS,
                    token: by.caller.id().to_owned(),
                    name: name.clone(),
                    role: by.caller.role(),
                };
                sessions::insert(tx.on(), &session, secret_hash).await?;
                sessions::forget(tx.on(), by.caller.id(), now_ms, SESSIONS_MAX).await?;
                let detail = json!({ "expires_ms": session.expires_ms });
                Ok(Done::changed((), id, detail))
            })
        })
        .await?;
        Ok(Opened {
            secret,
            lasts_ms: SESSION_MS,
        })
    }

    /// The session with this secret.
    ///
    /// # Errors
    /// There is none, or it is over, or its token is revoked; the database.
    pub async fn session(&self, secret: &str) -> Result<Session, Error> {
        let mut reader = self.store.read("find a session").await?;
        // The lookup is by the hash: how long it takes says nothing about the secret.
        let found = sessions::with_hash(reader.on(), hash(secret), self.edge.now_ms()).await?;
        found.map(Session::from).ok_or(Error::Unauthenticated)
    }

    /// The sessions of the caller's token, the newest first.
    ///
    /// # Errors
    /// The database.
    pub async fn sessions(&self, caller: &Caller) -> Result<Vec<Session>, Error> {
        let mut reader = self.store.read("list sessions").await?;
        let now_ms = self.edge.now_ms();
        let rows = sessions::of_token(reader.on(), caller.id(), now_ms, SESSIONS_MAX).await?;
        Ok(rows.into_iter().map(Session::from).collect())
    }

    /// Ends one session of the caller's token. A repeat changes nothing.
    ///
    /// # Errors
    /// The database.
    pub async fn end_session(&self, by: &By, id: &str) -> Result<(), Error> {
        self.act(by, "session.end", move |tx, _| {
            Box::pin(async move {
                match sessions::end(tx.on(), by.caller.id(), id).await? {
                    true => Ok(Done::changed((), id, json!({}))),
                    false => Ok(Done::nothing(())),
                }
            })
        })
        .await
    }

    /// Ends all sessions of the caller's token.
    ///
    /// # Errors
    /// The database.
    pub async fn end_sessions(&self, by: &By) -> Result<(), Error> {
        self.act(by, "session.end-all", move |tx, _| {
            Box::pin(async move {
                let token = by.caller.id();
                match sessions::end_all(tx.on(), token).await? {
                    0 => Ok(Done::nothing(())),
                    ended => Ok(Done::changed((), token, json!({ "sessions": ended }))),
                }
            })
        })
        .await
    }
}
