//! Who is signed in: sessions in memory, and how often somebody may try.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ring::{digest, hmac};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::{Instant, sleep_until};

/// How long a session lasts, whether it is used or not.
const LASTS: Duration = Duration::from_secs(8 * 3600);
/// The largest number of sessions; one more ends the oldest.
const MAX_SESSIONS: usize = 32;
/// The wait after a wrong token.
const AFTER_WRONG: Duration = Duration::from_millis(200);
/// How many orders one session may give, and how fast it may give more.
const ORDERS: Allowance = Allowance {
    most: 30.0,
    per_second: 1.0,
};

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

/// The sessions, and the token that opens one.
pub(super) struct Sessions {
    token: Mutex<Option<SecretString>>,
    inner: Mutex<Inner>,
    /// When the next token may be tried.
    next_try: tokio::sync::Mutex<Instant>,
}

#[derive(Default)]
struct Inner {
    /// By the digest of the identifier, so that a look-up tells nothing of those that exist.
    open: HashMap<Vec<u8>, Open>,
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
            next_try: tokio::sync::Mutex::new(Instant::now()),
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

    /// Opens a session, if this is the token. Returns its identifier.
    ///
    /// Tries take turns, and after a wrong one the next has to wait: guessing is slow, whoever guesses and from wherever, and
    /// keeps nobody out for long.
    pub(super) async fn sign_in(&self, given: &str) -> Option<String> {
        let mut next = self.next_try.lock().await;
        sleep_until(*next).await;
        let opened = self.open(given, Instant::now());
        if opened.is_none() {
            *next = Instant::now() + AFTER_WRONG;
        }
        opened
    }

    fn open(&self, given: &str, now: Instant) -> Option<String> {
        // Held until the session is open: another token ends those of this one.
        let token = self.token();
        if !token.as_ref().is_some_and(|token| is_same(token, given)) {
            return None;
        }
        let mut inner = self.inner();
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
        Some(id)
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

    fn take(&mut self, allowance: Allowance, now: Instant) -> bool {
        let more = now.duration_since(self.at).as_secs_f64() * allowance.per_second;
        self.left = (self.left + more).min(allowance.most);
        self.at = now;
        let has = self.left >= 1.0;
        if has {
            self.left -= 1.0;
        }
        has
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
    use std::sync::Arc;

    use tokio::task::JoinSet;
    use tokio::time::timeout;

    use super::*;

    fn sessions() -> (Sessions, Instant) {
        (
            Sessions::new(Some("a token of some length".into())),
            Instant::now(),
        )
    }

    #[test]
    fn the_right_token_opens_a_session_that_ends_after_hours_and_by_signing_out() {
        let (sessions, now) = sessions();
        assert_eq!(sessions.open("a token of some", now), None);
        let id = sessions.open("a token of some length", now).unwrap();
        assert!(sessions.get(&id, now).is_some());
        assert!(sessions.get("another", now).is_none());
        assert!(sessions.get(&id, now + LASTS).is_none());
        sessions.sign_out(&id);
        assert!(sessions.get(&id, now).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn guessing_is_slow_and_keeps_the_right_token_waiting_for_moments_only() {
        let (sessions, now) = sessions();
        let (sessions, mut guesses) = (Arc::new(sessions), JoinSet::new());
        for _ in 0..50 {
            let sessions = sessions.clone();
            guesses.spawn(async move { sessions.sign_in("wrong").await });
        }
        tokio::task::yield_now().await;
        // Whoever gives up before the answer has not tried.
        for _ in 0..50 {
            let gone = timeout(
                Duration::from_millis(1),
                sessions.sign_in("a token of some length"),
            );
            assert!(gone.await.is_err());
        }
        assert!(sessions.sign_in("a token of some length").await.is_some());
        let waited = now.elapsed();
        assert!(
            waited >= 49 * AFTER_WRONG && waited <= 51 * AFTER_WRONG,
            "{waited:?}"
        );
        assert!(guesses.join_all().await.iter().all(Option::is_none));
    }

    #[test]
    fn another_token_ends_all_sessions_and_the_same_one_none() {
        let (sessions, now) = sessions();
        let id = sessions.open("a token of some length", now).unwrap();
        sessions.renew(Some("a token of some length".into()));
        assert!(sessions.get(&id, now).is_some());
        sessions.renew(Some("another token of some length".into()));
        assert!(sessions.get(&id, now).is_none());
        assert!(Sessions::new(None).open("", now).is_none());
    }

    #[test]
    fn the_oldest_session_ends_when_there_are_too_many_and_orders_have_a_limit() {
        let (sessions, now) = sessions();
        let ids: Vec<String> = (0..=MAX_SESSIONS)
            .map(|n| {
                let at = now + Duration::from_secs(n as u64);
                sessions.open("a token of some length", at).unwrap()
            })
            .collect();
        assert!(sessions.get(&ids[0], now).is_none() && sessions.get(&ids[1], now).is_some());
        let orders = (0..100).filter(|_| sessions.may_order(&ids[1], now + Duration::from_secs(40)));
        assert_eq!(orders.count(), 30);
    }
}
