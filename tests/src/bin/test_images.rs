//! `test-images`: builds the test images; `test-images serve CERTS_D` also serves them until
//! stdin ends, with mirror configuration written to that folder.

use anyhow::{Result, bail};
use rrun_tests::{images, registry::Registry};
use std::path::Path;

fn main() -> Result<()> {
    let store = images::store()?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => {
            for (name, image) in &store.images {
                println!("{name} {} {}", image.index, image.config);
            }
        }
        ["serve", certs] => {
            let registry = Registry::of_images(&store.storage)?;
            registry.write_mirrors(Path::new(certs))?;
            println!("{}", registry.address());
            std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
        }
        _ => bail!("usage: test-images [serve CERTS_D]"),
    }
    Ok(())
}
