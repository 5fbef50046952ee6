//! A path of the host on a file system that never answers.

use crate::suite::*;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use rrun_cri_api::v1::*;
use rrun_tests::harness::WORK;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use tonic::Code;

/// fuse.h: the opcode of the greeting, and the version that is answered.
const FUSE_INIT: u32 = 26;
const VERSION: [u32; 2] = [7, 31];

/// A FUSE file system whose server takes every request and answers none but the greeting: what
/// asks it cannot even be killed.
struct Hung {
    at: PathBuf,
    /// A process in the mount namespace that it is in.
    pid: u32,
}

impl Hung {
    fn mount(at: &Path, pid: u32) -> Hung {
        fs::create_dir(at).unwrap();
        let server = OpenOptions::new().read(true).write(true).open("/dev/fuse").unwrap();
        let options =
            format!("fd={},rootmode=40000,user_id=0,group_id=0,allow_other", server.as_raw_fd());
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        in_mounts_of(pid, || mount(Some("hung"), at, Some("fuse"), flags, Some(&*options)));
        std::thread::spawn(move || serve(server));
        Hung { at: at.to_owned(), pid }
    }
}

impl Drop for Hung {
    /// Whoever asks is told that nobody is there.
    fn drop(&mut self) {
        let flags = MntFlags::MNT_FORCE | MntFlags::MNT_DETACH;
        in_mounts_of(self.pid, || umount2(&self.at, flags));
    }
}

/// Works in the mount namespace of a process, on a thread that ends there.
fn in_mounts_of(pid: u32, work: impl FnOnce() -> nix::Result<()> + Send) {
    let namespace = File::open(format!("/proc/{pid}/ns/mnt")).unwrap();
    let inside = || {
        unshare(CloneFlags::CLONE_FS)?;
        setns(&namespace, CloneFlags::CLONE_NEWNS)?;
        work()
    };
    std::thread::scope(|scope| scope.spawn(inside).join()).unwrap().unwrap();
}

/// Ends with the mount.
fn serve(mut server: File) {
    let mut request = vec![0; 1 << 17];
    while let Ok(length) = server.read(&mut request) {
        let word = |at: usize| u32::from_ne_bytes(request[at..at + 4].try_into().unwrap());
        if length >= 40 && word(4) == FUSE_INIT {
            // struct fuse_out_header, struct fuse_init_out.
            let mut answer = Vec::from(80_u32.to_ne_bytes());
            answer.extend(0_i32.to_ne_bytes());
            answer.extend(&request[8..16]);
            answer.extend(VERSION.map(u32::to_ne_bytes).concat());
            answer.resize(80, 0);
            server.write_all(&answer).unwrap();
        }
    }
}

#[tokio::test]
async fn a_path_that_never_answers_costs_its_own_create_and_nothing_else() {
    let suite = Suite::start().await;
    let config = suite.harness.pod("hangs");
    let pod = suite.run_pod(&config).await;
    let main = suite.add(&pod, &config, "main", &["/bin/sleeper"]).await;
    let (neighbour, _) = suite.run("neighbour", &["/bin/sleeper"]).await;
    let path = suite.harness.sandbox().root().join("hung");
    let hung = Hung::mount(&path, suite.harness.sandbox().pid());
    let mounts = || {
        let host_path = path.to_string_lossy().into_owned();
        vec![Mount { host_path, container_path: "/data".to_owned(), ..Default::default() }]
    };
    let container = |name: &str| suite.harness.container(name, WORK, &["/bin/sleeper"]);
    let with_path = |name: &str| ContainerConfig { mounts: mounts(), ..container(name) };

    let stuck = suite.create(&pod, with_path("stuck"), &config);
    let others = async {
        let third = suite.add(&pod, &config, "third", &["/bin/sleeper"]).await;
        assert_eq!(suite.exec(&third, &["/bin/true"], 10).await.unwrap().exit_code, 0);
        let (other, _) = suite.run("other", &["/bin/sleeper"]).await;
        suite.remove(&other).await;
        assert_eq!(suite.status(&main).await.state, RUNNING);
        suite.stop(&pod).await;
        assert_eq!(suite.status(&main).await.state, EXITED);
        suite.remove(&pod).await;
    };
    tokio::pin!(stuck);
    tokio::select! {
        biased;
        early = &mut stuck => panic!("the create ended before the others: {early:?}"),
        () = others => {}
    }
    let refused = stuck.await.unwrap_err();
    assert_eq!(refused.code(), Code::DeadlineExceeded, "{refused}");
    let words = format!("create container stuck: host path {}: no answer in 10s", path.display());
    assert!(refused.message().contains(&words), "{refused} instead of {words}");

    // It is known by now: nobody waits for it again.
    let config = suite.harness.pod("neighbour");
    let refused = suite.create(&neighbour, with_path("again"), &config).await.unwrap_err();
    assert!(refused.message().contains("has not come back"), "{refused}");
    drop(hung);
    suite
        .until("the path answers", async || {
            suite.create(&neighbour, with_path("again"), &config).await.is_ok()
        })
        .await;
    suite.remove(&neighbour).await;
    suite.assert_nothing_left();
}
