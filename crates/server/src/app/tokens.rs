//! Tokens, and how the first one comes about. A secret is 32 random bytes; what is stored is its SHA-256, from which it cannot be found.

use super::{App, By, Caller, Cut, Error, act::Done};
use crate::store::tokens;
use kusabi_api::{
    Hex,
    admin::{FirstAdmin, Page, Role, Text, Token, TokenCreate, TokenCreated},
};
use serde_json::json;
use sha2::{Digest as _, Sha256};

/// What the secret of a token begins with, so that a scanner for leaked secrets can find it.
const TOKEN_PREFIX: &str = "kusabi_token_";

/// What the secret of the first admin's link begins with.
const LINK_PREFIX: &str = "kusabi_link_";

/// How long the first admin's link is good, in milliseconds: an hour. It is printed, so it may come to stand in a service's log.
const LINK_MS: u64 = 60 * 60 * 1000;

pub(super) fn hash(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

impl App {
    pub(super) fn secret(&self, prefix: &str) -> Result<String, Error> {
        Ok(format!("{prefix}{}", Hex(self.edge.random()?)))
    }

    /// Who sends this token.
    ///
    /// # Errors
    /// Nobody whom the server knows; the database.
    pub async fn authenticate(&self, secret: &str) -> Result<Caller, Error> {
        Ok(self.authenticate_named(secret).await?.0)
    }

    /// The same, with the token's name.
    pub(super) async fn authenticate_named(&self, secret: &str) -> Result<(Caller, Text), Error> {
        let mut reader = self.store.read("authenticate").await?;
        // The lookup is by the hash: how long it takes says nothing about the secret.
        match tokens::with_hash(reader.on(), hash(secret)).await? {
            Some(token) => Ok((Caller::new(token.id, token.role), token.name)),
            None => Err(Error::Unauthenticated),
        }
    }

    /// The tokens, by ID; revoked ones, too.
    ///
    /// # Errors
    /// A bad cursor or limit; the database.
    pub async fn tokens(&self, cut: &Cut) -> Result<Page<Token>, Error> {
        let (after, count) = (cut.after()?, cut.fetch()?);
        let mut reader = self.store.read("list tokens").await?;
        let tokens = tokens::list(reader.on(), after, count).await?;
        cut.page(tokens, |token| token.id.clone())
    }

    /// Makes a token.
    ///
    /// # Errors
    /// The database.
    pub async fn create_token(&self, by: &By, create: TokenCreate) -> Result<TokenCreated, Error> {
        let (id, secret) = (self.new_id("tok")?, self.secret(TOKEN_PREFIX)?);
        let (create, id, secret) = (&create, &id, &secret);
        self.act(by, "token.create", move |tx, now_ms| {
            Box::pin(async move {
                let token = Token {
                    id: id.clone(),
                    name: create.name.clone(),
                    role: create.role,
                    created_ms: now_ms,
                    revoked_ms: None,
                };
                tokens::insert(tx.on(), &token, hash(secret), None).await?;
                let detail = json!({ "name": token.name, "role": token.role });
                let created = TokenCreated {
                    token,
                    secret: secret.clone(),
                };
                Ok(Done::changed(created, id, detail).secret())
            })
        })
        .await
    }

    /// Revokes a token, from now on. A repeat changes nothing.
    ///
    /// # Errors
    /// There is no such token; the database.
    pub async fn revoke_token(&self, by: &By, id: &str) -> Result<Token, Error> {
        self.act(by, "token.revoke", move |tx, now_ms| {
            Box::pin(async move {
                let mut token = tokens::find(tx.on(), id)
                    .await?
                    .ok_or_else(|| Error::Unknown {
                        what: "token",
                        id: id.to_owned(),
                    })?;
                if token.revoked_ms.is_some() {
                    return Ok(Done::nothing(token));
                }
                tokens::revoke(tx.on(), id, now_ms).await?;
                token.revoked_ms = Some(now_ms);
                let detail = json!({ "name": token.name, "role": token.role });
                Ok(Done::changed(token, id, detail))
            })
        })
        .await
    }

    /// The secret of a link that makes the first admin, good for an hour; the link before it is none any more. `None` once there is a user.
    ///
    /// # Errors
    /// The database.
    pub async fn first_admin_link(&self) -> Result<Option<String>, Error> {
        let secret = self.secret(LINK_PREFIX)?;
        let by = By::only(Caller::server());
        let link = hash(&secret);
        let made = self.act(&by, "first-admin.link", move |tx, now_ms| {
            Box::pin(async move {
                if tokens::any_user(tx.on()).await? {
                    return Ok(Done::nothing(false));
                }
                tokens::set_link(tx.on(), link, now_ms + LINK_MS).await?;
                Ok(Done::changed(
                    true,
                    "first-admin",
                    json!({ "expires_ms": now_ms + LINK_MS }),
                ))
            })
        });
        Ok(made.await?.then_some(secret))
    }

    /// Makes the first admin, with a token; the link is used up.
    ///
    /// # Errors
    /// The link is not the newest one, too old, or used; the database.
    pub async fn first_admin(&self, first: FirstAdmin) -> Result<TokenCreated, Error> {
        let (user, id) = (self.new_id("usr")?, self.new_id("tok")?);
        let secret = self.secret(TOKEN_PREFIX)?;
        let by = By::only(Caller::new(user.clone(), Role::Admin));
        let (first, user, id, secret) = (&first, &user, &id, &secret);
        self.act(&by, "first-admin.create", move |tx, now_ms| Box::pin(async move {
            let good = tokens::link(tx.on()).await?.is_some_and(|(link, expires)| {
                link == hash(&first.link) && now_ms < expires
            });
            if !good {
                return Err(Error::Unauthenticated);
            }
            if tokens::any_user(tx.on()).await? {
                return Err(Error::AlreadyDone(String::from(
                    "there is an admin already; ask for a token there, or make one on the server's machine",
                )));
            }
            tokens::insert_user(tx.on(), user, &first.name, Role::Admin, now_ms).await?;
            let token = Token {
                id: id.clone(),
                name: first.name.clone(),
                role: Role::Admin,
                created_ms: now_ms,
                revoked_ms: None,
            };
            tokens::insert(tx.on(), &token, hash(secret), Some(user)).await?;
            let detail = json!({ "name": first.name, "token": id });
            let created = TokenCreated {
                token,
                secret: secret.clone(),
            };
            Ok(Done::changed(created, user, detail).secret())
        }))
        .await
    }
}
