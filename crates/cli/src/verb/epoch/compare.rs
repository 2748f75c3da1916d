//! What officers sign without having been told of it, and what not.

use kusabi_core::{
    id::{OrgId, OrgName},
    nodes::{Node, Nodes},
    set::{Organisation, Validator},
};

use super::new::voting;
use crate::{
    appointing::Appointing,
    exit::Exit,
    failure::{Failure, Result},
    keyfile::hex,
    node_file::NodeFile,
};

/// Refuses what no machine can show to be right, unless it was agreed on with the organisation that it is about: that it goes on with
/// other officers, joins, leaves or has more or fewer validators, and keys of a validator that no validator of its own has signed.
///
/// `fresh`: the file of the new node of `org`, whose officers sign. Its keys are in the appointment, whatever was agreed on; and a
/// signature by a vote key shows nothing then of the organisation's other validators, for whoever has the lost node's key signs too.
pub(super) fn compare(
    appointing: &Appointing,
    org: &OrgName,
    agreed: &[OrgName],
    fresh: Option<&NodeFile>,
    name: impl Fn(&OrgId) -> String,
) -> Result<()> {
    if let Some(other) = fresh.filter(|file| file.org != *org) {
        return Err(Failure::new(
            Exit::Usage,
            format!("the node file is of {}, not of {org}", other.org),
        ));
    }
    let (old, next) = (appointing.old()?, appointing.next()?);
    // Where names are not known, the page shows IDs. A name that looks like one is that name.
    let ids = || {
        old.organisations()
            .chain(next.organisations())
            .map(|of| of.id)
    };
    let is = |of: &OrgName, id: &OrgId| {
        of.id() == *id || (of.to_string() == id.to_string() && ids().all(|known| known != of.id()))
    };
    let is_agreed = |id: &OrgId| agreed.iter().any(|of| is(of, id));
    let known = |of: &OrgName| {
        let mut both = old.organisations().chain(next.organisations());
        both.any(|organisation| is(of, &organisation.id))
    };
    if let Some(stranger) = agreed.iter().find(|of| !known(of)) {
        return Err(Failure::new(
            Exit::Usage,
            format!("the appointment says nothing of {stranger}"),
        )
        .advise("--agreed names an organisation that is on the page; check the name"));
    }
    let called = |id: &OrgId| {
        if *id == org.id() {
            org.to_string()
        } else {
            name(id)
        }
    };
    let refused = |id: &OrgId, what: String| {
        let whose = called(id);
        Err(Failure::new(Exit::Negative, what).advise(format!(
            "ask {whose}, not by this file (over the telephone), whether what the page says of {whose} is so; if it is, say --agreed \
             {whose}; else somebody changed it: do not sign"
        )))
    };
    let nodes = Nodes::decode(&appointing.nodes)
        .map_err(|why| Failure::new(Exit::Internal, why.to_string()))?;
    let confirmed = appointing.confirmed()?;
    let seats = |index: usize| {
        let places = next.validators().zip(nodes.iter()).zip(&confirmed);
        places.filter(move |((validator, _), _)| usize::from(validator.organisation) == index)
    };
    // What one knows oneself is not for anybody to say: one's own keys are confirmed by one's own node, or stand in its file.
    let own_keys = |index: usize, id: &OrgId| -> Result<()> {
        if *id != org.id() || fresh.is_some() || voting(&old, id) == 0 {
            return Ok(());
        }
        for ((validator, node), confirmed) in seats(index) {
            if !*confirmed {
                return Err(Failure::new(
                    Exit::Negative,
                    format!(
                        "no node of {org} says that these keys are its own: vote key {}, node key {}",
                        hex(validator.vote_key),
                        hex(node.key)
                    ),
                )
                .advise(
                    "--agreed says what others have told you; for a new node of your own give its file, from the machine itself: \
                     --node-file FILE",
                ));
            }
        }
        Ok(())
    };
    let is_fresh = |validator: &Validator<'_>, node: &Node<'_>| {
        fresh.is_some_and(|fresh| {
            (*validator.vote_key, *node.key) == (fresh.seat.vote_key, fresh.seat.node_key)
        })
    };
    if let Some(fresh) = fresh {
        let own = next.organisations().position(|of| of.id == org.id());
        let mut own = own.into_iter().flat_map(seats);
        if !own.any(|((validator, node), _)| is_fresh(&validator, &node)) {
            return Err(Failure::new(
                Exit::Negative,
                format!(
                    "no validator of {org} has the keys of the node file with this appointment: vote key {}, node key {}",
                    hex(&fresh.seat.vote_key),
                    hex(&fresh.seat.node_key)
                ),
            )
            .advise(
                "it was made with another file, or somebody exchanged the keys: do not sign; have it made with this one, kusabi epoch \
                 new --replace",
            ));
        }
    }
    for (index, organisation) in next.organisations().enumerate() {
        let id = &organisation.id;
        if is_agreed(id) {
            own_keys(index, id)?;
            continue;
        }
        let officers =
            |of: Organisation<'_>| (of.officers.threshold(), of.officers.encoded().to_vec());
        let whose = called(id);
        let Some(was) = old.organisations().find(|was| was.id == *id) else {
            return refused(id, format!("{whose} joins with this appointment"));
        };
        if officers(was) != officers(organisation) {
            return refused(
                id,
                format!("the appointment changes who the officers of {whose} are"),
            );
        }
        let (has, had) = (voting(&next, id), voting(&old, id));
        if has != had {
            let how = if has < had { "fewer" } else { "more" };
            return refused(
                id,
                format!("{whose} has {how} validators with this appointment than it has now"),
            );
        }
        let fresh = fresh.filter(|_| *id == org.id());
        for ((validator, node), confirmed) in seats(index) {
            let shown = match fresh {
                Some(_) => is_fresh(&validator, &node),
                None => *confirmed,
            };
            if shown {
                continue;
            }
            return refused(
                id,
                format!(
                    "{} that these keys are {whose}'s: vote key {}, node key {}",
                    match fresh {
                        Some(_) => "the node file does not say",
                        None => "no node says",
                    },
                    hex(validator.vote_key),
                    hex(node.key)
                ),
            );
        }
    }
    for was in old.organisations() {
        let id = &was.id;
        if !is_agreed(id) && next.organisations().all(|of| of.id != *id) {
            return refused(id, format!("{} leaves with this appointment", called(id)));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::appointing::made::{ALL, Member, four, made, node_file};

    const NAMES: [&str; 6] = ["acme", "beta", "corp", "delta", "echo", "zeta"];

    fn name(text: &str) -> OrgName {
        OrgName::new(text).unwrap()
    }

    /// Why an organisation does not sign, as far as it knows the names of all.
    fn refusal(
        appointing: &Appointing,
        org: &str,
        agreed: &[&str],
        fresh: Option<&NodeFile>,
    ) -> Option<Failure> {
        let agreed: Vec<_> = agreed.iter().map(|of| name(of)).collect();
        let called = |id: &OrgId| {
            let known = NAMES.iter().find(|of| name(of).id() == *id);
            (*known.unwrap()).to_owned()
        };
        compare(appointing, &name(org), &agreed, fresh, called).err()
    }

    #[test]
    fn what_is_not_shown_is_refused_until_it_is_agreed_on_with_whom_it_is_about() {
        let old = four([&[1], &[2], &[3], &[4]]);
        let same = four([&[11], &[12], &[13], &[14]]);
        let with = |delta: &'static [u8]| four([&[11], &[12], &[13], delta]);
        let joined = [&same[..], &[("echo", 204, &[15])]].concat();
        let mut officers = same.clone();
        officers[3].1 = 210;
        let but_delta = &ALL[..3];
        let twice = [&ALL[..], &[(4, 25, 105)]].concat();
        type Case<'a> = (Vec<Member<'a>>, &'a [(u8, u8, u8)], &'a str, &'a str);
        let cases: [Case<'_>; 6] = [
            (
                same[..3].to_vec(),
                but_delta,
                "delta",
                "delta leaves with this appointment",
            ),
            (
                with(&[]),
                but_delta,
                "delta",
                "delta has fewer validators with this appointment",
            ),
            (
                with(&[14, 25]),
                &twice,
                "delta",
                "delta has more validators with this appointment",
            ),
            (
                with(&[24]),
                but_delta,
                "delta",
                "no node says that these keys are delta's: vote key",
            ),
            (joined, &ALL, "echo", "echo joins with this appointment"),
            (
                officers,
                &ALL,
                "delta",
                "the appointment changes who the officers of delta are",
            ),
        ];
        assert!(refusal(&made(&old, &same, &ALL), "acme", &[], None).is_none());
        for (next, said, whose, why) in cases {
            let appointing = made(&old, &next, said);
            for org in ["beta", "delta"] {
                for agreed in [&[][..], &["beta"]] {
                    let refused = refusal(&appointing, org, agreed, None).unwrap();
                    assert_eq!(refused.exit(), Exit::Negative);
                    assert!(refused.what().contains(why), "{refused} for {why}");
                    assert!(refused.advice().unwrap().contains("--agreed"), "{refused}");
                }
                let told = refusal(&appointing, org, &[whose], None);
                // Of keys of one's own one's own node says it, or its file, and nobody else.
                if org == whose && (why.starts_with("no node says") || why.contains("more")) {
                    let own = told.unwrap();
                    let said = "no node of delta says that these keys are its own: vote key";
                    assert!(own.what().contains(said), "{own}");
                } else {
                    assert!(told.is_none(), "{why}: {told:?}");
                }
            }
        }
        let zeta = refusal(&made(&old, &same, &ALL), "acme", &["zeta"], None).unwrap();
        assert_eq!(zeta.exit(), Exit::Usage);
        assert!(zeta.what().contains("the appointment says nothing of zeta"));
    }

    #[test]
    fn a_node_file_stands_for_one_validator_and_beside_it_no_signature_does() {
        let file = node_file("delta", 25);
        let one = four([&[1], &[2], &[3], &[4]]);
        let two = four([&[1], &[2], &[3], &[4, 6]]);
        let next = |delta: &'static [u8]| four([&[11], &[12], &[13], delta]);
        let said = |more: &[(u8, u8, u8)]| [&ALL[..3], more].concat();
        let sign = |old: &[Member<'_>], delta, more: &[(u8, u8, u8)], agreed: &[&str]| {
            let appointing = made(old, &next(delta), &said(more));
            refusal(&appointing, "delta", agreed, Some(&file))
        };
        let absent = "no validator of delta has the keys of the node file";
        let unsaid = "the node file does not say that these keys are delta's: vote key";
        let more = "delta has more validators with this appointment";
        type Case<'a> = (
            &'a [Member<'a>],
            &'static [u8],
            &'a [(u8, u8, u8)],
            Option<&'a str>,
            Option<&'a str>,
        );
        let cases: [Case<'_>; 8] = [
            // The new node in the place of the lost one.
            (&one, &[25], &[], None, None),
            // Of the lost one somebody has the vote key: he signs keys of his own, alone, or beside the new node.
            (&one, &[14], &[(4, 14, 104)], Some(absent), Some(absent)),
            (&one, &[14, 25], &[(4, 14, 104)], Some(more), None),
            // One of two is lost: he leaves the new node out, or exchanges the other one.
            (
                &two,
                &[14, 16],
                &[(4, 14, 104), (6, 16, 106)],
                Some(absent),
                Some(absent),
            ),
            (&two, &[14, 25], &[(4, 14, 104)], Some(unsaid), None),
            (&two, &[16, 25], &[(6, 16, 106)], Some(unsaid), None),
            (&two, &[16, 25], &[], Some(unsaid), None),
            (&two, &[], &[], Some(absent), Some(absent)),
        ];
        for (old, delta, more, alone, agreed) in cases {
            for (told, why) in [(&[][..], alone), (&["delta"], agreed)] {
                let refused = sign(old, delta, more, told);
                let what = refused.as_ref().map_or("", |refused| refused.what());
                assert_eq!(
                    refused.is_some(),
                    why.is_some(),
                    "{delta:?} {told:?}: {what}"
                );
                assert!(
                    what.contains(why.unwrap_or_default()),
                    "{delta:?} {told:?}: {what}"
                );
            }
        }
        // Who has several and has lost none signs by their signatures.
        let both = made(&two, &next(&[14, 16]), &said(&[(4, 14, 104), (6, 16, 106)]));
        assert!(refusal(&both, "delta", &[], None).is_none());
        let elsewhere = refusal(&both, "acme", &[], Some(&file)).unwrap();
        assert_eq!(elsewhere.exit(), Exit::Usage);
        assert!(
            elsewhere
                .what()
                .contains("the node file is of delta, not of acme")
        );
    }
}
