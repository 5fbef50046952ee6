//! Port-forward.

use tokio::io::{copy, split};
use tokio::net::TcpListener;

use crate::client::{TRANSPORTS, client, code, stderr};
use crate::{Served, within};

/// A server that sends back what it got, and ends when its client's half has ended.
async fn echo_server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut reader, mut writer) = split(stream);
                let _ = copy(&mut reader, &mut writer).await;
            });
        }
    });
    port
}

async fn forwarded(connections: u32, bytes: u32) {
    let served = Served::start().await;
    let port = echo_server().await;
    for transport in TRANSPORTS {
        let Some(mut client) = client("forward", transport) else { return };
        let url = served.forward(&[]);
        client.args(["-port", &port.to_string()]);
        client.args(["-connections", &connections.to_string()]);
        client.args(["-bytes", &bytes.to_string(), &url]);
        let output = within(client.output()).await.unwrap();
        assert_eq!(code(&output), 0, "{transport:?}: {}", stderr(&output));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_half_that_ended_does_not_end_the_other() {
    forwarded(1, 1000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_connections_share_one_session() {
    forwarded(200, 20_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_megabytes_come_back_as_they_went() {
    forwarded(1, 10_000_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_nobody_listens_on_is_named() {
    let served = Served::start().await;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    for transport in TRANSPORTS {
        let Some(mut client) = client("forward", transport) else { return };
        let url = served.forward(&[]);
        let output = client.args(["-port", &closed.to_string(), &url]).output();
        let output = within(output).await.unwrap();
        assert_ne!(code(&output), 0, "{transport:?}");
        let want = format!("error forwarding port {closed} to pod pod, uid : failed to connect");
        assert!(stderr(&output).contains(&want), "{transport:?}: {}", stderr(&output));
    }
}
