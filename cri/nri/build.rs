//! Compiles the messages, without a system protoc.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = protox::compile(["proto/nri.proto", "proto/ttrpc.proto"], ["proto"])?;
    // Maps keep an order, so that what plugins are told and what is made of it does not vary.
    prost_build::Config::new().btree_map(["."]).compile_fds(files)?;
    Ok(())
}
