//! What may go wrong, and for whom.

use std::time::Duration;

/// Which calls a fault is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum On {
    /// `POST /admin`.
    Login,
    /// `POST /admin/invite`.
    Invite,
    /// `GET /admin/users`.
    List,
    /// `GET /admin/users/by-mail/..`.
    ByMail,
    /// `GET /admin/users/..`, by id.
    ById,
    /// `GET /admin/diagnostics/config`.
    Configuration,
    /// Everything.
    All,
}

/// What goes wrong. Faults at a [`Moment`] are for invitations.
#[derive(Debug, Clone)]
pub enum Fault {
    /// An error of Vaultwarden's own, with its JSON.
    Error(u16, &'static str),
    /// A page with this status, as a proxy or a foreign site would send it.
    Page(u16),
    /// A redirect to somewhere else.
    Redirect(&'static str),
    /// 401, as if the session were not known.
    SessionLost,
    /// The answer comes later.
    Delay(Duration),
    /// The answer begins, and breaks off in the middle.
    Truncate,
    /// The request is held at this moment until [`super::StandIn::release`].
    Hold(Moment),
    /// The connection breaks at this moment, without an answer.
    Drop(Moment),
}

impl Fault {
    pub(super) fn comes_from_outside(&self) -> bool {
        matches!(
            self,
            Self::Page(_) | Self::Redirect(_) | Self::SessionLost | Self::Delay(_)
        )
    }
}

/// A point on an invitation's way through Vaultwarden.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Nothing has happened.
    Arrived,
    /// The mail is out, and the account does not exist.
    Mailed,
    /// The account exists, and nobody was told.
    Saved,
}
