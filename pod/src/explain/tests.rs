use super::*;
use crate::testing::{facts, pod};

const SPEC: &str = "  terminationGracePeriodSeconds: 20
  hostname: front
  os: {name: linux}
  securityContext: {runAsUser: 1000}
  volumes:
  - {name: page, emptyDir: {sizeLimit: 1Mi}}
  - {name: keys, secret: {secretName: s}}
  initContainers:
  - {name: before, image: 'i:1'}
  - {name: beside, image: 'i:1', restartPolicy: Always, startupProbe: {exec: {command: [x]}}}
  containers:
  - name: main
    image: i
    command: [run, $(WHERE)]
    env:
    - {name: WHERE, value: /here}
    - {name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
    - {name: KEY, valueFrom: {secretKeyRef: {name: s, key: k}}}
    - {name: BOTH, value: 'with $(KEY)'}
    volumeMounts: [{name: page, mountPath: /page, readOnly: true}]
    resources: {limits: {cpu: 500m, memory: 64Mi}}
    securityContext: {capabilities: {add: [NET_ADMIN], drop: [ALL]}, allowPrivilegeEscalation: false}
    lifecycle: {preStop: {sleep: {seconds: 3}}, stopSignal: SIGUSR1}
    livenessProbe: {httpGet: {port: 80}, periodSeconds: 5}
---
apiVersion: v1
kind: Secret
metadata: {name: s}
stringData: {k: hidden}
";

#[test]
fn the_whole_life_of_a_pod_is_told_and_no_secret() {
    let text = explain(&pod(SPEC), &facts()).unwrap();
    for line in [
        "Pod default/web (uid u-1)",
        "  host name: front",
        "  network namespace: the pod's",
        "  page: an empty folder on disk, 1Mi at most",
        "  1. before, to its end with exit code 0",
        "  2. beside, until its startup probe succeeds",
        "  3. main",
        "Sidecar beside",
        "  image: i, asked of its registry at each start",
        "  command: [\"run\", \"/here\"]",
        "  arguments: the image's",
        "  user: 1000",
        "  capabilities: the runtime's default set +NET_ADMIN -ALL",
        "  no new privileges",
        "  variable: WHERE=\"/here\"",
        "  variable: IP=\"<the pod's address>\"",
        "  variable: KEY=<from a Secret>",
        "  variable: BOTH=<from a Secret>",
        "  mount: /page is the volume page, read-only",
        "  liveness probe: http-get http://:80/ delay=0s timeout=1s period=5s #success=1 #failure=3",
        "  started again: whatever its exit code",
        "End, within 20 s",
        "  at 0 s: main: its preStop hook (sleep 3s), then SIGUSR1",
        "  when the containers have ended: beside: the image's stop signal",
        "  at 20 s: SIGKILL; no sooner than 2 s after a signal",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}:\n{text}");
    }
    assert!(text.contains("CPU quota 50000 of 100000 µs, memory 67108864 bytes; oom_score_adj"));
    assert!(!text.contains("hidden"), "{text}");
}

#[test]
fn what_would_fail_at_each_start_is_an_error() {
    let long =
        format!("  hostname: {0}\n  subdomain: {0}\n  setHostnameAsFQDN: true\n", "a".repeat(60));
    let pod = pod(&format!("{long}  containers: [{{name: a, image: i}}]\n"));
    let failed = explain(&pod, &facts()).unwrap_err();
    assert!(failed.to_string().contains("is too long"), "{failed}");
}
