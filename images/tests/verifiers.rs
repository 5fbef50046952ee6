//! Programs that may refuse an image.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rrun_images::{Config, Kind, Store, Verifiers};
use serde_json::{Value, json};
use support::layer::{dir, file, layer};
use support::registry::TestRegistry;
use support::{OCI_MANIFEST, Scratch, TestImage, config, reference};
use tokio::sync::watch;

/// A store with a folder of programs, and a registry with an image.
struct Guarded {
    scratch: Scratch,
    registry: TestRegistry,
    image: TestImage,
    name: String,
}

impl Guarded {
    async fn new() -> Guarded {
        let image = TestImage::of(&[layer(&[dir("./"), file("f", "f")])]);
        let registry = TestRegistry::start().await;
        registry.put("r/i", "1", &image);
        let dir = tempfile::tempdir().unwrap();
        let bin_dir = dir.path().join("verifiers");
        let timeout = Duration::from_secs(60);
        let verifiers = watch::channel(Verifiers { bin_dir, timeout, ..Verifiers::default() }).1;
        let with = Config { verifiers, ..config(dir.path()) };
        let store = Store::open(with).await.unwrap();
        let name = format!("{}/r/i:1", registry.address);
        Guarded { scratch: Scratch { dir, store }, registry, image, name }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.scratch.dir.path().join(name)
    }

    fn verifier(&self, name: &str, script: &str) {
        verifier(&self.at("verifiers"), name, script);
    }

    async fn pull(&self) -> rrun_images::Result<rrun_images::Image> {
        self.scratch.store.pull(&reference(&self.name), None, None).await
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.at(name)).unwrap()
    }
}

fn verifier(folder: &Path, name: &str, script: &str) {
    fs::create_dir_all(folder).unwrap();
    let path = folder.join(name);
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[tokio::test]
async fn each_program_is_told_name_digest_and_descriptor_and_all_must_let_an_image_pass() {
    let at = Guarded::new().await;
    let seen = at.scratch.dir.path().display().to_string();
    at.verifier("10-first", &format!("echo \"$@\" > {seen}/args; cat > {seen}/stdin; echo good"));
    at.verifier("20-second", &format!("touch {seen}/asked"));
    let image = at.pull().await.unwrap();
    assert_eq!(image.tags[..], [at.name.as_str()]);
    let digest = at.image.digest().to_string();
    let args = format!(
        "-name {} -digest {digest} -stdin-media-type application/vnd.oci.descriptor.v1+json\n",
        at.name
    );
    assert_eq!(at.read("args"), args);
    let told: Value = serde_json::from_str(&at.read("stdin")).unwrap();
    let size = at.image.manifest.len();
    assert_eq!(told, json!({"mediaType": OCI_MANIFEST, "digest": digest, "size": size}));
    assert!(at.at("asked").exists());
}

#[tokio::test]
async fn a_refused_image_is_never_fetched_and_the_error_has_the_programs_reason() {
    let at = Guarded::new().await;
    at.verifier("policy", "echo ' not signed by us '; echo noise >&2; exit 3");
    let error = at.pull().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Denied);
    let said = "image verifier policy: it refuses the image (exit status 3): not signed by us";
    assert!(error.to_string().ends_with(said), "{error}");
    assert_eq!(at.registry.count("/blobs/"), 0);
    assert!(at.scratch.store.list().await.unwrap().is_empty());
    // Killed is refused as well, and by whom it was killed does not matter.
    at.verifier("policy", "kill -9 $$");
    let error = at.pull().await.unwrap_err().to_string();
    assert!(error.contains("it refuses the image (killed by signal 9)"), "{error}");
    at.verifier("policy", "exit 0");
    at.pull().await.unwrap();
}

#[tokio::test]
async fn an_image_that_is_here_is_asked_about_again_for_one_head() {
    let at = Guarded::new().await;
    at.pull().await.unwrap();
    let seen = at.scratch.dir.path().display().to_string();
    at.verifier("policy", &format!("cat > {seen}/stdin"));
    let before = at.registry.seen().len();
    at.pull().await.unwrap();
    let asked: Vec<String> =
        at.registry.seen().into_iter().skip(before).map(|seen| seen.method).collect();
    assert_eq!(asked, ["HEAD"]);
    let told: Value = serde_json::from_str(&at.read("stdin")).unwrap();
    assert_eq!(told["size"], at.image.manifest.len());
    assert_eq!(told["mediaType"], OCI_MANIFEST);
    at.verifier("policy", "echo revoked; exit 1");
    let error = at.pull().await.unwrap_err().to_string();
    assert!(error.contains("revoked"), "{error}");
    let found = at.scratch.store.find(&at.name).await.unwrap();
    assert!(found.is_some(), "what is here stays");
}

/// Whether a process runs, which was to be killed.
fn is_alive(pid: &str) -> bool {
    let status = fs::read_to_string(format!("/proc/{}/status", pid.trim()));
    status.is_ok_and(|status| !status.contains("State:\tZ"))
}

fn await_that(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < end, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

const HANGS: &str = "sleep 1000 & echo $! > DIR/below; echo $$ > DIR/pid; wait";

#[tokio::test]
async fn one_that_hangs_is_killed_with_what_it_started_and_refuses() {
    let at = Guarded::new().await;
    let folder = at.at("verifiers");
    verifier(&folder, "slow", &HANGS.replace("DIR", &at.scratch.dir.path().display().to_string()));
    let verifiers = Verifiers { bin_dir: folder, max: None, timeout: Duration::from_secs(1) };
    let with = Config { verifiers: watch::channel(verifiers).1, ..config(&at.at("other")) };
    let store = Store::open(with).await.unwrap();
    let error = store.pull(&reference(&at.name), None, None).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    assert!(error.to_string().contains("verifier slow: not done after 1 s, killed"), "{error}");
    for pid in [at.read("pid"), at.read("below")] {
        await_that("its end", || !is_alive(&pid));
    }
    assert!(store.list().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_that_nobody_waits_for_takes_its_program_along() {
    let at = Guarded::new().await;
    at.verifier("slow", &HANGS.replace("DIR", &at.scratch.dir.path().display().to_string()));
    let (store, name) = (at.scratch.store.clone(), reference(&at.name));
    let pulling = tokio::spawn(async move { store.pull(&name, None, None).await });
    await_that("its start", || {
        fs::read_to_string(at.at("pid")).is_ok_and(|pid| pid.ends_with('\n'))
    });
    pulling.abort();
    for pid in [at.read("pid"), at.read("below")] {
        await_that("its end", || !is_alive(&pid));
    }
}

#[tokio::test]
async fn one_that_reads_nothing_and_says_much_lets_an_image_pass() {
    let at = Guarded::new().await;
    at.verifier("loud", "exec <&-; head -c 1000000 /dev/zero; head -c 1000000 /dev/zero >&2");
    at.pull().await.unwrap();
    at.verifier("loud", "head -c 1000000 /dev/zero | tr '\\0' x; exit 1");
    let error = at.pull().await.unwrap_err().to_string();
    assert!(error.contains("(exit status 1): xxx") && error.len() < 4000, "{error}");
}

#[tokio::test]
async fn what_is_imported_is_not_looked_at_and_a_folder_that_others_may_change_stops_every_pull() {
    let at = Guarded::new().await;
    at.verifier("policy", "exit 1");
    support::import(&at.scratch, &at.image).await.unwrap();
    at.verifier("policy", "exit 0");
    fs::set_permissions(at.at("verifiers"), fs::Permissions::from_mode(0o777)).unwrap();
    let error = at.pull().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Denied);
    let said = format!("image verifiers {}: others may write", at.at("verifiers").display());
    assert!(error.to_string().contains(&said), "{error}");
    assert!(at.registry.seen().is_empty(), "nobody was asked for anything");
}
