//! Chance, and what it does to the directory and to Vaultwarden.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt};
use futures::{FutureExt, TryStreamExt};
use ldap_usher::directory::{Changes, Directory, DirectoryError, Opened};
use ldap_usher::model::{Cursor, EmailAddress, Entry, EntryId, Outcome};
use ldap_usher::vaultwarden::{Account, AccountChange, Admin, Changed, Invitation, Reply, VaultwardenError};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::sleep;

use crate::support::journal::{Resume, Scripted, address};

thread_local! {
    /// One run is one thread, so that everything follows from its seed.
    static DICE: RefCell<StdRng> = RefCell::new(StdRng::seed_from_u64(0));
}

/// Begins a run.
pub fn seed(number: u64) {
    DICE.set(StdRng::seed_from_u64(number));
}

/// A number from `0.0..1.0`.
pub fn jitter() -> f64 {
    DICE.with_borrow_mut(Rng::r#gen)
}

/// A number from `0..below`.
pub fn number(below: u64) -> u64 {
    DICE.with_borrow_mut(|jitter| jitter.gen_range(0..below))
}

/// Something that happens so often.
pub fn chance(probability: f64) -> bool {
    jitter() < probability
}

/// Whether anything goes wrong.
#[derive(Default)]
pub struct Faults(AtomicBool);

impl Faults {
    /// From now on nothing does.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Something goes wrong that does so this often.
    fn strike(&self, probability: f64) -> bool {
        !self.0.load(Ordering::Relaxed) && chance(probability)
    }
}

/// The directory behind a network that fails.
pub struct Flaky {
    directory: Arc<Scripted>,
    faults: Arc<Faults>,
}

impl Flaky {
    pub fn new(directory: Arc<Scripted>, faults: Arc<Faults>) -> Self {
        Self { directory, faults }
    }

    /// A connection is made, or is not.
    async fn connect(&self) -> Result<(), DirectoryError> {
        sleep(Duration::from_millis(number(500))).await;
        let server = "ldap://scripted".to_owned();
        if self.faults.strike(0.1) {
            let waited = Duration::from_secs(15);
            sleep(waited).await;
            let doing = "binding";
            return Err(DirectoryError::Silent {
                server,
                doing,
                waited,
            });
        }
        if self.faults.strike(0.2) {
            let cause = "refused".into();
            return Err(DirectoryError::Connect { server, cause });
        }
        Ok(())
    }
}

impl Directory for Flaky {
    fn open(&self, from: Option<Cursor>) -> BoxFuture<'_, Result<Opened, DirectoryError>> {
        async {
            self.connect().await?;
            if self.faults.strike(1.0) {
                let ways = [
                    None,
                    Some(Resume::Changes),
                    Some(Resume::Present),
                    Some(Resume::Refuse),
                    Some(Resume::BreakAgain),
                ];
                self.directory.0.lock().unwrap().resume = ways[number(5) as usize];
            }
            self.directory.open(from).await
        }
        .boxed()
    }

    fn list(&self) -> BoxFuture<'_, Result<Changes, DirectoryError>> {
        async {
            self.connect().await?;
            self.directory.list().await
        }
        .boxed()
    }

    fn lookup<'a>(&'a self, who: &'a [EntryId]) -> BoxFuture<'a, Result<Vec<Entry>, DirectoryError>> {
        async {
            self.connect().await?;
            self.directory.lookup(who).await
        }
        .boxed()
    }
}

/// A Vaultwarden that fails.
pub struct Server {
    faults: Arc<Faults>,
    pub accounts: Mutex<BTreeSet<String>>,
    /// Whom it was asked to invite though they had an account.
    pub repeated: Mutex<BTreeSet<String>>,
}

impl Server {
    pub fn new(faults: Arc<Faults>) -> Self {
        Self {
            faults,
            accounts: Mutex::default(),
            repeated: Mutex::default(),
        }
    }

    pub fn has_account(&self, mail: u8) -> bool {
        self.accounts.lock().unwrap().contains(&address(mail))
    }

    /// Whether it refuses an address for good.
    pub fn refuses(mail: u8) -> bool {
        mail % 7 == 3
    }

    fn save(&self, address: &EmailAddress) -> Outcome {
        if self.accounts.lock().unwrap().insert(address.to_string()) {
            Outcome::Invited
        } else {
            self.repeated.lock().unwrap().insert(address.to_string());
            Outcome::HadAccount
        }
    }

    /// The answer to anything, late or never.
    async fn reach(&self) -> Result<(), VaultwardenError> {
        sleep(Duration::from_millis(number(1000))).await;
        if self.faults.strike(0.15) {
            return Err(VaultwardenError::Unreachable {
                url: url(),
                cause: "refused".into(),
            });
        }
        if self.faults.strike(0.05) {
            let wait = Duration::from_secs(1 + number(120));
            return Err(VaultwardenError::RateLimited { url: url(), wait });
        }
        Ok(())
    }

    async fn receive(&self, invited: &EmailAddress) -> Result<Outcome, VaultwardenError> {
        self.reach().await?;
        if self.faults.strike(0.1) {
            return Err(unknown());
        }
        if self.faults.strike(0.1) {
            return Err(VaultwardenError::Deferred {
                address: invited.clone(),
                reason: "451 greylisted".into(),
            });
        }
        let refused = (0..=u8::MAX).find(|&mail| address(mail) == invited.as_str());
        if refused.is_some_and(Self::refuses) {
            return Err(VaultwardenError::Refused {
                address: invited.clone(),
                rejection: "550 no such mailbox".into(),
            });
        }
        let outcome = self.save(invited);
        // Killed here, the service does not learn of it.
        sleep(Duration::from_millis(number(3000))).await;
        if self.faults.strike(0.1) {
            sleep(Duration::from_secs(90)).await;
            return Err(unknown());
        }
        Ok(outcome)
    }
}

fn url() -> String {
    "http://scripted".into()
}

fn unknown() -> VaultwardenError {
    VaultwardenError::OutcomeUnknown {
        url: url(),
        cause: "the connection broke".into(),
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
                        self.accounts.lock().unwrap().remove(id);
                    }
                    Changed::Done
                }
            })
        }
        .boxed()
    }

    fn account<'a>(&'a self, address: &'a EmailAddress) -> Reply<'a, Option<Account>> {
        async {
            self.reach().await?;
            let known = self.accounts.lock().unwrap().contains(address.as_str());
            Ok(known.then(|| account(address.as_str())))
        }
        .boxed()
    }

    fn account_by_id<'a>(&'a self, id: &'a str) -> Reply<'a, Option<Account>> {
        async move {
            self.reach().await?;
            let known = self.accounts.lock().unwrap().contains(id);
            Ok(known.then(|| account(id)))
        }
        .boxed()
    }

    fn accounts(&self) -> BoxStream<'_, Result<Account, VaultwardenError>> {
        let open = async {
            self.reach().await?;
            let accounts = self.accounts.lock().unwrap().clone();
            Ok::<_, VaultwardenError>(stream::iter(accounts).map(|address| Ok(account(&address))))
        };
        stream::once(open).try_flatten().boxed()
    }

    fn alive(&self) -> Reply<'_, ()> {
        self.reach().boxed()
    }
}
