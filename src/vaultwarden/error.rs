//! What can go wrong with Vaultwarden, and what to do about it.

use std::time::Duration;

use crate::model::{Disposition, EmailAddress, Rejection};
use crate::tls::TlsError;

/// Why a call to Vaultwarden failed. The text names the URL, the cause and the remedy; it never holds a secret.
///
/// It can be cloned because one failed login is the answer to everyone who waited for it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VaultwardenError {
    /// There is no admin token.
    #[error("the admin token is empty; give the value of Vaultwarden's ADMIN_TOKEN")]
    EmptyToken,
    /// The admin token is what Vaultwarden stores, not what people type.
    #[error(
        "the admin token is a hash ($argon2..), with which nobody can log in; give the secret that the hash was made from"
    )]
    HashedToken,
    /// The URL cannot be used.
    #[error("the URL {url} cannot be used: {cause}")]
    Url {
        /// The URL as given.
        url: String,
        /// What is wrong with it.
        cause: &'static str,
    },
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The HTTP client cannot be set up.
    #[error("the HTTP client for {url} cannot be set up: {cause}")]
    Setup {
        /// Vaultwarden's URL.
        url: String,
        /// The library's words.
        cause: String,
    },

    /// No connection, or no answer, and nothing can have come of the call.
    #[error("{url} is out of reach: {cause}")]
    Unreachable {
        /// The URL called.
        url: String,
        /// The innermost cause.
        cause: String,
    },
    /// A proxy answers in Vaultwarden's place, or Vaultwarden says that it cannot work.
    #[error("{url} is not available: it answers with status {status}{message}")]
    Unavailable {
        /// The URL called.
        url: String,
        /// The HTTP status.
        status: u16,
        /// ": " and the server's words, where there are any.
        message: String,
    },
    /// The TLS handshake failed.
    #[error("{url} is not trusted: {cause}")]
    Untrusted {
        /// The URL called.
        url: String,
        /// What rustls says, and the remedy for what is usual.
        cause: String,
    },
    /// The request was sent and no answer came: Vaultwarden may have carried it out.
    #[error("{url} did not say whether it carried out the request: {cause}")]
    OutcomeUnknown {
        /// The URL called.
        url: String,
        /// Time-out, broken connection, a proxy that gave up.
        cause: String,
    },

    /// Vaultwarden does not accept the token.
    #[error("{url} refuses the admin token; it must be the value of ADMIN_TOKEN, or the secret of its hash")]
    WrongToken {
        /// Vaultwarden's URL.
        url: String,
    },
    /// A fresh session was not accepted.
    #[error(
        "{url} refuses the session that it has just opened; a proxy may remove the cookie VW_ADMIN, or serve several Vaultwardens"
    )]
    SessionRefused {
        /// The URL called.
        url: String,
    },
    /// Vaultwarden answers, and only its list of all accounts cannot be had.
    #[error(
        "{url} does not tell who has an account: {cause}; where a proxy is in between, let it wait longer, or use Vaultwarden's own port as URL"
    )]
    NoList {
        /// The URL called.
        url: String,
        /// What came instead.
        cause: String,
    },
    /// Another login would exceed what Vaultwarden's limiter allows.
    #[error("{url} wants a login, and its limiter allows the next one in {}s", wait.as_secs_f32().ceil())]
    LoginsSpent {
        /// Vaultwarden's URL.
        url: String,
        /// How long to wait.
        wait: Duration,
    },
    /// Vaultwarden, or a proxy, asks to be called less often.
    #[error("{url} answers that there were too many requests; the next one is allowed in {}s", wait.as_secs_f32().ceil())]
    RateLimited {
        /// The URL called.
        url: String,
        /// How long to wait.
        wait: Duration,
    },

    /// The admin page is switched off.
    #[error("{url} has its admin page switched off; set ADMIN_TOKEN there")]
    AdminDisabled {
        /// Vaultwarden's URL.
        url: String,
    },
    /// There is no Vaultwarden under the URL.
    #[error(
        "{url} is not found (status 404); the URL must be that of Vaultwarden's DOMAIN, sub-path included, without /admin"
    )]
    WrongPath {
        /// The URL called.
        url: String,
    },
    /// Something lets Vaultwarden through, but not its admin API.
    #[error(
        "{url} is blocked (status {status}); let this host pass the proxy in front of it, or use Vaultwarden's own port as URL"
    )]
    Blocked {
        /// The URL called.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// Vaultwarden is under another URL. Redirects are not followed: the token would go wherever they lead.
    #[error("{url} is redirected; give {to} as the URL instead, which is where it leads")]
    Moved {
        /// The URL called.
        url: String,
        /// The URL to configure.
        to: String,
    },
    /// Something in front of Vaultwarden wants a login of its own.
    #[error(
        "{url} is guarded by {guard}; exempt the path /admin from it, or use Vaultwarden's own port as URL"
    )]
    Guarded {
        /// The URL called.
        url: String,
        /// What was seen: a redirect, a challenge.
        guard: String,
    },
    /// A page where none belongs: another server, or a guard that asks for a login of its own.
    #[error(
        "{url} answers with a page that is not Vaultwarden's; correct the URL, or, where it is the login of a guard, exempt the path /admin from that or use Vaultwarden's own port as URL"
    )]
    Foreign {
        /// The URL called.
        url: String,
    },
    /// An answer that no known version gives.
    #[error(
        "{url} answers with {what}, which no known version of Vaultwarden does; check that the URL is Vaultwarden's, and whether this program has a newer version"
    )]
    Unexpected {
        /// The URL called.
        url: String,
        /// What came.
        what: String,
    },

    /// Vaultwarden, or its mail server, will never accept this address.
    #[error("{address} cannot be invited: {}", rejection.reason)]
    Refused {
        /// Whom.
        address: EmailAddress,
        /// The server's words, and whether they may be meant for everyone.
        rejection: Rejection,
    },
    /// The mail server does not accept mail to this address at the moment (greylisting, a full mailbox).
    #[error("{address} cannot be invited at the moment: {reason}")]
    Deferred {
        /// Whom.
        address: EmailAddress,
        /// The server's words.
        reason: String,
    },
    /// Vaultwarden cannot send mail to anyone.
    #[error("{url} cannot send mail: {message}; see its SMTP settings and its log")]
    Mail {
        /// Vaultwarden's URL.
        url: String,
        /// The server's words.
        message: String,
    },
}

impl VaultwardenError {
    /// The URL and the cause, where the answer to one call failed or makes no sense, which says nothing about others.
    pub(super) fn of_one_call(&self) -> Option<(String, String)> {
        let (url, cause) = match self {
            Self::Unreachable { url, cause } | Self::Unexpected { url, what: cause } => (url, cause.clone()),
            Self::Unavailable { url, status, message } => (url, format!("status {status}{message}")),
            Self::Blocked { url, status } => (url, format!("status {status}")),
            Self::Foreign { url } => (url, "a page that is not Vaultwarden's".into()),
            _ => return None,
        };
        Some((url.clone(), cause))
    }

    /// What to do about it.
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::Unreachable { .. } | Self::Unavailable { .. } | Self::Mail { .. } => Disposition::Outage,
            Self::OutcomeUnknown { .. } => Disposition::Ambiguous,
            Self::LoginsSpent { wait, .. } | Self::RateLimited { wait, .. } => Disposition::RetryAfter(*wait),
            Self::Refused { rejection, .. } => Disposition::Reject(rejection.clone()),
            Self::Deferred { .. } | Self::NoList { .. } => Disposition::Retry,
            Self::EmptyToken
            | Self::HashedToken
            | Self::Url { .. }
            | Self::Tls(_)
            | Self::Setup { .. }
            | Self::Untrusted { .. }
            | Self::WrongToken { .. }
            | Self::SessionRefused { .. }
            | Self::AdminDisabled { .. }
            | Self::WrongPath { .. }
            | Self::Blocked { .. }
            | Self::Moved { .. }
            | Self::Guarded { .. }
            | Self::Foreign { .. }
            | Self::Unexpected { .. } => Disposition::Operator,
        }
    }
}
