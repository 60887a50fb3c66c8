//! Who is signed in: sessions in memory, and how often somebody may try.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ring::{digest, hmac};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;

/// How long a session lasts, whether it is used or not.
const LASTS: Duration = Duration::from_secs(8 * 3600);
/// The largest number of sessions; one more ends the oldest.
const MAX_SESSIONS: usize = 32;
/// How many wrong tokens one address may send, and how fast it may send more.
const TRIES: Allowance = Allowance {
    most: 5.0,
    per_second: 0.1,
};
/// The same for all addresses together.
const ALL_TRIES: Allowance = Allowance {
    most: 30.0,
    per_second: 1.0,
};
/// How many orders one session may give, and how fast it may give more.
const ORDERS: Allowance = Allowance {
    most: 30.0,
    per_second: 1.0,
};
/// The number of addresses whose tries are counted; more are counted together only.
const MAX_ADDRESSES: usize = 1000;

/// What a person who is signed in has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Session {
    /// What every form contains, so that no other site can send one.
    pub(super) csrf: String,
}

/// Something that the next page says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Notice {
    pub(super) good: bool,
    pub(super) text: String,
}

/// Why somebody is not signed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// The token is wrong, or there is none to sign in with.
    Wrong,
    /// There were too many tries.
    TooMany,
}

/// The sessions, and the token that opens one.
pub(super) struct Sessions {
    token: Mutex<Option<SecretString>>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// By the digest of the identifier, so that a look-up tells nothing of those that exist.
    open: HashMap<Vec<u8>, Open>,
    all: Option<Bucket>,
    by_address: HashMap<IpAddr, Bucket>,
}

struct Open {
    session: Session,
    began: Instant,
    orders: Bucket,
    notice: Option<Notice>,
}

impl Sessions {
    pub(super) fn new(token: Option<SecretString>) -> Self {
        Self {
            token: Mutex::new(token),
            inner: Mutex::default(),
        }
    }

    /// Whether anybody can sign in.
    pub(super) fn possible(&self) -> bool {
        self.token().is_some()
    }

    /// Uses another token from now on. If it differs, everyone has to sign in again.
    pub(super) fn renew(&self, token: Option<SecretString>) {
        let mut known = self.token();
        let same = match (&*known, &token) {
            (Some(known), Some(token)) => is_same(known, token.expose_secret()),
            (None, None) => true,
            _ => false,
        };
        if !same {
            *known = token;
            self.inner().open.clear();
        }
    }

    /// Opens a session. Returns its identifier.
    pub(super) fn sign_in(&self, given: &str, from: IpAddr, now: Instant) -> Result<String, Refused> {
        let mut inner = self.inner();
        if !inner.may_try(from, now) {
            return Err(Refused::TooMany);
        }
        let right = self.token().as_ref().is_some_and(|token| is_same(token, given));
        if !right {
            inner.failed(from, now);
            return Err(Refused::Wrong);
        }
        inner.open.retain(|_, open| open.lasts(now));
        if inner.open.len() >= MAX_SESSIONS
            && let Some(oldest) = inner
                .open
                .iter()
                .min_by_key(|(_, open)| open.began)
                .map(|(id, _)| id.clone())
        {
            inner.open.remove(&oldest);
        }
        let (id, csrf) = (secret(), secret());
        let open = Open {
            session: Session { csrf },
            began: now,
            orders: Bucket::full(ORDERS, now),
            notice: None,
        };
        inner.open.insert(key(&id), open);
        Ok(id)
    }

    /// The session with this identifier, if it is open.
    pub(super) fn get(&self, id: &str, now: Instant) -> Option<Session> {
        let inner = self.inner();
        let open = inner.open.get(&key(id)).filter(|open| open.lasts(now))?;
        Some(open.session.clone())
    }

    pub(super) fn sign_out(&self, id: &str) {
        self.inner().open.remove(&key(id));
    }

    /// Whether this session may give one more order now.
    pub(super) fn may_order(&self, id: &str, now: Instant) -> bool {
        let mut inner = self.inner();
        inner
            .open
            .get_mut(&key(id))
            .is_some_and(|open| open.orders.take(ORDERS, now))
    }

    /// Leaves something for the next page of this session.
    pub(super) fn tell(&self, id: &str, notice: Notice) {
        if let Some(open) = self.inner().open.get_mut(&key(id)) {
            open.notice = Some(notice);
        }
    }

    /// What was left for this page.
    pub(super) fn told(&self, id: &str) -> Option<Notice> {
        self.inner().open.get_mut(&key(id))?.notice.take()
    }

    fn token(&self) -> MutexGuard<'_, Option<SecretString>> {
        self.token.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn lasts(&self, now: Instant) -> bool {
        now.duration_since(self.began) < LASTS
    }
}

impl Inner {
    /// Whether somebody may try a token.
    fn may_try(&mut self, from: IpAddr, now: Instant) -> bool {
        let all = self.all.get_or_insert_with(|| Bucket::full(ALL_TRIES, now));
        let one = self.by_address.get_mut(&network(from));
        all.has(ALL_TRIES, now) && one.is_none_or(|bucket| bucket.has(TRIES, now))
    }

    /// A token was wrong.
    fn failed(&mut self, from: IpAddr, now: Instant) {
        if let Some(all) = &mut self.all {
            all.take(ALL_TRIES, now);
        }
        if self.by_address.len() >= MAX_ADDRESSES {
            self.by_address.retain(|_, bucket| !bucket.is_full(TRIES, now));
        }
        if self.by_address.len() < MAX_ADDRESSES {
            let bucket = self.by_address.entry(network(from));
            bucket
                .or_insert_with(|| Bucket::full(TRIES, now))
                .take(TRIES, now);
        }
    }
}

/// How often something may happen.
#[derive(Debug, Clone, Copy)]
struct Allowance {
    most: f64,
    per_second: f64,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: f64,
    at: Instant,
}

impl Bucket {
    fn full(allowance: Allowance, now: Instant) -> Self {
        Self {
            left: allowance.most,
            at: now,
        }
    }

    fn fill(&mut self, allowance: Allowance, now: Instant) {
        let more = now.duration_since(self.at).as_secs_f64() * allowance.per_second;
        self.left = (self.left + more).min(allowance.most);
        self.at = now;
    }

    fn has(&mut self, allowance: Allowance, now: Instant) -> bool {
        self.fill(allowance, now);
        self.left >= 1.0
    }

    fn is_full(&mut self, allowance: Allowance, now: Instant) -> bool {
        self.fill(allowance, now);
        self.left >= allowance.most
    }

    fn take(&mut self, allowance: Allowance, now: Instant) -> bool {
        let has = self.has(allowance, now);
        if has {
            self.left -= 1.0;
        }
        has
    }
}

/// Whoever has an IPv6 address has the whole network.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(six) => {
            let mut octets = six.octets();
            octets[8..].fill(0);
            IpAddr::from(octets)
        }
    }
}

/// A text that nobody can guess.
fn secret() -> String {
    hex(&rand::random::<[u8; 32]>())
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn key(id: &str) -> Vec<u8> {
    digest::digest(&digest::SHA256, id.as_bytes()).as_ref().to_vec()
}

/// Compares in constant time, whatever the lengths are: what is compared are digests under a key that nobody knows.
fn is_same(token: &SecretString, given: &str) -> bool {
    same(token.expose_secret(), given)
}

/// Whether two texts are the same, in a time that does not tell where they differ.
pub(super) fn same(one: &str, other: &str) -> bool {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &rand::random::<[u8; 32]>());
    hmac::verify(&key, other.as_bytes(), hmac::sign(&key, one.as_bytes()).as_ref()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn sessions() -> (Sessions, Instant) {
        (
            Sessions::new(Some("a token of some length".into())),
            Instant::now(),
        )
    }

    #[test]
    fn the_right_token_opens_a_session_that_ends_after_hours_and_by_signing_out() {
        let (sessions, now) = sessions();
        assert_eq!(
            sessions.sign_in("a token of some", HERE, now),
            Err(Refused::Wrong)
        );
        let id = sessions.sign_in("a token of some length", HERE, now).unwrap();
        assert!(sessions.get(&id, now).is_some());
        assert!(sessions.get("another", now).is_none());
        assert!(sessions.get(&id, now + LASTS).is_none());
        sessions.sign_out(&id);
        assert!(sessions.get(&id, now).is_none());
    }

    #[test]
    fn after_a_few_wrong_tokens_even_the_right_one_has_to_wait_unless_it_comes_from_elsewhere() {
        let (sessions, now) = sessions();
        for _ in 0..5 {
            assert_eq!(sessions.sign_in("wrong", HERE, now), Err(Refused::Wrong));
        }
        let right = "a token of some length";
        assert_eq!(sessions.sign_in(right, HERE, now), Err(Refused::TooMany));
        let elsewhere: IpAddr = "192.0.2.1".parse().unwrap();
        assert!(sessions.sign_in(right, elsewhere, now).is_ok());
        assert!(
            sessions
                .sign_in(right, HERE, now + Duration::from_secs(11))
                .is_ok()
        );
    }

    #[test]
    fn addresses_of_one_network_and_very_many_networks_have_a_limit_too() {
        let (sessions, now) = sessions();
        let six = |n: u16, host: u16| IpAddr::from([0x2001, 0xdb8, n, 0, 0, 0, 0, host]);
        let refused = |n, host| sessions.sign_in("wrong", six(n, host), now);
        for host in 0..5 {
            assert_eq!(refused(0, host), Err(Refused::Wrong));
        }
        assert_eq!(refused(0, 9), Err(Refused::TooMany));
        for n in 1..26 {
            assert_eq!(refused(n, 0), Err(Refused::Wrong));
        }
        assert_eq!(refused(99, 0), Err(Refused::TooMany));
    }

    #[test]
    fn another_token_ends_all_sessions_and_the_same_one_none() {
        let (sessions, now) = sessions();
        let id = sessions.sign_in("a token of some length", HERE, now).unwrap();
        sessions.renew(Some("a token of some length".into()));
        assert!(sessions.get(&id, now).is_some());
        sessions.renew(Some("another token of some length".into()));
        assert!(sessions.get(&id, now).is_none());
        assert!(Sessions::new(None).sign_in("", HERE, now).is_err());
    }

    #[test]
    fn the_oldest_session_ends_when_there_are_too_many_and_orders_have_a_limit() {
        let (sessions, now) = sessions();
        let ids: Vec<String> = (0..=MAX_SESSIONS)
            .map(|n| {
                let at = now + Duration::from_secs(n as u64);
                sessions.sign_in("a token of some length", HERE, at).unwrap()
            })
            .collect();
        assert!(sessions.get(&ids[0], now).is_none() && sessions.get(&ids[1], now).is_some());
        let orders = (0..100).filter(|_| sessions.may_order(&ids[1], now + Duration::from_secs(40)));
        assert_eq!(orders.count(), 30);
    }
}
