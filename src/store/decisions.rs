//! Decisions on a store: the rules, applied in one transaction.

use std::collections::HashMap;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::interface::{AdminStore, BaseStore, Decision, QueueStore};
use super::{Claim, Claimed, Scope, StoreError};
use crate::clock::Timestamp;
use crate::model::{Cursor, EmailAddress, EntryId, Event, Settlement, Source, What};
use crate::rules::membership::{Policy, Sighting};
use crate::rules::{Book, Brake, Changed, DecisionContext, Limits, Noted, Verdict};
use crate::timing::{self, Step as Milestone};

/// What a decision comes to.
#[derive(Debug)]
pub enum Step<T> {
    /// The book lacks this.
    More(Scope),
    /// It is made.
    Done(T),
}

/// What a directory told, to be decided on and stored together.
#[derive(Debug, Clone)]
pub struct Taken {
    /// The directory's number.
    pub directory: i64,
    /// Where it comes from.
    pub source: Source,
    /// Routine events are not kept in the journal: there are very many of them, and a summary counts them.
    pub summarised: bool,
    /// Whom it is about, in order.
    pub sightings: Vec<Sighting>,
    /// People whom one change concerns together with others, and how many it concerns.
    pub together: HashMap<EntryId, usize>,
    /// The resume point that covers it.
    pub cursor: Option<Cursor>,
    /// What the administrator decided about membership.
    pub policy: Policy,
    /// How many new people may be invited.
    pub limits: Limits,
    /// What becomes of the new people of a listing.
    pub listing: Verdict,
    /// When it arrived.
    pub arrived: Timestamp,
}

impl Taken {
    fn scope(&self) -> Scope {
        Scope {
            directory: self.directory,
            people: self.sightings.iter().map(Sighting::id).collect(),
            ..Scope::default()
        }
    }
}

/// Orphans that are dealt with at a time.
const PAGE: u32 = 500;

/// What can be decided on every store.
pub trait Decisions: BaseStore {
    /// Decides with a book that holds what `scope` names. `decide` is called again with more of it as long as it asks for
    /// more.
    fn decide<T: Send + 'static>(
        &self,
        scope: Scope,
        mut decide: impl FnMut(&mut Book) -> Step<T> + Send + 'static,
    ) -> impl Future<Output = Result<T, StoreError>> + Send {
        let outcome = Arc::new(Mutex::new(None));
        let theirs = outcome.clone();
        let work = self.transact(
            scope,
            Box::new(move |book| match decide(book) {
                Step::More(scope) => Some(scope),
                Step::Done(done) => {
                    *lock(&theirs) = Some(done);
                    None
                }
            }),
        );
        async move {
            work.await?;
            let done = lock(&outcome).take();
            done.ok_or(StoreError::Undecided)
        }
    }

    /// Decides what was told about people, and what they are owed because of it; returns what happened.
    fn take(&self, taken: Taken) -> impl Future<Output = Result<Vec<Event>, StoreError>> + Send {
        self.decide(taken.scope(), taking(taken))
    }

    /// What [`Decisions::take`] would do, without a limit on listings: the directory's brake, and the addresses at which
    /// people would be invited. Nothing is saved.
    fn preview(
        &self,
        taken: Taken,
    ) -> impl Future<Output = Result<(Brake, Vec<EmailAddress>), StoreError>> + Send {
        let mut take = taking(Taken {
            limits: Limits {
                invites_per_listing: None,
                ..taken.limits
            },
            listing: Verdict::Invite,
            ..taken.clone()
        });
        let mut brake = None;
        self.decide(taken.scope(), move |book| {
            let now = book.directory.as_ref().map(|directory| directory.brake);
            let brake = *brake.get_or_insert(now.unwrap_or_default());
            match take(book) {
                Step::More(scope) => Step::More(scope),
                Step::Done(events) => {
                    *book = Book::default();
                    let opened = events
                        .into_iter()
                        .filter(|event| matches!(event.what, What::Owed { .. }));
                    Step::Done((brake, opened.filter_map(|event| event.address).collect()))
                }
            }
        })
    }

    /// Settles claimed invitations, as [`Book::settle`] says of each, and claims others, in one transaction; returns what
    /// happened, and what was claimed.
    fn settle_and_claim(
        &self,
        settled: Vec<(i64, Settlement)>,
        limits: Limits,
        claim: Claim,
        now: Timestamp,
    ) -> impl Future<Output = Result<(Vec<Event>, Claimed), StoreError>> + Send
    where
        Self: QueueStore,
    {
        let (scope, decision, told) = settlement(settled, limits, now);
        let done = self.exchange(scope, decision, claim, now);
        async move {
            let claimed = done.await?;
            Ok((mem::take(&mut *lock(&told)), claimed))
        }
    }

    /// Marks invitations done (had an account) whose address is among `accounts`, as [`Book::had_account`] says;
    /// returns how many.
    fn had_accounts(
        &self,
        accounts: Vec<EmailAddress>,
        now: Timestamp,
    ) -> impl Future<Output = Result<u64, StoreError>> + Send {
        let scope = Scope {
            addresses: accounts.clone(),
            ..Scope::default()
        };
        self.decide(scope, move |book| {
            let done = accounts.iter().filter(|account| book.had_account(account, now));
            Step::Done(done.count() as u64)
        })
    }

    /// Notes of invitations in quarantine what others may have in common with them.
    fn accuse(
        &self,
        faults: Vec<(EmailAddress, String)>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send {
        let scope = Scope {
            addresses: faults.iter().map(|(address, _)| address.clone()).collect(),
            ..Scope::default()
        };
        self.decide(scope, move |book| {
            for (address, fault) in &faults {
                book.set_fault(address, fault);
            }
            Step::Done(())
        })
    }

    /// Takes the invitations that were not sent yet from people of directories that are not configured any more; returns
    /// how many there were.
    fn retire(&self, limits: Limits, now: Timestamp) -> impl Future<Output = Result<u64, StoreError>> + Send
    where
        Self: AdminStore,
    {
        async move {
            let mut count = 0;
            loop {
                let orphans = self.orphans(PAGE).await?;
                if orphans.is_empty() {
                    return Ok(count);
                }
                count += orphans.len() as u64;
                let scope = Scope {
                    invitations: orphans.clone(),
                    ..Scope::default()
                };
                self.decide(scope, move |book| {
                    for &row in &orphans {
                        book.retire(row, &limits, now);
                    }
                    Step::Done(())
                })
                .await?;
            }
        }
    }
}

/// The decision on what was told about people: how they stand, and then, with what that takes in hand, what they are owed.
fn taking(taken: Taken) -> impl FnMut(&mut Book) -> Step<Vec<Event>> + Send + 'static {
    let mut judged: Option<Vec<Changed>> = None;
    move |book| {
        if let Some(changed) = judged.take() {
            let context = DecisionContext {
                source: taken.source,
                arrived: taken.arrived,
                now: taken.arrived,
                limits: &taken.limits,
                together: Some(&taken.together),
                listing: taken.listing,
            };
            book.update_invitations(&changed, &context);
            timing::reached(Milestone::Decided);
            let kept = |noted: &&Noted| !(taken.summarised && noted.event.what.is_routine());
            let noted = mem::take(&mut book.events);
            book.events = noted.iter().filter(kept).cloned().collect();
            return Step::Done(noted.into_iter().map(|noted| noted.event).collect());
        }
        let changed = book.apply_sightings(&taken.sightings, &taken.policy, taken.source);
        if let Some(directory) = &mut book.directory {
            directory.cursor = taken.cursor.clone().map(|cursor| (cursor, taken.arrived));
        }
        if changed.is_empty() {
            return Step::Done(Vec::new());
        }
        let owed = changed
            .iter()
            .map(|(person, _)| book.people()[*person].member.id)
            .collect();
        judged = Some(changed);
        Step::More(Scope {
            directory: taken.directory,
            owed,
            ..Scope::default()
        })
    }
}

/// What is read for settlements, how they are decided, and where it is told afterwards what happened.
fn settlement(
    settled: Vec<(i64, Settlement)>,
    limits: Limits,
    now: Timestamp,
) -> (Scope, Decision, Arc<Mutex<Vec<Event>>>) {
    let scope = Scope {
        invitations: settled.iter().map(|(row, _)| *row).collect(),
        // Whoever is done is owed nothing more, whatever became of them.
        alone: settled.iter().all(|(_, how)| matches!(how, Settlement::Done(_))),
        ..Scope::default()
    };
    let told = Arc::new(Mutex::new(Vec::new()));
    let theirs = told.clone();
    let decision = move |book: &mut Book| {
        for (row, settlement) in &settled {
            book.settle(*row, settlement, &limits, now);
        }
        *lock(&theirs) = happened(book);
        None
    };
    (scope, Box::new(decision), told)
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<S: BaseStore + ?Sized> Decisions for S {}

fn happened(book: &Book) -> Vec<Event> {
    book.events.iter().map(|noted| noted.event.clone()).collect()
}
