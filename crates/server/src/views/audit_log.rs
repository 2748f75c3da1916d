//! `/audit-log`

use super::{
    Frame,
    parts::{Hash, Pager, When},
    time,
};
use askama::Template;
use serde_json::Value;

#[derive(Debug, Template)]
#[template(path = "audit_log.html")]
pub(crate) struct AuditLog {
    pub(crate) f: Frame,
    /// Hash of the newest entry, on the first page.
    pub(crate) head: Option<String>,
    pub(crate) rows: Vec<EntryRow>,
    pub(crate) pager: Pager,
}

/// One entry.
#[derive(Debug)]
pub(crate) struct EntryRow {
    pub(crate) seq: u64,
    pub(crate) at: When,
    pub(crate) actor: String,
    pub(crate) actor_id: String,
    pub(crate) act: String,
    pub(crate) subject: String,
    pub(crate) subject_short: String,
    /// Where the subject has a page.
    pub(crate) subject_address: Option<String>,
    pub(crate) particulars: Vec<Particular>,
    pub(crate) hash: Hash,
}

/// One of an entry's particulars, under the name that the API has for it.
#[derive(Debug)]
pub(crate) struct Particular {
    pub(crate) name: String,
    /// As much of it as a cell takes.
    pub(crate) short: String,
    pub(crate) whole: String,
}

impl Particular {
    /// Characters of a value that are shown: an ID of ours is longer by its prefix and some of its digits.
    const SHOWN: usize = 24;

    /// Of an entry's detail, which is JSON: the members of the object, without those that say nothing. What is no object is shown as it stands.
    pub(crate) fn of(detail: &str) -> Vec<Self> {
        let Ok(Value::Object(members)) = serde_json::from_str(detail) else {
            return vec![Self::new(String::new(), detail.to_owned())];
        };
        let said = members.into_iter().filter(|(_, value)| !value.is_null());
        said.map(
            |(name, value)| match (name.strip_suffix("_ms"), value.as_u64()) {
                (Some(when), Some(at_ms)) => Self::new(when.to_owned(), time::utc(at_ms)),
                _ => Self::new(name, text(&value)),
            },
        )
        .collect()
    }

    fn new(name: String, whole: String) -> Self {
        let short = match whole.char_indices().nth(Self::SHOWN) {
            Some((end, _)) => format!("{}…", &whole[..end]),
            None => whole.clone(),
        };
        Self { name, short, whole }
    }
}

/// A value as a person reads it: a text that could be taken for something else in quotes. The server wrote it, and none that it writes is
/// deep.
fn text(value: &Value) -> String {
    let joined = |texts: Vec<String>| texts.join(", ");
    match value {
        Value::String(text) if is_plain(text) => text.clone(),
        Value::Array(values) => joined(values.iter().map(text).collect()),
        Value::Object(members) => {
            let members = members.iter().filter(|(_, value)| !value.is_null());
            joined(
                members
                    .map(|(name, value)| format!("{name} {}", text(value)))
                    .collect(),
            )
        }
        other => other.to_string(),
    }
}

/// Whether a text is one word, as IDs, digests, kinds and addresses are.
fn is_plain(text: &str) -> bool {
    let plain = |c: char| c.is_alphanumeric() || "-_.:/@+".contains(c);
    !text.is_empty() && text.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::Particular;

    fn shown(detail: &str) -> Vec<(String, String, String)> {
        let said = Particular::of(detail).into_iter();
        said.map(|said| (said.name, said.short, said.whole))
            .collect()
    }

    fn row(name: &str, short: &str, whole: &str) -> (String, String, String) {
        (name.into(), short.into(), whole.into())
    }

    #[test]
    fn particulars_are_named_and_what_is_long_is_cut_between_characters() {
        assert_eq!(
            shown(
                r#"{"devices":1,"release":null,"target":{"device":"dev_87","group":null},"kind":"report"}"#
            ),
            [
                row("devices", "1", "1"),
                row("kind", "report", "report"),
                row("target", "device dev_87", "device dev_87"),
            ]
        );
        assert_eq!(
            shown(r#"{"names":["a, b","c"],"target":{"group":"x, device dev_9"},"empty":""}"#),
            [
                row("empty", r#""""#, r#""""#),
                row("names", r#""a, b", c"#, r#""a, b", c"#),
                row(
                    "target",
                    r#"group "x, device dev_9""#,
                    r#"group "x, device dev_9""#
                ),
            ]
        );
        let long = "カメラ".repeat(9);
        let cut: String = long.chars().take(24).chain(['…']).collect();
        assert_eq!(
            shown(&format!(r#"{{"name":"{long}"}}"#)),
            [row("name", &cut, &long)]
        );
    }

    #[test]
    fn times_are_times_and_what_is_no_object_is_shown_as_it_stands() {
        let time = "2026-11-29 00:39:42 UTC";
        assert_eq!(
            shown(r#"{"expires_ms":1795912782000,"start_ms":null}"#),
            [row("expires", time, time)]
        );
        assert_eq!(shown("{broken"), [row("", "{broken", "{broken")]);
        assert!(shown("{}").is_empty());
    }
}
