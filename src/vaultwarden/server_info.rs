//! What a Vaultwarden reports about itself: its public information and its configuration.

use std::time::Duration;

/// Public information of the server: `/api/config`, from 1.26 on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerInfo {
    /// The name of the software, `Vaultwarden`.
    pub server: Option<String>,
    /// `DOMAIN`: the prefix of the links in mails.
    pub domain: Option<String>,
    /// Whether the login page hides the registration.
    pub sign_up_hidden: bool,
}

/// Vaultwarden's configuration: `/admin/diagnostics/config`, from 1.19 on. `None` for what a version does not report.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Configuration {
    /// Whether it sends mail (`SMTP_HOST` or `USE_SENDMAIL`, and `_ENABLE_SMTP`).
    pub mail: Option<bool>,
    /// `SMTP_TIMEOUT`: how long it waits for the connection to the mail server. The rest of the dialogue has no limit.
    pub smtp_timeout: Option<Duration>,
    /// `INVITATION_EXPIRATION_HOURS`: how long the link in an invitation is valid (from 1.26 on; 120 hours before).
    pub link_lifetime: Option<Duration>,
    /// `ADMIN_RATELIMIT_MAX_BURST`: the number of logins that are allowed at once (from 1.24 on; no limit before).
    pub login_burst: Option<u32>,
    /// `ADMIN_RATELIMIT_SECONDS`: the time after which one more login is allowed.
    pub login_period: Option<Duration>,
    /// `ADMIN_SESSION_LIFETIME` (from 1.28 on; 20 minutes before).
    pub session_lifetime: Option<Duration>,
    /// `INVITATIONS_ALLOWED`: whether the administrators of organizations may invite.
    pub invitations_allowed: Option<bool>,
    /// Who may register without an invitation: `SIGNUPS_ALLOWED` and `SIGNUPS_DOMAINS_WHITELIST`.
    pub sign_ups: Option<SignUps>,
    /// `SSO_ENABLED` and `SSO_ONLY` (from 1.35 on).
    pub single_sign_on: Option<SingleSignOn>,
}

/// Who may register without an invitation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignUps {
    /// Nobody.
    Closed,
    /// People of certain mail domains.
    ForDomains,
    /// Everyone.
    Open,
}

/// How people log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SingleSignOn {
    /// With the master password only.
    Off,
    /// With the master password or by single sign-on.
    Offered,
    /// By single sign-on only.
    Only,
}
