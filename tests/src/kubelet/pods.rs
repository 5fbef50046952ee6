//! The static pods, and what each of them must come to.

use anyhow::Result;
use std::fs;
use std::path::Path;

/// A pod's name and the rows that must come in this order.
pub const EXPECTED: [(&str, &[&str]); 9] = [
    (
        "init",
        &[
            "Pending, not Initialized: ContainersNotInitialized | prepare running r0 | web waiting PodInitializing r0",
            "Running ready | prepare Completed 0 r0 | web running r0",
        ],
    ),
    (
        "sidecar",
        &[
            "Running ready | helper running r0 | main running r0",
            "Running, not ContainersReady: ContainersNotReady | helper running r0 | main Completed 0 r0",
            "Succeeded, not ContainersReady: PodCompleted | helper Completed 0 r0 | main Completed 0 r0",
        ],
    ),
    (
        "ready",
        &[
            "Running, not ContainersReady: ContainersNotReady | web running r0 | echo running r0",
            "Running ready | web running r0 | echo running r0",
        ],
    ),
    (
        "alive",
        &["Running ready | main running r0", "Running ready | main running r1 last Error 137"],
    ),
    (
        "crash",
        &[
            "Running, not ContainersReady: ContainersNotReady | main waiting CrashLoopBackOff r* last Error 3",
            "Running, not ContainersReady: ContainersNotReady | main waiting CrashLoopBackOff r* last Error 3",
        ],
    ),
    ("hooks", &["Running ready | main running r0"]),
    ("host", &["Running ready | main running r0"]),
    ("oom", &["Failed, not ContainersReady: PodFailed | main OOMKilled 137 r0"]),
    ("stats", &["Running ready | burn running r0 | hold running r0 | write running r0"]),
];

const PODS: [(&str, &str); 9] = [
    ("init", INIT),
    ("sidecar", SIDECAR),
    ("ready", READY),
    ("alive", ALIVE),
    ("crash", CRASH),
    ("hooks", HOOKS),
    ("host", HOST),
    ("oom", OOM),
    ("stats", STATS),
];

/// Writes all manifests; `shared` is a folder of the host that pods write to.
pub fn write(folder: &Path, shared: &Path) -> Result<()> {
    for (name, spec) in PODS {
        let spec = spec
            .replace("@shared@", &shared.display().to_string())
            .replace("BUSYBOX", crate::harness::BUSYBOX)
            .replace("WORK", "images.rrun.test/work:1");
        let head = format!("apiVersion: v1\nkind: Pod\nmetadata: {{ name: {name} }}\nspec:\n");
        // The kubelet passes over names with a leading dot.
        let draft = folder.join(format!(".{name}.yaml"));
        fs::write(&draft, head + spec.trim_start_matches('\n'))?;
        fs::rename(&draft, folder.join(format!("{name}.yaml")))?;
    }
    Ok(())
}

const INIT: &str = r#"
  terminationGracePeriodSeconds: 1
  initContainers:
  - { name: prepare, image: BUSYBOX, command: [sh, -c, "sleep 3; echo prepared >/data/index.html"],
      volumeMounts: [{ name: data, mountPath: /data }] }
  containers:
  - { name: web, image: BUSYBOX, command: [httpd, -f, -p, "8080", -h, /data],
      volumeMounts: [{ name: data, mountPath: /data, readOnly: true }] }
  volumes: [{ name: data, emptyDir: {} }]
"#;

const SIDECAR: &str = r#"
  restartPolicy: Never
  initContainers:
  - { name: helper, image: BUSYBOX, restartPolicy: Always,
      command: [sh, -c, "trap 'sleep 1; exit 0' TERM; while :; do sleep 0.1; done"] }
  containers:
  - { name: main, image: BUSYBOX, command: [sh, -c, "sleep 6; exit 0"] }
"#;

const READY: &str = r#"
  containers:
  - { name: web, image: WORK, command: [/bin/work, serve, "8080", ready],
      readinessProbe: { httpGet: { path: /, port: 8080 }, initialDelaySeconds: 3, periodSeconds: 1 },
      livenessProbe: { exec: { command: [/bin/true] }, periodSeconds: 1 } }
  - { name: echo, image: BUSYBOX, command: [nc, -ll, -p, "7", -e, cat] }
"#;

const ALIVE: &str = r#"
  terminationGracePeriodSeconds: 1
  containers:
  - { name: main, image: BUSYBOX,
      command: [sh, -c, "trap '' TERM; if mkdir /shared/once; then touch /ok; sleep 4; rm /ok; else touch /ok; fi; while :; do sleep 1; done"],
      livenessProbe: { exec: { command: [cat, /ok] }, initialDelaySeconds: 1,
                       periodSeconds: 1, failureThreshold: 2 },
      volumeMounts: [{ name: shared, mountPath: /shared }] }
  volumes: [{ name: shared, hostPath: { path: "@shared@" } }]
"#;

const CRASH: &str = r#"
  containers:
  - { name: main, image: WORK, command: [/bin/work, exit, "3"] }
"#;

const HOOKS: &str = r#"
  terminationGracePeriodSeconds: 5
  containers:
  - { name: main, image: BUSYBOX, command: [sh, -c, "trap 'exit 0' TERM; while :; do sleep 0.1; done"],
      lifecycle: { postStart: { exec: { command: [sh, -c, "echo started >>/shared/hooks"] } },
                   preStop: { exec: { command: [sh, -c, "echo stopping >>/shared/hooks"] } } },
      volumeMounts: [{ name: shared, mountPath: /shared }] }
  volumes: [{ name: shared, hostPath: { path: "@shared@", type: Directory } }]
"#;

const HOST: &str = r#"
  hostNetwork: true
  containers:
  - { name: main, image: WORK, command: [/bin/work, serve, "18080", host] }
"#;

const OOM: &str = r#"
  restartPolicy: Never
  containers:
  - { name: main, image: WORK, command: [/bin/work, hold, "64"], resources: { limits: { memory: 32Mi } } }
"#;

const STATS: &str = r#"
  terminationGracePeriodSeconds: 1
  containers:
  - { name: burn, image: WORK, command: [/bin/work, burn], resources: { limits: { cpu: 250m } } }
  - { name: hold, image: WORK, command: [/bin/work, hold, "50"] }
  - { name: write, image: WORK, command: [/bin/work, write, /data, "10"] }
"#;
