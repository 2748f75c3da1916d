//! Who acts, and what he may do.

use super::Error;
use kusabi_api::admin::Role;

/// Who acts: only the token's check makes one ([`App::authenticate`](super::App::authenticate)).
#[derive(Clone, Debug)]
pub struct Caller {
    id: String,
    role: Role,
}

impl Caller {
    pub(super) const fn new(id: String, role: Role) -> Self {
        Self { id, role }
    }

    /// The server itself, at the hands of whoever runs its command on its machine.
    #[must_use]
    pub fn server() -> Self {
        Self::new(String::from("server"), Role::Admin)
    }

    /// What the audit log calls him.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What he may do.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }

    /// The one place where roles are compared.
    ///
    /// # Errors
    /// The role is too low.
    pub fn require(&self, needed: Role) -> Result<(), Error> {
        if self.role >= needed {
            Ok(())
        } else {
            Err(Error::Forbidden {
                needed,
                has: self.role,
            })
        }
    }
}
