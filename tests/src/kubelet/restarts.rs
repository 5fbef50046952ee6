//! Pods whose containers end, and what is started again of them.

use super::pod::Pod;

pub const PODS: [Pod; 16] = [
    // Its own rule starts it again, until it ends with a code that the rule leaves out.
    Pod {
        name: "notin",
        rows: &["Failed, not ContainersReady: PodFailed | main Error 5 r1 last Error 3"],
        spec: r#"
  restartPolicy: Never
  containers:
  - { name: main, image: BUSYBOX, restartPolicy: Never, volumeMounts: [{ name: data, mountPath: /data }],
      restartPolicyRules: [{ action: Restart, exitCodes: { operator: NotIn, values: [0, 5] } }],
      command: [sh, -c, "mkdir /data/1 && exit 3; exit 5"] }
  volumes: [{ name: data, emptyDir: {} }]
"#,
    },
    Pod {
        name: "initrules",
        rows: &[
            "Succeeded, not ContainersReady: PodCompleted | first Completed 0 r1 last Error 42 | main Completed 0 r0",
        ],
        spec: r#"
  restartPolicy: Never
  initContainers:
  - { name: first, image: BUSYBOX, restartPolicy: Never, volumeMounts: [{ name: data, mountPath: /data }],
      restartPolicyRules: [{ action: Restart, exitCodes: { operator: In, values: [42, 43] } }],
      command: [sh, -c, "mkdir /data/1 && exit 42; exit 0"] }
  containers: [{ name: main, image: BUSYBOX, command: ["true"] }]
  volumes: [{ name: data, emptyDir: {} }]
"#,
    },
    // By its rule all begin again, with the init container.
    Pod {
        name: "allagain",
        rows: &[
            "Running ready | first Completed 0 r1 last RestartingAllContainers 137 | main running r1 last RestartingAllContainers 137 | other running r1 last RestartingAllContainers 137",
        ],
        spec: r#"
  restartPolicy: Never
  terminationGracePeriodSeconds: 1
  initContainers: [{ name: first, image: BUSYBOX, command: ["true"] }]
  containers:
  - { name: main, image: BUSYBOX, restartPolicy: Never, volumeMounts: [{ name: data, mountPath: /data }],
      restartPolicyRules: [{ action: RestartAllContainers, exitCodes: { operator: In, values: [42] } }],
      command: [sh, -c, "mkdir /data/1 && { sleep 2; exit 42; }; exec sleep 1000"] }
  - { name: other, image: WORK, command: [/bin/work, sleeper] }
  volumes: [{ name: data, emptyDir: {} }]
"#,
    },
    // What every init container may do where the pod starts again what fails.
    Pod {
        name: "initretry",
        rows: &[
            "Running ready | first Completed 0 r1 last Error 9 | second Completed 0 r0 | main running r0",
        ],
        spec: r#"
  terminationGracePeriodSeconds: 1
  initContainers:
  - { name: first, image: BUSYBOX, command: [sh, -c, "mkdir /data/1 && exit 9; exit 0"], volumeMounts: [{ name: data, mountPath: /data }] }
  - { name: second, image: BUSYBOX, command: [sh, -c, "ls /data >/dev/termination-log"], volumeMounts: [{ name: data, mountPath: /data }] }
  containers: [{ name: main, image: WORK, command: [/bin/work, sleeper] }]
  volumes: [{ name: data, emptyDir: {} }]
"#,
    },
    Pod {
        name: "initfails",
        rows: &[
            "Pending, not Initialized: ContainersNotInitialized | first waiting CrashLoopBackOff r3 last Error 1 | second waiting PodInitializing r0 | main waiting PodInitializing r0",
        ],
        spec: r#"
  initContainers:
  - { name: first, image: WORK, command: [/bin/work, exit, "1"] }
  - { name: second, image: WORK, command: [/bin/work, "true"] }
  containers: [{ name: main, image: WORK, command: [/bin/work, sleeper] }]
"#,
    },
    // The one whose policy is its own is not started again, and the pod has failed with it.
    Pod {
        name: "initown",
        rows: &[
            "Failed, not Initialized: ContainersNotInitialized | first Error 6 r0 | main waiting PodInitializing r0",
        ],
        spec: r#"
  restartPolicy: Always
  initContainers: [{ name: first, image: WORK, restartPolicy: Never, command: [/bin/work, exit, "6"] }]
  containers: [{ name: main, image: WORK, command: [/bin/work, sleeper] }]
"#,
    },
    // What ends well is started again all the same, and waits for it.
    Pod {
        name: "done",
        rows: &[
            "Running, not ContainersReady: ContainersNotReady | main waiting CrashLoopBackOff r3 last Completed 0 | stays running r0",
        ],
        spec: r#"
  terminationGracePeriodSeconds: 1
  containers:
  - { name: main, image: WORK, command: [/bin/work, "true"] }
  - { name: stays, image: WORK, command: [/bin/work, sleeper] }
"#,
    },
    Pod {
        name: "oomagain",
        rows: &[
            "Succeeded, not ContainersReady: PodCompleted | main Completed 0 r1 last OOMKilled 137",
        ],
        spec: r#"
  restartPolicy: OnFailure
  containers:
  - { name: main, image: BUSYBOX, resources: { limits: { memory: 32Mi } }, volumeMounts: [{ name: data, mountPath: /data }],
      command: [sh, -c, "mkdir /data/1 && exec dd if=/dev/zero of=/dev/null bs=64M count=2; exit 0"] }
  volumes: [{ name: data, emptyDir: {} }]
"#,
    },
    // A sidecar's own end does not count for the pod's.
    Pod {
        name: "sidefails",
        rows: &[
            "Succeeded, not ContainersReady: PodCompleted | side Error 7 r0 | main Completed 0 r0",
        ],
        spec: r#"
  restartPolicy: Never
  initContainers: [{ name: side, image: BUSYBOX, restartPolicy: Always, command: [sh, -c, "trap 'exit 7' TERM; sleep 1000 & wait"] }]
  containers: [{ name: main, image: BUSYBOX, command: [sleep, "3"] }]
"#,
    },
    // An init container after a sidecar finds it at work.
    Pod {
        name: "between",
        rows: &[
            "Running ready | first Completed 0 r0 | side running r0 | second Completed 0 r0 | main running r0",
        ],
        spec: r#"
  terminationGracePeriodSeconds: 1
  initContainers:
  - { name: first, image: BUSYBOX, command: [sh, -c, "echo page >/data/page"], volumeMounts: [{ name: data, mountPath: /data }] }
  - { name: side, image: BUSYBOX, restartPolicy: Always, command: [httpd, -f, -p, "8080", -h, /data], volumeMounts: [{ name: data, mountPath: /data }],
      startupProbe: { httpGet: { path: /page, port: 8080 }, periodSeconds: 1, failureThreshold: 600, timeoutSeconds: 10 } }
  - { name: second, image: BUSYBOX, command: [sh, -c, "wget -q -O /dev/termination-log http://127.0.0.1:8080/page"] }
  containers: [{ name: main, image: WORK, command: [/bin/work, sleeper] }]
  volumes: [{ name: data, emptyDir: {} }]
"#,
    },
    // A sidecar that is not ready keeps the pod from it, and nobody else.
    Pod {
        name: "sideunready",
        rows: &[
            "Running, not ContainersReady: ContainersNotReady | side running r0 | main running r0",
        ],
        spec: r#"
  terminationGracePeriodSeconds: 1
  initContainers:
  - { name: side, image: WORK, restartPolicy: Always, command: [/bin/work, sleeper],
      readinessProbe: { exec: { command: [/bin/work, exit, "1"] }, periodSeconds: 1, timeoutSeconds: 10 } }
  containers: [{ name: main, image: WORK, command: [/bin/work, sleeper] }]
"#,
    },
    Pod {
        name: "initabsent",
        rows: &[
            "Pending, not Initialized: ContainersNotInitialized | first waiting ErrImageNeverPull r0 | main waiting PodInitializing r0",
        ],
        spec: r#"
  initContainers: [{ name: first, image: "images.rrun.test/none:1", imagePullPolicy: Never }]
  containers: [{ name: main, image: WORK, command: [/bin/work, sleeper] }]
"#,
    },
    // One image that the registry does not have, beside a container that runs.
    Pod {
        name: "absent",
        rows: &[
            "Pending, not ContainersReady: ContainersNotReady | main waiting ImagePullBackOff r0 | other running r0",
        ],
        spec: r#"
  terminationGracePeriodSeconds: 1
  containers:
  - { name: main, image: "images.rrun.test/none:1" }
  - { name: other, image: WORK, command: [/bin/work, sleeper] }
"#,
    },
    // One container kills the other's process, which it sees.
    Pod {
        name: "shared",
        rows: &[
            "Failed, not ContainersReady: PodFailed | main Error 137 r0 | killer Completed 0 r0",
        ],
        spec: r#"
  restartPolicy: Never
  shareProcessNamespace: true
  containers:
  - { name: main, image: BUSYBOX, command: [sleep, "4321"] }
  - { name: killer, image: BUSYBOX, command: [sh, -c, "sleep 3; for p in /proc/[0-9]*; do grep -q '^sleep.4321' $p/cmdline && kill -9 ${p#/proc/} && echo killed >/dev/termination-log; done; true"] }
"#,
    },
    // The deadline is the whole pod's, and falls into its init containers.
    Pod {
        name: "initdeadline",
        rows: &[
            "Pending, not Initialized: ContainersNotInitialized | first running r0 | main waiting PodInitializing r0",
            "Failed DeadlineExceeded, not Initialized: ContainersNotInitialized | first Error 137 r0 | main waiting PodInitializing r0",
        ],
        spec: r#"
  activeDeadlineSeconds: 60
  terminationGracePeriodSeconds: 1
  initContainers: [{ name: first, image: WORK, command: [/bin/work, stubborn] }]
  containers: [{ name: main, image: WORK, command: [/bin/work, sleeper] }]
"#,
    },
    // Its sidecar is told last, and has what is left of the grace.
    Pod {
        name: "sidedeadline",
        rows: &[
            "Running ready | side running r0 | main running r0",
            "Failed DeadlineExceeded, not ContainersReady: PodFailed | side Error 3 r0 | main Error 4 r0",
        ],
        spec: r#"
  activeDeadlineSeconds: 60
  terminationGracePeriodSeconds: 20
  initContainers:
  - { name: side, image: BUSYBOX, restartPolicy: Always, volumeMounts: [{ name: data, mountPath: /data }],
      command: [sh, -c, "trap 'cat /data/main >/dev/termination-log; exit 3' TERM; sleep 1000 & wait"] }
  containers:
  - { name: main, image: BUSYBOX, volumeMounts: [{ name: data, mountPath: /data }],
      command: [sh, -c, "trap 'sleep 2; echo main was first >/data/main; exit 4' TERM; sleep 1000 & wait"] }
  volumes: [{ name: data, emptyDir: {} }]
"#,
    },
];
