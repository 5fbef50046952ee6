//! Which network the next ADD goes through. Looked up at every ADD and every status: CNI pods write
//! and rewrite configurations at any time.

use crate::bridge;
use crate::config::{Config, Mode, Settings};
use crate::error::{Error, Kind, Result};
use crate::plugin;
use crate::template::{self, Filled};
use std::net::IpAddr;

/// The folders of configurations and plugins. Every look reads them.
pub struct Folders {
    config: Config,
    bridge: bridge::Look,
}

/// What the next ADD goes through.
pub enum Selected {
    /// The built-in bridge, and why a configuration was passed over for it.
    Bridge(Option<String>),
    Plugins(plugin::Network),
}

impl Folders {
    /// What keeps pods of the built-in bridge from the rest of the world, for people.
    pub fn lost(&self) -> Vec<String> {
        match self.bridge.lost(&self.config.bridge, self.config.subnet6) {
            Ok(lost) => lost,
            Err(e) => vec![e.to_string()],
        }
    }

    pub fn new(config: &Config) -> Folders {
        Folders { config: config.clone(), bridge: bridge::Look::default() }
    }

    /// Fills the template with the addresses of the node's pods.
    ///
    /// # Errors
    /// Of [`template::fill`].
    pub fn fill(&self, cidrs: &[(IpAddr, u8)]) -> Result<Filled> {
        template::fill(&self.config.settings.borrow().clone(), cidrs)
    }

    /// # Errors
    /// `Unavailable` if the mode wants a configuration and there is none; `Invalid` for one that
    /// is broken; `NotFound` when its plugins are missing and the mode wants it.
    pub fn select(&self) -> Result<Selected> {
        let settings = self.config.settings.borrow().clone();
        let waits = settings.template().map(|template| {
            format!("; {} waits for the addresses of the node's pods", template.display())
        });
        let Settings { mode, conf_dir, bin_dirs, .. } = settings;
        let first = match mode {
            Mode::Builtin => None,
            Mode::Auto | Mode::Cni => plugin::first(&conf_dir)?,
        };
        let Some(plugin::Found { file, network }) = first else {
            return match mode {
                Mode::Cni => {
                    let waits = waits.unwrap_or_default();
                    let why = format!("no network config found in {}{waits}", conf_dir.display());
                    Err(Error::new(Kind::Unavailable, why))
                }
                Mode::Auto | Mode::Builtin => Ok(Selected::Bridge(None)),
            };
        };
        // Told before a pod is begun: a failed ADD would want a DEL from it as well.
        match plugin::check(&bin_dirs, &network) {
            Ok(()) => Ok(Selected::Plugins(network)),
            // Other programs leave configurations behind whose plugins were never installed.
            Err(e) if mode == Mode::Auto && e.kind() == Kind::NotFound => {
                let file = file.display();
                let why = format!("{file} is passed over for the built-in bridge: {e}");
                Ok(Selected::Bridge(Some(why)))
            }
            Err(e) => Err(e),
        }
    }
}
