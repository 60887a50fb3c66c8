//! For servers without any push: a full listing at an interval.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use tokio::time::sleep;

use super::settings::Settings;
use super::{Changes, DirectoryError, scan};

/// Lists at once, then again `poll_interval` after the end of each listing, each time on a new connection.
pub(super) async fn open(settings: Arc<Settings>) -> Result<Changes, DirectoryError> {
    let first = scan::open(settings.clone()).await?;
    let again = stream::unfold(settings, |settings| async {
        sleep(settings.poll_interval).await;
        Some((scan::open(settings.clone()).await, settings))
    });
    Ok(first.chain(again.try_flatten()).boxed())
}
