//! What the daemon tells of itself: figures, health, traces.

use crate::crowds::connect_in;
use crate::suite::*;
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::Signal;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::trace::v1::Span;
use rrun_cri_api::Cri;
use rrun_cri_api::v1::runtime_service_client::RuntimeServiceClient;
use rrun_cri_api::v1::*;
use rrun_tests::harness::{Harness, WORK};
use rrun_tests::place;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use tonic::transport::{Endpoint, Server, server::TcpIncoming};
use tonic::{Request, Response, Status, async_trait};

const FIGURES: &str = "[metrics]\naddress = '127.0.0.1:9780'\n";

/// The answer to a GET of the daemon's figures: its head and its body.
async fn get(harness: &Harness, path: &str) -> (String, String) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let pid = i64::from(harness.sandbox().pid());
    let ask = move || {
        let mut stream = connect_in(pid, "127.0.0.1:9780".parse().unwrap()).unwrap();
        let mut answer = String::new();
        stream.write_all(request.as_bytes()).unwrap();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let answer = std::thread::spawn(ask);
    while !answer.is_finished() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let answer = answer.join().unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

/// The value of a series, with its labels as they are written.
fn value(figures: &str, series: &str) -> f64 {
    let line = figures.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series} in {figures}")).parse().unwrap()
}

#[tokio::test]
async fn figures_tell_of_calls_steps_pulls_pods_and_shims_and_have_no_pods_name() {
    let mut suite = Suite::start_with(FIGURES).await;
    let (pod, main) = suite.run("named-pod", &["/bin/sleeper"]).await;
    let unknown = StartContainerRequest { container_id: "unknown".to_owned() };
    suite.harness.client.start_container(unknown).await.unwrap_err();
    suite.harness.pull("images.rrun.test/nothing-there:1").await.unwrap_err();
    let (head, figures) = get(&suite.harness, "/metrics").await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    let run = r#"rrun_rpc_duration_seconds_count{rpc="RunPodSandbox",code="Ok"}"#;
    assert_eq!(value(&figures, run), 2.0, "the pod of the suite, and this one");
    let failed = r#"rrun_rpc_duration_seconds_count{rpc="StartContainer",code="NotFound"}"#;
    assert_eq!(value(&figures, failed), 1.0);
    assert_eq!(value(&figures, r#"rrun_verb_duration_seconds_count{verb="CreateContainer"}"#), 2.0);
    let network =
        r#"rrun_step_duration_seconds_count{verb="RunPodSandbox",step="engine.run-pod.network"}"#;
    assert_eq!(value(&figures, network), 2.0);
    for (series, expected) in [
        (r#"rrun_pods{state="ready"}"#, 1.0),
        (r#"rrun_containers{state="running"}"#, 1.0),
        ("rrun_shims", 1.0),
        ("rrun_shims_lost_total", 0.0),
        ("rrun_pulls_total", 3.0),
        ("rrun_pulls_failed_total", 1.0),
        ("rrun_streams", 0.0),
        (r#"rrun_recovered{what="pods"}"#, 0.0),
    ] {
        assert_eq!(value(&figures, series), expected, "{series}");
    }
    for series in ["rrun_pulled_bytes_total", "process_resident_memory_bytes", "process_open_fds"] {
        assert!(value(&figures, series) > 0.0, "{series}");
    }
    for name in series_of_dashboard() {
        assert!(figures.contains(&name), "the dashboard has {name}, which there is not");
    }
    for name in ["named-pod", pod.as_str(), main.as_str(), WORK] {
        assert!(!figures.contains(name), "{name} is in {figures}");
    }
    suite.restart().await;
    let (_, figures) = get(&suite.harness, "/metrics").await;
    assert_eq!(value(&figures, r#"rrun_recovered{what="pods"}"#), 1.0);
    kill(suite.shim(&pod));
    let lost =
        async || value(&get(&suite.harness, "/metrics").await.1, "rrun_shims_lost_total") == 1.0;
    suite.until("the lost shim is counted", lost).await;
    suite.remove(&pod).await;
    suite.assert_nothing_left();
}

/// The names of the series that the dashboard shows.
fn series_of_dashboard() -> BTreeSet<String> {
    let file = place::workspace().join("dist/grafana-dashboard.json");
    let text = std::fs::read_to_string(file).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().unwrap());
    let expressions = targets.map(|target| target["expr"].as_str().unwrap());
    let words = expressions.flat_map(|e| e.split(|c: char| !c.is_ascii_alphanumeric() && c != '_'));
    let named = words.filter(|word| word.starts_with("rrun_") || word.starts_with("process_"));
    let names: BTreeSet<String> = named.map(str::to_owned).collect();
    assert!(names.len() > 20, "{names:?}");
    names
}

#[tokio::test]
async fn health_is_that_of_the_cri_and_readiness_that_of_its_status() {
    let config = format!("{FIGURES}[network]\nmode = 'cni'\nconf_dir = '/etc/rrun/none'\n");
    let harness = Harness::start_with(&config).await.unwrap();
    let (head, body) = get(&harness, "/healthz").await;
    assert!(head.starts_with("HTTP/1.1 200 ") && body == "ok\n", "{head} {body}");
    let (head, body) = get(&harness, "/readyz").await;
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    assert!(body.starts_with("NetworkReady: ") && body.contains("/etc/rrun/none"), "{body}");
    let (head, _) = get(&harness, "/elsewhere").await;
    assert!(head.starts_with("HTTP/1.1 404 "), "{head}");
    // Nobody can connect: the process runs, and does not serve.
    let socket = harness.daemon().unwrap().socket().to_owned();
    std::fs::rename(&socket, socket.with_extension("away")).unwrap();
    let (head, body) = get(&harness, "/healthz").await;
    assert!(head.starts_with("HTTP/1.1 503 ") && body.contains("does not answer"), "{head} {body}");
    std::fs::rename(socket.with_extension("away"), &socket).unwrap();
}

#[tokio::test]
async fn a_log_of_objects_has_the_ids_of_what_each_is_about() {
    let suite = Suite::start_with("[log]\nformat = 'json'\n").await;
    let (pod, _) = suite.run("lost", &["/bin/sleeper"]).await;
    kill(suite.shim(&pod));
    let lines = || -> Vec<serde_json::Value> {
        let log = suite.daemon_log();
        log.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
    };
    let told = |line: &serde_json::Value| line["message"] == "its shim is gone";
    suite.until("the lost shim is told", async || lines().iter().any(told)).await;
    let line = lines().into_iter().find(told).unwrap();
    assert_eq!((&line["pod"], &line["level"]), (&pod.as_str().into(), &"WARN".into()), "{line}");
    assert_eq!(
        (&line["verb"], &line["target"]),
        (&"ShimLost".into(), &"rrun_engine::verbs::shim_watch".into())
    );
    suite.remove(&pod).await;
    suite.assert_nothing_left();
}

#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Span>>>);

#[async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let resources = request.into_inner().resource_spans.into_iter();
        let spans = resources.flat_map(|one| one.scope_spans).flat_map(|scope| scope.spans);
        self.0.lock().unwrap().extend(spans);
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    /// A collector in the sandbox.
    fn start(suite: &Suite) -> Collector {
        let pid = suite.harness.sandbox().pid();
        let bind = move || {
            let namespace = File::open(format!("/proc/{pid}/ns/net")).unwrap();
            setns(&namespace, CloneFlags::CLONE_NEWNET).unwrap();
            TcpListener::bind("127.0.0.1:4317").unwrap()
        };
        let listener = std::thread::spawn(bind).join().unwrap();
        listener.set_nonblocking(true).unwrap();
        let incoming = TcpIncoming::from(tokio::net::TcpListener::from_std(listener).unwrap());
        let collector = Collector::default();
        let service = TraceServiceServer::new(collector.clone());
        tokio::spawn(Server::builder().add_service(service).serve_with_incoming(incoming));
        collector
    }

    fn spans(&self) -> Vec<Span> {
        self.0.lock().unwrap().clone()
    }
}

#[tokio::test]
async fn a_call_is_a_span_in_the_trace_of_its_caller_with_its_verb_and_steps_below_it() {
    let mut suite = Suite::start_with("[tracing]\nendpoint = 'http://127.0.0.1:4317'\n").await;
    let collector = Collector::start(&suite);
    let endpoint = Endpoint::from_shared(suite.harness.daemon().unwrap().endpoint()).unwrap();
    let mut client = RuntimeServiceClient::new(endpoint.connect().await.unwrap());
    let mut run = async |name: &str, parent: &str| {
        let config = Some(suite.harness.pod(name));
        let mut request = Request::new(RunPodSandboxRequest { config, ..Default::default() });
        request.metadata_mut().insert("traceparent", parent.parse().unwrap());
        client.run_pod_sandbox(request).await.unwrap().into_inner().pod_sandbox_id
    };
    let traced = run("traced", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").await;
    let not = run("not", "00-1af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00").await;
    // What is not sent yet is sent at the end.
    let pid = suite.harness.daemon().unwrap().pid();
    signal(pid.cast_signed(), Signal::SIGTERM);
    let is_over = || std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap().contains(") Z");
    suite.until("the daemon ends", async || is_over()).await;
    let spans = collector.spans();
    let traces: BTreeSet<_> = spans.iter().map(|span| hex(&span.trace_id)).collect();
    let trace = "0af7651916cd43dd8448eb211c80319c".to_owned();
    assert_eq!(traces, BTreeSet::from([trace]), "only what its caller traces");
    let named = |name: &str| {
        let found: Vec<_> = spans.iter().filter(|span| span.name == name).collect();
        found.first().copied().unwrap_or_else(|| panic!("no {name} in {spans:#?}")).clone()
    };
    let of_trace: Vec<_> = spans.iter().filter(|s| s.name == "RunPodSandbox").collect();
    let [call, verb] = &of_trace[..] else { panic!("{of_trace:#?}") };
    let (call, verb) =
        if call.parent_span_id == verb.span_id { (verb, call) } else { (call, verb) };
    assert_eq!(hex(&call.parent_span_id), "b7ad6b7169203331");
    assert_eq!(verb.parent_span_id, call.span_id);
    let attribute = |span: &Span, key: &str| span.attributes.iter().any(|one| one.key == key);
    assert!(attribute(verb, "pod") && attribute(call, "rpc.grpc.status_code"));
    for step in ["engine.run-pod.shim", "engine.run-pod.network"] {
        assert_eq!(named(step).parent_span_id, verb.span_id, "{step}");
    }
    suite.restart().await;
    suite.remove(&traced).await;
    suite.remove(&not).await;
    suite.assert_nothing_left();
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
