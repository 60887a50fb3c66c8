//! A simulated directory with a journal of changes, like a server with a session log, without a network.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use futures::future::BoxFuture;
use futures::stream::{self, StreamExt};
use futures::{FutureExt, SinkExt, channel::mpsc};
use ldap_usher::directory::{Changes, Directory, DirectoryError, Opened, StreamKind};
use ldap_usher::model::{Attribute, Change, Cursor, Entry, EntryId, Listing};

/// How a session resumes; without any of these it lists everyone.
#[derive(Debug, Clone, Copy)]
pub enum Resume {
    /// It sends the changes.
    Changes,
    /// It sends the changes, and the ids of all unchanged people.
    Present,
    /// It refuses the cursor.
    Refuse,
    /// The first listing of the next session breaks off in the middle.
    BreakAgain,
}

/// A directory with a journal.
#[derive(Default)]
pub struct World {
    /// The people who match, each with the number of their address, if any.
    pub people: BTreeMap<u8, Option<u8>>,
    /// The people who changed, in order. A cursor is a length of this list.
    pub journal: Vec<u8>,
    /// How the next session resumes.
    pub resume: Option<Resume>,
    /// Sends changes to the open session.
    pub session: Option<mpsc::Sender<Result<Change, DirectoryError>>>,
}

/// The directory as the listener sees it.
#[derive(Default)]
pub struct Scripted(pub Mutex<World>);

/// The identity of a person.
pub fn id(person: u8) -> EntryId {
    EntryId::from_slice(&[person; 16]).unwrap()
}

/// The address of this number.
pub fn address(mail: u8) -> String {
    format!("mail{mail}@example.org")
}

/// A person with this address, or without one.
pub fn entry(person: u8, mail: Option<u8>) -> Entry {
    let values = mail.map(|mail| address(mail).into_bytes()).into_iter().collect();
    let attributes = vec![Attribute {
        name: "mail".into(),
        values,
    }];
    Entry {
        id: id(person),
        dn: format!("uid=person{person}"),
        attributes,
    }
}

/// The error of a session that breaks.
pub fn broken() -> DirectoryError {
    DirectoryError::Broken {
        server: "ldap://scripted".into(),
        cause: "closed the connection".into(),
    }
}

impl World {
    fn everyone(&self) -> Vec<Change> {
        self.people
            .iter()
            .map(|(&person, &mail)| Change::Upsert(entry(person, mail)))
            .collect()
    }

    fn sight(&self, person: u8) -> Change {
        match self.people.get(&person) {
            Some(&mail) => Change::Upsert(entry(person, mail)),
            None => Change::Gone(id(person)),
        }
    }

    /// What a new session sends before any change.
    fn refresh(
        &mut self,
        from: Option<usize>,
    ) -> Result<Vec<Result<Change, DirectoryError>>, DirectoryError> {
        let resume = self.resume.take();
        let mut told = vec![Change::ListingBegin];
        let (body, end) = match (from, resume) {
            (Some(_), Some(Resume::Refuse)) => {
                return Err(DirectoryError::CursorRefused {
                    server: "ldap://scripted".into(),
                    cause: "stale".into(),
                });
            }
            (Some(from), Some(Resume::Changes)) => {
                let changed: BTreeSet<u8> = self.journal[from..].iter().copied().collect();
                (
                    changed.into_iter().map(|person| self.sight(person)).collect(),
                    Listing::Changes,
                )
            }
            (Some(from), Some(Resume::Present)) => {
                let changed: BTreeSet<u8> = self.journal[from..].iter().copied().collect();
                let present = self.people.keys().map(|&person| Change::Present(id(person)));
                let upserts = changed.iter().filter(|person| self.people.contains_key(person));
                (
                    present.chain(upserts.map(|&person| self.sight(person))).collect(),
                    Listing::Complete,
                )
            }
            _ => (self.everyone(), Listing::Complete),
        };
        told.extend(body);
        if matches!(resume, Some(Resume::BreakAgain)) {
            let half = told.len().div_ceil(2);
            let told = told.into_iter().take(half).map(Ok);
            return Ok(told.chain([Err(broken())]).collect());
        }
        told.push(Change::ListingEnd(end));
        told.push(self.checkpoint());
        Ok(told.into_iter().map(Ok).collect())
    }

    fn checkpoint(&self) -> Change {
        Change::Checkpoint(Cursor(self.journal.len().to_string().into_bytes()))
    }
}

impl Scripted {
    /// Sends the change of a person to the open session, if there is one.
    pub async fn tell(&self, person: u8) {
        let told = {
            let world = self.0.lock().unwrap();
            let session = world.session.clone();
            session.map(|session| (session, [world.sight(person), world.checkpoint()]))
        };
        if let Some((mut session, changes)) = told {
            for change in changes {
                let _ = session.send(Ok(change)).await;
            }
        }
    }

    /// Breaks the open session.
    pub async fn hang_up(&self) {
        let session = self.0.lock().unwrap().session.take();
        if let Some(mut session) = session {
            let _ = session.send(Err(broken())).await;
        }
    }
}

impl Directory for Scripted {
    fn open(&self, from: Option<Cursor>) -> BoxFuture<'_, Result<Opened, DirectoryError>> {
        let from = from.map(|Cursor(text)| String::from_utf8(text).unwrap().parse().unwrap());
        let mut world = self.0.lock().unwrap();
        let refresh = world.refresh(from);
        let (live, heard) = mpsc::channel(1000);
        world.session = Some(live);
        async move {
            let changes = stream::iter(refresh?).chain(heard).boxed();
            Ok(Opened {
                refused: Vec::new(),
                resumed: from.is_some(),
                server: "ldap://scripted".into(),
                stream: StreamKind::Syncrepl,
                why: "it is scripted",
                reconcile: false,
                changes,
            })
        }
        .boxed()
    }

    fn list(&self) -> BoxFuture<'_, Result<Changes, DirectoryError>> {
        let everyone = self.0.lock().unwrap().everyone();
        let told = [Change::ListingBegin]
            .into_iter()
            .chain(everyone)
            .chain([Change::ListingEnd(Listing::Complete)]);
        let changes: Vec<_> = told.map(Ok).collect();
        async { Ok(stream::iter(changes).boxed()) }.boxed()
    }

    fn lookup<'a>(&'a self, who: &'a [EntryId]) -> BoxFuture<'a, Result<Vec<Entry>, DirectoryError>> {
        let world = self.0.lock().unwrap();
        let found = world
            .people
            .iter()
            .filter(|(person, _)| who.contains(&id(**person)));
        let entries = found.map(|(&person, &mail)| entry(person, mail)).collect();
        async { Ok(entries) }.boxed()
    }
}
