//! Which hierarchies the host has mounted.

use crate::{Error, Kind, Result};
use std::path::{Path, PathBuf};

/// How a host has set up its control groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// One hierarchy for each v1 controller, and no v2.
    V1,
    /// v1 hierarchies for limits, v2 beside them for process control.
    Hybrid,
    /// v2 alone.
    V2,
}

/// One mounted v1 hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    /// Where it is mounted.
    pub path: PathBuf,
    /// Controllers (`cpu`, `cpuacct`, …), or one `name=…`.
    pub controllers: Vec<String>,
}

/// The mounted hierarchies of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// How they are set up.
    pub mode: Mode,
    /// The v1 hierarchies.
    pub v1: Vec<Hierarchy>,
    /// Where v2 is mounted.
    pub unified: Option<PathBuf>,
    /// The controllers that v2 offers at its root.
    pub unified_controllers: Vec<String>,
}

impl Layout {
    /// Reads the layout below `root`, usually `/sys/fs/cgroup`.
    ///
    /// # Errors
    /// `NotFound` when nothing is mounted there.
    pub fn detect(root: &Path) -> Result<Layout> {
        Err(Error::new(Kind::NotFound, format!("no control groups at {}", root.display())))
    }

    /// The v1 hierarchy of a controller.
    pub fn controller(&self, name: &str) -> Option<&Hierarchy> {
        self.v1.iter().find(|h| h.controllers.iter().any(|c| c == name))
    }
}
