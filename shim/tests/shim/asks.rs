//! What a container being made asks the daemon.

use super::*;

/// A container that is to be placed by its daemon.
fn asking(pod: &Pod) -> Request {
    let mut plan = pod.image.plan(&["sleep", "1000"]);
    plan.cgroups.asked = true;
    Request::Create(Create {
        container: "c".into(),
        plan,
        log: None,
        stdin: false,
        stdin_once: false,
        program: None,
        restore: None,
    })
}

async fn asked(pod: &mut Pod) -> i32 {
    match pod.event().await {
        Event::Asks { container, pid, ask: Ask::Place } if container == "c" => pid,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_a_container_asks_is_passed_on_and_its_answer_goes_back() {
    let mut pod = Pod::new().await;
    let client = pod.client.clone();
    let create = asking(&pod);
    let made = tokio::spawn(async move { client.call(create, Vec::new()).await });
    let place = asked(&mut pod).await;
    pod.ask(Request::Answer { container: "c".into(), refusal: None }).await;
    let (reply, _) = in_time("the answer to the create", made).await.unwrap().unwrap();
    assert!(matches!(reply, Reply::Created { pid, .. } if pid == place), "{reply:?}");
    // Nothing is asked any more.
    pod.refused(Request::Answer { container: "c".into(), refusal: None }).await;
    pod.shut_down().await;
}

#[tokio::test]
async fn a_refusal_is_the_error_of_the_create() {
    let mut pod = Pod::new().await;
    let client = pod.client.clone();
    let create = asking(&pod);
    let made = tokio::spawn(async move { client.call(create, Vec::new()).await });
    asked(&mut pod).await;
    let refusal = AskRefusal { errno: nix::libc::EBUSY, words: "systemd says no".into() };
    pod.ask(Request::Answer { container: "c".into(), refusal: Some(refusal) }).await;
    let error = in_time("the answer to the create", made).await.unwrap().err().unwrap().to_string();
    assert!(error.contains("control groups: systemd says no: EBUSY"), "{error}");
    pod.shut_down().await;
}

#[tokio::test]
async fn what_a_daemon_that_is_gone_was_asked_is_refused() {
    let pod = Pod::new().await;
    let (other, mut events) = Client::connect(&Launch::socket(pod.folder.path())).await.unwrap();
    let create = asking(&pod);
    let made = tokio::spawn(async move { other.call(create, Vec::new()).await.map(drop) });
    assert!(matches!(in_time("what is asked", events.recv()).await, Some(Event::Asks { .. })));
    made.abort();
    let _ = made.await;
    // The container goes, and its name is free again.
    let gone = async {
        loop {
            match pod.ask(Request::State).await {
                Reply::State(report) if report.containers.is_empty() => break,
                _ => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    in_time("the container is gone", gone).await;
    pod.shut_down().await;
}
