//! `plan`: runs the code of `sync` on a copy of the state, with a client that sends no invitations, and reports the result.

use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::run::list_everything;
use super::sessions::Sessions;
use super::wiring::Components;
use crate::config::Config;
use crate::listener::Listener;
use crate::model::{ActionState, EmailAddress, Event, Hold, Outcome, Standing, What};
use crate::store::{self, ActionReport, PersonQuery, PersonReport, Store, StoreError};
use crate::vaultwarden::{
    Account, AccountChange, Admin, Changed, Identity, Invitation, Recognition, Reply, VaultwardenError,
};
use crate::worker::{Accounts, Until, Worker};

/// The number of people that are read at a time.
const PAGE: u32 = 1000;

/// What would happen to one person, or to one of their invitations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlanEntry {
    /// The action.
    pub action: PlannedAction,
    /// The address, if any.
    pub email: Option<String>,
    /// The person's DN.
    pub dn: String,
    /// The name of their directory.
    pub directory: String,
    /// The reason, for people.
    pub reason: String,
}

/// What `sync` would do. The names are those of `plan --json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PlannedAction {
    /// An invitation would be sent.
    Invite,
    /// An invitation would be held back until it is approved.
    Hold,
    /// An invitation is owed but would not be sent by this run.
    Later,
    /// The person would be recorded as having left.
    Left,
    /// Nothing would be done.
    None,
}

impl fmt::Display for PlannedAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Invite => "invite",
            Self::Hold => "hold",
            Self::Later => "later",
            Self::Left => "left",
            Self::None => "none",
        })
    }
}

/// The result of a dry run, which is read page by page.
pub struct Plan {
    store: Arc<dyn Store>,
    invited: Arc<Invited>,
    after: i64,
    /// Failures that `sync` would have as well, one line each: a directory that cannot be listed completely, or a failing
    /// Vaultwarden.
    pub failures: Vec<String>,
}

/// Finds out what `sync` would do now. Changes nothing: the state is only read, and Vaultwarden is only asked who has an
/// account, which may take a login.
///
/// # Errors
/// The state cannot be read, or the configuration cannot be used. A directory or a Vaultwarden that fails is part of
/// the plan.
pub async fn plan(config: &Config) -> anyhow::Result<Plan> {
    let store = store::dry_run(&config.state).await?;
    let invited = Arc::<Invited>::default();
    let sessions = Sessions::of_command(Some(store.clone()), config.sessions.clone());
    let components = Components::build(config, store.clone(), sessions, |vaultwarden| {
        Arc::new(DryRun::new(vaultwarden, invited.clone()))
    })?;
    components.configure().await?;
    let Components {
        mut listeners,
        mut worker,
        accounts,
        ..
    } = components;
    // The plan is made from the journal, which must name everyone here.
    for listener in &mut listeners {
        listener.max_journaled_joins = u64::MAX;
    }
    // The plan does not depend on the rate limit.
    worker.settings.per_minute = None;
    Ok(run_dry(&listeners, (&accounts, &worker), store, invited).await?)
}

/// Does what `sync` does. `listeners` and `worker` must use `store`, and the worker's Vaultwarden must be a [`DryRun`] that
/// fills `invited`.
///
/// # Errors
/// The store failed.
pub async fn run_dry(
    listeners: &[Listener],
    (accounts, worker): (&Accounts, &Worker),
    store: Arc<dyn Store>,
    invited: Arc<Invited>,
) -> Result<Plan, StoreError> {
    let mut failures = list_everything(listeners).await;
    accounts.look().await?;
    let never = CancellationToken::new();
    worker.run(Until::Drained, &never, &never).await?;
    failures.extend(store.report().await?.vaultwarden_trouble);
    let failure = invited.failure().take();
    failures.extend(failure.map(|error| format!("vaultwarden: {error}")));
    Ok(Plan {
        store,
        invited,
        after: 0,
        failures,
    })
}

impl Plan {
    /// The next page; empty at the end of the plan.
    ///
    /// # Errors
    /// The copy of the state cannot be read.
    pub async fn next(&mut self) -> Result<Vec<PlanEntry>, StoreError> {
        loop {
            let people = self.store.people(PersonQuery::After(self.after, PAGE), 0).await?;
            let Some(last) = people.last() else {
                return Ok(Vec::new());
            };
            self.after = last.member.row;
            let invited = self.invited.all();
            let planned: Vec<PlanEntry> = people
                .iter()
                .flat_map(|person| planned(person, &invited))
                .collect();
            if !planned.is_empty() {
                return Ok(planned);
            }
        }
    }
}

/// The entries of one person: one for each invitation that concerns them, or a single one if there is none. Empty for
/// people who had left before the dry run.
fn planned(person: &PersonReport, invited: &HashSet<EmailAddress>) -> Vec<PlanEntry> {
    if !person.configured {
        return Vec::new();
    }
    let (address, standing) = (&person.member.address, &person.member.standing);
    let with = |address: Option<&EmailAddress>, (action, reason): (PlannedAction, String)| PlanEntry {
        action,
        email: address.map(ToString::to_string),
        dn: person.member.dn.clone(),
        directory: person.directory.clone(),
        reason,
    };
    let concerning: Vec<PlanEntry> = person
        .invitations()
        .filter_map(|invitation| {
            let own = address.as_ref() == Some(&invitation.address) && *standing == Standing::Member;
            let first = person.events.iter().find(|event| changes(event, invitation));
            let concerns = match invitation.state {
                ActionState::Cancelled => false,
                ActionState::Done => own || first.is_some(),
                _ => true,
            };
            concerns.then(|| {
                with(
                    Some(&invitation.address),
                    of_invitation(invitation, first, invited),
                )
            })
        })
        .collect();
    if !concerning.is_empty() {
        return concerning;
    }
    let alone = match standing {
        Standing::Left => {
            let happened = |kind: fn(&What) -> bool| person.events.iter().any(|event| kind(&event.what));
            if !happened(|what| matches!(what, What::Left { .. })) {
                return Vec::new();
            }
            let cancelled = happened(|what| matches!(what, What::Cancelled { .. }));
            (PlannedAction::Left, left(cancelled).to_owned())
        }
        Standing::WithoutAddress(why) => (PlannedAction::None, format!("cannot be invited: {why}")),
        Standing::Member => (PlannedAction::None, not_owed(person)),
    };
    vec![with(address.as_ref(), alone)]
}

/// Why a member is not owed an invitation to their address.
fn not_owed(person: &PersonReport) -> String {
    let invited = |invitation: &&ActionReport| invitation.state == ActionState::Done;
    match (&person.holder_dn, person.invitations().find(invited)) {
        (Some(holder), _) => format!("shares the address with {holder}, who gets the invitation"),
        (None, Some(former)) => format!(
            "was invited as {}; `on_address_change` in [invite] is set not to invite the new address",
            former.address
        ),
        (None, None) => "is not owed an invitation".into(),
    }
}

/// Whether an event of the dry run changed the state of this invitation.
fn changes(event: &Event, invitation: &ActionReport) -> bool {
    let changes = matches!(
        event.what,
        What::Owed { .. }
            | What::Held { .. }
            | What::Released { .. }
            | What::Invited { .. }
            | What::HadAccount
            | What::Quarantined { .. }
    );
    changes && event.address.as_ref() == Some(&invitation.address)
}

/// The action and the reason for one invitation. `first` is the first event of the dry run that changed it; `invited` are
/// the addresses that would be invited.
fn of_invitation(
    invitation: &ActionReport,
    first: Option<&Event>,
    invited: &HashSet<EmailAddress>,
) -> (PlannedAction, String) {
    let why = invitation.reason.as_deref().unwrap_or_default();
    match invitation.state {
        ActionState::Done => match (first, invitation.outcome) {
            (None, Some(Outcome::HadAccount)) => (
                PlannedAction::None,
                "already had an account when the accounts were compared".into(),
            ),
            (None, _) => (PlannedAction::None, "was invited before".into()),
            (Some(first), _) if invited.contains(&invitation.address) => {
                (PlannedAction::Invite, reason_to_invite(&first.what).into())
            }
            (Some(_), _) => (PlannedAction::None, "has an account".into()),
        },
        ActionState::Held => {
            let why = if why.is_empty() {
                Hold::Listing.to_string()
            } else {
                why.to_owned()
            };
            (
                PlannedAction::Hold,
                format!("{why}; `ldap-usher approve` releases them"),
            )
        }
        ActionState::Quarantined => (PlannedAction::None, format!("in quarantine: {why}")),
        ActionState::Queued if why.is_empty() || is_new(first) => (
            PlannedAction::Later,
            "waits until Vaultwarden is available".into(),
        ),
        ActionState::Queued => (
            PlannedAction::Later,
            format!("not before {}: {why}", invitation.due),
        ),
        // The caller skips these.
        ActionState::Cancelled => (PlannedAction::None, "is not owed an invitation".into()),
    }
}

/// Whether the dry run created the invitation and the address had none before.
fn is_new(first: Option<&Event>) -> bool {
    first.is_some_and(|first| matches!(first.what, What::Owed { formerly: None, .. }))
}

/// Why an invitation would be sent, by the first event that changed it.
fn reason_to_invite(first: &What) -> &'static str {
    match first {
        What::Owed {
            formerly: Some(ActionState::Cancelled),
            ..
        } => "matches the filter again and has no account",
        What::Owed {
            formerly: Some(ActionState::Done | ActionState::Quarantined),
            ..
        } => "left, came back, and no longer has an account",
        What::Owed { .. } => "matches the filter and has no account",
        What::Held { .. } | What::Released { .. } => {
            "was held back, but the limit is not exceeded without the people who have an account; has no account"
        }
        _ => "is due already and has no account",
    }
}

fn left(cancelled: bool) -> &'static str {
    if cancelled {
        "no longer matches the filter, or is disabled; the pending invitation is cancelled"
    } else {
        "no longer matches the filter, or is disabled; an existing account is left alone"
    }
}

/// The people whom a [`DryRun`] would have invited.
#[derive(Debug, Default)]
pub struct Invited {
    people: Mutex<HashSet<EmailAddress>>,
    /// The error of the last call to Vaultwarden, if it failed.
    failure: Mutex<Option<VaultwardenError>>,
}

impl Invited {
    fn all(&self) -> MutexGuard<'_, HashSet<EmailAddress>> {
        self.people.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failure(&self) -> MutexGuard<'_, Option<VaultwardenError>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record<T>(&self, answer: &Result<T, VaultwardenError>) {
        *self.failure() = answer.as_ref().err().cloned();
    }
}

/// A client that never changes Vaultwarden: instead of inviting a person or changing an account, it looks the account up.
/// For invitations it uses the list of accounts if that was read, and single look-ups otherwise.
pub struct DryRun {
    vaultwarden: Arc<dyn Admin>,
    invited: Arc<Invited>,
    is_listed: AtomicBool,
    /// The addresses in the list of accounts.
    accounts: Mutex<HashSet<EmailAddress>>,
}

impl DryRun {
    /// Reads from `vaultwarden`, and records in `invited` who would have been invited.
    pub fn new(vaultwarden: Arc<dyn Admin>, invited: Arc<Invited>) -> Self {
        Self {
            vaultwarden,
            invited,
            is_listed: AtomicBool::new(false),
            accounts: Mutex::default(),
        }
    }

    fn listed(&self) -> MutexGuard<'_, HashSet<EmailAddress>> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DryRun {
    async fn has_account(&self, address: &EmailAddress) -> Result<bool, VaultwardenError> {
        if self.is_listed.load(Ordering::Relaxed) {
            return Ok(self.listed().contains(address));
        }
        Ok(self.account(address).await?.is_some())
    }
}

impl Admin for DryRun {
    fn invite<'a>(&'a self, address: &'a EmailAddress) -> Reply<'a, Invitation> {
        async move {
            let outcome = if self.has_account(address).await? {
                Outcome::HadAccount
            } else {
                self.invited.all().insert(address.clone());
                Outcome::Invited
            };
            Ok(Invitation {
                outcome,
                account: None,
            })
        }
        .boxed()
    }

    fn change<'a>(&'a self, account: &'a str, change: AccountChange) -> Reply<'a, Changed> {
        async move {
            Ok(match self.account_by_id(account).await? {
                None => Changed::NoAccount,
                Some(account) if change == AccountChange::Resend && !account.invited => {
                    Changed::AlreadyRegistered
                }
                Some(_) => Changed::Done,
            })
        }
        .boxed()
    }

    fn account<'a>(&'a self, address: &'a EmailAddress) -> Reply<'a, Option<Account>> {
        let answer = self.vaultwarden.account(address);
        answer.inspect(|answer| self.invited.record(answer)).boxed()
    }

    fn account_by_id<'a>(&'a self, id: &'a str) -> Reply<'a, Option<Account>> {
        let answer = self.vaultwarden.account_by_id(id);
        answer.inspect(|answer| self.invited.record(answer)).boxed()
    }

    fn accounts(&self) -> BoxStream<'_, Result<Account, VaultwardenError>> {
        // No one is invited meanwhile, so an address that is not in the list has no account.
        self.is_listed.store(true, Ordering::Relaxed);
        let accounts = self.vaultwarden.accounts();
        accounts
            .inspect(|account| {
                self.invited.record(account);
                match account {
                    Ok(account) => self
                        .listed()
                        .extend(EmailAddress::parse(account.email.as_bytes())),
                    Err(_) => self.is_listed.store(false, Ordering::Relaxed),
                }
            })
            .boxed()
    }

    fn sends_mail(&self) -> Reply<'_, Option<bool>> {
        self.vaultwarden.sends_mail()
    }

    fn alive(&self) -> Reply<'_, ()> {
        self.vaultwarden.alive()
    }

    fn recognise<'a>(&'a self, known: &'a Identity) -> Reply<'a, Recognition> {
        self.vaultwarden.recognise(known)
    }
}
