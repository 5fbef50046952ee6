//! EROFS layers on a host that cannot mount them: the store was moved to another file system or below
//! an older kernel.
//!
//! Such a layer is unpacked again, from its own archive, and lies beside that from then on. The layer
//! stays what it is on record: where it can be mounted again, it is.

use std::path::PathBuf;
use std::time::Duration;

use nix::unistd::syncfs;
use rrun_sys::step;

use super::lock::Lock;
use super::{Disk, LayerKey, records};
use crate::error::{Context, Error, Result};
use crate::layer::erofs;

/// So often it is looked whether another one has unpacked it.
const PAUSE: Duration = Duration::from_millis(20);

impl Disk {
    /// A layer that could not be mounted, as a directory; made so if it is not there.
    ///
    /// # Errors
    /// What `refused` says, unless the host is to blame for it; else of the disk, and of an archive
    /// that is not as it was.
    pub(super) fn as_directory(&self, key: &LayerKey, refused: Error) -> Result<PathBuf> {
        let at = erofs::directory_in(&self.layer_dir(key));
        if at.is_dir() {
            return Ok(at);
        }
        let why = match self.mount_refusal() {
            Ok(Some(why)) => why,
            Ok(None) => return Err(refused),
            Err(e) => return Err(refused.context(format_args!("nor could another be tried: {e}"))),
        };
        let what =
            || format!("layer {key}: unpack it as a directory, as it cannot be mounted ({why})");
        let lock = loop {
            if let Some(lock) = Lock::try_take(&self.path("locks"), key.as_str()).context(what())? {
                break lock;
            }
            std::thread::sleep(PAUSE);
            if at.is_dir() {
                return Ok(at);
            }
        };
        if !at.is_dir() {
            self.unpack_again(key).context(what())?;
        }
        drop(lock);
        Ok(at)
    }

    /// Under the layer's lock.
    fn unpack_again(&self, key: &LayerKey) -> Result<()> {
        let (from, staging) = (self.layer_dir(key), self.path("tmp").join(key.as_str()));
        self.discard(&staging)?;
        std::fs::create_dir(&staging).context(staging.display())?;
        let done = step::run("images.directory.unpack", || {
            let facts = erofs::unpack(&from, &staging, key.diff_id().as_ref())?;
            // A power cut must not leave less of it under its name.
            syncfs(&self.open_layers()?).context(staging.display())?;
            Ok::<_, Error>(facts)
        });
        let done = done.and_then(|facts| {
            self.records(|r| r.write(|tx| records::grow_layer(tx, key, &facts)))?;
            let to = erofs::directory_in(&from);
            step::run("images.directory.place", || std::fs::rename(&staging, &to))
                .context(to.display())
        });
        if done.is_err() {
            // The first error is the one to tell.
            let _ = self.discard(&staging);
        }
        done
    }
}
