//! Rows and transactions (spec/vectors/rows.json, transactions.json).

use kusabi_core::id::{ChainId, Digest, Handle, OrgId, ProposalId, StateKey};
use kusabi_core::row::{ROW_BYTES, Row};
use kusabi_core::tx::{Act, Draft, Proposal, Transaction, TxError};
use serde::Deserialize;

use crate::vectors::{Hex, read};

#[derive(Deserialize)]
struct Rows {
    rows: Vec<RowCase>,
    refused: Vec<Refused>,
}

#[derive(Deserialize)]
struct RowCase {
    name: String,
    kind: u8,
    key: Hex,
    key_name: Hex,
    bytes: Hex,
}

#[derive(Deserialize)]
struct Refused {
    error: String,
    bytes: Option<Hex>,
    zeros: Option<usize>,
}

impl Refused {
    fn bytes(&self) -> Vec<u8> {
        match (&self.bytes, self.zeros) {
            (Some(bytes), _) => bytes.0.clone(),
            (None, zeros) => vec![0; zeros.unwrap()],
        }
    }
}

fn state_key(kind: u8, name: &[u8]) -> StateKey {
    let digest = |bytes: &[u8]| Digest::new(bytes.try_into().unwrap());
    let org = |bytes: &[u8]| OrgId::new(bytes.try_into().unwrap());
    match kind {
        1 => StateKey::record(&Handle::new(name.try_into().unwrap())),
        2 => StateKey::organisation(&org(name)),
        3 => StateKey::art_policy(&org(name)),
        4 => StateKey::release(&org(&name[..16]), &digest(&name[16..])),
        5 => StateKey::anchor(&digest(name)),
        6 => {
            let index = u16::from_be_bytes(name[32..].try_into().unwrap());
            StateKey::blob_part(&digest(&name[..32]), index)
        }
        7 => StateKey::ledger(),
        8 => StateKey::members(),
        9 => StateKey::proposal(&ProposalId::new(name.try_into().unwrap())),
        _ => panic!("no kind {kind}"),
    }
}

#[test]
fn rows() {
    let vectors = read::<Rows>("rows.json");
    for case in vectors.rows {
        let bytes: [u8; ROW_BYTES] = case.bytes.array();
        let row = Row::decode(&bytes).unwrap_or_else(|e| panic!("{}: {e}", case.name));
        assert_eq!(row.encode(), bytes, "{}", case.name);
        let key = state_key(case.kind, &case.key_name.0);
        assert_eq!(key.as_bytes(), &case.key.array(), "{}", case.name);
    }
    for case in vectors.refused {
        let bytes: [u8; ROW_BYTES] = case.bytes().try_into().unwrap();
        assert_eq!(
            format!("{:?}", Row::decode(&bytes).unwrap_err()),
            case.error
        );
    }
}

#[derive(Deserialize)]
struct Transactions {
    chain: Hex,
    signer: Hex,
    purpose: u8,
    transactions: Vec<TxCase>,
    refused: Vec<Refused>,
    unkeyed: Vec<Hex>,
    proposal: ProposalCase,
}

#[derive(Deserialize)]
struct ProposalCase {
    bytes: Hex,
    id: Hex,
    officer: Hex,
    admission: Hex,
}

#[derive(Deserialize)]
struct TxCase {
    code: u8,
    bytes: Hex,
    id: Hex,
    statement: Hex,
}

#[test]
fn a_proposal() {
    let vectors = read::<Transactions>("transactions.json");
    let case = vectors.proposal;
    let proposal = Proposal::decode(&case.bytes.0).unwrap();
    assert_eq!(proposal.id().as_bytes(), &case.id.array());
    let again = Proposal::new(
        proposal.proposer(),
        proposal.expires_ms(),
        proposal.acts().to_vec(),
    );
    assert_eq!(again.as_ref(), Ok(&proposal));
    let Some(Act::Admit { candidate, .. }) = proposal.acts().first() else {
        panic!("it admits somebody first");
    };
    let officer = &candidate.officers[0].entry;
    assert_eq!(officer.handle(), Handle::new(case.officer.array()));
    let chain = ChainId::new(vectors.chain.array());
    let statement = candidate.statement(&chain, officer);
    assert_eq!(statement.as_bytes().as_slice(), case.admission.0);
    assert!(!candidate.is_signed(&chain));
}

#[test]
fn transactions() {
    let vectors = read::<Transactions>("transactions.json");
    let signer = Handle::new(vectors.signer.array());
    for case in vectors.transactions {
        let transaction = Transaction::decode(&case.bytes.0).unwrap();
        assert_eq!(transaction.chain(), ChainId::new(vectors.chain.array()));
        assert_eq!(transaction.action().code() as u8, case.code);
        assert_eq!(transaction.id().as_bytes(), &case.id.array());
        let statement = transaction.statement(&signer, vectors.purpose.try_into().unwrap());
        assert_eq!(statement.as_bytes().as_slice(), case.statement.0);
        let again = Draft::from(transaction).finish().unwrap();
        assert_eq!(again.as_bytes(), case.bytes.0);
        assert_eq!(
            again.clone().check_keys().unwrap().into_transaction(),
            again
        );
    }
    for (index, case) in vectors.unkeyed.iter().enumerate() {
        let transaction = Transaction::decode(&case.0).unwrap();
        assert_eq!(
            transaction.check_keys(),
            Err(TxError::Key),
            "number {index}"
        );
    }
    for (index, case) in vectors.refused.iter().enumerate() {
        let error = Transaction::decode(&case.bytes()).unwrap_err();
        assert_eq!(format!("{error:?}"), case.error, "number {index}");
    }
}
