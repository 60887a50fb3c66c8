//! Turns the schema into a checked [`Config`]. Each function records every problem that it finds; it returns `None` if
//! there is no usable value.

mod bind;
mod controllers;
mod directory;
mod http;
mod leave;
mod notify;
mod people;
mod state;
mod traces;

use std::path::PathBuf;
use std::time::Duration;

use secrecy::ExposeSecret;
use url::{Host, Url};

use super::problem::{KeyPath, Problems};
use super::schema::{File, Invite, VaultwardenTable};
use super::secret::{Resolved, Secrets};
use super::{Config, Vaultwarden};
use crate::http_client;
use crate::tls::{ClientCertificate, Seen, TlsError, TlsOptions};
use crate::vaultwarden::check_totp;
pub(super) use state::state;

/// Checks the whole file and reads its secrets into it.
pub(super) fn check(file: &mut File, secrets: &Secrets, problems: &mut Problems<'_>) -> Option<Config> {
    let root = KeyPath::root();
    let state = state(file, secrets, problems);
    let vaultwarden = vaultwarden(&mut file.vaultwarden, &root.key("vaultwarden"), secrets, problems);
    let (accept, protect) = (people::accept(file, problems), people::protect(file, problems));
    let leave = leave::leave(file, problems);
    let directories = directory::directories(
        &mut file.directory,
        leave,
        &root.key("directory"),
        secrets,
        problems,
    );
    reminders(&file.invite, &root.key("invite"), problems);
    let notify = notify::notify(&mut file.notify, &root.key("notify"), secrets, problems);
    let http = http::http(&mut file.http, &root.key("http"), secrets, problems);
    let traces = traces::traces(&mut file.traces, &root.key("traces"), secrets, problems);
    Some(Config {
        // `load` sets it from the environment.
        sessions: None,
        state: state?,
        journal_days: file.journal_days.get(),
        vaultwarden: vaultwarden?,
        directories: directories?,
        leave: file.leave,
        invite: file.invite.clone(),
        accept,
        protect,
        limits: file.limits.clone(),
        notify: notify?,
        http,
        traces,
        log: file.log.clone(),
        once: false,
        warnings: Vec::new(),
    })
}

fn reminders(invite: &Invite, at: &KeyPath, problems: &mut Problems<'_>) {
    const SHORTEST: Duration = Duration::from_secs(3600);
    if invite.resend_after < SHORTEST {
        problems.error(
            &at.key("resend_after"),
            "is shorter than an hour, and each reminder is a mail; write at least \"1h\", or `resend_limit = 0` for no reminders",
        );
    }
}

/// The path of one text in the value of a key that takes a text or a list of texts.
fn element(at: &KeyPath, index: usize, texts: &[String]) -> KeyPath {
    // A single text has no elements: the line of the key itself is the right one.
    if texts.len() == 1 {
        at.clone()
    } else {
        at.index(index)
    }
}

fn vaultwarden(
    table: &mut VaultwardenTable,
    at: &KeyPath,
    secrets: &Secrets,
    problems: &mut Problems<'_>,
) -> Option<Vaultwarden> {
    let url = vaultwarden_url(table.url.as_deref(), &at.key("url"), problems);
    if table.admin_token.is_none() && table.admin_token_file.is_none() {
        table.admin_token_file = secrets.credential(&["admin_token"]);
    }
    if table.admin_token.is_none() && table.admin_token_file.is_none() {
        problems.error(
            &at.key("admin_token"),
            "is missing; write Vaultwarden's ADMIN_TOKEN into a file and name it by `admin_token_file`",
        );
    }
    let mut secret =
        |key, places, credentials: &[&str]| secrets.resolve(at, key, places, credentials, problems);
    let token = secret(
        "admin_token",
        (&mut table.admin_token, &mut table.admin_token_file),
        &[],
    );
    let totp_secret = secret(
        "admin_totp_secret",
        (&mut table.admin_totp_secret, &mut table.admin_totp_secret_file),
        &["admin_totp_secret"],
    );
    let proxy = secret("proxy", (&mut table.proxy, &mut table.proxy_file), &[]);
    // A reverse proxy in front of Vaultwarden may require them.
    let headers = secret("headers", (&mut table.headers, &mut table.headers_file), &[]);
    if let Some(token) = &token
        && token.value.expose_secret().starts_with("$argon2")
    {
        problems.error(
            &token.at,
            "is the hash that Vaultwarden keeps as its ADMIN_TOKEN; give the secret from which it was made, in plain text",
        );
    }
    if let Some(secret) = &totp_secret
        && let Err(problem) = check_totp(&secret.value)
    {
        problems.error(&secret.at, problem);
    }
    check_proxy(proxy.as_ref(), problems);
    check_headers(headers.as_ref(), problems);
    let tls = tls(
        &TlsKeys {
            ca_file: &table.ca_file,
            tls_verify: table.tls_verify,
            tls_pin: &table.tls_pin,
            tls_server_name: &table.tls_server_name,
            client_cert_file: &table.client_cert_file,
            client_key_file: &table.client_key_file,
        },
        at,
        problems,
    );
    pins_need_tls(&table.tls_pin, url.as_ref().map(Url::as_str), at, problems);
    Some(Vaultwarden {
        url: url?,
        admin_token: token?.value,
        totp_secret: totp_secret.map(|secret| secret.value),
        tls,
        proxy: proxy.map(|proxy| proxy.value),
        headers: headers.map(|headers| headers.value),
        accounts_interval: table.accounts_interval,
    })
}

fn check_proxy(proxy: Option<&Resolved>, problems: &mut Problems<'_>) {
    if let Some(Resolved { value, at }) = proxy
        && !Url::parse(value.expose_secret()).is_ok_and(|url| url.scheme() == "http" && url.has_host())
    {
        problems.error(
            at,
            "is not the URL of an HTTP proxy; write it as http://proxy.example.org:3128",
        );
    }
}

fn check_headers(headers: Option<&Resolved>, problems: &mut Problems<'_>) {
    if let Some(Resolved { value, at }) = headers
        && let Err(problem) = http_client::read_headers(value)
    {
        problems.error(at, problem);
    }
}

/// The URL of Vaultwarden. Problems do not repeat it, because it may hold a password.
fn vaultwarden_url(url: Option<&str>, at: &KeyPath, problems: &mut Problems<'_>) -> Option<Url> {
    const FORM: &str = "write it as https://vault.example.org, with the sub-path if there is one";
    let Some(url) = url else {
        problems.error(
            at,
            "is missing; give the address of Vaultwarden, as in \"https://vault.example.org\"",
        );
        return None;
    };
    if url.trim().contains(char::is_whitespace) || url.matches("://").count() > 1 {
        problems.error(at, format!("is not the address of one server; {FORM}"));
        return None;
    }
    if !url.contains("://") {
        problems.error(at, format!("has no scheme; {FORM}"));
        return None;
    }
    let url = match Url::parse(url) {
        Ok(url) => url,
        Err(cause) => {
            problems.error(at, format!("is not a URL ({cause}); {FORM}"));
            return None;
        }
    };
    if !matches!(url.scheme(), "http" | "https") {
        problems.error(at, format!("has the scheme {}; {FORM}", url.scheme()));
    } else if !url.username().is_empty() || url.password().is_some() {
        problems.error(
            at,
            "holds a user or a password, which Vaultwarden's admin API does not take; leave them out",
        );
    } else if url.query().is_some() || url.fragment().is_some() {
        problems.error(at, format!("has a query or a fragment; {FORM}"));
    } else if url.path().trim_end_matches('/').ends_with("/admin") {
        problems.error(at, "ends in /admin; leave that out, it is added automatically");
    } else if url.scheme() == "http" && !url.host().is_some_and(|host| is_loopback(&host)) {
        problems.warning(
            at,
            "sends the admin token in clear text to another host; use https://",
        );
    }
    Some(url)
}

fn is_loopback(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => *name == "localhost",
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    }
}

/// The TLS keys that tables have in common.
struct TlsKeys<'a> {
    ca_file: &'a Option<PathBuf>,
    tls_verify: bool,
    tls_pin: &'a [String],
    tls_server_name: &'a Option<String>,
    client_cert_file: &'a Option<PathBuf>,
    client_key_file: &'a Option<PathBuf>,
}

impl<'a> TlsKeys<'a> {
    /// Those of a table that has no other name of the server and no client certificate.
    fn of_server(ca_file: &'a Option<PathBuf>, tls_verify: bool, tls_pin: &'a [String]) -> Self {
        Self {
            ca_file,
            tls_verify,
            tls_pin,
            tls_server_name: &None,
            client_cert_file: &None,
            client_key_file: &None,
        }
    }
}

fn tls(keys: &TlsKeys<'_>, at: &KeyPath, problems: &mut Problems<'_>) -> TlsOptions {
    let client = match (keys.client_cert_file, keys.client_key_file) {
        (Some(cert_file), Some(key_file)) => Some(ClientCertificate {
            cert_file: cert_file.clone(),
            key_file: key_file.clone(),
        }),
        (Some(_), None) => {
            problems.error(&at.key("client_cert_file"), "has no `client_key_file`");
            None
        }
        (None, Some(_)) => {
            problems.error(&at.key("client_key_file"), "has no `client_cert_file`");
            None
        }
        (None, None) => None,
    };
    let pins = keys.tls_pin.iter().filter_map(|pin| {
        let read = pin.parse();
        read.map_err(|error| problems.error(&at.key("tls_pin"), format!("{pin:?} {error}")))
            .ok()
    });
    let pins = pins.collect();
    if !keys.tls_pin.is_empty() {
        for (key, is_set) in [
            ("ca_file", keys.ca_file.is_some()),
            ("tls_server_name", keys.tls_server_name.is_some()),
            ("tls_verify", !keys.tls_verify),
        ] {
            if is_set {
                problems.error(
                    &at.key(key),
                    "has no meaning with `tls_pin`, which alone decides about the server's certificate; remove one of them",
                );
            }
        }
    }
    let options = TlsOptions {
        ca_file: keys.ca_file.clone(),
        verify: keys.tls_verify,
        server_name: keys.tls_server_name.clone(),
        client,
        pins,
        seen: Seen::default(),
    };
    let asks_for_files = options.ca_file.is_some() || options.client.is_some();
    if (asks_for_files || options.server_name.is_some())
        && let Err(problem) = options.client_config()
    {
        let key = match &problem {
            TlsError::Name { .. } => "tls_server_name",
            TlsError::Client { path, .. } if Some(path) == keys.client_key_file.as_ref() => "client_key_file",
            TlsError::Client { .. } => "client_cert_file",
            _ => "ca_file",
        };
        problems.error(&at.key(key), problem.to_string());
    }
    if !keys.tls_verify {
        problems.warning(
            &at.key("tls_verify"),
            "certificates are not verified, so anyone on the network path can read and change the traffic; name the authority by `ca_file`",
        );
    }
    options
}

/// Refuses pins that protect none of these URLs, because none of them is requested over TLS.
fn pins_need_tls<'a>(
    pins: &[String],
    urls: impl IntoIterator<Item = &'a str>,
    at: &KeyPath,
    problems: &mut Problems<'_>,
) {
    let mut urls = urls.into_iter().peekable();
    let is_exposed = urls.peek().is_some() && urls.all(|url| url.starts_with("http:"));
    if !pins.is_empty() && is_exposed {
        problems.error(
            &at.key("tls_pin"),
            "is never compared, because the URL is requested without TLS; use https://",
        );
    }
}
