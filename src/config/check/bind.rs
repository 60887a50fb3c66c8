//! Checks how a directory authenticates this program, and that its servers can.

use std::net::IpAddr;

use super::super::choices::Sasl;
use super::super::problem::{KeyPath, Problems};
use super::super::schema::DirectoryTable;
use super::super::secret::Secrets;
use crate::directory::{Bind, Server};

/// How to bind; anonymously if nothing is configured.
pub(super) fn bind(
    table: &mut DirectoryTable,
    at: &KeyPath,
    secrets: &Secrets,
    problems: &mut Problems<'_>,
) -> Option<Bind> {
    if table.bind_dn.is_some() && table.bind_password.is_none() && table.bind_password_file.is_none() {
        let own = format!("{}.bind_password", table.name);
        table.bind_password_file = secrets.credential(&[&own, "bind_password"]);
    }
    let has_password = table.bind_password.is_some() || table.bind_password_file.is_some();
    let password_key = if table.bind_password_file.is_some() {
        "bind_password_file"
    } else {
        "bind_password"
    };
    let password = secrets.resolve(
        at,
        "bind_password",
        (&mut table.bind_password, &mut table.bind_password_file),
        &[],
        problems,
    );
    match (&table.bind_dn, has_password, table.sasl) {
        (None, false, None) => Some(Bind::Anonymous),
        (None, false, Some(Sasl::External)) => Some(Bind::External),
        (None, false, Some(Sasl::Gssapi)) if cfg!(feature = "kerberos") => Some(Bind::Kerberos),
        (None, false, Some(Sasl::Gssapi)) => {
            problems.error(
                &at.key("sasl"),
                "this program was built without Kerberos; install the package ldap-usher-kerberos, or build it with `--features kerberos`",
            );
            None
        }
        (_, _, Some(mechanism)) => {
            let by = match mechanism {
                Sasl::External => "by the operating system or a client certificate",
                Sasl::Gssapi => "by a ticket of Kerberos",
            };
            let problem = format!(
                "\"{}\" authenticates {by}; leave out `bind_dn` and the password",
                mechanism.as_str()
            );
            problems.error(&at.key("sasl"), problem);
            None
        }
        (Some(dn), true, None) if dn.contains('=') || dn.contains('@') || dn.contains('\\') => {
            Some(Bind::Simple {
                dn: dn.clone(),
                password: password?.value,
            })
        }
        (Some(_), true, None) => {
            problems.error(
                &at.key("bind_dn"),
                "is not a DN; write it as in \"cn=reader,dc=example,dc=org\"",
            );
            None
        }
        (Some(_), false, None) => {
            problems.error(
                &at.key("bind_dn"),
                "has no password; name its file by `bind_password_file`, or leave `bind_dn` out to bind anonymously",
            );
            None
        }
        (None, true, None) => {
            problems.error(
                &at.key(password_key),
                "has no `bind_dn`; add it, or leave the password out to bind anonymously",
            );
            None
        }
    }
}

/// Checks that StartTLS and the bind work with every one of these servers, and warns about a password in clear text.
pub(super) fn fits_servers(
    table: &DirectoryTable,
    sends_password: bool,
    servers: &[Server],
    at: &KeyPath,
    problems: &mut Problems<'_>,
) {
    let plain = |server: &&Server| matches!(server, Server::Tcp { tls: false, .. });
    if table.starttls
        && let Some(other) = servers
            .iter()
            .find(|server| !plain(server) && !matches!(server, Server::Domain { .. }))
    {
        problems.error(
            &at.key("starttls"),
            format!("works with ldap:// only, not with {other}; leave it out or write ldap://"),
        );
    }
    let supports_external = |server: &&Server| match server {
        Server::Unix { .. } => true,
        Server::Domain { .. } => table.client_cert_file.is_some(),
        Server::Tcp { tls, .. } => table.client_cert_file.is_some() && (*tls || table.starttls),
    };
    if table.sasl == Some(Sasl::External)
        && let Some(other) = servers.iter().find(|server| !supports_external(server))
    {
        problems.error(
            &at.key("sasl"),
            format!("\"external\" works over ldapi://, or over TLS with a `client_cert_file`, not with {other}; use `bind_dn` and a password"),
        );
    }
    let protects = |server: &&Server| match server {
        Server::Unix { .. } => false,
        Server::Domain { .. } => true,
        Server::Tcp { tls, .. } => *tls || table.starttls,
    };
    let unprotected = servers.iter().find(|server| !protects(server));
    if !table.tls_pin.is_empty()
        && let Some(other) = unprotected
    {
        problems.error(
            &at.key("tls_pin"),
            format!("is never compared with {other}, which is reached without TLS; use ldaps://, or `starttls = true`"),
        );
    }
    if table.sasl == Some(Sasl::Gssapi)
        && let Some(other) = unprotected
    {
        problems.error(
            &at.key("sasl"),
            format!("\"gssapi\" works over TLS, not with {other}; use ldaps://, or `starttls = true`"),
        );
    }
    let exposed = servers
        .iter()
        .filter(plain)
        .find(|server| !is_this_machine(server));
    if sends_password
        && !table.starttls
        && let Some(exposed) = exposed
    {
        problems.warning(
            &at.key("url"),
            format!(
                "the bind password goes to {exposed} in clear text; use ldaps://, or set `starttls = true`"
            ),
        );
    }
}

fn is_this_machine(server: &Server) -> bool {
    match server {
        Server::Unix { .. } => true,
        Server::Domain { .. } => false,
        Server::Tcp { host, .. } => {
            host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
        }
    }
}
