//! A connection into a pod's network.

use rrun_blocking::{Place, Pool};
use rrun_engine::Forward;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

/// How long a connection into a pod may take: it goes to the pod's own loopback.
const CONNECT: Duration = Duration::from_secs(5);

/// Sockets that are made in pods at a time. Whether anybody answers there is waited for without a
/// place: a pod in which nobody does holds up no other.
static SOCKETS: Pool = Pool::new(32);

/// A connection that keeps the place of a forwarded one.
pub(super) struct Forwarded {
    stream: TcpStream,
    _place: Place,
}

impl Forwarded {
    /// Connects to a port on the loopback of the pod.
    pub(super) async fn connect(way: Forward, port: u16) -> io::Result<Forwarded> {
        let Forward { netns, place } = way;
        Ok(Forwarded { stream: connect(netns, port).await?, _place: place })
    }
}

impl AsyncRead for Forwarded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Forwarded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Connects inside the pod's network namespace, or the host's.
async fn connect(netns: Option<OwnedFd>, port: u16) -> io::Result<TcpStream> {
    let netns = netns.map(Arc::new);
    match dial(netns.clone(), (Ipv4Addr::LOCALHOST, port).into()).await {
        Err(error) => dial(netns, (Ipv6Addr::LOCALHOST, port).into()).await.map_err(|_| error),
        connected => connected,
    }
}

/// A socket stays in the namespace that it was made in, so it can be waited for outside.
async fn dial(netns: Option<Arc<OwnedFd>>, to: SocketAddr) -> io::Result<TcpStream> {
    let make = move || match to {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    };
    let socket = SOCKETS.run(move || match netns {
        Some(netns) => rrun_sys::netns::run_in(&netns, make)?,
        None => make(),
    });
    let connected = timeout(CONNECT, socket.await?.connect(to)).await;
    connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::socket::{self, AddressFamily, Backlog, SockFlag, SockType, SockaddrIn};
    use std::net::TcpListener;
    use std::os::fd::AsRawFd;
    use tokio::task::{JoinSet, yield_now};

    /// A listener whose backlog holds one connection.
    fn listener() -> TcpListener {
        let (family, kind) = (AddressFamily::Inet, SockType::Stream);
        let socket = socket::socket(family, kind, SockFlag::SOCK_CLOEXEC, None).unwrap();
        socket::bind(socket.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, 0)).unwrap();
        socket::listen(&socket, Backlog::new(0).unwrap()).unwrap();
        socket.into()
    }

    #[tokio::test]
    async fn connections_that_nobody_answers_hold_up_no_other() {
        let (silent, good) = (listener(), listener());
        let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
        let mut dials = JoinSet::new();
        for _ in 0..200 {
            dials.spawn(connect(None, port(&silent)));
        }
        // Whoever has come before it has its place back, and none is answered.
        for _ in 0..1_000 {
            yield_now().await;
        }
        let connected = connect(None, port(&good)).await.unwrap();
        assert_eq!(connected.peer_addr().unwrap().port(), port(&good));
        let mut answered = 0;
        while let Some(Ok(dial)) = dials.try_join_next() {
            answered += usize::from(dial.is_ok());
        }
        assert!(answered < 10, "{answered}");
        assert!(!dials.is_empty(), "each waits for its limit");
    }
}
