//! What is done with a store while its disk is on record: each verb that writes, one after the
//! other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rrun_images::{Config, Digest, Holder, Image, Layers, Origin, Reference, Store};
use serde_json::json;

use crate::medium::{Event, Mark};
use crate::mounted::{Disk, Ground};
use crate::support::layer::{dir, file, layer, noise};
use crate::support::registry::{TestRegistry, cut, status};
use crate::support::{self, TestImage, descriptor, reference};

/// The images that are shown, by id, with their names.
pub type State = BTreeMap<String, BTreeSet<String>>;

/// Where images come from.
pub struct World {
    pub registry: TestRegistry,
    /// Pulled, of three layers, of which the lowest comes in two pieces, and one of directories.
    pub large: TestImage,
    /// Imported: its lower layer is that of the first.
    pub imported: TestImage,
    pub small: TestImage,
    pub layers: Layers,
}

impl World {
    /// The lowest layer of the first image has a file of so many bytes.
    pub async fn new(layers: Layers, size: usize) -> World {
        let base = layer(&[
            dir("./"),
            dir("tmp/").mode(0o1777),
            dir("srv").mode(0o750).owner(3, 4),
            file("noise", noise(size)),
        ]);
        let many: Vec<_> =
            (0..20).map(|n| file(&format!("tmp/file{n}"), format!("{n}").repeat(900))).collect();
        let large = TestImage::of(&[base.clone(), layer(&many), layer(&[file("srv/y", "top")])]);
        let imported = TestImage::of(&[base, layer(&[file("imported", "i".repeat(5000))])]);
        let small = TestImage::of(&[layer(&[dir("./"), file("small", "s".repeat(9000))])]);
        let registry = TestRegistry::start().await;
        registry.put("r/large", "1", &large);
        registry.put("r/small", "1", &small);
        World { registry, large, imported, small, layers }
    }

    /// Of the store on a disk.
    pub fn config(&self, disk: &Path) -> Config {
        Config { layers: self.layers, ..support::config(disk) }
    }

    pub fn tagged(&self, image: &str, tag: &str) -> Reference {
        reference(&format!("{}/r/{image}:{tag}", self.registry.address))
    }

    pub async fn pull(&self, store: &Store, image: &str) -> rrun_images::Result<Image> {
        store.pull(&self.tagged(image, "1"), None, None).await
    }

    /// A pull that ends when half of the lowest layer has come.
    pub async fn pull_in_vain(&self, store: &Store) {
        let (digest, blob) = self.large.blobs[0].clone();
        let (wanted, mut is_first) = (digest.to_string(), true);
        self.registry.fault(move |seen| {
            if !seen.path.ends_with(&wanted) {
                return None;
            }
            let first = std::mem::replace(&mut is_first, false);
            Some(if first { cut(&blob, blob.len() / 2) } else { status(404) })
        });
        self.pull(store, "large").await.unwrap_err();
        self.registry.fault(|_| None);
    }

    /// Writes the layout of the image that is imported.
    pub fn write_layout(&self, layout: &Path) {
        let blobs = layout.join("blobs/sha256");
        fs::create_dir_all(&blobs).unwrap();
        for (digest, bytes) in &self.imported.blobs {
            fs::write(blobs.join(digest.hex()), bytes).unwrap();
        }
        let manifest = &self.imported.manifest;
        fs::write(blobs.join(Digest::of(manifest).hex()), manifest).unwrap();
        let index = json!({
            "schemaVersion": 2,
            "manifests": [descriptor(support::OCI_MANIFEST, manifest)],
        });
        fs::write(layout.join("index.json"), index.to_string()).unwrap();
    }
}

pub async fn state(store: &Store) -> State {
    let images = store.list().await.unwrap();
    let names = |image: &Image| image.tags.iter().chain(&image.digests).cloned().collect();
    images.iter().map(|image| (image.id.to_string(), names(image))).collect()
}

pub fn container() -> Holder {
    Holder::container("c").unwrap()
}

/// What is done, and whether it is promised to be on the disk when it returns.
pub struct Verb {
    pub name: &'static str,
    pub is_durable: bool,
}

const fn verb(name: &'static str, is_durable: bool) -> Verb {
    Verb { name, is_durable }
}

pub const VERBS: [Verb; 15] = [
    verb("open", false),
    verb("pull in vain", false),
    verb("pull", true),
    verb("import", true),
    verb("tag", true),
    verb("move a tag", true),
    verb("prepare", false),
    verb("pull another", true),
    verb("pull by another tag", true),
    verb("pull a tag that moved", true),
    verb("remove", false),
    verb("prune", false),
    verb("remove a held one", false),
    verb("release", false),
    verb("collect", false),
];

/// What was written while verbs were carried out, and what was to be seen after each.
pub struct Recording<'a> {
    pub start: Vec<u8>,
    pub events: Vec<Event>,
    pub verbs: &'a [Verb],
    pub states: Vec<State>,
}

impl Recording<'_> {
    /// The number of a verb.
    pub fn place(&self, name: &str) -> usize {
        self.verbs.iter().position(|verb| verb.name == name).unwrap_or(self.verbs.len())
    }
}

/// Carries the verbs out on an empty disk; the first one opens the store.
pub async fn record<'a>(ground: &Ground, world: &World, verbs: &'a [Verb]) -> Recording<'a> {
    let layout = ground.at("layout");
    world.write_layout(&layout);
    let start = ground.ext4(32);
    let disk = Disk::new(ground, start.clone());
    let others = Others::begin(disk.at());
    let mut states = Vec::new();
    disk.medium().mark(Mark::Begin(0));
    let store = Store::open(world.config(disk.at())).await.unwrap();
    disk.medium().mark(Mark::End(0));
    states.push(state(&store).await);
    for (number, verb) in verbs.iter().enumerate().skip(1) {
        disk.medium().mark(Mark::Begin(number));
        carry_out(verb.name, world, &store, &layout).await;
        disk.medium().mark(Mark::End(number));
        states.push(state(&store).await);
    }
    drop(others);
    store.empty_trash().await.unwrap();
    let events = disk.medium().take_events();
    Recording { start, events, verbs, states }
}

async fn carry_out(verb: &str, world: &World, store: &Store, layout: &Path) {
    let by_id = |image: &TestImage| image.blobs.last().unwrap().0.to_string();
    let [large, imported] = [&world.large, &world.imported].map(by_id);
    let tag = reference("example.com/t:1");
    match verb {
        "pull in vain" => world.pull_in_vain(store).await,
        "pull" => drop(world.pull(store, "large").await.unwrap()),
        "import" => {
            let name = reference("example.com/b:1");
            store.import_layout(layout, Some(&name)).await.unwrap();
        }
        "tag" => drop(store.tag(&large, &tag).await.unwrap()),
        "move a tag" => drop(store.tag(&imported, &tag).await.unwrap()),
        "prepare" => drop(store.prepare(&container(), &large.parse().unwrap()).await.unwrap()),
        "pull another" => drop(world.pull(store, "small").await.unwrap()),
        "pull by another tag" => {
            world.registry.put("r/large", "2", &world.small);
            drop(store.pull(&world.tagged("large", "2"), None, None).await.unwrap());
        }
        "pull a tag that moved" => {
            world.registry.put("r/large", "2", &world.large);
            drop(store.pull(&world.tagged("large", "2"), None, None).await.unwrap());
        }
        "remove" => assert!(store.remove(&imported, Origin::Person).await.unwrap()),
        "prune" => drop(store.prune(true, BTreeSet::new()).await.unwrap()),
        "remove a held one" => assert!(store.remove(&large, Origin::Client).await.unwrap()),
        "release" => store.release(&container()).await.unwrap(),
        "collect" => store.collect().await.unwrap(),
        other => panic!("{other}"),
    }
}

/// Somebody else who writes to the disk, and has it written: with each of his syncs the journal of
/// the file system takes in what the store has done to folders and names, and hardly any data.
struct Others {
    ends: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Others {
    fn begin(disk: &Path) -> Others {
        let ends = Arc::new(AtomicBool::new(false));
        let (path, end) = (disk.join("others"), Arc::clone(&ends));
        let thread = std::thread::spawn(move || {
            let file = fs::File::create(path).unwrap();
            for number in 0_u64.. {
                if end.load(Ordering::Relaxed) {
                    return;
                }
                file.write_all_at(&number.to_ne_bytes(), number * 8).unwrap();
                file.sync_all().unwrap();
                std::thread::sleep(Duration::from_millis(6));
            }
        });
        Others { ends, thread: Some(thread) }
    }
}

impl Drop for Others {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(std::thread::JoinHandle::join);
    }
}
