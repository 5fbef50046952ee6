//! Arguments, environment and working directory of a container's process.

use crate::error::{Error, Result};
use crate::model::{ContainerConfig, EnvVar};
use crate::ports::ImageConfig;
use std::collections::HashMap;

const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What is executed: a command replaces the image's entrypoint and arguments, arguments alone
/// follow the image's entrypoint.
pub(crate) fn args(config: &ContainerConfig, image: &ImageConfig) -> Result<Vec<String>> {
    let (command, args) = match (config.command.as_slice(), config.args.as_slice()) {
        ([], []) => (&image.entrypoint[..], &image.cmd[..]),
        ([], args) => (&image.entrypoint[..], args),
        (command, args) => (command, args),
    };
    let all: Vec<String> = command.iter().chain(args).cloned().collect();
    match all.is_empty() {
        true => Err(Error::invalid("no command specified")),
        false => Ok(all),
    }
}

/// The environment: the image's, then what was asked for, the last of one name wins; and what
/// every container has. Values are bytes.
pub(crate) fn env(
    config: &ContainerConfig,
    image: &ImageConfig,
    hostname: &str,
    home: Option<&str>,
) -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = Vec::new();
    // An image may have hundreds of thousands.
    let mut places: HashMap<Vec<u8>, usize> = HashMap::new();
    let mut set = |var: Vec<u8>| {
        let place = *places.entry(name(&var).to_vec()).or_insert(all.len());
        match all.get_mut(place) {
            Some(other) => *other = var,
            None => all.push(var),
        }
    };
    set(PATH.into());
    set(format!("HOSTNAME={hostname}").into());
    if config.tty {
        set(b"TERM=xterm".to_vec());
    }
    image.env.iter().for_each(|var| set(var.clone().into()));
    for var in &config.envs {
        set([var.name.as_bytes(), b"=", &var.value].concat());
    }
    if all.iter().all(|var| name(var) != b"HOME") {
        all.push(format!("HOME={}", home.unwrap_or("/")).into());
    }
    all
}

/// The environment of a configuration as bytes: it holds text, and what was asked for may be none.
pub(crate) fn bytes(text: &[String], asked: &[EnvVar]) -> Vec<Vec<u8>> {
    let odd: Vec<_> = asked.iter().filter(|var| std::str::from_utf8(&var.value).is_err()).collect();
    let exact = |entry: &String| {
        let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
        let same =
            |var: &&&EnvVar| var.name == name && String::from_utf8_lossy(&var.value) == value;
        match odd.iter().find(same) {
            Some(var) => [name.as_bytes(), b"=", &var.value].concat(),
            None => entry.clone().into_bytes(),
        }
    };
    text.iter().map(exact).collect()
}

fn name(var: &[u8]) -> &[u8] {
    var.split(|b| *b == b'=').next().unwrap_or(var)
}

/// The working directory, absolute.
pub(crate) fn cwd(config: &ContainerConfig, image: &ImageConfig) -> String {
    let asked = [&config.working_dir, &image.working_dir];
    let cwd = asked.into_iter().find(|dir| !dir.is_empty());
    match cwd {
        Some(dir) if dir.starts_with('/') => dir.clone(),
        Some(dir) => format!("/{dir}"),
        None => "/".to_owned(),
    }
}
