//! Plugins that are installed: executable files called by index and name, each with a configuration of
//! its own.

use crate::config::Config;
use crate::error::{Error, Kind, Result};
use rrun_blocking::Pool;
use rrun_error::reason;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

/// The longest configuration that is read, bytes.
const LONGEST: u64 = 1 << 20;

/// A disk that hangs keeps plugins waiting, and nobody else.
static FILES: Pool = Pool::new(4);

/// A plugin that was started here: what it is called, and its configuration.
pub(crate) struct Installed {
    pub(crate) index: String,
    pub(crate) base: String,
    pub(crate) config: String,
    pub(crate) child: Child,
}

/// The executable files of the folder with the form `NN-name`, in order. A folder that is missing has
/// none.
pub(crate) async fn installed(config: &Config) -> Vec<(String, String)> {
    let folder = config.plugins.clone();
    let listed = FILES.run(move || list(&folder).map_err(|error| (folder, error))).await;
    listed.unwrap_or_else(|(folder, error)| {
        tracing::warn!("NRI: plugins of {}: {}", folder.display(), reason(&error));
        Vec::new()
    })
}

fn list(folder: &Path) -> io::Result<Vec<(String, String)>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut all = Vec::new();
    for entry in entries {
        let entry = entry?;
        let is_program = fs::metadata(entry.path())
            .is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0);
        let name = entry.file_name();
        match name.to_str().and_then(|name| name.split_once('-')) {
            _ if !is_program => {}
            Some((index, base))
                if index.len() == 2
                    && index.bytes().all(|b| b.is_ascii_digit())
                    && !base.is_empty() =>
            {
                all.push((index.to_owned(), base.to_owned()));
            }
            _ => tracing::warn!("NRI: {} is not called NN-name", entry.path().display()),
        }
    }
    all.sort();
    Ok(all)
}

/// Starts an installed plugin, with its connection as its standard input.
pub(crate) async fn start(
    config: &Config,
    (index, base): (String, String),
) -> Result<(UnixStream, Installed)> {
    let name = format!("{index}-{base}");
    let text = config_of(config, &index, &base).await?;
    let started = || -> io::Result<_> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let child = Command::new(config.plugins.join(&name))
            .env_clear()
            .envs([
                ("NRI_PLUGIN_NAME", base.as_str()),
                ("NRI_PLUGIN_IDX", index.as_str()),
                ("NRI_PLUGIN_SOCKET", "0"),
            ])
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        Ok((UnixStream::from_std(ours)?, child))
    };
    let (stream, child) =
        started().map_err(|error| Error::new(Kind::Closed, reason(&error)).context(name))?;
    Ok((stream, Installed { index, base, config: text, child }))
}

/// The configuration of a plugin: of index and name, else of the name; empty where there is none.
pub(crate) async fn config_of(config: &Config, index: &str, base: &str) -> Result<String> {
    let at = |name: String| config.plugin_configs.join(name + ".conf");
    let paths = [at(format!("{index}-{base}")), at(base.to_owned())];
    FILES.run(move || first_of(&paths)).await
}

fn first_of(paths: &[PathBuf]) -> Result<String> {
    for path in paths {
        let read = || -> io::Result<String> {
            if fs::metadata(path)?.len() > LONGEST {
                return Err(io::Error::from_raw_os_error(nix::libc::EFBIG));
            }
            fs::read_to_string(path)
        };
        match read() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                let what = format!("read {}", path.display());
                return Err(Error::new(Kind::Closed, reason(&error)).context(what));
            }
            Ok(text) => return Ok(text),
        }
    }
    Ok(String::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_called_by_index_and_name_are_found_in_order_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        for (name, mode) in [("20-b", 0o755), ("10-a-b", 0o755), ("10-text", 0o644), ("x-c", 0o755)]
        {
            let path = folder.path().join(name);
            fs::write(&path, "").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
        fs::create_dir(folder.path().join("30-folder")).unwrap();
        let found = list(folder.path()).unwrap();
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(found, [pair("10", "a-b"), pair("20", "b")]);
        assert!(list(&folder.path().join("missing")).unwrap().is_empty());
    }

    #[test]
    fn the_configuration_of_index_and_name_goes_before_that_of_the_name() {
        let folder = tempfile::tempdir().unwrap();
        let paths = ["10-a.conf", "a.conf"].map(|name| folder.path().join(name));
        assert_eq!(first_of(&paths).unwrap(), "");
        fs::write(&paths[1], "name").unwrap();
        assert_eq!(first_of(&paths).unwrap(), "name");
        fs::write(&paths[0], "both").unwrap();
        assert_eq!(first_of(&paths).unwrap(), "both");
        fs::remove_file(&paths[0]).unwrap();
        fs::create_dir(&paths[0]).unwrap();
        assert!(first_of(&paths).unwrap_err().to_string().contains("10-a.conf: "));
    }
}
