//! Reads people again by identity, with the configured filter, so that the server itself decides whether they are members
//! right now.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use ldap3::Scope;
use tokio::time::Instant;

use crate::directory::DirectoryError;
use crate::directory::ldap::decode::{self, RawEntry};
use crate::directory::ldap::dn;
use crate::directory::ldap::filter::Filter;
use crate::directory::ldap::identity::Identity;
use crate::directory::ldap::request::Request;
use crate::directory::ldap::search::CHUNK;
use crate::directory::ldap::session::Session;
use crate::directory::people::query::Query;
use crate::model::{Entry, EntryId};

/// A connection that was idle for longer is not reused: servers close idle connections.
const IDLE: Duration = Duration::from_secs(30);

/// A connection that is kept for the next search for a while.
pub(crate) struct KeptConnection {
    query: Arc<Query>,
    open: Option<Session>,
    used: Instant,
}

impl KeptConnection {
    /// Nothing is contacted before the first search.
    pub(crate) fn new(query: Arc<Query>) -> Self {
        Self {
            query,
            open: None,
            used: Instant::now(),
        }
    }

    /// The connection, or a new one if it was idle for long.
    pub(crate) async fn session(&mut self) -> Result<&mut Session, DirectoryError> {
        let is_fresh = self.used.elapsed() < IDLE;
        self.used = Instant::now();
        Ok(match self.open.take().filter(|_| is_fresh) {
            Some(open) => self.open.insert(open),
            None => self.open.insert(self.query.connect().await?),
        })
    }
}

/// Reads people again, on a connection that is kept.
pub(crate) struct Lookup {
    query: Arc<Query>,
    connection: KeptConnection,
}

impl Lookup {
    /// Nothing is contacted before the first search.
    pub(crate) fn new(query: Arc<Query>) -> Self {
        Self {
            connection: KeptConnection::new(query.clone()),
            query,
        }
    }

    /// Those of `who` that are members right now.
    ///
    /// # Errors
    /// Those of the network; a group is missing, so that no one can be reported as not being a member.
    pub(crate) async fn members_among(&mut self, who: &[EntryId]) -> Result<Vec<Entry>, DirectoryError> {
        let session = self.connection.session().await?;
        members_among(session, &self.query, who).await
    }

    /// Records how far the server has replicated.
    pub(crate) async fn record_watermarks(&mut self) -> Result<(), DirectoryError> {
        let session = self.connection.session().await?;
        self.query.record_watermarks(session).await;
        Ok(())
    }

    /// The people that it looks for.
    pub(crate) fn query(&self) -> &Query {
        &self.query
    }
}

/// Those of `who` that are members right now, by searches on this connection.
///
/// # Errors
/// As [`Lookup::members_among`].
pub(crate) async fn members_among(
    session: &mut Session,
    query: &Query,
    who: &[EntryId],
) -> Result<Vec<Entry>, DirectoryError> {
    let mut found = matching(session, query, who).await?;
    if let Some(groups) = &query.groups {
        found = groups.retain_members(found, session).await?;
        if found.len() < who.len() {
            groups.verify(session).await?;
        }
    }
    Ok(found)
}

/// Those of `who` that match the filter, regardless of the groups.
async fn matching(
    session: &mut Session,
    query: &Query,
    who: &[EntryId],
) -> Result<Vec<Entry>, DirectoryError> {
    let capabilities = session.capabilities().clone();
    let identity = &capabilities.identity;
    let settings = &query.settings;
    let mut found = Vec::new();
    for chunk in who.chunks(CHUNK) {
        let mut asked: HashSet<EntryId> = chunk.iter().copied().collect();
        let any = Filter::any(chunk.iter().map(|&id| identity.filter(id)));
        let filter = settings.filter.and(any).to_string();
        let request = Request {
            base: &settings.base,
            scope: Scope::Subtree,
            filter: &filter,
            attributes: attributes(query, identity),
            controls: Vec::new(),
        };
        let (messages, result) = session.collect(request, "looking people up").await?;
        if result.rc != 0 {
            return Err(session.search_error("a look-up", &result));
        }
        let mut foreign = 0_u32;
        for message in messages {
            let raw = decode::entry(message).map_err(|error| session.malformed("an entry", &error))?;
            // Ignores entries that were not requested, and repeated ones.
            match identified(raw, identity) {
                Ok(entry)
                    if dn::is_within_in(&entry.dn, &settings.base, &query.schema)
                        && asked.remove(&entry.id) =>
                {
                    found.push(entry);
                }
                _ => foreign += 1,
            }
        }
        if foreign > 0 {
            tracing::warn!(
                directory = settings.name,
                server = session.server(),
                foreign,
                "the server answered a look-up with entries of another identity or outside the base: they are ignored"
            );
        }
    }
    Ok(found)
}

/// The attributes to request: the identity and those that decide about membership.
pub(crate) fn attributes(query: &Query, identity: &Identity) -> Vec<String> {
    [identity.attribute().to_owned()]
        .into_iter()
        .chain(query.attributes())
        .collect()
}

/// The entry with its identity. The error is the DN of an entry whose identity cannot be read.
pub(crate) fn identified(raw: RawEntry, identity: &Identity) -> Result<Entry, String> {
    match identity.of(&raw) {
        Some(id) => Ok(raw.into_entry(id)),
        None => Err(raw.dn),
    }
}
