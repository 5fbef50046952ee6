//! What is refused before a protocol is spoken, and protocols that only old clients speak.

use rrun_cri_api::v1::{AttachRequest, ExecRequest, PortForwardRequest};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::Code;

use crate::{Served, exec_request, within};

const SPDY: &str = "Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\n";
const WEBSOCKET: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// Sends a request and gives the connection behind the answer's head, and the head in lower case.
async fn dial(url: &str, headers: &str) -> (TcpStream, String) {
    let (host, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut stream = TcpStream::connect(host).await.unwrap();
    let request = format!("GET /{path} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(within(stream.read_u8()).await.unwrap());
    }
    (stream, String::from_utf8(head).unwrap().to_lowercase())
}

async fn status(url: &str, headers: &str) -> String {
    let (_, head) = dial(url, headers).await;
    head.split(' ').nth(1).unwrap().to_owned()
}

#[tokio::test]
async fn a_wrong_or_spent_token_is_not_found() {
    let served = Served::start().await;
    let url = served.exec(&["say", "", "", "0"], "o");
    let headers = format!("{SPDY}X-Stream-Protocol-Version: v4.channel.k8s.io\r\n");
    let wrong = format!("{}00000000", &url[..url.len() - 8]);
    assert_eq!(status(&wrong, &headers).await, "404");
    assert_eq!(status(&url.replace("/exec/", "/attach/"), &headers).await, "404");
    assert_eq!(status(&url, &headers).await, "101");
    assert_eq!(status(&url, &headers).await, "404");
}

#[tokio::test]
async fn the_oldest_of_many_clients_that_never_ask_makes_room_for_the_next() {
    let served = Served::start().await;
    let url = served.exec(&["say", "", "", "0"], "o");
    let (host, _) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut silent = Vec::new();
    for _ in 0..300 {
        let mut stream = TcpStream::connect(host).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        silent.push(stream);
    }
    let headers = format!("{SPDY}X-Stream-Protocol-Version: v4.channel.k8s.io\r\n");
    assert_eq!(status(&url, &headers).await, "101");
    // Before it is closed because it is late.
    let oldest = timeout(Duration::from_secs(20), silent[0].read_u8()).await.unwrap();
    assert!(oldest.is_err(), "{oldest:?}");
    assert!(timeout(Duration::ZERO, silent[299].read_u8()).await.is_err(), "the newest is closed");
}

#[tokio::test]
async fn clients_of_one_container_leave_places_for_those_of_others() {
    let served = Served::start_within(64).await;
    let headers = format!("{SPDY}X-Stream-Protocol-Version: v4.channel.k8s.io\r\n");
    // None of them opens the streams that its command waits for.
    let mut clients = Vec::new();
    for _ in 0..4 {
        let (client, head) = dial(&served.exec(&["sleep"], "o"), &headers).await;
        assert!(head.starts_with("http/1.1 101 "), "{head}");
        clients.push(client);
    }
    let url = served.exec(&["sleep"], "o");
    let (mut refused, head) = dial(&url, &headers).await;
    assert!(head.starts_with("http/1.1 503 "), "{head}");
    let words = "4 clients of this container are connected, and no more may at once \
                 (RLIMIT_NOFILE is 64)\n";
    let mut said = vec![0; words.len()];
    within(refused.read_exact(&mut said)).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&said), words);
    let other = ExecRequest { container_id: "other".into(), ..exec_request(&["sleep"], "o") };
    assert_eq!(status(&served.streaming.exec_url(other).unwrap(), &headers).await, "101");
    // Its URL is as good as it was.
    drop(clients);
    let again = async { while status(&url, &headers).await != "101" {} };
    within(again).await;
}

#[tokio::test]
async fn no_common_protocol_is_forbidden_with_the_accepted_ones() {
    let served = Served::start().await;
    let url = served.exec(&["say", "", "", "0"], "o");
    let headers = format!("{SPDY}X-Stream-Protocol-Version: v9.channel.k8s.io\r\n");
    let (_, head) = dial(&url, &headers).await;
    assert!(head.starts_with("http/1.1 403 "), "{head}");
    for name in ["v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"] {
        let line = format!("x-accepted-stream-protocol-versions: {name}\r\n");
        assert!(head.contains(&line), "{line} in {head}");
    }
    assert_eq!(status(&url, "").await, "400", "and the token is not spent by it");
    let headers = format!("{SPDY}X-Stream-Protocol-Version: v4.channel.k8s.io\r\n");
    assert_eq!(status(&url, &headers).await, "101");
}

#[tokio::test]
async fn a_request_without_an_id_or_a_stream_gets_no_url() {
    let served = Served::start().await;
    let no_id = ExecRequest { container_id: String::new(), ..exec_request(&["cat"], "o") };
    for request in [no_id, exec_request(&["cat"], ""), exec_request(&["cat"], "oet")] {
        let status = served.streaming.exec_url(request).unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    }
    assert!(served.exec(&["cat"], "iot").starts_with("http://127.0.0.1:"));
}

/// The frames of a WebSocket server, until its close: (opcode, payload).
async fn frames(stream: &mut TcpStream) -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    loop {
        let opcode = within(stream.read_u8()).await.unwrap() & 0x0f;
        let length = match stream.read_u8().await.unwrap() {
            126 => usize::from(stream.read_u16().await.unwrap()),
            short => usize::from(short),
        };
        let mut payload = vec![0; length];
        stream.read_exact(&mut payload).await.unwrap();
        frames.push((opcode, payload));
        if opcode == 8 {
            return frames;
        }
    }
}

/// A client's frame, masked with zeros.
fn masked(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80 | opcode, 0x80 | payload.len() as u8, 0, 0, 0, 0];
    frame.extend(payload);
    frame
}

#[tokio::test]
async fn dashboards_get_their_older_protocols() {
    const TEXT: u8 = 1;
    const BINARY: u8 = 2;
    let failed = "command terminated with non-zero exit code: exit code 3";
    let table = [
        ("", BINARY, "\u{1}", "\u{1}hi".to_owned(), format!("\u{3}{failed}")),
        ("channel.k8s.io", BINARY, "\u{1}", "\u{1}hi".to_owned(), format!("\u{3}{failed}")),
        ("base64.channel.k8s.io", TEXT, "1", "1aGk=".to_owned(), format!("3{}", base64(failed))),
    ];
    let served = Served::start().await;
    for (protocol, opcode, hello, out, status) in table {
        let url = served.exec(&["say", "hi", "", "3"], "o");
        let mut headers = WEBSOCKET.to_owned();
        if !protocol.is_empty() {
            headers += &format!("Sec-WebSocket-Protocol: {protocol}\r\n");
        }
        let (mut stream, head) = dial(&url, &headers).await;
        assert!(head.starts_with("http/1.1 101 "), "{head}");
        let echoed = format!("sec-websocket-protocol: {protocol}\r\n");
        assert_eq!(head.contains(&echoed), !protocol.is_empty(), "{head}");
        let want: Vec<(u8, Vec<u8>)> = vec![
            (opcode, hello.into()),
            (opcode, out.into()),
            (opcode, status.into()),
            (8, 1000u16.to_be_bytes().to_vec()),
        ];
        assert_eq!(frames(&mut stream).await, want, "{protocol:?}");
    }
}

/// What a server says on one of its channels.
fn on_channel(frames: &[(u8, Vec<u8>)], channel: u8) -> String {
    let of =
        frames.iter().filter(|(opcode, payload)| *opcode < 8 && payload.first() == Some(&channel));
    String::from_utf8(of.flat_map(|(_, payload)| payload[1..].to_vec()).collect()).unwrap()
}

#[tokio::test]
async fn a_session_is_the_one_that_its_request_asks_for() {
    let served = Served::start().await;
    let headers = format!("{WEBSOCKET}Sec-WebSocket-Protocol: v4.channel.k8s.io\r\n");
    let said = async |url: String, channel: u8| {
        let (mut stream, _) = dial(&url, &headers).await;
        on_channel(&frames(&mut stream).await, channel)
    };
    let container_id = "request".to_owned();
    for (stdin, stderr, tty) in
        [(false, true, false), (true, true, false), (false, false, false), (true, false, true)]
    {
        let (stdout, cmd) = (true, vec!["request".to_owned()]);
        let exec =
            ExecRequest { container_id: container_id.clone(), cmd, tty, stdin, stdout, stderr };
        let want = format!("{exec:?} [{stdin}, {stdout}, {stderr}]");
        assert_eq!(said(served.streaming.exec_url(exec).unwrap(), 1).await, want);
        let attach =
            AttachRequest { container_id: container_id.clone(), stdin, tty, stdout, stderr };
        let want = format!("{attach:?} [{stdin}, {stdout}, {stderr}]");
        assert_eq!(said(served.streaming.attach_url(attach).unwrap(), 1).await, want);
    }
    let (pod_sandbox_id, port) = ("request".to_owned(), vec![7]);
    let forward = PortForwardRequest { pod_sandbox_id, port };
    let error = said(served.streaming.port_forward_url(forward).unwrap(), 1).await;
    assert!(error.contains("asked for request and 7"), "{error}");
}

fn base64(text: &str) -> String {
    use base64::Engine;
    base64::prelude::BASE64_STANDARD.encode(text)
}

#[tokio::test]
async fn v4_websocket_port_forward_begins_with_the_port_on_both_channels() {
    let served = Served::start().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let url = served.forward(&[i32::from(port)]);
    let headers = format!("{WEBSOCKET}Sec-WebSocket-Protocol: v4.channel.k8s.io\r\n");
    let (mut stream, _) = dial(&url, &headers).await;
    let (mut pod, _) = within(listener.accept()).await.unwrap();

    stream.write_all(&masked(2, b"\0ping")).await.unwrap();
    let mut got = [0; 4];
    within(pod.read_exact(&mut got)).await.unwrap();
    assert_eq!(&got, b"ping");
    pod.write_all(b"pong").await.unwrap();
    drop(pod);

    let [low, high] = port.to_le_bytes();
    let want: Vec<(u8, Vec<u8>)> = vec![
        (2, vec![0, low, high]),
        (2, vec![1, low, high]),
        (2, b"\0pong".to_vec()),
        (8, 1000u16.to_be_bytes().to_vec()),
    ];
    assert_eq!(frames(&mut stream).await, want);
}

#[tokio::test]
async fn a_websocket_ping_is_answered_while_the_command_does_not_read() {
    let mut served = Served::start().await;
    let url = served.exec(&["deaf"], "io");
    let headers = format!("{WEBSOCKET}Sec-WebSocket-Protocol: v5.channel.k8s.io\r\n");
    let (mut stream, _) = dial(&url, &headers).await;
    assert_eq!(served.event().await, crate::backend::Event::Started);
    for _ in 0..1000 {
        stream.write_all(&masked(2, &[0; 100])).await.unwrap();
    }
    stream.write_all(&masked(9, b"there?")).await.unwrap();
    let mut hello_and_pong = [0; 11];
    within(stream.read_exact(&mut hello_and_pong)).await.unwrap();
    assert_eq!(&hello_and_pong, b"\x82\x01\x01\x8a\x06there?");
    served.release.notify_one();
}

#[tokio::test]
async fn nothing_is_sent_after_the_101_before_the_client_speaks() {
    let served = Served::start().await;
    let url = served.exec(&["say", "hi", "", "0"], "o");
    let headers = format!("{SPDY}X-Stream-Protocol-Version: v4.channel.k8s.io\r\n");
    let (mut stream, _) = dial(&url, &headers).await;
    // A ping is the first frame, and its echo the first bytes that come.
    let ping = b"\x80\x03\0\x06\0\0\0\x04\0\0\0\x01";
    stream.write_all(ping).await.unwrap();
    let mut first = [0; 12];
    within(stream.read_exact(&mut first)).await.unwrap();
    assert_eq!(&first, ping);
}

#[tokio::test]
async fn a_connection_that_is_no_spdy_is_cut() {
    let served = Served::start().await;
    let url = served.exec(&["say", "hi", "", "0"], "o");
    let headers = format!("{SPDY}X-Stream-Protocol-Version: v4.channel.k8s.io\r\n");
    let (mut stream, _) = dial(&url, &headers).await;
    stream.write_all(&[0xff; 64]).await.unwrap();
    let mut rest = Vec::new();
    let _ = within(stream.read_to_end(&mut rest)).await;
    assert!(rest.is_empty());
}
