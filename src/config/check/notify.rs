//! Checks `[notify]`.

use secrecy::ExposeSecret;
use url::Url;

use super::super::Notify;
use super::super::choices::unknown;
use super::super::problem::{KeyPath, Problems};
use super::super::schema::NotifyTable;
use super::super::secret::{Resolved, Secrets};
use super::{TlsKeys, check_proxy, is_loopback, pins_need_tls, tls};
use crate::model::What;

/// The word in `events` that stands for all kinds.
const ALL: &str = "all";

pub(super) fn notify(
    table: &mut NotifyTable,
    at: &KeyPath,
    secrets: &Secrets,
    problems: &mut Problems<'_>,
) -> Option<Notify> {
    let events = events(&table.events, &at.key("events"), problems);
    let keys = [
        ("url", &mut table.url, &mut table.url_file),
        ("secret", &mut table.secret, &mut table.secret_file),
        ("ping_url", &mut table.ping_url, &mut table.ping_url_file),
        ("proxy", &mut table.proxy, &mut table.proxy_file),
    ];
    let [url, secret, ping_url, proxy] = keys.map(|(key, inline, file)| {
        let credential = format!("notify_{key}");
        secrets.resolve(at, key, (inline, file), &[&credential], problems)
    });
    check_url(url.as_ref(), problems);
    check_url(ping_url.as_ref(), problems);
    check_proxy(proxy.as_ref(), problems);
    let [url, secret, ping_url, proxy] =
        [url, secret, ping_url, proxy].map(|resolved| resolved.map(|resolved| resolved.value));
    if secret.is_some() && url.is_none() {
        problems.warning(
            &at.key("secret"),
            "signs nothing, because there is no `url`; remove it, or add the URL",
        );
    }
    if table
        .command
        .first()
        .is_some_and(|program| !program.starts_with('/'))
    {
        problems.error(
            &at.key("command"),
            "does not begin with a full path; write it as [\"/usr/local/bin/on-usher-event\"]",
        );
    }
    let tls = tls(
        &TlsKeys::of_server(&table.ca_file, table.tls_verify, &table.tls_pin),
        at,
        problems,
    );
    let urls = [&url, &ping_url].into_iter().flatten();
    let urls = urls.map(|url| url.expose_secret().trim());
    pins_need_tls(&table.tls_pin, urls, at, problems);
    Some(Notify {
        events: events?,
        url,
        secret,
        command: table.command.clone(),
        ping_url,
        ping_interval: table.ping_interval,
        tls,
        proxy,
    })
}

/// The kinds of events.
fn events(written: &[String], at: &KeyPath, problems: &mut Problems<'_>) -> Option<Vec<&'static str>> {
    let names = What::names();
    if written.is_empty() {
        problems.error(
            at,
            "names no event; remove the key for the usual ones, or write \"all\"",
        );
        return None;
    }
    let mut events = Vec::new();
    for word in written {
        match names.iter().find(|name| *name == word) {
            Some(name) => events.push(*name),
            None if word == ALL => events.extend(names),
            None => {
                let known = [names, &[ALL]].concat();
                problems.error(at, unknown("event", word, &known));
                return None;
            }
        }
    }
    Some(events)
}

/// Checks a URL. Problems do not repeat it, because it may hold a token.
fn check_url(url: Option<&Resolved>, problems: &mut Problems<'_>) {
    let Some(Resolved { value, at }) = url else { return };
    match Url::parse(value.expose_secret()) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => {
            if url.scheme() == "http" && !url.host().is_some_and(|host| is_loopback(&host)) {
                problems.warning(
                    at,
                    "is requested in clear text at another host, and may hold a token; use https://",
                );
            }
        }
        _ => problems.error(
            at,
            "is not the URL of a web server; write it as https://hooks.example.org/usher",
        ),
    }
}
