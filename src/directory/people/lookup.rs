//! Reading single people again, by identity, with the configured filter: the server's own word on whether they are
//! members right now.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use ldap3::Scope;
use tokio::time::Instant;

use crate::directory::DirectoryError;
use crate::directory::error::words;
use crate::directory::ldap::decode;
use crate::directory::ldap::decode::RawEntry;
use crate::directory::ldap::dn;
use crate::directory::ldap::filter::Filter;
use crate::directory::ldap::root_dse;
use crate::directory::ldap::root_dse::{Capabilities, Identity};
use crate::directory::ldap::session::{Request, Session};
use crate::directory::people::query::Query;
use crate::model::{Entry, EntryId};

/// People per search: the filter stays small, and the answer below every server's default size limit.
pub(crate) const CHUNK: usize = 50;
/// A connection that was idle for longer is not used again.
const KEPT: Duration = Duration::from_secs(30);

/// A connection that is kept from one question to the next, for a while: servers close what is idle for long.
pub(crate) struct Line {
    settings: Arc<Query>,
    open: Option<(Session, Capabilities)>,
    used: Instant,
}

impl Line {
    /// Nothing is contacted before the first question.
    pub(crate) fn new(settings: Arc<Query>) -> Self {
        Self {
            settings,
            open: None,
            used: Instant::now(),
        }
    }

    /// The connection, and what its server can do.
    pub(crate) async fn session(&mut self) -> Result<(&mut Session, &Capabilities), DirectoryError> {
        let fresh = self.used.elapsed() < KEPT;
        self.used = Instant::now();
        let (session, can) = match self.open.take().filter(|_| fresh) {
            Some(open) => self.open.insert(open),
            None => {
                let mut session = self.settings.connect().await?;
                let can = root_dse::capabilities(&mut session, &self.settings).await?;
                self.open.insert((session, can))
            }
        };
        Ok((session, can))
    }
}

/// Reads people again.
pub(crate) struct Lookup {
    query: Arc<Query>,
    line: Line,
}

impl Lookup {
    /// Nothing is contacted before the first question.
    pub(crate) fn new(query: Arc<Query>) -> Self {
        Self {
            line: Line::new(query.clone()),
            query,
        }
    }

    /// Those of `who` that are members right now.
    ///
    /// # Errors
    /// Beside those of the network: a group on which membership depends is not there, so that nobody can be said to be
    /// no member.
    pub(crate) async fn ask(&mut self, who: &[EntryId]) -> Result<Vec<Entry>, DirectoryError> {
        let (session, can) = self.line.session().await?;
        members_among(session, can, &self.query, who).await
    }

    /// Takes note of how far the server has come, after whatever it told.
    pub(crate) async fn record_watermarks(&mut self) -> Result<(), DirectoryError> {
        let (session, _) = self.line.session().await?;
        self.query.record_watermarks(session).await;
        Ok(())
    }

    /// Whom it asks for.
    pub(crate) fn query(&self) -> &Query {
        &self.query
    }
}

/// Those of `who` that are members right now, asked for on this connection.
///
/// # Errors
/// As [`Lookup::ask`].
pub(crate) async fn members_among(
    session: &mut Session,
    can: &Capabilities,
    query: &Query,
    who: &[EntryId],
) -> Result<Vec<Entry>, DirectoryError> {
    let mut found = ask(session, query, &can.identity, who).await?;
    if let Some(groups) = &query.groups {
        found = groups.retain_members(found, session, can).await?;
        if found.len() < who.len() {
            groups.verify(session, can).await?;
        }
    }
    Ok(found)
}

async fn ask(
    session: &mut Session,
    query: &Query,
    identity: &Identity,
    who: &[EntryId],
) -> Result<Vec<Entry>, DirectoryError> {
    let mut found = Vec::new();
    for chunk in who.chunks(CHUNK) {
        let mut asked: HashSet<EntryId> = chunk.iter().copied().collect();
        let any = Filter::any(chunk.iter().map(|&id| identity.filter(id)));
        let filter = query.filter.and(any).to_string();
        let request = Request {
            base: &query.base,
            scope: Scope::Subtree,
            filter: &filter,
            attributes: attributes(query, identity),
            controls: Vec::new(),
        };
        let (messages, result) = session.collect(request, "looking people up").await?;
        if result.rc != 0 {
            return Err(DirectoryError::from_search_result(
                session.server(),
                "a look-up",
                &result,
            ));
        }
        let mut foreign = 0_u32;
        for message in messages {
            let raw = decode::entry(message).map_err(|error| session.malformed("an entry", &error))?;
            // Only who was asked for is answered for, and each once.
            match identified(raw, identity) {
                Ok(entry)
                    if dn::is_within_in(&entry.dn, &query.base, &query.schema) && asked.remove(&entry.id) =>
                {
                    found.push(entry);
                }
                _ => foreign += 1,
            }
        }
        if foreign > 0 {
            tracing::warn!(
                directory = query.name,
                server = session.server(),
                foreign,
                "the server answered a look-up with entries that were not asked for, by identity or by base: they are passed over"
            );
        }
    }
    Ok(found)
}

/// What a search asks for: the identity and what decides about membership, nothing else.
pub(crate) fn attributes(query: &Query, identity: &Identity) -> Vec<String> {
    [identity.attribute().to_owned()]
        .into_iter()
        .chain(query.attributes())
        .collect()
}

/// The entry under its identity; the DN alone where the identity cannot be read.
pub(crate) fn identified(raw: RawEntry, identity: &Identity) -> Result<Entry, String> {
    match identity.of(&raw) {
        Some(id) => Ok(raw.into_entry(id)),
        None => Err(raw.dn),
    }
}

/// Makes sure that the base is there: some servers answer a search below a base that does not exist with silence
/// (389-DS) or with an empty success. Of the empty base, which is the whole server, the search itself must tell.
pub(crate) async fn check_base(session: &mut Session, base: &str) -> Result<(), DirectoryError> {
    const ALIASED: &str = "aliasedObjectName";
    let request = Request {
        base,
        scope: Scope::Base,
        filter: "(objectClass=*)",
        attributes: vec![ALIASED.to_owned()],
        controls: Vec::new(),
    };
    let (entries, result) = session.collect(request, "reading the base").await?;
    let entry = match (result.rc, entries.into_iter().next()) {
        (0, _) if base.is_empty() => return Ok(()),
        (0, Some(entry)) => decode::entry(entry).map_err(|error| session.malformed("an entry", &error))?,
        (0 | 32, _) => {
            return Err(DirectoryError::NoBase {
                server: session.server().to_owned(),
                base: base.to_owned(),
            });
        }
        _ => {
            let server = session.server();
            return Err(DirectoryError::from_search_result(server, "the base", &result));
        }
    };
    match entry.values(ALIASED).next() {
        None => Ok(()),
        Some(target) => Err(DirectoryError::AliasBase {
            server: session.server().to_owned(),
            base: base.to_owned(),
            target: words(&String::from_utf8_lossy(target)),
        }),
    }
}
