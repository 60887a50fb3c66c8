//! Applies the rules to a store, in one transaction per decision.

use std::collections::HashMap;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::interface::{AdminStore, BaseStore, Decision, QueueStore};
use super::{Claim, Claimed, Scope, StoreError};
use crate::clock::Timestamp;
use crate::model::{Cursor, EmailAddress, EntryId, Event, Hold, Settlement, Source, What, WorkerId};
use crate::rules::membership::{Policy, Reason, Sighting};
use crate::rules::{
    Book, Brake, Changed, DecisionContext, LeavePolicies, LeaverBrake, Limits, Noted, Verdict,
};
use crate::timing::{self, Step as Milestone};

/// The result of one step of a decision.
#[derive(Debug)]
pub enum Step<T> {
    /// The book must also hold this; the decision is called again.
    More(Scope),
    /// The decision is made, with this result.
    Done(T),
}

/// Changes in a directory that are decided on and stored in one transaction.
#[derive(Debug, Clone)]
pub struct ChangeBatch {
    /// The directory's number.
    pub directory: i64,
    /// How the changes became known.
    pub source: Source,
    /// Whether routine events are left out of the journal because there are very many; a summary counts them.
    pub summarised: bool,
    /// The people concerned and what is known of them now, in the order of the directory.
    pub sightings: Vec<Sighting>,
    /// People whom one change (such as that of a group) concerns together with others, each with the number of those people.
    pub together: HashMap<EntryId, usize>,
    /// The resume point that covers these changes.
    pub cursor: Option<Cursor>,
    /// The configured rules of membership.
    pub policy: Policy,
    /// The limits on invitations.
    pub limits: Limits,
    /// What happens to the accounts of leavers.
    pub leave: Arc<LeavePolicies>,
    /// Whether new people of a listing are invited or held.
    pub listing: Verdict,
    /// The limit that holds the leavers of a listing.
    pub leaving: Option<Hold>,
    /// When the changes arrived.
    pub arrived: Timestamp,
}

impl ChangeBatch {
    fn scope(&self) -> Scope {
        Scope {
            directory: self.directory,
            people: self.sightings.iter().map(Sighting::id).collect(),
            ..Scope::default()
        }
    }
}

/// The leavers in some sightings.
#[derive(Debug, Clone, Copy)]
pub struct Leaving {
    /// The number of leavers.
    pub count: u64,
    /// The number of people in the directory, including them.
    pub members: u64,
    /// The count of people who left the directory recently.
    pub brake: LeaverBrake,
}

/// The number of actions that are decided on in one transaction.
const PAGE: usize = 500;

/// The decisions that are possible on every store.
pub trait Decisions: BaseStore {
    /// Calls `decide` with a book that holds what `scope` names, and again with a larger book as long as it returns
    /// [`Step::More`]. Saves the changes and returns the result.
    fn decide<T: Send + 'static>(
        &self,
        scope: Scope,
        mut decide: impl FnMut(&mut Book) -> Step<T> + Send + 'static,
    ) -> impl Future<Output = Result<T, StoreError>> + Send {
        let outcome = Arc::new(Mutex::new(None));
        let result = outcome.clone();
        let work = self.transact(
            scope,
            Box::new(move |book| match decide(book) {
                Step::More(scope) => Some(scope),
                Step::Done(done) => {
                    *lock(&result) = Some(done);
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

    /// Applies a batch: decides who is a member, and then on their invitations. Returns the events.
    fn apply(&self, batch: ChangeBatch) -> impl Future<Output = Result<Vec<Event>, StoreError>> + Send {
        self.decide(batch.scope(), batch_decision(batch))
    }

    /// Computes what [`Decisions::apply`] would do without a limit on listings. Returns the directory's brake and the
    /// addresses that would be invited. Saves nothing.
    fn preview(
        &self,
        batch: ChangeBatch,
    ) -> impl Future<Output = Result<(Brake, Vec<EmailAddress>), StoreError>> + Send {
        let mut decide = batch_decision(ChangeBatch {
            limits: Limits {
                invites_per_listing: None,
                ..batch.limits
            },
            listing: Verdict::Invite,
            ..batch.clone()
        });
        let mut brake = None;
        self.decide(batch.scope(), move |book| {
            let now = book.directory.as_ref().map(|directory| directory.brake);
            let brake = *brake.get_or_insert(now.unwrap_or_default());
            match decide(book) {
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

    /// Counts whom [`Decisions::apply`] would make leave. Saves nothing.
    fn leaving(&self, batch: ChangeBatch) -> impl Future<Output = Result<Leaving, StoreError>> + Send {
        self.decide(batch.scope(), move |book| {
            let changed = book.apply_sightings(&batch.sightings, &batch.policy, batch.source);
            let left = changed
                .iter()
                .filter(|(_, reason)| matches!(reason, Reason::Left | Reason::Disabled(_)));
            let count = left.count() as u64;
            let directory = mem::take(book).directory;
            Step::Done(Leaving {
                count,
                members: directory.as_ref().map_or(0, |directory| directory.present),
                brake: directory.map_or_else(LeaverBrake::default, |directory| directory.leaver_brake),
            })
        })
    }

    /// Settles invitations that the worker of `claim` has claimed ([`Book::settle`]) and claims others, in one transaction. Returns the events and the
    /// claims.
    fn settle_and_claim(
        &self,
        settled: Vec<(i64, Settlement)>,
        (limits, leave): (Limits, Arc<LeavePolicies>),
        claim: Claim,
        now: Timestamp,
    ) -> impl Future<Output = Result<(Vec<Event>, Claimed), StoreError>> + Send
    where
        Self: QueueStore,
    {
        let (scope, decision, events) = settlement((settled, claim.owner), (limits, leave), now);
        let done = self.exchange(scope, decision, claim, now);
        async move {
            let claimed = done.await?;
            Ok((mem::take(&mut *lock(&events)), claimed))
        }
    }

    /// Completes the invitations to addresses that have an account ([`Book::had_account`]). Returns their number.
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

    /// Stores the key of the rejection for each of these quarantined invitations ([`Book::set_fault`]).
    fn set_faults(
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

    /// Drops held actions ([`Book::discard`]). Returns their number.
    fn discard(
        &self,
        held: Vec<i64>,
        now: Timestamp,
    ) -> impl Future<Output = Result<usize, StoreError>> + Send {
        async move {
            let mut count = 0;
            for page in held.chunks(PAGE) {
                let scope = Scope {
                    tasks: page.to_vec(),
                    ..Scope::default()
                };
                let page = page.to_vec();
                count += self
                    .decide(scope, move |book| {
                        let discarded = page.iter().filter(|&&row| book.discard(row, now).is_some());
                        Step::Done(discarded.count())
                    })
                    .await?;
            }
            Ok(count)
        }
    }

    /// Cancels or hands over the unsent invitations of people in directories that are no longer configured. Returns their
    /// number.
    fn retire(
        &self,
        limits: Limits,
        leave: Arc<LeavePolicies>,
        now: Timestamp,
    ) -> impl Future<Output = Result<u64, StoreError>> + Send
    where
        Self: AdminStore,
    {
        async move {
            let mut count = 0;
            loop {
                let orphans = self.orphans(u32::try_from(PAGE).unwrap_or(u32::MAX)).await?;
                if orphans.is_empty() {
                    return Ok(count);
                }
                count += orphans.len() as u64;
                let scope = Scope {
                    tasks: orphans.clone(),
                    ..Scope::default()
                };
                let leave = leave.clone();
                self.decide(scope, move |book| {
                    for &row in &orphans {
                        book.retire(row, &limits, &leave, now);
                    }
                    Step::Done(())
                })
                .await?;
            }
        }
    }
}

/// Decides on a batch in two steps: membership first, then the invitations of those whose membership changed.
fn batch_decision(batch: ChangeBatch) -> impl FnMut(&mut Book) -> Step<Vec<Event>> + Send + 'static {
    let mut decided: Option<Vec<Changed>> = None;
    let mut holding: Option<Hold> = None;
    move |book| {
        let context = DecisionContext {
            source: batch.source,
            arrived: batch.arrived,
            now: batch.arrived,
            limits: &batch.limits,
            leave: &batch.leave,
            together: Some(&batch.together),
            listing: batch.listing,
            leaving: batch.leaving,
        };
        if let Some(changed) = decided.take() {
            book.update_invitations(&changed, &context);
            if let Some(by) = book.leavers_exceeded.take() {
                holding = Some(by);
                return Step::More(Scope {
                    directory: batch.directory,
                    pending_leavers: true,
                    ..Scope::default()
                });
            }
            return Step::Done(events(book, batch.summarised));
        }
        if let Some(by) = holding.take() {
            book.hold_leavers(by, &context);
            return Step::Done(events(book, batch.summarised));
        }
        let changed = book.apply_sightings(&batch.sightings, &batch.policy, batch.source);
        if let Some(directory) = &mut book.directory {
            directory.cursor = batch.cursor.clone().map(|cursor| (cursor, batch.arrived));
        }
        if changed.is_empty() {
            return Step::Done(Vec::new());
        }
        let with_invitations = changed
            .iter()
            .map(|(person, _)| book.people()[*person].member.id)
            .collect();
        decided = Some(changed);
        Step::More(Scope {
            directory: batch.directory,
            with_invitations,
            ..Scope::default()
        })
    }
}

/// The events of a decision. Leaves out of the journal those that are only counted.
fn events(book: &mut Book, summarised: bool) -> Vec<Event> {
    timing::reached(Milestone::Decided);
    let kept = |noted: &&Noted| !(summarised && noted.event.what.is_routine());
    let noted = mem::take(&mut book.events);
    book.events = noted.iter().filter(kept).cloned().collect();
    noted.into_iter().map(|noted| noted.event).collect()
}

/// The scope and the decision for settlements, and the place where the decision stores its events.
fn settlement(
    (settled, by): (Vec<(i64, Settlement)>, WorkerId),
    (limits, leave): (Limits, Arc<LeavePolicies>),
    now: Timestamp,
) -> (Scope, Decision, Arc<Mutex<Vec<Event>>>) {
    let scope = Scope {
        tasks: settled.iter().map(|(row, _)| *row).collect(),
        tasks_only: true,
        ..Scope::default()
    };
    let mut more = Some(Scope {
        tasks_only: false,
        ..scope.clone()
    });
    let events = Arc::new(Mutex::new(Vec::new()));
    let result = events.clone();
    let decision = move |book: &mut Book| {
        // Usually invitations to members are completed, which concerns nobody else.
        let is_simple = |(row, how): &(i64, Settlement)| {
            let task = book.task_by_row(*row).map(|index| &book.tasks()[index]);
            matches!(how, Settlement::Done { .. })
                && task.is_some_and(|task| {
                    task.kind.is_invite() && book.people()[task.person].is_member_at(&task.address)
                })
        };
        if let Some(more) = more.take()
            && !settled.iter().all(is_simple)
        {
            return Some(more);
        }
        for (row, settlement) in &settled {
            book.settle((*row, by), settlement, &limits, &leave, now);
        }
        *lock(&result) = events_of(book);
        None
    };
    (scope, Box::new(decision), events)
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<S: BaseStore + ?Sized> Decisions for S {}

fn events_of(book: &Book) -> Vec<Event> {
    book.events.iter().map(|noted| noted.event.clone()).collect()
}
