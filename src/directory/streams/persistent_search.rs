//! Persistent search (draft-ietf-ldapext-psearch-03): 389-DS, and every server that descends from Sun's or imitates it.
//!
//! No server reports that an entry ceased to match the filter or was moved out of the base, and ApacheDS compares filter and
//! base with the entry as it was before. So the search asks for the identities of all entries that change in the naming
//! context of the base. Each identity is a hint: `refetch` reads the entry with the configured filter.
//!
//! # Guarantees
//! Hints begin before [`open`] returns, and so before the listing: the server does not confirm a persistent search, but it
//! handles the requests of a connection in order, and a base search follows. While nothing changes, the same base search
//! checks every ten seconds that the connection is alive.
//!
//! # Assumptions
//! The account may read the entry of the naming context, and the identity of entries outside the base. If it may not, only
//! the audit finds people who are moved out of the base.
//!
//! # Caveats
//! - Every change in the naming context costs a share of a look-up: a failed bind, a counter of an application, a host that
//!   registers. Changes of the same entry that arrive together count once, and fifty entries are looked up at a time.
//! - A session cannot resume: each one begins with a full listing.
//! - The search ends by closing the connection, because not every server obeys an abandon. It is never combined with paging,
//!   which ends it, or with content synchronisation, which has crashed 389-DS.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt};
use ldap3::controls::RawControl;
use ldap3::{LdapResult, ResultEntry, Scope};
use tokio::time::Instant;

use crate::directory::DirectoryError;
use crate::directory::ldap::capabilities::PERSISTENT_SEARCH;
use crate::directory::ldap::decode;
use crate::directory::ldap::decode::ENTRY_CHANGE;
use crate::directory::ldap::identity::Identity;
use crate::directory::ldap::request::{Item, Request, Search};
use crate::directory::ldap::result::one_line;
use crate::directory::ldap::root_dse;
use crate::directory::ldap::search::{ANYTHING, check_base};
use crate::directory::ldap::session::{Session, unless_busy};
use crate::directory::people::query::Query;
use crate::directory::streams::refetch::{Hint, Hints};
use crate::foreign;

/// While nothing changes, the connection is probed at this interval; the answer may take 15 s.
const PROBE_INTERVAL: Duration = Duration::from_secs(10);

/// Opens the search for people.
pub(crate) async fn open(mut session: Session, query: &Arc<Query>) -> Result<Hints, DirectoryError> {
    if !session.capabilities().persistent_search {
        return Err(DirectoryError::Unsupported {
            server: session.server().to_owned(),
            cause: "the server does not offer persistent search; set `stream = \"auto\"`".into(),
        });
    }
    let base = widest(&mut session, query).await?;
    watch(session, &base, ANYTHING).await
}

/// Opens hints at the changes of entries below `base` that match `filter`, on a connection of its own.
pub(crate) async fn hints(query: &Query, base: &str, filter: &str) -> Result<Hints, DirectoryError> {
    watch(query.connect().await?, base, filter).await
}

/// The naming context of the base if the account may read it, or else the base.
async fn widest(session: &mut Session, query: &Query) -> Result<String, DirectoryError> {
    let capabilities = session.capabilities().clone();
    let Some(context) = capabilities.context_of(&query.settings.base) else {
        return Ok(query.settings.base.clone());
    };
    match check_base(session, context).await {
        Ok(()) => Ok(context.to_owned()),
        Err(DirectoryError::NoBase { .. } | DirectoryError::Refused { .. }) => {
            tracing::info!(
                directory = query.settings.name,
                context = foreign::shown(context),
                "the account may not read the naming context: only the audit finds people who are moved out of the base"
            );
            Ok(query.settings.base.clone())
        }
        Err(error) => Err(error),
    }
}

/// Opens hints at the changes of entries below `base` that match `filter`, as the server understands it.
async fn watch(mut session: Session, base: &str, filter: &str) -> Result<Hints, DirectoryError> {
    let identity = session.capabilities().identity.clone();
    let request = Request {
        base,
        scope: Scope::Subtree,
        filter,
        attributes: vec![identity.attribute().to_owned()],
        controls: vec![control()],
    };
    let search = session.search(request).await?;
    let mut watch = PersistentSearch {
        session,
        search,
        identity,
        confirmed: false,
    };
    unless_busy(root_dse::probe(&mut watch.session).await)?;
    // If the server refuses the search, its answer has arrived by now.
    let first = match watch.receive(Duration::ZERO).await {
        Err(DirectoryError::Silent { .. }) => None,
        received => received?,
    };
    let rest = stream::try_unfold(watch, |mut watch| async {
        Ok(Some((watch.next().await?, watch)))
    });
    Ok(stream::iter(first.map(Ok)).chain(rest).boxed())
}

/// Every kind of change (1 + 2 + 4 + 8), changes only, each with an Entry Change Notification. Critical: a server that
/// does not know the control would answer with an ordinary search.
fn control() -> RawControl {
    RawControl {
        ctype: PERSISTENT_SEARCH.to_owned(),
        crit: true,
        val: Some(vec![
            0x30, 0x09, 0x02, 0x01, 0x0f, 0x01, 0x01, 0xff, 0x01, 0x01, 0xff,
        ]),
    }
}

struct PersistentSearch {
    session: Session,
    search: Search,
    identity: Identity,
    /// Whether the search has reported a change or stayed open for a while.
    confirmed: bool,
}

impl PersistentSearch {
    async fn next(&mut self) -> Result<Hint, DirectoryError> {
        let began = Instant::now();
        loop {
            match self.receive(PROBE_INTERVAL).await {
                Ok(Some(hint)) => return Ok(hint),
                // A server that sends messages without a change is alive.
                Ok(None) if began.elapsed() >= PROBE_INTERVAL => return Ok(Hint::Alive),
                Ok(None) => {}
                Err(DirectoryError::Silent { .. }) => {
                    unless_busy(root_dse::probe(&mut self.session).await)?;
                    self.confirmed = true;
                    return Ok(Hint::Alive);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Receives one message; `None` if it holds no change.
    async fn receive(&mut self, silence: Duration) -> Result<Option<Hint>, DirectoryError> {
        match self
            .session
            .next_change(&mut self.search, silence, "waiting for changes")
            .await?
        {
            Item::Message(message) if message.is_intermediate() => Ok(None),
            Item::Message(message) => self.hint(message),
            Item::Done(result) => Err(self.ended(&result)),
        }
    }

    fn hint(&mut self, message: ResultEntry) -> Result<Option<Hint>, DirectoryError> {
        let Some(value) = decode::control(&message.1, ENTRY_CHANGE) else {
            return Err(self.unsupported("the server answers a persistent search with plain entries"));
        };
        let change = decode::entry_change(value)
            .map_err(|error| self.session.malformed("an Entry Change Notification", &error))?;
        self.confirmed = true;
        let raw = decode::entry(message).map_err(|error| self.session.malformed("an entry", &error))?;
        let id = self.identity.of(&raw);
        tracing::trace!(dn = raw.dn, ?change, ?id, "an entry changed");
        if id.is_none() {
            // A listing could not name such an entry either.
            tracing::debug!(dn = raw.dn, identity = %self.identity, "an entry without a readable identity changed");
        }
        Ok(id.map(Hint::Changed))
    }

    /// The error for the result of the search: a persistent search never ends by itself.
    fn ended(&self, result: &LdapResult) -> DirectoryError {
        /// busy and unavailable: it may work at another time.
        const NOT_NOW: [u32; 2] = [51, 52];
        let server = self.session.server();
        if self.confirmed || NOT_NOW.contains(&result.rc) {
            return match result.rc {
                0 => DirectoryError::Broken {
                    server: server.to_owned(),
                    cause: "ended the persistent search".into(),
                },
                _ => self.session.search_error("the persistent search", result),
            };
        }
        let text = one_line(&result.text);
        let colon = if text.is_empty() { "" } else { ": " };
        self.unsupported(&format!(
            "the server offers persistent search and ended it at once (result {}{colon}{text})",
            result.rc
        ))
    }

    fn unsupported(&self, cause: &str) -> DirectoryError {
        DirectoryError::Unsupported {
            server: self.session.server().to_owned(),
            cause: format!("{cause}; let the bind account use it, or set `stream = \"poll\"`"),
        }
    }
}
