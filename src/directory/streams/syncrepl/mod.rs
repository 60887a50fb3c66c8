//! LDAP Content Synchronisation, refreshAndPersist (RFC 4533).
//!
//! # Guarantees
//! A [`Change::Checkpoint`] comes only after everything that it covers: at the end of the refresh, with a live
//! entry, and with a bare `newcookie`. Cookies inside the refresh are not resume points and are dropped.
//!
//! # Assumptions
//! Cookies are opaque but for 389-DS's (see `ds389`); that they belong to this base, filter and account is the store's concern.
//!
//! # Caveats
//! After a crash without `syncprov-checkpoint`, after `slapadd` and without the right to read `entryCSN` and
//! `entryUUID` slapd's own account of changes is wrong. Only a listing finds that.
//!
//! With `memberOf` in the filter slapd's account of single people is wrong, too: it finds values that it computes
//! (overlay dynlist) in no entry that changes. There the search is for people of any group, and merely hints.

mod changelog;
mod ds389;

use std::collections::VecDeque;
use std::iter;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{FutureExt, ready};
use futures::stream;
use futures::{StreamExt, TryStreamExt};
use ldap3::controls::{RefreshMode, SyncRequest};
use ldap3::{LdapResult, ResultEntry, Scope};
use tokio::time::Instant;

use crate::directory::ldap::capabilities::Family;
use crate::directory::ldap::decode;
use crate::directory::ldap::decode::{EntryState, SYNC_STATE, SyncInfo};
use crate::directory::ldap::dn;
use crate::directory::ldap::request::{Item, Request, Search};
use crate::directory::ldap::result::after_colon;
use crate::directory::ldap::session::Session;
use crate::directory::people::query::Query;
use crate::directory::people::warnings::{Topic, references_warning};
use crate::directory::streams::refetch::{Hint, Hints};
use crate::directory::{Changes, DirectoryError};
use crate::model::{Change, Cursor, Entry, Listing};
use changelog::{Liveness, Point};

/// A refresh in which the server says nothing for this long is given up.
const REFRESH_PROGRESS: Duration = Duration::from_secs(120);
/// While nothing changes, the connection is proved alive after this long; the answer has 15 s to come.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// Follows the people.
pub(crate) async fn open(
    session: Session,
    query: &Arc<Query>,
    from: Option<Cursor>,
) -> Result<Changes, DirectoryError> {
    let target = Target {
        query: query.clone(),
        base: query.settings.base.clone(),
        scope: Scope::Subtree,
        filter: query.settings.filter.to_string(),
        attributes: query.attributes(),
    };
    follow(session, target, from).await
}

/// Hints for each change of a person, whatever groups they are in.
pub(crate) async fn hints_for_any_group(
    session: Session,
    query: &Arc<Query>,
) -> Result<Hints, DirectoryError> {
    let filter = query.settings.filter.of_any_group(&query.schema).to_string();
    let from = position(session, query).await?;
    match hints_after(query, &query.settings.base, &filter, from).await {
        Err(DirectoryError::CursorRefused { .. }) => {
            hints_after(query, &query.settings.base, &filter, None).await
        }
        hints => hints,
    }
}

/// How far the database has come: the resume point of a search for the base alone. To slapd it is one for any other
/// search as well, which begins without naming everyone.
async fn position(session: Session, query: &Arc<Query>) -> Result<Option<Cursor>, DirectoryError> {
    let target = Target {
        query: query.clone(),
        base: query.settings.base.clone(),
        scope: Scope::Base,
        filter: "(objectClass=*)".to_owned(),
        attributes: vec!["1.1".to_owned()],
    };
    let mut changes = follow(session, target, None).await?;
    until_listed(&mut changes).await?;
    Ok(match changes.next().now_or_never() {
        Some(Some(Ok(Change::Checkpoint(cursor)))) => Some(cursor),
        _ => None,
    })
}

/// Hints for each change of an entry below `base` that matches `filter`, on a connection of its own.
pub(crate) async fn hints(query: &Arc<Query>, base: &str, filter: &str) -> Result<Hints, DirectoryError> {
    hints_after(query, base, filter, None).await
}

async fn hints_after(
    query: &Arc<Query>,
    base: &str,
    filter: &str,
    from: Option<Cursor>,
) -> Result<Hints, DirectoryError> {
    let target = Target {
        query: query.clone(),
        base: base.to_owned(),
        scope: Scope::Subtree,
        filter: filter.to_owned(),
        attributes: vec!["1.1".to_owned()],
    };
    let session = query.connect().await?;
    let mut changes = follow(session, target, from).await?;
    // From the end of the refresh on nothing is missed.
    until_listed(&mut changes).await?;
    let hints = changes.try_filter_map(|change| {
        ready(Ok(match change {
            Change::Upsert(Entry { id, .. }) | Change::Gone(id) => Some(Hint::Changed(id)),
            Change::Alive => Some(Hint::Alive),
            _ => None,
        }))
    });
    Ok(hints.boxed())
}

/// Passes over the refresh.
async fn until_listed(changes: &mut Changes) -> Result<(), DirectoryError> {
    while let Some(change) = changes.try_next().await? {
        if matches!(change, Change::ListingEnd(_)) {
            break;
        }
    }
    Ok(())
}

/// What a sync search looks for.
struct Target {
    query: Arc<Query>,
    base: String,
    scope: Scope,
    filter: String,
    attributes: Vec<String>,
}

impl Target {
    fn request(&self) -> Request<'_> {
        Request {
            base: &self.base,
            scope: self.scope,
            filter: &self.filter,
            attributes: self.attributes.clone(),
            controls: Vec::new(),
        }
    }

    async fn sync(&self, session: &mut Session, from: Option<Cursor>) -> Result<Search, DirectoryError> {
        let sync = SyncRequest {
            mode: RefreshMode::RefreshAndPersist,
            cookie: from.map(|Cursor(cookie)| cookie),
            reload_hint: false,
        };
        let request = Request {
            // Critical: a server that does not know the control would answer with an ordinary search. Never together
            // with paging: slapd sends one page and calls it success.
            controls: vec![decode::critical(sync)],
            ..self.request()
        };
        session.search(request).await
    }
}

/// Starts a search and waits for its first message, so that a refusal is known at once.
async fn follow(
    mut session: Session,
    target: Target,
    from: Option<Cursor>,
) -> Result<Changes, DirectoryError> {
    if !session.capabilities().syncrepl {
        return Err(DirectoryError::Unsupported {
            server: session.server().to_owned(),
            cause: "the server does not offer content synchronisation (RFC 4533); on OpenLDAP, load the module `syncprov` and add `overlay syncprov` to the database, or set `stream = \"auto\"`".into(),
        });
    }
    let resuming = from.is_some();
    let liveness = match session.capabilities().family {
        Family::Sun => Some(ds389::liveness(&mut session, from.as_ref()).await?),
        _ => None,
    };
    let search = target.sync(&mut session, from.clone()).await?;
    let mut stream = Syncrepl {
        target,
        session,
        search,
        phase: Phase::Refresh {
            resuming,
            present_phase_ended: false,
        },
        told: VecDeque::from([Change::ListingBegin]),
        named: Box::new(iter::empty()),
        liveness,
        cursor: from,
        end: None,
    };
    stream.hear().await?;
    Ok(stream::try_unfold(stream, |mut stream| async {
        Ok(Some((stream.next().await?, stream)))
    })
    .boxed())
}

struct Syncrepl {
    target: Target,
    session: Session,
    search: Search,
    phase: Phase,
    told: VecDeque<Change>,
    /// What is left of a set of identities. One message can name a million, so they become changes one by one.
    named: Box<dyn Iterator<Item = Change> + Send>,
    /// 389-DS only: what speaks for the stream being alive.
    liveness: Option<Liveness>,
    /// The last resume point.
    cursor: Option<Cursor>,
    /// Why the session ends once everything is told.
    end: Option<DirectoryError>,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    Refresh {
        /// A cookie was sent, so the server may tell only what changed.
        resuming: bool,
        /// A present phase has ended and a delete phase follows.
        present_phase_ended: bool,
    },
    Persist,
    /// The refresh of a search that takes the place of one that may be dead.
    Renewal {
        /// How many entries the other one did not tell of.
        missed: u32,
    },
}

impl Syncrepl {
    async fn next(&mut self) -> Result<Change, DirectoryError> {
        let began = Instant::now();
        loop {
            match self.told.pop_front().or_else(|| self.named.next()) {
                Some(change) => return Ok(change),
                None => match self.end.take() {
                    Some(error) => return Err(error),
                    None => self.hear().await?,
                },
            }
            // A server that talks without saying anything lives.
            if matches!(self.phase, Phase::Persist) && self.told.is_empty() && began.elapsed() >= HEARTBEAT {
                self.told.push_back(Change::Alive);
            }
        }
    }

    /// Takes one message, which tells of any number of changes.
    async fn hear(&mut self) -> Result<(), DirectoryError> {
        let item = match self.phase {
            Phase::Refresh { .. } | Phase::Renewal { .. } => self.hear_refresh().await?,
            Phase::Persist => match self
                .session
                .hear(&mut self.search, HEARTBEAT, "waiting for changes")
                .await
            {
                Err(DirectoryError::Silent { .. }) => return self.prove().await,
                item => item?,
            },
        };
        match item {
            Item::Message(message) if message.is_intermediate() => {
                let info = decode::sync_info(message)
                    .map_err(|error| self.session.malformed("a Sync Info Message", &error))?;
                info.map_or(Ok(()), |info| self.hear_info(info))
            }
            Item::Message(message) => self.hear_entry(message),
            Item::Done(result) => Err(self.ended(&result)),
        }
    }

    fn hear_entry(&mut self, message: ResultEntry) -> Result<(), DirectoryError> {
        let Some(value) = decode::control(&message.1, SYNC_STATE) else {
            return Err(DirectoryError::Unsupported {
                server: self.session.server().to_owned(),
                cause: "the server answers a sync search with plain entries; set `stream = \"poll\"`".into(),
            });
        };
        let state = decode::sync_state(value)
            .map_err(|error| self.session.malformed("a Sync State Control", &error))?;
        self.told.push_back(match state.state {
            EntryState::Present => Change::Present(state.id),
            EntryState::Delete => Change::Gone(state.id),
            EntryState::Add | EntryState::Modify => {
                let raw =
                    decode::entry(message).map_err(|error| self.session.malformed("an entry", &error))?;
                match dn::is_within_in(&raw.dn, &self.target.base, &self.target.query.schema) {
                    true => Change::Upsert(raw.into_entry(state.id)),
                    // It was not asked for, so it is nobody here.
                    false => Change::Gone(state.id),
                }
            }
        });
        match &mut self.phase {
            Phase::Persist => self.checkpoint(state.cookie)?,
            Phase::Renewal { missed } => *missed += 1,
            Phase::Refresh { .. } => {}
        }
        Ok(())
    }

    fn hear_info(&mut self, info: SyncInfo) -> Result<(), DirectoryError> {
        match info {
            SyncInfo::IdSet { deletes: true, ids } => {
                self.named = Box::new(ids.into_iter().map(Change::Gone));
            }
            SyncInfo::IdSet { deletes: false, ids } => {
                self.named = Box::new(ids.into_iter().map(Change::Present));
            }
            SyncInfo::NewCookie(cookie) => {
                if matches!(self.phase, Phase::Persist) {
                    self.checkpoint(Some(cookie))?;
                }
            }
            SyncInfo::RefreshPresent { cookie, done } => self.refreshed(cookie, done, true)?,
            SyncInfo::RefreshDelete { cookie, done } => self.refreshed(cookie, done, false)?,
        }
        Ok(())
    }

    /// The end of a phase of the refresh, and of the refresh itself where `done`.
    fn refreshed(
        &mut self,
        cookie: Option<Vec<u8>>,
        done: bool,
        present: bool,
    ) -> Result<(), DirectoryError> {
        let (resuming, present_phase_ended) = match self.phase {
            Phase::Refresh {
                resuming,
                present_phase_ended,
            } => (resuming, present_phase_ended),
            Phase::Renewal { missed } => {
                return if done {
                    self.renewed(cookie, missed)
                } else {
                    Ok(())
                };
            }
            Phase::Persist => return Ok(()),
        };
        let present_phase_ended = present_phase_ended || present;
        if !done {
            self.phase = Phase::Refresh {
                resuming,
                present_phase_ended,
            };
            return Ok(());
        }
        if resuming && cookie.as_deref() == Some(b"") {
            // slapd does so after a cookie that it could not read: everything was told, nobody who left was named.
            return Err(self.refused("the server could not read the cookie".into()));
        }
        let listing = if present_phase_ended || !resuming {
            Listing::Complete
        } else {
            Listing::Changes
        };
        if self.target.filter == self.target.query.settings.filter.to_string()
            && let Some(remark) = references_warning(self.session.server(), self.search.references())
        {
            self.target.query.warn(Topic::References, Some(remark));
        }
        self.told.push_back(Change::ListingEnd(listing));
        self.phase = Phase::Persist;
        self.checkpoint(cookie)
    }

    fn checkpoint(&mut self, cookie: Option<Vec<u8>>) -> Result<(), DirectoryError> {
        let Some(cookie) = cookie.filter(|cookie| !cookie.is_empty()) else {
            return Ok(());
        };
        if let Some(liveness) = &mut self.liveness {
            let point = Point::of(&cookie);
            if point == Point::Nowhere {
                return Err(ds389::no_target(&self.session));
            }
            liveness.heard(point, Instant::now());
        }
        let cursor = Cursor(cookie);
        self.cursor = Some(cursor.clone());
        self.told.push_back(Change::Checkpoint(cursor));
        Ok(())
    }

    /// A sync search of this mode never ends by itself.
    fn ended(&self, result: &LdapResult) -> DirectoryError {
        let resuming = matches!(
            self.phase,
            Phase::Refresh { resuming: true, .. } | Phase::Renewal { .. }
        );
        match result.rc {
            4096 => self.refused(format!("e-syncRefreshRequired{}", after_colon(&result.text))),
            // "consumer state is newer than provider!": the server lost its latest changes.
            53 if resuming => self.refused(format!("unwillingToPerform{}", after_colon(&result.text))),
            0 => DirectoryError::Broken {
                server: self.session.server().to_owned(),
                cause: "ended the sync search".into(),
            },
            _ => self.session.search_error("the sync search", result),
        }
    }

    fn refused(&self, cause: String) -> DirectoryError {
        DirectoryError::CursorRefused {
            server: self.session.server().to_owned(),
            cause,
        }
    }
}
