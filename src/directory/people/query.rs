//! Which people one session looks for, and on which server.

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

/// The settings as resolved for one session: the filter with the present DNs of its groups, and the groups.
#[derive(Debug, Clone)]
pub(crate) struct Query {
    pub(crate) settings: DirectorySettings,
    access: Arc<Access>,
    /// The server of the session, which all its connections use.
    endpoint: Arc<Endpoint>,
    /// One more attribute to read.
    extra_attribute: Option<&'static str>,
    /// The server's schema.
    pub(crate) schema: Arc<Schema>,
    pub(crate) groups: Option<Arc<Groups>>,
    /// Where warnings are recorded; `None` for a search that does not return everyone.
    warnings: Option<Arc<Warnings>>,
}

impl Query {
    /// Finds the groups that the settings name; `known` are their identities.
    ///
    /// # Errors
    /// A group is missing.
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

    /// Opens another connection to the server of the session.
    ///
    /// # Errors
    /// The connection or the bind fails. No other server is tried, because it may not have the changes that this one sent.
    pub(crate) async fn connect(&self) -> Result<Session, DirectoryError> {
        let mut session = connect::connect_to(&self.endpoint, &self.settings, &self.access).await?;
        session.set_schema(self.schema.clone());
        Ok(session)
    }

    /// The server of the session.
    pub(crate) fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// Records how far the server has replicated, to compare other servers with it. Does nothing if there is only one server.
    pub(crate) async fn record_watermarks(&self, session: &mut Session) {
        let alone = matches!(*self.settings.servers, [Server::Tcp { .. } | Server::Unix { .. }]);
        if alone {
            return;
        }
        match replication::read(session, &self.settings.base).await {
            Ok(marks) => self.access.raise(marks),
            Err(error) => {
                tracing::debug!(directory = self.settings.name, %error, "it is not known how far the server has replicated");
            }
        }
    }

    /// What all connections of the directory share.
    pub(crate) fn access(&self) -> &Access {
        &self.access
    }

    /// Whether the filter asks for groups by `memberOf`.
    pub(crate) fn asks_for_groups(&self) -> bool {
        self.groups.as_ref().is_some_and(|groups| !groups.restrict())
    }

    /// The attributes to read besides the identity: those of the settings, and those by which groups name people.
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

    /// The same query with another filter. It records no warnings.
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

    /// Records a warning about a topic, or that there is none.
    pub(crate) fn warn(&self, topic: Topic, warning: Option<String>) {
        if let Some(warnings) = &self.warnings {
            warnings.set(&self.settings.name, topic, warning);
        }
    }

    /// Whether everyone who matches the filter is a member.
    pub(crate) fn filter_decides(&self) -> bool {
        self.groups.as_ref().is_none_or(|groups| !groups.restrict())
    }

    /// Whether a person who matches the filter was a member when the groups were read.
    pub(crate) fn admits(&self, entry: &Entry) -> bool {
        self.groups.as_ref().is_none_or(|groups| groups.admits(entry))
    }
}
