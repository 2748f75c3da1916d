//! What the header says: `header-info`, and of each payload `type-info` and `meta-data`.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::{
    error::{ArtifactError, InfoFault, Place, shown},
    json::{self, Budget},
    limits::Limits,
    manifest::is_file_name,
};

/// Levels of header-info and type-info: object, object, array.
const INFO_DEPTH: usize = 3;

/// `header-info`, checked.
#[derive(Debug)]
pub(crate) struct HeaderInfo {
    pub(crate) name: String,
    pub(crate) group: Option<String>,
    pub(crate) device_types: Vec<String>,
    pub(crate) depends_names: Vec<String>,
    pub(crate) depends_groups: Vec<String>,
    /// The update module of each payload; none for one that holds nothing (a bootstrap artifact).
    pub(crate) payloads: Vec<Option<String>>,
}

/// `type-info`, checked.
#[derive(Debug)]
pub(crate) struct TypeInfo {
    pub(crate) provides: BTreeMap<String, String>,
    pub(crate) depends: BTreeMap<String, Vec<String>>,
    pub(crate) clears: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawHeader {
    payloads: Vec<RawPayload>,
    artifact_provides: RawProvides,
    artifact_depends: RawDepends,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPayload {
    /// May be null, but not left out.
    #[serde(rename = "type", deserialize_with = "Option::deserialize")]
    kind: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawProvides {
    artifact_name: String,
    artifact_group: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDepends {
    #[serde(default, deserialize_with = "or_null")]
    artifact_name: Vec<String>,
    #[serde(default, deserialize_with = "or_null")]
    device_type: Vec<String>,
    #[serde(default, deserialize_with = "or_null")]
    artifact_group: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawType {
    #[serde(rename = "type", deserialize_with = "Option::deserialize")]
    kind: Option<String>,
    #[serde(default, deserialize_with = "or_null")]
    artifact_provides: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "or_null")]
    artifact_depends: BTreeMap<String, OneOrMany>,
    #[serde(default, deserialize_with = "or_null")]
    clears_artifact_provides: Vec<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// The tool writes null for a list that it was given none of.
fn or_null<'de, T: Default + Deserialize<'de>, D: Deserializer<'de>>(
    decoder: D,
) -> Result<T, D::Error> {
    Option::deserialize(decoder).map(Option::unwrap_or_default)
}

impl HeaderInfo {
    pub(crate) fn read(
        bytes: &[u8],
        at: &Place,
        limits: &Limits,
        budget: &mut Budget,
    ) -> Result<Self, ArtifactError> {
        let raw: RawHeader = decode(bytes, at, budget)?;
        let check = Check { at, limits };
        if raw.payloads.is_empty() {
            return Err(check.refuse(InfoFault::NoPayload));
        }
        check.count(raw.payloads.len(), limits.payloads, "payloads")?;
        let mut payloads = Vec::new();
        for payload in raw.payloads {
            if let Some(kind) = &payload.kind
                && (!is_file_name(kind) || kind.len() > limits.text_bytes)
            {
                return Err(check.refuse(InfoFault::Type(shown(kind.as_bytes()))));
            }
            payloads.push(payload.kind);
        }
        let RawProvides {
            artifact_name,
            artifact_group,
        } = raw.artifact_provides;
        check.text(&artifact_name, "the artifact's name")?;
        // The tool leaves out an empty group.
        let group = artifact_group.filter(|group| !group.is_empty());
        if let Some(group) = &group {
            check.text(group, "the artifact's group")?;
        }
        let depends = raw.artifact_depends;
        if depends.device_type.is_empty() {
            return Err(check.refuse(InfoFault::NoDeviceType));
        }
        check.list(&depends.device_type, "a device type")?;
        check.list(&depends.artifact_name, "the name of an earlier artifact")?;
        check.list(&depends.artifact_group, "a group")?;
        Ok(Self {
            name: artifact_name,
            group,
            device_types: depends.device_type,
            depends_names: depends.artifact_name,
            depends_groups: depends.artifact_group,
            payloads,
        })
    }
}

impl TypeInfo {
    /// Reads the type-info of a payload for which header-info names `module`.
    pub(crate) fn read(
        bytes: &[u8],
        module: Option<&str>,
        at: &Place,
        limits: &Limits,
        budget: &mut Budget,
    ) -> Result<Self, ArtifactError> {
        let raw: RawType = decode(bytes, at, budget)?;
        let check = Check { at, limits };
        // mender-artifact 3.9 leaves it empty in artifacts of a root file system.
        let same = raw.kind.as_deref() == module
            || (raw.kind.as_deref() == Some("") && module == Some("rootfs-image"));
        if !same {
            return Err(check.refuse(InfoFault::OtherType));
        }
        check.count(raw.artifact_provides.len(), limits.entries, "provides")?;
        for (key, value) in &raw.artifact_provides {
            check.text(key, "what a payload provides")?;
            check.value(value, "what a payload provides")?;
            check.is_free(key, &["artifact_name", "artifact_group"])?;
        }
        check.count(raw.artifact_depends.len(), limits.entries, "depends")?;
        let mut depends = BTreeMap::new();
        for (key, values) in raw.artifact_depends {
            check.text(&key, "what a payload depends on")?;
            check.is_free(&key, &["artifact_name", "artifact_group", "device_type"])?;
            let values = match values {
                OneOrMany::One(value) => vec![value],
                OneOrMany::Many(values) => values,
            };
            check.count(values.len(), limits.entries, "values to depend on")?;
            for value in &values {
                check.value(value, "what a payload depends on")?;
            }
            depends.insert(key, values);
        }
        check.list(&raw.clears_artifact_provides, "what a payload clears")?;
        Ok(Self {
            provides: raw.artifact_provides,
            depends,
            clears: raw.clears_artifact_provides,
        })
    }
}

impl TypeInfo {
    /// Refuses a key of which an earlier payload speaks, too: which of them counts would be anyone's guess.
    pub(crate) fn differs(&self, earlier: &Self, at: &Place) -> Result<(), ArtifactError> {
        let provided = |key: &&String| earlier.provides.contains_key(*key);
        let depended = |key: &&String| earlier.depends.contains_key(*key);
        let twice = self.provides.keys().find(provided);
        match twice.or_else(|| self.depends.keys().find(depended)) {
            None => Ok(()),
            Some(key) => Err(ArtifactError::Info {
                at: at.clone(),
                fault: InfoFault::Twice(shown(key.as_bytes())),
            }),
        }
    }
}

/// `meta-data`: an object, or nothing at all.
pub(crate) fn meta_data(
    bytes: &[u8],
    at: &Place,
    limits: &Limits,
    budget: &mut Budget,
) -> Result<Option<Map<String, Value>>, ArtifactError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    match json::parse(bytes, limits.json_depth, budget) {
        Ok(Value::Object(object)) => Ok(Some(object)),
        Ok(_) => Err(ArtifactError::Json {
            at: at.clone(),
            why: String::from("meta-data is an object"),
        }),
        Err(why) => Err(no_json(at, &why)),
    }
}

fn decode<T: DeserializeOwned>(
    bytes: &[u8],
    at: &Place,
    budget: &mut Budget,
) -> Result<T, ArtifactError> {
    json::parse(bytes, INFO_DEPTH, budget)
        .and_then(serde_json::from_value)
        .map_err(|why| no_json(at, &why))
}

fn no_json(at: &Place, why: &serde_json::Error) -> ArtifactError {
    ArtifactError::Json {
        at: at.clone(),
        // It may quote the document.
        why: shown(why.to_string().as_bytes()),
    }
}

struct Check<'a> {
    at: &'a Place,
    limits: &'a Limits,
}

impl Check<'_> {
    fn refuse(&self, fault: InfoFault) -> ArtifactError {
        ArtifactError::Info {
            at: self.at.clone(),
            fault,
        }
    }

    fn count(&self, count: usize, max: usize, what: &'static str) -> Result<(), ArtifactError> {
        match count > max {
            true => Err(self.refuse(InfoFault::TooMany(max, what))),
            false => Ok(()),
        }
    }

    fn text(&self, text: &str, what: &'static str) -> Result<(), ArtifactError> {
        match text.is_empty() {
            true => Err(self.refuse(InfoFault::Text(what))),
            false => self.value(text, what),
        }
    }

    /// A text that may be empty.
    fn value(&self, text: &str, what: &'static str) -> Result<(), ArtifactError> {
        let fits = text.len() <= self.limits.text_bytes && !text.chars().any(char::is_control);
        match fits {
            true => Ok(()),
            false => Err(self.refuse(InfoFault::Text(what))),
        }
    }

    fn list(&self, texts: &[String], what: &'static str) -> Result<(), ArtifactError> {
        self.count(texts.len(), self.limits.entries, "entries of a list")?;
        for (at, text) in texts.iter().enumerate() {
            self.text(text, what)?;
            if texts.iter().take(at).any(|earlier| earlier == text) {
                return Err(self.refuse(InfoFault::Twice(shown(text.as_bytes()))));
            }
        }
        Ok(())
    }

    /// A key that header-info speaks of is not said again by a payload.
    fn is_free(&self, key: &str, taken: &[&str]) -> Result<(), ArtifactError> {
        match taken.contains(&key) {
            true => Err(self.refuse(InfoFault::Twice(shown(key.as_bytes())))),
            false => Ok(()),
        }
    }
}
