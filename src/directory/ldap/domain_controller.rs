//! What a domain controller says of itself, and how far its changes were told.

use crate::directory::DirectoryError;
use crate::directory::ldap::decode::RawEntry;
use crate::directory::ldap::dn;
use crate::directory::ldap::search::{self, BaseSearch};
use crate::directory::ldap::session::Session;
use crate::foreign;
use crate::model::{Cursor, EntryId};

/// Change notification (MS-ADTS 3.1.1.3.4.1.9).
pub(crate) const NOTIFICATION: &str = "1.2.840.113556.1.4.528";
/// Deleted objects are found, too, as far as the account may read them (MS-ADTS 3.1.1.3.4.1.14).
pub(crate) const SHOW_DELETED: &str = "1.2.840.113556.1.4.417";

/// A domain controller, as far as it matters here.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Controller {
    /// The partition of the directory that holds the people.
    pub partition: String,
    /// Whether it offers change notification.
    pub notification: bool,
    /// Whether it offers to show deleted objects.
    pub show_deleted: bool,
    /// The identity of its database, which counts changes by itself; `None` where the account may not read it.
    pub invocation: Option<EntryId>,
}

impl Controller {
    /// Asks it.
    pub(crate) async fn read(session: &mut Session, base: &str) -> Result<Self, DirectoryError> {
        let attributes = ["namingContexts", "supportedControl", "dsServiceName"];
        let root = required(session, "", &attributes).await?;
        let offers = |oid: &str| {
            root.values("supportedControl")
                .any(|value| value == oid.as_bytes())
        };
        // As the server spells it, which may differ from the configuration in blanks and escapes.
        let base = required(session, base, &["1.1"]).await?.dn;
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        let partition = root
            .values("namingContexts")
            .map(text)
            .filter(|context| dn::is_within(&base, context))
            .max_by_key(String::len)
            .unwrap_or(base);
        let service = root.values("dsServiceName").next().map(text);
        let invocation = match service {
            Some(service) => read(session, &service, &["invocationId"])
                .await?
                .and_then(|entry| entry.values("invocationId").find_map(EntryId::from_slice)),
            None => None,
        };
        Ok(Self {
            partition,
            notification: offers(NOTIFICATION),
            show_deleted: offers(SHOW_DELETED),
            invocation,
        })
    }
}

/// What a person should know of it.
pub(crate) async fn describe(session: &mut Session) -> Result<String, DirectoryError> {
    let root = required(session, "", &["dnsHostName", "supportedControl"]).await?;
    let name = root.values("dnsHostName").next().unwrap_or(b"without a name");
    let notifies = root
        .values("supportedControl")
        .any(|oid| oid == NOTIFICATION.as_bytes());
    Ok(format!(
        "the domain controller {} of an Active Directory, change notification {}, identity by objectGUID",
        foreign::shown_bytes(name),
        if notifies { "offered" } else { "not offered" }
    ))
}

/// The number of its latest change. The same request, made while nothing rings, proves that the connection lives.
pub(crate) async fn highest_usn(session: &mut Session) -> Result<u64, DirectoryError> {
    let root = required(session, "", &["highestCommittedUSN"]).await?;
    usn(&root, "highestCommittedUSN").ok_or_else(|| DirectoryError::Unsupported {
        server: session.server().to_owned(),
        cause: "the server is no domain controller of an Active Directory (its root DSE has no highestCommittedUSN); leave out `stream`".into(),
    })
}

/// How far the controller has come, as far as the account may read it.
pub(crate) async fn position(session: &mut Session, base: &str) -> Result<Option<Point>, DirectoryError> {
    let usn = highest_usn(session).await?;
    let controller = Controller::read(session, base).await?;
    Ok(controller.invocation.map(|invocation| Point { invocation, usn }))
}

/// An update sequence number.
pub(crate) fn usn(entry: &RawEntry, attribute: &str) -> Option<u64> {
    let value = entry.values(attribute).next()?;
    std::str::from_utf8(value).ok()?.parse().ok()
}

async fn required(session: &mut Session, dn: &str, attributes: &[&str]) -> Result<RawEntry, DirectoryError> {
    let entry = read(session, dn, attributes).await?;
    entry.ok_or_else(|| DirectoryError::NoBase {
        server: session.server().to_owned(),
        base: dn.to_owned(),
    })
}

/// One entry; `None` where it is not there or may not be seen.
async fn read(
    session: &mut Session,
    dn: &str,
    attributes: &[&str],
) -> Result<Option<RawEntry>, DirectoryError> {
    let request = BaseSearch::new(dn, attributes);
    let (entry, result) = search::base(session, request, "asking the domain controller").await?;
    match result.rc {
        0 | 32 => Ok(entry),
        _ => Err(session.search_error("a question about the domain controller", &result)),
    }
}

/// How far a database's changes were told: the resume point, as `ad1 INVOCATIONID USN`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Point {
    pub invocation: EntryId,
    pub usn: u64,
}

impl Point {
    /// `None` for what another version or another kind of stream wrote.
    pub(crate) fn parse(cursor: &Cursor) -> Option<Self> {
        let mut words = std::str::from_utf8(&cursor.0).ok()?.split(' ');
        let ("ad1", invocation, usn, None) = (words.next()?, words.next()?, words.next()?, words.next())
        else {
            return None;
        };
        Some(Self {
            invocation: EntryId::parse(invocation.as_bytes())?,
            usn: usn.parse().ok()?,
        })
    }

    pub(crate) fn cursor(self) -> Cursor {
        Cursor(format!("ad1 {} {}", self.invocation, self.usn).into_bytes())
    }

    /// Whether a database that is at `usn` still holds everything that this point covers.
    pub(crate) fn is_covered_by(self, invocation: Option<EntryId>, usn: u64) -> bool {
        invocation == Some(self.invocation) && self.usn <= usn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_read_as_it_was_written_and_nothing_else_is_one() {
        let point = Point {
            invocation: EntryId::from_slice(&[7; 16]).unwrap(),
            usn: 4711,
        };
        assert_eq!(Point::parse(&point.cursor()), Some(point));
        for foreign in [
            "rid=000,csn=2026#0#0",
            "ad2 07070707-0707-0707-0707-070707070707 1",
            "",
            "ad1 x 1",
        ] {
            assert_eq!(Point::parse(&Cursor(foreign.into())), None, "{foreign}");
        }
    }

    #[test]
    fn a_point_is_of_use_to_the_same_database_as_long_as_its_numbers_go_on() {
        let [one, other] = [1, 2].map(|n| EntryId::from_slice(&[n; 16]).unwrap());
        let point = Point {
            invocation: one,
            usn: 10,
        };
        assert!(point.is_covered_by(Some(one), 10));
        assert!(!point.is_covered_by(Some(one), 9), "a backup was restored");
        assert!(!point.is_covered_by(Some(other), 20), "another controller");
        assert!(!point.is_covered_by(None, 20));
    }
}
