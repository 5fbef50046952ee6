//! Compiles the contract, without a system protoc, and writes what stands in one line for each RPC.

#[path = "build/rpc.rs"]
mod rpc;

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

use prost::Message;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto/api.proto");
    println!("cargo:rerun-if-changed=build");
    let mut files = protox::compile(["proto/api.proto"], ["proto"])?;
    // Maps keep an order, so that equal messages have equal bytes: configs are compared by hash.
    tonic_prost_build::configure().btree_map(".").compile_fds(files.clone())?;

    let out = PathBuf::from(env::var("OUT_DIR")?);
    let rpcs = rpc::all(&files);
    fs::write(out.join("trait.rs"), rpc::cri_trait(&rpcs))?;
    fs::write(out.join("client.rs"), rpc::client(&rpcs))?;
    fs::write(out.join("server.rs"), rpc::server(&rpcs))?;

    for file in &mut files.file {
        file.source_code_info = None;
    }
    fs::write(out.join("descriptor.bin"), files.encode_to_vec())?;
    Ok(())
}
