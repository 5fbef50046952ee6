//! Exec and attach over WebSocket channels.

use tokio::sync::watch;

use super::super::exec::{Job, Wants};
use super::super::pipe::{PipeSender, Room};
use super::super::resize::Sizes;
use super::super::{BoxReader, BoxWriter, Context, READ_AHEAD, Size, Stdio, status};
use super::socket::{Incoming, Outgoing, Socket};

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
/// v5 only: an end of file of the channel that the next byte names.
const END: u8 = 255;

/// Serves one command.
pub(in super::super) async fn exec(socket: Socket, job: Job, context: &Context) {
    let Socket { incoming, outgoing } = socket;
    let wants = job.wants();
    outgoing.send(lowest_writable(wants), b"").await;

    let (stdin_sender, stdin) = Room::new(READ_AHEAD).pipe(READ_AHEAD);
    let (size, sizes) = watch::channel(None);
    let ends = outgoing.protocol == "v5.channel.k8s.io";
    let stdin_sender = wants.stdin.then_some(stdin_sender);
    let mut demux = std::pin::pin!(demux(incoming, stdin_sender, size, ends));
    let stdio = Stdio {
        stdin: wants.stdin.then(|| Box::new(stdin) as BoxReader),
        stdout: wants.stdout.then(|| writer(&outgoing, STDOUT)),
        stderr: (wants.stderr && !wants.tty).then(|| writer(&outgoing, STDERR)),
        size: sizes,
    };
    let outcome = tokio::select! {
        outcome = job.run(stdio, context) => outcome,
        () = &mut demux => return,
    };
    let told = match outgoing.protocol {
        "v5.channel.k8s.io" | "v4.channel.k8s.io" | "v4.base64.channel.k8s.io" => {
            status::json(&outcome)
        }
        _ => status::text(&outcome),
    };
    let last = (!told.is_empty()).then_some((ERROR, told.as_slice()));
    outgoing.close(last, demux).await;
}

fn writer(outgoing: &Outgoing, channel: u8) -> BoxWriter {
    Box::new(outgoing.bytes(channel))
}

/// Clients wait for a first message, to know that the server is there.
fn lowest_writable(wants: Wants) -> u8 {
    match wants {
        Wants { stdout: true, .. } => STDOUT,
        Wants { stderr: true, .. } => STDERR,
        _ => ERROR,
    }
}

/// Reads until the client has gone. While the command does not read its stdin, messages (and so
/// pings) are read until its pipe is full.
async fn demux(
    mut incoming: Incoming,
    mut stdin: Option<PipeSender>,
    size: watch::Sender<Option<Size>>,
    ends: bool,
) {
    let mut sizes = Sizes::default();
    while let Some((channel, bytes)) = incoming.next().await {
        match channel {
            STDIN => {
                if let Some(stdin) = &stdin {
                    stdin.send(bytes).await;
                }
            }
            RESIZE => {
                if let Some(new) = sizes.feed(&bytes) {
                    size.send_replace(Some(new));
                }
            }
            END if ends && bytes.as_ref() == [STDIN] => {
                if let Some(stdin) = stdin.take() {
                    stdin.end();
                }
            }
            _ => {}
        }
    }
}
