//! A Vaultwarden that behaves as told.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::stream::{self, BoxStream, StreamExt};
use futures::{FutureExt, TryStreamExt};
use ldap_usher::model::{EmailAddress, Outcome, Rejection};
use ldap_usher::vaultwarden::{Account, AccountChange, Admin, Changed, Invitation, Reply, VaultwardenError};
use tokio::time::sleep;

/// How long a call waits for its answer.
const PATIENCE: Duration = Duration::from_secs(90);

/// How it behaves.
#[derive(Debug, Clone, Copy, Default)]
pub enum Behaviour {
    /// It invites.
    #[default]
    Works,
    /// It is out of reach.
    Down,
    /// It cannot invite anyone just now.
    Defers,
    /// It invites after so long, whether or not the caller waits.
    Slow(Duration),
    /// It drops the connection and does nothing.
    Swallows,
    /// It invites, and does not tell who has an account.
    NoList,
    /// Its mail server refuses everyone, with words that do not say whose fault it is.
    RefusesEveryone,
    /// Its mail server refuses one of four so.
    RefusesSome,
}

#[derive(Default)]
struct State {
    accounts: BTreeSet<String>,
    mails: usize,
    behaviour: Behaviour,
    calls: usize,
}

/// The server.
#[derive(Default)]
pub struct Server {
    state: Arc<Mutex<State>>,
    lists: AtomicUsize,
}

impl Server {
    /// From now on.
    pub fn behaves(&self, behaviour: Behaviour) {
        self.state.lock().unwrap().behaviour = behaviour;
    }

    /// Whether somebody has an account.
    pub fn has(&self, address: &str) -> bool {
        self.state.lock().unwrap().accounts.contains(address)
    }

    /// How many mails it has sent.
    pub fn mails(&self) -> usize {
        self.state.lock().unwrap().mails
    }

    /// How many times the accounts were asked for.
    pub fn lists(&self) -> usize {
        self.lists.load(Ordering::Relaxed)
    }

    fn behaviour(&self) -> Behaviour {
        self.state.lock().unwrap().behaviour
    }

    async fn receive(&self, address: &EmailAddress) -> Result<Outcome, VaultwardenError> {
        sleep(Duration::from_millis(10)).await;
        if self.state.lock().unwrap().accounts.contains(address.as_str()) {
            return Ok(Outcome::HadAccount);
        }
        let save = |state: &Mutex<State>, address: &str| {
            let mut state = state.lock().unwrap();
            state.mails += 1;
            state.accounts.insert(address.to_owned());
        };
        let refused = || VaultwardenError::Refused {
            address: address.clone(),
            rejection: Rejection {
                reason: format!("Vaultwarden says: (550): {address} go away"),
                key: Some("550 go away".into()),
            },
        };
        match self.behaviour() {
            Behaviour::Works | Behaviour::NoList => {}
            Behaviour::Down => return Err(down()),
            Behaviour::Defers => {
                return Err(VaultwardenError::Deferred {
                    address: address.clone(),
                    reason: "451 later".into(),
                });
            }
            Behaviour::Slow(time) => {
                let (state, text) = (self.state.clone(), address.to_string());
                // It goes on with what it was told, whether or not the caller is there.
                #[expect(clippy::disallowed_methods, reason = "it outlives the call")]
                let working = tokio::spawn(async move {
                    sleep(time).await;
                    save(&state, &text);
                });
                return match tokio::time::timeout(PATIENCE, working).await {
                    Ok(_) => Ok(Outcome::Invited),
                    Err(_) => Err(unknown()),
                };
            }
            Behaviour::Swallows => return Err(unknown()),
            Behaviour::RefusesEveryone => return Err(refused()),
            Behaviour::RefusesSome => {
                let mut state = self.state.lock().unwrap();
                state.calls += 1;
                if state.calls.is_multiple_of(4) {
                    return Err(refused());
                }
            }
        }
        save(&self.state, address.as_str());
        Ok(Outcome::Invited)
    }
}

fn url() -> String {
    "http://scripted".into()
}

fn down() -> VaultwardenError {
    VaultwardenError::Unreachable {
        url: url(),
        cause: "refused".into(),
    }
}

fn unknown() -> VaultwardenError {
    VaultwardenError::OutcomeUnknown {
        url: url(),
        cause: "no answer in time".into(),
    }
}

fn account(address: &str) -> Account {
    Account {
        id: address.into(),
        email: address.into(),
        invited: true,
        enabled: Some(true),
    }
}

impl Admin for Server {
    fn invite<'a>(&'a self, address: &'a EmailAddress) -> Reply<'a, Invitation> {
        async {
            Ok(Invitation {
                outcome: self.receive(address).await?,
                account: Some(address.as_str().into()),
            })
        }
        .boxed()
    }

    fn sends_mail(&self) -> Reply<'_, Option<bool>> {
        async { Ok(Some(true)) }.boxed()
    }

    fn change<'a>(&'a self, id: &'a str, change: AccountChange) -> Reply<'a, Changed> {
        async move {
            Ok(match self.account_by_id(id).await? {
                None => Changed::NoAccount,
                Some(_) => {
                    if change == AccountChange::Delete {
                        self.state.lock().unwrap().accounts.remove(id);
                    }
                    Changed::Done
                }
            })
        }
        .boxed()
    }

    fn account<'a>(&'a self, address: &'a EmailAddress) -> Reply<'a, Option<Account>> {
        async {
            if let Behaviour::Down = self.behaviour() {
                return Err(down());
            }
            let known = self.state.lock().unwrap().accounts.contains(address.as_str());
            Ok(known.then(|| account(address.as_str())))
        }
        .boxed()
    }

    fn account_by_id<'a>(&'a self, id: &'a str) -> Reply<'a, Option<Account>> {
        async move {
            if let Behaviour::Down = self.behaviour() {
                return Err(down());
            }
            let known = self.state.lock().unwrap().accounts.contains(id);
            Ok(known.then(|| account(id)))
        }
        .boxed()
    }

    fn accounts(&self) -> BoxStream<'_, Result<Account, VaultwardenError>> {
        let list = async {
            self.lists.fetch_add(1, Ordering::Relaxed);
            match self.behaviour() {
                Behaviour::NoList => Err(VaultwardenError::NoList {
                    url: url(),
                    cause: "status 504".into(),
                }),
                _ => {
                    let accounts = self.state.lock().unwrap().accounts.clone();
                    Ok(stream::iter(accounts).map(|address| Ok(account(&address))))
                }
            }
        };
        stream::once(list).try_flatten().boxed()
    }

    fn alive(&self) -> Reply<'_, ()> {
        async {
            match self.behaviour() {
                Behaviour::Down => Err(down()),
                _ => Ok(()),
            }
        }
        .boxed()
    }
}
