//! Watches certificates: files that change are read again, and whoever presents one that expires soon is named in time.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, Timestamp};
use crate::config::Config;
use crate::store::Location;
use crate::telemetry::Observer;
use crate::tls::{TlsOptions, seen};

/// How often to look.
const INTERVAL: Duration = Duration::from_secs(5);
/// Certificates that expire within so many days are reported.
pub(super) const WARNED: i64 = 14;
/// How often.
const AGAIN: Duration = Duration::from_secs(24 * 3600);

/// The name of the servers of `[notify]` together.
pub(super) const NOTIFICATIONS: &str = "notifications";
/// The name of the server of the state.
pub(super) const POSTGRESQL: &str = "postgresql";
/// The name of the collector of traces.
pub(super) const TRACES: &str = "traces";

/// What makes a file another one. A link is followed, because certbot and Kubernetes replace links.
type Stamp = Option<(u64, u64, i64, i64, u64)>;

/// The TLS options of all servers, with the name of each.
pub(super) fn peers(config: &Config) -> Vec<(String, TlsOptions)> {
    let directories = config.directories.iter().map(|directory| {
        let settings = &directory.settings;
        (format!("directory {}", settings.name), settings.tls.clone())
    });
    let mut peers: Vec<_> = directories.collect();
    peers.push(("vaultwarden".into(), config.vaultwarden.tls.clone()));
    peers.push((NOTIFICATIONS.into(), config.notify.tls.clone()));
    let traces = config.traces.iter();
    peers.extend(traces.map(|traces| (TRACES.into(), traces.tls.clone())));
    if let Location::Postgres(database) = &config.state {
        peers.push((POSTGRESQL.into(), database.tls.clone()));
    }
    peers
}

/// Watches until `stop`. Notifies `changed` when a file has changed, so that all of them are read again. If one of them cannot be
/// used then, because its other half is yet to come, everything stays as it was until the next change.
pub(super) async fn watch(
    peers: &[(String, TlsOptions)],
    observer: &Observer,
    clock: &Clock,
    changed: &Notify,
    stop: &CancellationToken,
) {
    let files = || peers.iter().flat_map(|(_, tls)| tls.files());
    let mut known: HashMap<PathBuf, Stamp> = files().map(|file| (file.to_owned(), stamp(file))).collect();
    let mut warned: HashMap<String, (i64, Instant)> = HashMap::new();
    while !stop.is_cancelled() {
        let others: Vec<&Path> = files()
            .filter(|file| known.get(*file) != Some(&stamp(file)))
            .collect();
        if let Some(first) = others.first() {
            tracing::info!(file = %first.display(), "a file of a certificate has changed: reading the certificates again");
            known.extend(others.iter().map(|file| ((*file).to_owned(), stamp(file))));
            changed.notify_one();
        }
        let expiries: Vec<_> = all(peers).collect();
        observer.certificates(expiries.iter().map(|(peer, expires)| (peer.as_str(), *expires)));
        for (peer, expires) in expiries {
            let days = days_left(expires, clock.now());
            let is_known = warned
                .get(&peer)
                .is_some_and(|(of, at)| *of == expires && at.elapsed() < AGAIN);
            if days >= WARNED || is_known {
                continue;
            }
            if days < 0 {
                tracing::warn!(peer, "the certificate has expired; renew it");
            } else {
                tracing::warn!(peer, days, "the certificate expires soon; renew it");
            }
            warned.insert(peer, (expires, Instant::now()));
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = sleep(INTERVAL) => {}
        }
    }
}

/// The certificates of servers that were accepted lately, and those that are presented to them.
fn all(peers: &[(String, TlsOptions)]) -> impl Iterator<Item = (String, i64)> {
    peers.iter().flat_map(|(peer, tls)| {
        let theirs = tls.seen.expires();
        let theirs = theirs.map(|expires| (peer.clone(), expires));
        let ours = tls.client.as_ref().and_then(|client| {
            let expires = seen::expiry_of_file(&client.cert_file)?;
            Some((format!("client certificate for {peer}"), expires))
        });
        theirs.into_iter().chain(ours)
    })
}

/// The whole days from now until a certificate expires, negative afterwards.
pub(super) fn days_left(expires: i64, now: Timestamp) -> i64 {
    (expires - now.0.div_euclid(1000)).div_euclid(24 * 3600)
}

fn stamp(file: &Path) -> Stamp {
    let file = fs::metadata(file).ok()?;
    Some((
        file.dev(),
        file.ino(),
        file.mtime(),
        file.mtime_nsec(),
        file.size(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_day_counts_as_none_and_the_day_after_as_expired() {
        let day = 24 * 3600;
        let now = Timestamp(1_000_000_000_000);
        let left = |seconds: i64| days_left(1_000_000_000 + seconds, now);
        assert_eq!(
            [left(14 * day), left(14 * day - 1), left(1), left(-1)],
            [14, 13, 0, -1]
        );
    }
}
