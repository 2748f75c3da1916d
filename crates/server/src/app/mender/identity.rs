//! Who a device says it is: what it prints is a JSON object, and two that say the same are the same device.

use super::Error;
use kusabi_api::admin::{MenderIdentity, MenderValue, Text};
use kusabi_core::crypto::sha256;

/// Most bytes of an identity.
const BYTES_MAX: usize = 4096;

/// An identity in its one form.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    /// JSON, names sorted, nothing around them.
    pub(super) data: String,
    /// What it is looked up by.
    pub(super) hash: [u8; 32],
}

impl Identity {
    /// The identity in a device's words.
    pub(super) fn parse(text: &str) -> Result<Self, Error> {
        if text.len() > BYTES_MAX {
            return Err(too_long());
        }
        let identity: MenderIdentity = serde_json::from_str(text).map_err(|why| {
            Error::Malformed(format!(
                "`id_data` is not a JSON object of texts and lists of texts: {why}"
            ))
        })?;
        Self::new(&identity)
    }

    pub(super) fn new(identity: &MenderIdentity) -> Result<Self, Error> {
        let says_something = |value: &MenderValue| match value {
            MenderValue::One(_) => true,
            MenderValue::Many(values) => !values.is_empty(),
        };
        if !identity.values().any(says_something) {
            return Err(Error::Malformed(String::from(
                "an identity has at least one value; the device's identity script prints `name=value`",
            )));
        }
        let data = serde_json::to_string(identity)?;
        if data.len() > BYTES_MAX {
            return Err(too_long());
        }
        let hash = sha256(&[b"kusabi.mender.identity.v1", data.as_bytes()]);
        Ok(Self { data, hash })
    }
}

/// The name under which people see a device: what it says it is, as far as a name can hold that.
pub(super) fn summary(identity: &MenderIdentity) -> Option<Text> {
    let said = identity.iter().map(|(name, value)| {
        let value = match value {
            MenderValue::One(value) => value.clone(),
            MenderValue::Many(values) => values.join(","),
        };
        format!("{name}={value}")
    });
    let said = said.collect::<Vec<_>>().join(" ");
    let shown: String = said.chars().take(Text::CHARS_MAX).collect();
    Text::new(shown.trim()).ok()
}

fn too_long() -> Error {
    Error::Malformed(format!("an identity has at most {BYTES_MAX} bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_says_the_same_is_the_same() {
        let of = |text| Identity::parse(text).unwrap().hash;
        let one = of(r#"{"mac":"02:00:00:b2:80:3e","serial":"A0001"}"#);
        for same in [
            r#"{"serial":"A0001","mac":"02:00:00:b2:80:3e"}"#,
            "{ \"serial\" : \"A000\\u0031\",\n \"mac\":\"02:00:00:b2:80:3e\"}",
        ] {
            assert_eq!(of(same), one, "{same}");
        }
        for other in [
            r#"{"mac":"02:00:00:b2:80:3e"}"#,
            r#"{"mac":"02:00:00:B2:80:3e","serial":"A0001"}"#,
            r#"{"mac":["02:00:00:b2:80:3e"],"serial":"A0001"}"#,
            r#"{"mac":"02:00:00:b2:80:3e","serial":"A0001","x":""}"#,
        ] {
            assert_ne!(of(other), one, "{other}");
        }
    }

    #[test]
    fn people_see_what_a_device_says_it_is() {
        let of = |text| summary(&serde_json::from_str(text).unwrap());
        let said = of(r#"{"serial":"A1","mac":["02:00","03:00"]}"#).unwrap();
        assert_eq!(said.as_str(), "mac=02:00,03:00 serial=A1");
        let long = format!("{{\"mac\":\"{}\"}}", "é".repeat(200));
        let said = of(&long).unwrap();
        assert_eq!(said.as_str().chars().count(), Text::CHARS_MAX);
        assert_eq!(of("{\"mac\":\"\\u202e1\"}"), None);
    }

    #[test]
    fn what_is_no_identity_is_refused() {
        let long = format!(r#"{{"mac":"{}"}}"#, "a".repeat(BYTES_MAX));
        // As it came it is short enough.
        let grows = format!(r#"{{"mac":"{}"}}"#, "\u{7f}\u{80}".repeat(8));
        assert!(Identity::parse(&grows).is_ok());
        let controls = format!(r#"{{"mac":"{}"}}"#, "\\u0001".repeat(BYTES_MAX / 6));
        for bad in [
            "",
            "{}",
            "[]",
            "null",
            "7",
            r#""mac""#,
            r#"{"mac":7}"#,
            r#"{"mac":{"a":"b"}}"#,
            r#"{"mac":[1]}"#,
            r#"{"mac":[]}"#,
            r#"{"mac":"a"} x"#,
            "{\"mac\":\"\u{1}\"}",
            &long,
            &controls,
        ] {
            let told = Identity::parse(bad).unwrap_err();
            assert!(matches!(told, Error::Malformed(_)), "{bad}");
        }
    }
}
