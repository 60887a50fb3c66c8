//! The state of the stand-in: accounts, sessions, logins, calls, and pending faults.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::answers::base64url;
use super::{Call, Fault, On};

#[derive(Default)]
pub(super) struct World {
    pub(super) accounts: BTreeMap<String, Account>,
    /// Every account ever saved, for their ids.
    pub(super) saved: usize,
    pub(super) invited: Vec<String>,
    pub(super) mailed: Vec<String>,
    /// The address and the change of each that succeeded.
    pub(super) changes: Vec<(String, &'static str)>,
    pub(super) calls: Vec<Call>,
    pub(super) sessions: BTreeMap<String, Instant>,
    /// Every session ever opened, for serial numbers.
    pub(super) opened: usize,
    pub(super) logins: usize,
    /// The last step whose one-time code was accepted.
    pub(super) totp_step: i64,
    pub(super) limiter: Option<Instant>,
    pub(super) faults: Vec<Injected>,
    pub(super) held: usize,
    pub(super) released: u64,
}

#[derive(Clone)]
pub(super) struct Account {
    pub(super) id: usize,
    pub(super) invited: bool,
    pub(super) enabled: bool,
    pub(super) last_owner: bool,
    pub(super) created: SystemTime,
}

pub(super) struct Injected {
    pub(super) on: On,
    pub(super) address: Option<String>,
    pub(super) times: usize,
    pub(super) fault: Fault,
}

impl World {
    pub(super) fn save(&mut self, address: &str, invited: bool) {
        self.saved += 1;
        let account = Account {
            id: self.saved,
            invited,
            enabled: true,
            last_owner: false,
            created: SystemTime::now(),
        };
        self.accounts.insert(address.into(), account);
    }

    pub(super) fn fault(&mut self, on: On, about: Option<&str>, admitted: bool) -> Option<Fault> {
        let injected = self.faults.iter_mut().find(|injected| {
            injected.times > 0
                && (admitted || injected.fault.comes_from_outside())
                && (injected.on == on || injected.on == On::All)
                && (injected.address.is_none() || injected.address.as_deref() == about)
        })?;
        injected.times -= 1;
        Some(injected.fault.clone())
    }

    /// Vaultwarden's limiter, the crate `governor`: the moment at which the whole burst is free again moves on by
    /// one period with each login, and may lie ahead by no more than the burst.
    pub(super) fn allows_login(&mut self, burst: u32, period: Duration) -> bool {
        let now = Instant::now();
        let whole_at = self.limiter.map_or(now, |at| at.max(now));
        let allowed = whole_at - now <= period * (burst - 1);
        if allowed {
            self.limiter = Some(whole_at + period);
        }
        allowed
    }

    pub(super) fn open_session(&mut self, lifetime: Duration) -> String {
        self.opened += 1;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let claims = json!({
            "nbf": now.as_secs(),
            "exp": (now + lifetime).as_secs(),
            "iss": "http://localhost|admin",
            "sub": "admin_panel",
        });
        // The header is {"typ":"JWT","alg":"RS256"}; instead of a signature there is a serial number.
        let jwt = format!(
            "eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9.{}.session-{}",
            base64url(claims.to_string().as_bytes()),
            self.opened
        );
        self.sessions.insert(jwt.clone(), Instant::now() + lifetime);
        jwt
    }
}
