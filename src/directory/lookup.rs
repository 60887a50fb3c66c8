//! Reading single people again, by identity, with the configured filter: the server's own word on whether they are
//! members right now.

use std::sync::Arc;

use ldap3::Scope;

use super::decode::{self, RawEntry};
use super::root_dse::{self, Identity};
use super::session::{Request, Session};
use super::settings::Settings;
use super::{DirectoryError, connect, malformed};
use crate::model::{Entry, EntryId};

/// People per search: the filter stays small, and the answer below every server's default size limit.
pub(super) const CHUNK: usize = 50;

/// Reads people again, on a connection of its own that is kept from one question to the next.
pub(super) struct Asker {
    settings: Arc<Settings>,
    open: Option<(Session, Identity)>,
}

impl Asker {
    /// Nothing is contacted before the first question.
    pub(super) fn new(settings: Arc<Settings>) -> Self {
        Self { settings, open: None }
    }

    /// Those of `who` that match the filter right now.
    pub(super) async fn ask(&mut self, who: &[EntryId]) -> Result<Vec<Entry>, DirectoryError> {
        if let Some((mut session, identity)) = self.open.take() {
            match ask(&mut session, &self.settings, identity, who).await {
                // The server may have closed a connection that was idle for long.
                Err(DirectoryError::Broken { .. }) => {}
                answer => {
                    self.open = Some((session, identity));
                    return answer;
                }
            }
        }
        let mut session = connect::connect(&self.settings).await?;
        let identity = root_dse::read(&mut session).await?.identity;
        let found = ask(&mut session, &self.settings, identity, who).await?;
        self.open = Some((session, identity));
        Ok(found)
    }
}

async fn ask(
    session: &mut Session,
    settings: &Settings,
    identity: Identity,
    who: &[EntryId],
) -> Result<Vec<Entry>, DirectoryError> {
    let mut found = Vec::new();
    for chunk in who.chunks(CHUNK) {
        let any: String = chunk.iter().map(|&id| identity.filter(id)).collect();
        let filter = format!("(&{}(|{any}))", settings.filter);
        let request = Request {
            base: &settings.base,
            scope: Scope::Subtree,
            filter: &filter,
            attributes: attributes(settings, identity),
            controls: Vec::new(),
        };
        let (messages, result) = session.collect(request, "looking people up").await?;
        if result.rc != 0 {
            return Err(DirectoryError::from_search_result(
                session.server(),
                "a look-up",
                result.rc,
                &result.text,
            ));
        }
        for message in messages {
            let raw = decode::entry(message).map_err(|error| malformed(session, "an entry", &error))?;
            found.extend(identified(raw, identity).ok());
        }
    }
    Ok(found)
}

/// What a search asks for: the identity and whatever decides on membership, nothing else.
pub(super) fn attributes(settings: &Settings, identity: Identity) -> Vec<String> {
    [identity.attribute().to_owned()]
        .into_iter()
        .chain(settings.attributes.iter().cloned())
        .collect()
}

/// The entry under its identity; the DN alone where the identity cannot be read.
pub(super) fn identified(raw: RawEntry, identity: Identity) -> Result<Entry, String> {
    let id = raw
        .values(identity.attribute())
        .find_map(|value| identity.read(value));
    match id {
        Some(id) => Ok(Entry {
            id,
            dn: raw.dn,
            attributes: raw.attributes,
        }),
        None => Err(raw.dn),
    }
}

/// Makes sure that the base is there: some servers answer a search below a base that does not exist with silence
/// (389-DS) or with an empty success.
pub(super) async fn check_base(session: &mut Session, base: &str) -> Result<(), DirectoryError> {
    let request = Request {
        base,
        scope: Scope::Base,
        filter: "(objectClass=*)",
        attributes: vec!["1.1".to_owned()],
        controls: Vec::new(),
    };
    let (entries, result) = session.collect(request, "reading the base").await?;
    match result.rc {
        0 if !entries.is_empty() => Ok(()),
        0 | 32 => Err(DirectoryError::NoBase {
            server: session.server().to_owned(),
            base: base.to_owned(),
        }),
        code => Err(DirectoryError::from_search_result(
            session.server(),
            "the base",
            code,
            &result.text,
        )),
    }
}
