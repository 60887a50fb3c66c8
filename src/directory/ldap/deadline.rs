//! The deadline of each step of connecting.

use std::time::Duration;

use tokio::time::timeout;

use crate::directory::DirectoryError;

/// The longest time for the TCP connection to one address, and for each later step up to the bind.
pub(crate) const STEP: Duration = Duration::from_secs(10);

/// Runs one step.
///
/// # Errors
/// [`DirectoryError::Silent`] after [`STEP`].
pub(crate) async fn deadline<T>(
    server: &str,
    doing: &'static str,
    step: impl Future<Output = T>,
) -> Result<T, DirectoryError> {
    timeout(STEP, step).await.map_err(|_| DirectoryError::Silent {
        server: server.to_owned(),
        doing,
        waited: STEP,
    })
}
