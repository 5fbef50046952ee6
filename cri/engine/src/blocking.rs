//! Blocking work of the file system that has no owner to go through.

use crate::error::Result;
use rrun_blocking::Pool;

/// Records, folders and host files. A path of a client's that may hang does not go through here:
/// see [`crate::host_paths`].
static FILES: Pool = Pool::new(AT_ONCE);

/// How much of it runs at a time.
pub(crate) const AT_ONCE: usize = 64;

/// Runs blocking work of the file system on a thread made for that.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    FILES.run(work).await
}
