//! What one instance does at a time: taken and kept by leases in the database, and fenced by their epochs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::error::Failure;
use super::sql::{Db, values};
use crate::store::interface::Lease;

/// A lease as this instance has it. Commits of its work check it in the database.
#[derive(Debug)]
pub(super) struct Fence {
    /// The name of the lease.
    pub(super) name: String,
    /// Whether this instance wants it.
    wanted: Mutex<bool>,
    /// The epoch in which this instance holds it, and the token that is cancelled when it loses it.
    held: watch::Sender<Option<(i64, CancellationToken)>>,
    /// Notified when this instance begins or ceases to want it.
    changed: Arc<Notify>,
}

impl Fence {
    /// The epoch in which this instance holds the lease.
    pub(super) fn epoch(&self) -> Option<i64> {
        self.held.borrow().as_ref().map(|(epoch, _)| *epoch)
    }

    /// Whether another instance may have it, although this one wants it.
    pub(super) fn is_elsewhere(&self) -> bool {
        self.is_wanted() && self.epoch().is_none()
    }

    /// Whether this instance wants the lease.
    fn is_wanted(&self) -> bool {
        *lock(&self.wanted)
    }

    /// Records whether this instance holds the lease, by what the database says.
    fn learn(&self, epoch: Option<i64>) {
        self.held.send_if_modified(|held| {
            if held.as_ref().map(|(epoch, _)| *epoch) == epoch {
                return false;
            }
            if let Some((_, lost)) = held.take() {
                lost.cancel();
            }
            *held = epoch.map(|epoch| (epoch, CancellationToken::new()));
            true
        });
    }

    /// Records that a commit found that another instance holds the lease.
    pub(super) fn lose(&self) {
        self.learn(None);
        self.changed.notify_one();
    }
}

impl Lease for Fence {
    fn take(&self) -> BoxFuture<'_, CancellationToken> {
        async {
            *lock(&self.wanted) = true;
            self.changed.notify_one();
            let mut held = self.held.subscribe();
            loop {
                if let Some((_, lost)) = &*held.borrow_and_update() {
                    return lost.clone();
                }
                // The sender lives as long as `self`.
                let _ = held.changed().await;
            }
        }
        .boxed()
    }

    fn release(&self) {
        *lock(&self.wanted) = false;
        self.learn(None);
        self.changed.notify_one();
    }
}

/// All leases that this instance wants or has wanted.
#[derive(Debug, Default)]
pub(super) struct Leases {
    fences: Mutex<BTreeMap<String, Arc<Fence>>>,
    /// Notified when this instance begins or ceases to want one.
    pub(super) changed: Arc<Notify>,
}

impl Leases {
    /// The lease with this name.
    pub(super) fn named(&self, name: &str) -> Arc<Fence> {
        let mut fences = lock(&self.fences);
        let fence = fences.entry(name.to_owned()).or_insert_with(|| {
            Arc::new(Fence {
                name: name.to_owned(),
                wanted: Mutex::default(),
                held: watch::Sender::new(None),
                changed: self.changed.clone(),
            })
        });
        fence.clone()
    }

    /// Whether this instance waits for a lease that another one holds.
    pub(super) fn is_waiting(&self) -> bool {
        let fences = lock(&self.fences);
        fences.values().any(|fence| fence.is_elsewhere())
    }

    /// Gives all leases up.
    pub(super) fn release_all(&self) {
        for fence in lock(&self.fences).values() {
            fence.release();
        }
    }

    /// Takes the wanted leases that no living instance holds, and gives up those that are no longer wanted.
    pub(super) async fn exchange(&self, db: &Db, instance: i64) -> Result<Exchange, Failure> {
        let fences: Vec<Arc<Fence>> = lock(&self.fences).values().cloned().collect();
        let (wanted, unwanted): (Vec<_>, Vec<_>) = fences.into_iter().partition(|fence| fence.is_wanted());
        let names = |fences: &[Arc<Fence>]| fences.iter().map(|fence| fence.name.clone()).collect::<Vec<_>>();
        let (given_up, wanted_names) = (names(&unwanted), names(&wanted));
        let released = db
            .execute(
                "update ldap_usher.lease set holder = null, since = null where name = any($1) and holder = $2",
                values![given_up, instance],
            )
            .await?;
        if released > 0 {
            db.query("select pg_notify('ldap_usher', 'lease')", &[]).await?;
        }
        let free = db.one(FREE, values![wanted_names, instance]).await?;
        if free.try_get(0)? {
            take(db, &wanted_names, instance).await?;
        }
        let sql = "select name, epoch from ldap_usher.lease where name = any($1) and holder = $2";
        let mut held = BTreeMap::new();
        for row in db.query(sql, values![wanted_names, instance]).await? {
            held.insert(row.try_get::<_, String>(0)?, row.try_get::<_, i64>(1)?);
        }
        Ok(Exchange { wanted, held })
    }
}

/// Whether there is a wanted lease ($1) that no living instance other than this one ($2) holds.
const FREE: &str = "select exists (
    select 1 from unnest($1) w(name) left join ldap_usher.lease l on l.name = w.name
    where l.holder is distinct from $2
      and not exists (select 1 from ldap_usher.instance i where i.id = l.holder and i.until > clock_timestamp()))";

async fn take(db: &Db, wanted: &[String], instance: i64) -> Result<(), Failure> {
    db.execute(
        "insert into ldap_usher.lease (name) select name from unnest($1) w(name) order by name on conflict do nothing",
        values![wanted],
    )
    .await?;
    // Another instance may take them at the same time. The update looks again, after it has them locked.
    db.query(
        "select 1 from ldap_usher.lease where name = any($1) order by name for update",
        values![wanted],
    )
    .await?;
    db.execute(
        "update ldap_usher.lease l set holder = $2, epoch = epoch + 1, since = clock_timestamp()
         where name = any($1) and holder is distinct from $2
           and not exists (select 1 from ldap_usher.instance i where i.id = l.holder and i.until > clock_timestamp())",
        values![wanted, instance],
    )
    .await?;
    Ok(())
}

/// What an exchange of leases found. It counts once its transaction is committed.
pub(super) struct Exchange {
    wanted: Vec<Arc<Fence>>,
    held: BTreeMap<String, i64>,
}

impl Exchange {
    /// Tells those who wait for a lease that they have it, and those who had one that they have lost it.
    pub(super) fn tell(&self) {
        for fence in &self.wanted {
            if fence.is_wanted() {
                fence.learn(self.held.get(&fence.name).copied());
            }
        }
    }
}

/// Checks in a transaction that this instance still holds a lease, which then stays so until its end.
pub(super) async fn check(db: &Db, fence: &Fence, instance: i64) -> Result<(), Failure> {
    let stale = || Failure::Superseded(fence.name.clone());
    let epoch = fence.epoch().ok_or_else(stale)?;
    let sql = "select 1 from ldap_usher.lease where name = $1 and epoch = $2 and holder = $3 for share";
    let held = db
        .optional(sql, values![fence.name.as_str(), epoch, instance])
        .await?;
    if held.is_none() {
        fence.lose();
        return Err(stale());
    }
    Ok(())
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
