//! From what the client asks for to a plan.

use super::{CreateContainer, Planned};
use crate::blocking::blocking;
use crate::error::{Context, Error, Result};
use crate::host_paths::Look;
use crate::ports::{ImageInfo, Wishes};
use crate::record;
use crate::spec::{self, Configured, OnHost, Wanted};
use crate::verbs::ContainerAt;
use serde_json::Value;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// What a configuration is made from.
#[derive(Clone)]
struct Sources {
    at: ContainerAt,
    image: Arc<ImageInfo>,
    rootfs: Arc<OwnedFd>,
    on_host: Arc<OnHost>,
    apparmor: Option<String>,
}

impl CreateContainer {
    /// From what the client asks for to an OCI configuration, to what the node makes of it, to a
    /// plan. The configuration that was planned stays on disk.
    pub(super) async fn spec(&mut self) -> Result<()> {
        let from = Sources {
            at: self.at.clone(),
            image: Arc::clone(&self.image),
            rootfs: self.rootfs.clone().ok_or_else(|| Error::internal("no rootfs"))?,
            on_host: Arc::clone(&self.on_host),
            apparmor: self.apparmor.take(),
        };
        let target = self.at.target_namespace().await?;
        let has_target = target.is_some();
        let sources = from.clone();
        // Looks up users inside the root.
        let Configured { mut json, user } = blocking(move || sources.configured()).await?;
        if let Some(wishes) = self.at.tell_create(&json).await? {
            json = self.granted(json, wishes).await?;
        }
        let mut planned = blocking(move || from.planned(json, user, has_target)).await?;
        self.check_checkpoint(&planned)?;
        planned.target = target;
        let has_hooks = planned.hooks.is_some();
        self.planned = Some(planned);
        if has_hooks {
            // Whoever takes the container back runs those of its end.
            self.at.container.record.change(|record| record.hooks = true).await?;
        }
        Ok(())
    }

    /// The configuration that plugins have made, with the CDI devices that they name.
    async fn granted(&self, json: Value, wishes: Wishes) -> Result<Value> {
        let json = wishes.spec.unwrap_or(json);
        if wishes.cdi_devices.is_empty() {
            return Ok(json);
        }
        let at = &self.at.at;
        let folders = at.engine.settings().cdi_spec_dirs;
        let look = move |look: &Look| spec::look_up_cdi(look, &wishes.cdi_devices, &folders);
        let found = at.engine.host_paths.look(&at.pod.id, look).await;
        let found = found.context(|| "CDI devices of plugins")?;
        Ok(spec::add_cdi(json, &found))
    }
}

impl Sources {
    fn with<T>(&self, work: impl FnOnce(&Wanted<'_>) -> Result<T>) -> Result<T> {
        let pod = &self.at.at.pod;
        work(&Wanted {
            pod: &pod.record(),
            container: &self.at.container.record(),
            image: &self.image.config,
            rootfs: &self.rootfs,
            files: &pod.dirs.files(),
            bundle: &pod.dirs.bundle(&self.at.container.id),
            apparmor: self.apparmor.as_deref(),
            on_host: &self.on_host,
        })
    }

    fn configured(&self) -> Result<Configured> {
        let Configured { json, user } =
            self.with(|wanted| self.at.at.engine.planner.spec(wanted))?;
        Ok(Configured { json: spec::adjust(json, &self.on_host), user })
    }

    fn planned(
        &self,
        mut json: Value,
        user: crate::status::LinuxUser,
        has_target: bool,
    ) -> Result<Planned> {
        let (planner, dirs) = (&self.at.at.engine.planner, &self.at.at.pod.dirs);
        let plan = self.with(|wanted| planner.plan(&mut json, wanted, has_target))?;
        let text = json.to_string();
        record::replace(&dirs.spec(&self.at.container.id), text.as_bytes())?;
        let limits = planner.limits(&json)?;
        let program = self.at.bundle_for_program(&json, &plan)?;
        let hooks = match &program {
            None => self.at.bundle(&json, &text)?,
            // It runs them itself.
            Some(_) => None,
        };
        Ok(Planned { plan, user, limits, target: None, hooks, program })
    }
}
