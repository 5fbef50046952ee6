//! Seccomp profiles of the node that leave calls to a listener.

use crate::suite::*;
use rrun_cri_api::v1::*;
use rrun_tests::harness::BUSYBOX;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::{Child, Command};

/// Ended with the test.
struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn listening(suite: &Suite, socket: &Path, states: &Path) -> Agent {
    let mut command = Command::new("python3");
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../runtime/tests/oci/agent.py"));
    command.args([socket, states]);
    let agent = Agent(command.stdout(std::process::Stdio::null()).spawn().unwrap());
    suite.until("the agent listens", async || socket.exists()).await;
    agent
}

fn profile(path: &Path) -> Option<SecurityProfile> {
    Some(SecurityProfile {
        profile_type: security_profile::ProfileType::Localhost as i32,
        localhost_ref: path.to_string_lossy().into_owned(),
    })
}

#[tokio::test]
async fn a_listener_answers_calls_of_containers_and_execs_and_nothing_runs_without_it() {
    let suite = Suite::start().await;
    let folder = suite.harness.sandbox().root().join("listener");
    fs::create_dir(&folder).unwrap();
    let (socket, states) = (folder.join("agent.sock"), folder.join("states"));
    let file = folder.join("profile.json");
    let rules = json!({
        "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": socket, "listenerMetadata": "pods",
        "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY" }]
    });
    fs::write(&file, rules.to_string()).unwrap();
    let mut config = suite.harness.pod("answered");
    // With a reaper, which nobody is told of.
    config.linux.as_mut().unwrap().security_context = Some(LinuxSandboxSecurityContext {
        seccomp: profile(&file),
        namespace_options: Some(NamespaceOption {
            pid: NamespaceMode::Pod as i32,
            ..Default::default()
        }),
        ..Default::default()
    });
    let pod = suite.run_pod(&config).await;
    let container = |name: &str| {
        let mut container = suite.harness.container(name, BUSYBOX, &["sleep", "1000"]);
        container.linux.as_mut().unwrap().security_context = Some(LinuxContainerSecurityContext {
            seccomp: profile(&file),
            namespace_options: Some(NamespaceOption {
                pid: NamespaceMode::Pod as i32,
                ..Default::default()
            }),
            ..Default::default()
        });
        container
    };
    let words = format!("connect {}: ENOENT", socket.display());
    let refused = suite.create(&pod, container("early"), &config).await.unwrap_err();
    assert!(refused.message().contains(&words), "{refused}");

    let agent = listening(&suite, &socket, &states).await;
    let id = suite.create(&pod, container("main"), &config).await.unwrap();
    suite.start_container(&id).await.unwrap();
    let script = "mkdir /tmp/refused 2>&1; mkdir /tmp/pretended && ls /tmp";
    let exec = suite.exec(&id, &["sh", "-c", script], 30).await.unwrap();
    let said = String::from_utf8(exec.stdout).unwrap();
    assert!(said.contains("quota") && !said.contains("pretended\n"), "{said}");
    let told = fs::read_to_string(&states).unwrap();
    let told: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [first, second] = &told[..] else { panic!("{told:?}") };
    let pid = suite.pid(&id).await;
    for (told, status) in [(first, "created"), (second, "running")] {
        assert_eq!(told["metadata"], "pods", "{told}");
        assert_eq!(told["state"]["id"], id, "{told}");
        assert_eq!(told["state"]["pid"], pid, "{told}");
        assert_eq!(told["state"]["status"], status, "{told}");
    }
    assert_eq!(first["pid"], pid);
    assert_ne!(second["pid"], pid);

    drop(agent);
    let refused = suite.exec(&id, &["true"], 30).await.unwrap_err();
    assert!(refused.message().contains("agent.sock: ECONNREFUSED"), "{refused}");
    suite.remove(&pod).await;
    suite.assert_nothing_left();
}
