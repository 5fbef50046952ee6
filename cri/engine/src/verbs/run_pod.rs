//! RunPodSandbox.

use super::{PodAt, SOON, by_program, sandbox, shim_watch};
use crate::blocking::blocking;
use crate::check;
use crate::config::Config;
use crate::dirs::{self, Dirs, Lock};
use crate::error::{Context, Error, Kind, Result};
use crate::event::EventKind;
use crate::files;
use crate::groups;
use crate::handlers;
use crate::host_paths::Look;
use crate::id::{Owner, PodId};
use crate::jobs::Digest;
use crate::model::PodConfig;
use crate::phase::PodPhase;
use crate::ports::{Attachment, NEW_SHIM};
use crate::record::{self, PodRecord};
use crate::spec::{self, PodProfiles};
use crate::steps::{List, Step, Verb};
use crate::table::{Pod, Shared};
use rrun_shim_protocol::{Reply, Request};
use rrun_sys::in_root::read_regular_of_host;
use rrun_sys::time;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tracing::Instrument;

/// Longer than any `/etc/hosts` or `/etc/resolv.conf`, in bytes.
const HOST_FILE_MAX: u64 = 16 << 20;

/// A pod on its way.
pub(crate) struct RunPod {
    at: PodAt,
    profiles: PodProfiles,
    reaper: Option<i32>,
    ips: Vec<IpAddr>,
}

impl Verb for RunPod {
    type OnRecord = PodAt;

    fn on_record(&self) -> &PodAt {
        &self.at
    }
}

pub(crate) static RUN_POD: List<RunPod> = List {
    intent: &[
        Step {
            name: "engine.run-pod.run-dir",
            apply: |pod| Box::pin(pod.run_dir()),
            undo: Some(|at| Box::pin(at.remove_run_dir())),
        },
        Step { name: "engine.run-pod.lock", apply: |pod| Box::pin(pod.lock()), undo: None },
        Step {
            name: "engine.run-pod.state-dir",
            apply: |pod| Box::pin(pod.state_dir()),
            undo: Some(|at| Box::pin(at.remove_state_dir())),
        },
        Step { name: "engine.run-pod.record", apply: |pod| Box::pin(pod.intent()), undo: None },
    ],
    effects: &[
        Step {
            name: "engine.run-pod.files",
            apply: |pod| Box::pin(pod.files()),
            undo: Some(|at| Box::pin(at.remove_files())),
        },
        Step {
            name: "engine.run-pod.netns-dir",
            apply: |pod| Box::pin(pod.netns_dir()),
            undo: None,
        },
        Step {
            name: "engine.run-pod.cgroup",
            apply: |pod| Box::pin(pod.cgroup()),
            undo: Some(|at| Box::pin(at.remove_cgroup())),
        },
        Step {
            name: "engine.run-pod.shim-cgroup",
            apply: |pod| Box::pin(pod.shim_cgroup()),
            // All shims of the node share it: removing it would race with their next one.
            undo: None,
        },
        Step {
            name: "engine.run-pod.shim",
            apply: |pod| Box::pin(pod.shim()),
            undo: Some(|at| Box::pin(at.kill_shim())),
        },
        Step {
            name: "engine.run-pod.apparmor",
            apply: |pod| Box::pin(pod.apparmor()),
            // Other pods have it too.
            undo: None,
        },
        Step {
            name: "engine.run-pod.sandbox",
            apply: |pod| Box::pin(pod.sandbox()),
            undo: Some(|at| Box::pin(at.unpin())),
        },
        Step {
            name: "engine.run-pod.network",
            apply: |pod| Box::pin(pod.network()),
            undo: Some(|at| Box::pin(at.detach_network())),
        },
        Step {
            name: "engine.run-pod.plugins",
            apply: |pod| Box::pin(pod.tell_plugins()),
            undo: Some(|at| Box::pin(at.untell_run())),
        },
        Step { name: "engine.run-pod.ready", apply: |pod| Box::pin(pod.ready()), undo: None },
    ],
};

/// Makes a pod, or joins the job that does.
pub(crate) async fn run(
    engine: &Arc<Shared>,
    owner: &Owner,
    config: PodConfig,
    handler: &str,
) -> Result<PodId> {
    let what = format!("run pod {}", config.full_name());
    let known = engine.settings().handlers;
    check::pod(&config, handler, &engine.config.lsm, &known).context(|| what.clone())?;
    let program = handlers::find(&known, handler).context(|| what.clone())?;
    if config.id_maps().is_some() {
        if program.is_some() {
            let message = format!("userns_options: not with runtime handler {handler:?}");
            return Err(Error::invalid(message).context(what));
        }
        engine.has_user_namespaces().context(|| what.clone())?;
    }
    let digest = config_digest(&config, handler)?;
    let key = (owner.clone(), config.key());
    let record = intent(engine, owner, config, handler).context(|| what.clone())?;
    by_program::find(engine, &record.id, handler).await.context(|| what.clone())?;
    let job = || make(Arc::clone(engine), record);
    let id = engine.pod_jobs.join(key, digest, job).await.context(|| what.clone())?;
    match engine.table.pod(owner, id.as_str()) {
        Ok(pod) if pod.record().phase == PodPhase::Ready => Ok(id),
        _ => Err(Error::new(Kind::Exists, format!("pod {id} is not ready any more")).context(what)),
    }
}

/// What tells two configs under one name apart.
pub(crate) fn config_digest(config: &PodConfig, handler: &str) -> Result<Digest> {
    Digest::of(&(config, handler))
}

/// The record before the first effect, with every name that an undo needs.
fn intent(engine: &Shared, owner: &Owner, config: PodConfig, handler: &str) -> Result<PodRecord> {
    let id = PodId::random()?;
    let own = config.cgroup_parent.is_empty();
    let cgroup = match own {
        true => groups::of_own(&engine.config, &id)?,
        false => groups::of_client(&engine.config, &config.cgroup_parent)?,
    };
    let netns = files::has_network(&config).then(|| netns_path(&engine.config, &id));
    Ok(PodRecord {
        owner: owner.clone(),
        boot: engine.boot.clone(),
        config: Arc::new(config),
        handler: handler.to_owned(),
        phase: PodPhase::Making,
        created_at: time::now(),
        netns,
        cgroup,
        own_cgroup: own,
        ips: Vec::new(),
        reaper: None,
        reason: String::new(),
        not_undone: Vec::new(),
        resized: None,
        id,
    })
}

/// Where a pod's network namespace is pinned: `cni-` and the first half of its id in the form of
/// a UUID, because that is what others look for there.
pub(crate) fn netns_path(config: &Config, id: &PodId) -> PathBuf {
    let d = id.as_str();
    let uuid = [&d[..8], &d[8..12], &d[12..16], &d[16..20], &d[20..32]].join("-");
    config.netns_dir.join(format!("cni-{uuid}"))
}

/// Whether a name there has that form. Other runtimes give such names too.
pub(crate) fn is_netns_name(name: &str) -> bool {
    let is_hex = |part: &str| part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let parts: Vec<&str> = name.strip_prefix("cni-").unwrap_or_default().split('-').collect();
    parts.iter().map(|part| part.len()).eq([8, 4, 4, 4, 12]) && parts.into_iter().all(is_hex)
}

async fn make(engine: Arc<Shared>, record: PodRecord) -> Result<PodId> {
    let dirs = Dirs::new(&engine.config, &record.id);
    let pod = Arc::new(Pod::new(record, dirs));
    let at = PodAt { engine: Arc::clone(&engine), pod: Arc::clone(&pod) };
    let work = at.clone();
    let span = at.span("RunPodSandbox");
    let profiles = look_up(&at).instrument(span.clone()).await?;
    pod.queue
        .run(async move {
            let mut verb = RunPod { at: work.clone(), profiles, reaper: None, ips: Vec::new() };
            if let Err((error, not_undone)) = RUN_POD.run(&mut verb).await {
                work.keep_not_undone(&not_undone, SOON).await;
                return Err(error);
            }
            engine.table.add_pod(&work.pod);
            work.is_listed();
            work.tell(EventKind::Created, None);
            work.tell(EventKind::Started, None);
            Ok(())
        })
        .instrument(span)
        .await?;
    Ok(pod.id.clone())
}

/// Looks at the files of the host that the pod names, before there is anything of it: they may
/// never answer.
async fn look_up(at: &PodAt) -> Result<PodProfiles> {
    let (config, profiles) = (Arc::clone(&at.pod.config), at.engine.settings().seccomp_profiles);
    let look = move |look: &Look| spec::look_up_pod(look, &config.security, &profiles);
    at.engine.host_paths.look(&at.pod.id, look).await
}

impl RunPod {
    async fn run_dir(&self) -> Result<()> {
        let run = self.at.pod.dirs.run.clone();
        blocking(move || dirs::make(&run)).await
    }

    async fn lock(&self) -> Result<()> {
        let path = self.at.pod.dirs.lock();
        self.at.pod.hold(blocking(move || Lock::begin(&path)).await?);
        Ok(())
    }

    async fn state_dir(&self) -> Result<()> {
        let containers = self.at.pod.dirs.containers();
        self.at.pod.disk.run(move || dirs::make(&containers)).await
    }

    async fn intent(&self) -> Result<()> {
        self.at.pod.record.change(|_| {}).await
    }

    async fn files(&self) -> Result<()> {
        let (folder, config) = (self.at.pod.dirs.files(), Arc::clone(&self.at.pod.config));
        self.at.pod.disk.run(move || write_files(&folder, &config)).await
    }

    async fn netns_dir(&self) -> Result<()> {
        let folder = self.at.engine.config.netns_dir.clone();
        blocking(move || dirs::make(&folder)).await
    }

    async fn cgroup(&self) -> Result<()> {
        let record = self.at.pod.record();
        if record.own_cgroup {
            self.at.engine.ports.host.make_group(&record.cgroup).await?;
        }
        Ok(())
    }

    async fn shim_cgroup(&self) -> Result<()> {
        self.at.engine.ports.host.make_group(&self.at.shim_group()?).await
    }

    async fn shim(&self) -> Result<()> {
        let shims = &self.at.engine.ports.shims;
        shims.launch(&self.at.pod.dirs.run, &self.at.shim_group()?).await?;
        let dialled = shims.dial(&self.at.pod.dirs.run, NEW_SHIM).await?;
        shim_watch::adopt(&self.at, dialled);
        Ok(())
    }

    async fn apparmor(&mut self) -> Result<()> {
        let lsm = &self.at.engine.config.lsm;
        let meant = spec::pod_apparmor(&self.at.pod.config.security, lsm)?;
        self.profiles.apparmor = self.at.apparmor(meant).await?;
        Ok(())
    }

    async fn sandbox(&mut self) -> Result<()> {
        let (at, profiles) = (self.at.clone(), self.profiles.clone());
        let request = move || {
            let record = at.pod.record();
            sandbox::request(&at.engine.planner, &record, &profiles)
        };
        let request = blocking(request).await?;
        let groups = request.reaper.as_ref().map(|reaper| reaper.plan.cgroups.clone());
        let shim = self.at.connected()?;
        match shim.call(Request::Sandbox(request), Vec::new()).await {
            Ok((Reply::Sandbox { reaper }, _)) => self.reaper = reaper,
            Ok((other, _)) => {
                return Err(Error::internal(format!("sandbox: shim said {other:?}")));
            }
            Err(refusal) => return Err(refusal.error.context("sandbox")),
        }
        // Until then it is in its shim's scope, and ends with that.
        match (groups.filter(|groups| groups.asked), self.reaper) {
            (Some(groups), Some(pid)) => self.at.place_reaper(&groups, pid).await,
            _ => Ok(()),
        }
    }

    async fn network(&mut self) -> Result<()> {
        let record = self.at.pod.record();
        let Some(netns) = &record.netns else { return Ok(()) };
        let config = &record.config;
        let attachment = Attachment {
            id: record.id.to_string(),
            netns: netns.clone(),
            name: config.name.clone(),
            namespace: config.namespace.clone(),
            uid: config.uid.clone(),
            ports: config.ports.clone(),
            annotations: config.annotations.clone(),
            dns: config.dns.clone(),
            cgroup: record.cgroup.clone(),
        };
        self.ips = self.at.engine.ports.network.add(attachment).await.context(|| "network")?;
        Ok(())
    }

    async fn tell_plugins(&self) -> Result<()> {
        let (ips, reaper) = (self.ips.clone(), self.reaper.unwrap_or_default());
        self.at.tell_run(|info| (info.ips, info.pid) = (ips, reaper)).await
    }

    async fn ready(&mut self) -> Result<()> {
        let (ips, reaper) = (std::mem::take(&mut self.ips), self.reaper);
        let change = move |record: &mut PodRecord| {
            record.phase = PodPhase::Ready;
            record.ips = ips;
            record.reaper = reaper;
        };
        self.at.pod.record.change(change).await
    }
}

fn write_files(folder: &Path, config: &PodConfig) -> Result<()> {
    dirs::make(folder)?;
    let host_name = nix::unistd::gethostname().unwrap_or_default();
    let name = files::hostname(config, &host_name.to_string_lossy()).to_owned();
    record::replace(&folder.join("hostname"), format!("{name}\n").as_bytes())?;
    // A host without one has nothing to copy.
    let of_host = |path: &str| read_regular_of_host(Path::new(path), HOST_FILE_MAX);
    let hosts = of_host("/etc/hosts").unwrap_or_default();
    record::replace(&folder.join("hosts"), &hosts)?;
    let resolv = match &config.dns {
        Some(dns) => files::resolv_conf(dns).into_bytes(),
        None => of_host("/etc/resolv.conf").unwrap_or_default(),
    };
    record::replace(&folder.join("resolv.conf"), &resolv)
}
