//! Errors of calls to Vaultwarden, each with its remedy.

use std::time::Duration;

use crate::model::{Disposition, EmailAddress, Rejection};
use crate::tls::TlsError;

/// Why a call to Vaultwarden failed. The text names the URL, the cause and the remedy; it never holds a secret.
///
/// It is `Clone` because one failed login is the result of every call that waited for it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VaultwardenError {
    /// There is no admin token.
    #[error("the admin token is empty; give the value of Vaultwarden's ADMIN_TOKEN")]
    EmptyToken,
    /// The admin token is the hash that Vaultwarden stores instead of the secret.
    #[error(
        "the admin token is a hash ($argon2..), which cannot be used to log in; give the secret that the hash was made from"
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
        /// The library's message.
        cause: String,
    },

    /// There is no connection or no answer, and the call had no effect.
    #[error("{url} is out of reach: {cause}")]
    Unreachable {
        /// The URL called.
        url: String,
        /// The innermost cause.
        cause: String,
    },
    /// A proxy answers in Vaultwarden's place, or Vaultwarden reports a failure of its own.
    #[error("{url} is not available: it answers with status {status}{message}")]
    Unavailable {
        /// The URL called.
        url: String,
        /// The HTTP status.
        status: u16,
        /// ": " and the server's message, or empty.
        message: String,
    },
    /// The TLS handshake failed.
    #[error("{url} is not trusted: {cause}")]
    Untrusted {
        /// The URL called.
        url: String,
        /// The message of rustls, and the remedy for common failures.
        cause: String,
    },
    /// The request was sent and no answer came: Vaultwarden may have carried it out.
    #[error("{url} did not say whether it carried out the request: {cause}")]
    OutcomeUnknown {
        /// The URL called.
        url: String,
        /// A time-out, a broken connection, or a proxy that stopped waiting.
        cause: String,
    },

    /// Vaultwarden does not accept the token.
    #[error("{url} refuses the admin token; it must be the value of ADMIN_TOKEN, or the secret of its hash")]
    WrongToken {
        /// Vaultwarden's URL.
        url: String,
    },
    /// Vaultwarden asks for a one-time code, and there is no secret to make one.
    #[error(
        "{url} asks for a one-time code; set `admin_totp_secret_file` to the secret in its ADMIN_TOTP_SECRET, or the admin token is wrong as well"
    )]
    CodeRequired {
        /// Vaultwarden's URL.
        url: String,
    },
    /// Vaultwarden does not accept the token or the one-time code; it does not say which.
    #[error(
        "{url} refuses the admin token or the one-time code; check `admin_token`, `admin_totp_secret`, and that the clocks of both machines agree within 30 seconds; if somebody else has just logged in with the same code, the next one is accepted"
    )]
    WrongTokenOrCode {
        /// Vaultwarden's URL.
        url: String,
    },
    /// Vaultwarden refuses the session that it has just opened.
    #[error(
        "{url} refuses the session that it has just opened; a proxy may remove the cookie VW_ADMIN, or serve several Vaultwardens"
    )]
    SessionRefused {
        /// The URL called.
        url: String,
    },
    /// Vaultwarden answers other calls, but not the list of all accounts.
    #[error(
        "{url} does not return the list of accounts: {cause}; if a proxy is in between, let it wait longer, or use Vaultwarden's own port as URL"
    )]
    NoList {
        /// The URL called.
        url: String,
        /// What it answers instead.
        cause: String,
    },
    /// Another login would exceed Vaultwarden's rate limit.
    #[error("{url} requires a login, and its rate limit allows the next one in {}s", wait.as_secs_f32().ceil())]
    LoginsSpent {
        /// Vaultwarden's URL.
        url: String,
        /// How long to wait.
        wait: Duration,
    },
    /// Vaultwarden or a proxy limits the rate of requests.
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
    /// There is no Vaultwarden at the URL.
    #[error(
        "{url} is not found (status 404); the URL must be that of Vaultwarden's DOMAIN, sub-path included, without /admin"
    )]
    WrongPath {
        /// The URL called.
        url: String,
    },
    /// A proxy lets requests to Vaultwarden pass, but not those to its admin API.
    #[error(
        "{url} is blocked (status {status}); let this host pass the proxy in front of it, or use Vaultwarden's own port as URL"
    )]
    Blocked {
        /// The URL called.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// Vaultwarden has another URL. Redirects are not followed, because that would send the token to any host.
    #[error("{url} redirects to {to}; configure that as the URL")]
    Moved {
        /// The URL called.
        url: String,
        /// The URL to configure.
        to: String,
    },
    /// A proxy in front of Vaultwarden requires a login.
    #[error(
        "{url} is protected by {guard}; exempt the path /admin from it, or use Vaultwarden's own port as URL"
    )]
    Guarded {
        /// The URL called.
        url: String,
        /// What it answers: a redirect or an authentication challenge.
        guard: String,
    },
    /// An HTML page instead of JSON: another server, or the login page of a proxy.
    #[error(
        "{url} answers with a page that is not Vaultwarden's; correct the URL or, if it is the login page of a proxy, exempt the path /admin from that or use Vaultwarden's own port as URL"
    )]
    Foreign {
        /// The URL called.
        url: String,
    },
    /// An answer that no known version gives.
    #[error(
        "{url} answers with {what}, which no known version of Vaultwarden does; check that the URL is Vaultwarden's, and whether there is a newer version of ldap-usher"
    )]
    Unexpected {
        /// The URL called.
        url: String,
        /// What it answers.
        what: String,
    },

    /// Vaultwarden, or its mail server, will never accept this address.
    #[error("{address} cannot be invited: {}", rejection.reason)]
    Refused {
        /// The invited address.
        address: EmailAddress,
        /// The server's message, and whether it may apply to everyone.
        rejection: Rejection,
    },
    /// The mail server does not accept mail to this address at the moment (greylisting, a full mailbox).
    #[error("{address} cannot be invited at the moment: {reason}")]
    Deferred {
        /// The invited address.
        address: EmailAddress,
        /// The server's message.
        reason: String,
    },
    /// Vaultwarden will never make this change.
    #[error("the account {account} {}", rejection.reason)]
    Declined {
        /// The id of the account.
        account: String,
        /// Why, as what follows "the account".
        rejection: Rejection,
    },
    /// Vaultwarden fails to change one account.
    #[error("{url} fails: {message}; see Vaultwarden's log")]
    NotChanged {
        /// The URL called.
        url: String,
        /// The server's message.
        message: String,
    },
    /// Vaultwarden does not know a call, or a proxy in front of it does not let this call pass.
    #[error(
        "{url} is not there (status {status}); Vaultwarden knows this call since {since}: update an older one, or let the path pass the proxy in front of it"
    )]
    NoEndpoint {
        /// The URL called.
        url: String,
        /// The HTTP status.
        status: u16,
        /// The version of Vaultwarden that brought the call.
        since: &'static str,
    },
    /// Vaultwarden cannot send mail to anyone.
    #[error("{url} cannot send mail: {message}; see its SMTP settings and its log")]
    Mail {
        /// Vaultwarden's URL.
        url: String,
        /// The server's message.
        message: String,
    },
}

impl VaultwardenError {
    /// URL and cause of an error that concerns one call and says nothing about other calls.
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

    /// What the caller does next.
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::Unreachable { .. } | Self::Unavailable { .. } | Self::Mail { .. } => Disposition::Outage,
            Self::OutcomeUnknown { .. } => Disposition::Ambiguous,
            Self::LoginsSpent { wait, .. } | Self::RateLimited { wait, .. } => Disposition::RetryAfter(*wait),
            Self::Refused { rejection, .. } | Self::Declined { rejection, .. } => {
                Disposition::Reject(rejection.clone())
            }
            // Other calls work.
            Self::Deferred { .. }
            | Self::NotChanged { .. }
            | Self::NoEndpoint { .. }
            | Self::NoList { .. } => Disposition::Retry,
            Self::EmptyToken
            | Self::HashedToken
            | Self::Url { .. }
            | Self::Tls(_)
            | Self::Setup { .. }
            | Self::Untrusted { .. }
            | Self::WrongToken { .. }
            | Self::CodeRequired { .. }
            | Self::WrongTokenOrCode { .. }
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
