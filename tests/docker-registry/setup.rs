//! A store in a folder of its own, and what the tests ask of it.

use rrun_images::{Config, Credentials, Image, Result, Store};
use rrun_tests::images::{self, Built};
use rrun_tests::registry::Registry;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// The image that the tests pull, without a host.
pub const IMAGE: &str = "e2e-test-images/busybox:1.29-2";
/// A registry that is nowhere but in `hosts.toml`.
pub const HOST: &str = "registry.rrun.test";

/// A store and its registry folders.
pub struct Setup {
    folder: TempDir,
    pub store: Store,
}

impl Setup {
    pub async fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("rrun-images-").tempdir().unwrap();
        fs::create_dir(folder.path().join("certs.d")).unwrap();
        let store = open(folder.path()).await;
        Self { folder, store }
    }

    pub fn root(&self) -> &Path {
        self.folder.path()
    }

    /// The folder of a registry.
    pub fn folder(&self, registry: &str) -> PathBuf {
        let folder = self.root().join("certs.d").join(registry);
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    /// Writes the `hosts.toml` of [`HOST`].
    pub fn hosts(&self, text: &str) {
        fs::write(self.folder(HOST).join("hosts.toml"), text).unwrap();
    }

    pub async fn pull(&self, name: &str, auth: Option<&Credentials>) -> Result<Image> {
        self.store.pull(&name.parse()?, auth, None).await
    }

    /// [`IMAGE`] of [`HOST`].
    pub async fn pull_hosted(&self) -> Result<Image> {
        self.pull(&hosted(), None).await
    }

    pub async fn assert_empty(&self) {
        assert_empty(&self.store, self.root()).await;
    }
}

/// Nothing is recorded in the store of this folder, and no layer is there, whole or in parts.
pub async fn assert_empty(store: &Store, folder: &Path) {
    store.empty_trash().await.unwrap();
    assert!(store.list().await.unwrap().is_empty());
    for part in ["layers", "tmp", "trash"] {
        let found: Vec<_> = fs::read_dir(folder.join("store").join(part)).unwrap().collect();
        assert!(found.is_empty(), "{part}: {found:?}");
    }
}

/// The store in this folder.
pub async fn open(folder: &Path) -> Store {
    try_open(folder).await.unwrap()
}

pub async fn try_open(folder: &Path) -> Result<Store> {
    let (root, certs) = (folder.join("store"), folder.join("certs.d"));
    let certs_dirs = tokio::sync::watch::channel(vec![certs]).1;
    Store::open(Config { root, certs_dirs, ..Config::default() }).await
}

pub fn hosted() -> String {
    format!("{HOST}/{IMAGE}")
}

/// What was pushed for [`IMAGE`].
pub fn built() -> Built {
    images::store().unwrap().images[&format!("registry.k8s.io/{IMAGE}")].clone()
}

/// All test images over plain HTTP.
pub fn registry() -> Registry {
    Registry::of_images(&images::store().unwrap().storage).unwrap()
}

pub fn someone(password: &str) -> Credentials {
    let (username, password) = ("someone".to_owned(), password.to_owned());
    Credentials { username, password, ..Credentials::default() }
}
