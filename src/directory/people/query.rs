//! Whom one session looks for.

use std::ops::Deref;
use std::sync::Arc;

use crate::directory::DirectoryError;
use crate::directory::ldap::access::{Access, Reached};
use crate::directory::ldap::connect;
use crate::directory::ldap::filter::Filter;
use crate::directory::ldap::replication;
use crate::directory::ldap::root_dse::Capabilities;
use crate::directory::ldap::schema::Schema;
use crate::directory::ldap::session::Session;
use crate::directory::people::groups::{Groups, Identities};
use crate::directory::people::warnings::{Topic, Warnings};
use crate::directory::settings::{Server, Settings};
use crate::model::Entry;

/// The settings as they read for one session: the filter with the present names of its groups, and the groups.
#[derive(Debug, Clone)]
pub(crate) struct Query {
    settings: Settings,
    access: Arc<Access>,
    /// The server of the session, to which all its connections go.
    reached: Arc<Reached>,
    /// What is asked for beside what decides.
    beside: Option<&'static str>,
    /// What the server's attribute types are called.
    pub(crate) schema: Arc<Schema>,
    pub(crate) groups: Option<Arc<Groups>>,
    /// Where to note what is noticed meanwhile; nowhere for a search that does not see everyone.
    remarks: Option<Arc<Warnings>>,
}

impl Query {
    /// Finds the groups on which the settings depend; `known` are the identities that they had before.
    ///
    /// # Errors
    /// A group is not there.
    pub(crate) async fn resolve(
        session: &mut Session,
        can: &Capabilities,
        settings: &Settings,
        access: &Arc<Access>,
        known: &Identities,
        remarks: &Arc<Warnings>,
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
    pub(crate) async fn connect(&self) -> Result<Session, DirectoryError> {
        let mut session = connect::connect_to(&self.reached, &self.settings, &self.access).await?;
        session.learn(self.schema.clone());
        Ok(session)
    }

    /// The server of the session.
    pub(crate) fn reached(&self) -> &Arc<Reached> {
        &self.reached
    }

    /// Takes note of how far the server has come, for the day on which another one of them is reached.
    pub(crate) async fn record_watermarks(&self, session: &mut Session) {
        let alone = matches!(*self.settings.servers, [Server::Tcp { .. } | Server::Unix { .. }]);
        if alone {
            return;
        }
        match replication::read(session, &self.settings.base).await {
            Ok(marks) => self.access.saw(marks),
            Err(error) => {
                tracing::debug!(directory = self.settings.name, %error, "how far the server has come is not known");
            }
        }
    }

    /// What the connections of the directory share.
    pub(crate) fn access(&self) -> &Access {
        &self.access
    }

    /// Whether the filter asks for groups by `memberOf`.
    pub(crate) fn asks_for_groups(&self) -> bool {
        self.groups.as_ref().is_some_and(|groups| !groups.restrict())
    }

    /// What a search asks for beside the identity: what decides about membership, and what groups know people by.
    pub(crate) fn attributes(&self) -> Vec<String> {
        let known_by: &[&str] = match &self.groups {
            Some(groups) if groups.restrict() => &["uid", "gidNumber"],
            _ => &[],
        };
        let beside = known_by.iter().copied().chain(self.beside).map(str::to_owned);
        self.settings.attributes.iter().cloned().chain(beside).collect()
    }

    /// The same people, with one more attribute.
    pub(crate) fn asking_for(&self, attribute: &'static str) -> Self {
        Self {
            beside: Some(attribute),
            ..self.clone()
        }
    }

    /// Those of the same people who match another filter; nothing is noted of them.
    pub(crate) fn with_filter(&self, filter: Filter) -> Self {
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
    pub(crate) fn remark(&self, about: Topic, remark: Option<String>) {
        if let Some(remarks) = &self.remarks {
            remarks.note(&self.settings.name, about, remark);
        }
    }

    /// Whether whoever matches the filter is a member.
    pub(crate) fn decides(&self) -> bool {
        self.groups.as_ref().is_none_or(|groups| !groups.restrict())
    }

    /// Whether someone who matches the filter was a member when the groups were read.
    pub(crate) fn admits(&self, entry: &Entry) -> bool {
        self.groups.as_ref().is_none_or(|groups| groups.admits(entry))
    }
}

impl Deref for Query {
    type Target = Settings;

    fn deref(&self) -> &Settings {
        &self.settings
    }
}
