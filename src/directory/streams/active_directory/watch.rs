//! One connection with watches, and the search that finds changes whose notification was lost.

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
    Controller, NOTIFICATION, Position, SHOW_DELETED, highest_usn, usn,
};
use crate::directory::ldap::filter::Filter;
use crate::directory::ldap::identity::Identity;
use crate::directory::ldap::request::{Ends, Item, Request, Search};
use crate::directory::ldap::result::one_line;
use crate::directory::ldap::session::{Session, unless_busy};
use crate::directory::settings::DirectorySettings;
use crate::directory::streams::refetch::{Hint, Hints};
use crate::model::EntryId;

/// The interval of the searches for changes without a notification.
const SWEEP: Duration = Duration::from_secs(30);
/// How long the controller may be silent in the middle of a search.
const SILENCE: Duration = Duration::from_secs(120);
/// The longest time for one search for changes.
const LONGEST_SEARCH: Duration = Duration::from_secs(10 * 60);
/// The largest number of entries of one search for changes: to list everyone is cheaper beyond it.
const MAX_CHANGES: usize = 100_000;

/// What is watched.
pub(crate) struct Place {
    pub base: String,
    pub scope: Scope,
    /// The entry, if it is a single one.
    pub who: Option<EntryId>,
}

/// A connection with its watches.
pub(crate) struct Watch {
    session: Session,
    directory: String,
    places: Vec<Place>,
    /// The searches of the places, in the same order; none if the controller does not notify. A search for changes that is
    /// under way follows them.
    searches: Vec<Search>,
    /// The partition in which changes are searched.
    partition: String,
    show_deleted: bool,
    page_size: u32,
    every: Duration,
    sweep_at: Instant,
    /// All changes up to this number were sent.
    usn: u64,
    /// The identity of the database, if resume points are sent.
    invocation: Option<EntryId>,
    /// The entries with a notification since the last sweep, each with its highest number.
    notified: HashMap<EntryId, u64>,
    /// The hints to send next.
    hints: VecDeque<Hint>,
    /// Why the session ends after the last of `hints`.
    end: Option<DirectoryError>,
}

impl Watch {
    /// Registers the watches. Every change after this returns is reported.
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
        // The controller does not confirm a watch. But it handles requests in order, so the watches are registered when
        // this request is answered.
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
            notified: HashMap::new(),
            hints: VecDeque::new(),
            end: None,
        })
    }

    /// The number of the latest change before the watch began.
    pub(crate) fn usn(&self) -> u64 {
        self.usn
    }

    /// Searches at once for all changes after this number.
    pub(crate) fn catch_up(&mut self, usn: u64) {
        self.usn = usn;
        self.sweep_at = Instant::now();
    }

    /// Sends resume points from now on, if the identity of the database is known. The first one is the present position.
    pub(crate) fn keep_points(&mut self, invocation: Option<EntryId>) {
        self.invocation = invocation;
        self.send_point();
    }

    /// The stream of hints.
    pub(crate) fn hints(self) -> Hints {
        stream::try_unfold(self, |mut watch| async { Ok(Some((watch.next().await?, watch))) }).boxed()
    }

    async fn next(&mut self) -> Result<Hint, DirectoryError> {
        loop {
            if let Some(hint) = self.hints.pop_front() {
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
                Ok((_, Item::Message(message))) => self.notified(message)?,
                Ok((at, Item::Done(result))) => self.ended(at, &result),
                // It is time for the next sweep.
                Err(DirectoryError::Silent { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Receives a notification.
    fn notified(&mut self, message: ResultEntry) -> Result<(), DirectoryError> {
        if message.is_intermediate() {
            return Ok(());
        }
        let entry = self.entry(message)?;
        if let Some(id) = identity(&entry) {
            // An entry that is not recorded here is only reported once more by the sweep.
            if self.notified.len() < MAX_CHANGES || self.notified.contains_key(&id) {
                let highest = self.notified.entry(id).or_default();
                *highest = usn(&entry, "uSNChanged").unwrap_or_default().max(*highest);
            }
            self.hints.push_back(Hint::Changed(id));
        }
        Ok(())
    }

    /// Searches for everything that changed since the last sweep, and sends hints at changes without a notification.
    async fn sweep(&mut self) -> Result<(), DirectoryError> {
        let Some(highest) = unless_busy(highest_usn(&mut self.session).await)? else {
            // The controller is busy sending notifications: they are received first.
            self.hints.push_back(Hint::Alive);
            self.sweep_at = Instant::now() + self.every;
            return Ok(());
        };
        if highest < self.usn {
            return Err(DirectoryError::CursorRefused {
                server: self.session.server().to_owned(),
                cause: format!(
                    "its latest change has the number {highest}, and {} was reported before",
                    self.usn
                ),
            });
        }
        if highest == self.usn {
            self.hints.push_back(Hint::Alive);
        } else {
            let before = self.hints.len();
            self.search_since(self.usn + 1).await?;
            self.mark_together(before);
            if self.end.is_some() {
                return Ok(());
            }
            self.notified.retain(|_, number| *number > highest);
            self.usn = highest;
            self.send_point();
        }
        self.sweep_at = Instant::now() + self.every;
        Ok(())
    }

    /// Marks the hints of one sweep, which are those after the first `before`, as found together.
    fn mark_together(&mut self, before: usize) {
        let among = self.hints.len().saturating_sub(before);
        for hint in self.hints.iter_mut().skip(before) {
            if let Hint::Changed(id) = *hint {
                *hint = Hint::ChangedTogether { id, among };
            }
        }
    }

    async fn search_since(&mut self, first: u64) -> Result<(), DirectoryError> {
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
                const DOING: &str = "searching for changes by their number";
                let asking = self.searches.len() - 1;
                // Notifications are received meanwhile.
                let searches = &mut self.searches;
                match self.session.next_of(searches, SILENCE, DOING, Ends::Some).await? {
                    (at, Item::Message(message)) if at != asking => self.notified(message)?,
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
                if began.elapsed() > LONGEST_SEARCH {
                    let received = format!("{} entries in {} s", self.hints.len(), LONGEST_SEARCH.as_secs());
                    return Err(self.session.endless(DOING, received));
                }
                if self.hints.len() > MAX_CHANGES {
                    return Err(DirectoryError::CursorRefused {
                        server: self.session.server().to_owned(),
                        cause: format!("more than {MAX_CHANGES} entries changed since"),
                    });
                }
            };
        }
        Ok(())
    }

    fn found(&mut self, entry: &RawEntry) {
        let Some(id) = identity(entry) else { return };
        let number = usn(entry, "uSNChanged").unwrap_or(u64::MAX);
        if self.notified.get(&id).is_none_or(|&notified| notified < number) {
            self.hints.push_back(Hint::Changed(id));
        }
    }

    /// The cookie of the next page, if there is one.
    fn page_ended(&self, result: &LdapResult) -> Result<Option<Vec<u8>>, DirectoryError> {
        if result.rc != 0 {
            return Err(self
                .session
                .search_error("the search for changes by their number", result));
        }
        let Some(value) = decode::control(&result.ctrls, PAGED_RESULTS) else {
            return Ok(None);
        };
        let cookie =
            decode::page_cookie(value).map_err(|error| self.session.malformed("a paging control", &error))?;
        Ok(Some(cookie).filter(|cookie| !cookie.is_empty()))
    }

    /// A watch ends only if the controller refuses it, or if the watched entry is deleted.
    fn ended(&mut self, at: usize, result: &LdapResult) {
        let server = self.session.server();
        match (result.rc, self.places.get(at).and_then(|place| place.who)) {
            // adminLimitExceeded, unwillingToPerform: the sweeps continue without notifications.
            (11 | 53, _) => {
                tracing::warn!(
                    directory = self.directory,
                    server,
                    code = result.rc,
                    cause = one_line(&result.text),
                    every = ?self.every,
                    "the domain controller does not notify of changes: searching for them at intervals"
                );
                // A search for changes that is under way continues.
                let watches = self.searches.len().min(self.places.len());
                self.searches.drain(..watches);
            }
            (32, Some(id)) => {
                self.hints.push_back(Hint::Changed(id));
                let doing = "the watch on an entry";
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

    fn send_point(&mut self) {
        let usn = self.usn;
        let point = self.invocation.map(|invocation| Position { invocation, usn });
        self.hints
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
