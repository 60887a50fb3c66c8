//! One sync session: turns the messages of the server into changes.

use std::collections::VecDeque;
use std::iter;
use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use ldap3::{LdapResult, ResultEntry};
use tokio::time::Instant;

use super::changelog::{Liveness, NamedChange};
use super::ds389::{self, Replacement};
use super::target::{REFRESH_SILENCE, Target};
use crate::directory::ldap::capabilities::Family;
use crate::directory::ldap::decode::{self, EntryState, SYNC_STATE, SyncInfo};
use crate::directory::ldap::request::{Item, Search};
use crate::directory::ldap::result::after_colon;
use crate::directory::ldap::session::{Session, unless_busy};
use crate::directory::ldap::{dn, root_dse};
use crate::directory::people::warnings::{Topic, references_warning};
use crate::directory::{Changes, DirectoryError};
use crate::model::{Change, Cursor, Listing};

/// While nothing changes, the connection is probed at this interval; the answer may take 15 s.
const PROBE_INTERVAL: Duration = Duration::from_secs(10);

/// Starts a search and waits for its first message, so that a refusal is known at once.
pub(super) async fn follow(
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
        changes: VecDeque::from([Change::ListingBegin]),
        id_set: Box::new(iter::empty()),
        liveness,
        cursor: from,
        end: None,
    };
    stream.receive().await?;
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
    /// The changes to return next.
    changes: VecDeque<Change>,
    /// The rest of a set of identities. One message can name a million, so each becomes a change only when it is asked for.
    id_set: Box<dyn Iterator<Item = Change> + Send>,
    /// 389-DS only: whether the stream is alive.
    liveness: Option<Liveness>,
    /// The last resume point.
    cursor: Option<Cursor>,
    /// Why the session ends after the last of `changes`.
    end: Option<DirectoryError>,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    Refresh {
        /// A cookie was sent, so the server may send only what changed.
        resuming: bool,
        /// A present phase has ended and a delete phase follows.
        present_phase_ended: bool,
    },
    Persist,
    /// The refresh of a search that replaces one that may be dead.
    Replacement {
        /// How many entries the replaced search did not send.
        missed: u32,
    },
}

impl Syncrepl {
    async fn next(&mut self) -> Result<Change, DirectoryError> {
        let began = Instant::now();
        loop {
            match self.changes.pop_front().or_else(|| self.id_set.next()) {
                Some(change) => return Ok(change),
                None => match self.end.take() {
                    Some(error) => return Err(error),
                    None => self.receive().await?,
                },
            }
            // A server that sends messages without a change is alive.
            if matches!(self.phase, Phase::Persist)
                && self.changes.is_empty()
                && began.elapsed() >= PROBE_INTERVAL
            {
                self.changes.push_back(Change::Alive);
            }
        }
    }

    /// Receives one message, which may hold any number of changes.
    async fn receive(&mut self) -> Result<(), DirectoryError> {
        let item = match self.phase {
            Phase::Refresh { .. } | Phase::Replacement { .. } => self.receive_refresh().await?,
            Phase::Persist => match self
                .session
                .next_change(&mut self.search, PROBE_INTERVAL, "waiting for changes")
                .await
            {
                Err(DirectoryError::Silent { .. }) => return self.probe().await,
                item => item?,
            },
        };
        match item {
            Item::Message(message) if message.is_intermediate() => {
                let info = decode::sync_info(message)
                    .map_err(|error| self.session.malformed("a Sync Info Message", &error))?;
                info.map_or(Ok(()), |info| self.receive_info(info))
            }
            Item::Message(message) => self.receive_entry(message),
            Item::Done(result) => Err(self.ended(&result)),
        }
    }

    /// Receives one message of the refresh.
    async fn receive_refresh(&mut self) -> Result<Item, DirectoryError> {
        const DOING: &str = "waiting for the refresh of the sync search";
        if self.liveness.is_some() {
            return ds389::receive_refresh(&mut self.session, &mut self.search, &self.target, DOING).await;
        }
        self.session.next(&mut self.search, REFRESH_SILENCE, DOING).await
    }

    /// Nothing changed for a while: checks that the connection is alive, and on 389-DS the stream too.
    async fn probe(&mut self) -> Result<(), DirectoryError> {
        self.changes.push_back(Change::Alive);
        let Some(liveness) = &self.liveness else {
            unless_busy(root_dse::probe(&mut self.session).await)?;
            return Ok(());
        };
        let replacement =
            ds389::replacement(&mut self.session, liveness, &self.target, self.cursor.as_ref()).await?;
        if let Some(Replacement {
            session,
            search,
            liveness,
        }) = replacement
        {
            (self.session, self.search, self.liveness) = (session, search, Some(liveness));
            self.phase = Phase::Replacement { missed: 0 };
        }
        Ok(())
    }

    fn receive_entry(&mut self, message: ResultEntry) -> Result<(), DirectoryError> {
        let Some(value) = decode::control(&message.1, SYNC_STATE) else {
            return Err(DirectoryError::Unsupported {
                server: self.session.server().to_owned(),
                cause: "the server answers a sync search with plain entries; set `stream = \"poll\"`".into(),
            });
        };
        let state = decode::sync_state(value)
            .map_err(|error| self.session.malformed("a Sync State Control", &error))?;
        self.changes.push_back(match state.state {
            EntryState::Present => Change::Present(state.id),
            EntryState::Delete => Change::Gone(state.id),
            EntryState::Add | EntryState::Modify => {
                let raw =
                    decode::entry(message).map_err(|error| self.session.malformed("an entry", &error))?;
                match dn::is_within_in(&raw.dn, &self.target.base, &self.target.query.schema) {
                    true => Change::Upsert(raw.into_entry(state.id)),
                    // The server sent an entry outside the base.
                    false => Change::Gone(state.id),
                }
            }
        });
        match &mut self.phase {
            Phase::Persist => self.checkpoint(state.cookie)?,
            Phase::Replacement { missed } => *missed += 1,
            Phase::Refresh { .. } => {}
        }
        Ok(())
    }

    fn receive_info(&mut self, info: SyncInfo) -> Result<(), DirectoryError> {
        match info {
            SyncInfo::IdSet { deletes: true, ids } => {
                self.id_set = Box::new(ids.into_iter().map(Change::Gone));
            }
            SyncInfo::IdSet { deletes: false, ids } => {
                self.id_set = Box::new(ids.into_iter().map(Change::Present));
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

    /// Ends a phase of the refresh, and the refresh itself if `done`.
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
            Phase::Replacement { missed } => {
                return if done {
                    self.replaced(cookie, missed)
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
            // slapd answers so to a cookie that it could not read: it sent everyone who is there, but not who left.
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
        self.changes.push_back(Change::ListingEnd(listing));
        self.phase = Phase::Persist;
        self.checkpoint(cookie)
    }

    /// Ends the refresh of a replacement. If it had something to send, the replaced search was dead: the session ends, so
    /// that the next one begins with a listing.
    fn replaced(&mut self, cookie: Option<Vec<u8>>, missed: u32) -> Result<(), DirectoryError> {
        self.phase = Phase::Persist;
        if missed > 0 {
            self.end = Some(DirectoryError::Broken {
                server: self.session.server().to_owned(),
                cause: format!(
                    "stopped reporting changes without closing the connection ({missed} were sent to another search)"
                ),
            });
        }
        self.checkpoint(cookie)
    }

    fn checkpoint(&mut self, cookie: Option<Vec<u8>>) -> Result<(), DirectoryError> {
        let Some(cookie) = cookie.filter(|cookie| !cookie.is_empty()) else {
            return Ok(());
        };
        if let Some(liveness) = &mut self.liveness {
            let named = NamedChange::of(&cookie);
            if named == NamedChange::Nowhere {
                return Err(ds389::no_target(&self.session));
            }
            liveness.received(named, Instant::now());
        }
        let cursor = Cursor(cookie);
        self.cursor = Some(cursor.clone());
        self.changes.push_back(Change::Checkpoint(cursor));
        Ok(())
    }

    /// The error for the result of the search: a sync search of this mode never ends by itself.
    fn ended(&self, result: &LdapResult) -> DirectoryError {
        let resuming = matches!(
            self.phase,
            Phase::Refresh { resuming: true, .. } | Phase::Replacement { .. }
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
