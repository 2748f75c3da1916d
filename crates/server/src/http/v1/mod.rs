//! `/api/v1`: the tree of files is the API.

pub(super) mod alarms {
    pub(in crate::http) mod acknowledge;
    pub(in crate::http) mod list;
}
pub(super) mod audit_log {
    pub(in crate::http) mod list;
}
pub(super) mod devices {
    pub(in crate::http) mod import;
    pub(in crate::http) mod list;
    pub(in crate::http) mod show;
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
pub(super) mod orders {
    pub(in crate::http) mod create;
    pub(in crate::http) mod list;
}
pub(super) mod tokens {
    pub(in crate::http) mod create;
    pub(in crate::http) mod list;
    pub(in crate::http) mod revoke;
}
