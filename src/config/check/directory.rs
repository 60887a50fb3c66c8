//! Checks the `[[directory]]` tables.

use super::super::Directory;
use super::super::choices::{DisabledAccounts, Stream};
use super::super::problem::{KeyPath, Problems};
use super::super::schema::{AUTO, DirectoryTable, Leave};
use super::super::secret::Secrets;
use super::bind::{bind, fits_servers};
use super::{TlsKeys, controllers, element, leave, tls};
use crate::directory::{Bind, DirectorySettings, Filter, Server, StreamKind};
use crate::rules::membership::DISABLED_ATTRIBUTES;

/// Checks every directory, and that their names are unique. `general` is `[leave]`.
pub(super) fn directories(
    tables: &mut [DirectoryTable],
    general: Leave,
    at: &KeyPath,
    secrets: &Secrets,
    problems: &mut Problems<'_>,
) -> Option<Vec<Directory>> {
    if tables.is_empty() {
        problems.error(
            at,
            "is missing; add a [[directory]] table with `url` and `base_dn`",
        );
        return None;
    }
    for (i, table) in tables.iter().enumerate() {
        if let Some(namesake) = tables[..i].iter().position(|earlier| earlier.name == table.name) {
            problems.error(
                &at.index(i).key("name"),
                format!(
                    "\"{}\" is also the name of directory[{namesake}]; give each its own `name`",
                    table.name
                ),
            );
        }
    }
    let checked: Vec<_> = tables
        .iter_mut()
        .enumerate()
        .map(|(i, table)| directory(table, general, &at.index(i), secrets, problems))
        .collect();
    checked.into_iter().collect()
}

fn directory(
    table: &mut DirectoryTable,
    general: Leave,
    at: &KeyPath,
    secrets: &Secrets,
    problems: &mut Problems<'_>,
) -> Option<Directory> {
    if table.name.trim().is_empty() {
        problems.error(&at.key("name"), "is empty; give the directory a name");
    }
    table.url = table.url.iter().flat_map(|url| split_urls(url)).collect();
    let servers = servers(&table.url, &at.key("url"), problems);
    let servers = controllers::add_to_domains(table, servers, &at.key("controllers"), problems);
    let bind = bind(table, at, secrets, problems);
    if let Some(servers) = &servers {
        fits_servers(
            table,
            matches!(bind, Some(Bind::Simple { .. })),
            servers,
            at,
            problems,
        );
    }
    if table.base_dn.is_none() {
        problems.error(
            &at.key("base_dn"),
            "is missing; give the DN below which people are, as in \"ou=people,dc=example,dc=org\"",
        );
    } else if !table
        .base_dn
        .as_ref()
        .is_some_and(|dn| dn.is_empty() || dn.contains('='))
    {
        problems.error(
            &at.key("base_dn"),
            "is not a DN; write it as in \"ou=people,dc=example,dc=org\"",
        );
    }
    if table.base_dn.as_deref().is_some_and(several_dns) {
        problems.error(
            &at.key("base_dn"),
            "looks like several DNs in one text; give each base a [[directory]] table of its own (if it is one DN, write its second = as \\3d)",
        );
    }
    let filter: Result<Filter, _> = table.filter.parse();
    if let Err(problem) = &filter {
        problems.error(&at.key("filter"), problem.to_string());
    }
    for group in table.groups.iter().filter(|group| !group.contains('=')) {
        problems.error(
            &at.key("groups"),
            format!("\"{group}\" is not a DN; write it as in \"cn=vault,ou=groups,dc=example,dc=org\""),
        );
    }
    if table.groups.iter().any(|group| several_dns(group)) {
        problems.error(
            &at.key("groups"),
            "looks like several DNs in one text; write a list, as in [\"cn=a,dc=example,dc=org\", \"cn=b,dc=example,dc=org\"] (if it is one DN, write its second = as \\3d)",
        );
    }
    mail_attributes(&table.mail_attributes, &at.key("mail_attributes"), problems);
    let id_attribute = id_attribute(table, at, problems);
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
    Some(Directory {
        settings: DirectorySettings {
            name: table.name.clone(),
            servers: servers?,
            starttls: table.starttls,
            tls,
            bind: bind?,
            base: table.base_dn.clone()?,
            filter: filter.ok()?,
            groups: table.groups.clone(),
            id_attribute,
            attributes: attributes(table),
            stream: match table.stream {
                Stream::Auto => None,
                Stream::Syncrepl => Some(StreamKind::Syncrepl),
                Stream::PersistentSearch => Some(StreamKind::PersistentSearch),
                Stream::ActiveDirectory => Some(StreamKind::ActiveDirectory),
                Stream::Poll => Some(StreamKind::Poll),
            },
            poll_interval: table.poll_interval,
            page_size: table.page_size,
            max_message_size: table.max_message_size,
        },
        mail_attributes: table.mail_attributes.clone(),
        disabled_accounts: table.disabled_accounts,
        audit_interval: table.audit_interval,
        leave: leave::of_directory(table, general, at, problems),
    })
}

/// The attributes to read. They are part of the fingerprint of the directory, so that a change of `disabled_accounts`
/// makes the listener list everyone again.
fn attributes(table: &DirectoryTable) -> Vec<String> {
    let mut attributes = table.mail_attributes.clone();
    if table.disabled_accounts == DisabledAccounts::Auto {
        attributes.extend(DISABLED_ATTRIBUTES.map(str::to_owned));
    }
    attributes
}

fn servers(urls: &[String], at: &KeyPath, problems: &mut Problems<'_>) -> Option<Vec<Server>> {
    if urls.is_empty() {
        problems.error(
            at,
            "is missing; give the address of the server, as in \"ldaps://ldap.example.org\"",
        );
        return None;
    }
    let servers: Vec<_> = urls
        .iter()
        .enumerate()
        .map(|(i, url)| {
            let server = server(url);
            if let Err(problem) = &server {
                problems.error(&element(at, i, urls), problem);
            }
            server.ok()
        })
        .collect();
    servers.into_iter().collect()
}

/// Splits several URLs in one string, which OpenLDAP and others separate by spaces or commas. No URL contains either.
fn split_urls(urls: &str) -> Vec<String> {
    let pieces: Vec<_> = pieces(urls).map(str::to_owned).collect();
    if pieces.len() > 1 && pieces.iter().all(|piece| has_scheme(piece)) {
        pieces
    } else {
        vec![urls.to_owned()]
    }
}

fn pieces(urls: &str) -> impl Iterator<Item = &str> {
    let separates = |c: char| c.is_whitespace() || c == ',';
    urls.split(separates).filter(|piece| !piece.is_empty())
}

fn has_scheme(url: &str) -> bool {
    url.contains("://") || url.starts_with("ad:")
}

/// Whether one string seems to hold several DNs: something like the start of a DN follows a separator that is not the
/// comma between two RDNs, as in `dc=org ou=people`.
fn several_dns(text: &str) -> bool {
    let (mut quoted, mut escaped) = (false, false);
    let mut before = ',';
    for (at, c) in text.char_indices() {
        let separates = c.is_whitespace() || c == '|' || (c == ';' && text.contains(','));
        if !quoted && !escaped && separates && !matches!(before, ',' | '+' | '=') {
            let rest = text[at + c.len_utf8()..].trim_start();
            let kind = rest.split('=').next().unwrap_or_default();
            let is_kind = kind.starts_with(|c: char| c.is_ascii_alphabetic()) && is_attribute(kind);
            if is_kind && kind.len() < rest.len() {
                return true;
            }
        }
        quoted ^= c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        if !c.is_whitespace() {
            before = c;
        }
    }
    false
}

fn server(url: &str) -> Result<Server, String> {
    // First, because the other errors repeat the URL.
    if url.contains('@') {
        return Err("holds a user or a password; write them as `bind_dn` and `bind_password_file`".into());
    }
    let authority = url.split_once("://").map_or(url, |(_, rest)| rest);
    if pieces(authority.split('/').next().unwrap_or_default()).count() > 1 {
        return Err(format!(
            "{url} contains a space or a comma; write several servers as a list, each with its scheme, as in [\"ldaps://a.example.org\", \"ldaps://b.example.org\"]"
        ));
    }
    let known = |scheme: &&str| {
        url.strip_prefix(*scheme)
            .is_some_and(|rest| rest.starts_with(':'))
    };
    if !has_scheme(url) {
        let port = url.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        return Err(match (["ldap", "ldaps", "ldapi"].into_iter().find(known), port) {
            (Some(scheme), _) => format!("{url} has no slashes after its scheme; write {scheme}://"),
            (None, Some(389_u16 | 3268)) => format!(
                "{url} has no scheme; write ldap://{url} with `starttls = true`, or ldaps:// with the port for TLS"
            ),
            (None, _) => {
                format!("{url} has no scheme; write ldaps://{url}, or ldap://{url} with `starttls = true`")
            }
        });
    }
    match Server::parse(url)? {
        Server::Tcp { port: 0, .. } => Err(format!(
            "{url} has the port 0; leave the port out or give the real one"
        )),
        server => Ok(server),
    }
}

fn mail_attributes(attributes: &[String], at: &KeyPath, problems: &mut Problems<'_>) {
    if attributes.is_empty() {
        problems.error(
            at,
            "is empty; name the attributes that hold the address, as in [\"mail\"]",
        );
    }
    for attribute in attributes {
        if !is_attribute(attribute) {
            problems.error(
                at,
                format!("\"{attribute}\" is not the name of an attribute; write several as a list, as in [\"mail\", \"mailAlternateAddress\"]"),
            );
        }
    }
}

/// The attribute that identifies people, unless it is the server's own UUID.
fn id_attribute(table: &DirectoryTable, at: &KeyPath, problems: &mut Problems<'_>) -> Option<String> {
    if table.id_attribute == AUTO {
        return None;
    }
    if !is_attribute(&table.id_attribute) {
        problems.error(
            &at.key("id_attribute"),
            format!(
                "\"{}\" is not the name of an attribute; write it as in \"uidNumber\", or \"{AUTO}\"",
                table.id_attribute
            ),
        );
    }
    if !matches!(table.stream, Stream::Auto | Stream::Poll) {
        problems.error(
            &at.key("stream"),
            format!("\"{}\" identifies people by the server's own UUIDs, not by `id_attribute`; leave out one of the two, or write \"poll\"", table.stream.as_str()),
        );
    }
    Some(table.id_attribute.clone())
}

/// Whether this is an attribute description (RFC 4512, 2.5): a name or an OID, with or without options.
fn is_attribute(text: &str) -> bool {
    !text.is_empty()
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | ';'))
}
