//! One connection with watches on it, and the question that finds what they lost.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use futures::stream::{self, StreamExt};
use ldap3::controls::{PagedResults, RawControl};
use ldap3::{LdapResult, ResultEntry, Scope};
use tokio::time::Instant;

use crate::directory::DirectoryError;
use crate::directory::ldap::decode;
use crate::directory::ldap::decode::{PAGED_RESULTS, RawEntry};
use crate::directory::ldap::domain_controller::{
    Controller, NOTIFICATION, Point, SHOW_DELETED, highest_usn, usn,
};
use crate::directory::ldap::filter::Filter;
use crate::directory::ldap::identity::Identity;
use crate::directory::ldap::request::{Ends, Item, Request, Search};
use crate::directory::ldap::result::one_line;
use crate::directory::ldap::session::{Session, unless_busy};
use crate::directory::settings::DirectorySettings;
use crate::directory::streams::refetch::{Hint, Hints};
use crate::model::EntryId;

/// How often the controller is asked for changes that did not hint.
const SWEEP: Duration = Duration::from_secs(30);
/// A controller that says nothing for this long in the middle of an answer is given up.
const PROGRESS: Duration = Duration::from_secs(120);

/// The time in which all changes since the last question are to be told.
const ANSWER: Duration = Duration::from_secs(10 * 60);
/// The entries that may hint at once: beyond that it is better to list everyone.
const MOST: usize = 100_000;

/// What is watched.
pub(crate) struct Place {
    pub base: String,
    pub scope: Scope,
    /// The entry, where it is a single one.
    pub who: Option<EntryId>,
}

/// A connection with its watches.
pub(crate) struct Watch {
    session: Session,
    directory: String,
    places: Vec<Place>,
    /// The searches of the places, in their order; none where the controller does not notify. While it is asked for
    /// changes, that search follows them.
    searches: Vec<Search>,
    /// The partition in which numbers are asked for.
    partition: String,
    show_deleted: bool,
    page_size: u32,
    every: Duration,
    sweep_at: Instant,
    /// Everything up to this number was told.
    usn: u64,
    /// The identity of the database, where resume points are wanted.
    invocation: Option<EntryId>,
    /// Who rang since the last sweep, each with the highest number.
    rang: HashMap<EntryId, u64>,
    told: VecDeque<Hint>,
    /// Why there is nothing more after what is told.
    end: Option<DirectoryError>,
}

impl Watch {
    /// Begins to watch; whatever changes from here on hints.
    pub(crate) async fn begin(
        mut session: Session,
        controller: &Controller,
        settings: &DirectorySettings,
        places: Vec<Place>,
    ) -> Result<Self, DirectoryError> {
        let mut searches = Vec::new();
        if controller.notification {
            for place in &places {
                let mut controls = vec![critical(NOTIFICATION)];
                controls.extend(controller.show_deleted.then(|| critical(SHOW_DELETED)));
                let request = Request {
                    base: &place.base,
                    scope: place.scope,
                    // The only filter that a notification may have.
                    filter: "(objectClass=*)",
                    attributes: attributes(),
                    controls,
                };
                searches.push(session.search(request).await?);
            }
        }
        // A notification is not acknowledged; but the controller takes requests in their order, so when this one is
        // answered, the watches stand.
        let usn = highest_usn(&mut session).await?;
        let every = settings.poll_interval.min(SWEEP);
        Ok(Self {
            session,
            directory: settings.name.clone(),
            places,
            searches,
            partition: controller.partition.clone(),
            show_deleted: controller.show_deleted,
            page_size: settings.page_size.get(),
            every,
            sweep_at: Instant::now() + every,
            usn,
            invocation: None,
            rang: HashMap::new(),
            told: VecDeque::new(),
            end: None,
        })
    }

    /// The number of the latest change before the watch began.
    pub(crate) fn usn(&self) -> u64 {
        self.usn
    }

    /// Hints at once for everything after this number.
    pub(crate) fn catch_up(&mut self, usn: u64) {
        self.usn = usn;
        self.sweep_at = Instant::now();
    }

    /// Tells resume points, where the database's identity is known; the first one is where it stands.
    pub(crate) fn keep_points(&mut self, invocation: Option<EntryId>) {
        self.invocation = invocation;
        self.tell_point();
    }

    pub(crate) fn hints(self) -> Hints {
        stream::try_unfold(self, |mut watch| async { Ok(Some((watch.next().await?, watch))) }).boxed()
    }

    async fn next(&mut self) -> Result<Hint, DirectoryError> {
        loop {
            if let Some(hint) = self.told.pop_front() {
                return Ok(hint);
            }
            if let Some(error) = self.end.take() {
                return Err(error);
            }
            let rest = self.sweep_at.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                self.sweep().await?;
                continue;
            }
            match self
                .session
                .next_of(&mut self.searches, rest, "waiting for notifications", Ends::Never)
                .await
            {
                Ok((_, Item::Message(message))) => self.rang(message)?,
                Ok((at, Item::Done(result))) => self.ended(at, &result),
                // It is time for the next sweep.
                Err(DirectoryError::Silent { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// A notification.
    fn rang(&mut self, message: ResultEntry) -> Result<(), DirectoryError> {
        if message.is_intermediate() {
            return Ok(());
        }
        let entry = self.entry(message)?;
        if let Some(id) = identity(&entry) {
            // Whoever is not remembered hints once more.
            if self.rang.len() < MOST || self.rang.contains_key(&id) {
                let highest = self.rang.entry(id).or_default();
                *highest = usn(&entry, "uSNChanged").unwrap_or_default().max(*highest);
            }
            self.told.push_back(Hint::Changed(id));
        }
        Ok(())
    }

    /// Asks for everything that changed since the last sweep, and hints for what did not hint by itself.
    async fn sweep(&mut self) -> Result<(), DirectoryError> {
        let Some(highest) = unless_busy(highest_usn(&mut self.session).await)? else {
            // Notifications are behind each other: first they are heard.
            self.told.push_back(Hint::Alive);
            self.sweep_at = Instant::now() + self.every;
            return Ok(());
        };
        if highest < self.usn {
            return Err(DirectoryError::CursorRefused {
                server: self.session.server().to_owned(),
                cause: format!(
                    "its latest change has the number {highest}, and {} was told before",
                    self.usn
                ),
            });
        }
        if highest == self.usn {
            self.told.push_back(Hint::Alive);
        } else {
            let before = self.told.len();
            self.ask_since(self.usn + 1).await?;
            self.mark_together(before);
            if self.end.is_some() {
                return Ok(());
            }
            self.rang.retain(|_, number| *number > highest);
            self.usn = highest;
            self.tell_point();
        }
        self.sweep_at = Instant::now() + self.every;
        Ok(())
    }

    /// What one sweep found beyond what was told before came together.
    fn mark_together(&mut self, before: usize) {
        let among = self.told.len().saturating_sub(before);
        for hint in self.told.iter_mut().skip(before) {
            if let Hint::Changed(id) = *hint {
                *hint = Hint::ChangedTogether { id, among };
            }
        }
    }

    async fn ask_since(&mut self, first: u64) -> Result<(), DirectoryError> {
        let who = self.places.iter().filter_map(|place| place.who);
        let some: Vec<Filter> = who.map(|id| Identity::ObjectGuid.filter(id)).collect();
        let since = Filter::at_least("uSNChanged", first.to_string());
        let filter = if some.is_empty() {
            since.to_string()
        } else {
            since.and(Filter::any(some)).to_string()
        };
        let began = Instant::now();
        let mut cookie = Some(Vec::new());
        while let Some(page) = cookie {
            let mut controls: Vec<RawControl> = vec![
                PagedResults {
                    size: i32::try_from(self.page_size).unwrap_or(i32::MAX),
                    cookie: page,
                }
                .into(),
            ];
            controls.extend(self.show_deleted.then(|| critical(SHOW_DELETED)));
            let request = Request {
                base: &self.partition,
                scope: Scope::Subtree,
                filter: &filter,
                attributes: attributes(),
                controls,
            };
            let search = self.session.search(request).await?;
            self.searches.push(search);
            cookie = loop {
                const DOING: &str = "asking for changes by their number";
                let asking = self.searches.len() - 1;
                // Notifications are heard meanwhile.
                let searches = &mut self.searches;
                match self
                    .session
                    .next_of(searches, PROGRESS, DOING, Ends::Some)
                    .await?
                {
                    (at, Item::Message(message)) if at != asking => self.rang(message)?,
                    (at, Item::Done(result)) if at != asking => {
                        self.ended(at, &result);
                        if self.end.is_some() {
                            return Ok(());
                        }
                    }
                    (_, Item::Message(message)) if message.is_intermediate() => {}
                    (_, Item::Message(message)) => {
                        let entry = self.entry(message)?;
                        self.found(&entry);
                    }
                    (_, Item::Done(result)) => {
                        self.searches.pop();
                        break self.page_ended(&result)?;
                    }
                }
                if began.elapsed() > ANSWER {
                    let came = format!("{} entries in {} s", self.told.len(), ANSWER.as_secs());
                    return Err(self.session.endless(DOING, came));
                }
                if self.told.len() > MOST {
                    return Err(DirectoryError::CursorRefused {
                        server: self.session.server().to_owned(),
                        cause: format!("more than {MOST} entries changed since"),
                    });
                }
            };
        }
        Ok(())
    }

    fn found(&mut self, entry: &RawEntry) {
        let Some(id) = identity(entry) else { return };
        let number = usn(entry, "uSNChanged").unwrap_or(u64::MAX);
        if self.rang.get(&id).is_none_or(|&rang| rang < number) {
            self.told.push_back(Hint::Changed(id));
        }
    }

    /// The cookie of the next page, where there is one.
    fn page_ended(&self, result: &LdapResult) -> Result<Option<Vec<u8>>, DirectoryError> {
        if result.rc != 0 {
            return Err(self
                .session
                .search_error("the question for changes by their number", result));
        }
        let Some(value) = decode::control(&result.ctrls, PAGED_RESULTS) else {
            return Ok(None);
        };
        let cookie =
            decode::page_cookie(value).map_err(|error| self.session.malformed("a paging control", &error))?;
        Ok(Some(cookie).filter(|cookie| !cookie.is_empty()))
    }

    /// A watch ends only when the controller refuses it, or when what is watched is gone.
    fn ended(&mut self, at: usize, result: &LdapResult) {
        let server = self.session.server();
        match (result.rc, self.places.get(at).and_then(|place| place.who)) {
            // adminLimitExceeded, unwillingToPerform: without a doorbell the sweeps go on.
            (11 | 53, _) => {
                tracing::warn!(
                    directory = self.directory,
                    server,
                    code = result.rc,
                    cause = one_line(&result.text),
                    every = ?self.every,
                    "the domain controller does not notify of changes: it is asked for them at intervals"
                );
                // A question that is under way goes on.
                let watches = self.searches.len().min(self.places.len());
                self.searches.drain(..watches);
            }
            (32, Some(id)) => {
                self.told.push_back(Hint::Changed(id));
                let doing = "to go on watching an entry";
                self.end = Some(self.session.search_error(doing, result));
            }
            (0 | 2 | 12, _) => {
                self.end = Some(DirectoryError::Unsupported {
                    server: server.to_owned(),
                    cause: format!(
                        "the server does not keep to the change notification that it offers (result {}); set `stream = \"poll\"`",
                        result.rc
                    ),
                });
            }
            _ => {
                self.end = Some(self.session.search_error("the watch", result));
            }
        }
    }

    fn entry(&self, message: ResultEntry) -> Result<RawEntry, DirectoryError> {
        decode::entry(message).map_err(|error| self.session.malformed("an entry", &error))
    }

    fn tell_point(&mut self) {
        let usn = self.usn;
        let point = self.invocation.map(|invocation| Point { invocation, usn });
        self.told
            .push_back(point.map_or(Hint::Alive, |point| Hint::Checkpoint(point.cursor())));
    }
}

fn attributes() -> Vec<String> {
    vec![
        Identity::ObjectGuid.attribute().to_owned(),
        "uSNChanged".to_owned(),
    ]
}

fn identity(entry: &RawEntry) -> Option<EntryId> {
    Identity::ObjectGuid.of(entry)
}

fn critical(oid: &str) -> RawControl {
    RawControl {
        ctype: oid.to_owned(),
        crit: true,
        val: None,
    }
}
