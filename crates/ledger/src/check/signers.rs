//! Whose signature an action takes (spec/ledger.md, table of actions): what follows from its record.

use kusabi_core::id::Handle;
use kusabi_core::row::Record;
use kusabi_core::suite::Purpose;
use kusabi_core::tx::Action;

use crate::rejection::Rejection;

/// Whether a key on the ledger may sign this at all: it is of the action's organisation and has a purpose that the action
/// takes. How many sign, and whether they are active, is another question.
///
/// Purpose and, of keys with a role, owner of a record never change, so that this is asked before anything that the transaction
/// brings is looked at: else anybody with a key has 4,096 points checked for a registration that only a writer may sign.
///
/// # Errors
/// [`Rejection::ForeignSigner`], [`Rejection::SignerPurpose`]
pub(crate) fn may_sign(action: &Action, signer: &Handle, record: &Record) -> Result<(), Rejection> {
    let purpose = record.purpose();
    let takes = match action {
        // Signed by exactly the keys that they name or bring; what these have to be is asked of the records named.
        Action::Activate { .. } | Action::Supersede { .. } => return Ok(()),
        Action::Revoke {
            targets,
            signers: 1,
            ..
        } if targets.len() == 1 && targets.iter().any(|target| target.handle == *signer) => {
            return Ok(());
        }
        // Signed by keys that it brings; whatever else signs it is one too many.
        Action::Genesis { .. } | Action::Recovery { .. } | Action::Handover { .. } => {
            return Ok(());
        }
        Action::Register { .. } => purpose == Purpose::Writer,
        Action::Revoke { .. } => matches!(purpose, Purpose::Revoker | Purpose::Officer),
        Action::Grant { .. } | Action::Withdraw { .. } => purpose == Purpose::Officer,
        Action::ArtPolicy { .. } => matches!(purpose, Purpose::Art | Purpose::Officer),
        Action::Publish { .. } => purpose == Purpose::Art,
        Action::WithdrawRelease { .. } => matches!(purpose, Purpose::Art | Purpose::Revoker),
        Action::Anchor { .. } => purpose.may_anchor(),
        Action::Appoint { .. } => matches!(purpose, Purpose::Writer | Purpose::Officer),
        Action::Propose { .. } | Action::Vote { .. } | Action::Officers { .. } => {
            purpose == Purpose::Officer
        }
        // Officers of the one who gives, a writer of the one who takes.
        Action::Transfer { to, .. } if purpose == Purpose::Writer => {
            return if record.owner() == *to {
                Ok(())
            } else {
                Err(Rejection::ForeignSigner)
            };
        }
        Action::Transfer { .. } => purpose == Purpose::Officer,
    };
    if action.org().is_some_and(|org| record.owner() != org) {
        return Err(Rejection::ForeignSigner);
    }
    if takes {
        Ok(())
    } else {
        Err(Rejection::SignerPurpose)
    }
}
