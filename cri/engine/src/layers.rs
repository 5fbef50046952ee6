//! How much the writable layers take: measured in the background, because that is a walk through
//! everything in them.

use crate::stats::FsUsage;
use crate::table::{Container, Shared};
use rrun_sys::time;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// How often a layer is measured, where the walks leave time for it.
const EVERY: Duration = Duration::from_secs(10);
/// At most so much longer, so that walks of many daemons on one disk do not fall together.
const JITTER: Duration = Duration::from_secs(2);
/// After a walk there is a rest of so many times its length: measuring takes a tenth of a thread
/// at most.
const REST: u32 = 9;

/// Measures the layers as long as the engine lives.
pub(crate) fn watch(engine: &Arc<Shared>) {
    let made = Arc::clone(&engine.container_made);
    let engine = Arc::downgrade(engine);
    tokio::spawn(async move {
        while round(&engine).await {
            let jitter = time::now().unsigned_abs() % JITTER.as_nanos() as u64;
            let pause = EVERY + Duration::from_nanos(jitter);
            // A new container is measured at once: there is nothing in its layer yet.
            let _ = tokio::time::timeout(pause, made.notified()).await;
        }
    });
}

/// Measures what wants it; `false` when the engine is gone.
async fn round(engine: &Weak<Shared>) -> bool {
    let Some(all) = engine.upgrade().map(|engine| engine.table.all_containers()) else {
        return false;
    };
    for container in all.into_iter().filter(wants) {
        let Some(engine) = engine.upgrade() else { return false };
        let began = Instant::now();
        let usage = engine.ports.images.writable_usage(container.id.as_str()).await;
        drop(engine);
        match usage {
            Ok(usage) => container.set_layer(usage),
            // It may have been removed meanwhile.
            Err(error) => tracing::debug!(container = %container.id, %error, "writable layer"),
        }
        tokio::time::sleep(began.elapsed() * REST).await;
    }
    true
}

fn wants(container: &Arc<Container>) -> bool {
    let Some(FsUsage { at, .. }) = container.layer() else { return true };
    match &container.record().exit {
        // Nobody writes there any more.
        Some(exit) if at > exit.at => false,
        _ => time::now() - at >= EVERY.as_nanos() as i64,
    }
}
