//! The common searches: for one entry by its DN, and for all entries of a subtree, in pages.

use std::time::Duration;

use ldap3::controls::RawControl;
use ldap3::{LdapResult, Scope};

use crate::directory::DirectoryError;
use crate::directory::ldap::decode::{self, RawEntry};
use crate::directory::ldap::paging::Pages;
use crate::directory::ldap::references::References;
use crate::directory::ldap::request::{Item, Request, Search};
use crate::directory::ldap::result::one_line;
use crate::directory::ldap::session::Session;

/// The largest number of values in one filter: it stays small, and the answer below the default size limit of every server.
pub(crate) const CHUNK: usize = 50;
/// How long the server may be silent in the middle of a search.
pub(crate) const SILENCE: Duration = Duration::from_secs(120);
/// The filter that every entry matches.
pub(crate) const ANYTHING: &str = "(objectClass=*)";
/// Requests no attributes (RFC 4511, 4.5.1.8).
pub(crate) const NO_ATTRIBUTES: &str = "1.1";

/// A search for one entry by its DN (RFC 4511, 4.5.1.2: baseObject).
pub(crate) struct BaseSearch<'a> {
    pub dn: &'a str,
    /// The entry is returned only if it matches.
    pub filter: &'a str,
    pub attributes: Vec<String>,
    pub controls: Vec<RawControl>,
}

impl<'a> BaseSearch<'a> {
    /// A search for the entry without a condition.
    pub(crate) fn new(dn: &'a str, attributes: &[&str]) -> Self {
        Self {
            dn,
            filter: ANYTHING,
            attributes: attributes.iter().map(ToString::to_string).collect(),
            controls: Vec::new(),
        }
    }
}

/// Makes a base search. Returns the first entry of the answer, and the result, which may be a failure.
///
/// # Errors
/// Those of the network, and a malformed entry.
pub(crate) async fn base(
    session: &mut Session,
    search: BaseSearch<'_>,
    doing: &'static str,
) -> Result<(Option<RawEntry>, LdapResult), DirectoryError> {
    let (entries, result) = all_of_base(session, search, doing).await?;
    Ok((entries.into_iter().next(), result))
}

/// As [`base`], but returns all entries of the answer, for callers that check which one the server was asked for.
pub(crate) async fn all_of_base(
    session: &mut Session,
    search: BaseSearch<'_>,
    doing: &'static str,
) -> Result<(Vec<RawEntry>, LdapResult), DirectoryError> {
    let request = Request {
        base: search.dn,
        scope: Scope::Base,
        filter: search.filter,
        attributes: search.attributes,
        controls: search.controls,
    };
    let (messages, result) = session.collect(request, doing).await?;
    let entries = messages
        .into_iter()
        .filter(|message| !message.is_intermediate())
        .map(decode::entry)
        .collect::<Result<_, _>>()
        .map_err(|error| session.malformed("an entry", &error))?;
    Ok((entries, result))
}

/// Checks that the base exists: some servers do not answer a search below a base that does not exist (389-DS), or answer it
/// with success and no entries. The empty base, which is the whole server, always passes.
///
/// # Errors
/// [`DirectoryError::NoBase`], or [`DirectoryError::AliasBase`] if the base is an alias.
pub(crate) async fn check_base(session: &mut Session, dn: &str) -> Result<(), DirectoryError> {
    const ALIASED: &str = "aliasedObjectName";
    let request = BaseSearch::new(dn, &[ALIASED]);
    let (entry, result) = base(session, request, "reading the base").await?;
    let entry = match (result.rc, entry) {
        (0, _) if dn.is_empty() => return Ok(()),
        (0, Some(entry)) => entry,
        (0 | 32, _) => {
            return Err(DirectoryError::NoBase {
                server: session.server().to_owned(),
                base: dn.to_owned(),
            });
        }
        _ => return Err(session.search_error("the base", &result)),
    };
    match entry.values(ALIASED).next() {
        None => Ok(()),
        Some(target) => Err(DirectoryError::AliasBase {
            server: session.server().to_owned(),
            base: dn.to_owned(),
            target: one_line(&String::from_utf8_lossy(target)),
        }),
    }
}

/// A search of a subtree in pages (RFC 2696), if the server accepts them.
pub(crate) struct PagedSearch {
    request: Subtree,
    doing: &'static str,
    pages: Pages,
    /// The current page.
    page: Option<Box<Search>>,
    /// Whether the current page has had no entry yet.
    is_empty: bool,
    references: References,
}

/// The request of a search of a subtree.
pub(crate) struct Subtree {
    pub base: String,
    pub filter: String,
    pub attributes: Vec<String>,
    /// The controls besides the one for pages.
    pub controls: Vec<RawControl>,
}

/// One item of a search in pages.
pub(crate) enum Found {
    Entry(RawEntry),
    /// The result of the last page; nothing follows.
    Done(LdapResult),
}

impl PagedSearch {
    /// Prepares a search; nothing is sent yet. `page_size` is in entries.
    pub(crate) fn new(session: &Session, request: Subtree, page_size: u32, doing: &'static str) -> Self {
        Self {
            request,
            doing,
            pages: Pages::new(session.capabilities().paging, page_size),
            page: None,
            is_empty: true,
            references: References::default(),
        }
    }

    /// The next entry, or the result after the last one.
    ///
    /// # Cancellation
    /// Not safe: a page that was just requested may be lost.
    pub(crate) async fn next(&mut self, session: &mut Session) -> Result<Found, DirectoryError> {
        loop {
            let page = match &mut self.page {
                Some(page) => page,
                None => {
                    let page = self.next_page(session).await?;
                    self.page.insert(Box::new(page))
                }
            };
            match session.next(page, SILENCE, self.doing).await? {
                Item::Message(message) if message.is_intermediate() => {}
                Item::Message(message) => {
                    let entry =
                        decode::entry(message).map_err(|error| session.malformed("an entry", &error))?;
                    self.is_empty = false;
                    return Ok(Found::Entry(entry));
                }
                Item::Done(result) => {
                    if let Some(page) = self.page.take() {
                        self.references.add(page.references());
                    }
                    let is_empty = std::mem::replace(&mut self.is_empty, true);
                    if !self.page_ended(session, &result, is_empty)? {
                        return Ok(Found::Done(result));
                    }
                }
            }
        }
    }

    /// Requests the next page, for callers that read it beside other searches.
    pub(crate) async fn next_page(&mut self, session: &mut Session) -> Result<Search, DirectoryError> {
        let mut controls: Vec<RawControl> = self.pages.control().into_iter().collect();
        controls.extend(self.request.controls.iter().cloned());
        let request = Request {
            base: &self.request.base,
            scope: Scope::Subtree,
            filter: &self.request.filter,
            attributes: self.request.attributes.clone(),
            controls,
        };
        session.search(request).await
    }

    /// Handles the result of a page; `is_empty` says that the page had no entry. Returns whether another page follows.
    ///
    /// # Errors
    /// The server's control is malformed.
    pub(crate) fn page_ended(
        &mut self,
        session: &Session,
        result: &LdapResult,
        is_empty: bool,
    ) -> Result<bool, DirectoryError> {
        self.pages
            .page_ended(result, is_empty)
            .map_err(|error| session.malformed("a paging control", &error))
    }

    /// A warning for the administrator if the server refused pages.
    pub(crate) fn warning(&self, server: &str) -> Option<String> {
        self.pages.warning(server)
    }

    /// The references of all pages so far.
    pub(crate) fn references(&self) -> &References {
        &self.references
    }
}
