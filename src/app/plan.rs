//! What `sync` would do: its own code, run on a copy of the state and with a Vaultwarden to which nothing is sent.

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
use super::wiring::Parts;
use crate::config::Config;
use crate::listener::Listener;
use crate::model::{ActionState, EmailAddress, Event, Hold, Outcome, Standing, What};
use crate::store::{self, Owed, Store, StoreError, Story, Whose};
use crate::vaultwarden::{Account, Admin, Identity, Recognition, Reply, VaultwardenError};
use crate::worker::{Until, Worker};

/// People that are read at a time.
const PAGE: u32 = 1000;

/// What would happen to one person, or to one of their invitations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Planned {
    /// What.
    pub action: Action,
    /// The address, where there is one.
    pub email: Option<String>,
    /// The person's DN.
    pub dn: String,
    /// The name of their directory.
    pub directory: String,
    /// Why, as a person would put it.
    pub reason: String,
}

/// What would happen. The names are those of `plan --json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// An invitation would be sent.
    Invite,
    /// An invitation would be held back until it is approved.
    Hold,
    /// An invitation is owed, and would not be sent by this run.
    Later,
    /// The person would be recorded as having left.
    Left,
    /// Nothing would be done.
    None,
}

impl fmt::Display for Action {
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

/// A plan that is ready to be read.
pub struct Plan {
    store: Arc<dyn Store>,
    invited: Arc<Invited>,
    after: i64,
    /// What went wrong and would go wrong in `sync`, too: a line for each directory that was not listed completely, and
    /// one for a Vaultwarden that cannot be asked.
    pub failures: Vec<String>,
}

/// Finds out what `sync` would do at this moment. Nothing is changed anywhere: the state is only read, and Vaultwarden
/// is asked who has an account, which may take a login.
///
/// # Errors
/// The state cannot be read, or the configuration cannot be used. A directory or a Vaultwarden that fails is part of
/// the plan.
pub async fn plan(config: &Config) -> anyhow::Result<Plan> {
    let store = store::dry_run(&config.state).await?;
    let invited = Arc::<Invited>::default();
    let sessions = Sessions::of_command(Some(store.clone()), config.sessions.clone());
    let parts = Parts::wire(config, store.clone(), sessions, |vaultwarden| {
        Arc::new(DryRun::new(vaultwarden, invited.clone()))
    })?;
    parts.configure().await?;
    let Parts {
        mut listeners,
        mut worker,
        ..
    } = parts;
    // The plan is made from the journal, which names everyone for once.
    for listener in &mut listeners {
        listener.named_joiners = u64::MAX;
    }
    // How fast they would go out is not what is asked.
    worker.settings.per_minute = None;
    Ok(run_dry(&listeners, &worker, store, invited).await?)
}

/// What `sync` does, done on `store`, on which listeners and worker work; the worker's Vaultwarden is a [`DryRun`]
/// that keeps `invited`.
///
/// # Errors
/// The store failed.
pub async fn run_dry(
    listeners: &[Listener],
    worker: &Worker,
    store: Arc<dyn Store>,
    invited: Arc<Invited>,
) -> Result<Plan, StoreError> {
    let mut failures = list_everything(listeners).await;
    let never = CancellationToken::new();
    worker.run(Until::Drained, &never, &never).await?;
    failures.extend(store.report().await?.vaultwarden_trouble);
    let trouble = invited.trouble().take();
    failures.extend(trouble.map(|error| format!("vaultwarden: {error}")));
    Ok(Plan {
        store,
        invited,
        after: 0,
        failures,
    })
}

impl Plan {
    /// The next part of it; empty at its end.
    ///
    /// # Errors
    /// The copy of the state cannot be read.
    pub async fn next(&mut self) -> Result<Vec<Planned>, StoreError> {
        loop {
            let stories = self.store.stories(Whose::After(self.after, PAGE), 0).await?;
            let Some(last) = stories.last() else {
                return Ok(Vec::new());
            };
            self.after = last.member.row;
            let invited = self.invited.all();
            let planned: Vec<Planned> = stories
                .iter()
                .flat_map(|story| planned(story, &invited))
                .collect();
            if !planned.is_empty() {
                return Ok(planned);
            }
        }
    }
}

/// What the dry run made of a person: an entry for each invitation that concerns them, or one if there is none. Nothing for
/// people who left long ago.
fn planned(story: &Story, invited: &HashSet<EmailAddress>) -> Vec<Planned> {
    if !story.configured {
        return Vec::new();
    }
    let (address, standing) = (&story.member.address, &story.member.standing);
    let with = |address: Option<&EmailAddress>, (action, reason): (Action, String)| Planned {
        action,
        email: address.map(ToString::to_string),
        dn: story.member.dn.clone(),
        directory: story.directory.clone(),
        reason,
    };
    let concerning: Vec<Planned> = story
        .invitations
        .iter()
        .filter_map(|owed| {
            let own = address.as_ref() == Some(&owed.address) && *standing == Standing::Member;
            let first = story.events.iter().find(|event| changes(event, owed));
            let concerns = match owed.state {
                ActionState::Cancelled => false,
                ActionState::Done => own || first.is_some(),
                _ => true,
            };
            concerns.then(|| with(Some(&owed.address), of_invitation(owed, first, invited)))
        })
        .collect();
    if !concerning.is_empty() {
        return concerning;
    }
    let alone = match standing {
        Standing::Left => {
            let happened = |kind: fn(&What) -> bool| story.events.iter().any(|event| kind(&event.what));
            if !happened(|what| matches!(what, What::Left { .. })) {
                return Vec::new();
            }
            let cancelled = happened(|what| *what == What::Cancelled);
            (Action::Left, left(cancelled).to_owned())
        }
        Standing::WithoutAddress(why) => (Action::None, format!("cannot be invited: {why}")),
        Standing::Member => (Action::None, not_owed(story)),
    };
    vec![with(address.as_ref(), alone)]
}

/// Why a member is not owed an invitation to their address.
fn not_owed(story: &Story) -> String {
    let invited = |owed: &&Owed| owed.state == ActionState::Done;
    match (&story.holder_dn, story.invitations.iter().find(invited)) {
        (Some(holder), _) => format!("shares the address with {holder}, to whom the invitation belongs"),
        (None, Some(former)) => format!(
            "was invited as {}; `on_address_change` in [invite] says to leave it at that",
            former.address
        ),
        (None, None) => "is not owed an invitation".into(),
    }
}

/// Whether an event of the dry run changed the state of this invitation.
fn changes(event: &Event, owed: &Owed) -> bool {
    let changes = matches!(
        event.what,
        What::Owed { .. }
            | What::Held { .. }
            | What::Released { .. }
            | What::Invited { .. }
            | What::HadAccount
            | What::Quarantined { .. }
    );
    changes && event.address.as_ref() == Some(&owed.address)
}

/// What becomes of an invitation; `first` is the first event that changed it, and `invited` would have been invited.
fn of_invitation(owed: &Owed, first: Option<&Event>, invited: &HashSet<EmailAddress>) -> (Action, String) {
    let why = owed.reason.as_deref().unwrap_or_default();
    match owed.state {
        ActionState::Done => match (first, owed.outcome) {
            (None, Some(Outcome::HadAccount)) => {
                (Action::None, "had an account already when it was compared".into())
            }
            (None, _) => (Action::None, "was invited before".into()),
            (Some(first), _) if invited.contains(&owed.address) => {
                (Action::Invite, invitation(&first.what).into())
            }
            (Some(_), _) => (Action::None, "has an account".into()),
        },
        ActionState::Held => {
            let why = if why.is_empty() {
                Hold::Listing.to_string()
            } else {
                why.to_owned()
            };
            (Action::Hold, format!("{why}; `ldap-usher approve` releases them"))
        }
        ActionState::Quarantined => (Action::None, format!("in quarantine: {why}")),
        ActionState::Queued if why.is_empty() || is_new(first) => {
            (Action::Later, "waits until Vaultwarden can be asked".into())
        }
        ActionState::Queued => (Action::Later, format!("not before {}: {why}", owed.due)),
        // Those are not asked for.
        ActionState::Cancelled => (Action::None, "is not owed an invitation".into()),
    }
}

/// Whether the dry run opened the invitation, and there was none to the address before.
fn is_new(first: Option<&Event>) -> bool {
    first.is_some_and(|first| matches!(first.what, What::Owed { formerly: None, .. }))
}

/// Why an invitation would be sent, by the first event that changed it.
fn invitation(first: &What) -> &'static str {
    match first {
        What::Owed {
            formerly: Some(ActionState::Cancelled),
            ..
        } => "matches the filter again and has no account",
        What::Owed {
            formerly: Some(ActionState::Done | ActionState::Quarantined),
            ..
        } => "left, came back, and has no account any more",
        What::Owed { .. } => "matches the filter and has no account",
        What::Held { .. } | What::Released { .. } => {
            "was held back, and without those who have an account it need not be; has no account"
        }
        _ => "is due already and has no account",
    }
}

fn left(cancelled: bool) -> &'static str {
    if cancelled {
        "matches the filter no more, or is disabled; the invitation that was owed is cancelled"
    } else {
        "matches the filter no more, or is disabled; the account, if there is one, is left alone"
    }
}

/// Whom a [`DryRun`] would have invited.
#[derive(Debug, Default)]
pub struct Invited {
    people: Mutex<HashSet<EmailAddress>>,
    /// What became of the last question to Vaultwarden, where it was not answered.
    trouble: Mutex<Option<VaultwardenError>>,
}

impl Invited {
    fn all(&self) -> MutexGuard<'_, HashSet<EmailAddress>> {
        self.people.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn trouble(&self) -> MutexGuard<'_, Option<VaultwardenError>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note<T>(&self, answer: &Result<T, VaultwardenError>) {
        *self.trouble() = answer.as_ref().err().cloned();
    }
}

/// A Vaultwarden that is asked and never told: instead of inviting somebody it looks whether they have an account, among
/// all that were listed or, where they were not, one by one.
pub struct DryRun {
    vaultwarden: Arc<dyn Admin>,
    invited: Arc<Invited>,
    is_listed: AtomicBool,
    /// Those of the list.
    accounts: Mutex<HashSet<EmailAddress>>,
}

impl DryRun {
    /// Asks `vaultwarden`, and notes in `invited` who would have been invited.
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
    fn invite<'a>(&'a self, address: &'a EmailAddress) -> Reply<'a, Outcome> {
        async move {
            if self.has_account(address).await? {
                return Ok(Outcome::HadAccount);
            }
            self.invited.all().insert(address.clone());
            Ok(Outcome::Invited)
        }
        .boxed()
    }

    fn account<'a>(&'a self, address: &'a EmailAddress) -> Reply<'a, Option<Account>> {
        let answer = self.vaultwarden.account(address);
        answer.inspect(|answer| self.invited.note(answer)).boxed()
    }

    fn accounts(&self) -> BoxStream<'_, Result<Account, VaultwardenError>> {
        // Nobody is invited meanwhile: whoever is not among them has none.
        self.is_listed.store(true, Ordering::Relaxed);
        let accounts = self.vaultwarden.accounts();
        accounts
            .inspect(|account| {
                self.invited.note(account);
                match account {
                    Ok(account) => self
                        .listed()
                        .extend(EmailAddress::parse(account.email.as_bytes())),
                    Err(_) => self.is_listed.store(false, Ordering::Relaxed),
                }
            })
            .boxed()
    }

    fn alive(&self) -> Reply<'_, ()> {
        self.vaultwarden.alive()
    }

    fn recognise<'a>(&'a self, known: &'a Identity) -> Reply<'a, Recognition> {
        self.vaultwarden.recognise(known)
    }
}
