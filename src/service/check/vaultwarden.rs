//! The way to Vaultwarden, and what its users will see of it.

use std::sync::Arc;

use url::{Host, Url};

use super::super::run::vaultwarden_settings;
use super::super::sessions::Sessions;
use super::{Finding, Level, Steps};
use crate::clock::Clock;
use crate::config::Config;
use crate::model::{Disposition, EmailAddress};
use crate::vaultwarden::{Admin, Entrance, Portal, Settings, Vaultwarden, VaultwardenError, presented};

pub(super) async fn check(config: &Config, sessions: Sessions, say: &mut dyn FnMut(Finding)) {
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
            Level::Warn,
            "version",
            "not told: older than 1.25, a build of one's own, or no Vaultwarden",
            "update Vaultwarden if it is old",
        ),
        Some(Some(version)) => steps.say(Level::Ok, "version", version, ""),
        None => {}
    }
    if let Some(Some(portal)) = steps.step("DOMAIN", "", vaultwarden.portal()).await {
        report_portal(&mut steps, &portal, url);
    }
    match steps.step("admin", "", log_in(&vaultwarden)).await {
        Some(None) => {
            let (level, detail, remedy) = judge_entrance(vaultwarden.entrance().await);
            steps.say(level, "admin", detail, remedy);
        }
        Some(Some(limited)) => steps.say(
            Level::Warn,
            "admin",
            limited.to_string(),
            "try again then; once the service has run, its session is used and no login is needed",
        ),
        None => {}
    }
}

const REACH: &str = "check `url`, that Vaultwarden runs, and the proxies and firewalls in between";

/// Whether Vaultwarden answers, and over TLS, whether it is trusted.
async fn check_connection(steps: &mut Steps<'_>, settings: &Settings, vaultwarden: &Vaultwarden) {
    let presented = match presented(settings).await {
        Ok(Some(certificate)) => {
            let detail = format!("the server presents {certificate}");
            steps.say(Level::Ok, "certificate", detail, "");
            true
        }
        Ok(None) => {
            steps.say(Level::Ok, "TLS", "not used", "");
            false
        }
        // What keeps it from being seen keeps the next call from success.
        Err(_) => false,
    };
    let alive = vaultwarden.alive().await;
    let refused = matches!(alive, Err(VaultwardenError::Untrusted { .. }));
    if presented && !refused {
        steps.say(Level::Ok, "TLS", "the certificate is trusted as configured", "");
    }
    let step = if refused { "TLS" } else { "connection" };
    let alive = steps.step(step, REACH, async { alive }).await;
    steps.ok(step, alive.map(|()| "Vaultwarden and its database answer"));
}

fn report_portal(steps: &mut Steps<'_>, portal: &Portal, url: &Url) {
    if portal.server.as_deref() != Some("Vaultwarden") {
        steps.say(
            Level::Warn,
            "server",
            format!(
                "calls itself {}, not Vaultwarden",
                portal.server.as_deref().unwrap_or("nothing")
            ),
            "check that `url` leads to Vaultwarden and not to another server for Bitwarden's clients",
        );
    }
    if let Some(domain) = &portal.domain {
        let (level, detail, remedy) = judge_domain(domain, url);
        steps.say(level, "DOMAIN", detail, remedy);
    }
    if portal.sign_up_hidden {
        let detail = "the login page offers none, so invited people need the link in their mail";
        let remedy = "see that Vaultwarden can send mail (SMTP_HOST)";
        steps.say(Level::Ok, "registration", detail, remedy);
    }
}

/// Whether people can follow the links in Vaultwarden's mails, which begin with its `DOMAIN`.
fn judge_domain(domain: &str, url: &Url) -> (Level, String, &'static str) {
    const SET: &str = "set DOMAIN at Vaultwarden to the URL under which people open it";
    let Some((scheme, host)) = Url::parse(domain)
        .ok()
        .and_then(|url| Some((url.scheme().to_owned(), url.host()?.to_owned())))
    else {
        return (Level::Warn, format!("{domain:?} is not a URL"), SET);
    };
    let links = format!("the links in invitations begin with {domain}");
    if is_local(&host) {
        let detail = format!("{links}, which is the reader's own machine, wherever they read it");
        (Level::Warn, detail, SET)
    } else if scheme != "https" {
        let detail = format!("{links}, and browsers let people use a vault by HTTPS only");
        let remedy = "serve Vaultwarden by HTTPS, and let its DOMAIN begin with https://";
        (Level::Warn, detail, remedy)
    } else if url.host().is_some_and(|configured| configured.to_owned() != host) {
        if url.host().is_some_and(|host| is_internal(&host.to_owned())) {
            let detail = format!("{links}; `url` is a way to it that is not for people");
            (Level::Ok, detail, "")
        } else {
            let detail = format!("{links}, which is another host than that in `url`");
            let remedy = "check that `url` is the Vaultwarden that you mean, and that its DOMAIN is right";
            (Level::Warn, detail, remedy)
        }
    } else {
        (Level::Ok, links, "")
    }
}

/// Whether everyone who reads this name reads their own machine in it.
fn is_local(host: &Host) -> bool {
    match host {
        Host::Domain(name) => name == "localhost" || name.ends_with(".localhost"),
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    }
}

/// Whether this is an address, or a name without a domain such as that of a container.
fn is_internal(host: &Host) -> bool {
    !matches!(host, Host::Domain(name) if name.contains('.'))
}

/// Uses the admin API in a way that changes nothing; only where the session at hand is not accepted, it logs in. Returns
/// what keeps it from being tried now, where that is nobody's mistake.
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

/// What it means that the admin API let us in.
fn judge_entrance(entrance: Entrance) -> (Level, &'static str, &'static str) {
    match entrance {
        Entrance::Token => (Level::Ok, "the admin API answers to the admin token", ""),
        Entrance::Session => (
            Level::Ok,
            "the admin API answers to a session that this admin token has opened before",
            "",
        ),
        Entrance::Open => (
            Level::Warn,
            "the admin API asks for no token, so that whoever reaches it may do everything",
            "unset DISABLE_ADMIN_TOKEN at Vaultwarden, unless something in front of it guards /admin",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_that_nobody_can_follow_are_told_from_those_that_merely_differ_from_the_url() {
        let level = |domain, url: &str| judge_domain(domain, &url.parse().unwrap()).0;
        let vault = "https://vault.example.org";
        for (domain, url, expected) in [
            (vault, vault, Level::Ok),
            (
                "https://vault.example.org/sub",
                "https://vault.example.org/sub/",
                Level::Ok,
            ),
            (vault, "http://127.0.0.1:8000", Level::Ok),
            (vault, "http://vaultwarden", Level::Ok),
            (vault, "https://vault.example.com", Level::Warn),
            ("http://localhost", "http://localhost", Level::Warn),
            ("https://127.0.0.1:8000", "https://127.0.0.1:8000", Level::Warn),
            (
                "http://vault.example.org",
                "http://vault.example.org",
                Level::Warn,
            ),
            ("vault.example.org", vault, Level::Warn),
        ] {
            assert_eq!(level(domain, url), expected, "{domain} at {url}");
        }
    }
}
