//! The folder of network configurations.
//!
//! It is read at every look: a listing and one small file cost some tens of microseconds, and CNI
//! pods write and rewrite the file at any time, so anything remembered could be wrong.

use super::conf::{self, Form, Network, Plugin};
use crate::error::{Context, Error, Result};
use rrun_sys::in_root::read_regular_of_host;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Longer than any configuration; a plugin's folder is not the place for more.
const MAX_BYTES: u64 = 1 << 20;

const NO_PLUGIN: &str = "plugins: there is none";

/// A network and the file that it is from.
pub struct Found {
    pub file: PathBuf,
    pub network: Network,
}

/// The file of the first network of the folder, by name, whatever it holds.
///
/// # Errors
/// Those of the file system, with the folder.
pub fn first_file(dir: &Path) -> Result<Option<PathBuf>> {
    let files = files(dir, &["conf", "conflist", "json"]).context(|| dir.display())?;
    Ok(files.into_iter().next())
}

/// Refuses what is no list of plugins, or an empty one.
///
/// # Errors
/// `Invalid`, naming the place in it and the reason.
pub fn check_list(text: &[u8]) -> Result<()> {
    let parsed = conf::parse(text, Form::List)?;
    if parsed.network.plugins.is_empty() && !parsed.load_folder {
        return Err(Error::invalid(NO_PLUGIN));
    }
    Ok(())
}

/// The first network of the folder, by name. A folder or file that is not there is none; one that
/// is broken hides the others, as everywhere.
///
/// # Errors
/// `Invalid`, naming the file, the place in it and the reason.
pub fn first(dir: &Path) -> Result<Option<Found>> {
    let Some(file) = first_file(dir)? else { return Ok(None) };
    let network = load(dir, &file).context(|| file.display())?;
    Ok(Some(Found { file, network }))
}

fn load(dir: &Path, file: &Path) -> Result<Network> {
    let list = file.extension().is_some_and(|extension| extension == "conflist");
    let form = if list { Form::List } else { Form::Plugin };
    let parsed = conf::parse(&read(file)?, form)?;
    let mut network = parsed.network;
    if parsed.load_folder {
        for file in files(&dir.join(&network.name), &["conf"])? {
            network.plugins.push(load_plugin(&file).context(|| file.display())?);
        }
    }
    if network.plugins.is_empty() {
        return Err(Error::invalid(NO_PLUGIN));
    }
    Ok(network)
}

fn load_plugin(file: &Path) -> Result<Plugin> {
    conf::parse_plugin(&read(file)?)
}

/// CNI pods write here as well: what is no regular file might never be read to its end.
fn read(file: &Path) -> Result<Vec<u8>> {
    Ok(read_regular_of_host(file, MAX_BYTES)?)
}

/// Files with one of these extensions, in the order of their names.
fn files(dir: &Path, extensions: &[&str]) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let known = path.extension().and_then(|e| e.to_str());
        if known.is_some_and(|e| extensions.contains(&e)) && !path.is_dir() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
