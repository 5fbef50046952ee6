//! Blocking work of the file system that has no owner to go through, see [`rrun_blocking`].

use crate::error::{Error, Result};
use tokio::task::spawn_blocking;

/// Runs blocking work of the file system on a thread made for that.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Error::internal(error.to_string())),
    }
}
