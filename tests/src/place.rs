//! Where things are: the workspace, the cache, the programs under test and the peers.

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};

/// The root of the workspace.
pub fn workspace() -> &'static Path {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests)
}

/// What tests build once and keep: `$RRUN_TEST_CACHE`, else `tests/.cache`.
pub fn cache() -> PathBuf {
    std::env::var_os("RRUN_TEST_CACHE")
        .map_or_else(|| workspace().join("tests/.cache"), PathBuf::from)
}

/// The root that `tests/setup` unpacked Debian packages into.
pub fn debian() -> Result<PathBuf> {
    let root = cache().join("debian/root");
    if !root.exists() {
        bail!("{} is missing: run tests/setup", root.display());
    }
    Ok(root)
}

/// A client or peer that `make tools` built: `crictl`, `containerd`, `cni/bridge`, ….
pub fn tool(name: &str) -> Result<PathBuf> {
    let path = cache().join("bin").join(name);
    if !path.exists() {
        bail!("{} is missing: run make tools", path.display());
    }
    Ok(path)
}

/// One of our programs (`rrund`, `rrun-shim`, `rrun-oci`, `rrun`): from `$RRUN_BIN`, else of the
/// build that this program is of: a debug build tests a debug build.
pub fn program(name: &str) -> Result<PathBuf> {
    let built = if cfg!(debug_assertions) { "debug" } else { "release" };
    let folder = std::env::var_os("RRUN_BIN").map_or_else(|| target().join(built), PathBuf::from);
    program_in(&folder, name)
}

/// One of our programs, of another build.
pub fn program_in(folder: &Path, name: &str) -> Result<PathBuf> {
    let path = folder.join(name);
    path.canonicalize().with_context(|| format!("{}: it is not built", path.display()))
}

fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| workspace().join("target"), |dir| workspace().join(dir))
}
