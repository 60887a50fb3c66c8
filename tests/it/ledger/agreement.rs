//! Whatever is done to it in whatever order, the ledger agrees with a plain in-memory model of its documentation.

use std::collections::BTreeMap;

use ldap_usher::clock::Timestamp;
use ldap_usher::ledger::{Batch, Ledger, MemberWrite, Origin, Sqlite, TaskWrite};
use ldap_usher::model::{EmailAddress, EntryId, Listing, Outcome, Settlement, Standing, TaskState};
use proptest::prelude::*;

use super::{LEASE, at, email, id};
use crate::support::model::Model;

/// One call of the ledger.
#[derive(Debug, Clone)]
enum Call {
    BeginListing(i64),
    Commit {
        directory: i64,
        origin: Origin,
        /// What becomes of each entry.
        entries: BTreeMap<u8, Fate>,
        invite: bool,
    },
    EndListing(i64, Listing, Option<u32>),
    Claim(u32),
    /// Settles one of the claimed tasks, or, late, one that no longer is.
    Settle(usize, Settlement),
    HadAccount(EmailAddress),
    Checked {
        ago: i64,
        hold_above: Option<u32>,
    },
    Approve(Option<EmailAddress>),
    Retry(Option<EmailAddress>),
}

/// What an entry comes to.
#[derive(Debug, Clone)]
enum Fate {
    Has(EmailAddress),
    HasNone,
    Gone,
}

const ENTRIES: u8 = 3;
const DIRECTORIES: [i64; 2] = [1, 2];

fn address() -> impl Strategy<Value = EmailAddress> + Clone {
    prop::sample::select(vec![email("ann"), email("bob"), email("info")])
}

fn directory() -> impl Strategy<Value = i64> {
    prop::sample::select(DIRECTORIES.to_vec())
}

fn hold_above() -> impl Strategy<Value = Option<u32>> {
    prop::option::of(0..3_u32)
}

fn call() -> impl Strategy<Value = Call> {
    let fate = prop_oneof![
        4 => address().prop_map(Fate::Has),
        1 => Just(Fate::HasNone),
        2 => Just(Fate::Gone),
    ];
    let origin = prop::sample::select(vec![Origin::Live, Origin::Listing]);
    let end = prop::sample::select(vec![
        Listing::Complete,
        Listing::Changes,
        Listing::Partial("cut".into()),
    ]);
    let settlement = prop_oneof![
        Just(Settlement::Done(Outcome::Invited)),
        (0..200_i64, any::<bool>(), any::<bool>()).prop_map(|(second, failed, in_doubt)| {
            let error = "refused".into();
            Settlement::RetryAt {
                at: at(second),
                failed,
                in_doubt,
                error,
            }
        }),
        Just(Settlement::Quarantine("refused for good".into())),
    ];
    prop_oneof![
        1 => directory().prop_map(Call::BeginListing),
        8 => (directory(), origin, prop::collection::btree_map(1..=ENTRIES, fate, 1..4), any::<bool>())
            .prop_map(|(directory, origin, entries, invite)| Call::Commit { directory, origin, entries, invite }),
        2 => (directory(), end, hold_above()).prop_map(|(directory, end, hold)| Call::EndListing(directory, end, hold)),
        4 => (1..3_u32).prop_map(Call::Claim),
        4 => (0..3_usize, settlement).prop_map(|(task, how)| Call::Settle(task, how)),
        1 => address().prop_map(Call::HadAccount),
        1 => (0..30_i64, hold_above()).prop_map(|(ago, hold_above)| Call::Checked { ago, hold_above }),
        1 => prop::option::of(address()).prop_map(Call::Approve),
        1 => prop::option::of(address()).prop_map(Call::Retry),
    ]
}

/// What the listener would write for an entry that comes to this.
fn writes(
    model: &Model,
    directory: i64,
    id: EntryId,
    fate: &Fate,
    invite: bool,
) -> (MemberWrite, Option<TaskWrite>) {
    let known = model.member(directory, id);
    let before = known.and_then(|member| member.address.clone());
    let present = known.is_some_and(|member| member.standing == Standing::Member);
    let left = known.is_some_and(|member| member.standing == Standing::Left);
    let (address, standing) = match fate {
        Fate::Has(address) => (Some(address.clone()), Standing::Member),
        Fate::HasNone => (before.clone(), Standing::WithoutAddress("no `mail`".into())),
        Fate::Gone => (before.clone(), Standing::Left),
    };
    let task = match (fate, before) {
        (Fate::Has(to), Some(from)) if present && from != *to => Some(TaskWrite::Readdress {
            id,
            from,
            to: to.clone(),
            invite,
        }),
        (Fate::Has(address), _) => Some(TaskWrite::Open {
            id,
            address: address.clone(),
            again: left,
        }),
        (_, Some(address)) if present => Some(TaskWrite::Cancel { id, address }),
        _ => None,
    };
    let dn = format!("{directory}:{id}:{invite}");
    (
        MemberWrite {
            id,
            dn,
            address,
            standing,
        },
        task,
    )
}

async fn run(calls: Vec<(i64, Call)>) {
    let ledger = Sqlite::in_memory().await.unwrap();
    let mut model = Model::default();
    for directory in DIRECTORIES {
        assert_eq!(
            ledger.enroll(&directory.to_string(), "").await.unwrap().id,
            directory
        );
    }
    let mut now = at(0);
    for (pause, call) in calls {
        now = Timestamp(now.0 + pause * 1000);
        carry_out(&ledger, &mut model, &call, now).await;
        compare(&ledger, &model).await;
    }
}

async fn carry_out(ledger: &Sqlite, model: &mut Model, call: &Call, now: Timestamp) {
    match call {
        &Call::BeginListing(directory) => {
            model.begin_listing(directory);
            ledger.begin_listing(directory).await.unwrap();
        }
        &Call::Commit {
            directory,
            origin,
            ref entries,
            invite,
        } => {
            let writes = entries
                .iter()
                .map(|(&n, fate)| writes(model, directory, id(n), fate, invite));
            let (members, tasks): (_, Vec<_>) = writes.unzip();
            let batch = Batch {
                directory,
                origin,
                arrived: now,
                members,
                seen: vec![],
                tasks: tasks.into_iter().flatten().collect(),
                cursor: None,
            };
            let expected = model.commit(&batch, now);
            assert_eq!(ledger.commit(&batch, now).await.unwrap(), expected);
        }
        Call::EndListing(directory, end, hold_above) => {
            let expected = model.end_listing(*directory, end, *hold_above, now);
            let outcome = ledger.end_listing(*directory, end, *hold_above, now).await;
            assert_eq!(outcome.unwrap(), expected);
        }
        &Call::Claim(max) => {
            let expected = model.claim(max as usize, LEASE, now);
            assert_eq!(ledger.claim(max, LEASE, now).await.unwrap(), expected);
        }
        Call::Settle(choice, how) => {
            let claimed = model.claimed();
            let task = if claimed.is_empty() {
                1
            } else {
                claimed[choice % claimed.len()]
            };
            model.settle(task, how, now);
            ledger.settle(&[(task, how.clone())], now).await.unwrap();
        }
        Call::HadAccount(account) => {
            let expected = model.had_account(account, now);
            let accounts = [account.clone()];
            assert_eq!(ledger.had_accounts(&accounts, now).await.unwrap(), expected);
        }
        &Call::Checked { ago, hold_above } => {
            let begun = Timestamp(now.0 - ago * 1000);
            let expected = model.checked(begun, hold_above, now);
            assert_eq!(ledger.checked(begun, hold_above, now).await.unwrap(), expected);
        }
        Call::Approve(address) => {
            let mut expected = model.approve(address.as_ref(), now);
            let addresses = address.as_slice();
            let mut approved = ledger
                .approve(address.as_ref().map(|_| addresses), now)
                .await
                .unwrap();
            expected.sort();
            approved.sort();
            assert_eq!(approved, expected);
        }
        Call::Retry(address) => {
            let mut expected = model.retry(address.as_ref(), now);
            let addresses = address.as_ref().map(|_| address.as_slice());
            let mut released = ledger.retry(addresses, now).await.unwrap();
            expected.sort();
            released.sort();
            assert_eq!(released, expected);
        }
    }
}

async fn compare(ledger: &Sqlite, model: &Model) {
    let ids: Vec<EntryId> = (1..=ENTRIES).map(id).collect();
    for directory in DIRECTORIES {
        let known = ledger.known(directory, &ids).await.unwrap();
        let expected = ids.iter().filter_map(|&id| model.member(directory, id));
        assert!(known.iter().eq(expected), "{known:?}");
    }
    let report = ledger.report().await.unwrap();
    assert_eq!(
        report.tasks,
        TaskState::ALL.map(|state| (state.as_str(), model.count(state)))
    );
    assert_eq!(report.quarantined, model.quarantined());
    assert_eq!(report.failing, model.failing());
    for (directory, shown) in DIRECTORIES.into_iter().zip(&report.directories) {
        assert_eq!((shown.members, shown.without_address), model.present(directory));
    }
    assert_eq!(ledger.held().await.unwrap(), model.held());
    assert_eq!(ledger.quarantined().await.unwrap(), model.in_quarantine());
    assert_eq!(ledger.unchecked().await.unwrap(), model.unchecked());
    assert_eq!(ledger.next_due().await.unwrap(), model.next_due());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_calls_leaves_the_ledger_as_its_documentation_says(
        calls in prop::collection::vec((0..40_i64, call()), 1..40)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run(calls));
    }
}
