//! HTTP, HTTPS, TCP and gRPC probes against servers on loopback.
#![allow(clippy::unwrap_used)] // A test fails by panicking, in its helpers too.

use std::collections::BTreeMap;

use rrun_pod::manifest::{self, Source};
use rrun_pod::model::{Container, HttpGet, PortRef, Probe, Scheme};
use rrun_pod::probe::{Fetch, HOOK_AGENT, ProbeResult, ProbedContainer, check, hook};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

mod nothing;

/// A server that answers each path with one canned reply and remembers the requests.
async fn server(replies: &[(&str, String)]) -> (u16, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let replies: BTreeMap<String, String> =
        replies.iter().map(|(p, r)| ((*p).to_owned(), r.clone())).collect();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, seen) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (replies, sender) = (replies.clone(), sender.clone());
            tokio::spawn(async move {
                let mut request = Vec::new();
                let mut part = [0; 1024];
                while !request.windows(4).any(|w| w == b"\r\n\r\n") {
                    match stream.read(&mut part).await {
                        Ok(n) if n > 0 => request.extend_from_slice(&part[..n]),
                        _ => return,
                    }
                }
                let text = String::from_utf8_lossy(&request).into_owned();
                let path = text.split(' ').nth(1).unwrap_or("/").to_owned();
                let _ = sender.send(text);
                if let Some(reply) = replies.get(&path) {
                    let _ = stream.write_all(reply.as_bytes()).await;
                } else {
                    // Holds the line: a server that hangs.
                    std::future::pending::<()>().await;
                }
            });
        }
    });
    (port, seen)
}

fn reply(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n{headers}\r\n{body}", body.len())
}

fn container(probe: &str) -> (Container, Probe) {
    let text = format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: w}}, spec: {{containers: [{{name: a, image: i, readinessProbe: {probe}}}]}}}}"
    );
    let pod = manifest::pod(Source { name: "t", text: text.as_bytes() }, &[]).unwrap();
    let container = pod.spec.containers[0].clone();
    let probe = container.readiness.clone().unwrap();
    (container, probe)
}

async fn probe(spec: &str) -> ProbeResult {
    let (container, probe) = container(spec);
    let probed = ProbedContainer { container: &container, id: "c", address: "127.0.0.1" };
    check(&nothing::Nothing, &probe, probed).await
}

#[tokio::test]
async fn an_http_probe_judges_by_the_status_and_follows_redirects_on_the_same_host() {
    let (port, mut seen) = server(&[
        ("/ok?x=1", reply("204 No Content", "", "")),
        ("/bad", reply("500 No", "", "broken")),
        ("/loop", reply("302 Found", "location: /loop\r\n", "")),
        ("/to-ok", reply("302 Found", "location: /ok?x=1\r\n", "")),
        ("/away", reply("302 Found", "location: http://192.0.2.1/\r\n", "gone")),
    ])
    .await;
    let get = async |path: &str| {
        probe(&format!(
            "{{httpGet: {{port: {port}, path: '{path}', httpHeaders: [{{name: X-A, value: b}}]}}}}"
        ))
        .await
    };
    assert_eq!(get("/ok?x=1").await, ProbeResult::Success(String::new()));
    let request = seen.recv().await.unwrap();
    for line in ["User-Agent: kube-probe/1.36", "Accept: */*", "X-A: b", "Connection: close"] {
        assert!(request.contains(line), "{request}");
    }
    assert_eq!(
        get("/bad").await,
        ProbeResult::Failure("HTTP probe failed with statuscode: 500".into())
    );
    assert_eq!(get("/to-ok").await, ProbeResult::Success(String::new()));
    let away = "Probe terminated redirects, Response body: gone".to_owned();
    assert_eq!(get("/away").await, ProbeResult::Warning(away));
    let ProbeResult::Failure(text) = get("/loop").await else { panic!("a loop fails") };
    assert!(text.contains("stopped after 10 redirects"), "{text}");
    let ProbeResult::Failure(text) = get("/hangs").await else { panic!("a hanging server fails") };
    let why = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)";
    assert_eq!(text, format!("Get \"http://127.0.0.1:{port}/hangs\": {why}"));
}

/// A TLS server that agrees to the given protocols.
fn acceptor(protocols: &[&str]) -> tokio_rustls::TlsAcceptor {
    let key = rcgen::generate_simple_self_signed(vec!["other.example".to_owned()]).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![key.cert.der().clone()],
            rustls::pki_types::PrivateKeyDer::Pkcs8(key.signing_key.serialize_der().into()),
        )
        .unwrap();
    config.alpn_protocols = protocols.iter().map(|p| p.as_bytes().to_vec()).collect();
    std::sync::Arc::new(config).into()
}

#[tokio::test]
async fn https_is_http_2_where_the_server_agrees() {
    let acceptor = acceptor(&["h2", "http/1.1"]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = acceptor.accept(stream).await.unwrap();
        let mut preface = [0; 24];
        stream.read_exact(&mut preface).await.unwrap();
        preface
    });
    probe(&format!("{{httpGet: {{port: {port}, scheme: HTTPS}}}}")).await;
    assert_eq!(&server.await.unwrap(), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
}

#[tokio::test]
async fn a_hook_that_falls_back_to_plain_http_keeps_its_credentials_to_itself() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        let mut part = [0; 4096];
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut part).await;
        stream.write_all(reply("400 Bad Request", "", "").as_bytes()).await.unwrap();
        drop(stream);
        let (mut stream, _) = listener.accept().await.unwrap();
        let n = stream.read(&mut part).await.unwrap();
        stream.write_all(reply("204 No Content", "", "").as_bytes()).await.unwrap();
        String::from_utf8_lossy(&part[..n]).into_owned()
    });
    let headers = [("Authorization", "Bearer secret"), ("X-A", "b")];
    let get = HttpGet {
        host: String::new(),
        port: PortRef::Number(port),
        path: "/stop".into(),
        scheme: Scheme::Https,
        headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
    };
    let fetch = Fetch { get: &get, host: "127.0.0.1", port, timeout: None, agent: HOOK_AGENT };
    assert!(hook(&fetch).await.unwrap());
    let seen = server.await.unwrap();
    for line in ["X-A: b", "User-Agent: kube-lifecycle/1.36", "Accept-Encoding: gzip"] {
        assert!(seen.contains(line), "{seen}");
    }
    assert!(!seen.contains("secret"), "{seen}");
}

#[tokio::test]
async fn https_needs_no_certificate_that_anyone_knows() {
    let acceptor = acceptor(&[]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = acceptor.accept(stream).await.unwrap();
        let mut part = [0; 1024];
        let _ = stream.read(&mut part).await;
        stream.write_all(reply("200 OK", "", "hi").as_bytes()).await.unwrap();
        let _ = stream.shutdown().await;
    });
    let found = probe(&format!("{{httpGet: {{port: {port}, scheme: HTTPS}}}}")).await;
    assert_eq!(found, ProbeResult::Success("hi".into()));
}

#[tokio::test]
async fn a_tcp_probe_asks_only_whether_someone_listens_and_tells_a_refusal_as_the_kubelet_does() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let spec = format!("{{tcpSocket: {{port: {port}}}}}");
    assert_eq!(probe(&spec).await, ProbeResult::Success(String::new()));
    drop(listener);
    let refused = format!("dial tcp 127.0.0.1:{port}: connect: connection refused");
    assert_eq!(probe(&spec).await, ProbeResult::Failure(refused.clone()));
    let http = probe(&format!("{{httpGet: {{port: {port}}}}}")).await;
    let refused = format!("Get \"http://127.0.0.1:{port}/\": {refused}");
    assert_eq!(http, ProbeResult::Failure(refused));
}

#[tokio::test]
async fn a_grpc_probe_takes_serving_only() {
    let port = nothing::health_server().await;
    let ask = async |service: &str| {
        probe(&format!("{{grpc: {{port: {port}, service: '{service}'}}}}")).await
    };
    assert_eq!(ask("").await, ProbeResult::Success("service healthy".into()));
    let ProbeResult::Failure(text) = ask("down").await else { panic!("not serving") };
    assert!(text.contains("NOT_SERVING"), "{text}");
    let ProbeResult::Failure(text) = ask("unknown").await else { panic!("no such service") };
    let failed = "error: health rpc probe failed: rpc error: code = NotFound desc = ";
    assert!(text.starts_with(failed) && text.contains("not registered"), "{text}");
    let gone = probe("{grpc: {port: 1}}").await;
    let late =
        "timeout: failed to connect service \"127.0.0.1:1\" within 1s: context deadline exceeded";
    assert_eq!(gone, ProbeResult::Failure(late.into()));
}
