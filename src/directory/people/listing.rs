//! A full listing, in pages where the server can (RFC 2696): baseline and fallback on every server.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use ldap3::{LdapResult, Scope};

use crate::directory::ldap::decode;
use crate::directory::ldap::decode::RawEntry;
use crate::directory::ldap::dn;
use crate::directory::ldap::paging::Pages;
use crate::directory::ldap::references::References;
use crate::directory::ldap::root_dse;
use crate::directory::ldap::root_dse::{Capabilities, Identity};
use crate::directory::ldap::session::{Item, Request, Search, Session};
use crate::directory::people::lookup;
use crate::directory::people::lookup::{attributes, check_base, identified};
use crate::directory::people::query::Query;
use crate::directory::people::warnings::{Topic, references_warning};
use crate::directory::{Changes, DirectoryError};
use crate::foreign;
use crate::model::{Change, Entry, EntryId, Listing};

/// A server that says nothing for this long in the middle of a listing is given up.
pub(crate) const PROGRESS: Duration = Duration::from_secs(120);

/// The identities that are remembered to tell them apart: so many take some forty MiB.
const MOST: usize = 1_800_000;

/// Starts a listing on a connection of its own. Groups on which it depends are looked at first.
pub(crate) async fn open(query: Arc<Query>) -> Result<Changes, DirectoryError> {
    let mut session = query.connect().await?;
    let capabilities = root_dse::capabilities(&mut session, &query).await?;
    query.record_watermarks(&mut session).await;
    check_base(&mut session, &query.base).await?;
    if let Some(groups) = &query.groups {
        groups.look(&mut session, &capabilities, &query).await?;
    }
    let listing = ListingStream {
        pages: Pages::new(&capabilities, query.page_size),
        query,
        session,
        capabilities,
        state: State::Begin,
        empty: true,
        references: References::default(),
        taken: HashSet::new(),
        unidentified: None,
        foreign: None,
    };
    Ok(stream::try_unfold(listing, |mut listing| async {
        Ok(listing.next().await?.map(|change| (change, listing)))
    })
    .boxed())
}

struct ListingStream {
    query: Arc<Query>,
    session: Session,
    capabilities: Capabilities,
    state: State,
    pages: Pages,
    /// The present page brought nothing yet.
    empty: bool,
    /// Those that the pages before met.
    references: References,
    /// Identities that were met, where nobody but the configuration vouches for their being different: only there does
    /// memory grow with the directory, by some twenty bytes a person.
    taken: HashSet<EntryId>,
    /// How many entries had no readable identity of their own, and the first of them.
    unidentified: Option<(u64, String)>,
    /// How many entries lay outside of the base, and the first of them.
    foreign: Option<(u64, String)>,
}

enum State {
    Begin,
    /// The next page is to be asked for.
    Page,
    Reading(Box<Search>),
    /// Those are told to be gone, and then the end.
    Gone(Vec<EntryId>, Listing),
    End,
}

impl ListingStream {
    async fn next(&mut self) -> Result<Option<Change>, DirectoryError> {
        loop {
            match &mut self.state {
                State::Begin => {
                    self.state = State::Page;
                    return Ok(Some(Change::ListingBegin));
                }
                State::Page => {
                    self.empty = true;
                    self.state = State::Reading(Box::new(self.request().await?));
                }
                State::Reading(search) => match self.session.next(search, PROGRESS, "listing").await? {
                    Item::Message(message) if message.is_intermediate() => {}
                    Item::Message(message) => {
                        self.empty = false;
                        let raw = decode::entry(message)
                            .map_err(|error| self.session.malformed("an entry", &error))?;
                        if !dn::is_within(&raw.dn, &self.query.base) {
                            self.foreign.get_or_insert((0, foreign::shown(&raw.dn))).0 += 1;
                            continue;
                        }
                        if self.taken.len() > MOST {
                            let came = format!("{MOST} entries, whose `id_attribute` has to be remembered");
                            return Err(self.session.endless("listing", came));
                        }
                        match self.identified(raw) {
                            Ok(entry) if self.query.admits(&entry) => {
                                return Ok(Some(Change::Upsert(entry)));
                            }
                            Ok(_) => {}
                            Err(dn) => self.unidentified.get_or_insert((0, foreign::shown(&dn))).0 += 1,
                        }
                    }
                    Item::Done(result) => {
                        self.references.add(search.references());
                        if self.pages.go_on(&self.session, &result, self.empty)? {
                            self.state = State::Page;
                        } else {
                            self.remark();
                            let gone = self.no_members_any_more().await?;
                            self.state = State::Gone(gone, self.verdict(&result));
                        }
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

    /// The entry under an identity of its own; the DN alone where it has none.
    fn identified(&mut self, raw: RawEntry) -> Result<Entry, String> {
        let identity = &self.capabilities.identity;
        let entry = identified(raw, identity)?;
        match identity {
            Identity::Attribute(_) if !self.taken.insert(entry.id) => Err(entry.dn),
            _ => Ok(entry),
        }
    }

    /// Who may have been listed by what was known of the groups before, and is no member by what they are now.
    async fn no_members_any_more(&mut self) -> Result<Vec<EntryId>, DirectoryError> {
        let Some(groups) = self.query.groups.as_ref().filter(|groups| groups.restrict()) else {
            return Ok(Vec::new());
        };
        let (session, can) = (&mut self.session, &self.capabilities);
        let mut doubtful = groups.read_again(session, can, &self.query).await?;
        let members = lookup::members_among(session, can, &self.query, &doubtful).await?;
        let members: HashSet<EntryId> = members.into_iter().map(|entry| entry.id).collect();
        doubtful.retain(|id| !members.contains(id));
        Ok(doubtful)
    }

    async fn request(&mut self) -> Result<Search, DirectoryError> {
        let filter = self.query.filter.to_string();
        let request = Request {
            base: &self.query.base,
            scope: Scope::Subtree,
            filter: &filter,
            attributes: attributes(&self.query, &self.capabilities.identity),
            controls: self.pages.controls(),
        };
        self.session.search(request).await
    }

    /// Says what was noticed beside the people.
    fn remark(&self) {
        let server = self.session.server();
        self.query.remark(Topic::Pages, self.pages.remark(server));
        self.query
            .remark(Topic::References, references_warning(server, &self.references));
    }

    /// Only a success with every entry identified is a complete listing.
    fn verdict(&self, result: &LdapResult) -> Listing {
        if result.rc != 0 {
            let server = self.session.server();
            let error = match result.rc {
                32 => DirectoryError::NoBase {
                    server: server.to_owned(),
                    base: self.query.base.clone(),
                },
                _ => DirectoryError::from_search_result(server, "the listing", result),
            };
            return Listing::Partial(error.to_string());
        }
        if let Some((count, first)) = &self.foreign {
            return Listing::Partial(format!(
                "{}: {count} entries came that do not lie below {}, the first of them {first}: they are passed over; correct `base_dn`",
                self.session.server(),
                self.query.base
            ));
        }
        match &self.unidentified {
            None => Listing::Complete,
            Some((count, first)) => Listing::Partial(format!(
                "{}: {count} entries came without a readable {} of their own, the first of them {first}; {}",
                self.session.server(),
                self.capabilities.identity,
                self.capabilities.identity.remedy()
            )),
        }
    }
}
