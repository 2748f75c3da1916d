//! `/devices/{device}/acts/{act}`: what an operator may do to a device, asked once more before it is done.

use super::{
    Frame,
    parts::Badge,
    texts::{Texts, fill},
};
use askama::Template;
use kusabi_api::admin::{DeviceClass, DeviceState, OrderKind};

/// What can be done to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Report,
    Update,
    Repair,
    Rotate,
    Quarantine,
    Readmit,
}

impl Act {
    pub(crate) const ALL: [Self; 6] = [
        Self::Report,
        Self::Update,
        Self::Repair,
        Self::Rotate,
        Self::Quarantine,
        Self::Readmit,
    ];

    /// The word in the address.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Report => "report",
            Self::Update => "update",
            Self::Repair => "repair",
            Self::Rotate => "rotate",
            Self::Quarantine => "quarantine",
            Self::Readmit => "readmit",
        }
    }

    pub(crate) fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|act| act.word() == word)
    }

    /// Whether there is a sense in it while the device is in this state. The use cases decide; this is what is offered.
    pub(crate) fn fits(self, state: DeviceState, class: DeviceClass) -> bool {
        if class == DeviceClass::Mender {
            // It knows no other order.
            return match state {
                DeviceState::Active => matches!(self, Self::Update | Self::Quarantine),
                DeviceState::Quarantined => self == Self::Readmit,
                _ => false,
            };
        }
        match state {
            DeviceState::Active => self != Self::Readmit,
            DeviceState::Quarantined => {
                matches!(self, Self::Repair | Self::Rotate | Self::Readmit)
            }
            _ => false,
        }
    }

    /// The order that it is, if it is one.
    pub(crate) const fn order(self) -> Option<OrderKind> {
        match self {
            Self::Report => Some(OrderKind::Report),
            Self::Update => Some(OrderKind::Update),
            Self::Repair => Some(OrderKind::Repair),
            Self::Rotate => Some(OrderKind::Rotate),
            Self::Quarantine | Self::Readmit => None,
        }
    }

    pub(crate) const fn takes_release(self) -> bool {
        matches!(self, Self::Update | Self::Repair)
    }

    /// Whether it shuts somebody out.
    pub(crate) const fn is_grave(self) -> bool {
        matches!(self, Self::Quarantine)
    }

    pub(crate) const fn name(self, t: &Texts) -> &'static str {
        match self {
            Self::Report => t.act_report,
            Self::Update => t.act_update,
            Self::Repair => t.act_repair,
            Self::Rotate => t.act_rotate,
            Self::Quarantine => t.act_quarantine,
            Self::Readmit => t.act_readmit,
        }
    }

    pub(crate) const fn text(self, t: &Texts) -> &'static str {
        match self {
            Self::Report => t.act_report_text,
            Self::Update => t.act_update_text,
            Self::Repair => t.act_repair_text,
            Self::Rotate => t.act_rotate_text,
            Self::Quarantine => t.act_quarantine_text,
            Self::Readmit => t.act_readmit_text,
        }
    }
}

#[derive(Debug, Template)]
#[template(path = "act.html")]
pub(crate) struct Confirm {
    pub(crate) f: Frame,
    pub(crate) act: Act,
    /// What the device is called.
    pub(crate) device: String,
    pub(crate) device_address: String,
    pub(crate) serial: String,
    pub(crate) state: Badge,
    /// Makes a form that is sent twice one act.
    pub(crate) once: String,
    /// What was given as a release.
    pub(crate) release: String,
    pub(crate) bad_release: bool,
    /// Releases to choose from: digest, and what is shown.
    pub(crate) releases: Vec<(String, String)>,
}

impl Confirm {
    fn yes(&self) -> String {
        let name = self.act.name(self.f.t);
        let mut name = name.chars();
        let first = name
            .next()
            .map(|c| c.to_lowercase().to_string())
            .unwrap_or_default();
        fill(self.f.t.confirm, format!("{first}{}", name.as_str()))
    }
}
