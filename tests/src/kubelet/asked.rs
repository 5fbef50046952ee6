//! Pods that are asked by probes and told by hooks.

use super::pod::{Pod, RUNNING};

const NOT_READY: &str = "Running, not ContainersReady: ContainersNotReady | main running r0";

pub const PODS: [Pod; 16] = [
    Pod {
        name: "grpc",
        rows: &[
            "Running, not ContainersReady: ContainersNotReady | well running r0 | sick running r0",
        ],
        spec: r#"
  terminationGracePeriodSeconds: 1
  containers:
  - { name: well, image: BUSYBOX, command: [nc, -ll, -p, "9000", -e, sh, -c, "SERVING1"],
      startupProbe: { grpc: { port: 9000 }, periodSeconds: 1, failureThreshold: 600, timeoutSeconds: 10 },
      readinessProbe: { grpc: { port: 9000, service: some.Service }, periodSeconds: 2, timeoutSeconds: 10 } }
  - { name: sick, image: BUSYBOX, command: [nc, -ll, -p, "9001", -e, sh, -c, "SERVING2"],
      readinessProbe: { grpc: { port: 9001, service: some.Service }, periodSeconds: 2, timeoutSeconds: 10 } }
"#,
    },
    // HTTP where HTTPS is asked for, and a program that is no server of HTTP.
    Pod {
        name: "nottls",
        rows: &[
            "Running, not ContainersReady: ContainersNotReady | plain running r0 | words running r0 | fine running r0",
        ],
        spec: r#"
  terminationGracePeriodSeconds: 1
  containers:
  - { name: plain, image: WORK, command: [/bin/work, serve, "8443", plain],
      readinessProbe: { httpGet: { path: /, port: 8443, scheme: HTTPS }, periodSeconds: 1, timeoutSeconds: 10 } }
  - { name: words, image: BUSYBOX, command: [nc, -ll, -p, "8080", -e, echo, words],
      readinessProbe: { httpGet: { path: /, port: 8080 }, periodSeconds: 1, timeoutSeconds: 10 } }
  - { name: fine, image: WORK, command: [/bin/work, serve, "8081", fine],
      readinessProbe: { tcpSocket: { port: 8081 }, periodSeconds: 1, timeoutSeconds: 10 } }
"#,
    },
    // What a probe sends, in an order of its own.
    Pod {
        name: "request",
        rows: &["Succeeded, not ContainersReady: PodCompleted | main Completed 0 r0"],
        spec: r#"
  restartPolicy: Never
  containers:
  - { name: main, image: BUSYBOX, command: [sh, -c, "nc -l -p 8080 -e sh -c 'REQUEST'; cat /request >/dev/termination-log"],
      readinessProbe: { httpGet: { path: "/a/b?c=d", port: 8080, httpHeaders: [{ name: x-one, value: "1" }, { name: X-One, value: "2" }, { name: Accept, value: text/plain }] },
                        periodSeconds: 1, timeoutSeconds: 10 } }
"#,
    },
    // The same of a hook, which comes when the deadline does.
    Pod {
        name: "told",
        rows: &[
            RUNNING,
            "Failed DeadlineExceeded, not ContainersReady: PodFailed | main Completed 0 r0",
        ],
        spec: r#"
  activeDeadlineSeconds: 60
  terminationGracePeriodSeconds: 30
  containers:
  - { name: main, image: BUSYBOX, command: [sh, -c, "nc -l -p 8080 -e sh -c 'REQUEST'; cat /request >/dev/termination-log"],
      ports: [{ name: end, containerPort: 8080 }],
      lifecycle: { preStop: { httpGet: { path: "end?now", port: end, httpHeaders: [{ name: X-One, value: "1" }] } } } }
"#,
    },
    // To another host: nobody follows, and the container is as well as it can be.
    Pod {
        name: "redirect",
        rows: &[
            "Running, not ContainersReady: ContainersNotReady | away running r0 | round running r0 | gone running r0",
        ],
        spec: r#"
  terminationGracePeriodSeconds: 1
  containers:
  - { name: away, image: BUSYBOX, command: [nc, -ll, -p, "8080", -e, sh, -c, "ANSWER 'HTTP/1.0 302 Found\\r\\nLocation: http://192.0.2.1/there\\r\\nContent-Length: 0\\r\\n\\r\\n'"],
      readinessProbe: { httpGet: { path: /, port: 8080 }, periodSeconds: 1, timeoutSeconds: 10 } }
  - { name: round, image: BUSYBOX, command: [nc, -ll, -p, "8081", -e, sh, -c, "ANSWER 'HTTP/1.0 307 Found\\r\\nLocation: /again\\r\\nContent-Length: 0\\r\\n\\r\\n'"],
      readinessProbe: { httpGet: { path: /, port: 8081 }, periodSeconds: 1, timeoutSeconds: 10 } }
  - { name: gone, image: BUSYBOX, command: [nc, -ll, -p, "8082", -e, sh, -c, "ANSWER 'HTTP/1.0 304 Not Modified\\r\\n\\r\\n'"],
      readinessProbe: { httpGet: { path: /, port: 8082 }, periodSeconds: 1, timeoutSeconds: 10 } }
"#,
    },
    // A probe's own grace goes before the pod's.
    Pod {
        name: "probegrace",
        rows: &["Running ready | main running r1 last Error 137"],
        spec: r#"
  terminationGracePeriodSeconds: 600
  containers:
  - { name: main, image: BUSYBOX, volumeMounts: [{ name: data, mountPath: /data }],
      command: [sh, -c, "mkdir /data/1 || { HOLD; }; touch /sick; trap '' TERM; while :; do sleep 1; done"],
      livenessProbe: { exec: { command: [test, "!", -e, /sick] }, periodSeconds: 1, failureThreshold: 1, timeoutSeconds: 10, terminationGracePeriodSeconds: 1 } }
  volumes: [{ name: data, emptyDir: {} }]
"#,
    },
    // A command that is not done in its time has failed.
    Pod {
        name: "slowprobe",
        rows: &[NOT_READY],
        spec: r#"
  terminationGracePeriodSeconds: 1
  containers:
  - { name: main, image: BUSYBOX, command: [sh, -c, "HOLD"],
      readinessProbe: { exec: { command: [sleep, "1000"] }, periodSeconds: 2, timeoutSeconds: 1 },
      livenessProbe: { exec: { command: [sh, -c, "exit 1"] }, initialDelaySeconds: 10000, failureThreshold: 1 } }
"#,
    },
    // Ready again and not ready any more, each after as many answers as it is to take.
    Pod {
        name: "waver",
        rows: &[NOT_READY, RUNNING, NOT_READY, RUNNING],
        spec: r#"
  terminationGracePeriodSeconds: 1
  containers:
  - { name: main, image: BUSYBOX, command: [sh, -c, "HOLD"], volumeMounts: [{ name: seen, mountPath: /seen }],
      readinessProbe: { exec: { command: [sh, -c, "[ -e /seen/3 ] || [ -e /seen/1 -a ! -e /seen/2 ]"] },
                        periodSeconds: 1, successThreshold: 2, failureThreshold: 2, timeoutSeconds: 10 } }
  volumes: [{ name: seen, hostPath: { path: "@seen@" } }]
"#,
    },
    // Not started before it listens, and asked for nothing else until then.
    Pod {
        name: "late",
        rows: &[NOT_READY, RUNNING],
        spec: r#"
  terminationGracePeriodSeconds: 1
  containers:
  - { name: main, image: BUSYBOX, command: [sh, -c, "WAIT1; exec nc -ll -p 7000 -e cat"], volumeMounts: [{ name: seen, mountPath: /seen }],
      startupProbe: { tcpSocket: { port: 7000 }, periodSeconds: 1, failureThreshold: 600, timeoutSeconds: 10 },
      livenessProbe: { tcpSocket: { port: 7000 }, periodSeconds: 1, failureThreshold: 1, timeoutSeconds: 10 },
      readinessProbe: { exec: { command: ["true"] }, periodSeconds: 1, timeoutSeconds: 10 } }
  volumes: [{ name: seen, hostPath: { path: "@seen@" } }]
"#,
    },
    // What the hook after the start does not bring about ends the container.
    Pod {
        name: "badstart",
        rows: &["Failed, not ContainersReady: PodFailed | main Error 5 r0 | other Completed 0 r0"],
        spec: r#"
  restartPolicy: Never
  terminationGracePeriodSeconds: 5
  containers:
  - { name: main, image: BUSYBOX, command: [sh, -c, "trap 'exit 5' TERM; touch /up; sleep 1000 & wait"],
      lifecycle: { postStart: { exec: { command: [sh, -c, "until [ -e /up ]; do sleep 0.1; done; echo no; exit 3"] } } } }
  - { name: other, image: WORK, command: [/bin/work, "true"] }
"#,
    },
    // While it is at work, nothing after it is started.
    Pod {
        name: "slowstart",
        rows: &[
            "Running, not ContainersReady: ContainersNotReady | main running r0 | other Completed 0 r0",
        ],
        spec: r#"
  restartPolicy: Never
  terminationGracePeriodSeconds: 1
  containers:
  - { name: main, image: BUSYBOX, command: [sh, -c, "HOLD"], volumeMounts: [{ name: data, mountPath: /data }],
      lifecycle: { postStart: { exec: { command: [sh, -c, "sleep 3; touch /data/hooked"] } } } }
  - { name: other, image: BUSYBOX, command: [sh, -c, "ls /data >/dev/termination-log"], volumeMounts: [{ name: data, mountPath: /data }] }
  volumes: [{ name: data, emptyDir: {} }]
"#,
    },
    // Hooks that sleep, one beyond the grace.
    Pod {
        name: "asleep",
        rows: &[
            "Running ready | main running r0 | other running r0",
            "Failed DeadlineExceeded, not ContainersReady: PodFailed | main Error 6 r0 | other Error 137 r0",
        ],
        spec: r#"
  activeDeadlineSeconds: 60
  terminationGracePeriodSeconds: 4
  containers:
  - { name: main, image: BUSYBOX, command: [sh, -c, "trap 'exit 6' TERM; sleep 1000 & wait"],
      lifecycle: { postStart: { sleep: { seconds: 1 } }, preStop: { sleep: { seconds: 2 } } } }
  - { name: other, image: WORK, command: [/bin/work, stubborn],
      lifecycle: { preStop: { sleep: { seconds: 4 } } } }
"#,
    },
    // A hook that fails, or that nobody answers: the container is told to end all the same.
    Pod {
        name: "badstop",
        rows: &[
            "Running ready | main running r0 | other running r0",
            "Failed DeadlineExceeded, not ContainersReady: PodFailed | main Error 7 r0 | other Error 8 r0",
        ],
        spec: r#"
  activeDeadlineSeconds: 60
  terminationGracePeriodSeconds: 10
  containers:
  - { name: main, image: BUSYBOX, command: [sh, -c, "trap 'exit 7' TERM; sleep 1000 & wait"],
      lifecycle: { preStop: { exec: { command: [/bin/none] } } } }
  - { name: other, image: BUSYBOX, command: [sh, -c, "trap 'exit 8' TERM; sleep 1000 & wait"],
      lifecycle: { preStop: { httpGet: { port: 81 } } } }
"#,
    },
    // A sidecar's hooks: one before what comes after it, one when all else has ended.
    Pod {
        name: "sidehooks",
        rows: &[
            "Succeeded, not ContainersReady: PodCompleted | side Completed 0 r0 | main Completed 0 r0",
        ],
        spec: r#"
  restartPolicy: Never
  terminationGracePeriodSeconds: 30
  initContainers:
  - { name: side, image: BUSYBOX, restartPolicy: Always, volumeMounts: [{ name: data, mountPath: /data }],
      command: [sh, -c, "trap 'cat /data/all >/dev/termination-log; exit 0' TERM; sleep 1000 & wait"],
      lifecycle: { postStart: { exec: { command: [sh, -c, "sleep 1; echo started >>/data/all"] } },
                   preStop: { exec: { command: [sh, -c, "echo stopped >>/data/all"] } } } }
  containers:
  - { name: main, image: BUSYBOX, command: [sh, -c, "sleep 3; echo main >>/data/all"], volumeMounts: [{ name: data, mountPath: /data }] }
  volumes: [{ name: data, emptyDir: {} }]
"#,
    },
    // Its process has the host's network, where a port of the host is asked.
    Pod {
        name: "hostprobe",
        rows: &[
            "Running, not ContainersReady: ContainersNotReady | main running r0 | none running r0",
        ],
        spec: r#"
  hostNetwork: true
  terminationGracePeriodSeconds: 1
  containers:
  - { name: main, image: WORK, command: [/bin/work, serve, "18083", host], ports: [{ name: web, containerPort: 18083 }],
      startupProbe: { httpGet: { host: 127.0.0.1, path: /, port: web }, periodSeconds: 1, failureThreshold: 600, timeoutSeconds: 10 },
      livenessProbe: { tcpSocket: { host: 127.0.0.1, port: web }, periodSeconds: 1, timeoutSeconds: 10 } }
  - { name: none, image: WORK, command: [/bin/work, sleeper],
      readinessProbe: { tcpSocket: { host: 127.0.0.1, port: 18084 }, periodSeconds: 1, timeoutSeconds: 10 } }
"#,
    },
    // A command that the container does not have, one that cannot be run, and one in a shell that is not there.
    Pod {
        name: "noprobe",
        rows: &[
            "Running, not ContainersReady: ContainersNotReady | none running r0 | text running r0",
        ],
        spec: r#"
  terminationGracePeriodSeconds: 1
  containers:
  - { name: none, image: BUSYBOX, command: [sh, -c, "HOLD"], readinessProbe: { exec: { command: [/bin/none] }, periodSeconds: 1, timeoutSeconds: 10 } }
  - { name: text, image: BUSYBOX, command: [sh, -c, "HOLD"], readinessProbe: { exec: { command: [/etc/passwd] }, periodSeconds: 1, timeoutSeconds: 10 } }
"#,
    },
];
