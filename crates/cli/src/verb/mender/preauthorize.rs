//! `kusabi mender preauthorize`: a stock Mender device whose key is known before it comes.

use std::path::PathBuf;

use kusabi_api::admin::{AuthSet, MenderIdentity, MenderPreauthorize, MenderValue};
use kusabi_mender::DeviceKey;

use super::Decided;
use crate::{
    exit::Exit,
    failure::{Failure, Result},
    files,
    fleet::{Fleet, idempotency_key},
    session::Session,
};

/// Longest PEM of a key.
const LIMIT: u64 = 64 * 1024;

/// Vouch for a stock Mender device before it asks: it is accepted when it does
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Its public key (PEM, "PUBLIC KEY"): openssl pkey -in mender-agent.pem -pubout
    #[arg(value_name = "FILE.pem")]
    key: PathBuf,
    /// What its identity script prints; a name that comes twice has several values
    #[arg(long = "identity", value_name = "NAME=VALUE", required = true)]
    identity: Vec<String>,
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<Exit> {
    let bytes = files::read(&args.key, LIMIT)?;
    let wrong = |why: &dyn std::fmt::Display| {
        Failure::new(Exit::File, format!("{}: {why}", args.key.display()))
            .advise("the public key of a device: openssl pkey -in mender-agent.pem -pubout")
    };
    let text = std::str::from_utf8(&bytes).map_err(|why| wrong(&why))?;
    let key = DeviceKey::from_pem(text).map_err(|why| wrong(&why))?;
    let create = MenderPreauthorize {
        identity: identity(&args.identity)?,
        key: key.to_pem(),
    };
    let fleet = Fleet::open(session)?;
    let idempotency = idempotency_key(session);
    let device = fleet.ask(fleet.client().preauthorize(&create, &idempotency))?;
    let same = |set: &&AuthSet| set.key == create.key;
    let set = device.auth_sets.iter().find(same);
    session.output().say(&Decided {
        word: "Vouched for",
        auth_set: set.map(|set| set.id.clone()).unwrap_or_default(),
        device,
    })?;
    Ok(Exit::Ok)
}

/// The identity as a client makes it of what its script prints.
fn identity(pairs: &[String]) -> Result<MenderIdentity> {
    let mut identity = MenderIdentity::new();
    for pair in pairs {
        let (name, value) = pair.split_once('=').ok_or_else(|| {
            let why = format!("--identity {pair} has no value; write NAME=VALUE");
            Failure::new(Exit::Usage, why)
        })?;
        let value = value.to_owned();
        let values = match identity.remove(name) {
            None => MenderValue::One(value),
            Some(MenderValue::One(before)) => MenderValue::Many(vec![before, value]),
            Some(MenderValue::Many(before)) => {
                MenderValue::Many(before.into_iter().chain([value]).collect())
            }
        };
        identity.insert(name.to_owned(), values);
    }
    Ok(identity)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_what_a_client_makes_of_the_same_lines() {
        let pairs = ["mac=02:00", "sn=a=b", "mac=02:01", "mac=02:02"].map(String::from);
        let identity = identity(&pairs).unwrap();
        assert_eq!(
            serde_json::to_string(&identity).unwrap(),
            r#"{"mac":["02:00","02:01","02:02"],"sn":"a=b"}"#
        );
        assert!(super::identity(&[String::from("mac")]).is_err());
    }
}
