//! The verb `spec`.

use rrun_runtime::{Context, Result};
use rrun_sys::step;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

/// Writes a configuration that runs a shell in `rootfs`, to `file` or the bundle's `config.json`;
/// one that is there is left.
pub fn write(bundle: &Path, file: Option<&Path>) -> Result<()> {
    let path = file.map_or_else(|| bundle.join("config.json"), Path::to_owned);
    step::run("oci.spec.config", || {
        let mut file = OpenOptions::new().write(true).create_new(true).open(&path)?;
        Ok::<_, rrun_runtime::Error>(file.write_all(include_bytes!("config.json"))?)
    })
    .context(|| format!("write {}", path.display()))
}
