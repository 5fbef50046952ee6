//! A [`Cri`] behind the generated gRPC server traits, and the loop that serves it.
//!
//! tonic's own server is not used for the connections: at `grpc-timeout` it drops the handler and
//! answers CANCELLED, and nothing can be put outside of that layer. Clients (the kubelet's probes,
//! critest) act on DEADLINE_EXCEEDED.

mod call;
mod deadline;
mod follow;
mod serve;
mod silent;

use std::future::Future;
use std::sync::Arc;

use tonic::service::Routes;
use tonic::{Request, Response, Status, async_trait};

use crate::v1::*;
use crate::{Answer, Cri, MAX_MESSAGE_BYTES, Messages};
use call::WhenLost;
use follow::Followed;
use tracing::Instrument;

pub use follow::Follow;
pub use serve::serve;
pub use silent::Silent;

/// The services as a server has them, whose answers may be encoded already.
#[allow(missing_docs, clippy::all)]
mod services {
    include!(concat!(env!("OUT_DIR"), "/services/runtime.v1.rs"));
}
use services::image_service_server::ImageServiceServer;
use services::runtime_service_server::RuntimeServiceServer;

// Both service traits, one call of the trait `Cri` for each RPC of the contract.
include!(concat!(env!("OUT_DIR"), "/server.rs"));

/// Both gRPC services over one [`Cri`].
pub struct Service<C> {
    cri: Arc<C>,
    follow: Option<Arc<dyn Follow>>,
}

impl<C> Clone for Service<C> {
    fn clone(&self) -> Self {
        Service { cri: Arc::clone(&self.cri), follow: self.follow.clone() }
    }
}

impl<C: Cri + 'static> Service<C> {
    /// Serves `cri`.
    pub fn new(cri: Arc<C>) -> Self {
        Service { cri, follow: None }
    }

    /// Has every call followed.
    pub fn followed_by(self, follow: Option<Arc<dyn Follow>>) -> Self {
        Service { follow, ..self }
    }

    /// The two services as routes, for [`serve`]; more services may be added to them.
    pub fn routes(self) -> Routes {
        let runtime = RuntimeServiceServer::new(self.clone())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let images = ImageServiceServer::new(self)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        Routes::new(runtime).add_service(images)
    }

    /// A call whose work goes on when its client has gone: a retry finds it done, or joins it.
    async fn call<R, T, F>(
        &self,
        rpc: &'static str,
        request: Request<R>,
        handler: impl FnOnce(Arc<C>, R) -> F,
    ) -> Result<Response<T>, Status>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Status>> + Send + 'static,
    {
        self.answer(rpc, WhenLost::GoOn, request, handler).await
    }

    /// A call whose work is dropped with its client.
    async fn cancelled_with_client<R, T, F>(
        &self,
        rpc: &'static str,
        request: Request<R>,
        handler: impl FnOnce(Arc<C>, R) -> F,
    ) -> Result<Response<T>, Status>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Status>> + Send + 'static,
    {
        self.answer(rpc, WhenLost::Cancel, request, handler).await
    }

    async fn answer<R, T, F>(
        &self,
        rpc: &'static str,
        when_lost: WhenLost,
        request: Request<R>,
        handler: impl FnOnce(Arc<C>, R) -> F,
    ) -> Result<Response<T>, Status>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Status>> + Send + 'static,
    {
        let followed = Followed::begin(self.follow.as_ref(), rpc, request.metadata());
        let answer = async {
            let deadline = deadline::of(rpc, request.metadata())?;
            let work = handler(Arc::clone(&self.cri), request.into_inner());
            call::run(rpc, deadline, when_lost, work.instrument(followed.span())).await
        };
        let answer = answer.await;
        followed.end(answer.as_ref().err());
        answer.map(Response::new)
    }

    /// A call that answers a stream; the deadline is that of the whole stream.
    async fn stream<R, T, F>(
        &self,
        rpc: &'static str,
        request: Request<R>,
        handler: impl FnOnce(Arc<C>, R) -> F,
    ) -> Result<Response<Messages<T>>, Status>
    where
        T: Send + 'static,
        F: Future<Output = Result<Messages<T>, Status>> + Send + 'static,
    {
        let followed = Followed::begin(self.follow.as_ref(), rpc, request.metadata());
        let begun = async {
            let deadline = deadline::of(rpc, request.metadata())?;
            let work = handler(Arc::clone(&self.cri), request.into_inner());
            let work = work.instrument(followed.span());
            let messages = call::run(rpc, deadline, WhenLost::Cancel, work).await?;
            Ok(call::bounded(rpc, deadline, messages))
        };
        match begun.await {
            Ok(messages) => Ok(Response::new(follow::to_its_end(messages, followed))),
            Err(status) => {
                followed.end(Some(&status));
                Err(status)
            }
        }
    }
}
