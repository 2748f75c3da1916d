use super::{
    made::{ALL, four, made, public},
    *,
};

/// An appointment of these, with what vote keys of the epoch before signed.
fn appointing(next: [&[u8]; 4], said: &[(u8, u8, u8)]) -> Appointing {
    made(&four([&[1], &[2], &[3], &[4]]), &four(next), said)
}

/// The seeds of the vote keys that nobody has confirmed, ascending.
fn unconfirmed(appointing: &Appointing) -> Vec<u8> {
    let next = appointing.next().unwrap();
    let confirmed = appointing.confirmed().unwrap();
    let places = next.validators().zip(confirmed);
    let not: Vec<_> = places
        .filter(|(_, confirmed)| !confirmed)
        .map(|(one, _)| *one.vote_key)
        .collect();
    (0..=99)
        .filter(|seed| not.contains(&public(*seed)))
        .collect()
}

#[test]
fn who_makes_an_appointment_puts_no_keys_in_the_place_of_those_that_their_owner_signed() {
    let whole = appointing([&[11], &[12], &[13], &[14]], &ALL);
    assert!(unconfirmed(&whole).is_empty());
    // Acme puts a key of its own at delta's place: delta has signed another one, and acme's word is not delta's.
    for more in [None, Some((1, 24, 104)), Some((2, 24, 104))] {
        let said: Vec<_> = ALL[..3].iter().copied().chain(more).collect();
        let stolen = appointing([&[11], &[12], &[13], &[24]], &said);
        assert_eq!(unconfirmed(&stolen), [24], "{more:?}");
    }
    // Delta's vote key, but another node's key.
    let mut said = ALL;
    said[3].2 = 105;
    let elsewhere = appointing([&[11], &[12], &[13], &[14]], &said);
    assert_eq!(unconfirmed(&elsewhere), [14]);
    // A second validator for acme: one that acme has speaks for one.
    let said: Vec<_> = ALL.into_iter().chain([(1, 25, 105)]).collect();
    let second = appointing([&[11, 25], &[12], &[13], &[14]], &said);
    assert_eq!(unconfirmed(&second).len(), 1);
    // What was signed for another epoch or ledger.
    let mut other = whole.clone();
    other.chain = ChainId::new([8; 32]);
    assert_eq!(unconfirmed(&other), [11, 12, 13, 14]);
}

#[test]
fn what_the_nodes_signed_travels_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("next.epoch");
    let whole = appointing([&[11], &[12], &[13], &[14]], &ALL);
    whole.create(&path).unwrap();
    let read = Appointing::read(&path).unwrap();
    assert_eq!(read.confirmations, whole.confirmations);
    assert!(unconfirmed(&read).is_empty());
    let bytes = std::fs::read(&path).unwrap();
    for cut in 0..bytes.len() {
        std::fs::write(&path, &bytes[..cut]).unwrap();
        assert_eq!(Appointing::read(&path).unwrap_err().exit(), Exit::File);
    }
}
