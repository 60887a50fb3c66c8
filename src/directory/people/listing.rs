//! A full listing, in pages if the server supports them (RFC 2696). It works on every server.

use std::collections::HashSet;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream;
use ldap3::LdapResult;

use crate::directory::ldap::decode::RawEntry;
use crate::directory::ldap::dn;
use crate::directory::ldap::identity::Identity;
use crate::directory::ldap::search::{Found, PagedSearch, Subtree, check_base};
use crate::directory::ldap::session::Session;
use crate::directory::people::lookup::{self, attributes, identified};
use crate::directory::people::query::Query;
use crate::directory::people::warnings::{Topic, references_warning};
use crate::directory::{Changes, DirectoryError};
use crate::foreign;
use crate::model::{Change, Entry, EntryId, Listing};

/// The largest number of identities that are remembered, which need about 40 MiB.
const MAX_IDENTITIES: usize = 1_800_000;

const DOING: &str = "listing";

/// Starts a listing on a connection of its own.
pub(crate) async fn open(query: Arc<Query>) -> Result<Changes, DirectoryError> {
    let session = query.connect().await?;
    open_on(session, query).await
}

/// Starts a listing on this connection. Reads the groups on which it depends first.
///
/// # Errors
/// Those of the network; the base or a group is missing.
pub(crate) async fn open_on(mut session: Session, query: Arc<Query>) -> Result<Changes, DirectoryError> {
    query.record_watermarks(&mut session).await;
    check_base(&mut session, &query.settings.base).await?;
    if let Some(groups) = &query.groups {
        groups.look(&mut session, &query.settings).await?;
    }
    let identity = session.capabilities().identity.clone();
    let subtree = Subtree {
        base: query.settings.base.clone(),
        filter: query.settings.filter.to_string(),
        attributes: attributes(&query, &identity),
        controls: Vec::new(),
    };
    let listing = ListingStream {
        search: PagedSearch::new(&session, subtree, query.settings.page_size.get(), DOING),
        query,
        session,
        identity,
        state: State::Begin,
        seen: HashSet::new(),
        unidentified: None,
        outside: None,
    };
    Ok(stream::try_unfold(listing, |mut listing| async {
        Ok(listing.next().await?.map(|change| (change, listing)))
    })
    .boxed())
}

struct ListingStream {
    query: Arc<Query>,
    session: Session,
    identity: Identity,
    state: State,
    search: PagedSearch,
    /// The identities so far, if the configuration names the attribute, because then nothing else ensures that they differ.
    /// Only in this case memory grows with the directory, by about twenty bytes per person.
    seen: HashSet<EntryId>,
    /// The number of entries without a readable identity of their own, and the DN of the first.
    unidentified: Option<(u64, String)>,
    /// The number of entries outside the base, and the DN of the first.
    outside: Option<(u64, String)>,
}

enum State {
    Begin,
    Reading,
    /// These people are reported as gone, and then the listing ends.
    Gone(Vec<EntryId>, Listing),
    End,
}

impl ListingStream {
    async fn next(&mut self) -> Result<Option<Change>, DirectoryError> {
        loop {
            match &mut self.state {
                State::Begin => {
                    self.state = State::Reading;
                    return Ok(Some(Change::ListingBegin));
                }
                State::Reading => match self.search.next(&mut self.session).await? {
                    Found::Entry(raw) => {
                        if let Some(entry) = self.take(raw)? {
                            return Ok(Some(Change::Upsert(entry)));
                        }
                    }
                    Found::Done(result) => {
                        self.warn();
                        let gone = self.former_members().await?;
                        self.state = State::Gone(gone, self.outcome(&result));
                    }
                },
                State::Gone(gone, listing) => {
                    if let Some(id) = gone.pop() {
                        return Ok(Some(Change::Gone(id)));
                    }
                    let listing = listing.clone();
                    self.state = State::End;
                    return Ok(Some(Change::ListingEnd(listing)));
                }
                State::End => return Ok(None),
            }
        }
    }

    /// Converts an entry to a member; `None` if it is none.
    fn take(&mut self, raw: RawEntry) -> Result<Option<Entry>, DirectoryError> {
        if !dn::is_within(&raw.dn, &self.query.settings.base) {
            self.outside.get_or_insert((0, foreign::shown(&raw.dn))).0 += 1;
            return Ok(None);
        }
        if self.seen.len() > MAX_IDENTITIES {
            let received = format!("{MAX_IDENTITIES} entries, whose `id_attribute` has to be remembered");
            return Err(self.session.endless(DOING, received));
        }
        Ok(match self.identified(raw) {
            Ok(entry) => Some(entry).filter(|entry| self.query.admits(entry)),
            Err(dn) => {
                self.unidentified.get_or_insert((0, foreign::shown(&dn))).0 += 1;
                None
            }
        })
    }

    /// The entry with an identity of its own. The error is the DN of an entry without one.
    fn identified(&mut self, raw: RawEntry) -> Result<Entry, String> {
        let entry = identified(raw, &self.identity)?;
        match self.identity {
            Identity::Attribute(_) if !self.seen.insert(entry.id) => Err(entry.dn),
            _ => Ok(entry),
        }
    }

    /// People who may have been listed by the former state of the groups and are no longer members.
    async fn former_members(&mut self) -> Result<Vec<EntryId>, DirectoryError> {
        let Some(groups) = self.query.groups.as_ref().filter(|groups| groups.restrict()) else {
            return Ok(Vec::new());
        };
        let session = &mut self.session;
        let mut candidates = groups.read_again(session, &self.query.settings).await?;
        let members = lookup::members_among(session, &self.query, &candidates).await?;
        let members: HashSet<EntryId> = members.into_iter().map(|entry| entry.id).collect();
        candidates.retain(|id| !members.contains(id));
        Ok(candidates)
    }

    /// Records the warnings of this listing.
    fn warn(&self) {
        let server = self.session.server();
        self.query.warn(Topic::Pages, self.search.warning(server));
        let references = references_warning(server, self.search.references());
        self.query.warn(Topic::References, references);
    }

    /// The end of the listing. It is complete only after success, and if all entries had an identity.
    fn outcome(&self, result: &LdapResult) -> Listing {
        if result.rc != 0 {
            let server = self.session.server();
            let error = match result.rc {
                32 => DirectoryError::NoBase {
                    server: server.to_owned(),
                    base: self.query.settings.base.clone(),
                },
                _ => self.session.search_error("the listing", result),
            };
            return Listing::Partial(error.to_string());
        }
        if let Some((count, first)) = &self.outside {
            return Listing::Partial(format!(
                "{}: {count} entries came that are not below {}, such as {first}: they are ignored; correct `base_dn`",
                self.session.server(),
                self.query.settings.base
            ));
        }
        match &self.unidentified {
            None => Listing::Complete,
            Some((count, first)) => Listing::Partial(format!(
                "{}: {count} entries came without a readable {} of their own, the first of them {first}; {}",
                self.session.server(),
                self.identity,
                self.identity.remedy()
            )),
        }
    }
}
