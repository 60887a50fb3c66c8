//! Searches as they are made again and again: for one entry by its name, and for everything that matches, in pages.

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

/// Values that one filter asks for: it stays small, and the answer below every server's default size limit.
pub(crate) const CHUNK: usize = 50;
/// A server that says nothing for this long in the middle of a search is given up.
pub(crate) const PROGRESS: Duration = Duration::from_secs(120);
/// The filter that every entry matches.
pub(crate) const ANYTHING: &str = "(objectClass=*)";
/// In the place of attributes: none of them (RFC 4511, 4.5.1.8).
pub(crate) const NO_ATTRIBUTES: &str = "1.1";

/// A search for one entry by its name (RFC 4511, 4.5.1.2: baseObject).
pub(crate) struct BaseSearch<'a> {
    pub dn: &'a str,
    /// The entry is only there where it matches.
    pub filter: &'a str,
    pub attributes: Vec<String>,
    pub controls: Vec<RawControl>,
}

impl<'a> BaseSearch<'a> {
    /// A search for the entry, whatever it is.
    pub(crate) fn new(dn: &'a str, attributes: &[&str]) -> Self {
        Self {
            dn,
            filter: ANYTHING,
            attributes: attributes.iter().map(ToString::to_string).collect(),
            controls: Vec::new(),
        }
    }
}

/// Makes a base search. Returns the first entry of the answer, and the result, which is left to the caller.
///
/// # Errors
/// Those of the network, and an entry that cannot be read.
pub(crate) async fn base(
    session: &mut Session,
    search: BaseSearch<'_>,
    doing: &'static str,
) -> Result<(Option<RawEntry>, LdapResult), DirectoryError> {
    let (entries, result) = all_of_base(session, search, doing).await?;
    Ok((entries.into_iter().next(), result))
}

/// The same, with every entry that a server answers with: whoever does not trust it picks the one that was asked for.
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

/// Checks that the base is there: some servers answer a search below a base that does not exist with silence (389-DS) or
/// with an empty success. Of the empty base, which is the whole server, the search itself must tell.
///
/// # Errors
/// [`DirectoryError::NoBase`], or [`DirectoryError::AliasBase`] where the base is an alias.
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

/// A search of a whole subtree in pages (RFC 2696), as far as the server takes them.
pub(crate) struct PagedSearch {
    request: Subtree,
    doing: &'static str,
    pages: Pages,
    /// The page that is being read.
    page: Option<Box<Search>>,
    /// The present page has brought nothing yet.
    is_empty: bool,
    references: References,
}

/// What a search of a subtree asks for.
pub(crate) struct Subtree {
    pub base: String,
    pub filter: String,
    pub attributes: Vec<String>,
    /// Those beside the one for pages.
    pub controls: Vec<RawControl>,
}

/// What a search in pages brings.
pub(crate) enum Found {
    Entry(RawEntry),
    /// The result of the last page; nothing follows.
    Done(LdapResult),
}

impl PagedSearch {
    /// Asks for nothing yet. `page_size` is in entries.
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

    /// The next entry, or the result where there is none.
    ///
    /// # Cancellation
    /// Not safe: a page that was just asked for may be lost.
    pub(crate) async fn next(&mut self, session: &mut Session) -> Result<Found, DirectoryError> {
        loop {
            let page = match &mut self.page {
                Some(page) => page,
                None => {
                    let page = self.next_page(session).await?;
                    self.page.insert(Box::new(page))
                }
            };
            match session.next(page, PROGRESS, self.doing).await? {
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

    /// Asks for the next page, for callers that read it beside other searches.
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

    /// Takes the result of a page, of which no entry may have come; says whether another page follows.
    ///
    /// # Errors
    /// The server's control cannot be read.
    pub(crate) fn page_ended(
        &mut self,
        session: &Session,
        result: &LdapResult,
        is_empty: bool,
    ) -> Result<bool, DirectoryError> {
        self.pages
            .go_on(result, is_empty)
            .map_err(|error| session.malformed("a paging control", &error))
    }

    /// What an administrator should know of how the server treats pages.
    pub(crate) fn warning(&self, server: &str) -> Option<String> {
        self.pages.warning(server)
    }

    /// The references that all pages so far met.
    pub(crate) fn references(&self) -> &References {
        &self.references
    }
}
