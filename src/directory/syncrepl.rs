//! LDAP Content Synchronisation, refreshAndPersist (RFC 4533).
//!
//! # Guarantees
//! A [`Change::Checkpoint`] comes only after everything that it covers: at the end of the refresh, with a live
//! entry, and with a bare `newcookie`. Cookies inside the refresh are not resume points and are dropped.
//!
//! # Assumptions
//! slapd's cookies are opaque; that they belong to this base, filter and account is the ledger's concern.
//!
//! # 389-DS
//! Its content synchronisation stands on a changelog, and its cookies name a change in it (see `changelog`). A resumed
//! search ignores the attributes that were asked for, so that others are dropped here, and never names those who left
//! by the filter, so that everyone is listed beside it at each connect.
//!
//! At a size or look-through limit it falls silent in the middle of the refresh. After a silence of 15 s the same
//! search is made without the control, on the same connection: its result names the limit, and where it has none, the
//! refresh has another 15 s.
//!
//! A stream that is not read for ten seconds dies silently, while its connection goes on to answer. Its own answer
//! cannot be asked for, so it is replaced: where the last change number of the root DSE has risen and the stream has
//! said nothing for a minute, a second search resumes from the last cookie on a new connection and takes its place. If
//! that one has something to tell, the first was dead, and the session ends after it was told, so that the next one
//! begins with a listing. This costs a connection and a short search a minute at most, on a server on which only others
//! change. A change made in the last minute may be told late by as much, and if nothing but departures by the filter were
//! lost, the audit finds them.
//!
//! # Caveats
//! After a crash without `syncprov-checkpoint`, after `slapadd` and without the right to read `entryCSN` and
//! `entryUUID` slapd's own account of changes is wrong. Only a listing finds that.

use std::collections::VecDeque;
use std::iter;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use ldap3::controls::{RefreshMode, SyncRequest};
use ldap3::{LdapResult, ResultEntry, Scope};

use tokio::time::Instant;

use super::changelog::{Evidence, NO_TARGET, Point};
use super::decode::{self, EntryState, SYNC_STATE, SyncInfo};
use super::root_dse::{self, Identity};
use super::session::{Item, Request, Search, Session};
use super::settings::Settings;
use super::{Changes, DirectoryError, connect, malformed};
use crate::model::{Attribute, Change, Cursor, Entry, Listing, Why};

/// A refresh in which the server says nothing for this long is given up: 389-DS falls silent at a size limit.
const REFRESH_PROGRESS: Duration = Duration::from_secs(120);
/// While nothing changes, the connection is proved alive after this long; the answer has 15 s to come.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// How long 389-DS may say nothing in a refresh before it is asked why.
const REFRESH_DOUBT: Duration = Duration::from_secs(15);

/// Starts the search and waits for its first message, so that a refusal is known at once.
pub(super) async fn open(
    mut session: Session,
    settings: &Arc<Settings>,
    identity: Identity,
    from: Option<Cursor>,
) -> Result<Changes, DirectoryError> {
    let resuming = from.is_some();
    let evidence = match identity {
        Identity::NsUniqueId => Some(evidence(&mut session, from.as_ref()).await?),
        _ => None,
    };
    let search = search(&mut session, settings, from.clone()).await?;
    let mut stream = Syncrepl {
        settings: settings.clone(),
        session,
        search,
        phase: Phase::Refresh {
            resuming,
            present_phase_ended: false,
        },
        told: VecDeque::from([Change::ListingBegin]),
        named: Box::new(iter::empty()),
        evidence,
        cursor: from,
        end: None,
    };
    stream.hear().await?;
    Ok(stream::try_unfold(stream, |mut stream| async {
        Ok(Some((stream.next().await?, stream)))
    })
    .boxed())
}

async fn search(
    session: &mut Session,
    settings: &Settings,
    from: Option<Cursor>,
) -> Result<Search, DirectoryError> {
    let sync = SyncRequest {
        mode: RefreshMode::RefreshAndPersist,
        cookie: from.map(|Cursor(cookie)| cookie),
        reload_hint: false,
    };
    let request = Request {
        base: &settings.base,
        scope: Scope::Subtree,
        filter: &settings.filter,
        attributes: settings.mail_attributes.clone(),
        // Critical: a server that does not know the control would answer with an ordinary search. Never together
        // with paging: slapd sends one page and calls it success.
        controls: vec![decode::critical(sync)],
    };
    session.search(request).await
}

/// Makes sure that 389-DS can resume here, which it does not do by itself.
async fn evidence(session: &mut Session, from: Option<&Cursor>) -> Result<Evidence, DirectoryError> {
    let (first, last) = root_dse::change_numbers(session).await?.unwrap_or_default();
    if from.is_some_and(|Cursor(cookie)| Point::of(cookie).is_trimmed(first)) {
        return Err(DirectoryError::CursorRefused {
            server: session.server().to_owned(),
            cause: format!("the changelog was trimmed and begins with change {first}"),
        });
    }
    Ok(Evidence::new(last, Instant::now()))
}

struct Syncrepl {
    settings: Arc<Settings>,
    session: Session,
    search: Search,
    phase: Phase,
    told: VecDeque<Change>,
    /// What is left of a set of identities. One message can name a million, so they become changes one by one.
    named: Box<dyn Iterator<Item = Change> + Send>,
    /// 389-DS only: what speaks for the stream being alive.
    evidence: Option<Evidence>,
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
        loop {
            match self.told.pop_front().or_else(|| self.named.next()) {
                Some(change) => return Ok(change),
                None => match self.end.take() {
                    Some(error) => return Err(error),
                    None => self.hear().await?,
                },
            }
        }
    }

    /// Takes one message, which tells of any number of changes.
    async fn hear(&mut self) -> Result<(), DirectoryError> {
        let item = match self.phase {
            Phase::Refresh { .. } | Phase::Renewal { .. } => self.hear_refresh().await?,
            Phase::Persist => match self
                .session
                .next(&mut self.search, HEARTBEAT, "waiting for changes")
                .await
            {
                Err(DirectoryError::Silent { .. }) => return self.prove().await,
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

    /// A message of the refresh.
    async fn hear_refresh(&mut self) -> Result<Item, DirectoryError> {
        const DOING: &str = "waiting for the refresh of the sync search";
        if self.evidence.is_none() {
            return self.session.next(&mut self.search, REFRESH_PROGRESS, DOING).await;
        }
        match self.session.next(&mut self.search, REFRESH_DOUBT, DOING).await {
            Err(DirectoryError::Silent { .. }) => {
                self.find_limit().await?;
                self.session.next(&mut self.search, REFRESH_DOUBT, DOING).await
            }
            item => item,
        }
    }

    /// The error of the limit at which the same search without the control ends, where there is one.
    async fn find_limit(&mut self) -> Result<(), DirectoryError> {
        let request = Request {
            base: &self.settings.base,
            scope: Scope::Subtree,
            filter: &self.settings.filter,
            attributes: vec!["1.1".to_owned()],
            controls: Vec::new(),
        };
        let mut search = self.session.search(request).await?;
        loop {
            let doing = "searching for the limit at which the sync search fell silent";
            match self.session.next(&mut search, REFRESH_PROGRESS, doing).await? {
                Item::Message(_) => {}
                Item::Done(result) if result.rc == 0 => return Ok(()),
                Item::Done(result) => {
                    return Err(DirectoryError::from_search_result(
                        self.session.server(),
                        "the sync search",
                        result.rc,
                        &result.text,
                    ));
                }
            }
        }
    }

    /// Nothing changed for a while: the connection is proved alive, and on 389-DS the stream, too.
    async fn prove(&mut self) -> Result<(), DirectoryError> {
        self.told.push_back(Change::Alive);
        let Some(evidence) = &self.evidence else {
            root_dse::read(&mut self.session).await?;
            return Ok(());
        };
        let (_, last) = root_dse::change_numbers(&mut self.session)
            .await?
            .unwrap_or_default();
        if !evidence.is_doubtful(last, Instant::now()) || self.cursor.is_none() {
            return Ok(());
        }
        tracing::debug!(
            directory = self.settings.name,
            last,
            "others changed and the sync search is silent: it is replaced"
        );
        let mut session = connect::connect(&self.settings).await?;
        self.evidence = Some(self::evidence(&mut session, self.cursor.as_ref()).await?);
        self.search = search(&mut session, &self.settings, self.cursor.clone()).await?;
        self.session = session;
        self.phase = Phase::Renewal { missed: 0 };
        Ok(())
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
                let mut attributes = raw.attributes;
                attributes.retain(|attribute| self.asked_for(attribute));
                Change::Upsert(Entry {
                    id: state.id,
                    dn: raw.dn,
                    attributes,
                })
            }
        });
        match &mut self.phase {
            Phase::Persist => self.checkpoint(state.cookie)?,
            Phase::Renewal { missed } => *missed += 1,
            Phase::Refresh { .. } => {}
        }
        Ok(())
    }

    fn asked_for(&self, attribute: &Attribute) -> bool {
        let wanted = &self.settings.mail_attributes;
        wanted
            .iter()
            .any(|name| name.eq_ignore_ascii_case(&attribute.name))
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
        self.told.push_back(Change::ListingEnd(listing));
        self.phase = Phase::Persist;
        self.checkpoint(cookie)
    }

    /// The end of a renewal.
    fn renewed(&mut self, cookie: Option<Vec<u8>>, missed: u32) -> Result<(), DirectoryError> {
        self.phase = Phase::Persist;
        if missed > 0 {
            self.end = Some(DirectoryError::Broken {
                server: self.session.server().to_owned(),
                cause: format!(
                    "stopped telling of changes without closing the connection ({missed} were told to another search)"
                ),
            });
        }
        self.checkpoint(cookie)
    }

    fn checkpoint(&mut self, cookie: Option<Vec<u8>>) -> Result<(), DirectoryError> {
        let Some(cookie) = cookie.filter(|cookie| !cookie.is_empty()) else {
            return Ok(());
        };
        if let Some(evidence) = &mut self.evidence {
            let point = Point::of(&cookie);
            if point == Point::Nowhere {
                return Err(DirectoryError::Unsupported {
                    server: self.session.server().to_owned(),
                    cause: NO_TARGET.into(),
                });
            }
            evidence.heard(point, Instant::now());
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
