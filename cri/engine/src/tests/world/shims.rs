//! Shims whose containers are numbers.

use super::*;
use std::time::Duration;

pub(super) struct FakeShims(pub(super) Arc<World>);

#[async_trait]
impl Shims for FakeShims {
    async fn launch(&self, run_dir: &Path, cgroup: &str) -> Result<()> {
        self.0.state(|state| {
            state.shims.insert(run_dir.to_owned(), ShimState::default());
            state.groups.extend(groups::scope(cgroup).map(|_| cgroup.to_owned()));
        });
        Ok(())
    }

    async fn dial(&self, run_dir: &Path, _: Duration) -> Result<Dialled> {
        let (sender, events) = mpsc::unbounded_channel();
        self.0.state(|state| match state.shims.get_mut(run_dir) {
            Some(shim) => {
                shim.listeners.push(sender);
                let shim = FakeShim { world: Arc::clone(&self.0), run_dir: run_dir.to_owned() };
                Ok(Dialled { shim: Arc::new(shim), events })
            }
            None => Err(Error::new(Kind::Unavailable, "connection refused")),
        })
    }

    async fn kill(&self, run_dir: &Path) -> Result<()> {
        self.0.state(|state| state.shims.remove(run_dir));
        Ok(())
    }

    async fn kill_hung(&self, run_dir: &Path) -> Result<()> {
        self.kill(run_dir).await
    }
}

struct FakeShim {
    world: Arc<World>,
    run_dir: PathBuf,
}

impl FakeShim {
    /// The container asks to be placed, and waits.
    async fn ask(&self, container: &str) -> Result<(), Refusal> {
        let event = Event::Asks { container: container.to_owned(), pid: 3, ask: Ask::Place };
        self.world.state(|state| {
            let shim = state.shims.get(&self.run_dir);
            shim.iter().flat_map(|shim| &shim.listeners).for_each(|listener| {
                let _ = listener.send(event.clone());
            });
        });
        self.world.answered.notified().await;
        match self.world.state(|state| state.answer.take()).flatten() {
            Some(refusal) => Err(Error::internal(refusal.words).into()),
            None => Ok(()),
        }
    }
}

#[async_trait]
impl Shim for FakeShim {
    async fn call(&self, request: Request, _: Vec<OwnedFd>) -> Result<Answer, Refusal> {
        match &request {
            Request::Create(create) if create.plan.cgroups.asked => {
                self.ask(&create.container).await?;
            }
            Request::Answer { refusal, .. } => {
                self.world.state(|state| state.answer = Some(refusal.clone()));
                self.world.answered.notify_one();
            }
            _ => {}
        }
        if self.world.state(|state| state.hangs(&self.run_dir, &request)) {
            std::future::pending::<()>().await;
        }
        let reply = self.world.state(|state| {
            let State { shims, groups, reapers, unexecutable, hung, .. } = state;
            if *hung && shims.contains_key(&self.run_dir) {
                return Err(Error::new(Kind::Timeout, "no answer in 10s").into());
            }
            let gone = || Error::new(Kind::Unavailable, "the shim is gone");
            let shim = shims.get_mut(&self.run_dir).ok_or_else(gone)?;
            if let Request::LogPipes { .. } = request {
                let pipe = std::io::pipe().unwrap().0.into();
                let none = Reply::LogPipes { stdout: false, stderr: false, stdin: false };
                return Ok((none, vec![pipe]));
            }
            let asked = (self.run_dir.as_path(), groups, reapers, *unexecutable);
            answer(shim, asked, request).map(|reply| (reply, Vec::new()))
        });
        if matches!(reply, Ok((Reply::Done, _))) && !self.run_dir.exists() {
            return Err(Error::internal("a call after the end").into());
        }
        reply
    }

    async fn exec(&self, _: Exec, stdio: Vec<OwnedFd>) -> Result<Running, Refusal> {
        for (fd, text) in stdio.iter().zip(["out", "err"]) {
            nix::unistd::write(fd, text.as_bytes()).unwrap();
        }
        let end = Exit { code: 3, at: 1, ..Exit::default() };
        let (_, exit) = watch::channel(Some(end));
        Ok(Running { pid: 5, console: None, exit })
    }
}

type Asked<'a> = (&'a Path, &'a mut BTreeSet<String>, &'a mut Vec<Option<String>>, bool);

fn answer(
    shim: &mut ShimState,
    (run_dir, groups, reapers, unexecutable): Asked<'_>,
    request: Request,
) -> Result<Reply, Refusal> {
    Ok(match request {
        Request::Sandbox(sandbox) => {
            reapers.extend(sandbox.reaper.iter().map(|r| r.plan.process.apparmor.clone()));
            for pin in sandbox.pins {
                std::fs::write(pin.path, "").unwrap();
            }
            Reply::Sandbox { reaper: sandbox.reaper.map(|_| 2) }
        }
        Request::Create(create) => {
            if !create.plan.cgroups.asked {
                groups.insert(group_of(run_dir, &create.container));
            }
            shim.containers.insert(create.container, ContainerState::Created);
            Reply::Created { pid: 3, clamped: Vec::new() }
        }
        Request::Start { container } if unexecutable => {
            shim.end(run_dir, &container, 128);
            let error = Error::invalid("exec: \"web\": executable file not found in $PATH");
            return Err(Refusal { code: Some(127), error });
        }
        Request::Start { container } => {
            shim.containers.insert(container, ContainerState::Running { started_at: 7 });
            Reply::Started { at: 7, clamped: Vec::new() }
        }
        Request::Stop { container, signal, .. } => match shim.containers.get(&container) {
            None => return Err(Error::not_found("no such container").into()),
            Some(ContainerState::Exited { exit, .. }) => Reply::Exited(exit.clone()),
            Some(_) => Reply::Exited(shim.end(run_dir, &container, 128 + signal)),
        },
        Request::Delete { container } => {
            groups.remove(&group_of(run_dir, &container));
            shim.containers.remove(&container);
            Reply::Done
        }
        Request::State => {
            let containers = shim.containers.iter();
            let containers = containers
                .map(|(id, state)| ContainerReport {
                    id: id.clone(),
                    pid: None,
                    state: state.clone(),
                })
                .collect();
            Reply::State(ShimReport { sandbox: true, reaper: None, containers })
        }
        Request::Attach { .. } => Reply::Attached,
        _ => Reply::Done,
    })
}

pub(super) fn group_of(run_dir: &Path, container: &str) -> String {
    format!("/rrun/{}/{container}", run_dir.file_name().unwrap().to_str().unwrap())
}
