//! `plan`: runs the code of `sync` on a copy of the state, with a client that changes nothing, and reports the result.

mod dry_run;
mod entries;

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::run::list_everything;
use super::sessions::Sessions;
use super::wiring::Components;
use crate::clock::Timestamp;
use crate::config::Config;
use crate::listener::Listener;
use crate::model::ActionKind;
use crate::store::{self, PersonQuery, Store, StoreError};
use crate::worker::{Accounts, Until, Worker};

pub use dry_run::{DryRun, Invited};

/// The number of people that are read at a time.
const PAGE: u32 = 1000;

/// What would happen to one person, to one of their invitations, or to one of their accounts.
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
    /// When, if it is done later and the time is known.
    #[serde(serialize_with = "in_words")]
    pub at: Option<Timestamp>,
}

fn in_words<S: serde::Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    at.map(|at| at.to_string()).serialize(serializer)
}

/// What `sync` would do. The names are those of `plan --json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PlannedAction {
    /// An invitation would be sent.
    Invite,
    /// A person who has not registered would be reminded.
    Remind,
    /// The sessions of a leaver would be ended.
    Deauthorize,
    /// The account of a leaver would be disabled.
    Disable,
    /// The account of a leaver would be deleted.
    Delete,
    /// The account of a person who is back would be enabled again.
    Enable,
    /// Something is owed and would be held back until it is approved.
    Hold,
    /// Something is owed and would not be done by this run.
    Later,
    /// The person would be recorded as having left.
    Left,
    /// Nothing would be done.
    None,
}

impl From<ActionKind> for PlannedAction {
    fn from(kind: ActionKind) -> Self {
        match kind {
            ActionKind::Invite => Self::Invite,
            ActionKind::Resend => Self::Remind,
            ActionKind::Deauthorize => Self::Deauthorize,
            ActionKind::Disable => Self::Disable,
            ActionKind::Delete => Self::Delete,
            ActionKind::Enable => Self::Enable,
        }
    }
}

impl fmt::Display for PlannedAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Invite => "invite",
            Self::Remind => "remind",
            Self::Deauthorize => "deauthorize",
            Self::Disable => "disable",
            Self::Delete => "delete",
            Self::Enable => "enable",
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
                .flat_map(|person| entries::planned(person, &invited))
                .collect();
            if !planned.is_empty() {
                return Ok(planned);
            }
        }
    }
}
