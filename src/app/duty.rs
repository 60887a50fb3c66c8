//! Runs what one instance does at a time, while this instance has the lease for it.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::supervisor::Supervisor;
use crate::store::{Lease, Store};

/// An instance that has waited so long stands by. A lease that nobody holds is taken sooner.
const SOON: Duration = Duration::from_secs(2);
/// How long a command waits for a lease.
const PATIENCE: Duration = Duration::from_secs(10);

/// Makes `supervisor` run `work` whenever this instance has the lease, as [`while_held`] does.
pub(super) fn spawn<W>(
    supervisor: &mut Supervisor,
    name: impl Into<String>,
    lease: Arc<dyn Lease>,
    stop: &CancellationToken,
    stands_by: impl Fn(bool) + Clone + Send + Sync + 'static,
    work: impl Fn(CancellationToken) -> W + Clone + Send + Sync + 'static,
) where
    W: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let stop = stop.clone();
    supervisor.spawn(name, move || {
        let (lease, stop) = (lease.clone(), stop.clone());
        let (stands_by, work) = (stands_by.clone(), work.clone());
        async move { while_held(&*lease, &stop, stands_by, work).await }
    });
}

/// Runs `work` whenever this instance has the lease, until `stop`. Its token is cancelled by `stop`, and when another instance
/// has the lease. Calls `stands_by` when this instance begins and ceases to wait for another one.
///
/// # Errors
/// Those of `work` while this instance has the lease, which it keeps.
async fn while_held<W>(
    lease: &dyn Lease,
    stop: &CancellationToken,
    stands_by: impl Fn(bool),
    work: impl Fn(CancellationToken) -> W,
) -> anyhow::Result<()>
where
    W: Future<Output = anyhow::Result<()>>,
{
    loop {
        let Some(lost) = wait(lease, stop, &stands_by).await else {
            lease.release();
            return Ok(());
        };
        let held = stop.child_token();
        let mut work = pin!(work(held.clone()));
        let ended = tokio::select! {
            ended = work.as_mut() => ended,
            () = lost.cancelled() => {
                held.cancel();
                work.await
            }
        };
        if stop.is_cancelled() {
            lease.release();
            return ended;
        }
        if !lost.is_cancelled() {
            return ended;
        }
    }
}

/// Waits for the lease. `None` if `stop` is cancelled.
async fn wait(
    lease: &dyn Lease,
    stop: &CancellationToken,
    stands_by: &impl Fn(bool),
) -> Option<CancellationToken> {
    let mut taken = lease.take();
    if let Some(lost) = (&mut taken).now_or_never() {
        return Some(lost);
    }
    let mut stood_by = false;
    let lost = loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break None,
            lost = &mut taken => break Some(lost),
            () = sleep(SOON), if !stood_by => {
                stood_by = true;
                stands_by(true);
            }
        }
    };
    if stood_by {
        stands_by(false);
    }
    lost
}

/// Leaves the duties of this instance to others.
pub(super) async fn depart(store: &dyn Store) {
    if let Err(error) = store.depart().await {
        tracing::warn!(%error, "other instances take over after some seconds only");
    }
}

/// Takes the lease for a command. Returns whether it is free.
pub(super) async fn take_soon(lease: &dyn Lease) -> bool {
    timeout(PATIENCE, lease.take()).await.is_ok()
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::sync::Mutex;

    use futures::future::BoxFuture;
    use tokio::sync::watch;

    use super::*;

    /// A lease that the test gives and takes away.
    struct Given(watch::Sender<Option<CancellationToken>>, Mutex<u32>);

    impl Lease for Given {
        fn take(&self) -> BoxFuture<'_, CancellationToken> {
            async {
                let mut given = self.0.subscribe();
                given.wait_for(Option::is_some).await.unwrap().clone().unwrap()
            }
            .boxed()
        }

        fn release(&self) {
            *self.1.lock().unwrap() += 1;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn work_runs_while_the_lease_is_held_and_begins_again_when_it_comes_back() {
        let lease = Given(watch::Sender::new(None), Mutex::new(0));
        let stop = CancellationToken::new();
        let log = RefCell::new(Vec::new());
        let work = |token: CancellationToken| {
            log.borrow_mut().push("works");
            let log = &log;
            async move {
                token.cancelled().await;
                log.borrow_mut().push("ends");
                Ok(())
            }
        };
        let stands_by = |does| log.borrow_mut().push(if does { "stands by" } else { "does not" });
        let changes = async {
            sleep(Duration::from_secs(60)).await;
            let first = CancellationToken::new();
            lease.0.send_replace(Some(first.clone()));
            sleep(Duration::from_secs(60)).await;
            lease.0.send_replace(None);
            first.cancel();
            sleep(Duration::from_secs(1)).await;
            lease.0.send_replace(Some(CancellationToken::new()));
            sleep(Duration::from_secs(60)).await;
            stop.cancel();
        };
        let (ended, ()) = tokio::join!(while_held(&lease, &stop, stands_by, work), changes);
        ended.unwrap();
        let expected = ["stands by", "does not", "works", "ends", "works", "ends"];
        assert_eq!(*log.borrow(), expected);
        assert_eq!(*lease.1.lock().unwrap(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_fails_is_returned_and_keeps_the_lease() {
        let lease = Given(watch::Sender::new(Some(CancellationToken::new())), Mutex::new(0));
        let stop = CancellationToken::new();
        let ended = while_held(&lease, &stop, |_| {}, |_| async { anyhow::bail!("no space") }).await;
        assert_eq!(ended.unwrap_err().to_string(), "no space");
        assert_eq!(*lease.1.lock().unwrap(), 0);
    }
}
