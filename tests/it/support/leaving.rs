//! What happens to the accounts of people who leave and come back.

use tokio::time::{Instant, sleep};

use super::site::{Folk, Site};
use super::stand_in::Call;
use super::world::{PATIENCE, World};

impl<D: Site> World<D> {
    /// Changes people and groups as the administrator of the directory.
    pub fn folk(&self) -> Folk {
        (&self.server as &dyn Site).folk()
    }
}

impl<D> World<D> {
    /// Sets `[leave]`.
    pub fn leave(self, action: &str, grace: &str) -> Self {
        self.tables(&format!("[leave]\naction = \"{action}\"\ngrace = \"{grace}\""))
    }

    /// Waits until `is_so`.
    pub async fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so(self) {
            assert!(
                Instant::now() < deadline,
                "{what} does not come about:\n{:?}\n{}",
                self.vault.all_changes(),
                self.service().output()
            );
            sleep(super::world::PAUSE).await;
        }
    }

    /// Waits until the account of `UID@example.org` was changed so many times, then asserts that these were the changes.
    pub async fn changed(&self, uid: &str, changes: &[&str]) {
        let address = format!("{uid}@example.org");
        self.until(&format!("{changes:?} of {address}"), |world| {
            world.vault.changes(&address).len() >= changes.len()
        })
        .await;
        assert_eq!(self.vault.changes(&address), changes, "{address}");
    }

    /// The call that made the first such change of the account of `UID@example.org`.
    pub fn call(&self, uid: &str, change: &str) -> Call {
        let address = format!("{uid}@example.org");
        let is_it = |call: &Call| {
            call.address.as_ref() == Some(&address) && call.what.ends_with(&format!("/{change}"))
        };
        self.vault.calls().into_iter().find(is_it).unwrap()
    }

    /// Asserts that no call changed the accounts of these people.
    pub fn untouched(&self, uids: &[&str]) {
        for uid in uids {
            let address = format!("{uid}@example.org");
            assert!(
                self.vault.changes(&address).is_empty(),
                "{address}: {:?}\n{}",
                self.vault.changes(&address),
                self.service().output()
            );
        }
    }

    /// Waits until the journal of `UID@example.org` says this so many times.
    pub async fn journal_says(&self, uid: &str, words: &str, times: usize) {
        let address = format!("{uid}@example.org");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let output = self.ask(&["journal", "--person", &address]).await;
            let text = String::from_utf8(output.stdout).unwrap();
            if text.matches(words).count() >= times {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{words:?} is not said {times} times of {address}:\n{text}\n{}",
                self.service().output()
            );
            sleep(super::world::PAUSE).await;
        }
    }

    /// `approve --yes --all`
    pub async fn approve_all(&self) -> String {
        let output = self.ask(&["approve", "--all", "--yes"]).await;
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(output.status.success(), "{text}");
        text
    }
}
