//! Pulls one image into a store of its own and tells how long it took and what it cost:
//! `pull REFERENCE DIRECTORY`.

use std::path::PathBuf;
use std::time::Instant;

use rrun_images::{Config, Store};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(reference), Some(root)) = (args.next(), args.next()) else {
        return Err("usage: pull REFERENCE DIRECTORY".into());
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let config = Config { root: PathBuf::from(root), ..Config::default() };
    let store = runtime.block_on(Store::open(config))?;
    let start = Instant::now();
    let image = runtime.block_on(store.pull(&reference.parse()?, None, None))?;
    let took = start.elapsed();
    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find(|l| l.starts_with("VmHWM")).unwrap_or_default();
    println!("{} {} bytes {:.3} s {peak}", image.id, image.size, took.as_secs_f64());
    Ok(())
}
