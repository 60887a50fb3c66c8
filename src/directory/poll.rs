//! For servers without any push: a full listing at an interval.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use tokio::time::sleep;

use super::wanted::Wanted;
use super::{Changes, DirectoryError, scan};

/// Lists at once, then again `poll_interval` after the end of each listing, each time on a new connection.
pub(super) async fn open(wanted: Arc<Wanted>) -> Result<Changes, DirectoryError> {
    let first = scan::open(wanted.clone()).await?;
    let again = stream::unfold(wanted, |wanted| async {
        sleep(wanted.poll_interval).await;
        Some((scan::open(wanted.clone()).await, wanted))
    });
    Ok(first.chain(again.try_flatten()).boxed())
}
