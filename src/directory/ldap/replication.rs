//! How far a server has replicated, compared with what this service has seen: on a server that is behind the others, people
//! who joined since would look as if they had left.
//!
//! Each kind of server shows watermarks that only rise: the latest change of each provider (OpenLDAP's contextCSN, as in the
//! cookie of a sync search; the RUV of a 389-DS replica), or the latest change of one database (Active Directory's
//! highestCommittedUSN, the lastChangeNumber of a changelog). Watermarks are compared only with those of the same provider
//! or database. A server without watermarks never counts as behind.

use std::collections::BTreeMap;
use std::fmt;

use ldap3::controls::{RefreshMode, SyncRequest};
use ldap3::{LdapResult, ResultEntry, Scope};

use crate::ber::{self, Reader};
use crate::directory::DirectoryError;
use crate::directory::ldap::capabilities::Family;
use crate::directory::ldap::decode;
use crate::directory::ldap::decode::RawEntry;
use crate::directory::ldap::domain_controller::{self, Position};
use crate::directory::ldap::filter::Filter;
use crate::directory::ldap::request::Request;
use crate::directory::ldap::root_dse;
use crate::directory::ldap::search::{self, BaseSearch, NO_ATTRIBUTES};
use crate::directory::ldap::session::Session;
use crate::model::{Cursor, EntryId};

/// The Sync Done Control (RFC 4533, 2.4).
const SYNC_DONE: &str = "1.3.6.1.4.1.4203.1.9.1.3";
/// The largest number of providers of one server, far more than real ones have.
const PROVIDERS: usize = 1000;

/// The origin of the changes that a watermark counts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Origin {
    /// An OpenLDAP provider, by its server id.
    Sid(String),
    /// A 389-DS replica, by its number.
    Replica(String),
    /// The database of a domain controller.
    Invocation(EntryId),
    /// The changelog of one server.
    Changelog(String),
}

impl Origin {
    /// Whether a server that has watermarks of this kind, but not of this origin, lacks all its changes.
    fn is_known_to_all(&self) -> bool {
        matches!(self, Self::Sid(_) | Self::Replica(_))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sid(sid) => write!(f, "the provider with the server id {sid}"),
            Self::Replica(number) => write!(f, "the replica {number}"),
            Self::Invocation(id) => write!(f, "the database {id}"),
            Self::Changelog(_) => f.write_str("its changelog"),
        }
    }
}

/// The latest change.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Watermark {
    Number(u64),
    /// A change sequence number, which begins with its time.
    Csn(String),
}

impl fmt::Display for Watermark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Csn(csn) => f.write_str(csn),
        }
    }
}

/// How far a server has replicated.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Watermarks(BTreeMap<Origin, Watermark>);

impl Watermarks {
    /// The watermarks that a resume point covers.
    pub(crate) fn of_cursor(cursor: &Cursor) -> Self {
        match Position::parse(cursor) {
            Some(point) => Self::of_controller(point),
            None => Self::of_cookie(&cursor.0),
        }
    }

    fn of_controller(Position { invocation, usn }: Position) -> Self {
        Self::one(Origin::Invocation(invocation), Watermark::Number(usn))
    }

    /// The watermarks in a cookie of slapd: `rid=000,csn=TIME#COUNT#SID#MOD;TIME#COUNT#SID#MOD`.
    fn of_cookie(cookie: &[u8]) -> Self {
        let text = str::from_utf8(cookie).unwrap_or_default();
        let list = text.split(',').find_map(|part| part.strip_prefix("csn="));
        let csns = list.into_iter().flat_map(|list| list.split(';'));
        let marks = csns.filter_map(|csn| {
            let sid = csn.split('#').nth(2)?;
            Some((Origin::Sid(sid.to_owned()), Watermark::Csn(csn.to_owned())))
        });
        Self(marks.take(PROVIDERS).collect())
    }

    /// The watermarks in a replica update vector of 389-DS: `{replica 1 ldap://host:389} MIN MAX`.
    fn of_vector<'a>(values: impl Iterator<Item = &'a [u8]>) -> Self {
        let marks = values.filter_map(|value| {
            let (replica, csns) = str::from_utf8(value)
                .ok()?
                .strip_prefix("{replica ")?
                .split_once('}')?;
            let number = replica.split(' ').next()?;
            let latest = csns.split_whitespace().nth(1)?;
            Some((
                Origin::Replica(number.to_owned()),
                Watermark::Csn(latest.to_ascii_lowercase()),
            ))
        });
        Self(marks.take(PROVIDERS).collect())
    }

    fn one(origin: Origin, mark: Watermark) -> Self {
        Self(BTreeMap::from([(origin, mark)]))
    }

    /// Raises each watermark to that of `others` if it is later.
    pub(crate) fn raise(&mut self, others: Self) {
        for (origin, mark) in others.0 {
            let known = self.0.entry(origin).or_insert_with(|| mark.clone());
            if *known < mark {
                *known = mark;
            }
        }
        while self.0.len() > PROVIDERS {
            self.0.pop_first();
        }
    }

    /// Describes how a server with these watermarks is behind what was seen; `None` if it is not known to be behind.
    pub(crate) fn behind(&self, seen: &Self) -> Option<String> {
        seen.0
            .iter()
            .find_map(|(origin, latest)| match self.0.get(origin) {
                Some(mark) if mark < latest => Some(format!(
                    "its latest change of {origin} is {mark}, and {latest} was seen"
                )),
                None if origin.is_known_to_all() && self.knows_of_others_like(origin) => {
                    Some(format!("it knows no change of {origin}, and {latest} was seen"))
                }
                _ => None,
            })
    }

    fn knows_of_others_like(&self, origin: &Origin) -> bool {
        let kind = std::mem::discriminant(origin);
        self.0.keys().any(|other| std::mem::discriminant(other) == kind)
    }
}

/// Reads how far the server has replicated the tree that holds `base`.
///
/// # Errors
/// Those of the network. If the server refuses to show a watermark, it is left out.
pub(crate) async fn read(session: &mut Session, base: &str) -> Result<Watermarks, DirectoryError> {
    let capabilities = session.capabilities().clone();
    let mut marks = match capabilities.family {
        Family::ActiveDirectory => {
            let position = domain_controller::position(session, base).await?;
            return Ok(position.map_or_else(Watermarks::default, Watermarks::of_controller));
        }
        Family::Sun => vector(session, base).await?,
        _ if capabilities.syncrepl => cookie(session, base).await?,
        _ => Watermarks::default(),
    };
    if marks == Watermarks::default()
        && let Some((_, last @ 1..)) = root_dse::change_numbers(session).await?
    {
        let changelog = Origin::Changelog(session.server().to_owned());
        marks = Watermarks::one(changelog, Watermark::Number(last));
    }
    Ok(marks)
}

/// The watermarks of slapd, from the end of a sync search for the base alone. This needs no right to read contextCSN.
async fn cookie(session: &mut Session, base: &str) -> Result<Watermarks, DirectoryError> {
    let sync = SyncRequest {
        mode: RefreshMode::RefreshOnly,
        cookie: None,
        reload_hint: false,
    };
    let request = BaseSearch {
        controls: vec![decode::critical(sync)],
        ..BaseSearch::new(base, &[NO_ATTRIBUTES])
    };
    let (_, result) = search::base(session, request, "reading the latest change").await?;
    Ok(of_sync_done(&result).unwrap_or_default())
}

fn of_sync_done(result: &LdapResult) -> Option<Watermarks> {
    let value = decode::control(&result.ctrls, SYNC_DONE)?;
    let contents = Reader::new(value).expect(ber::SEQUENCE, "is no sequence").ok()?;
    let cookie = Reader::new(contents).optional(ber::OCTET_STRING).ok()??;
    Some(Watermarks::of_cookie(cookie))
}

/// The watermarks of 389-DS, from the entry with the update vector of a replica, if the account may read it.
async fn vector(session: &mut Session, base: &str) -> Result<Watermarks, DirectoryError> {
    let capabilities = session.capabilities().clone();
    let Some(context) = capabilities.context_of(base) else {
        return Ok(Watermarks::default());
    };
    let filter = Filter::equal("nsUniqueId", "ffffffff-ffffffff-ffffffff-ffffffff");
    let filter = filter
        .and(Filter::equal("objectClass", "nstombstone"))
        .to_string();
    let request = Request {
        base: context,
        scope: Scope::Subtree,
        filter: &filter,
        attributes: vec!["nsds50ruv".to_owned()],
        controls: Vec::new(),
    };
    let (entries, _) = session.collect(request, "reading the latest change").await?;
    let entry = entries.into_iter().find_map(entry).unwrap_or_default();
    Ok(Watermarks::of_vector(entry.values("nsds50ruv")))
}

fn entry(message: ResultEntry) -> Option<RawEntry> {
    let is_entry = !message.is_ref() && !message.is_intermediate();
    is_entry.then(|| decode::entry(message).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slapd(cookie: &str) -> Watermarks {
        Watermarks::of_cookie(cookie.as_bytes())
    }

    const SEEN: &str =
        "rid=000,csn=20261123081607.335358Z#000000#001#000000;20261123081700.000000Z#000000#002#000000";

    #[test]
    fn a_server_is_behind_where_any_provider_is() {
        let seen = slapd(SEEN);
        assert_eq!(seen.0.len(), 2);
        assert_eq!(seen.behind(&seen), None);
        let later = slapd(&SEEN.replace("081700", "081701"));
        assert_eq!(later.behind(&seen), None);
        let words = seen.behind(&later).unwrap();
        assert!(
            words.contains("server id 002") && words.contains("081701"),
            "{words}"
        );
        let words = slapd("rid=000,csn=20261124000000.000000Z#000000#001#000000")
            .behind(&seen)
            .unwrap();
        assert!(words.contains("knows no change"), "{words}");
    }

    #[test]
    fn what_cannot_be_compared_is_not_behind() {
        let seen = slapd(SEEN);
        assert_eq!(Watermarks::default().behind(&seen), None);
        assert_eq!(seen.behind(&Watermarks::default()), None);
        let changelog = |server: &str, number| {
            Watermarks::one(Origin::Changelog(server.to_owned()), Watermark::Number(number))
        };
        assert_eq!(changelog("a", 3).behind(&changelog("b", 4)), None);
        assert!(changelog("a", 3).behind(&changelog("a", 4)).is_some());
        assert_eq!(changelog("a", 10).behind(&changelog("a", 9)), None);
        for other in ["", "nonsense", "rid=000", "rid=000,csn=", "rid=000,csn=x"] {
            assert_eq!(slapd(other), Watermarks::default(), "{other}");
        }
    }

    #[test]
    fn marks_only_rise() {
        let mut seen = slapd(SEEN);
        seen.raise(slapd("rid=000,csn=20261123000000.000000Z#000000#001#000000"));
        assert_eq!(seen, slapd(SEEN));
        let later = SEEN.replace("081607", "081608");
        seen.raise(slapd(&later));
        assert_eq!(seen, slapd(&later));
    }

    #[test]
    fn the_update_vector_of_a_replica_is_read() {
        let values = [
            "{replicageneration} 5f0000000000000a0000",
            "{replica 1 ldap://a.example.org:389} 5f3c0000000000010000 6A3c0000000000010000",
            "{replica 2 ldap://b.example.org:389}",
        ];
        let marks = Watermarks::of_vector(values.iter().map(|value| value.as_bytes()));
        let expected = Watermark::Csn("6a3c0000000000010000".into());
        assert_eq!(marks, Watermarks::one(Origin::Replica("1".into()), expected));
    }
}
