//! The search behind a sync session: what it asks for, with and without the control of RFC 4533.

use std::sync::Arc;
use std::time::Duration;

use ldap3::Scope;
use ldap3::controls::{RefreshMode, SyncRequest};

use crate::directory::DirectoryError;
use crate::directory::ldap::decode;
use crate::directory::ldap::request::{Request, Search};
use crate::directory::ldap::session::Session;
use crate::directory::people::query::Query;
use crate::model::Cursor;

/// How long the server may be silent during the refresh.
pub(super) const REFRESH_SILENCE: Duration = Duration::from_secs(120);

/// What a sync search looks for.
pub(super) struct Target {
    pub(super) query: Arc<Query>,
    pub(super) base: String,
    pub(super) scope: Scope,
    pub(super) filter: String,
    pub(super) attributes: Vec<String>,
}

impl Target {
    /// The search without the control.
    pub(super) fn request(&self) -> Request<'_> {
        Request {
            base: &self.base,
            scope: self.scope,
            filter: &self.filter,
            attributes: self.attributes.clone(),
            controls: Vec::new(),
        }
    }

    /// Starts the sync search, after `from` if there is a cookie.
    pub(super) async fn sync(
        &self,
        session: &mut Session,
        from: Option<Cursor>,
    ) -> Result<Search, DirectoryError> {
        let sync = SyncRequest {
            mode: RefreshMode::RefreshAndPersist,
            cookie: from.map(|Cursor(cookie)| cookie),
            reload_hint: false,
        };
        let request = Request {
            // Critical: a server that does not know the control would answer with an ordinary search. Never together
            // with paging: slapd sends one page and reports success.
            controls: vec![decode::critical(sync)],
            ..self.request()
        };
        session.search(request).await
    }
}
