//! The note of the session in the store, where other processes read and change it, too.

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use tokio::time::{Instant, sleep};

use super::session_note::{LOGIN, Login, Note};
use super::{SessionStore, totp};
use crate::clock::{Clock, Timestamp};

/// How often a process looks whether the login of another one has ended.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// A store that refuses so many changes in a row is not waited for.
const TRIES: u32 = 20;

/// The note of one process, as the store has it.
pub(super) struct SharedNote {
    url: String,
    token: SecretString,
    store: Arc<dyn SessionStore>,
    clock: Clock,
    /// Tells the logins of this process from those of others.
    process: u64,
    began: Timestamp,
}

/// What to do where a login is required.
pub(super) enum Claimed {
    /// Log in. The store has this note, which counts the login.
    Login(Note),
    /// Use the session of another process, which is in this note.
    Session(Note),
}

/// Why nobody may log in.
#[derive(Debug)]
pub(super) enum Refused {
    /// Vaultwarden has just refused the token.
    WrongToken,
    /// The rate limit does not allow a login for so long.
    Spent(Duration),
}

impl SharedNote {
    pub(super) fn new(url: &str, token: SecretString, store: Arc<dyn SessionStore>, clock: Clock) -> Self {
        Self {
            url: url.into(),
            token,
            store,
            process: rand::random(),
            began: clock.now(),
            clock,
        }
    }

    /// Reads the note.
    pub(super) async fn read(&self) -> Note {
        self.parse(self.store.load().await.as_deref())
    }

    /// Changes the note, in which another process may have changed something else meanwhile. Returns it.
    pub(super) async fn update(&self, change: impl Fn(&mut Note)) -> Note {
        let mut tries = 0;
        loop {
            let stored = self.store.load().await;
            let mut note = self.parse(stored.as_deref());
            change(&mut note);
            tries += 1;
            if self.store.replace(stored, note.to_bytes()).await || tries >= TRIES {
                return note;
            }
        }
    }

    /// Claims the next login, before it is made: a crash in between does not lose count of it, and no other process logs in
    /// at the same time. If another process logs in now, waits for that. If one has logged in since the session `refused`
    /// was opened, returns that session. A login `with_code` is claimed when a code can be sent that no process has sent before.
    ///
    /// Waits for a process that does not say how its login ended for [`LOGIN`], measured here: the clocks of two processes
    /// differ.
    ///
    /// # Errors
    /// A login is not allowed.
    ///
    /// # Cancellation
    /// Other processes wait for a login that was claimed and not made. This one does not.
    pub(super) async fn claim_login(
        &self,
        refused: Option<&str>,
        with_code: bool,
    ) -> Result<Claimed, Refused> {
        let mut tries = 0;
        let mut awaited: Option<(Login, Instant)> = None;
        loop {
            let stored = self.store.load().await;
            let mut note = self.parse(stored.as_deref());
            let now = self.clock.now();
            if note.session(now).is_some_and(|cookie| Some(cookie) != refused) {
                return Ok(Claimed::Session(note));
            }
            if let Some(login) = note.login_of_another(self.process, now) {
                let found = awaited
                    .filter(|(former, _)| *former == login)
                    .map_or_else(Instant::now, |(_, found)| found);
                awaited = Some((login, found));
                if found.elapsed() < LOGIN {
                    sleep(LOOK_AGAIN).await;
                    continue;
                }
            }
            // A new process tries a token that an earlier one was refused: it may be right by now.
            if note.is_refused(now) && (awaited.is_some() || note.refused >= self.began.0) {
                return Err(Refused::WrongToken);
            }
            // This keeps nobody else waiting.
            if let Some(wait) = totp::wait(note.totp_step, now).filter(|_| with_code) {
                sleep(wait).await;
                continue;
            }
            note.begin_login(self.process, now).map_err(Refused::Spent)?;
            tries += 1;
            if self.store.replace(stored, note.to_bytes()).await || tries >= TRIES {
                return Ok(Claimed::Login(note));
            }
        }
    }

    /// Stores how the login ended that this process has claimed. Returns the note.
    pub(super) async fn end_login(&self, change: impl Fn(&mut Note)) -> Note {
        self.update(|note| {
            // After a login that took too long, another process may have begun one.
            note.login.take_if(|login| login.process == self.process);
            change(note);
        })
        .await
    }

    fn parse(&self, stored: Option<&[u8]>) -> Note {
        Note::parse(stored, &self.url, &self.token)
    }
}
