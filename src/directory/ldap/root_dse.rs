//! Reads the root DSE of a server (RFC 4512, 5.1) and its subschema (4.2).

use crate::directory::DirectoryError;
use crate::directory::ldap::capabilities::{self, Capabilities};
use crate::directory::ldap::decode::RawEntry;
use crate::directory::ldap::schema::Schema;
use crate::directory::ldap::search::{self, BaseSearch};
use crate::directory::ldap::session::Session;

/// Reads the server's capabilities into the session. People are identified by `id_attribute` if there is one.
pub(crate) async fn read(session: &mut Session, id_attribute: Option<&str>) -> Result<(), DirectoryError> {
    // Some servers hide the root DSE; then no capability is assumed.
    let root = fetch(session, &capabilities::ATTRIBUTES)
        .await?
        .unwrap_or_default();
    session.set_capabilities(Capabilities::from_root_dse(&root).of_people_by(id_attribute));
    Ok(())
}

/// Checks that the connection is alive: reads the root DSE again.
pub(crate) async fn probe(session: &mut Session) -> Result<(), DirectoryError> {
    fetch(session, &capabilities::ATTRIBUTES).await.map(drop)
}

/// The server's schema, from one entry that may be as large as a message. Empty if the account cannot read any.
pub(crate) async fn schema(session: &mut Session) -> Result<Schema, DirectoryError> {
    let capabilities = session.capabilities().clone();
    let Some(subschema) = &capabilities.subschema else {
        return Ok(Schema::default());
    };
    let request = BaseSearch::new(subschema, &["attributeTypes"]);
    let (entry, result) = search::base(session, request, "reading the subschema").await?;
    let entry = entry.unwrap_or_default();
    let schema = Schema::read(entry.values("attributeTypes"));
    let names = schema.len();
    tracing::debug!(
        server = session.server(),
        subschema,
        code = result.rc,
        names,
        "read the subschema"
    );
    Ok(schema)
}

/// The numbers of the first and of the last change in the changelog, if the server has one and shows it
/// (draft-good-ldap-changelog-04).
pub(crate) async fn change_numbers(session: &mut Session) -> Result<Option<(u64, u64)>, DirectoryError> {
    let root = fetch(session, &["firstChangeNumber", "lastChangeNumber"]).await?;
    let number = |attribute| {
        let value = root.as_ref()?.values(attribute).next()?;
        std::str::from_utf8(value).ok()?.parse().ok()
    };
    Ok(number("firstChangeNumber").zip(number("lastChangeNumber")))
}

async fn fetch(session: &mut Session, attributes: &[&str]) -> Result<Option<RawEntry>, DirectoryError> {
    let request = BaseSearch::new("", attributes);
    let (entry, result) = search::base(session, request, "reading the root DSE").await?;
    match result.rc {
        0 => Ok(entry),
        _ => Err(session.search_error("the root DSE", &result)),
    }
}
