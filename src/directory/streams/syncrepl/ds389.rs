//! 389-DS, whose content synchronisation falls silent and leaves people out.
//!
//! Its content synchronisation stands on a changelog, and its cookies name a change in it (see `changelog`). A resumed
//! search ignores the attributes that were asked for, so that others are dropped as soon as they arrive, and never names
//! those who left by the filter, so that everyone is listed beside it at each connect.
//!
//! At a size or look-through limit it falls silent in the middle of the refresh. After a silence of 15 s the same
//! search is made without the control, on the same connection: its result names the limit, and where it has none, the
//! refresh has another 15 s.
//!
//! A stream that is not read for ten seconds dies silently, while its connection goes on to answer. Its own answer
//! cannot be asked for, so it is replaced: where the last change number of the root DSE has risen and the stream has
//! said nothing for a minute, a second search resumes from the last cookie on a new connection and takes its place. If
//! that one has something to tell, the first was dead, and the session ends after it was told, so that the next one
//! begins with a listing. This costs a connection and a short search a minute at most, on a server on which only others
//! change. A change made in the last minute may be told late by as much, and if nothing but departures by the filter were
//! lost, the audit finds them.

use std::time::Duration;

use tokio::time::Instant;

use crate::directory::DirectoryError;
use crate::directory::ldap::request::{Item, Request};
use crate::directory::ldap::root_dse;
use crate::directory::ldap::session::{Session, unless_busy};
use crate::directory::streams::syncrepl::changelog::{Liveness, NO_TARGET, Point};
use crate::directory::streams::syncrepl::{Phase, REFRESH_PROGRESS, Syncrepl};
use crate::model::{Change, Cursor};

/// How long 389-DS may say nothing in a refresh before it is asked why.
const REFRESH_DOUBT: Duration = Duration::from_secs(15);

/// Makes sure that 389-DS can resume here, which it does not do by itself.
pub(crate) async fn liveness(
    session: &mut Session,
    from: Option<&Cursor>,
) -> Result<Liveness, DirectoryError> {
    let (first, last) = root_dse::change_numbers(session).await?.unwrap_or_default();
    if from.is_some_and(|Cursor(cookie)| Point::of(cookie).is_trimmed(first)) {
        return Err(DirectoryError::CursorRefused {
            server: session.server().to_owned(),
            cause: format!("the changelog was trimmed and begins with change {first}"),
        });
    }
    Ok(Liveness::new(last, Instant::now()))
}

/// The error for cookies that name no change.
pub(crate) fn no_target(session: &Session) -> DirectoryError {
    DirectoryError::Unsupported {
        server: session.server().to_owned(),
        cause: NO_TARGET.into(),
    }
}

impl Syncrepl {
    /// A message of the refresh.
    pub(crate) async fn hear_refresh(&mut self) -> Result<Item, DirectoryError> {
        const DOING: &str = "waiting for the refresh of the sync search";
        if self.liveness.is_none() {
            return self.session.next(&mut self.search, REFRESH_PROGRESS, DOING).await;
        }
        match self.session.next(&mut self.search, REFRESH_DOUBT, DOING).await {
            Err(DirectoryError::Silent { .. }) => {
                // Where the refresh has gone on meanwhile, there is none.
                unless_busy(self.find_limit().await)?;
                self.session.next(&mut self.search, REFRESH_DOUBT, DOING).await
            }
            item => item,
        }
    }

    /// The error of the limit at which the same search without the control ends, where there is one.
    async fn find_limit(&mut self) -> Result<(), DirectoryError> {
        let request = Request {
            attributes: vec!["1.1".to_owned()],
            ..self.target.request()
        };
        let mut search = self.session.search(request).await?;
        loop {
            let doing = "searching for the limit at which the sync search fell silent";
            match self.session.next(&mut search, REFRESH_PROGRESS, doing).await? {
                Item::Message(_) => {}
                Item::Done(result) if result.rc == 0 => return Ok(()),
                Item::Done(result) => {
                    return Err(self.session.search_error("the sync search", &result));
                }
            }
        }
    }

    /// Nothing changed for a while: the connection is proved alive, and on 389-DS the stream, too.
    pub(crate) async fn prove(&mut self) -> Result<(), DirectoryError> {
        self.told.push_back(Change::Alive);
        let Some(known) = &self.liveness else {
            unless_busy(root_dse::probe(&mut self.session).await)?;
            return Ok(());
        };
        let Some(numbers) = unless_busy(root_dse::change_numbers(&mut self.session).await)? else {
            return Ok(());
        };
        let (_, last) = numbers.unwrap_or_default();
        if !known.is_suspect(last, Instant::now()) || self.cursor.is_none() {
            return Ok(());
        }
        tracing::debug!(
            directory = self.target.query.settings.name,
            last,
            "others changed and the sync search is silent: it is replaced"
        );
        let mut session = self.target.query.connect().await?;
        self.liveness = Some(liveness(&mut session, self.cursor.as_ref()).await?);
        self.search = self.target.sync(&mut session, self.cursor.clone()).await?;
        self.session = session;
        self.phase = Phase::Renewal { missed: 0 };
        Ok(())
    }

    /// The end of a renewal.
    pub(crate) fn renewed(&mut self, cookie: Option<Vec<u8>>, missed: u32) -> Result<(), DirectoryError> {
        self.phase = Phase::Persist;
        if missed > 0 {
            self.end = Some(DirectoryError::Broken {
                server: self.session.server().to_owned(),
                cause: format!(
                    "stopped telling of changes without closing the connection ({missed} were told to another search)"
                ),
            });
        }
        self.checkpoint(cookie)
    }
}
