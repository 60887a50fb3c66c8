//! Decides what one sighting of an entry means for the person.

use super::{Account, Decision, EntryFacts, Policy, Reason, Sighting};
use crate::model::{Member, Standing};

/// Decides what a sighting means for a person. `known` is their stored state, if any.
pub fn decide(known: Option<&Member>, sighting: &Sighting, policy: &Policy) -> Decision {
    match (sighting, known) {
        (Sighting::Entry(facts), known) => decide_entry(known, facts, policy),
        (
            Sighting::Present(_),
            None
            | Some(Member {
                standing: Standing::Left,
                ..
            }),
        ) => Decision::Fetch,
        (Sighting::Present(_), Some(_)) => Decision::Unchanged,
        (
            Sighting::Gone(_),
            None
            | Some(Member {
                standing: Standing::Left,
                ..
            }),
        ) => Decision::Ignore,
        (Sighting::Gone(_), Some(member)) => Decision::Change(
            Member {
                standing: Standing::Left,
                ..member.clone()
            },
            Reason::Left,
        ),
    }
}

fn decide_entry(known: Option<&Member>, facts: &EntryFacts, policy: &Policy) -> Decision {
    match (known, &facts.account) {
        // Somebody who lost their address and was invited before leaves as well.
        (Some(member), Account::Disabled(why))
            if member.standing == Standing::Member
                || member.standing != Standing::Left && member.address.is_some() && !member.returning =>
        {
            let left = Member {
                standing: Standing::Left,
                ..member.clone()
            };
            return Decision::Change(left, Reason::Disabled(why.clone()));
        }
        (Some(member), Account::Disabled(_)) if member.standing == Standing::Left => {
            return Decision::Unchanged;
        }
        _ => {}
    }
    let former = known.and_then(|member| member.address.clone());
    let usable = facts.address(former.as_ref());
    let standing = known.map(|member| &member.standing);
    let left = standing == Some(&Standing::Left) || known.is_some_and(|member| member.returning);
    let (address, new_standing, reason) = match (usable, former) {
        (Ok(address), None) if left => (Some(address.clone()), Standing::Member, Reason::Rejoined(address)),
        (Ok(address), None) => (Some(address.clone()), Standing::Member, Reason::Joined(address)),
        (Ok(address), Some(former)) if address == former => {
            let reason = match standing {
                _ if left => Reason::Rejoined(address.clone()),
                Some(Standing::WithoutAddress(_)) => Reason::Joined(address.clone()),
                _ => Reason::Moved,
            };
            (Some(address), Standing::Member, reason)
        }
        // A person who comes back with another address is treated like one who changed address without leaving.
        (Ok(to), Some(from)) => {
            let invite = policy.invite_changed_address;
            (
                Some(to.clone()),
                Standing::Member,
                Reason::ChangedAddress { from, to, invite },
            )
        }
        (Err(why), Some(former)) if standing == Some(&Standing::Member) => (
            Some(former.clone()),
            Standing::WithoutAddress(why),
            Reason::LostAddress(former),
        ),
        (Err(why), former) => (
            former,
            Standing::WithoutAddress(why.clone()),
            Reason::Waiting(why),
        ),
    };
    let member = Member {
        row: known.map_or(0, |member| member.row),
        id: facts.id,
        dn: facts.dn.clone(),
        address,
        returning: left && new_standing != Standing::Member,
        standing: new_standing,
    };
    if known == Some(&member) {
        Decision::Unchanged
    } else {
        Decision::Change(member, reason)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Accept, DomainPattern};
    use super::*;
    use crate::clock::Timestamp;
    use crate::model::{Attribute, EmailAddress, Entry, EntryId};
    use proptest::collection::vec;
    use proptest::prelude::*;

    /// A sighting before a policy is applied.
    enum Observed {
        Entry(Entry),
        Present,
        Gone,
    }

    fn decide(known: Option<&Member>, observed: &Observed, policy: &Policy) -> Decision {
        let sighting = match observed {
            Observed::Entry(entry) => Sighting::Entry(policy.facts(entry)),
            Observed::Present => Sighting::Present(id()),
            Observed::Gone => Sighting::Gone(id()),
        };
        super::decide(known, &sighting, policy)
    }

    fn id() -> EntryId {
        EntryId::from_slice(&[7; 16]).unwrap()
    }

    fn entry(mail: &[&str]) -> Observed {
        let values = mail.iter().map(|value| value.as_bytes().to_vec()).collect();
        let attributes = vec![Attribute {
            name: "mail".into(),
            values,
        }];
        Observed::Entry(Entry {
            id: id(),
            dn: "uid=ann,ou=people".into(),
            attributes,
        })
    }

    fn address(text: &str) -> EmailAddress {
        EmailAddress::parse(text.as_bytes()).unwrap()
    }

    fn known(mail: Option<&str>, standing: Standing) -> Member {
        Member {
            row: 1,
            id: id(),
            dn: "uid=ann,ou=people".into(),
            address: mail.map(address),
            standing,
            returning: false,
        }
    }

    fn policy(invite_changed_address: bool) -> Policy {
        Policy {
            mail_attributes: vec!["mail".into()],
            accept: Accept::default(),
            invite_changed_address,
            disabled_are_members: false,
            now: Timestamp(0),
        }
    }

    fn reason(known: Option<&Member>, sighting: &Observed) -> Option<Reason> {
        match decide(known, sighting, &policy(false)) {
            Decision::Change(_, reason) => Some(reason),
            _ => None,
        }
    }

    #[test]
    fn someone_new_joins_as_soon_as_they_have_a_usable_address() {
        assert_eq!(
            reason(None, &entry(&["a@x.org"])),
            Some(Reason::Joined(address("a@x.org")))
        );
        let why = "has no mail".to_owned();
        assert_eq!(reason(None, &entry(&[])), Some(Reason::Waiting(why.clone())));
        let waiting = known(None, Standing::WithoutAddress(why));
        assert_eq!(
            reason(Some(&waiting), &entry(&["a@x.org"])),
            Some(Reason::Joined(address("a@x.org")))
        );
    }

    #[test]
    fn a_known_member_seen_again_is_unchanged() {
        let member = known(Some("a@x.org"), Standing::Member);
        assert_eq!(
            decide(Some(&member), &entry(&["A@x.org "]), &policy(false)),
            Decision::Unchanged
        );
        assert_eq!(
            decide(Some(&member), &Observed::Present, &policy(false)),
            Decision::Unchanged
        );
    }

    #[test]
    fn a_changed_address_is_neither_a_leave_nor_a_join() {
        let member = known(Some("a@x.org"), Standing::Member);
        let (from, to) = (address("a@x.org"), address("b@x.org"));
        for invite in [false, true] {
            let Decision::Change(after, reason) =
                decide(Some(&member), &entry(&["b@x.org"]), &policy(invite))
            else {
                panic!("no change")
            };
            assert_eq!(
                reason,
                Reason::ChangedAddress {
                    from: from.clone(),
                    to: to.clone(),
                    invite
                }
            );
            assert_eq!(
                (after.address, after.standing),
                (Some(to.clone()), Standing::Member)
            );
        }
    }

    #[test]
    fn losing_the_address_is_not_leaving_and_getting_it_back_is_joining() {
        let member = known(Some("a@x.org"), Standing::Member);
        let Decision::Change(without, lost) = decide(Some(&member), &entry(&[]), &policy(false)) else {
            panic!("no change")
        };
        assert_eq!(lost, Reason::LostAddress(address("a@x.org")));
        assert!(matches!(without.standing, Standing::WithoutAddress(_)));
        assert_eq!(
            reason(Some(&without), &entry(&["a@x.org"])),
            Some(Reason::Joined(address("a@x.org")))
        );
    }

    #[test]
    fn a_person_whose_address_is_no_longer_accepted_has_not_left() {
        let accepting = |domain: &str| Policy {
            accept: Accept {
                domains: vec![DomainPattern::parse(domain).unwrap()],
                ..Accept::default()
            },
            ..policy(true)
        };
        let member = known(Some("a@x.org"), Standing::Member);
        let seen = entry(&["a@x.org"]);
        let Decision::Change(refused, lost) = decide(Some(&member), &seen, &accepting("y.org")) else {
            panic!("no change")
        };
        assert_eq!(lost, Reason::LostAddress(address("a@x.org")));
        let why = "the domain x.org is not in [accept] domains".to_owned();
        assert_eq!(refused.standing, Standing::WithoutAddress(why));
        assert!(!refused.returning);
        let Decision::Change(_, joined) = decide(Some(&refused), &seen, &accepting("x.org")) else {
            panic!("no change")
        };
        assert_eq!(joined, Reason::Joined(address("a@x.org")));
        // Another value of the entry takes its place if that is accepted.
        let Decision::Change(_, changed) = decide(
            Some(&member),
            &entry(&["a@x.org", "a@y.org"]),
            &accepting("y.org"),
        ) else {
            panic!("no change")
        };
        let (from, to) = (address("a@x.org"), address("a@y.org"));
        assert_eq!(
            changed,
            Reason::ChangedAddress {
                from,
                to,
                invite: true
            }
        );
    }

    #[test]
    fn coming_back_after_leaving_differs_from_joining() {
        let member = known(Some("a@x.org"), Standing::Member);
        assert_eq!(reason(Some(&member), &Observed::Gone), Some(Reason::Left));
        let left = known(Some("a@x.org"), Standing::Left);
        assert_eq!(
            decide(Some(&left), &Observed::Gone, &policy(false)),
            Decision::Ignore
        );
        assert_eq!(
            decide(Some(&left), &Observed::Present, &policy(false)),
            Decision::Fetch
        );
        assert_eq!(
            reason(Some(&left), &entry(&["a@x.org"])),
            Some(Reason::Rejoined(address("a@x.org")))
        );
    }

    #[test]
    fn coming_back_with_another_address_is_a_change_of_address() {
        let left = known(Some("a@x.org"), Standing::Left);
        let changed = Some(Reason::ChangedAddress {
            from: address("a@x.org"),
            to: address("b@x.org"),
            invite: false,
        });
        assert_eq!(reason(Some(&left), &entry(&["b@x.org"])), changed);
    }

    #[test]
    fn a_person_who_comes_back_without_an_address_rejoins_when_they_get_one() {
        let left = known(Some("a@x.org"), Standing::Left);
        let Decision::Change(waiting, Reason::Waiting(_)) = decide(Some(&left), &entry(&[]), &policy(false))
        else {
            panic!("no change")
        };
        assert!(waiting.returning);
        let Decision::Change(back, reason) = decide(Some(&waiting), &entry(&["a@x.org"]), &policy(false))
        else {
            panic!("no change")
        };
        assert_eq!(reason, Reason::Rejoined(address("a@x.org")));
        assert!(!back.returning);
    }

    #[test]
    fn the_known_address_stays_while_it_is_among_the_values_in_any_order() {
        let member = known(Some("a@x.org"), Standing::Member);
        for values in [["a@x.org", "b@x.org"], ["b@x.org", "a@x.org"]] {
            let decision = decide(Some(&member), &entry(&values), &policy(true));
            assert_eq!(decision, Decision::Unchanged);
        }
        assert!(matches!(
            reason(Some(&member), &entry(&["b@x.org", "c@x.org"])),
            Some(Reason::ChangedAddress { .. })
        ));
    }

    fn account(control: &str, mail: &[&str]) -> Observed {
        let Observed::Entry(mut entry) = entry(mail) else {
            panic!("no entry")
        };
        entry.attributes.push(Attribute {
            name: "userAccountControl".into(),
            values: vec![control.into()],
        });
        Observed::Entry(entry)
    }

    #[test]
    fn an_account_that_is_created_in_several_steps_joins_with_the_last_one() {
        let why = "the account is disabled (userAccountControl)".to_owned();
        for (first, second) in [
            (account("546", &["a@x.org"]), account("512", &["a@x.org"])),
            (account("512", &[]), account("512", &["a@x.org"])),
        ] {
            let Decision::Change(waiting, Reason::Waiting(_)) =
                decide(None, &account("546", &[]), &policy(false))
            else {
                panic!("no change")
            };
            assert_eq!(waiting.standing, Standing::WithoutAddress(why.clone()));
            let before = match decide(Some(&waiting), &first, &policy(false)) {
                Decision::Change(member, Reason::Waiting(_)) => member,
                Decision::Unchanged => waiting,
                other => panic!("{other:?}"),
            };
            assert_eq!(
                reason(Some(&before), &second),
                Some(Reason::Joined(address("a@x.org")))
            );
        }
    }

    proptest! {
        #[test]
        fn exactly_the_enabled_people_with_an_address_are_members_and_owed_an_invitation(
            sightings in vec((any::<bool>(), any::<bool>(), any::<bool>()), 1..12)
        ) {
            let (mut known, mut owed) = (None, false);
            for (there, enabled, mail) in sightings {
                let control = if enabled { "512" } else { "514" };
                let mail: &[&str] = if mail { &["a@x.org"] } else { &[] };
                let sighting = if there { account(control, mail) } else { Observed::Gone };
                if let Decision::Change(member, reason) = decide(known.as_ref(), &sighting, &policy(false)) {
                    // The same sighting again changes nothing.
                    let again = decide(Some(&member), &sighting, &policy(false));
                    prop_assert!(matches!(again, Decision::Unchanged | Decision::Ignore));
                    owed = match reason {
                        Reason::Joined(_) | Reason::Rejoined(_) => true,
                        Reason::Left | Reason::Disabled(_) | Reason::LostAddress(_) => false,
                        _ => owed,
                    };
                    known = Some(member);
                }
                let member = there && enabled && !mail.is_empty();
                let standing = known.as_ref().map(|member| &member.standing);
                prop_assert_eq!(standing == Some(&Standing::Member), member);
                prop_assert_eq!(owed, member);
            }
        }
    }

    #[test]
    fn a_member_who_is_disabled_leaves_and_comes_back_when_enabled_unless_that_is_ignored() {
        let member = known(Some("a@x.org"), Standing::Member);
        let off = account("514", &["a@x.org"]);
        let Decision::Change(left, why) = decide(Some(&member), &off, &policy(false)) else {
            panic!("no change")
        };
        assert_eq!(
            why,
            Reason::Disabled("the account is disabled (userAccountControl)".into())
        );
        assert_eq!(left.standing, Standing::Left);
        assert_eq!(decide(Some(&left), &off, &policy(false)), Decision::Unchanged);
        assert_eq!(
            reason(Some(&left), &account("512", &["a@x.org"])),
            Some(Reason::Rejoined(address("a@x.org")))
        );
        let ignoring = Policy {
            disabled_are_members: true,
            ..policy(false)
        };
        assert_eq!(decide(Some(&member), &off, &ignoring), Decision::Unchanged);
    }

    #[test]
    fn an_unknown_entry_is_ignored_when_gone_and_fetched_when_present() {
        assert_eq!(decide(None, &Observed::Gone, &policy(false)), Decision::Ignore);
        assert_eq!(decide(None, &Observed::Present, &policy(false)), Decision::Fetch);
    }
}
