//! Entry points of the fuzz targets in `tests/fuzz`. Compiled with `cfg(fuzzing)` only.

use std::io;

use ldap3::{LdapConnAsync, LdapConnSettings, ResultEntry, Scope, StdStream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::directory::ldap::traffic::Traffic;
use crate::directory::ldap::{decode, relay};

/// Answers a search with these bytes: `ldap3` and the decoders must process without a panic what the relay lets through.
///
/// # Errors
/// The sockets cannot be created.
pub async fn conversation(bytes: &[u8]) -> io::Result<()> {
    let (ours, ldap3s) = UnixStream::pair()?;
    let (mut server, servers) = tokio::io::duplex(1 << 20);
    let traffic = Traffic::default();
    let settings = LdapConnSettings::new().set_std_stream(StdStream::Unix(ldap3s.into_std()?));
    let connected = LdapConnAsync::with_settings(settings, "ldapi://relay").await;
    let (driver, mut ldap) = connected.map_err(io::Error::other)?;
    let link = async { tokio::join!(relay::relay(servers, ours, 1 << 16, &traffic), driver.drive()) };
    let talk = async {
        let search = ldap.streaming_search("", Scope::Subtree, "(mail=*)", ["mail"]);
        let Ok(mut search) = search.await else { return };
        let _ = server.read(&mut [0; 1024]).await;
        let _ = server.write_all(bytes).await;
        drop(server);
        while let Ok(Some(message)) = search.next().await {
            digest(message);
        }
    };
    // How the connection ended does not matter, only that nothing panicked.
    let _ = tokio::join!(link, talk);
    Ok(())
}

fn digest(message: ResultEntry) {
    for oid in [decode::SYNC_STATE, decode::PAGED_RESULTS, decode::ENTRY_CHANGE] {
        if let Some(value) = decode::control(&message.1, oid) {
            values(value);
        }
    }
    if message.is_intermediate() {
        let _ = decode::sync_info(message);
    } else {
        let _ = decode::entry(message);
    }
}

/// Decodes the bytes as each kind of control and message.
pub fn values(bytes: &[u8]) {
    let _ = decode::sync_state(bytes);
    let _ = decode::sync_info_value(bytes);
    let _ = decode::page_cookie(bytes);
    let _ = decode::entry_change(bytes);
}
