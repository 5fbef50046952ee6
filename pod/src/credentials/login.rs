//! What `rrun login` keeps: in the file that docker has for it, or by the program that the file names.

use std::fmt;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use nix::fcntl::{Flock, FlockArg};

use super::docker_config::DockerConfig;
use super::helper::Helper;
use super::{CONFIGS, FILES, Known};
use crate::error::{Context, Error, Kind, Result};
use crate::registry;

/// The file that is written.
pub const FILE: &str = FILES[1];

/// A registry that one logs into, or a part of one: `quay.io`, `quay.io/team`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server(String);

impl Server {
    /// Without scheme and API version, as docker and podman take them.
    ///
    /// # Errors
    /// `Invalid` for what names no registry.
    pub fn parse(text: &str) -> Result<Server> {
        let bare = registry::bare(text);
        let (host, path) = bare.split_once('/').unwrap_or((&bare, ""));
        let is_odd = |c: char| c.is_whitespace() || c.is_control() || "*?@\\#".contains(c);
        let is_bad = host.is_empty()
            || path.contains(':')
            || bare.contains("//")
            || bare.contains("://")
            || bare.ends_with('/')
            || bare.contains(is_odd);
        if is_bad {
            let why = format!("registry {text:?}: want a host, as in quay.io or localhost:5000");
            return Err(Error::new(Kind::Invalid, why));
        }
        Ok(Server(bare))
    }

    /// Host and port.
    pub fn host(&self) -> &str {
        self.0.split_once('/').map_or(&self.0, |(host, _)| host)
    }

    /// The program that has its credentials.
    fn helper(&self, config: &DockerConfig) -> Result<Option<Helper>> {
        let Some(name) = config.helper(self.host())? else { return Ok(None) };
        let helper = Helper::named(name)?;
        if self.0.contains('/') {
            let program = helper.program();
            let why = format!("{program} keeps credentials of whole registries, not of {self}");
            return Err(Error::new(Kind::Invalid, why));
        }
        Ok(Some(helper))
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

async fn read(file: &'static str) -> Result<DockerConfig> {
    Ok(CONFIGS.run(|| DockerConfig::read(Path::new(file))).await?.unwrap_or_default())
}

/// What is kept for a registry.
///
/// # Errors
/// Of the file, and of the program that has it.
pub async fn stored(server: &Server) -> Result<Option<Known>> {
    let config = read(FILE).await?;
    if let Some(helper) = server.helper(&config).context(|| FILE)? {
        let auth = helper.get(registry::server(server.host())).await?;
        return Ok(auth.map(|auth| Known { auth, source: helper.program().to_owned() }));
    }
    Ok(config.entry(&server.0).map(|auth| Known { auth, source: FILE.to_owned() }))
}

/// Keeps credentials for a registry, in the place of others; the answer is the program that has them
/// now, or `None` where they are in [`FILE`].
///
/// # Errors
/// Of the file, which then is as it was, and of the program.
pub async fn keep(server: &Server, username: &str, password: &str) -> Result<Option<String>> {
    let helper = server.helper(&read(FILE).await?).context(|| FILE)?;
    let key = server.clone();
    let Some(helper) = helper else {
        let (username, password) = (username.to_owned(), password.to_owned());
        let put = move |config: &mut DockerConfig| config.put(&key.0, Some((&username, &password)));
        change(put).await?;
        return Ok(None);
    };
    helper.store(registry::server(server.host()), username, password).await?;
    // Docker's list of what there is.
    change(move |config| config.put(&key.0, None)).await?;
    Ok(Some(helper.program().to_owned()))
}

/// Forgets what is kept for a registry: whether there was something.
///
/// # Errors
/// Of the file, which then is as it was, and of the program.
pub async fn forget(server: &Server) -> Result<bool> {
    let config = read(FILE).await?;
    let mut had = false;
    if let Some(helper) = server.helper(&config).context(|| FILE)? {
        let name = registry::server(server.host());
        had = helper.get(name).await?.is_some();
        if had {
            helper.erase(name).await?;
        }
    }
    let key = server.clone();
    Ok(change(move |config| Ok(config.remove(&key.0))).await? || had)
}

/// Every registry that [`FILE`] names.
///
/// # Errors
/// Of the file.
pub async fn servers() -> Result<Vec<Server>> {
    Ok(read(FILE).await?.servers().into_iter().map(Server).collect())
}

/// The file, not [`FILE`], that has something for a registry too.
///
/// # Errors
/// Of that file.
pub async fn elsewhere(server: &Server) -> Result<Option<&'static str>> {
    let config = read(FILES[0]).await?;
    let has = config.entry(&server.0).is_some() || config.helper(server.host())?.is_some();
    Ok(has.then_some(FILES[0]))
}

async fn change<T: Send + 'static>(
    work: impl FnOnce(&mut DockerConfig) -> Result<T> + Send + 'static,
) -> Result<T> {
    CONFIGS.run(|| change_file(Path::new(FILE), work)).await
}

/// Changes a file as one step, also for others that do it by this. Blocks.
fn change_file<T>(path: &Path, work: impl FnOnce(&mut DockerConfig) -> Result<T>) -> Result<T> {
    // A link to where somebody keeps the file stays.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder = path.parent().unwrap_or(Path::new("/"));
    let what = || format!("write {}", path.display());
    DirBuilder::new().recursive(true).mode(0o700).create(folder).context(what)?;
    let opened = File::open(folder).context(what)?;
    let lock = Flock::lock(opened, FlockArg::LockExclusive);
    let lock = lock.map_err(|(_, errno)| Error::errno(what(), errno))?;
    let mut config = DockerConfig::read(&path)?.unwrap_or_default();
    let before = config.clone();
    let done = work(&mut config).context(|| path.display().to_string())?;
    if config != before {
        let new = path.with_extension("json.new");
        let text = config.text()?;
        let written = write(&new, &text).and_then(|()| fs::rename(&new, &path));
        if written.is_err() {
            // The first error is the one to tell.
            let _ = fs::remove_file(&new);
        }
        written.and_then(|()| lock.sync_all()).context(what)?;
    }
    Ok(done)
}

fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = rrun_sys::record::create(path, 0o600)?;
    // One that somebody left may have another mode.
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.write_all(text)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_registry_is_named_as_docker_and_podman_take_it() {
        for (text, want) in [
            ("docker.io", "docker.io"),
            ("https://index.docker.io/v1/", "docker.io"),
            ("https://r.io:5000/v2/", "r.io:5000"),
            ("localhost", "localhost"),
            ("quay.io/team", "quay.io/team"),
        ] {
            assert_eq!(Server::parse(text).unwrap().to_string(), want, "{text}");
        }
        for text in
            ["", "/", "https://", "*.io", "a b", "u:p@r.io", "r.io/a:1", "r.io//a", "r.io/\n"]
        {
            assert!(Server::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_file_is_private_what_we_do_not_know_stays_in_it_and_a_link_to_it_stays_one() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("a/config.json"), folder.path().join("link"));
        let put = |config: &mut DockerConfig| config.put("docker.io", Some(("u", "p")));
        change_file(&path, put).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        let read = || fs::read_to_string(&path).unwrap();
        let auth = r#""https://index.docker.io/v1/": {"#;
        assert!(read().contains(auth) && read().contains("\"auth\": \"dTpw\""), "{}", read());

        let text = r#"{"detachKeys": "x", "auths": {"index.docker.io": {"email": "e", "auth": "old",
            "identitytoken": "old"}, "r.io": {"auth": "r"}}}"#;
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        symlink(&path, &link).unwrap();
        change_file(&link, put).unwrap();
        assert!(link.is_symlink() && mode(&path) == 0o600);
        assert!(!read().contains("old") && !read().contains("\"index.docker.io\""), "{}", read());
        for stays in ["\"detachKeys\": \"x\"", "\"email\": \"e\"", "\"auth\": \"r\"", auth] {
            assert!(read().contains(stays), "{stays}: {}", read());
        }
        let remove = |config: &mut DockerConfig| Ok(config.remove("docker.io"));
        assert!(change_file(&path, remove).unwrap());
        assert!(!change_file(&path, remove).unwrap());
        assert!(!read().contains("docker.io") && read().contains("r.io"), "{}", read());
        let names: Vec<_> = fs::read_dir(path.parent().unwrap()).unwrap().collect();
        assert_eq!(names.len(), 1, "{names:?}");
    }

    #[test]
    fn a_file_that_cannot_be_understood_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        for (text, why) in [
            ("{", "not JSON, line 1 column 1"),
            (r#"{"auths": []}"#, "auths: want an object"),
            (r#"{"auths": {"r.io": 5}}"#, "auths: r.io: want an object"),
        ] {
            fs::write(&path, text).unwrap();
            let put = |config: &mut DockerConfig| config.put("r.io", Some(("u", "p")));
            let error = change_file(&path, put).unwrap_err().to_string();
            assert_eq!(error, format!("{}: {why}", path.display()));
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }
}
