//! A disk that gets full in the middle of something.

use crate::foreign_image::{Entry, layer};
use crate::full_disk::{Small, copy_state};
use crate::suite::*;
use rrun_cri_api::Cri;
use rrun_cri_api::v1::*;
use rrun_tests::harness::WORK;
use rrun_tests::images::{Blob, Config, Format, assemble};
use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use tonic::Code;

const HOST: &str = "filling.rrun.test";
/// Of the layer's one file.
pub const SIZE: u64 = 8 << 20;

/// Serves an image of one layer with one large file, until the test ends.
fn serve(suite: &Suite) -> String {
    serve_all(suite, &["1"]).remove(0)
}

/// The same of one for each of these tags, which have nothing in common.
pub fn serve_all(suite: &Suite, tags: &[&str]) -> Vec<String> {
    let mut blobs = HashMap::new();
    for tag in tags {
        let large = format!("etc/large-{tag}");
        let layer = layer(&[("etc", Entry::Folder), (&large, Entry::Bytes(SIZE))]);
        let made = assemble(Format::Oci, &Config::default(), &[&layer]).unwrap();
        let (_, manifest) = made.manifest;
        blobs.insert((*tag).to_owned(), manifest.bytes.clone());
        let all = [layer.blob, made.config, manifest];
        blobs.extend(all.map(|Blob { digest, bytes, .. }| (digest, bytes)));
    }
    let listener = crate::stalled_registry::listen(suite);
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // Whoever hangs up says so to himself.
            let _ = answer(stream, &blobs);
        }
    });
    let folder = hosts(suite);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("hosts.toml"), format!("server = 'http://{address}'\n")).unwrap();
    tags.iter().map(|tag| format!("{HOST}/i:{tag}")).collect()
}

/// Where the daemon is told of the registry.
pub fn hosts(suite: &Suite) -> PathBuf {
    suite.harness.sandbox().inside(&format!("/etc/rrun/certs.d/{HOST}"))
}

/// A blob or manifest by its digest, or a manifest by its tag.
fn answer(mut stream: TcpStream, blobs: &HashMap<String, Vec<u8>>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let first = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    while !lines.next().unwrap_or_else(|| Ok(String::new()))?.is_empty() {}
    let path = first.split(' ').nth(1).unwrap_or_default();
    let path = path.split('?').next().unwrap_or_default();
    let name = path.rsplit('/').next().unwrap_or_default();
    let body = blobs.get(name).map_or(&[][..], Vec::as_slice);
    let length = body.len();
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n")?;
    if first.starts_with("HEAD") { Ok(()) } else { stream.write_all(body) }
}

/// Names in a folder of the daemon's images.
fn names(suite: &Suite, part: &str) -> Vec<PathBuf> {
    let folder = suite.harness.sandbox().inside("/var/lib/rrun/images").join(part);
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

pub async fn pull(suite: &Suite, image: &str) -> Result<String, tonic::Status> {
    let image = ImageSpec { image: image.to_owned(), ..Default::default() };
    let request = PullImageRequest { image: Some(image), ..Default::default() };
    Ok(suite.harness.client.pull_image(request).await?.image_ref)
}

pub async fn on_small_disk() -> (Suite, Small) {
    let mut suite = Suite::start().await;
    suite.harness.kill();
    let disk = Small::mount(&suite, Path::new("/var/lib/rrun"), "96m");
    copy_state(&suite);
    suite.restart().await;
    (suite, disk)
}

#[tokio::test]
async fn a_pull_that_fills_the_disk_gives_it_back_and_the_next_one_works() {
    let (mut suite, disk) = on_small_disk().await;
    let image = serve(&suite);
    let before = names(&suite, "layers").len();
    let is_back = async || {
        names(&suite, "tmp").is_empty()
            && names(&suite, "trash").is_empty()
            && names(&suite, "layers").len() == before
    };
    // In the records, in the layer, at its end, and between the layer and its record.
    for left in [0, 64 << 10, SIZE / 2, SIZE - 4096, SIZE, SIZE + 4096, SIZE + (16 << 10)] {
        let filler = disk.fill_but(left);
        if let Err(refused) = pull(&suite, &image).await {
            assert_eq!(refused.code(), Code::ResourceExhausted, "{left}: {refused}");
            assert!(refused.message().contains(&image), "{left}: {refused}");
            suite.until("what the pull took is given back", &is_back).await;
        } else {
            assert!(left > SIZE, "{left}");
        }
        drop(filler);
        let id = pull(&suite, &image).await.unwrap_or_else(|e| panic!("{left}: {e}"));
        let image = ImageSpec { image: id, ..Default::default() };
        let request = RemoveImageRequest { image: Some(image) };
        suite.harness.client.remove_image(request).await.unwrap();
        suite.until("the image is gone", &is_back).await;
    }
    fs::remove_dir_all(hosts(&suite)).unwrap();
    suite.harness.kill();
    drop(disk);
    suite.restart().await;
    suite.assert_nothing_left();
}

#[tokio::test]
async fn what_is_made_of_a_pod_while_the_disk_gets_full_is_an_error_that_leaves_nothing() {
    let (mut suite, disk) = on_small_disk().await;
    let exhausted = |e: &tonic::Status, name: &str| {
        assert_eq!(e.code(), Code::ResourceExhausted, "{e}");
        assert!(e.message().contains(name), "{e}");
    };
    let mut refused = [0; 2];
    for left in [0u64, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 1024].map(|kib| kib << 10) {
        let config = suite.harness.pod(&format!("filling-{left}"));
        let request = RunPodSandboxRequest { config: Some(config.clone()), ..Default::default() };
        let filler = disk.fill_but(left);
        let made = suite.harness.client.run_pod_sandbox(request).await;
        drop(filler);
        let pod = match made {
            Ok(made) => made.pod_sandbox_id,
            Err(e) => {
                exhausted(&e, &config.metadata.as_ref().unwrap().name);
                refused[0] += 1;
                let listed = suite.harness.client.list_pod_sandbox(Default::default()).await;
                assert_eq!(listed.unwrap().items, [], "{left}");
                suite.run_pod(&config).await
            }
        };

        let main = suite.harness.container("main", WORK, &["/bin/sleeper"]);
        let filler = disk.fill_but(left);
        let id = match suite.create(&pod, main.clone(), &config).await {
            Ok(id) => id,
            Err(e) => {
                exhausted(&e, "main");
                refused[1] += 1;
                drop(filler);
                suite.create(&pod, main, &config).await.unwrap()
            }
        };
        suite.start_container(&id).await.unwrap();
        assert_eq!(suite.status(&id).await.state, RUNNING);
        suite.remove(&pod).await;
    }
    assert!(refused.iter().all(|&n| n > 0 && n < 12), "{refused:?}");
    suite.harness.kill();
    drop(disk);
    suite.restart().await;
    suite.assert_nothing_left();
}
