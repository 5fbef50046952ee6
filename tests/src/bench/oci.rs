//! Create, start and delete of runtime binaries behind the OCI command line.

use super::table::Table;
use crate::{images, place};
use anyhow::{Context, Result, bail, ensure};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_child_subreaper;
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const UNIFIED: &str = "/sys/fs/cgroup/unified";

/// A runtime's program.
pub struct Runtime {
    /// How the table calls it.
    pub name: &'static str,
    program: PathBuf,
    /// Refuses a hybrid cgroup layout: it runs without the unified hierarchy.
    pure_v1: bool,
}

/// rrun-oci, runc of `make tools`, and Debian's crun.
///
/// With `before`, the same program of another build instead of the others.
pub fn runtimes(before: Option<&Path>) -> Result<Vec<Runtime>> {
    if let Some(folder) = before {
        let before = place::program_in(folder, "rrun-oci")?;
        return Ok(vec![
            Runtime { name: "rrun-oci", program: place::program("rrun-oci")?, pure_v1: false },
            Runtime { name: "before", program: before, pure_v1: false },
        ]);
    }
    Ok(vec![
        Runtime { name: "rrun-oci", program: place::program("rrun-oci")?, pure_v1: false },
        Runtime { name: "runc", program: place::tool("runc")?, pure_v1: false },
        Runtime { name: "crun", program: "crun".into(), pure_v1: true },
    ])
}

/// Makes, runs and deletes containers whose program ends at once, in turn.
pub fn run(table: &mut Table, runtimes: &[Runtime], count: usize) -> Result<()> {
    let bundle = Bundle::make(&place::tool("runc")?)?;
    // Containers' processes become children of this process, so that their ends can be awaited.
    set_child_subreaper(true)?;
    for round in 0..=count {
        for (at, runtime) in runtimes.iter().enumerate() {
            let times = container(runtime, &bundle, round).context(runtime.name)?;
            if round > 0 {
                for (verb, time) in ["create", "start", "delete"].into_iter().zip(times) {
                    table.time(&format!("OCI: {verb}"), at, time);
                }
                table.time("OCI: create + start + delete", at, times.iter().sum());
            }
        }
    }
    set_child_subreaper(false)?;
    Ok(())
}

/// A thread of its own, which may have another mount namespace than the rest of the process.
fn container(runtime: &Runtime, bundle: &Bundle, round: usize) -> Result<[Duration; 3]> {
    let life = || {
        if runtime.pure_v1 && Path::new(UNIFIED).exists() {
            unshare(CloneFlags::CLONE_FS | CloneFlags::CLONE_NEWNS).context("unshare")?;
            let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
            mount(None::<&str>, "/", None::<&str>, private, None::<&str>)?;
            umount2(UNIFIED, MntFlags::MNT_DETACH).context(UNIFIED)?;
        }
        bundle.life(runtime, &format!("bench-{}-{round}", std::process::id()))
    };
    let thread = std::thread::scope(|scope| scope.spawn(life).join());
    thread.unwrap_or_else(|_| bail!("the thread panicked"))
}

struct Bundle {
    folder: TempDir,
}

impl Bundle {
    /// A root with one static program, and the configuration that runc's `spec` gives.
    fn make(runc: &Path) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("rrun-bench-").tempdir()?;
        let bin = folder.path().join("rootfs/bin");
        fs::create_dir_all(&bin)?;
        let store = images::store()?.storage;
        let work = store.parent().context("no folder")?.join("programs/work");
        fs::copy(&work, bin.join("true")).with_context(|| format!("{}", work.display()))?;
        let status = Command::new(runc).arg("spec").current_dir(folder.path()).status()?;
        ensure!(status.success(), "runc spec: {status}");
        let path = folder.path().join("config.json");
        let mut config: serde_json::Value = serde_json::from_slice(&fs::read(&path)?)?;
        // Debian's crun knows no newer one.
        config["ociVersion"] = "1.0.2".into();
        config["process"]["args"] = serde_json::json!(["/bin/true"]);
        config["process"]["terminal"] = false.into();
        fs::write(&path, serde_json::to_vec(&config)?)?;
        Ok(Self { folder })
    }

    fn life(&self, runtime: &Runtime, id: &str) -> Result<[Duration; 3]> {
        let root = self.folder.path().join(runtime.name);
        let pid_file = self.folder.path().join("pid");
        let verb = |words: &[&std::ffi::OsStr]| -> Result<Duration> {
            let mut command = Command::new(&runtime.program);
            command.arg("--root").arg(&root).args(words);
            command.stdin(Stdio::null()).stdout(Stdio::null());
            let begin = Instant::now();
            let status = command.status().with_context(|| format!("{command:?}"))?;
            ensure!(status.success(), "{command:?}: {status}");
            Ok(begin.elapsed())
        };
        let bundle = self.folder.path().as_os_str();
        let create = verb(&[
            "create".as_ref(),
            "--bundle".as_ref(),
            bundle,
            "--pid-file".as_ref(),
            pid_file.as_os_str(),
            id.as_ref(),
        ])?;
        let start = verb(&["start".as_ref(), id.as_ref()])?;
        let pid = fs::read_to_string(&pid_file)?.trim().parse()?;
        waitpid(Pid::from_raw(pid), None).context("wait for the program's end")?;
        let delete = verb(&["delete".as_ref(), id.as_ref()])?;
        Ok([create, start, delete])
    }
}
