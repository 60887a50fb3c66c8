//! Checks the keys that say where the state is: `state`, `state_file` and `[postgres]`.

use secrecy::{ExposeSecret, SecretString};

use super::super::problem::{KeyPath, Problems};
use super::super::schema::{File, PostgresTable, STATE};
use super::super::secret::Secrets;
use super::{TlsKeys, tls};
use crate::store::Location;
use crate::tls::TlsOptions;

/// Where the state is. Checks no other key.
pub(in crate::config) fn state(
    file: &mut File,
    secrets: &Secrets,
    problems: &mut Problems<'_>,
) -> Option<Location> {
    let root = KeyPath::root();
    let is_default = file.state == STATE;
    if file.state_file.is_none() && is_default {
        file.state_file = secrets.credential(&["state"]);
    }
    let (at, text): (_, SecretString) = match &file.state_file {
        Some(_) if !is_default => {
            problems.error(
                &root.key("state_file"),
                "there is a `state` as well; keep one of the two",
            );
            return None;
        }
        Some(path) => {
            let at = root.key("state_file");
            let text = secrets.read(path, &at, problems)?;
            (at, text)
        }
        None => (root.key("state"), file.state.clone().into()),
    };
    let tls = postgres(&file.postgres, &root.key("postgres"), problems);
    match text.expose_secret().trim().parse() {
        Ok(Location::Postgres(mut server)) => {
            let is_written = file.state_file.is_none() && server.has_password();
            secrets.warn_if_public(is_written, &at, problems);
            if server.is_exposed() {
                problems.warning(
                    &at,
                    "the state, and the password for it, cross the network in clear text; leave `sslmode=disable` out",
                );
            }
            if !tls.pins.is_empty() && !server.is_encrypted() {
                problems.error(
                    &root.key("postgres").key("tls_pin"),
                    "is never compared, because the connection is not encrypted; end the URL of the state with `?sslmode=verify-full`",
                );
            }
            server.tls = tls;
            if let Some(name) = &file.postgres.instance {
                server.instance.clone_from(name);
            }
            Some(Location::Postgres(server))
        }
        Ok(location) => {
            if file.postgres != PostgresTable::default() {
                problems.warning(
                    &root.key("postgres"),
                    "has no effect, because the state is in a file",
                );
            }
            Some(location)
        }
        Err(problem) => {
            problems.error(&at, problem);
            None
        }
    }
}

/// Checks `[postgres]`. Returns how the connection is authenticated.
fn postgres(table: &PostgresTable, at: &KeyPath, problems: &mut Problems<'_>) -> TlsOptions {
    if table.instance.as_ref().is_some_and(|name| name.trim().is_empty()) {
        problems.error(
            &at.key("instance"),
            "is empty; write a name, or leave the key out for that of this machine",
        );
    }
    let keys = TlsKeys {
        ca_file: &table.ca_file,
        tls_verify: table.tls_verify,
        tls_pin: &table.tls_pin,
        tls_server_name: &table.tls_server_name,
        client_cert_file: &table.client_cert_file,
        client_key_file: &table.client_key_file,
    };
    tls(&keys, at, problems)
}
