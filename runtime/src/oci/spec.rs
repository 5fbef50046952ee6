//! The verb `spec`.

use rrun_runtime::{Context, Result};
use rrun_sys::step;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

/// Writes a `config.json` that runs a shell in `rootfs`; one that is there is left.
pub fn write(bundle: &Path) -> Result<()> {
    let path = bundle.join("config.json");
    step::run("oci.spec.config", || {
        let mut file = OpenOptions::new().write(true).create_new(true).open(&path)?;
        Ok::<_, rrun_runtime::Error>(file.write_all(include_bytes!("config.json"))?)
    })
    .context(|| format!("write {}", path.display()))
}
