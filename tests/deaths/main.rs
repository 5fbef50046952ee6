//! Every kill point of a pod's life, and of the start that recovers one, is walked: the process
//! that reaches it dies there, the daemon starts again, the verbs are asked for again as a kubelet
//! does, and nothing is left.
//!
//! `RRUN_DEATHS=<text>` walks only the points whose scene and name contain the text. Needs root.
#![allow(clippy::unwrap_used)]

mod census;
mod kubelet;
mod log;
mod scene;
mod walk;

use kubelet::Shape;
use scene::{SCENES, Scene};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use tokio::task::JoinSet;
use walk::{HEAD, Walk};

/// Points that fail and are known to, with the reason. One that passes must leave the list.
const KNOWN: &[(&str, &str)] = &[];

/// Points that are not reached each time: how many children a shim reaps one by one depends on who
/// ends first.
const BY_CHANCE: &[&str] = &["rrun-shim/shim.exit.reap#"];

/// Sandboxes that are walked in at once: most of the time is waiting.
const WALKERS: usize = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn a_death_at_any_step_of_a_pods_life_is_survived_and_leaves_nothing() {
    let scenes = Arc::new(Mutex::new(SCENES.into_iter().enumerate().rev().collect::<Vec<_>>()));
    let mut learners = JoinSet::new();
    for _ in 0..WALKERS {
        learners.spawn(learn(Arc::clone(&scenes)));
    }
    let (walks, learned): (Vec<_>, Vec<_>) = learners.join_all().await.into_iter().unzip();
    let (points, mut wrong) = points(learned.concat());
    let count = points.len();
    println!("{HEAD}");
    let points = Arc::new(Mutex::new(points));
    let mut walkers = JoinSet::new();
    for walk in walks {
        walkers.spawn(walk_on(walk, Arc::clone(&points)));
    }
    wrong.extend(walkers.join_all().await.concat());
    println!("{count} points");
    assert!(wrong.is_empty(), "{} things are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// The points of a scene, which has a place in the order of scenes, and what is wrong with the
/// changes between them.
type Learned = (usize, Scene, Vec<String>, Vec<String>);

/// A scene, the fewest points that it must have, and its place in the order.
type Unlearned = (usize, (Scene, usize));

/// Learns until no scene is left.
async fn learn(scenes: Arc<Mutex<Vec<Unlearned>>>) -> (Walk, Vec<Learned>) {
    let mut walk = Walk::start().await.unwrap();
    let mut learned = Vec::new();
    loop {
        let next = scenes.lock().unwrap().pop();
        let Some((at, (scene, fewest))) = next else { return (walk, learned) };
        let (points, mut wrong) = walk.learn(scene).await.unwrap();
        println!("{scene:?}: {} points, of at least {fewest}", points.len());
        if points.len() < fewest {
            wrong.push(format!(
                "{scene:?} has {} points and must have {fewest} (tests/deaths/scene.rs): it ended \
                 early, or steps have lost their names",
                points.len()
            ));
        }
        learned.push((at, scene, points, wrong));
    }
}

/// Every point that occurs, the last ones first, and what is wrong with the steps' changes.
fn points(mut learned: Vec<Learned>) -> (Vec<(Scene, String)>, Vec<String>) {
    let wanted = std::env::var("RRUN_DEATHS").unwrap_or_default();
    let (mut points, mut wrong) = (Vec::new(), Vec::new());
    let (mut lives, mut starts) = (BTreeSet::new(), BTreeSet::new());
    learned.sort_by_key(|(at, ..)| *at);
    for (_, scene, found, breaches) in learned {
        wrong.extend(breaches.into_iter().map(|breach| format!("{scene}: {breach}")));
        // What all lives reach is walked in the first, what all starts reach in the very first.
        let known = if scene.is_start() { &mut starts } else { &mut lives };
        // Where a program makes the container, its steps are others by the same name.
        let is_other = |point: &str| {
            let of_container = ["-container.", "remove-init", "shim.call"];
            scene.shape() == Shape::Program && of_container.iter().any(|part| point.contains(part))
        };
        let is_new = |point: &String| is_other(point) || !known.contains(point);
        let new: Vec<_> = found.into_iter().filter(is_new).collect();
        if !scene.is_start() || scene == Scene::FirstStart {
            known.extend(new.iter().cloned());
        }
        let new = new.into_iter().filter(|point| {
            format!("{scene} {point}").contains(&wanted)
                && !BY_CHANCE.iter().any(|start| point.starts_with(start))
        });
        points.extend(new.map(|point| (scene, point)));
    }
    assert!(!points.is_empty(), "no point has {wanted:?} in its name");
    points.reverse();
    (points, wrong)
}

/// Walks until no point is left; what has not gone as it should is told.
async fn walk_on(mut walk: Walk, points: Arc<Mutex<Vec<(Scene, String)>>>) -> Vec<String> {
    let mut wrong = Vec::new();
    loop {
        let next = points.lock().unwrap().pop();
        let Some((scene, point)) = next else {
            wrong.extend(walk.assert_clean().err().map(|found| format!("at the end: {found:#}")));
            return wrong;
        };
        let row = walk.through(scene, &point).await.unwrap();
        println!("{row}");
        let known = KNOWN.iter().any(|(known, _)| *known == point);
        match &row.failure {
            Some(failure) if !known => wrong.push(format!("{scene}, {point}: {failure}")),
            None if known => wrong.push(format!("{point}: passes, and is listed as failing")),
            _ => {}
        }
    }
}
