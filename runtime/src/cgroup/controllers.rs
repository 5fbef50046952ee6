//! Which of a container's directories a controller is in.

use super::Layout;
use crate::plan::CgroupDir;

/// Where a controller is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControllerDir {
    /// Index of the directory.
    pub dir: u8,
    /// It is the unified hierarchy, with v2's files.
    pub v2: bool,
}

/// Where each controller is that works on a container. One that a v1 hierarchy has is not in v2.
#[derive(Clone, Debug, Default)]
pub struct Controllers {
    homes: Vec<(String, ControllerDir)>,
    unified: Option<u8>,
    swap: bool,
}

impl Controllers {
    /// Finds them: `dirs` are a container's, one in each hierarchy of `layout` or in some.
    pub fn find(layout: &Layout, dirs: &[CgroupDir]) -> Controllers {
        // A kernel has 15 controllers, so that there are fewer hierarchies than a byte counts.
        let within = |root: &std::path::Path, unified: bool| {
            let at =
                dirs.iter().position(|dir| dir.unified == unified && dir.path.starts_with(root));
            at.and_then(|at| u8::try_from(at).ok())
        };
        let mut found = Controllers { swap: layout.swap, ..Controllers::default() };
        for hierarchy in &layout.v1 {
            let Some(dir) = within(&hierarchy.path, false) else { continue };
            for controller in &hierarchy.controllers {
                found.homes.push((controller.clone(), ControllerDir { dir, v2: false }));
            }
        }
        found.unified = layout.unified.as_deref().and_then(|root| within(root, true));
        if let Some(dir) = found.unified {
            for controller in &layout.unified_controllers {
                found.homes.push((controller.clone(), ControllerDir { dir, v2: true }));
            }
        }
        found
    }

    /// Where a controller is, if the host has it.
    pub fn home(&self, controller: &str) -> Option<ControllerDir> {
        self.homes.iter().find(|(name, _)| name == controller).map(|(_, home)| *home)
    }

    /// Memory can be swapped out.
    pub fn swap(&self) -> bool {
        self.swap
    }

    /// The unified directory.
    pub fn unified(&self) -> Option<u8> {
        self.unified
    }
}
