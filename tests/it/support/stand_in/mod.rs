//! A stand-in for Vaultwarden's admin API on its own port. It answers as the real one does (1.37.2, read and run), with
//! accounts, sessions, a login rate limit, the differences between versions, and faults on demand.
//!
//! It has its own thread and runtime, so that a test can stop it abruptly (every connection breaks, as after `kill -9`)
//! and start it again on the same port with the same accounts. It depends on nothing else in the tests.

mod answers;
mod changes;
mod fault;
mod server;
mod world;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdListener};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::{Semaphore, watch};

pub use server::one_time_code;
use server::{Shared, answer};
use world::{Account, Injected, World};

pub use fault::{Fault, Moment, On};

/// How the stand-in is set up.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The version to simulate, (major, minor).
    pub version: (u32, u32),
    /// `ADMIN_TOKEN`; `None` disables the admin page.
    pub token: Option<String>,
    /// The path of `DOMAIN`: `""`, or for example `"/vault"`.
    pub sub_path: String,
    /// The scheme and host of `DOMAIN`.
    pub domain: String,
    /// `ADMIN_RATELIMIT_MAX_BURST` and `ADMIN_RATELIMIT_SECONDS`; `None` for no limiter.
    pub limiter: Option<(u32, Duration)>,
    /// `ADMIN_SESSION_LIFETIME`.
    pub session: Duration,
    /// `ADMIN_TOTP_SECRET`, decoded; `None` for no one-time codes.
    pub totp: Option<Vec<u8>>,
    /// `DISABLE_ADMIN_TOKEN`: everyone is an admin, and no login succeeds.
    pub open: bool,
    /// A group of digits in the ids of its accounts that differs from that of other servers.
    pub accounts: u16,
    /// Whether its configuration says that it sends mail.
    pub mail: bool,
    /// The rounds of [`toil`] per invitation, and the number of threads for them; `None` for no work.
    pub work: Option<(u64, usize)>,
    /// Other values in `/admin/diagnostics/config`.
    pub told: Vec<(&'static str, Value)>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            version: (1, 37),
            token: Some("sesame".into()),
            sub_path: String::new(),
            domain: "https://vault.example.org".into(),
            limiter: Some((3, Duration::from_secs(300))),
            session: Duration::from_secs(20 * 60),
            totp: None,
            open: false,
            accounts: 0x8531,
            mail: true,
            work: None,
            told: Vec::new(),
        }
    }
}

/// One request.
#[derive(Debug, Clone)]
pub struct Call {
    /// When it arrived.
    pub at: Instant,
    /// `POST /admin/invite`.
    pub what: String,
    /// The address that is invited, or whose account is changed.
    pub address: Option<String>,
    /// Its session.
    pub cookie: Option<String>,
    /// The status of the answer; `None` before the answer, or if the connection broke.
    pub status: Option<u16>,
    /// When it was answered, or would have been.
    pub ended: Option<Instant>,
}

/// Keeps a processor busy, as hashing and a database do. The cost is independent of the load of the machine.
pub fn toil(rounds: u64) {
    let mut state = 1_u64;
    for _ in 0..rounds {
        state = std::hint::black_box(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    }
}

/// The accounts of a stand-in, as a backup of the database holds them.
pub struct Backup(BTreeMap<String, Account>);

/// The stand-in. Stops when dropped.
pub struct StandIn {
    shared: Arc<Shared>,
    address: SocketAddr,
    thread: Option<(watch::Sender<()>, JoinHandle<()>)>,
}

impl StandIn {
    /// Vaultwarden 1.37 with the token `sesame`.
    pub fn start() -> Self {
        Self::with(Setup::default())
    }

    /// Starts with this setup.
    pub fn with(setup: Setup) -> Self {
        let mut stand_in = Self {
            shared: Arc::new(Shared {
                workers: Semaphore::new(setup.work.map_or(1, |(_, threads)| threads)),
                setup,
                world: Mutex::default(),
                changed: watch::channel(()).0,
            }),
            address: (Ipv4Addr::LOCALHOST, 0).into(),
            thread: None,
        };
        stand_in.up();
        stand_in
    }

    /// Its URL with the sub-path.
    pub fn url(&self) -> String {
        format!("http://{}{}", self.address, self.shared.setup.sub_path)
    }

    /// Listens again, on the same port and with the same accounts and sessions.
    pub fn up(&mut self) {
        self.down();
        let listener = StdListener::bind(self.address).unwrap();
        self.address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        let (stop, mut stopped) = watch::channel(());
        let shared = Arc::clone(&self.shared);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            // Open requests are aborted with the runtime.
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let app = axum::Router::new().fallback(answer).with_state(shared);
                tokio::select! {
                    served = axum::serve(listener, app) => served.unwrap(),
                    _ = stopped.changed() => {}
                }
            });
        });
        self.thread = Some((stop, thread));
    }

    /// Stops like a killed process: connections break, new ones are refused.
    pub fn down(&mut self) {
        if let Some((stop, thread)) = self.thread.take() {
            drop(stop);
            thread.join().unwrap();
            self.shared.world().held = 0;
        }
    }

    // -- what has happened --------------------------------------------------------------------------------------

    /// The addresses of successful invitations, in order.
    pub fn invited(&self) -> Vec<String> {
        self.shared.world().invited.clone()
    }

    /// The number of successful invitations.
    pub fn invitations(&self) -> usize {
        self.shared.world().invited.len()
    }

    /// The addresses to which an invitation was mailed, in order, for the first time or again; there is no account for
    /// each of them.
    pub fn mailed(&self) -> Vec<String> {
        self.shared.world().mailed.clone()
    }

    /// How many invitations were mailed to an address.
    pub fn mails(&self, address: &str) -> usize {
        let world = self.shared.world();
        world.mailed.iter().filter(|mailed| *mailed == address).count()
    }

    /// The changes of an account that calls have made, in order: `deauth`, `disable`, `enable`, `delete`,
    /// `invite/resend`.
    pub fn changes(&self, address: &str) -> Vec<&'static str> {
        let world = self.shared.world();
        let changes = world.changes.iter().filter(|(whose, _)| whose == address);
        changes.map(|(_, change)| *change).collect()
    }

    /// Every change that calls have made, with its address, in order.
    pub fn all_changes(&self) -> Vec<(String, &'static str)> {
        self.shared.world().changes.clone()
    }

    /// Whether the account of an address is enabled; `None` if there is none.
    pub fn enabled(&self, address: &str) -> Option<bool> {
        let world = self.shared.world();
        Some(world.accounts.get(address)?.enabled)
    }

    /// Whether the account of an address waits for the person to register; `None` if there is none.
    pub fn awaits(&self, address: &str) -> Option<bool> {
        let world = self.shared.world();
        Some(world.accounts.get(address)?.invited)
    }

    /// The id of the account of an address.
    pub fn id(&self, address: &str) -> Option<String> {
        let world = self.shared.world();
        Some(self.shared.id(world.accounts.get(address)?))
    }

    /// The number of attempted logins.
    pub fn logins(&self) -> usize {
        self.shared.world().logins
    }

    /// Every request, in order.
    pub fn calls(&self) -> Vec<Call> {
        self.shared.world().calls.clone()
    }

    /// How many requests of a kind there were, such as `GET /admin/users`.
    pub fn count(&self, what: &str) -> usize {
        self.shared
            .world()
            .calls
            .iter()
            .filter(|call| call.what == what)
            .count()
    }

    /// How many lists of all accounts were begun.
    pub fn lists(&self) -> usize {
        let world = self.shared.world();
        let lists = world.calls.iter().filter(|call| {
            call.what.ends_with("/admin/users") && call.what.starts_with("GET") && call.status == Some(200)
        });
        lists.count()
    }

    /// How many invitations of an address came in with a session.
    pub fn attempts(&self, address: &str) -> usize {
        let world = self.shared.world();
        let attempts = world.calls.iter().filter(|call| {
            call.what.ends_with("/admin/invite")
                && call.address.as_deref() == Some(address)
                && call.status != Some(401)
        });
        attempts.count()
    }

    /// Waits until an address was invited with success; `false` if that takes too long.
    pub async fn wait_for_invite(&self, address: &str, limit: Duration) -> bool {
        self.wait(limit, |world| {
            world.invited.iter().any(|invited| invited == address)
        })
        .await
    }

    /// Waits until calls have made this change of an account; `false` if that takes too long.
    pub async fn wait_for_change(&self, address: &str, change: &str, limit: Duration) -> bool {
        self.wait(limit, |world| {
            world
                .changes
                .iter()
                .any(|(whose, what)| whose == address && *what == change)
        })
        .await
    }

    /// Waits until this many requests are held; `false` if that takes too long.
    pub async fn wait_until_held(&self, count: usize, limit: Duration) -> bool {
        self.wait(limit, |world| world.held == count).await
    }

    async fn wait(&self, limit: Duration, until: impl Fn(&World) -> bool) -> bool {
        let mut changed = self.shared.changed.subscribe();
        let waiting = async {
            while !until(&self.shared.world()) {
                changed.changed().await.unwrap();
            }
        };
        tokio::time::timeout(limit, waiting).await.is_ok()
    }

    // -- what will happen ---------------------------------------------------------------------------------------

    /// Creates accounts of people who have registered.
    pub fn preload<A: AsRef<str>>(&self, addresses: impl IntoIterator<Item = A>) {
        let mut world = self.shared.world();
        for address in addresses {
            world.save(&address.as_ref().to_lowercase(), false);
        }
    }

    /// Deletes accounts.
    pub fn delete<A: AsRef<str>>(&self, addresses: impl IntoIterator<Item = A>) {
        let mut world = self.shared.world();
        for address in addresses {
            world.accounts.remove(address.as_ref()).unwrap();
        }
    }

    /// Deletes every account.
    pub fn delete_all(&self) {
        self.shared.world().accounts.clear();
    }

    /// Disables an account, as an administrator does by hand.
    pub fn disable(&self, address: &str) {
        self.edit(address, |account| account.enabled = false);
    }

    /// Enables an account, as an administrator does by hand.
    pub fn enable(&self, address: &str) {
        self.edit(address, |account| account.enabled = true);
    }

    /// The person who was invited registers.
    pub fn register(&self, address: &str) {
        self.edit(address, |account| account.invited = false);
    }

    /// Makes the person the last owner of an organization: the account cannot be deleted.
    pub fn make_last_owner(&self, address: &str) {
        self.edit(address, |account| account.last_owner = true);
    }

    fn edit(&self, address: &str, edit: impl FnOnce(&mut Account)) {
        edit(self.shared.world().accounts.get_mut(address).unwrap());
    }

    /// A backup of the accounts.
    pub fn back_up(&self) -> Backup {
        Backup(self.shared.world().accounts.clone())
    }

    /// Restores a backup: later accounts are gone, and deleted ones are back with their ids.
    pub fn restore(&self, backup: &Backup) {
        self.shared.world().accounts.clone_from(&backup.0);
    }

    /// Lets the next `times` calls of a kind fail; with an address, only calls about it. Faults inside Vaultwarden apply
    /// only to calls with a session.
    pub fn fail(&self, on: On, address: Option<&str>, times: usize, fault: Fault) {
        self.shared.world().faults.push(Injected {
            on,
            address: address.map(Into::into),
            times,
            fault,
        });
    }

    /// Removes all faults.
    pub fn heal(&self) {
        self.shared.world().faults.clear();
    }

    /// Releases every request that is held.
    pub fn release(&self) {
        self.shared.world().released += 1;
        self.shared.changed.send_replace(());
    }

    /// Forgets all sessions, like a Vaultwarden that starts with a new key.
    pub fn forget_sessions(&self) {
        self.shared.world().sessions.clear();
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.down();
    }
}
