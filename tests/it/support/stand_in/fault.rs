//! Faults of the stand-in.

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
    /// `POST /admin/users/../..`: `deauth`, `disable`, `enable`, `delete` or `invite/resend`.
    Change(&'static str),
    /// `GET /admin/diagnostics/config`.
    Configuration,
    /// Everything.
    All,
}

/// A fault. Faults at a [`Moment`] apply to invitations and to changes of an account.
#[derive(Debug, Clone)]
pub enum Fault {
    /// An error of Vaultwarden, with its JSON.
    Error(u16, &'static str),
    /// A page with this status, as a proxy or a foreign site would send it.
    Page(u16),
    /// A redirect to another URL.
    Redirect(&'static str),
    /// 401, as if the session were not known.
    SessionLost,
    /// The answer is delayed.
    Delay(Duration),
    /// The answer breaks off in the middle.
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

/// A point in the processing of an invitation or of a change by Vaultwarden.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Nothing has happened.
    Arrived,
    /// The mail was sent, and nothing is saved yet.
    Mailed,
    /// It is saved, and no answer was sent.
    Saved,
}
