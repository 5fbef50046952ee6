//! A registry that takes connections and answers nothing.

use crate::suite::*;
use nix::sched::{CloneFlags, setns};
use rrun_cri_api::Cri;
use rrun_cri_api::v1::*;
use std::fs::{self, File};
use std::net::TcpListener;

/// More than the daemon pulls at once.
const PULLS: usize = 12;

/// A socket of the sandbox's own loopback device. If nobody accepts, the kernel takes the
/// connections.
pub fn listen(suite: &Suite) -> TcpListener {
    let namespace = File::open(format!("/proc/{}/ns/net", suite.harness.sandbox().pid())).unwrap();
    let inside = || {
        setns(&namespace, CloneFlags::CLONE_NEWNET).unwrap();
        TcpListener::bind("127.0.0.1:0").unwrap()
    };
    std::thread::scope(|scope| scope.spawn(inside).join()).unwrap()
}

#[tokio::test]
async fn pods_live_and_end_while_a_registry_does_not_answer() {
    let suite = Suite::start().await;
    let (stays, main) = suite.run("stays", &["/bin/sleeper"]).await;
    let registry = listen(&suite);
    let folder = suite.harness.sandbox().inside("/etc/rrun/certs.d/silent.rrun.test");
    fs::create_dir_all(&folder).unwrap();
    let server = format!("server = 'http://{}'\n", registry.local_addr().unwrap());
    fs::write(folder.join("hosts.toml"), server).unwrap();
    let mut pulls = tokio::task::JoinSet::new();
    for tag in 0..PULLS {
        let image = ImageSpec { image: format!("silent.rrun.test/i:{tag}"), ..Default::default() };
        let request = PullImageRequest { image: Some(image), ..Default::default() };
        let client = suite.harness.client.clone();
        pulls.spawn(async move { client.pull_image(request).await.map(drop) });
    }
    let others = async {
        let (other, id) = suite.run("other", &["/bin/sleeper"]).await;
        assert_eq!(suite.exec(&id, &["/bin/true"], 10).await.unwrap().exit_code, 0);
        suite.remove(&other).await;
        suite.harness.client.list_images(Default::default()).await.unwrap();
        suite.stop(&stays).await;
        assert_eq!(suite.status(&main).await.state, EXITED);
        suite.remove(&stays).await;
    };
    tokio::select! {
        biased;
        early = pulls.join_next() => panic!("a pull ended before the others: {early:?}"),
        () = others => {}
    }
    // The connections are cut, and with them the pulls.
    fs::remove_dir_all(&folder).unwrap();
    pulls.shutdown().await;
    drop(registry);
    suite
        .until("no pull is left on the disk", async || {
            fs::read_dir(suite.harness.sandbox().state().join("images/tmp"))
                .is_ok_and(|entries| entries.count() == 0)
        })
        .await;
    suite.assert_nothing_left();
}
