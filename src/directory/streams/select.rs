//! Which kind of stream a directory is followed by, and why: pure.

use std::fmt;

use crate::directory::ldap::root_dse::{Capabilities, Identity};
use crate::directory::settings::StreamChoice;

/// How changes are learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StreamKind {
    /// RFC 4533, refreshAndPersist: the server tells.
    Syncrepl,
    /// draft-ietf-ldapext-psearch-03: the server tells that an entry changed.
    PersistentSearch,
    /// Active Directory's change notification: the server tells that an object changed.
    ActiveDirectory,
    /// A full listing at an interval.
    Poll,
}

impl StreamKind {
    /// Whether there are changes of which servers are known not to tell.
    pub fn misses_some(self) -> bool {
        matches!(self, Self::PersistentSearch | Self::ActiveDirectory)
    }

    /// The word for it in the configuration, in `status` and in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Syncrepl => "syncrepl",
            Self::PersistentSearch => "persistent-search",
            Self::ActiveDirectory => "active-directory",
            Self::Poll => "poll",
        }
    }
}

impl fmt::Display for StreamKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The kinds to try, the best first, each with the reason for the log.
///
/// A server that offers persistent search beside content synchronisation is followed by the former: 389-DS's content
/// synchronisation can fall silent unnoticed, and that of ApacheDS loses changes. Where the configuration names the
/// attribute by which people are known, only listings tell of people by it.
pub(crate) fn candidates(choice: StreamChoice, can: &Capabilities) -> Vec<(StreamKind, &'static str)> {
    if let Identity::Attribute(_) = can.identity {
        return vec![(
            StreamKind::Poll,
            "only a listing tells of people by `id_attribute`",
        )];
    }
    let kind = match choice {
        StreamChoice::Syncrepl => StreamKind::Syncrepl,
        StreamChoice::PersistentSearch => StreamKind::PersistentSearch,
        StreamChoice::ActiveDirectory => StreamKind::ActiveDirectory,
        StreamChoice::Poll => StreamKind::Poll,
        StreamChoice::Auto => return automatic(can),
    };
    vec![(kind, "the configuration asks for it")]
}

fn automatic(can: &Capabilities) -> Vec<(StreamKind, &'static str)> {
    let active_directory = can.identity == Identity::ObjectGuid;
    let offered = [
        (
            active_directory,
            StreamKind::ActiveDirectory,
            "the server is an Active Directory domain controller",
        ),
        (
            can.persistent_search && !active_directory,
            StreamKind::PersistentSearch,
            "the server offers persistent search",
        ),
        (
            can.syncrepl && !active_directory,
            StreamKind::Syncrepl,
            "the server offers content synchronisation (RFC 4533)",
        ),
    ];
    let any = offered.iter().any(|(offered, ..)| *offered);
    let poll = if any {
        "no way in which the server offers to tell of changes worked"
    } else {
        "the server does not offer to tell of changes"
    };
    offered
        .into_iter()
        .chain([(true, StreamKind::Poll, poll)])
        .filter_map(|(offered, kind, why)| offered.then_some((kind, why)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(can: &Capabilities) -> Vec<StreamKind> {
        let candidates = candidates(StreamChoice::Auto, can);
        candidates.into_iter().map(|(kind, _)| kind).collect()
    }

    #[test]
    fn the_best_that_a_server_offers_comes_first_and_a_poll_last() {
        use StreamKind::{ActiveDirectory, PersistentSearch, Poll, Syncrepl};
        let server = |syncrepl, persistent_search, identity| Capabilities {
            syncrepl,
            persistent_search,
            paging: true,
            controller: identity == Identity::ObjectGuid,
            identity,
            extended_dn: false,
            naming_contexts: Vec::new(),
            subschema: None,
        };
        for (server, best) in [
            (server(true, false, Identity::EntryUuid), vec![Syncrepl, Poll]),
            (server(false, false, Identity::EntryUuid), vec![Poll]),
            (
                server(true, true, Identity::NsUniqueId),
                vec![PersistentSearch, Syncrepl, Poll],
            ),
            (
                server(false, false, Identity::ObjectGuid),
                vec![ActiveDirectory, Poll],
            ),
            (
                server(true, true, Identity::Attribute("uidNumber".into())),
                vec![Poll],
            ),
        ] {
            assert_eq!(kinds(&server), best, "{server:?}");
        }
    }
}
