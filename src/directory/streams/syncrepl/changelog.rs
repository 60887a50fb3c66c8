//! The changelog behind 389-DS's content synchronisation: which change a cookie names, and when a silent stream may be
//! dead. Pure.

use std::time::Duration;

use tokio::time::Instant;

/// How long a stream may be silent while other entries change before it is replaced, and the shortest time between two
/// replacements.
const SUSPECT_AFTER: Duration = Duration::from_secs(60);

/// What 389-DS writes in place of the number if its changelog has none.
const NO_NUMBER: u64 = 4_294_967_295;

/// What is wrong with such cookies, and the remedy.
pub(crate) const NO_TARGET: &str = "the server's cookies name no change (they end in #4294967295), so that a session that resumes would miss everything: its retro changelog does not keep the identity of entries; add `nsslapd-attribute: nsuniqueid:targetUniqueId` to cn=Retro Changelog Plugin,cn=plugins,cn=config and restart the server, or set `stream = \"poll\"`";

/// The change that a cookie names: `host:port#binddn:base:filter#number`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NamedChange {
    /// This one.
    At(u64),
    /// None, because the changelog lacks `targetUniqueId`.
    Nowhere,
    /// The cookie has another form.
    Unknown,
}

impl NamedChange {
    pub(crate) fn of(cookie: &[u8]) -> Self {
        let number = cookie.rsplit(|&byte| byte == b'#').next().unwrap_or_default();
        match std::str::from_utf8(number).map(str::parse) {
            Ok(Ok(NO_NUMBER)) => Self::Nowhere,
            Ok(Ok(number)) => Self::At(number),
            _ => Self::Unknown,
        }
    }

    /// Whether changes after this one are no longer in a changelog that begins with `first`. The server does not report it.
    pub(crate) fn is_trimmed(self, first: u64) -> bool {
        matches!(self, Self::At(number) if first > number.saturating_add(1))
    }
}

/// Whether a stream is alive.
#[derive(Debug)]
pub(crate) struct Liveness {
    /// The last change in the changelog when the stream was last known to be alive.
    proved: u64,
    /// When the stream last sent something.
    last_sent: Instant,
}

impl Liveness {
    /// A stream that begins at `now`, when `last` is the last change.
    pub(crate) fn new(last: u64, now: Instant) -> Self {
        Self {
            proved: last,
            last_sent: now,
        }
    }

    /// Records that the stream sent a cookie that names `change`.
    pub(crate) fn received(&mut self, change: NamedChange, now: Instant) {
        if let NamedChange::At(number) = change {
            self.proved = self.proved.max(number);
        }
        self.last_sent = now;
    }

    /// Whether the stream may have missed something, when `last` is the last change.
    pub(crate) fn is_suspect(&self, last: u64, now: Instant) -> bool {
        last > self.proved && now.duration_since(self.last_sent) >= SUSPECT_AFTER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COOKIE: &str =
        "localhost:389#cn=reader,dc=example,dc=org:ou=people,dc=example,dc=org:(&(mail=*)(cn=#1))#";

    #[test]
    fn a_cookie_ends_in_the_number_of_its_change() {
        let point = |number: &str| NamedChange::of(format!("{COOKIE}{number}").as_bytes());
        assert_eq!(point("0"), NamedChange::At(0));
        assert_eq!(point("1234"), NamedChange::At(1234));
        assert_eq!(point("4294967295"), NamedChange::Nowhere);
        assert_eq!(point(""), NamedChange::Unknown);
        assert_eq!(
            NamedChange::of(b"rid=000,csn=20261123081607.335358Z#000000#000#00000x"),
            NamedChange::Unknown
        );
    }

    #[test]
    fn a_changelog_that_begins_after_the_next_change_is_trimmed() {
        assert!(!NamedChange::At(7).is_trimmed(8));
        assert!(NamedChange::At(7).is_trimmed(9));
        assert!(!NamedChange::At(0).is_trimmed(0));
        assert!(!NamedChange::Unknown.is_trimmed(9));
    }

    #[test]
    fn a_stream_is_suspect_if_other_entries_change_and_it_is_silent_for_a_minute() {
        let began = Instant::now();
        let mut liveness = Liveness::new(5, began);
        assert!(!liveness.is_suspect(5, began + SUSPECT_AFTER), "nothing changed");
        assert!(!liveness.is_suspect(6, began + SUSPECT_AFTER / 2), "not yet");
        assert!(liveness.is_suspect(6, began + SUSPECT_AFTER));
        liveness.received(NamedChange::At(6), began + SUSPECT_AFTER);
        assert!(
            !liveness.is_suspect(6, began + 3 * SUSPECT_AFTER),
            "it sent that change"
        );
        assert!(
            !liveness.is_suspect(7, began + SUSPECT_AFTER),
            "it sent something just now"
        );
    }
}
