//! A session with a directory, as the listener uses it: who is listed, who joins, who leaves.

use std::collections::{BTreeSet, HashMap};
use std::num::NonZeroU32;
use std::time::Duration;

use futures::StreamExt;
use ldap_usher::directory::{
    Bind, Changes, Directory, DirectoryError, DirectorySettings, LdapDirectory, Opened, Server, StreamKind,
};
use ldap_usher::model::{Attribute, Change, Cursor, EntryId, Listing};
use ldap_usher::tls::TlsOptions;
use tokio::time::timeout;

use super::site::Site;
use super::world::PATIENCE;

/// Settings for everyone in `ou=people` who matches the filter, with the reader's account.
pub fn settings(site: &dyn Site, filter: &str, stream: Option<StreamKind>) -> DirectorySettings {
    let (dn, password) = site.reader();
    DirectorySettings {
        name: "main".into(),
        servers: vec![Server::parse(&site.url()).unwrap()],
        starttls: false,
        tls: TlsOptions::default(),
        bind: Bind::Simple {
            dn,
            password: password.into(),
        },
        base: site.people_base(),
        filter: filter.parse().unwrap(),
        groups: Vec::new(),
        id_attribute: None,
        attributes: vec!["mail".into()],
        stream,
        poll_interval: Duration::from_millis(200),
        page_size: NonZeroU32::new(10).unwrap(),
        max_message_size: 16 << 20,
    }
}

/// An open stream, and what it has sent.
pub struct Listening {
    /// The kind of stream.
    pub stream: StreamKind,
    /// Whether the stream needs an audit beside it.
    pub reconcile: bool,
    /// The last resume point.
    pub cursor: Option<Cursor>,
    /// The names of the attributes that came with entries.
    pub attributes: BTreeSet<String>,
    changes: Changes,
    names: HashMap<EntryId, String>,
}

impl Listening {
    /// Opens it.
    pub async fn open(directory: &LdapDirectory, from: Option<Cursor>) -> Result<Self, DirectoryError> {
        let Opened {
            stream,
            reconcile,
            changes,
            ..
        } = directory.open(from).await?;
        Ok(Self {
            stream,
            reconcile,
            cursor: None,
            attributes: BTreeSet::new(),
            changes,
            names: HashMap::new(),
        })
    }

    /// The next change.
    pub async fn next(&mut self) -> Result<Change, DirectoryError> {
        let change = timeout(2 * PATIENCE, self.changes.next())
            .await
            .expect("a change in time")
            .expect("no end of the stream")?;
        match &change {
            Change::Upsert(entry) | Change::Together { entry, .. } => {
                let name = entry.dn.split(['=', ',']).nth(1).unwrap_or_default();
                self.names.insert(entry.id, name.to_owned());
                let names = entry
                    .attributes
                    .iter()
                    .map(|Attribute { name, .. }| name.to_lowercase());
                self.attributes.extend(names);
            }
            Change::Checkpoint(cursor) => self.cursor = Some(cursor.clone()),
            _ => {}
        }
        Ok(change)
    }

    /// Waits for the end of the listing; returns it and the listed people.
    pub async fn listed(&mut self) -> (Listing, Vec<String>) {
        let mut named = Vec::new();
        loop {
            match self.next().await.unwrap() {
                Change::ListingEnd(listing) => {
                    named.sort();
                    return (listing, named);
                }
                Change::Upsert(entry) | Change::Together { entry, .. } => {
                    named.push(self.names[&entry.id].clone());
                }
                Change::Gone(id) => named.push(format!("-{}", self.name(id))),
                _ => {}
            }
        }
    }

    /// Waits until this person is reported to match.
    pub async fn joins(&mut self, uid: &str) -> EntryId {
        loop {
            if let Change::Upsert(entry) | Change::Together { entry, .. } = self.next().await.unwrap()
                && self.names[&entry.id] == uid
            {
                return entry.id;
            }
        }
    }

    /// Waits until this person, who was reported before, is reported to no longer match.
    pub async fn leaves(&mut self, uid: &str) {
        loop {
            if let Change::Gone(id) = self.next().await.unwrap()
                && self.name(id) == uid
            {
                return;
            }
        }
    }

    /// Whether this person was ever reported to match.
    pub fn knows(&self, uid: &str) -> bool {
        self.names.values().any(|name| name == uid)
    }

    /// Waits until the server has answered a probe.
    pub async fn is_alive(&mut self) {
        while self.next().await.unwrap() != Change::Alive {}
    }

    /// Waits for the error that ends the session.
    pub async fn error(&mut self) -> DirectoryError {
        loop {
            if let Err(error) = self.next().await {
                return error;
            }
        }
    }

    fn name(&self, id: EntryId) -> &str {
        self.names.get(&id).map_or("?", String::as_str)
    }
}

/// The error that ends a session or prevents it.
pub async fn error_of(directory: &LdapDirectory, from: Option<Cursor>) -> DirectoryError {
    match Listening::open(directory, from).await {
        Err(error) => error,
        Ok(mut listening) => listening.error().await,
    }
}
