//! Compiles the contract, without a system protoc.

use std::error::Error;
use std::{env, fs, path::PathBuf};

use prost::Message;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto/api.proto");
    let mut files = protox::compile(["proto/api.proto"], ["proto"])?;
    // Maps keep an order, so that equal messages have equal bytes: configs are compared by hash.
    tonic_prost_build::configure().btree_map(".").compile_fds(files.clone())?;

    for file in &mut files.file {
        file.source_code_info = None;
    }
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptor.bin"), files.encode_to_vec())?;
    Ok(())
}
