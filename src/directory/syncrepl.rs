//! LDAP Content Synchronisation, refreshAndPersist (RFC 4533).
//!
//! # Guarantees
//! A [`Change::Checkpoint`] comes only after everything that it covers: at the end of the refresh, with a live
//! entry, and with a bare `newcookie`. Cookies inside the refresh are not resume points and are dropped.
//!
//! # Assumptions
//! slapd's cookies are opaque; that they belong to this base, filter and account is the ledger's concern.
//!
//! # Caveats
//! After a crash without `syncprov-checkpoint`, after `slapadd` and without the right to read `entryCSN` and
//! `entryUUID` slapd's own account of changes is wrong. Only a listing finds that.

use std::collections::VecDeque;
use std::iter;
use std::time::Duration;

use futures::future::ready;
use futures::stream;
use futures::{StreamExt, TryStreamExt};
use ldap3::controls::{RefreshMode, SyncRequest};
use ldap3::{LdapResult, ResultEntry, Scope};

use super::decode::{self, EntryState, SYNC_STATE, SyncInfo};
use super::doorbell::{Ring, Rings};
use super::root_dse::Capabilities;
use super::session::{Item, Request, Search, Session};
use super::wanted::Wanted;
use super::{Changes, DirectoryError, connect, dn, malformed, root_dse};
use crate::model::{Change, Cursor, Entry, EntryId, Listing, Why};

/// A refresh in which the server says nothing for this long is given up: 389-DS falls silent at a size limit.
const REFRESH_PROGRESS: Duration = Duration::from_secs(120);
/// While nothing changes, the connection is proved alive after this long; the answer has 15 s to come.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// Follows the people.
pub(super) async fn open(
    session: Session,
    wanted: &Wanted,
    from: Option<Cursor>,
) -> Result<Changes, DirectoryError> {
    let attributes = wanted.attributes();
    search(session, &wanted.base, &wanted.filter, attributes, from).await
}

/// Rings for each change of one of these groups, below the `containers` in which they are.
pub(super) async fn watch(
    wanted: &Wanted,
    can: &Capabilities,
    groups: &[(EntryId, String)],
    containers: &[String],
) -> Result<Rings, DirectoryError> {
    let mut bells = Vec::new();
    for base in containers {
        let within = groups.iter().filter(|(_, dn)| dn::is_within(dn, base));
        let any: String = within.map(|&(id, _)| can.identity.filter(id)).collect();
        if any.is_empty() {
            continue;
        }
        let session = connect::connect(wanted).await?;
        let mut changes = search(session, base, &format!("(|{any})"), vec!["1.1".into()], None).await?;
        // From the end of the refresh on nothing is missed.
        while let Some(change) = changes.try_next().await? {
            if matches!(change, Change::ListingEnd(_)) {
                break;
            }
        }
        bells.push(changes.try_filter_map(|change| {
            ready(Ok(match change {
                Change::Upsert(Entry { id, .. }) | Change::Gone(id) => Some(Ring::Entry(id)),
                Change::Alive => Some(Ring::Alive),
                _ => None,
            }))
        }));
    }
    Ok(stream::select_all(bells).boxed())
}

/// Starts a search and waits for its first message, so that a refusal is known at once.
async fn search(
    mut session: Session,
    base: &str,
    filter: &str,
    attributes: Vec<String>,
    from: Option<Cursor>,
) -> Result<Changes, DirectoryError> {
    let resuming = from.is_some();
    let sync = SyncRequest {
        mode: RefreshMode::RefreshAndPersist,
        cookie: from.map(|Cursor(cookie)| cookie),
        reload_hint: false,
    };
    let request = Request {
        base,
        scope: Scope::Subtree,
        filter,
        attributes,
        // Critical: a server that does not know the control would answer with an ordinary search. Never together
        // with paging: slapd sends one page and calls it success.
        controls: vec![decode::critical(sync)],
    };
    let search = session.search(request).await?;
    let mut stream = Syncrepl {
        session,
        search,
        phase: Phase::Refresh {
            resuming,
            present_phase_ended: false,
        },
        told: VecDeque::from([Change::ListingBegin]),
        named: Box::new(iter::empty()),
    };
    stream.hear().await?;
    Ok(stream::try_unfold(stream, |mut stream| async {
        Ok(Some((stream.next().await?, stream)))
    })
    .boxed())
}

struct Syncrepl {
    session: Session,
    search: Search,
    phase: Phase,
    told: VecDeque<Change>,
    /// What is left of a set of identities. One message can name a million, so they become changes one by one.
    named: Box<dyn Iterator<Item = Change> + Send>,
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
}

impl Syncrepl {
    async fn next(&mut self) -> Result<Change, DirectoryError> {
        loop {
            match self.told.pop_front().or_else(|| self.named.next()) {
                Some(change) => return Ok(change),
                None => self.hear().await?,
            }
        }
    }

    /// Takes one message, which tells of any number of changes.
    async fn hear(&mut self) -> Result<(), DirectoryError> {
        let item = match self.phase {
            Phase::Refresh { .. } => {
                self.session
                    .next(
                        &mut self.search,
                        REFRESH_PROGRESS,
                        "waiting for the refresh of the sync search",
                    )
                    .await?
            }
            Phase::Persist => match self
                .session
                .next(&mut self.search, HEARTBEAT, "waiting for changes")
                .await
            {
                Err(DirectoryError::Silent { .. }) => {
                    root_dse::read(&mut self.session).await?;
                    self.told.push_back(Change::Alive);
                    return Ok(());
                }
                item => item?,
            },
        };
        match item {
            Item::Message(message) if message.is_intermediate() => {
                let info = decode::sync_info(message)
                    .map_err(|error| malformed(&self.session, "a Sync Info Message", &error))?;
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
            .map_err(|error| malformed(&self.session, "a Sync State Control", &error))?;
        self.told.push_back(match state.state {
            EntryState::Present => Change::Present(state.id),
            EntryState::Delete => Change::Gone(state.id),
            EntryState::Add | EntryState::Modify => {
                let raw =
                    decode::entry(message).map_err(|error| malformed(&self.session, "an entry", &error))?;
                Change::Upsert(Entry {
                    id: state.id,
                    dn: raw.dn,
                    attributes: raw.attributes,
                })
            }
        });
        if matches!(self.phase, Phase::Persist) {
            self.checkpoint(state.cookie);
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
                    self.told.push_back(Change::Doorbell(Why::ForeignChange));
                    self.checkpoint(Some(cookie));
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
        let Phase::Refresh {
            resuming,
            present_phase_ended,
        } = self.phase
        else {
            return Ok(());
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
        self.told.push_back(Change::ListingEnd(listing));
        self.checkpoint(cookie);
        self.phase = Phase::Persist;
        Ok(())
    }

    fn checkpoint(&mut self, cookie: Option<Vec<u8>>) {
        self.told.extend(
            cookie
                .filter(|cookie| !cookie.is_empty())
                .map(|cookie| Change::Checkpoint(Cursor(cookie))),
        );
    }

    /// A sync search of this mode never ends by itself.
    fn ended(&self, result: &LdapResult) -> DirectoryError {
        let resuming = matches!(self.phase, Phase::Refresh { resuming: true, .. });
        match result.rc {
            4096 => self.refused(format!("e-syncRefreshRequired{}", colon(&result.text))),
            // "consumer state is newer than provider!": the server lost its latest changes.
            53 if resuming => self.refused(format!("unwillingToPerform{}", colon(&result.text))),
            0 => DirectoryError::Broken {
                server: self.session.server().to_owned(),
                cause: "ended the sync search".into(),
            },
            code => DirectoryError::from_search_result(
                self.session.server(),
                "the sync search",
                code,
                &result.text,
            ),
        }
    }

    fn refused(&self, cause: String) -> DirectoryError {
        DirectoryError::CursorRefused {
            server: self.session.server().to_owned(),
            cause,
        }
    }
}

fn colon(text: &str) -> String {
    if text.is_empty() {
        String::new()
    } else {
        format!(": {text}")
    }
}
