//! Port-forward over WebSocket channels: two for each port of the request, data and error.

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use rrun_cri_api::v1::PortForwardRequest;
use rrun_error::reason;
use tokio::io::{AsyncWriteExt, BufReader, copy_buf, split};

use super::super::chunks::CHUNK;
use super::super::pipe::{PipeReader, PipeSender, Room};
use super::super::portforward::connect;
use super::super::{Context, READ_AHEAD, READ_AHEAD_OF_ALL};
use super::socket::{Incoming, Outgoing, Socket};

/// Ports whose channels can be numbered.
const MOST_PORTS: usize = 64;

/// Serves the ports of `request`, one connection each, until all have ended.
pub(in super::super) async fn port_forward(
    socket: Socket,
    request: PortForwardRequest,
    context: &Context,
) {
    let Socket { incoming, outgoing } = socket;
    let ports = request.port.iter().filter_map(|p| u16::try_from(*p).ok()).take(MOST_PORTS);
    let (room, mut senders) = (Room::new(READ_AHEAD_OF_ALL), Vec::new());
    let forwards = FuturesUnordered::new();
    for (port, data) in ports.zip((0u8..).step_by(2)) {
        let (sender, reader) = room.pipe(READ_AHEAD);
        senders.push(sender);
        let link = Link { port, data, sandbox: &request.pod_sandbox_id };
        forwards.push(forward(link, reader, &outgoing, context));
    }
    let mut demux = std::pin::pin!(demux(incoming, senders));
    tokio::select! {
        _ = forwards.collect::<()>() => {}
        () = &mut demux => return,
        () = context.shutdown.cancelled() => {}
    }
    outgoing.close(None, demux).await;
}

struct Link<'a> {
    port: u16,
    /// The channel of the data; errors are on the next.
    data: u8,
    sandbox: &'a str,
}

async fn forward(link: Link<'_>, client: PipeReader, outgoing: &Outgoing, context: &Context) {
    let Link { port, data, sandbox } = link;
    for channel in [data, data + 1] {
        outgoing.send(channel, &port.to_le_bytes()).await;
    }
    let pod = match connect(context, sandbox, port).await {
        Ok(pod) => pod,
        Err(text) => return outgoing.send(data + 1, text.as_bytes()).await,
    };
    let (from_pod, mut to_pod) = split(pod);
    let inward = async {
        let copied = copy_buf(&mut BufReader::with_capacity(CHUNK, client), &mut to_pod).await;
        let _ = to_pod.shutdown().await;
        // These clients cannot end a half: the connection lasts until the pod ends it.
        drop(copied);
        std::future::pending::<()>().await;
    };
    let mut writer = outgoing.bytes(data);
    let mut from_pod = BufReader::with_capacity(CHUNK, from_pod);
    let outward = copy_buf(&mut from_pod, &mut writer);
    tokio::select! {
        () = inward => {}
        ended = outward => {
            if let Err(e) = ended {
                outgoing.send(data + 1, format!("read from the pod: {}", reason(&e)).as_bytes()).await;
            }
        }
    }
}

async fn demux(mut incoming: Incoming, ports: Vec<PipeSender>) {
    while let Some((channel, bytes)) = incoming.next().await {
        if channel % 2 == 0
            && let Some(port) = ports.get(usize::from(channel / 2))
        {
            port.send(bytes).await;
        }
    }
}
