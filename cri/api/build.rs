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
    let out = PathBuf::from(env::var("OUT_DIR")?);
    // Maps keep an order, so that equal messages have equal bytes: configs are compared by hash.
    let messages = tonic_prost_build::configure().btree_map(".").build_server(false);
    messages.compile_fds(files.clone())?;
    let folder = out.join("services");
    fs::create_dir_all(&folder)?;
    let mut services = tonic_prost_build::configure().build_client(false).out_dir(folder);
    services = services.codec_path("crate::codec::AtOnce").extern_path(".runtime.v1", "crate::v1");
    for (name, answer) in rpc::ENCODED {
        services = services.extern_path(format!(".runtime.v1.{name}"), answer);
    }
    services.compile_fds(files.clone())?;

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
