//! Chooses the kind of stream, and says why. Pure.

use crate::directory::ldap::capabilities::{Capabilities, Family};
use crate::directory::ldap::identity::Identity;
use crate::directory::settings::StreamKind;

/// The kinds to try, the best first, each with the reason for the log.
///
/// Persistent search is preferred to content synchronisation if a server offers both: 389-DS's content synchronisation can
/// fall silent unnoticed, and that of ApacheDS loses changes. If the configuration names the attribute that identifies
/// people, only listings can be used.
pub(crate) fn candidates(
    configured: Option<StreamKind>,
    capabilities: &Capabilities,
) -> Vec<(StreamKind, &'static str)> {
    if let Identity::Attribute(_) = capabilities.identity {
        return vec![(
            StreamKind::Poll,
            "only a listing tells of people by `id_attribute`",
        )];
    }
    match configured {
        Some(kind) => vec![(kind, "the configuration asks for it")],
        None => automatic(capabilities),
    }
}

fn automatic(capabilities: &Capabilities) -> Vec<(StreamKind, &'static str)> {
    let active_directory = capabilities.family == Family::ActiveDirectory;
    let offered = [
        (
            active_directory,
            StreamKind::ActiveDirectory,
            "the server is an Active Directory domain controller",
        ),
        (
            capabilities.persistent_search && !active_directory,
            StreamKind::PersistentSearch,
            "the server offers persistent search",
        ),
        (
            capabilities.syncrepl && !active_directory,
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

    fn kinds(capabilities: &Capabilities) -> Vec<StreamKind> {
        let candidates = candidates(None, capabilities);
        candidates.into_iter().map(|(kind, _)| kind).collect()
    }

    #[test]
    fn the_best_that_a_server_offers_comes_first_and_a_poll_last() {
        use StreamKind::{ActiveDirectory, PersistentSearch, Poll, Syncrepl};
        let server = |syncrepl, persistent_search, family| Capabilities {
            syncrepl,
            persistent_search,
            family,
            ..Capabilities::default()
        };
        let by_attribute = server(true, true, Family::Other).of_people_by(Some("uidNumber"));
        for (server, best) in [
            (server(true, false, Family::Other), vec![Syncrepl, Poll]),
            (server(false, false, Family::Other), vec![Poll]),
            (
                server(true, true, Family::Sun),
                vec![PersistentSearch, Syncrepl, Poll],
            ),
            (
                server(false, false, Family::ActiveDirectory),
                vec![ActiveDirectory, Poll],
            ),
            (by_attribute, vec![Poll]),
        ] {
            assert_eq!(kinds(&server), best, "{server:?}");
        }
    }
}
