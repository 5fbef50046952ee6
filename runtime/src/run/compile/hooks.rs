//! Hooks: where they stand between the steps.

use super::Compiler;
use super::mounts::Mounts;
use super::text::c_string;
use crate::plan::{Hook, Hooks, Plan, StateText};
use crate::{Context, Result};
use nix::sched::CloneFlags;
use rrun_sys::program::report::ParentTask;
use rrun_sys::program::{ChannelOp, DescriptorOp, HookOp, MountOp, NamespaceOp, Strings};
use std::ffi::CString;
use std::fs::File;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::Duration;

impl<'fd> Compiler<'fd> {
    /// Takes what the plan wants of the pod's mount namespace, and comes back from there.
    pub(super) fn copy_pod_mounts(
        &mut self,
        pod_mounts: Option<BorrowedFd<'fd>>,
        plan: &Plan,
        mounts: &mut Mounts,
    ) -> Result<()> {
        let Some(pod_mounts) = pod_mounts else { return Ok(()) };
        let own = "/proc/thread-self/ns/mnt";
        let own = File::open(own).context(|| format!("open {own}"))?;
        let (own, pods) = (self.program.own(own.into()), self.program.borrow(pod_mounts));
        let enter = |fd| NamespaceOp::Enter { fd, kinds: CloneFlags::CLONE_NEWNS };
        self.program.step("enter the pod's mount namespace", enter(pods));
        self.copy_of_pod(plan, mounts)?;
        self.program.step("enter the host's mount namespace", enter(own));
        for fd in [own, pods] {
            self.program.step("close", DescriptorOp::Close(fd));
        }
        Ok(())
    }

    /// Goes where hooks look for the root, while the way there is open.
    pub(super) fn go_to_rootfs(&mut self, rootfs: &Path) -> Result<()> {
        let label = format!("go to {}", rootfs.display());
        let path = c_string(rootfs.as_os_str().as_encoded_bytes())?;
        self.program.step(label, MountOp::GoTo(path));
        Ok(())
    }

    /// All mounts are made, and the host is still there.
    pub(super) fn hooks_of_create(&mut self, plan: &Plan) -> Result<()> {
        let Some(hooks) = &plan.hooks else { return Ok(()) };
        if hooks.ask {
            self.program.step("hooks", ChannelOp::Ask(ParentTask::RunHooks));
        }
        self.hooks("createContainer", &hooks.create_container, &hooks.creating)
    }

    pub(super) fn hooks_of_start(&mut self, hooks: &Hooks) -> Result<()> {
        self.hooks("startContainer", &hooks.start_container, &hooks.created)
    }

    fn hooks(&mut self, kind: &str, hooks: &[Hook], state: &StateText) -> Result<()> {
        for hook in hooks {
            let label = format!("{kind} hook {}", hook.path);
            let op = compile(hook, state).context(|| label.clone())?;
            self.program.step(label, op);
        }
        Ok(())
    }
}

fn compile(hook: &Hook, state: &StateText) -> Result<HookOp> {
    let strings = |all: &[String]| -> Result<Strings> {
        let all: Result<Vec<CString>> = all.iter().map(|text| c_string(text.as_str())).collect();
        Ok(Strings::from(all?))
    };
    let part = |text: &str| text.as_bytes().into();
    Ok(HookOp {
        path: c_string(hook.path.as_str())?,
        arguments: strings(&hook.args)?,
        environment: strings(&hook.env)?,
        state: [part(&state.before), part(&state.after)],
        timeout: hook.timeout.map(|seconds| Duration::from_secs(seconds.into())),
    })
}
