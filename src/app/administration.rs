//! Carries out what administrators ask for on the status page, beside the running service. Each order uses what the command
//! of the same name uses.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::time::timeout;

use super::decide::{Verb, decide};
use super::explain::{Policies, parse_person};
use super::next::{accounts, in_care, next, standing};
use super::person::look_person_up;
use super::policies::{leave, limits, reminders};
use crate::config::Config;
use crate::directory::LdapDirectory;
use crate::model::{EntryId, Event, Request, Source};
use crate::page::{Administration, MAX_EVENTS, Story};
use crate::rules::{Book, DecisionContext, ReminderPolicy};
use crate::store::{Decisions, PersonQuery, PersonReport, Scope, Step, Store, StoreError, Which};
use crate::telemetry::Observer;

/// How long a directory may take to answer: less than a connection of the page may last.
const PATIENCE: Duration = Duration::from_secs(20);

/// Why an order is not carried out.
type Refusal = String;

/// The orders of the status page.
pub(super) struct OfService {
    store: Arc<dyn Store>,
    directories: Vec<Arc<LdapDirectory>>,
    observer: Observer,
    config: Mutex<Arc<Config>>,
}

impl OfService {
    /// `directories` are those of `config`, in its order.
    pub(super) fn new(
        store: Arc<dyn Store>,
        directories: Vec<Arc<LdapDirectory>>,
        observer: Observer,
        config: Config,
    ) -> Self {
        Self {
            store,
            directories,
            observer,
            config: Mutex::new(Arc::new(config)),
        }
    }

    /// Uses other secrets from now on.
    pub(super) fn renew(&self, config: Config) {
        *self.config.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
    }

    fn config(&self) -> Arc<Config> {
        self.config.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Decides on actions that are still in the state in which the page showed them.
    async fn decide(
        &self,
        verb: Verb,
        request: Request,
        rows: Vec<i64>,
        from: &str,
    ) -> Result<String, Refusal> {
        let selected = self.store.in_state(verb.state(), Which::Rows(&rows)).await;
        let selected = selected.map_err(failed)?;
        if selected.is_empty() {
            return Err("Somebody else has decided on that already.".into());
        }
        let rows = selected.iter().map(|task| task.row).collect();
        self.note(request, rows, from).await?;
        let count = decide(&*self.store, &selected, false, verb)
            .await
            .map_err(failed)?;
        self.store.wake().notify_one();
        Ok(match verb {
            Verb::Approve => format!("{count} approved. Each is carried out as soon as Vaultwarden answers."),
            Verb::Discard => format!("{count} discarded."),
            Verb::Retry => format!("{count} will be tried again now."),
        })
    }

    /// Reminds a person who has not registered, whenever the last mail was.
    async fn resend(&self, rows: Vec<i64>, from: &str) -> Result<String, Refusal> {
        let row = *rows.first().ok_or("The order names nobody.")?;
        self.note(Request::Resend, vec![row], from).await?;
        let config = self.config();
        let (limits, leave, now) = (limits(&config), leave(&config), self.store.clock().now());
        let policy = ReminderPolicy {
            after: Duration::ZERO,
            limit: u32::MAX,
        };
        let scope = Scope {
            tasks: vec![row],
            ..Scope::default()
        };
        let opened = self.store.decide(scope, move |book| {
            let context = DecisionContext::single(Source::Administrator, now, now, &limits, &leave);
            Step::Done(book.remind(row, &policy, &context))
        });
        if !opened.await.map_err(failed)? {
            return Err(
                "There is nothing to remind of: the person has registered or left, or a reminder waits."
                    .into(),
            );
        }
        self.store.wake().notify_one();
        Ok("A reminder is mailed, unless Vaultwarden sends no mail.".into())
    }

    /// Looks a person up.
    async fn sync(&self, who: &str, from: &str) -> Result<String, Refusal> {
        let query = parse_person(who).map_err(|error| error.to_string())?;
        let known = self.store.people(query.clone(), 1).await.map_err(failed)?;
        self.note_search(&query, &known, from).await?;
        let config = self.config();
        let whom = (who, &query, known.as_slice());
        let looked_up = look_person_up(&config, self.directories.clone(), self.store.clone(), whom);
        let looked_up = timeout(PATIENCE, looked_up).await;
        self.store.wake().notify_one();
        looked_up
            .map_err(|_| "The directory does not answer in time. Try again later.".to_owned())?
            .map_err(|error| format!("{error:#}"))?;
        Ok("The directory was asked. What follows from its answer is below.".into())
    }

    /// Writes into the journal that an administrator has a person looked up. For one who is not known, each configured
    /// directory gets an event without a person.
    async fn note_search(
        &self,
        query: &PersonQuery,
        known: &[PersonReport],
        from: &str,
    ) -> Result<(), Refusal> {
        let address = match query {
            PersonQuery::Address(address) => Some(address.clone()),
            _ => None,
        };
        let mut concerned: Vec<(String, Option<EntryId>)> = known
            .iter()
            .map(|person| (person.directory.clone(), Some(person.member.id)))
            .collect();
        if concerned.is_empty() {
            let config = self.config();
            let directories = config.directories.iter();
            concerned.extend(directories.map(|directory| (directory.settings.name.clone(), None)));
        }
        for (name, id) in concerned {
            let number = self.store.directory(&name).await.map_err(failed)?;
            let Some(directory) = number else { continue };
            let scope = Scope {
                directory,
                people: id.into_iter().collect(),
                ..Scope::default()
            };
            let (now, from, address) = (self.store.clock().now(), from.to_owned(), address.clone());
            let noted = self.store.decide(scope, move |book| {
                match id.and_then(|id| book.person_by_id(directory, id)) {
                    Some(person) => book.request_for_person(person, Request::Sync, &from, now),
                    None => book.request_search((directory, &name), address.clone(), &from, now),
                }
                Step::Done(events(book))
            });
            self.observer.record(&noted.await.map_err(failed)?);
        }
        Ok(())
    }

    /// Writes into the journal that an administrator asks for this, before it is done.
    async fn note(&self, request: Request, rows: Vec<i64>, from: &str) -> Result<(), Refusal> {
        let scope = Scope {
            tasks: rows.clone(),
            tasks_only: true,
            ..Scope::default()
        };
        let (from, now) = (from.to_owned(), self.store.clock().now());
        let noted = self.store.decide(scope, move |book| {
            for row in &rows {
                book.request_for_task(*row, request, &from, now);
            }
            Step::Done(events(book))
        });
        self.observer.record(&noted.await.map_err(failed)?);
        Ok(())
    }
}

fn events(book: &Book) -> Vec<Event> {
    book.events.iter().map(|noted| noted.event.clone()).collect()
}

#[expect(clippy::needless_pass_by_value, reason = "as `map_err` calls it")]
fn failed(error: StoreError) -> Refusal {
    error.to_string()
}

impl Administration for OfService {
    fn order<'a>(
        &'a self,
        request: Request,
        rows: Vec<i64>,
        who: &'a str,
        from: &'a str,
    ) -> BoxFuture<'a, Result<String, String>> {
        async move {
            match request {
                Request::Approve => self.decide(Verb::Approve, request, rows, from).await,
                Request::Discard => self.decide(Verb::Discard, request, rows, from).await,
                Request::Retry => self.decide(Verb::Retry, request, rows, from).await,
                Request::Resend => self.resend(rows, from).await,
                Request::Sync => self.sync(who, from).await,
            }
        }
        .boxed()
    }

    fn find<'a>(&'a self, who: &'a str) -> BoxFuture<'a, Result<Vec<Story>, String>> {
        async move {
            let query = parse_person(who).map_err(|error| error.to_string())?;
            let people = self.store.people(query, MAX_EVENTS + 1).await.map_err(failed)?;
            let config = self.config();
            let policies = Policies {
                leave: Arc::new(leave(&config)),
                reminders: reminders(&config),
            };
            let now = self.store.clock().now();
            let story = |person| Story {
                standing: standing(&person),
                accounts: accounts(&person)
                    .map(|(address, account)| format!("{address} is {}", in_care(account)))
                    .collect(),
                next: next(&person, &policies, now),
                person,
            };
            Ok(people.into_iter().map(story).collect())
        }
        .boxed()
    }
}
