//! A release's bill of materials: CycloneDX as JSON, as far as it is searched.

use crate::Hex32;
use serde::{Deserialize, Serialize};

/// What such a document of a release is called (spec/firmware.md).
pub const KIND: &str = "sbom";

/// Largest one that is searched, in bytes.
pub const BYTES_MAX: u64 = 16 << 20;

/// Most objects of one that is searched: each component is at least one, and takes more memory than its bytes.
pub const OBJECTS_MAX: usize = 500_000;

/// Why bytes are no bill of materials.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SbomError {
    /// It has more than [`BYTES_MAX`] bytes.
    #[error("it has {0} bytes, and at most {BYTES_MAX} are searched")]
    TooLarge(u64),
    /// It has more than [`OBJECTS_MAX`] objects.
    #[error("it has {0} objects, and at most {OBJECTS_MAX} are searched")]
    TooMany(usize),
    /// It is not as CycloneDX says.
    #[error("it is no CycloneDX in JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// It says that it is something else.
    #[error("`bomFormat` is `{0}`, not CycloneDX")]
    Format(String),
}

/// A component that a bill of materials names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SbomComponent {
    /// Its group or namespace, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// What it is called.
    pub name: String,
    /// Its version, if it says one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Its package URL, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purl: Option<String>,
    /// SHA-256 of its content, if it says one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub digest: Option<Hex32>,
}

#[derive(Deserialize)]
struct Bom {
    #[serde(rename = "bomFormat")]
    format: String,
    #[serde(default)]
    metadata: Option<Metadata>,
    #[serde(default)]
    components: Vec<Component>,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(default)]
    component: Option<Component>,
}

#[derive(Deserialize)]
struct Component {
    #[serde(default)]
    group: Option<String>,
    name: String,
    #[serde(default)]
    version: Option<String>,
    #[serde(default)]
    purl: Option<String>,
    #[serde(default)]
    hashes: Vec<Hash>,
    #[serde(default)]
    components: Vec<Self>,
}

#[derive(Deserialize)]
struct Hash {
    alg: String,
    content: String,
}

/// The components of a bill of materials, those inside of others too, in its order; what it describes first.
///
/// # Errors
/// It is none.
pub fn components(bytes: &[u8]) -> Result<Vec<SbomComponent>, SbomError> {
    let size = bytes.len() as u64;
    if size > BYTES_MAX {
        return Err(SbomError::TooLarge(size));
    }
    // No object begins otherwise; a brace in a text counts as well.
    let objects = bytes.iter().filter(|&&byte| byte == b'{').count();
    if objects > OBJECTS_MAX {
        return Err(SbomError::TooMany(objects));
    }
    let bom: Bom = serde_json::from_slice(bytes)?;
    if bom.format != "CycloneDX" {
        return Err(SbomError::Format(bom.format));
    }
    let described = bom.metadata.and_then(|metadata| metadata.component);
    // What is next stands last.
    let mut left: Vec<Component> = bom.components.into_iter().rev().collect();
    left.extend(described);
    let mut all = Vec::new();
    while let Some(component) = left.pop() {
        let sha256 = component.hashes.iter().find(|hash| hash.alg == "SHA-256");
        all.push(SbomComponent {
            digest: sha256.and_then(|hash| hash.content.to_ascii_lowercase().parse().ok()),
            group: component.group.filter(|group| !group.is_empty()),
            name: component.name,
            version: component.version,
            purl: component.purl,
        });
        left.extend(component.components.into_iter().rev());
    }
    Ok(all)
}

impl SbomComponent {
    /// Its name behind its group, as people write it.
    fn full_name(&self) -> Option<String> {
        let group = self.group.as_deref()?;
        Some(format!("{group}/{}", self.name))
    }

    /// Whether it is called so, with its group or without.
    #[must_use]
    pub fn is_called(&self, name: &str) -> bool {
        self.name == name || self.full_name().is_some_and(|full| full == name)
    }

    /// Whether its name begins so, with its group or without.
    #[must_use]
    pub fn begins(&self, prefix: &str) -> bool {
        self.name.starts_with(prefix)
            || self
                .full_name()
                .is_some_and(|full| full.starts_with(prefix))
    }

    /// Whether this package URL means it: its own, or one that leaves out version, qualifiers or subpath.
    #[must_use]
    pub fn is_at(&self, purl: &str) -> bool {
        let rest = self.purl.as_deref().and_then(|own| own.strip_prefix(purl));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['@', '?', '#']))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOM: &str = r#"{"bomFormat":"CycloneDX","specVersion":"1.5",
        "metadata":{"component":{"type":"firmware","name":"camera","version":"2.1"}},
        "components":[
          {"type":"library","group":"org.x","name":"a","version":"1","components":[{"type":"library","name":"inner"}]},
          {"type":"library","name":"openssl","version":"3.0.1","purl":"pkg:deb/debian/openssl@3.0.1?arch=arm64",
           "hashes":[{"alg":"MD5","content":"00"},{"alg":"SHA-256","content":"ABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABAB"}]}]}"#;

    #[test]
    fn components_are_found_at_every_depth_in_order() {
        let all = components(BOM.as_bytes()).unwrap();
        let names: Vec<_> = all.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["camera", "a", "inner", "openssl"]);
        assert_eq!(all[3].digest, Some(crate::Hex([0xab; 32])));
        assert!(all[1].is_called("a") && all[1].is_called("org.x/a") && !all[1].is_called("x/a"));
        assert!(all[1].begins("org") && !all[0].begins("org"));
        for (purl, is) in [
            ("pkg:deb/debian/openssl", true),
            ("pkg:deb/debian/openssl@3.0.1", true),
            ("pkg:deb/debian/openssl@3.0.1?arch=arm64", true),
            ("pkg:deb/debian/openss", false),
            ("pkg:deb/debian/openssl@3.0", false),
            ("openssl", false),
        ] {
            assert_eq!(all[3].is_at(purl), is, "{purl}");
        }
        assert!(!all[0].is_at("pkg:deb/debian/openssl"));
    }

    #[test]
    fn what_is_none_is_refused() {
        let deep = format!(
            r#"{{"bomFormat":"CycloneDX","components":{}{}}}"#,
            r#"[{"name":"x","components":"#.repeat(1000),
            "[]".to_owned() + &"}]".repeat(1000)
        );
        for bad in [
            "",
            "[]",
            r#"{"components":[]}"#,
            r#"{"bomFormat":"CycloneDX","components":[{"version":"1"}]}"#,
            &deep,
        ] {
            assert!(matches!(
                components(bad.as_bytes()),
                Err(SbomError::Json(_))
            ));
        }
        let other = components(br#"{"bomFormat":"SPDX"}"#).unwrap_err();
        assert!(other.to_string().contains("SPDX"), "{other}");
        let large = vec![b' '; usize::try_from(BYTES_MAX).unwrap() + 1];
        assert!(matches!(components(&large), Err(SbomError::TooLarge(_))));
        let many = format!(
            r#"{{"bomFormat":"CycloneDX","components":[{}]}}"#,
            vec![r#"{"name":"a"}"#; OBJECTS_MAX].join(",")
        );
        assert!(matches!(
            components(many.as_bytes()),
            Err(SbomError::TooMany(_))
        ));
        assert_eq!(components(br#"{"bomFormat":"CycloneDX"}"#).unwrap(), []);
    }
}
