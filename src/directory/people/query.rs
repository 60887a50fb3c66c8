//! Whom one session looks for, and the way to the server that it asks.

use std::sync::Arc;

use crate::directory::DirectoryError;
use crate::directory::ldap::access::Access;
use crate::directory::ldap::endpoint::Endpoint;
use crate::directory::ldap::filter::Filter;
use crate::directory::ldap::schema::Schema;
use crate::directory::ldap::session::Session;
use crate::directory::ldap::{connect, replication};
use crate::directory::people::groups::{Groups, Identities};
use crate::directory::people::warnings::{Topic, Warnings};
use crate::directory::settings::{DirectorySettings, Server};
use crate::model::Entry;

/// The settings as they read for one session: the filter with the present names of its groups, and the groups.
#[derive(Debug, Clone)]
pub(crate) struct Query {
    pub(crate) settings: DirectorySettings,
    access: Arc<Access>,
    /// The server of the session, to which all its connections go.
    endpoint: Arc<Endpoint>,
    /// What is asked for beside what decides.
    extra_attribute: Option<&'static str>,
    /// What the server's attribute types are called.
    pub(crate) schema: Arc<Schema>,
    pub(crate) groups: Option<Arc<Groups>>,
    /// Where to put what is noticed meanwhile; nowhere for a search that does not see everyone.
    warnings: Option<Arc<Warnings>>,
}

impl Query {
    /// Finds the groups on which the settings depend; `known` are the identities that they had before.
    ///
    /// # Errors
    /// A group is not there.
    pub(crate) async fn resolve(
        session: &mut Session,
        settings: &DirectorySettings,
        access: &Arc<Access>,
        known: &Identities,
        warnings: &Arc<Warnings>,
    ) -> Result<Arc<Self>, DirectoryError> {
        let groups = Groups::resolve(session, settings, known).await?;
        let mut settings = settings.clone();
        if let Some(groups) = &groups {
            settings.filter = groups.filter(session.schema(), &settings.filter);
        }
        Ok(Arc::new(Self {
            settings,
            access: access.clone(),
            endpoint: Arc::new(session.endpoint().clone()),
            extra_attribute: None,
            schema: session.schema().clone(),
            groups: groups.map(Arc::new),
            warnings: Some(warnings.clone()),
        }))
    }

    /// One more connection to the server of the session.
    ///
    /// # Errors
    /// The server does not accept the account any more. No other server is asked, since it may not have heard yet of what
    /// this one told.
    pub(crate) async fn connect(&self) -> Result<Session, DirectoryError> {
        let mut session = connect::connect_to(&self.endpoint, &self.settings, &self.access).await?;
        session.set_schema(self.schema.clone());
        Ok(session)
    }

    /// The server of the session.
    pub(crate) fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// Records how far the server has come, for the day on which another one is reached. A directory of one server has
    /// no use for it.
    pub(crate) async fn record_watermarks(&self, session: &mut Session) {
        let alone = matches!(*self.settings.servers, [Server::Tcp { .. } | Server::Unix { .. }]);
        if alone {
            return;
        }
        match replication::read(session, &self.settings.base).await {
            Ok(marks) => self.access.raise(marks),
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
        let extra = known_by.iter().copied().chain(self.extra_attribute);
        let attributes = self.settings.attributes.iter().cloned();
        attributes.chain(extra.map(str::to_owned)).collect()
    }

    /// The same people, with one more attribute.
    pub(crate) fn with_attribute(&self, attribute: &'static str) -> Self {
        Self {
            extra_attribute: Some(attribute),
            ..self.clone()
        }
    }

    /// Those of the same people who match another filter; no warnings come of them.
    pub(crate) fn with_filter(&self, filter: Filter) -> Self {
        let settings = DirectorySettings {
            filter,
            ..self.settings.clone()
        };
        Self {
            settings,
            warnings: None,
            ..self.clone()
        }
    }

    /// Records what an administrator should know; `None` is that there is nothing to say about it.
    pub(crate) fn warn(&self, topic: Topic, warning: Option<String>) {
        if let Some(warnings) = &self.warnings {
            warnings.set(&self.settings.name, topic, warning);
        }
    }

    /// Whether whoever matches the filter is a member.
    pub(crate) fn filter_decides(&self) -> bool {
        self.groups.as_ref().is_none_or(|groups| !groups.restrict())
    }

    /// Whether someone who matches the filter was a member when the groups were read.
    pub(crate) fn admits(&self, entry: &Entry) -> bool {
        self.groups.as_ref().is_none_or(|groups| groups.admits(entry))
    }
}
