//! Exec and attach.

use rrun_cri_api::v1::AttachRequest;
use sha2::{Digest, Sha256};

use crate::backend::Event;
use crate::client::{TRANSPORTS, client, code, run, stderr, stdout};
use crate::{Served, within};

#[tokio::test(flavor = "multi_thread")]
async fn output_goes_to_its_stream_and_the_exit_code_to_the_client() {
    let served = Served::start().await;
    for transport in TRANSPORTS {
        for (exit, want) in [("0", 0), ("3", 3), ("255", 255)] {
            let Some(mut client) = client("exec", transport) else { return };
            let url = served.exec(&["say", "to out", "to err", exit], "oe");
            let output = within(client.args(["-stdout", "-stderr", &url]).output()).await.unwrap();
            assert_eq!(code(&output), want, "{transport:?}: {}", stderr(&output));
            assert_eq!(stdout(&output), "to out", "{transport:?}");
            assert_eq!(stderr(&output), "to err", "{transport:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_megabytes_come_back_as_they_went() {
    let served = Served::start().await;
    let input = pattern(50_000_000);
    for transport in TRANSPORTS {
        let Some(mut client) = client("exec", transport) else { return };
        let url = served.exec(&["cat"], "io");
        client.args(["-stdin", "-stdout", &url]);
        let began = std::time::Instant::now();
        let output = within(run(client, input.clone())).await;
        println!("{transport:?}: 50 MB there and back in {:?}", began.elapsed());
        assert_eq!(code(&output), 0, "{transport:?}: {}", stderr(&output));
        assert_eq!(output.stdout.len(), input.len(), "{transport:?}");
        assert_eq!(Sha256::digest(&output.stdout), Sha256::digest(&input), "{transport:?}");
    }
}

/// Bytes that no shift or swap of blocks leaves the same.
fn pattern(length: usize) -> Vec<u8> {
    let mut state = 1u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        bytes.extend(next().to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn all_output_arrives_though_the_command_ended_long_before_it_was_read() {
    let served = Served::start().await;
    for transport in TRANSPORTS {
        for _ in 0..10 {
            let Some(mut client) = client("exec", transport) else { return };
            let url = served.exec(&["flood", "3000000"], "oe");
            let output = within(client.args(["-stdout", "-stderr", &url]).output()).await.unwrap();
            assert_eq!(code(&output), 0, "{transport:?}: {}", stderr(&output));
            assert_eq!(output.stdout.len(), 3_000_000, "{transport:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_does_not_read_its_input_ends_with_its_output_whole() {
    let mut served = Served::start().await;
    for transport in TRANSPORTS {
        let Some(mut client) = client("exec", transport) else { return };
        let url = served.exec(&["deaf"], "io");
        client.args(["-stdin", "-stdout", &url]);
        let running = tokio::spawn(run(client, vec![b'x'; 20_000_000]));
        assert_eq!(served.event().await, Event::Started);
        served.release.notify_one();
        let output = within(running).await.unwrap();
        assert_eq!(stdout(&output), "heard nothing", "{transport:?}: {}", stderr(&output));
        assert_eq!(code(&output), 0, "{transport:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_gets_its_last_size() {
    let served = Served::start().await;
    for transport in TRANSPORTS {
        let Some(mut client) = client("exec", transport) else { return };
        let url = served.exec(&["size", "101"], "iot");
        client.args(["-stdin", "-stdout", "-tty", "-sizes", "80x24,101x33", &url]);
        let output = within(run(client, b"exit\n".to_vec())).await;
        assert_eq!(stdout(&output), "101x33", "{transport:?}: {}", stderr(&output));
        assert_eq!(code(&output), 0, "{transport:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_run_is_told_with_its_reason() {
    let served = Served::start().await;
    for transport in TRANSPORTS {
        let Some(mut client) = client("exec", transport) else { return };
        let url = served.exec(&["nonesuch"], "oe");
        let output = within(client.args(["-stdout", "-stderr", &url]).output()).await.unwrap();
        assert_eq!(code(&output), 200, "{transport:?}");
        let want = r#"Internal error occurred: no such command: ["nonesuch"]"#;
        assert!(stderr(&output).contains(want), "{transport:?}: {}", stderr(&output));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn attach_streams_until_the_input_ends() {
    let served = Served::start().await;
    for transport in TRANSPORTS {
        let Some(mut client) = client("exec", transport) else { return };
        let request = AttachRequest {
            container_id: "container".into(),
            stdin: true,
            stdout: true,
            ..Default::default()
        };
        let url = served.streaming.attach_url(request).unwrap();
        client.args(["-stdin", "-stdout", &url]);
        let output = within(run(client, b"hello".to_vec())).await;
        assert_eq!(stdout(&output), "hello", "{transport:?}: {}", stderr(&output));
        assert_eq!(code(&output), 0, "{transport:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_vanishes_ends_its_command() {
    let mut served = Served::start().await;
    for transport in TRANSPORTS {
        let Some(mut client) = client("exec", transport) else { return };
        let url = served.exec(&["sleep"], "oe");
        let mut child = client.args(["-stdout", "-stderr", &url]).spawn().unwrap();
        assert_eq!(served.event().await, Event::Started);
        child.kill().await.unwrap();
        assert_eq!(served.event().await, Event::Dropped, "{transport:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_shuts_down_does_not_look_like_success() {
    for transport in TRANSPORTS {
        let mut served = Served::start().await;
        let Some(mut client) = client("exec", transport) else { return };
        let url = served.exec(&["sleep"], "oe");
        let child = client.args(["-stdout", "-stderr", &url]).spawn().unwrap();
        assert_eq!(served.event().await, Event::Started);
        let Served { streaming, .. } = served;
        streaming.shutdown().await;
        let output = within(child.wait_with_output()).await.unwrap();
        assert_eq!(code(&output), 200, "{transport:?}");
        let told = stderr(&output).contains("the runtime is shutting down");
        assert!(told, "{transport:?}: {}", stderr(&output));
    }
}
