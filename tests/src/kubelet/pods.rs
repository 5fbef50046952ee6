//! The pods that a kubelet and `rrun` run, and the states that each of them comes to.
//!
//! A container that is to stay in a state waits for a file: `WAIT1` in a manifest waits for the one
//! that is written when the pod has come to its first state, and so on. `HOLD` waits for a signal.

use super::pod::Pod;
use super::{asked, brought, inside, odd, restarts, rules, words};
use anyhow::Result;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// What `GROUPS` in a manifest prints: what the container's groups say, of cgroup v2 and of v1.
const GROUPS: &str = "cd /sys/fs/cgroup; for f in cpu.weight cpu.max memory.max cpu/cpu.shares \
    cpu/cpu.cfs_quota_us memory/memory.limit_in_bytes; do [ ! -e $f ] || echo $f $(cat $f); done; \
    cat /proc/self/oom_score_adj";

/// What `REQUEST` does, a server of HTTP behind `nc`: keeps what was asked in `/request`, its lines in
/// an order of their own and without versions at their ends.
const REQUEST: &str = concat!(
    r#"while read line && [ ${#line} -gt 1 ]; do echo \"$line\"; done | tr -d \"\\r\" | "#,
    r#"sed \"s:/[0-9.]*$::\" | sort >/request; "#,
    r#"printf \"HTTP/1.0 200 OK\\r\\n\\r\\n\""#
);

/// What `SERVING<n>` does, likewise: answers a health check of gRPC with the status n, whatever was
/// asked. Settings come at once; headers, the message and trailers when the question has come.
const SERVING: &str = concat!(
    r"printf '\\000\\000\\000\\004\\000\\000\\000\\000\\000\\000\\000\\000\\004\\001\\000\\000\\000\\000'; ",
    r"sleep 1; printf '\\000\\000\\024\\001\\004\\000\\000\\000\\001\\210\\017\\020\\020application/grpc",
    r"\\000\\000\\007\\000\\000\\000\\000\\000\\001\\000\\000\\000\\000\\002\\010\\00STATUS",
    r"\\000\\000\\017\\001\\005\\000\\000\\000\\001\\000\\013grpc-status\\0010'; sleep 1"
);

/// What `ANSWER <response>` does, likewise: answers whatever is asked so.
const ANSWER: &str = "sed '/^.$/q' >/dev/null; printf";

/// All pods.
pub fn all() -> impl Iterator<Item = Pod> {
    let plain = PODS.into_iter().chain(rules::PODS).chain(words::PODS);
    let plain = plain.chain(odd::PODS).chain(brought::PODS);
    let all = plain.chain(restarts::PODS).chain(asked::PODS).chain(inside::PODS);
    all.filter(|pod| chosen().is_none_or(|only| only.iter().any(|name| name == pod.name)))
}

/// The pods to which a comparison is limited while somebody works on it, by `RRUN_KUBELET_PODS`.
pub fn chosen() -> Option<Vec<String>> {
    let names = std::env::var("RRUN_KUBELET_PODS").ok()?;
    Some(names.split_whitespace().map(str::to_owned).collect())
}

/// Pods that are started at once, and how long after the ones before: of a crowd, a slow machine shows
/// what its kubelet does late, and no pod's way.
const CROWD: usize = 24;
const APART: Duration = Duration::from_secs(3);

/// Waits before the pod with this number is started.
pub async fn before(number: usize) {
    if number > 0 && number.is_multiple_of(CROWD) {
        tokio::time::sleep(APART).await;
    }
}

/// Writes the manifest of a pod into `folder`. `shared` is a folder of the host that pods write to,
/// `seen` the one with a folder for each pod, where a file tells it which of its states was seen.
pub fn write(pod: &Pod, folder: &Path, shared: &Path, seen: &Path) -> Result<()> {
    let Pod { name, spec, .. } = pod;
    let seen = seen.join(name);
    fs::create_dir_all(&seen)?;
    let mut spec = spec
        .replace("@shared@", &shared.display().to_string())
        .replace("@seen@", &seen.display().to_string())
        .replace("GROUPS", GROUPS)
        .replace("ANSWER", ANSWER)
        .replace("SERVING1", &SERVING.replace("STATUS", "1"))
        .replace("SERVING2", &SERVING.replace("STATUS", "2"))
        .replace("REQUEST", REQUEST)
        .replace("HOLD", "trap 'exit 0' TERM; sleep 1000 & wait")
        .replace("BUSYBOX", crate::harness::BUSYBOX)
        .replace("WORK", "images.rrun.test/work:1");
    for n in 1..=3 {
        let wait = format!("until [ -e /seen/{n} ]; do sleep 0.5; done");
        spec = spec.replace(&format!("WAIT{n}"), &wait);
    }
    let metadata = format!("{{ name: {name}, labels: {{ app: kubelet }} }}");
    let head = format!("apiVersion: v1\nkind: Pod\nmetadata: {metadata}\nspec:\n");
    // The kubelet passes over names with a leading dot.
    let draft = folder.join(format!(".{name}.yaml"));
    fs::write(&draft, head + spec.trim_start_matches('\n'))?;
    fs::rename(&draft, folder.join(format!("{name}.yaml")))?;
    Ok(())
}

const PODS: [Pod; 9] = [
    Pod {
        name: "init",
        rows: &[
            "Pending, not Initialized: ContainersNotInitialized | prepare running r0 | web waiting PodInitializing r0",
            "Running ready | prepare Completed 0 r0 | web running r0",
        ],
        spec: r#"
  terminationGracePeriodSeconds: 1
  initContainers:
  - { name: prepare, image: BUSYBOX, command: [sh, -c, "WAIT1; echo prepared >/data/index.html"],
      volumeMounts: [{ name: data, mountPath: /data }, { name: seen, mountPath: /seen }] }
  containers:
  - { name: web, image: BUSYBOX, command: [httpd, -f, -p, "8080", -h, /data],
      volumeMounts: [{ name: data, mountPath: /data, readOnly: true }] }
  volumes: [{ name: data, emptyDir: {} }, { name: seen, hostPath: { path: "@seen@" } }]
"#,
    },
    Pod {
        name: "sidecar",
        rows: &[
            "Running ready | helper running r0 | main running r0",
            "Running, not ContainersReady: ContainersNotReady | helper running r0 | main Completed 0 r0",
            "Succeeded, not ContainersReady: PodCompleted | helper Completed 0 r0 | main Completed 0 r0",
        ],
        spec: r#"
  restartPolicy: Never
  terminationGracePeriodSeconds: 120
  initContainers:
  - { name: helper, image: BUSYBOX, restartPolicy: Always, volumeMounts: [{ name: seen, mountPath: /seen }],
      command: [sh, -c, "trap 'WAIT2; exit 0' TERM; sleep 1000 & wait"] }
  containers:
  - { name: main, image: BUSYBOX, volumeMounts: [{ name: seen, mountPath: /seen }],
      command: [sh, -c, "WAIT1; exit 0"] }
  volumes: [{ name: seen, hostPath: { path: "@seen@" } }]
"#,
    },
    Pod {
        name: "ready",
        rows: &[
            "Running, not ContainersReady: ContainersNotReady | web running r0 | echo running r0",
            "Running ready | web running r0 | echo running r0",
        ],
        spec: r#"
  terminationGracePeriodSeconds: 1
  containers:
  - { name: web, image: BUSYBOX, command: [httpd, -f, -p, "8080", -h, /seen],
      readinessProbe: { httpGet: { path: /1, port: 8080 }, periodSeconds: 1, timeoutSeconds: 10 },
      livenessProbe: { exec: { command: ["true"] }, periodSeconds: 1, timeoutSeconds: 10 },
      volumeMounts: [{ name: seen, mountPath: /seen }] }
  - { name: echo, image: BUSYBOX, command: [nc, -ll, -p, "7", -e, cat] }
  volumes: [{ name: seen, hostPath: { path: "@seen@" } }]
"#,
    },
    Pod {
        name: "alive",
        rows: &[
            "Running ready | main running r0",
            "Running ready | main running r1 last Error 137",
        ],
        spec: r#"
  terminationGracePeriodSeconds: 1
  containers:
  - { name: main, image: BUSYBOX,
      command: [sh, -c, "trap '' TERM; touch /ok; mkdir /seen/once && { WAIT1; rm /ok; }; while :; do sleep 1; done"],
      livenessProbe: { exec: { command: [cat, /ok] }, initialDelaySeconds: 1,
                       periodSeconds: 1, failureThreshold: 2, timeoutSeconds: 10 },
      volumeMounts: [{ name: seen, mountPath: /seen }] }
  volumes: [{ name: seen, hostPath: { path: "@seen@" } }]
"#,
    },
    Pod {
        name: "crash",
        rows: &[
            "Running, not ContainersReady: ContainersNotReady | main waiting CrashLoopBackOff r3 last Error 3",
        ],
        spec: r#"
  containers:
  - { name: main, image: WORK, command: [/bin/work, exit, "3"] }
"#,
    },
    Pod {
        name: "hooks",
        rows: &["Running ready | main running r0"],
        spec: r#"
  terminationGracePeriodSeconds: 5
  containers:
  - { name: main, image: BUSYBOX, command: [sh, -c, "HOLD"],
      lifecycle: { postStart: { exec: { command: [sh, -c, "echo started >>/shared/hooks"] } },
                   preStop: { exec: { command: [sh, -c, "echo stopping >>/shared/hooks"] } } },
      volumeMounts: [{ name: shared, mountPath: /shared }] }
  volumes: [{ name: shared, hostPath: { path: "@shared@", type: Directory } }]
"#,
    },
    Pod {
        name: "host",
        rows: &["Running ready | main running r0"],
        spec: r#"
  hostNetwork: true
  containers:
  - { name: main, image: WORK, command: [/bin/work, serve, "18080", host] }
"#,
    },
    Pod {
        name: "oom",
        rows: &["Failed, not ContainersReady: PodFailed | main OOMKilled 137 r0"],
        spec: r#"
  restartPolicy: Never
  containers:
  - { name: main, image: WORK, command: [/bin/work, hold, "64"], resources: { limits: { memory: 32Mi } } }
"#,
    },
    Pod {
        name: "stats",
        rows: &["Running ready | burn running r0 | hold running r0 | write running r0"],
        spec: r#"
  terminationGracePeriodSeconds: 1
  containers:
  - { name: burn, image: WORK, command: [/bin/work, burn], resources: { limits: { cpu: 250m } } }
  - { name: hold, image: WORK, command: [/bin/work, hold, "50"] }
  - { name: write, image: WORK, command: [/bin/work, write, /data, "10"] }
"#,
    },
];
