//! The node's own credentials for registries, which all pods may use: what stands in a `config.json`
//! as Docker's, and what the programs have that such a file names.

mod docker_config;
mod helper;
pub mod login;

use std::path::Path;

use rrun_blocking::Pool;
use rrun_cri_api::v1;

use crate::error::{Context, Error, Result};
use crate::registry;
use docker_config::DockerConfig;
use helper::Helper;

/// Where they are looked for: in the file of a kubelet, then in that of `rrun login` and docker.
const FILES: [&str; 2] = ["/var/lib/kubelet/config.json", "/root/.docker/config.json"];

/// Files that are read.
static CONFIGS: Pool = Pool::new(16);

/// One of the node's credentials.
#[derive(Clone)]
pub struct Known {
    /// It.
    pub auth: v1::AuthConfig,
    /// The file that it stands in, or the program that has it.
    pub source: String,
}

/// The node's credentials for one image.
#[derive(Clone, Default)]
pub struct NodeCredentials {
    /// In the order in which they are to be shown.
    pub known: Vec<Known>,
    /// Why there are no others: a file that cannot be read, a program that does not answer.
    pub missing: Vec<Error>,
}

/// The node's credentials that fit `image`. Of each file first what its program for the registry has,
/// then what stands in it, the longest match first.
pub async fn of_node(image: &str) -> NodeCredentials {
    let mut found = NodeCredentials::default();
    for file in FILES {
        match CONFIGS.run(|| DockerConfig::read(Path::new(file))).await {
            Ok(Some(config)) => add(&mut found, file, &config, image).await,
            Ok(None) => {}
            Err(error) => found.missing.push(error),
        }
    }
    found
}

async fn add(found: &mut NodeCredentials, file: &str, config: &DockerConfig, image: &str) {
    match of_helper(config, &registry::host(image)).await.context(|| file) {
        Ok(known) => found.known.extend(known),
        Err(error) => found.missing.push(error),
    }
    let known = |auth| Known { auth, source: file.to_owned() };
    found.known.extend(config.fitting(image).into_iter().map(known));
}

async fn of_helper(config: &DockerConfig, host: &str) -> Result<Option<Known>> {
    let Some(name) = config.helper(host)? else { return Ok(None) };
    let helper = Helper::named(name)?;
    let auth = helper.get(registry::server(host)).await?;
    Ok(auth.map(|auth| Known { auth, source: helper.program().to_owned() }))
}
