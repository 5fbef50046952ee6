//! Pods that each show a rule or two of the kubelet's.

use super::pod::{Pod, RUNNING};

pub const PODS: [Pod; 10] = [
    Pod {
        name: "expand",
        rows: &[RUNNING],
        spec: r#"
  containers:
  - { name: main, image: BUSYBOX, command: [sh, -c, "HOLD"],
      env: [{ name: WORD, value: here }],
      readinessProbe: { exec: { command: [test, "$(WORD) $$(WORD) $(NONE)", "=", "here $$(WORD) $(NONE)"] },
                        periodSeconds: 1, timeoutSeconds: 10 } }
"#,
    },
    // More words than a status holds, in the file and in the log.
    Pod {
        name: "words",
        rows: &["Failed, not ContainersReady: PodFailed | file Error 1 r0 | log Error 2 r0"],
        spec: r#"
  restartPolicy: Never
  containers:
  - { name: file, image: BUSYBOX,
      command: [sh, -c, "for n in $(seq 1 500); do echo line $n of many; done >/dev/termination-log; exit 1"] }
  - { name: log, image: BUSYBOX, terminationMessagePolicy: FallbackToLogsOnError,
      command: [sh, -c, "for n in $(seq 1 500); do echo line $n of many; done; exit 2"] }
"#,
    },
    Pod {
        name: "broken",
        rows: &[
            "Pending, not Initialized: ContainersNotInitialized | first running r0 | main waiting PodInitializing r0",
            "Failed, not Initialized: ContainersNotInitialized | first Error 4 r0 | main waiting PodInitializing r0",
        ],
        spec: r#"
  restartPolicy: Never
  initContainers:
  - { name: first, image: BUSYBOX, command: [sh, -c, "WAIT1; exit 4"],
      volumeMounts: [{ name: seen, mountPath: /seen }] }
  containers: [{ name: main, image: BUSYBOX, command: ["true"] }]
  volumes: [{ name: seen, hostPath: { path: "@seen@" } }]
"#,
    },
    // The last word of each sidecar says who has ended before.
    Pod {
        name: "order",
        rows: &[
            "Running ready | one running r0 | two running r0 | main running r0",
            "Succeeded, not ContainersReady: PodCompleted | one Completed 0 r0 | two Completed 0 r0 | main Completed 0 r0",
        ],
        spec: r#"
  restartPolicy: Never
  terminationGracePeriodSeconds: 120
  initContainers:
  - { name: one, image: BUSYBOX, restartPolicy: Always, volumeMounts: [{ name: data, mountPath: /data }],
      command: [sh, -c, "trap 'ls /data >/dev/termination-log; touch /data/one; exit 0' TERM; sleep 1000 & wait"] }
  - { name: two, image: BUSYBOX, restartPolicy: Always, volumeMounts: [{ name: data, mountPath: /data }],
      command: [sh, -c, "trap 'ls /data >/dev/termination-log; touch /data/two; exit 0' TERM; sleep 1000 & wait"] }
  containers:
  - { name: main, image: BUSYBOX, command: [sh, -c, "WAIT1; touch /data/main"],
      volumeMounts: [{ name: data, mountPath: /data }, { name: seen, mountPath: /seen }] }
  volumes: [{ name: data, emptyDir: {} }, { name: seen, hostPath: { path: "@seen@" } }]
"#,
    },
    Pod {
        name: "missing",
        rows: &["Failed, not ContainersReady: PodFailed | main StartError 128 r0"],
        spec: r#"
  restartPolicy: Never
  containers: [{ name: main, image: BUSYBOX, command: [/bin/none] }]
"#,
    },
    Pod {
        name: "deadline",
        rows: &["Failed DeadlineExceeded, not ContainersReady: PodFailed | main Error 137 r0"],
        spec: r#"
  activeDeadlineSeconds: 60
  terminationGracePeriodSeconds: 1
  containers: [{ name: main, image: WORK, command: [/bin/work, stubborn] }]
"#,
    },
    Pod {
        name: "mixed",
        rows: &[
            "Running, not ContainersReady: ContainersNotReady | fine running r0 | fault Error 139 r0",
            "Failed, not ContainersReady: PodFailed | fine Completed 0 r0 | fault Error 139 r0",
        ],
        spec: r#"
  restartPolicy: Never
  containers:
  - { name: fine, image: BUSYBOX, command: [sh, -c, "WAIT1"], volumeMounts: [{ name: seen, mountPath: /seen }] }
  - { name: fault, image: WORK, command: [/bin/work, crash] }
  volumes: [{ name: seen, hostPath: { path: "@seen@" } }]
"#,
    },
    Pod {
        name: "startup",
        rows: &["Failed, not ContainersReady: PodFailed | main Error 137 r0"],
        spec: r#"
  restartPolicy: Never
  terminationGracePeriodSeconds: 1
  containers:
  - { name: main, image: WORK, command: [/bin/work, stubborn],
      startupProbe: { exec: { command: [/bin/work, exit, "1"] }, periodSeconds: 1, failureThreshold: 3, timeoutSeconds: 10 },
      readinessProbe: { exec: { command: [/bin/work, exit, "0"] }, timeoutSeconds: 10 } }
"#,
    },
    // Fails twice; the second restart has a back-off before it.
    Pod {
        name: "again",
        rows: &[
            RUNNING,
            "Running ready | main running r1 last Error 3",
            "Running ready | main running r2 last Error 3",
            "Succeeded, not ContainersReady: PodCompleted | main Completed 0 r2 last Error 3",
        ],
        spec: r#"
  restartPolicy: OnFailure
  containers:
  - { name: main, image: BUSYBOX,
      command: [sh, -c, "mkdir /data/1 && { WAIT1; exit 3; }; mkdir /data/2 && { WAIT2; exit 3; }; WAIT3; exit 0"],
      volumeMounts: [{ name: data, mountPath: /data }, { name: seen, mountPath: /seen }] }
  volumes: [{ name: data, emptyDir: {} }, { name: seen, hostPath: { path: "@seen@" } }]
"#,
    },
    Pod {
        name: "root",
        rows: &[
            "Pending, not ContainersReady: ContainersNotReady | main waiting CreateContainerConfigError r0",
        ],
        spec: r#"
  securityContext: { runAsNonRoot: true }
  containers: [{ name: main, image: BUSYBOX, command: [sleep, "10"] }]
"#,
    },
];
