//! The CRI surface as one trait.

use async_trait::async_trait;
use futures::stream::BoxStream;
use tonic::Status;

use crate::Answer;
use crate::v1::*;

/// What a server-streaming call answers: messages, or the error that ended them.
pub type Messages<T> = BoxStream<'static, Result<T, Status>>;

// The trait, one method for each RPC of the contract, with the contract's comment.
include!(concat!(env!("OUT_DIR"), "/trait.rs"));

/// The answer of a call that an implementation does not have.
fn lacks<R, T>(rpc: &str, _request: R) -> Result<T, Status> {
    Err(Status::unimplemented(format!("{rpc} is not implemented")))
}
