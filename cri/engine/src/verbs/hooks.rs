//! Hooks that run in the daemon's namespaces. The others are steps of the container's own process.

use super::{ContainerAt, PodAt};
use crate::blocking::blocking;
use crate::dirs;
use crate::error::{Context, Error, Result};
use crate::record;
use crate::spec;
use crate::steps::run_step;
use rrun_blocking::Pool;
use rrun_runtime::hooks;
use rrun_runtime::plan::{Hook, StateText};
use rrun_runtime::planning::RuntimeHooks;
use serde_json::Value;

/// A hook takes as long as its timeout says, and without one as long as it likes.
static HOOKS: Pool = Pool::new(64);

async fn run(name: &'static str, hooks: &[Hook], state: &StateText, pid: i32) -> Result<()> {
    if hooks.is_empty() {
        return Ok(());
    }
    let (hooks, state) = (hooks.to_vec(), state.of(pid));
    Ok(HOOKS.run(move || hooks::run(name, &hooks, &state)).await?)
}

impl PodAt {
    /// Runs the hooks of a container that is being made and waits for them, and answers its shim.
    pub(crate) async fn run_create_hooks(&self, container: String, pid: i32) {
        let done = match self.pod.help_for(&container).and_then(|help| help.hooks) {
            Some(hooks) => {
                let run = run("createRuntime", &hooks.create, &hooks.creating, pid);
                run_step("engine.create-container.hooks", run).await
            }
            None => Err(Error::internal("nobody makes this container")),
        };
        self.answer(container, done).await;
    }
}

impl ContainerAt {
    /// Makes what hooks are told of, if the configuration has any. Blocks.
    pub(crate) fn bundle(&self, spec: &Value, text: &str) -> Result<Option<RuntimeHooks>> {
        let bundle = self.at.pod.dirs.bundle(&self.container.id);
        let hooks = spec::runtime_hooks(spec, &self.container.id, &bundle)?;
        if hooks.is_some() {
            // With the variables of the container's environment.
            dirs::make_private(&bundle)?;
            dirs::make(&bundle.join("rootfs"))?;
            record::replace(&bundle.join("config.json"), text.as_bytes())?;
        }
        Ok(hooks)
    }

    /// Runs the hooks of a container whose program runs.
    ///
    /// # Errors
    /// Those of a hook: the container is to be killed.
    pub(crate) async fn run_start_hooks(&self) -> Result<()> {
        let Some(hooks) = self.runtime_hooks().await? else { return Ok(()) };
        run("poststart", &hooks.start, &hooks.running, self.container.record().pid).await
    }

    /// Runs the hooks of a container that has ended and is to be removed. One that fails is told in
    /// the log, and is in nobody's way.
    pub(crate) async fn run_stop_hooks(&self) -> Result<()> {
        let run = async {
            let Some(hooks) = self.runtime_hooks().await? else { return Ok(()) };
            for hook in &hooks.stop {
                let done = run("poststop", std::slice::from_ref(hook), &hooks.stopped, 0).await;
                self.warn_of(done);
            }
            Ok(())
        };
        let ran = run.await;
        self.warn_of(ran);
        Ok(())
    }

    fn warn_of(&self, done: Result<()>) {
        if let Err(error) = done {
            tracing::warn!(container = %self.container.id, %error, "a hook has failed");
        }
    }

    async fn runtime_hooks(&self) -> Result<Option<RuntimeHooks>> {
        if !self.container.record().hooks {
            return Ok(None);
        }
        let (path, id) = (self.at.pod.dirs.spec(&self.container.id), self.container.id.clone());
        let bundle = self.at.pod.dirs.bundle(&id);
        blocking(move || {
            let what = || format!("read {}", path.display());
            let text = rrun_sys::record::read(&path).context(what)?;
            let json = serde_json::from_slice(&text)
                .map_err(|error| Error::internal(error.to_string()))
                .context(what)?;
            spec::runtime_hooks(&json, &id, &bundle)
        })
        .await
    }
}
