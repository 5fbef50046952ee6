//! Several processes over one store, and processes that are killed.

use crate::proxy::{Proxy, Verdict};
use crate::setup::{self, Setup, built, hosted, registry};
use rrun_tests::limit;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

/// Where [`pulls_in_a_process_of_its_own`] finds its folder.
const FOLDER: &str = "RRUN_TEST_PULL_IN";

#[tokio::test]
#[ignore = "the other tests of this module run it as a process of its own"]
async fn pulls_in_a_process_of_its_own() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let store = setup::open(Path::new(&folder)).await;
    store.pull(&hosted().parse().unwrap(), None, None).await.unwrap();
}

/// Waits for the end of a process that pulls.
fn end(child: &mut Child) -> bool {
    limit::end(child, "a pull in a process of its own").unwrap().success()
}

fn spawn(setup: &Setup) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "processes::pulls_in_a_process_of_its_own"])
        .env(FOLDER, setup.root())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

#[tokio::test]
async fn two_processes_that_pull_one_image_fetch_each_layer_once() {
    let (registry, built) = (registry(), built());
    let proxy = Proxy::before(registry.address(), |_| Verdict::Pass);
    let setup = Setup::new().await;
    setup.hosts(&format!("server = 'http://{}'\n", proxy.address));
    let mut both = [spawn(&setup), spawn(&setup)];
    for child in &mut both {
        assert!(end(child));
    }
    for layer in &built.layers {
        assert_eq!(proxy.asked(layer).len(), 1, "{layer}");
    }
    let image = setup.store.find(&hosted()).await.unwrap().unwrap();
    assert_eq!(image.id.to_string(), built.config);
    assert!(setup.store.remove(&hosted(), rrun_images::Origin::Person).await.unwrap());
    setup.assert_empty().await;
}

#[tokio::test]
async fn a_pull_that_is_killed_half_way_is_done_by_the_one_that_waits_for_it() {
    let (registry, layer) = (registry(), built().layers[0].clone());
    let (word, halves) = channel();
    let (held, mut word) = (layer.clone(), Some(word));
    let proxy = Proxy::before(registry.address(), move |request| match request.is_blob(&held) {
        true => word.take().map_or(Verdict::Pass, Verdict::Hold),
        false => Verdict::Pass,
    });
    let setup = Setup::new().await;
    setup.hosts(&format!("server = 'http://{}'\n", proxy.address));
    let mut child = spawn(&setup);
    let half = async {
        while halves.try_recv().is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), half).await.unwrap();
    let store = setup.store.clone();
    let waiting = tokio::spawn(async move { store.pull(&hosted().parse()?, None, None).await });
    child.kill().unwrap();
    child.wait().unwrap();
    waiting.await.unwrap().unwrap();
    // From the start: nothing of the killed one was used.
    assert_eq!(proxy.asked(&layer).last().unwrap().range, "");
    assert!(setup.store.remove(&hosted(), rrun_images::Origin::Person).await.unwrap());
    setup.assert_empty().await;
}

#[tokio::test]
async fn an_image_pulled_by_a_process_that_ended_at_once_is_there_after_a_reboot() {
    let (registry, setup) = (registry(), Setup::new().await);
    setup.hosts(&format!("server = 'http://{}'\n", registry.address()));
    assert!(end(&mut spawn(&setup)));
    let records = rusqlite::Connection::open(setup.root().join("store/records.db")).unwrap();
    assert!(records.execute("UPDATE layer SET boot = 'another'", []).unwrap() > 0);
    let store = setup::open(setup.root()).await;
    let image = store.find(&hosted()).await.unwrap().unwrap();
    let holder = rrun_images::Holder::container("c").unwrap();
    let rootfs = store.prepare(&holder, &image.id).await.unwrap();
    assert!(rootfs.lower.iter().all(|layer| layer.is_dir()));
    store.release(&holder).await.unwrap();
}
