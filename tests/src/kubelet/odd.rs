//! Pods that are legal and that nobody writes every day.

use super::pod::{Pod, RUNNING, SUCCEEDED};

pub const PODS: [Pod; 13] = [
    // Killed with its startup probe, a sidecar is started again, and nothing after it before that.
    Pod {
        name: "slowside",
        rows: &[
            "Pending, not Initialized: ContainersNotInitialized | side waiting CrashLoopBackOff r3 last Error 137 | main waiting PodInitializing r0",
        ],
        spec: r#"
  terminationGracePeriodSeconds: 1
  initContainers:
  - { name: side, image: WORK, restartPolicy: Always, command: [/bin/work, stubborn],
      startupProbe: { exec: { command: [/bin/work, exit, "1"] }, periodSeconds: 1, failureThreshold: 2, timeoutSeconds: 10 } }
  containers: [{ name: main, image: WORK, command: [/bin/work, sleeper] }]
"#,
    },
    // A hook that hangs has the pod's grace, and the container two seconds after it.
    Pod {
        name: "hanghook",
        rows: &[
            RUNNING,
            "Failed DeadlineExceeded, not ContainersReady: PodFailed | main Error 143 r0",
        ],
        spec: r#"
  activeDeadlineSeconds: 60
  terminationGracePeriodSeconds: 3
  containers:
  - { name: main, image: BUSYBOX, command: [sh, -c, "trap 'exit 143' TERM; sleep 1000 & wait"],
      lifecycle: { preStop: { exec: { command: [sleep, "1000"] } } } }
"#,
    },
    // No grace at all is a second at the deadline.
    Pod {
        name: "nograce",
        rows: &[
            RUNNING,
            "Failed DeadlineExceeded, not ContainersReady: PodFailed | main Error 137 r0",
        ],
        spec: r#"
  activeDeadlineSeconds: 60
  terminationGracePeriodSeconds: 0
  containers: [{ name: main, image: WORK, command: [/bin/work, stubborn] }]
"#,
    },
    // A sidecar that ends by itself is started again, whatever the pod's policy. It lives until the
    // kubelet has seen it run: the others wait for that.
    Pod {
        name: "endside",
        rows: &[
            "Running, not ContainersReady: ContainersNotReady | side Completed 0 r1 last Completed 0 | main running r0",
        ],
        spec: r#"
  restartPolicy: Never
  terminationGracePeriodSeconds: 1
  initContainers: [{ name: side, image: BUSYBOX, restartPolicy: Always, command: [sleep, "5"] }]
  containers: [{ name: main, image: WORK, command: [/bin/work, sleeper] }]
"#,
    },
    Pod {
        name: "expr",
        rows: &[
            "Succeeded, not ContainersReady: PodCompleted | fill Completed 0 r0 | main Completed 0 r0",
        ],
        spec: r#"
  restartPolicy: Never
  initContainers:
  - { name: fill, image: BUSYBOX, command: [sh, -c, "mkdir -p /all/default/deep /all/kubelet; echo one >/all/default/deep/a; echo two >/all/kubelet/b"],
      volumeMounts: [{ name: data, mountPath: /all }] }
  containers:
  - { name: main, image: BUSYBOX,
      env: [{ name: SPACE, valueFrom: { fieldRef: { fieldPath: metadata.namespace } } },
            { name: APP, valueFrom: { fieldRef: { fieldPath: "metadata.labels['app']" } } }],
      volumeMounts: [{ name: data, mountPath: /one, subPathExpr: "$(SPACE)/deep" },
                     { name: data, mountPath: /two, subPathExpr: "$(APP)", readOnly: true },
                     { name: data, mountPath: /new, subPathExpr: "made/$(APP)" }],
      command: [sh, -c, "{ cat /one/a /two/b; touch /two/c || echo read-only; stat -c %a /new; } >/dev/termination-log 2>/dev/null"] }
  volumes: [{ name: data, emptyDir: {} }]
"#,
    },
    // What a path is made from is not there: the container is not made.
    Pod {
        name: "noexpr",
        rows: &[
            "Pending, not ContainersReady: ContainersNotReady | main waiting CreateContainerConfigError r0",
        ],
        spec: r#"
  containers:
  - { name: main, image: BUSYBOX, command: ["true"], volumeMounts: [{ name: data, mountPath: /one, subPathExpr: "$(NONE)/x" }] }
  volumes: [{ name: data, emptyDir: {} }]
"#,
    },
    Pod {
        name: "divided",
        rows: &[SUCCEEDED],
        spec: r#"
  restartPolicy: Never
  containers:
  - { name: main, image: BUSYBOX,
      resources: { requests: { cpu: 150m, memory: 100M }, limits: { cpu: 151m, memory: 101Mi, ephemeral-storage: 1500k } },
      env: [{ name: A, valueFrom: { resourceFieldRef: { resource: requests.cpu } } },
            { name: B, valueFrom: { resourceFieldRef: { resource: limits.cpu, divisor: 1m } } },
            { name: C, valueFrom: { resourceFieldRef: { resource: requests.memory, divisor: 1Mi } } },
            { name: D, valueFrom: { resourceFieldRef: { resource: limits.memory, divisor: 1k } } },
            { name: E, valueFrom: { resourceFieldRef: { resource: limits.ephemeral-storage, divisor: 1Ki } } },
            { name: F, valueFrom: { resourceFieldRef: { resource: requests.memory, divisor: 1G } } }],
      command: [sh, -c, "echo $A $B $C $D $E $F >/dev/termination-log"] }
"#,
    },
    // The host's own file, and what the pod adds to it.
    Pod {
        name: "aliases",
        rows: &[SUCCEEDED],
        spec: r#"
  restartPolicy: Never
  hostNetwork: true
  hostAliases: [{ ip: 192.0.2.1, hostnames: [one.test, two.test] }, { ip: "2001:db8::1", hostnames: [six.test] }]
  containers: [{ name: main, image: BUSYBOX, command: [sh, -c, "tail -n 4 /etc/hosts >/dev/termination-log"] }]
"#,
    },
    Pod {
        name: "named",
        rows: &[RUNNING],
        spec: r#"
  terminationGracePeriodSeconds: 1
  containers:
  - { name: main, image: WORK, command: [/bin/work, serve, "8080", hello],
      ports: [{ name: web, containerPort: 8080 }, { name: other, containerPort: 81, protocol: UDP }],
      readinessProbe: { httpGet: { path: /, port: web }, periodSeconds: 1, timeoutSeconds: 10 },
      livenessProbe: { tcpSocket: { port: web }, periodSeconds: 1, timeoutSeconds: 10 } }
"#,
    },
    // A port of nobody: the probe cannot be made, which is no failure of the container.
    Pod {
        name: "unnamed",
        rows: &["Running, not ContainersReady: ContainersNotReady | main running r0"],
        spec: r#"
  terminationGracePeriodSeconds: 1
  containers:
  - { name: main, image: WORK, command: [/bin/work, serve, "8080", hello], ports: [{ name: web, containerPort: 8080 }],
      readinessProbe: { httpGet: { path: /, port: web2 }, periodSeconds: 1, timeoutSeconds: 10 } }
"#,
    },
    // Volumes inside volumes, and a file over a file of the image.
    Pod {
        name: "nested",
        rows: &[SUCCEEDED],
        spec: r#"
  restartPolicy: Never
  containers:
  - { name: main, image: BUSYBOX,
      volumeMounts: [{ name: inner, mountPath: /a/b/c }, { name: outer, mountPath: /a }, { name: about, mountPath: /etc/passwd, subPath: name }],
      command: [sh, -c, "{ cat /etc/passwd; echo; ls -A /a /a/b; echo x >/a/b/c/file; ls /a/b/c; } >/dev/termination-log"] }
  volumes:
  - { name: inner, emptyDir: { medium: Memory } }
  - { name: outer, emptyDir: {} }
  - { name: about, downwardAPI: { defaultMode: 0444, items: [{ path: name, fieldRef: { fieldPath: metadata.name } }] } }
"#,
    },
    // Commands and words that expand, and those that do not.
    Pod {
        name: "expands",
        rows: &[SUCCEEDED],
        spec: r#"
  restartPolicy: Never
  containers:
  - { name: main, image: BUSYBOX, workingDir: /made/here,
      env: [{ name: A, value: "1" }, { name: B, value: "$(A)$(C)" }, { name: C, value: "3" }, { name: A, value: "$(A)$(A)" },
            { name: EMPTY }, { name: "with.dots-and", value: x }],
      command: [sh, -c, "{ echo $0 $1 $2; echo \"$(A) $(B) $(EMPTY). $$(A) $(with.dots-and) $( )\"; pwd; env | sort | grep -v HOST; } >/dev/termination-log"],
      args: ["$(A)", "$$(A)", "$(D)"] }
"#,
    },
    // A container whose own policy is another than the pod's.
    Pod {
        name: "own",
        rows: &[
            "Running, not ContainersReady: ContainersNotReady | once Completed 0 r0 | fails waiting CrashLoopBackOff r3 last Error 5",
        ],
        spec: r#"
  restartPolicy: Always
  terminationGracePeriodSeconds: 1
  containers:
  - { name: once, image: BUSYBOX, restartPolicy: OnFailure, command: ["true"] }
  - { name: fails, image: WORK, command: [/bin/work, exit, "5"] }
"#,
    },
];
