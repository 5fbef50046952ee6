//! What whoever follows the spans sees.

use super::{Machine, running};
use crate::blocking::blocking;
use crate::model::Resources;
use crate::steps::run_step;
use crate::verbs::create_container::CREATE_CONTAINER;
use crate::verbs::run_pod::RUN_POD;
use crate::{AttachRequest, Error, ExecRequest, Owner};
use rrun_sys::step;
use std::sync::Mutex;
use std::time::Duration;
use tracing::Instrument;
use tracing_subscriber::fmt::{self, MakeWriter, format::FmtSpan};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry;

const OWNER: &Owner = &Owner::Cri;

/// A line for each span that has ended, with those that it was in before it.
static ENDED: Mutex<Vec<u8>> = Mutex::new(Vec::new());

fn ended() -> Vec<String> {
    let text = String::from_utf8(ENDED.lock().unwrap().clone()).unwrap();
    text.lines().filter(|line| line.contains(": close ")).map(str::to_owned).collect()
}

#[test]
fn each_verb_is_a_span_with_the_ids_of_what_it_is_on_and_its_steps_are_spans_in_it() {
    // For all threads: what another one meets first without a subscriber is passed over in all.
    let layer = fmt::layer()
        .with_ansi(false)
        .with_thread_names(true)
        .with_span_events(FmtSpan::CLOSE)
        .with_writer(|| ENDED.make_writer());
    tracing::subscriber::set_global_default(registry().with(layer)).unwrap();
    let machine = Machine::new();
    let (pod, id) = machine.life(async |engine, _| {
        let (pod, id) = running(&engine, "web").await;
        let (of, command) = (id.as_str(), vec!["true".to_owned()]);
        engine.exec_sync(OWNER, of, command.clone(), None).await.unwrap();
        let exec = ExecRequest { command, stdout: true, ..ExecRequest::default() };
        engine.exec(OWNER, of, exec).await.unwrap();
        engine.attach(OWNER, of, AttachRequest::default()).await.unwrap();
        engine.reopen_log(OWNER, of).await.unwrap();
        engine.update_resources(OWNER, of, Resources::default()).await.unwrap();
        engine.forward(OWNER, pod.as_str()).await.unwrap().netns.unwrap();
        (pod, id)
    });
    machine.life(async |engine, _| {
        engine.stop_container(OWNER, id.as_str(), Duration::ZERO).await.unwrap();
        engine.remove_pod(OWNER, pod.as_str()).await.unwrap();
        // As the network and the images run theirs.
        let of_network = || step::run("cni.add.record", || Ok::<_, Error>(()));
        let add = run_step("engine.run-pod.network", blocking(of_network));
        let verb = tracing::info_span!("verb", name = "RunPodSandbox", pod = "p");
        add.instrument(verb).await.unwrap();
    });
    // All of these lives were on this thread, but for what blocks.
    let here = std::thread::current().name().unwrap().to_owned();
    let mut lines = ended();
    let within = "verb{name=\"RunPodSandbox\" pod=\"p\"}:step{name=\"engine.run-pod.network\"}:\
                  step{name=\"cni.add.record\"}";
    assert!(lines.iter().any(|line| line.contains(within)), "{within} is missing in {lines:#?}");
    lines.retain(|line| line.contains(&here));
    let of_pod = |verb: &str| format!("verb{{name=\"{verb}\" pod={pod}");
    let of_container = |verb: &str| format!("{} container={id}", of_pod(verb));
    let step = |verb: &str, step: &str| format!("{verb}}}:step{{name=\"{step}\"}}");
    let mut expected: Vec<String> =
        RUN_POD.names().iter().map(|name| step(&of_pod("RunPodSandbox"), name)).collect();
    let create = of_container("CreateContainer");
    expected.extend(CREATE_CONTAINER.names().iter().map(|name| step(&create, name)));
    for (verb, name) in [
        ("StartContainer", "engine.start-container.start"),
        ("StartContainer", "engine.start-container.running"),
        ("ExecSync", "engine.exec.start"),
        ("Exec", "engine.exec.start"),
        ("Attach", "engine.attach.attach"),
        ("ReopenContainerLog", "engine.reopen-log.reopen"),
        ("UpdateContainerResources", "engine.update-container.limits"),
        ("UpdateContainerResources", "engine.update-container.record"),
        ("StopContainer", "engine.stop-container.stop"),
        ("ContainerEnd", "engine.end-container.exited"),
        ("RemoveContainer", "engine.remove-container.init"),
        ("RemoveContainer", "engine.remove-container.record"),
    ] {
        expected.push(step(&of_container(verb), name));
    }
    for name in
        ["engine.stop-pod.containers", "engine.stop-pod.network", "engine.remove-pod.run-dir"]
    {
        expected.push(step(&of_pod("RemovePodSandbox"), name));
    }
    expected.push(step(&of_pod("PortForward"), "engine.port-forward.netns"));
    expected.push(format!("{}}}: ", of_pod("Recover")));
    for line in expected {
        assert!(lines.iter().any(|l| l.contains(&line)), "{line} is missing in {lines:#?}");
    }
    let of_none = |line: &&String| line.contains("step{") && !line.contains("pod=");
    let of_none: Vec<_> = lines.iter().filter(of_none).collect();
    assert!(of_none.is_empty(), "steps of no pod: {of_none:#?}");
}
