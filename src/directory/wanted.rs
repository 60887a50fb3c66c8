//! Whom one session looks for.

use std::ops::Deref;
use std::sync::Arc;

use super::access::{Access, Reached};
use super::filter::Filter;
use super::groups::{Groups, Identities};
use super::remarks::{About, Remarks};
use super::root_dse::Capabilities;
use super::schema::Schema;
use super::session::Session;
use super::settings::{Server, Settings};
use super::{DirectoryError, connect, freshness};
use crate::model::Entry;

/// The settings as they read for one session: the filter with the present names of its groups, and the groups.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    settings: Settings,
    access: Arc<Access>,
    /// The server of the session, to which all its connections go.
    reached: Arc<Reached>,
    /// What is asked for beside what decides.
    beside: Option<&'static str>,
    /// What the server's attribute types are called.
    pub(super) schema: Arc<Schema>,
    pub(super) groups: Option<Arc<Groups>>,
    /// Where to note what is noticed meanwhile; nowhere for a search that does not see everyone.
    remarks: Option<Arc<Remarks>>,
}

impl Wanted {
    /// Finds the groups on which the settings depend; `known` are the identities that they had before.
    ///
    /// # Errors
    /// A group is not there.
    pub(super) async fn resolve(
        session: &mut Session,
        can: &Capabilities,
        settings: &Settings,
        access: &Arc<Access>,
        known: &Identities,
        remarks: &Arc<Remarks>,
    ) -> Result<Arc<Self>, DirectoryError> {
        let groups = Groups::resolve(session, can, settings, known).await?;
        let mut settings = settings.clone();
        if let Some(groups) = &groups {
            settings.filter = groups.filter(session.schema(), &settings.filter);
        }
        Ok(Arc::new(Self {
            settings,
            access: access.clone(),
            reached: Arc::new(session.reached().clone()),
            beside: None,
            schema: session.schema().clone(),
            groups: groups.map(Arc::new),
            remarks: Some(remarks.clone()),
        }))
    }

    /// One more connection to the server of the session.
    ///
    /// # Errors
    /// It does not let us in any more; no other one is asked, since it may not have heard yet of what this one told.
    pub(super) async fn connect(&self) -> Result<Session, DirectoryError> {
        let mut session = connect::connect_to(&self.reached, &self.settings, &self.access).await?;
        session.learn(self.schema.clone());
        Ok(session)
    }

    /// The server of the session.
    pub(super) fn reached(&self) -> &Arc<Reached> {
        &self.reached
    }

    /// Takes note of how far the server has come, for the day on which another one of them is reached.
    pub(super) async fn note_how_far(&self, session: &mut Session) {
        let alone = matches!(*self.settings.servers, [Server::Tcp { .. } | Server::Unix { .. }]);
        if alone {
            return;
        }
        match freshness::read(session, &self.settings.base).await {
            Ok(marks) => self.access.saw(marks),
            Err(error) => {
                tracing::debug!(directory = self.settings.name, %error, "how far the server has come is not known");
            }
        }
    }

    /// What the connections of the directory share.
    pub(super) fn access(&self) -> &Access {
        &self.access
    }

    /// Whether the filter asks for groups by `memberOf`.
    pub(super) fn asks_for_groups(&self) -> bool {
        self.groups.as_ref().is_some_and(|groups| !groups.restrict())
    }

    /// What a search asks for beside the identity: what decides about membership, and what groups know people by.
    pub(super) fn attributes(&self) -> Vec<String> {
        let known_by: &[&str] = match &self.groups {
            Some(groups) if groups.restrict() => &["uid", "gidNumber"],
            _ => &[],
        };
        let beside = known_by.iter().copied().chain(self.beside).map(str::to_owned);
        self.settings.attributes.iter().cloned().chain(beside).collect()
    }

    /// The same people, with one more attribute.
    pub(super) fn asking_for(&self, attribute: &'static str) -> Self {
        Self {
            beside: Some(attribute),
            ..self.clone()
        }
    }

    /// Those of the same people who match another filter; nothing is noted of them.
    pub(super) fn with_filter(&self, filter: Filter) -> Self {
        let settings = Settings {
            filter,
            ..self.settings.clone()
        };
        Self {
            settings,
            remarks: None,
            ..self.clone()
        }
    }

    /// Notes what an administrator should know; `None` is that there is nothing to say about it.
    pub(super) fn remark(&self, about: About, remark: Option<String>) {
        if let Some(remarks) = &self.remarks {
            remarks.note(&self.settings.name, about, remark);
        }
    }

    /// Whether whoever matches the filter is a member.
    pub(super) fn decides(&self) -> bool {
        self.groups.as_ref().is_none_or(|groups| !groups.restrict())
    }

    /// Whether someone who matches the filter was a member when the groups were read.
    pub(super) fn admits(&self, entry: &Entry) -> bool {
        self.groups.as_ref().is_none_or(|groups| groups.admits(entry))
    }
}

impl Deref for Wanted {
    type Target = Settings;

    fn deref(&self) -> &Settings {
        &self.settings
    }
}
