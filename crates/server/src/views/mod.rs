//! The console's pages: a struct for each template, one catalogue of texts ([`texts`]), shared components ([`parts`]), one stylesheet
//! (`assets/console.css`). What a page shows is given to it; it asks nobody. `http/console` serves them.
//!
//! Everything is escaped by the templates; what is not is a component, which escapes what it is given.

pub(crate) mod account;
pub(crate) mod act;
pub(crate) mod alarms;
pub(crate) mod assets;
pub(crate) mod audit_log;
pub(crate) mod channels;
pub(crate) mod components;
pub(crate) mod device;
pub(crate) mod devices;
pub(crate) mod first_admin;
pub(crate) mod key;
pub(crate) mod mender;
pub(crate) mod new_rollout;
pub(crate) mod order_log;
pub(crate) mod orders;
pub(crate) mod parts;
pub(crate) mod problem;
pub(crate) mod rollouts;
pub(crate) mod sign_in;
pub(crate) mod texts;
pub(crate) mod time;
pub(crate) mod words;

use kusabi_api::{Hex, admin::Role};
use parts::When;
use texts::Texts;

/// A language of the console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Language {
    English,
    Japanese,
}

impl Language {
    /// All of them: code, and name in itself.
    pub(crate) const ALL: [(Self, &'static str, &'static str); 2] = [
        (Self::English, "en", "English"),
        (Self::Japanese, "ja", "日本語"),
    ];

    /// The one with this code.
    pub(crate) fn from_code(code: &str) -> Option<Self> {
        let found = Self::ALL.iter().find(|(_, known, _)| *known == code);
        found.map(|(language, ..)| *language)
    }

    /// The one that `Accept-Language` (RFC 9110, section 12.5.4) likes best; English where it names none of ours.
    pub(crate) fn accepted(header: &str) -> Self {
        let mut best = (Self::English, 0.0);
        // No browser sends more than a few.
        for range in header.split(',').take(32) {
            let mut parts = range.split(';');
            let tag = parts.next().unwrap_or_default().trim();
            let quality = parts
                .find_map(|part| part.trim().strip_prefix("q="))
                .map_or(1.0, |q| q.parse::<f32>().unwrap_or(0.0));
            let primary = tag.split('-').next().unwrap_or_default();
            if let Some(language) = Self::from_code(&primary.to_ascii_lowercase())
                && quality > best.1
            {
                best = (language, quality);
            }
        }
        best.0
    }

    pub(crate) const fn texts(self) -> &'static Texts {
        match self {
            Self::English => &texts::EN,
            Self::Japanese => &texts::JA,
        }
    }
}

/// Light, dark, or what the system says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Theme {
    #[default]
    Auto,
    Light,
    Dark,
}

impl Theme {
    pub(crate) const ALL: [Self; 3] = [Self::Auto, Self::Light, Self::Dark];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|theme| theme.name() == name)
    }
}

/// Who is signed in.
#[derive(Clone, Debug)]
pub(crate) struct Who {
    /// ID of the token.
    pub(crate) token: String,
    /// Its name.
    pub(crate) name: String,
    pub(crate) role: Role,
    /// What each form of this session carries.
    pub(crate) csrf: String,
}

impl Who {
    /// The role's name, and what it may do.
    fn texts(&self, t: &Texts) -> (&'static str, &'static str) {
        t.role(self.role)
    }
}

/// What all pages have: whom they are for, and what stands around their content.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) t: &'static Texts,
    pub(crate) language: Language,
    pub(crate) theme: Theme,
    /// Path and query of this page: where a switch leads back to.
    pub(crate) address: String,
    /// Milliseconds since 1970.
    pub(crate) now_ms: u64,
    /// The organisation, as hexadecimal digits.
    pub(crate) org: String,
    pub(crate) who: Option<Who>,
    /// Open alarms, where someone is signed in; counted up to [`Frame::ALARMS_MAX`].
    pub(crate) open_alarms: u64,
    /// Whether stock Mender devices are served here.
    pub(crate) mender: bool,
}

impl Frame {
    /// What is more is not counted.
    pub(crate) const ALARMS_MAX: u64 = 99;

    /// The form field that shows that a form is this session's.
    pub(crate) fn csrf(&self) -> &str {
        self.who.as_ref().map_or("", |who| &who.csrf)
    }

    pub(crate) fn may(&self, role: Role) -> bool {
        self.who.as_ref().is_some_and(|who| who.role >= role)
    }

    pub(crate) fn operates(&self) -> bool {
        self.may(Role::Operator)
    }

    pub(crate) fn administers(&self) -> bool {
        self.may(Role::Admin)
    }

    /// How long ago; the exact time is its title.
    pub(crate) fn age(&self, at_ms: u64) -> When {
        When::age(self, at_ms)
    }

    /// The time.
    pub(crate) fn clock(&self, at_ms: u64) -> When {
        When::clock(self, at_ms)
    }

    /// What the badge shows.
    pub(crate) fn alarm_count(&self) -> String {
        if self.open_alarms > Self::ALARMS_MAX {
            format!("{}+", Self::ALARMS_MAX)
        } else {
            self.open_alarms.to_string()
        }
    }

    /// Whether this page is under that address: for `aria-current`.
    pub(crate) fn is_under(&self, page: &str) -> bool {
        let path = self.address.split('?').next().unwrap_or_default();
        path == page
            || path
                .strip_prefix(page)
                .is_some_and(|rest| rest.starts_with('/'))
    }

    pub(crate) fn stylesheet(&self) -> String {
        assets::address("console.css")
    }

    pub(crate) fn script(&self) -> String {
        assets::address("console.js")
    }

    pub(crate) fn mark(&self) -> String {
        assets::address("mark.svg")
    }
}

/// An address with its query: names are ours, values are encoded.
pub(crate) fn address(path: &str, query: &[(&str, Option<&str>)]) -> String {
    let mut address = String::from(path);
    let mut before = '?';
    for (name, value) in query {
        let Some(value) = value.filter(|value| !value.is_empty()) else {
            continue;
        };
        address.push(before);
        before = '&';
        address.push_str(name);
        address.push('=');
        for byte in value.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                    address.push(char::from(byte));
                }
                byte => address.push_str(&format!("%{byte:02X}")),
            }
        }
    }
    address
}

/// The beginning of a long number in hexadecimal digits, for tables.
pub(crate) fn short<const N: usize>(hex: &Hex<N>) -> String {
    let mut text = hex.to_string();
    text.truncate(10);
    text.push('…');
    text
}

/// A number with its thousands apart.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_language_that_is_liked_best() {
        for (header, language) in [
            ("", Language::English),
            ("ja", Language::Japanese),
            ("JA-jp", Language::Japanese),
            ("ja-JP,ja;q=0.9,en-US;q=0.8,en;q=0.7", Language::Japanese),
            ("en-GB,en;q=0.9,ja;q=0.8", Language::English),
            ("fr, ja;q=0.2", Language::Japanese),
            ("fr, de", Language::English),
            ("en;q=0.1, ja; q=0.5", Language::Japanese),
            ("ja;q=0", Language::English),
            ("ja;q=x, en;q=0.1", Language::English),
            (";;;,,,q=1;", Language::English),
        ] {
            assert_eq!(Language::accepted(header), language, "{header:?}");
        }
    }

    #[test]
    fn addresses_hold_any_value() {
        let made = address(
            "/devices",
            &[("q", Some("a b&c=<é>")), ("type", None), ("x", Some(""))],
        );
        assert_eq!(made, "/devices?q=a%20b%26c%3D%3C%C3%A9%3E");
    }

    #[test]
    fn thousands_stand_apart() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (10_000_000, "10,000,000"),
        ] {
            assert_eq!(grouped(number), text);
        }
    }
}
