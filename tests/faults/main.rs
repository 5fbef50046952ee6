//! Every kill point of a pod's life is walked: the process that reaches it dies there, the daemon
//! starts again, the verbs are asked for again as a kubelet does, and nothing is left.
//!
//! `RRUN_FAULTS=<text>` walks only the points whose step contains the text. Needs root.
#![allow(clippy::unwrap_used)]

mod kubelet;
mod walk;

use kubelet::Shape;
use std::sync::{Arc, Mutex};
use tokio::task::JoinSet;
use walk::{HEAD, Point, Walk};

/// Points that fail and are known to, with the reason. One that passes must leave the list.
const KNOWN: &[(&str, &str)] = &[];

/// Sandboxes that are walked in at once: most of the time is waiting.
const WALKERS: usize = 4;

type Points = Arc<Mutex<Vec<(Shape, Point)>>>;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_death_at_any_step_of_a_pods_life_is_survived_and_leaves_nothing() {
    let walk = Walk::start().await.unwrap();
    let (walk, points) = points(walk).await;
    let count = points.len();
    println!("{HEAD}");
    let points = Arc::new(Mutex::new(points));
    let mut walkers = JoinSet::new();
    walkers.spawn(walk_on(walk, Arc::clone(&points)));
    for _ in 1..WALKERS.min(count) {
        let points = Arc::clone(&points);
        walkers.spawn(async { walk_on(Walk::start().await.unwrap(), points).await });
    }
    let wrong = walkers.join_all().await.concat();
    println!("{count} points");
    assert!(wrong.is_empty(), "{} points:\n{}", wrong.len(), wrong.join("\n"));
}

/// Both sides of every step that occurs, the last ones first.
async fn points(mut walk: Walk) -> (Walk, Vec<(Shape, Point)>) {
    let mut points: Vec<(Shape, Point)> = Vec::new();
    for shape in [Shape::Plain, Shape::Shared] {
        for step in walk.learn(shape).await.unwrap() {
            for side in ["before", "after"] {
                let point = Point { step: step.clone(), side };
                // A step of both lives is walked in the first.
                if !points.iter().any(|(_, known)| *known == point) {
                    points.push((shape, point));
                }
            }
        }
    }
    let wanted = std::env::var("RRUN_FAULTS").unwrap_or_default();
    points.retain(|(_, point)| point.to_string().contains(&wanted));
    assert!(!points.is_empty(), "no step has {wanted:?} in its name");
    points.reverse();
    (walk, points)
}

/// Walks until no point is left; what has not gone as it should is told.
async fn walk_on(mut walk: Walk, points: Points) -> Vec<String> {
    let mut wrong = Vec::new();
    loop {
        let next = points.lock().unwrap().pop();
        let Some((shape, point)) = next else { return wrong };
        let name = point.to_string();
        let row = walk.through(shape, &point).await.unwrap();
        println!("{row}");
        let known = KNOWN.iter().any(|(known, _)| *known == name);
        match &row.failure {
            Some(failure) if !known => wrong.push(format!("{name}: {failure}")),
            None if known => wrong.push(format!("{name}: passes, and is listed as failing")),
            _ => {}
        }
    }
}
