//! The one mapping of the ledger's refusals to problems.

use kusabi_api::{Kind, Problem};
use kusabi_core::tx::TxError;
use kusabi_ledger::Rejection;

/// Why bytes are not a transaction.
#[must_use]
pub fn malformed(why: TxError) -> Problem {
    let kind = match why {
        TxError::TooLong => Kind::TooLarge,
        // The bytes can be read; they are not in the one form or order that they must have.
        TxError::NotCanonical | TxError::Order => Kind::NotCanonical,
        _ => Kind::Malformed,
    };
    Problem::new(kind, why.to_string()).with_code(why as u16)
}

/// Why the ledger does not take a transaction.
///
/// `Conflict` where another state would have taken it, so that looking up and making it anew can help; `Rejected` where its maker or
/// its signers have to change something.
#[must_use]
pub fn rejected(why: Rejection) -> Problem {
    let kind = match why {
        Rejection::WrongChain => Kind::WrongChain,
        Rejection::BadSignature => Kind::BadSignature,
        Rejection::HandleTaken
        | Rejection::ReleaseExists
        | Rejection::AnchorExists
        | Rejection::StaleVersion
        | Rejection::RecordEnded
        | Rejection::ReleaseWithdrawn
        | Rejection::SignerEnded
        | Rejection::VersionExhausted => Kind::Conflict,
        // Nothing is wrong with the transaction.
        Rejection::NotFounded => Kind::Behind,
        Rejection::BlockFull => Kind::PoolFull,
        Rejection::DamagedState => Kind::Internal,
        _ => Kind::Rejected,
    };
    Problem::new(kind, why.to_string()).with_code(why.code())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rejection_has_its_code_and_a_sentence() {
        for why in Rejection::ALL {
            let problem = rejected(why);
            assert_eq!(problem.code, Some(why.code()));
            assert_eq!(problem.detail, why.to_string());
            let status = problem.kind.status();
            assert!(
                [409, 422, 429, 500, 503].contains(&status),
                "{why:?} gives {status}"
            );
        }
    }
}
