//! The store and the rules applied to it, on real SQLite and PostgreSQL databases.

mod faces;
mod failure;
mod file;
mod invitations;
mod journal;
mod leavers;
mod limits;
mod listing;
mod members;
mod properties;
mod retired;
mod tasks;
mod upgrade;

use std::sync::Arc;

use crate::support::queue::Queue as _;
use ldap_usher::clock::Timestamp;
use ldap_usher::model::{Action, Attribute, EmailAddress, Entry, EntryId, Listing, Member, Settlement};
use ldap_usher::model::{Event, Hold, Source, What, WorkerId};
use ldap_usher::rules::membership::{Accept, Policy, Sighting};
use ldap_usher::rules::{Brake, Limits, Verdict};
use ldap_usher::store::interface::*;
use ldap_usher::store::{ChangeBatch, Decisions, Difference, ListingOutcome};

use faces::on_both;

/// The worker.
const OWNER: i64 = 7;

fn at(second: i64) -> Timestamp {
    Timestamp(second * 1000)
}

fn id(n: u8) -> EntryId {
    EntryId::from_slice(&[n; 16]).unwrap()
}

fn email(name: &str) -> EmailAddress {
    EmailAddress::parse(format!("{name}@example.org").as_bytes()).unwrap()
}

fn dn(n: u8) -> String {
    format!("uid={n},dc=example,dc=org")
}

/// An entry with this address, or without one.
fn entry(n: u8, name: Option<&str>) -> Entry {
    let mail = name.map(|name| Attribute {
        name: "mail".into(),
        values: vec![email(name).as_str().into()],
    });
    Entry {
        id: id(n),
        dn: dn(n),
        attributes: mail.into_iter().collect(),
    }
}

fn policy(invite_changed_address: bool) -> Policy {
    Policy {
        mail_attributes: vec!["mail".into()],
        accept: Accept::default(),
        disabled_are_members: false,
        now: Timestamp(0),
        invite_changed_address,
    }
}

fn sighting(entry: &Entry) -> Sighting {
    Sighting::Entry(policy(false).facts(entry))
}

fn there(n: u8, name: &str) -> Sighting {
    sighting(&entry(n, Some(name)))
}

fn gone(n: u8) -> Sighting {
    Sighting::Gone(id(n))
}

fn retry(second: i64, in_doubt: bool) -> Settlement {
    Settlement::RetryAt {
        at: at(second),
        failed: true,
        in_doubt,
        error: "no route to host".into(),
    }
}

fn refused(why: &str) -> Settlement {
    Settlement::Quarantine {
        reason: why.into(),
        fault: None,
    }
}

/// A store with one directory, and a clock that the tests set.
struct Book {
    store: Arc<dyn Store>,
    directory: i64,
    limits: Limits,
    invite_changed_address: bool,
}

impl Book {
    async fn new() -> Self {
        Self::on(faces::new_store().await).await.at_work().await
    }

    /// With the worker, who may claim.
    async fn at_work(self) -> Self {
        self.store.take_over(WorkerId(OWNER), at(0)).await.unwrap();
        self
    }

    async fn on(store: Arc<dyn Store>) -> Self {
        let directory = store.register("main", "scope", "settings").await.unwrap().id;
        Self {
            store,
            directory,
            limits: Limits::default(),
            invite_changed_address: false,
        }
    }

    /// A store with a limit on the new people of a listing.
    async fn limited(invites_per_listing: u32) -> Self {
        let mut book = Self::new().await;
        book.limits.invites_per_listing = Some(invites_per_listing);
        book
    }

    /// Changes in the directory.
    fn batch(&self, second: i64, source: Source, sightings: Vec<Sighting>) -> ChangeBatch {
        ChangeBatch {
            leave: Arc::default(),
            leaving: None,
            directory: self.directory,
            source,
            summarised: false,
            sightings,
            together: Default::default(),
            cursor: None,
            policy: policy(self.invite_changed_address),
            limits: self.limits,
            listing: Verdict::Invite,
            arrived: at(second),
        }
    }

    async fn takes(&self, second: i64, source: Source, sightings: Vec<Sighting>) -> Committed {
        let batch = self.batch(second, source, sightings);
        Committed::by(&self.store.apply(batch).await.unwrap())
    }

    async fn live(&self, sightings: Vec<Sighting>) -> Committed {
        self.takes(1, Source::Stream, sightings).await
    }

    /// A single change: this person is present with this address, whether new or known.
    async fn joins(&self, n: u8, name: &str) -> Committed {
        self.live(vec![there(n, name)]).await
    }

    /// A single change: this person leaves.
    async fn leaves(&self, n: u8) {
        self.live(vec![gone(n)]).await;
    }

    /// A complete listing of these people.
    async fn lists(&self, people: &[(u8, &str)]) -> ListingOutcome {
        self.lists_at(2, people, &Listing::Complete).await
    }

    /// A listing of these people that ends like this at this time.
    async fn lists_at(&self, second: i64, people: &[(u8, &str)], end: &Listing) -> ListingOutcome {
        let named = people.iter().map(|&(n, name)| there(n, name)).collect();
        let outcome = self.names(second, named, end).await;
        self.ends(second, end).await;
        outcome
    }

    /// Applies the differences of a listing that named these people, without ending it in the store.
    async fn names(&self, second: i64, named: Vec<Sighting>, end: &Listing) -> ListingOutcome {
        let differences = differences(&*self.store, self.directory, named, *end == Listing::Complete).await;
        let (listed, unlisted) = split_unlisted(differences);
        let batch = self.batch(second, Source::Listing, listed);
        let mut events = apply_listed(&*self.store, batch, matches!(end, Listing::Partial(_))).await;
        let batch = self.batch(second, Source::Listing, unlisted);
        events.extend(self.store.apply(batch).await.unwrap());
        let count = |kind: fn(&What) -> bool| events.iter().filter(|event| kind(&event.what)).count() as u64;
        ListingOutcome {
            joined: count(|what| matches!(what, What::Joined | What::Rejoined)),
            left: count(|what| matches!(what, What::Left { .. })),
            queued: count(|what| matches!(what, What::Owed { .. })),
            held: count(|what| {
                matches!(
                    what,
                    What::Held {
                        by: Hold::Listing,
                        ..
                    }
                )
            }),
        }
    }

    async fn ends(&self, second: i64, end: &Listing) {
        let complete = *end == Listing::Complete;
        let ended = self.store.end_listing(self.directory, complete, None, at(second));
        ended.await.unwrap();
    }

    /// Compares all queued and held invitations with these accounts.
    async fn compares(&self, second: i64, accounts: &[&str]) -> Vec<(String, u64)> {
        self.store.begin_comparison().await.unwrap();
        let accounts = accounts.iter().map(|name| email(name)).collect();
        self.store.had_accounts(accounts, at(second)).await.unwrap();
        self.end_of_comparison(second).await
    }

    async fn end_of_comparison(&self, second: i64) -> Vec<(String, u64)> {
        let limits = self.limits;
        let judge = Box::new(move |brake: &mut Brake, count| brake.admit_compared(count, &limits));
        self.store.end_comparison(judge, at(second)).await.unwrap()
    }

    async fn claims(&self, second: i64) -> Vec<Action> {
        self.store.claim(OWNER, 100, at(second)).await.unwrap()
    }

    /// Claims everything that is due and settles all of it in the same way.
    async fn settles(&self, second: i64, how: Settlement) {
        let claimed = self.claims(second).await.into_iter();
        let settled = claimed.map(|task| (task.id, how.clone())).collect();
        self.settle(second, settled).await;
    }

    async fn settle(&self, second: i64, settled: Vec<(i64, Settlement)>) {
        self.store
            .settle(OWNER, settled, self.limits, at(second))
            .await
            .unwrap();
    }

    async fn known(&self, n: u8) -> Member {
        let mut known = self.store.known(self.directory, &[id(n)]).await.unwrap();
        known.pop().unwrap()
    }

    /// The number of invitations in each state that has any, such as `done 1, queued 2`.
    async fn tasks(&self) -> String {
        let report = self.store.report().await.unwrap();
        let counts = report.tasks.iter().filter(|(_, count)| *count > 0);
        counts
            .map(|(state, count)| format!("{state} {count}"))
            .collect::<Vec<_>>()
            .join(", ")
    }
}

/// The differences between a listing and the store.
async fn differences(
    store: &dyn Store,
    directory: i64,
    named: Vec<Sighting>,
    complete: bool,
) -> Vec<Difference> {
    store.begin_listing(directory).await.unwrap();
    store.append(directory, named).await.unwrap();
    store.compare(directory, complete).await.unwrap();
    store.differences(directory, 0, 1000).await.unwrap()
}

/// Applies the sightings of a listing, judged by the number of new people.
async fn apply_listed(store: &dyn Store, batch: ChangeBatch, cut_short: bool) -> Vec<Event> {
    let (brake, opened) = store.preview(batch.clone()).await.unwrap();
    let listing = brake.check_listing(opened.len() as u64, cut_short, &batch.limits, batch.arrived);
    store.apply(ChangeBatch { listing, ..batch }).await.unwrap()
}

/// The sightings of those who were listed, and a departure of each who was not.
fn split_unlisted(differences: Vec<Difference>) -> (Vec<Sighting>, Vec<Sighting>) {
    let (mut listed, mut gone) = (Vec::new(), Vec::new());
    for difference in differences {
        match difference.sighting {
            Some(sighting) => listed.push(sighting),
            None => gone.push(Sighting::Gone(difference.id)),
        }
    }
    (listed, gone)
}

fn addresses(tasks: &[Action]) -> Vec<&str> {
    tasks.iter().map(|task| task.address.as_str()).collect()
}

/// What events say about invitations.
#[derive(Debug, PartialEq, Eq)]
struct Committed {
    /// The number of invitations that became due.
    queued: usize,
    held_together: usize,
    held_by_hour: usize,
    /// An address, the DN of the entry that came with it, and the DN of the entry that had it.
    duplicates: Vec<(EmailAddress, String, String)>,
}

impl Committed {
    fn by(events: &[Event]) -> Self {
        let held = |by| {
            events
                .iter()
                .filter(|event| matches!(event.what, What::Held { by: other, .. } if other == by))
                .count()
        };
        let duplicates = events.iter().filter_map(|event| match &event.what {
            What::SharesAddress { with } => Some((event.address.clone()?, event.dn.clone(), with.clone())),
            _ => None,
        });
        Self {
            queued: events.iter().filter(|event| event.what.is_due()).count(),
            held_together: held(Hold::Together),
            held_by_hour: held(Hold::Hour),
            duplicates: duplicates.collect(),
        }
    }
}
