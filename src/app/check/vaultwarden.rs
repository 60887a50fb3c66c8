//! Checks Vaultwarden: the connection, the admin API, and what its configuration means for invited people.

use std::sync::Arc;

use url::{Host, Url};

use super::super::policies::reminders;
use super::super::servers::vaultwarden_settings;
use super::super::sessions::Sessions;
use super::accounts;
use super::certificates;
use super::mail::{StepFinding, judge_mail};
use super::{Finding, Severity, Steps};
use crate::clock::Clock;
use crate::config::Config;
use crate::model::{Disposition, EmailAddress};
use crate::rules::ReminderPolicy;
use crate::store::Store;
use crate::vaultwarden::{
    Admin, AuthMethod, ClientSettings, Configuration, Identity, Recognition, ServerInfo, SignUps,
    SingleSignOn, Vaultwarden, VaultwardenError,
};
use crate::worker::server_identity;

pub(super) async fn check(
    config: &Config,
    sessions: Sessions,
    (known, store): (&Identity, Option<Arc<dyn Store>>),
    say: &mut dyn FnMut(Finding),
) {
    let url = &config.vaultwarden.url;
    let prefix = format!("vaultwarden, {}", url.as_str().trim_end_matches('/'));
    let mut steps = Steps::new(prefix, say);
    let settings = vaultwarden_settings(config);
    let client = Vaultwarden::new(&settings, Arc::new(sessions), Clock::system());
    let Some(vaultwarden) = steps.step("settings", "", async { client }).await else {
        return;
    };
    check_connection(&mut steps, &settings, &vaultwarden).await;
    let version = steps.step("version", "", vaultwarden.version()).await;
    match version {
        Some(None) => steps.say(
            Severity::Warn,
            "version",
            "not reported: older than 1.25, a custom build, or not Vaultwarden",
            "update Vaultwarden if it is old",
        ),
        Some(Some(version)) => steps.say(Severity::Ok, "version", version, ""),
        None => {}
    }
    let info = steps
        .step("DOMAIN", "", vaultwarden.server_info())
        .await
        .flatten();
    if let Some(info) = &info {
        report_server_info(&mut steps, info, url);
    }
    let mut configuration = None;
    match steps.step("admin", "", log_in(&vaultwarden)).await {
        Some(None) => {
            let (level, detail, remedy) = judge_auth_method(vaultwarden.auth_method().await);
            steps.say(level, "admin", detail, remedy);
            let result = steps.step("configuration", "", vaultwarden.configuration()).await;
            if matches!(result, Some(None)) {
                let detail = "cannot be read, so it is not known whether invited people get a mail";
                let remedy = "let this host through the proxy in front of Vaultwarden, or use Vaultwarden's own port in `url`";
                steps.say(Severity::Warn, "configuration", detail, remedy);
            }
            configuration = result.flatten();
            check_identity(&mut steps, &vaultwarden, known).await;
            if let Some(store) = &store {
                accounts::check(&mut steps, &vaultwarden, store).await;
            }
        }
        Some(Some(limited)) => {
            steps.say(
                Severity::Warn,
                "admin",
                limited.to_string(),
                "try again then; once the service has run, `check` uses its session and needs no login",
            );
            let detail = "not tried, because the admin API is rate limited now";
            steps.say(Severity::Skip, "configuration", detail, "");
        }
        None => steps.skip("configuration"),
    }
    let is_hidden = info.is_some_and(|info| info.sign_up_hidden);
    let configuration = configuration.unwrap_or_default();
    for (level, step, detail, remedy) in judge_configuration(&configuration, is_hidden, reminders(config)) {
        steps.say(level, step, detail, remedy);
    }
}

const REACH: &str = "check `url`, that Vaultwarden runs, and the proxies and firewalls in between";

/// Checks that Vaultwarden answers and that its certificate is trusted.
async fn check_connection(steps: &mut Steps<'_>, settings: &ClientSettings, vaultwarden: &Vaultwarden) {
    let alive = vaultwarden.alive().await;
    // It was seen even if it was refused.
    let presented = settings.tls.seen.presented();
    match &presented {
        Some(certificate) => certificates::judge(steps, certificate),
        None if settings.url.scheme() != "https" => steps.say(Severity::Ok, "TLS", "not used", ""),
        None => {}
    }
    let refused = matches!(alive, Err(VaultwardenError::Untrusted { .. }));
    if presented.is_some() && !refused {
        steps.say(
            Severity::Ok,
            "TLS",
            "the certificate is trusted as configured",
            "",
        );
    }
    let step = if refused { "TLS" } else { "connection" };
    let alive = steps.step(step, REACH, async { alive }).await;
    steps.ok(step, alive.map(|()| "Vaultwarden and its database answer"));
}

fn report_server_info(steps: &mut Steps<'_>, info: &ServerInfo, url: &Url) {
    if info.server.as_deref() != Some("Vaultwarden") {
        steps.say(
            Severity::Warn,
            "server",
            format!(
                "calls itself {}, not Vaultwarden",
                info.server.as_deref().unwrap_or("nothing")
            ),
            "check that `url` leads to Vaultwarden and not to another Bitwarden server",
        );
    }
    if let Some(domain) = &info.domain {
        let (level, detail, remedy) = judge_domain(domain, url);
        steps.say(level, "DOMAIN", detail, remedy);
    }
}

/// Checks that this is the server to which the service has invited people.
async fn check_identity(steps: &mut Steps<'_>, vaultwarden: &Vaultwarden, known: &Identity) {
    if known.is_empty() {
        return;
    }
    match steps.step("accounts", "", vaultwarden.recognise(known)).await {
        Some(Recognition::Other(now)) => {
            let remedy = "correct `url`, or restore Vaultwarden; if it was replaced on purpose, use a new `state` file, or name people in `ldap-usher retry ADDRESS...`";
            steps.say(
                Severity::Warn,
                "accounts",
                server_identity::difference(known, &now),
                remedy,
            );
        }
        Some(_) => steps.say(
            Severity::Ok,
            "accounts",
            "this is the same Vaultwarden as before",
            "",
        ),
        None => {}
    }
}

/// What Vaultwarden's configuration means for invited people and for this service. `is_hidden` says whether its login
/// page hides the registration.
fn judge_configuration(
    configuration: &Configuration,
    is_hidden: bool,
    reminders: ReminderPolicy,
) -> Vec<StepFinding> {
    let mut findings = Vec::new();
    findings.extend(judge_mail(configuration, reminders));
    if configuration.single_sign_on != Some(SingleSignOn::Only) {
        findings.extend(judge_registration(configuration, is_hidden));
    }
    if configuration.invitations_allowed == Some(false) {
        let detail =
            "INVITATIONS_ALLOWED is off: managers of organizations cannot invite people; this service can";
        findings.push((Severity::Ok, "invitations", detail.into(), ""));
    }
    match configuration.single_sign_on {
        Some(SingleSignOn::Offered) => {
            let detail = "offered: everyone who logs in this way gets an account, invited or not";
            findings.push((Severity::Ok, "single sign-on", detail.into(), ""));
        }
        Some(SingleSignOn::Only) => {
            let detail = "required: no one registers, and everyone who logs in gets an account, invited or not; the identity provider must mark their address as verified";
            findings.push((Severity::Ok, "single sign-on", detail.into(), ""));
        }
        Some(SingleSignOn::Off) | None => {}
    }
    findings.extend(judge_logins(configuration));
    findings
}

/// How invited people register, and who else may register.
fn judge_registration(configuration: &Configuration, is_hidden: bool) -> Option<StepFinding> {
    const STEP: &str = "registration";
    let say = |level, detail: &str, remedy| Some((level, STEP, detail.to_owned(), remedy));
    match (configuration.mail, configuration.sign_ups) {
        (Some(false), _) if is_hidden => say(
            Severity::Warn,
            "the login page offers none, and mail is off, so invited people cannot register",
            "set INVITATIONS_ALLOWED=true or SMTP_HOST at Vaultwarden",
        ),
        (Some(true), _) if is_hidden => say(
            Severity::Ok,
            "the login page offers none, so invited people need the link in their mail",
            "",
        ),
        (None, _) if is_hidden => say(
            Severity::Ok,
            "the login page offers none, so invited people need the link in their mail",
            "check that Vaultwarden can send mail (SMTP_HOST)",
        ),
        (_, Some(SignUps::Open)) => say(
            Severity::Warn,
            "open to everyone, invited or not",
            "set SIGNUPS_ALLOWED=false at Vaultwarden, if only people in the directory may use it",
        ),
        (_, Some(SignUps::ForDomains)) => say(
            Severity::Ok,
            "open to invited people, and to the mail domains in SIGNUPS_DOMAINS_WHITELIST",
            "",
        ),
        (_, Some(SignUps::Closed)) => say(Severity::Ok, "open to invited people only", ""),
        (_, None) => None,
    }
}

/// Whether a new login is always allowed when a session ends.
fn judge_logins(configuration: &Configuration) -> Option<StepFinding> {
    const STEP: &str = "logins";
    let (burst, period) = (configuration.login_burst?, configuration.login_period?);
    let lifetime = configuration.session_lifetime?;
    let (period, lifetime) = (period.as_secs(), lifetime.as_secs());
    let detail = format!(
        "{burst} at once and then one in {period}s are allowed, and a session lasts {}min",
        lifetime / 60
    );
    Some(if lifetime < period {
        let detail = format!("{detail}: invitations wait for the next login");
        let remedy = "raise ADMIN_SESSION_LIFETIME or lower ADMIN_RATELIMIT_SECONDS at Vaultwarden";
        (Severity::Warn, STEP, detail, remedy)
    } else {
        (Severity::Ok, STEP, detail, "")
    })
}

/// Whether people can open the links in Vaultwarden's mails, which begin with its `DOMAIN`.
fn judge_domain(domain: &str, url: &Url) -> (Severity, String, &'static str) {
    const SET: &str = "set DOMAIN at Vaultwarden to the URL under which people open it";
    let Some((scheme, host)) = Url::parse(domain)
        .ok()
        .and_then(|url| Some((url.scheme().to_owned(), url.host()?.to_owned())))
    else {
        return (Severity::Warn, format!("{domain:?} is not a URL"), SET);
    };
    let links = format!("the links in invitations begin with {domain}");
    if is_local(&host) {
        let detail = format!("{links}, which is the reader's own machine");
        (Severity::Warn, detail, SET)
    } else if scheme != "https" {
        let detail = format!("{links}, and the web vault works over HTTPS only");
        let remedy = "serve Vaultwarden over HTTPS, and let its DOMAIN begin with https://";
        (Severity::Warn, detail, remedy)
    } else if url.host().is_some_and(|configured| configured.to_owned() != host) {
        if url.host().is_some_and(|host| is_internal(&host.to_owned())) {
            let detail = format!("{links}; `url` is an internal address of the same server");
            (Severity::Ok, detail, "")
        } else {
            let detail = format!("{links}, which is not the host in `url`");
            let remedy = "check that `url` is the intended Vaultwarden, and that its DOMAIN is right";
            (Severity::Warn, detail, remedy)
        }
    } else {
        (Severity::Ok, links, "")
    }
}

/// Whether this host is the local machine.
fn is_local(host: &Host) -> bool {
    match host {
        Host::Domain(name) => name == "localhost" || name.ends_with(".localhost"),
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    }
}

/// Whether this is an IP address, or a name without a domain, such as that of a container.
fn is_internal(host: &Host) -> bool {
    !matches!(host, Host::Domain(name) if name.contains('.'))
}

/// Makes a call to the admin API that changes nothing. Logs in only if the stored session is not accepted. Returns the
/// error if a rate limit prevents the call now, which is not a misconfiguration.
async fn log_in(vaultwarden: &Vaultwarden) -> Result<Option<VaultwardenError>, VaultwardenError> {
    let Ok(nobody) = EmailAddress::parse(b"nobody@ldap-usher.invalid") else {
        return Ok(None);
    };
    match vaultwarden.account(&nobody).await {
        Ok(_) => Ok(None),
        Err(error) if matches!(error.disposition(), Disposition::RetryAfter(_)) => Ok(Some(error)),
        Err(error) => Err(error),
    }
}

/// The finding about how the admin API authenticated this program.
fn judge_auth_method(method: AuthMethod) -> (Severity, &'static str, &'static str) {
    match method {
        AuthMethod::Token => (Severity::Ok, "the admin API answers to the admin token", ""),
        AuthMethod::Session => (
            Severity::Ok,
            "the admin API answers to a session that was opened with this admin token",
            "",
        ),
        AuthMethod::Open => (
            Severity::Warn,
            "the admin API asks for no token, so anyone who can reach it has full access",
            "unset DISABLE_ADMIN_TOKEN at Vaultwarden, unless a proxy in front of it protects /admin",
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const REMINDERS: ReminderPolicy = ReminderPolicy {
        after: Duration::from_secs(96 * 3600),
        limit: 2,
    };

    fn report(configuration: &Configuration, is_hidden: bool) -> String {
        let findings = judge_configuration(configuration, is_hidden, REMINDERS).into_iter();
        let lines =
            findings.map(|(level, step, detail, remedy)| format!("{level}  {step}: {detail} -> {remedy}\n"));
        lines.collect()
    }

    #[test]
    fn the_findings_say_what_vaultwardens_configuration_means_for_invited_people() {
        let usual = Configuration {
            mail: Some(true),
            smtp_timeout: None,
            link_lifetime: Some(Duration::from_secs(120 * 3600)),
            login_burst: Some(3),
            login_period: Some(Duration::from_secs(300)),
            session_lifetime: Some(Duration::from_secs(1200)),
            invitations_allowed: Some(true),
            sign_ups: Some(SignUps::Closed),
            single_sign_on: Some(SingleSignOn::Off),
        };
        insta::assert_snapshot!(report(&usual, true), @r"
            ok  mail: on: each invited person gets a link, which expires after 120 h; whoever has not registered is reminded 4days later and again, at most 2 times -> 
            ok  registration: the login page offers none, so invited people need the link in their mail -> 
            ok  logins: 3 at once and then one in 300s are allowed, and a session lasts 20min ->
            ");
        let without_mail = Configuration {
            mail: Some(false),
            sign_ups: Some(SignUps::Closed),
            ..Configuration::default()
        };
        insta::assert_snapshot!(report(&without_mail, false), @r"
            warn  mail: mail is off: Vaultwarden notifies no one; invited people register with their address at the URL in DOMAIN -> set SMTP_HOST at Vaultwarden, or tell people yourself that they can register
            ok  registration: open to invited people only -> 
            ");
        let without_any_way = Configuration {
            invitations_allowed: Some(false),
            ..without_mail
        };
        insta::assert_snapshot!(report(&without_any_way, true), @r"
            warn  mail: mail is off: Vaultwarden notifies no one; invited people register with their address at the URL in DOMAIN -> set SMTP_HOST at Vaultwarden, or tell people yourself that they can register
            warn  registration: the login page offers none, and mail is off, so invited people cannot register -> set INVITATIONS_ALLOWED=true or SMTP_HOST at Vaultwarden
            ok  invitations: INVITATIONS_ALLOWED is off: managers of organizations cannot invite people; this service can -> 
            ");
        let hasty = Configuration {
            link_lifetime: Some(Duration::from_secs(3600)),
            session_lifetime: Some(Duration::from_secs(240)),
            sign_ups: Some(SignUps::Open),
            single_sign_on: Some(SingleSignOn::Offered),
            ..usual
        };
        insta::assert_snapshot!(report(&hasty, false), @r"
            warn  mail: on: each invited person gets a link, which expires after 1 h; whoever has not registered is reminded 4days later and again, at most 2 times -> raise INVITATION_EXPIRATION_HOURS at Vaultwarden, so that the link still works a day later
            warn  registration: open to everyone, invited or not -> set SIGNUPS_ALLOWED=false at Vaultwarden, if only people in the directory may use it
            ok  single sign-on: offered: everyone who logs in this way gets an account, invited or not -> 
            warn  logins: 3 at once and then one in 300s are allowed, and a session lasts 4min: invitations wait for the next login -> raise ADMIN_SESSION_LIFETIME or lower ADMIN_RATELIMIT_SECONDS at Vaultwarden
            ");
        let only = Configuration {
            single_sign_on: Some(SingleSignOn::Only),
            login_burst: None,
            ..usual
        };
        insta::assert_snapshot!(report(&only, true), @r"
            ok  mail: on: each invited person gets a link, which expires after 120 h; whoever has not registered is reminded 4days later and again, at most 2 times -> 
            ok  single sign-on: required: no one registers, and everyone who logs in gets an account, invited or not; the identity provider must mark their address as verified -> 
            ");
        // A version that reports nothing.
        insta::assert_snapshot!(report(&Configuration::default(), true), @"ok  registration: the login page offers none, so invited people need the link in their mail -> check that Vaultwarden can send mail (SMTP_HOST)");
        assert_eq!(report(&Configuration::default(), false), "");
    }

    #[test]
    fn only_links_that_people_cannot_open_or_that_lead_elsewhere_are_warned_about() {
        let level = |domain, url: &str| judge_domain(domain, &url.parse().unwrap()).0;
        let vault = "https://vault.example.org";
        for (domain, url, expected) in [
            (vault, vault, Severity::Ok),
            (
                "https://vault.example.org/sub",
                "https://vault.example.org/sub/",
                Severity::Ok,
            ),
            (vault, "http://127.0.0.1:8000", Severity::Ok),
            (vault, "http://vaultwarden", Severity::Ok),
            (vault, "https://vault.example.com", Severity::Warn),
            ("http://localhost", "http://localhost", Severity::Warn),
            ("https://127.0.0.1:8000", "https://127.0.0.1:8000", Severity::Warn),
            (
                "http://vault.example.org",
                "http://vault.example.org",
                Severity::Warn,
            ),
            ("vault.example.org", vault, Severity::Warn),
        ] {
            assert_eq!(level(domain, url), expected, "{domain} at {url}");
        }
    }
}
