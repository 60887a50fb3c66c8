//! Checks `[http]`.

use secrecy::ExposeSecret;

use super::super::Http;
use super::super::problem::{KeyPath, Problems};
use super::super::schema::HttpTable;
use super::super::secret::Secrets;

/// The shortest token, in characters: whoever has it may invite and delete people, and may try as often as they like.
const SHORTEST: usize = 16;

pub(super) fn http(
    table: &mut HttpTable,
    at: &KeyPath,
    secrets: &Secrets,
    problems: &mut Problems<'_>,
) -> Http {
    hosts(&table.hosts, &at.key("hosts"), problems);
    let admin_token = secrets.resolve(
        at,
        "admin_token",
        (&mut table.admin_token, &mut table.admin_token_file),
        &["http_admin_token"],
        problems,
    );
    if let Some(token) = &admin_token
        && token.value.expose_secret().chars().count() < SHORTEST
    {
        problems.error(
            &token.at,
            format!(
                "has fewer than {SHORTEST} characters, so that it could be guessed; make one with `openssl rand -hex 32`"
            ),
        );
    }
    if table.listen.is_some_and(|address| !address.ip().is_loopback()) {
        let problem = match admin_token {
            None => {
                "is reached from other machines, and shows the numbers of the status page and the metrics to all of them; \
                 set `admin_token` and put a server with TLS in front, or listen on 127.0.0.1"
            }
            Some(_) => {
                "is reached from other machines, which would send the token in clear text; put a server with TLS in \
                 front and let nothing else reach this port, or listen on 127.0.0.1"
            }
        };
        problems.warning(&at.key("listen"), problem);
    }
    Http {
        listen: table.listen,
        hosts: table.hosts.clone(),
        admin_token: admin_token.map(|token| token.value),
    }
}

fn hosts(hosts: &[String], at: &KeyPath, problems: &mut Problems<'_>) {
    let name = |host: &str| {
        let letter = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
        !host.is_empty() && host.chars().all(letter)
    };
    for host in hosts.iter().filter(|host| !name(host)) {
        problems.error(
            at,
            format!("\"{host}\" is not the name of a host; write it without scheme and port, as in \"usher.example.org\""),
        );
    }
}
