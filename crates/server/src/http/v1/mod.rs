//! `/api/v1`: the tree of files is the API.

pub(super) mod alarms {
    pub(in crate::http) mod acknowledge;
    pub(in crate::http) mod list;
}
pub(super) mod audit_log {
    pub(in crate::http) mod head;
    pub(in crate::http) mod list;
    pub(in crate::http) mod receipt;
}
pub(super) mod auth_sets {
    pub(in crate::http) mod accept;
    pub(in crate::http) mod reject;
}
pub(super) mod channels {
    pub(in crate::http) mod list;
    pub(in crate::http) mod set;
}
pub(super) mod components {
    pub(in crate::http) mod list;
}
pub(super) mod contents {
    pub(in crate::http) mod receive;
    pub(in crate::http) mod show;
}
pub(super) mod devices {
    pub(in crate::http) mod events;
    pub(in crate::http) mod import;
    pub(in crate::http) mod inventory;
    pub(in crate::http) mod list;
    pub(in crate::http) mod order_log;
    pub(in crate::http) mod order_receipt;
    pub(in crate::http) mod orders;
    pub(in crate::http) mod quarantine;
    pub(in crate::http) mod readmit;
    pub(in crate::http) mod show;
}
pub(super) mod enrolment_labels {
    pub(in crate::http) mod add;
}
pub(super) mod enrolment_tokens {
    pub(in crate::http) mod create;
    pub(in crate::http) mod list;
    pub(in crate::http) mod revoke;
}
pub(super) mod enrolments {
    pub(in crate::http) mod accept;
    pub(in crate::http) mod list;
    pub(in crate::http) mod refuse;
}
pub(super) mod first_admin {
    pub(in crate::http) mod create;
}
pub(super) mod groups {
    pub(in crate::http) mod add;
    pub(in crate::http) mod create;
    pub(in crate::http) mod list;
    pub(in crate::http) mod remove;
}
pub(super) mod keys {
    pub(in crate::http) mod show;
}
pub(super) mod mender_devices {
    pub(in crate::http) mod list;
    pub(in crate::http) mod preauthorize;
    pub(in crate::http) mod show;
}
pub(super) mod orders {
    pub(in crate::http) mod create;
    pub(in crate::http) mod list;
}
pub(super) mod rebuild {
    pub(in crate::http) mod create;
}
pub(super) mod releases {
    pub(in crate::http) mod list;
    pub(in crate::http) mod show;
    pub(in crate::http) mod upload;
}
pub(super) mod rollouts {
    pub(in crate::http) mod abort;
    pub(in crate::http) mod create;
    pub(in crate::http) mod devices;
    pub(in crate::http) mod list;
    pub(in crate::http) mod next;
    pub(in crate::http) mod pause;
    pub(in crate::http) mod resume;
    pub(in crate::http) mod show;
}
pub(super) mod server {
    pub(in crate::http) mod show;
}
pub(super) mod tokens {
    pub(in crate::http) mod create;
    pub(in crate::http) mod list;
    pub(in crate::http) mod revoke;
}
pub(super) mod types {
    pub(in crate::http) mod expect;
    pub(in crate::http) mod list;
    pub(in crate::http) mod policy;
    pub(in crate::http) mod set_policy;
}
