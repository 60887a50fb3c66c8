//! Reads the properties of a domain controller, and its position in its changes.

use crate::directory::DirectoryError;
use crate::directory::ldap::decode::RawEntry;
use crate::directory::ldap::dn;
use crate::directory::ldap::search::{self, BaseSearch};
use crate::directory::ldap::session::Session;
use crate::foreign;
use crate::model::{Cursor, EntryId};

/// Change notification (MS-ADTS 3.1.1.3.4.1.9).
pub(crate) const NOTIFICATION: &str = "1.2.840.113556.1.4.528";
/// The control to include deleted objects that the account may read (MS-ADTS 3.1.1.3.4.1.14).
pub(crate) const SHOW_DELETED: &str = "1.2.840.113556.1.4.417";

/// The properties of a domain controller that matter here.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Controller {
    /// The partition of the directory that holds the people.
    pub partition: String,
    /// Whether it offers change notification.
    pub notification: bool,
    /// Whether it offers to show deleted objects.
    pub show_deleted: bool,
    /// The identity of its database, which numbers its own changes; `None` if the account may not read it.
    pub invocation: Option<EntryId>,
}

impl Controller {
    /// Reads them.
    pub(crate) async fn read(session: &mut Session, base: &str) -> Result<Self, DirectoryError> {
        let attributes = ["namingContexts", "supportedControl", "dsServiceName"];
        let root = required(session, "", &attributes).await?;
        let offers = |oid: &str| {
            root.values("supportedControl")
                .any(|value| value == oid.as_bytes())
        };
        // In the spelling of the server, which may differ from the configuration in spaces and escapes.
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

/// Describes the controller for people.
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

/// The number of the latest change. The same request also serves as a probe while there are no notifications.
pub(crate) async fn highest_usn(session: &mut Session) -> Result<u64, DirectoryError> {
    let root = required(session, "", &["highestCommittedUSN"]).await?;
    usn(&root, "highestCommittedUSN").ok_or_else(|| DirectoryError::Unsupported {
        server: session.server().to_owned(),
        cause: "the server is no domain controller of an Active Directory (its root DSE has no highestCommittedUSN); leave out `stream`".into(),
    })
}

/// The controller's position; `None` if the account may not read it.
pub(crate) async fn position(session: &mut Session, base: &str) -> Result<Option<Position>, DirectoryError> {
    let usn = highest_usn(session).await?;
    let controller = Controller::read(session, base).await?;
    Ok(controller
        .invocation
        .map(|invocation| Position { invocation, usn }))
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

/// One entry; `None` if it does not exist or the account may not read it.
async fn read(
    session: &mut Session,
    dn: &str,
    attributes: &[&str],
) -> Result<Option<RawEntry>, DirectoryError> {
    let request = BaseSearch::new(dn, attributes);
    let (entry, result) =
        search::base(session, request, "reading the domain controller's properties").await?;
    match result.rc {
        0 | 32 => Ok(entry),
        _ => Err(session.search_error("the domain controller's properties", &result)),
    }
}

/// A position in the changes of a database, stored as the resume point `ad1 INVOCATIONID USN`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    pub invocation: EntryId,
    pub usn: u64,
}

impl Position {
    /// `None` for a resume point of another version or another kind of stream.
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

    /// Whether this is a position of the database `invocation`, whose latest change is `usn`.
    pub(crate) fn is_covered_by(self, invocation: Option<EntryId>, usn: u64) -> bool {
        invocation == Some(self.invocation) && self.usn <= usn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_read_as_it_was_written_and_nothing_else_is_one() {
        let point = Position {
            invocation: EntryId::from_slice(&[7; 16]).unwrap(),
            usn: 4711,
        };
        assert_eq!(Position::parse(&point.cursor()), Some(point));
        for foreign in [
            "rid=000,csn=2026#0#0",
            "ad2 07070707-0707-0707-0707-070707070707 1",
            "",
            "ad1 x 1",
        ] {
            assert_eq!(Position::parse(&Cursor(foreign.into())), None, "{foreign}");
        }
    }

    #[test]
    fn a_point_is_of_use_to_the_same_database_as_long_as_its_numbers_go_on() {
        let [one, other] = [1, 2].map(|n| EntryId::from_slice(&[n; 16]).unwrap());
        let point = Position {
            invocation: one,
            usn: 10,
        };
        assert!(point.is_covered_by(Some(one), 10));
        assert!(!point.is_covered_by(Some(one), 9), "a backup was restored");
        assert!(!point.is_covered_by(Some(other), 20), "another controller");
        assert!(!point.is_covered_by(None, 20));
    }
}
