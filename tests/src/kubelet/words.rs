//! Pods whose last word is what their container sees, and pods that cannot be run as they are.

use super::pod::{Pod, RUNNING, SUCCEEDED};

pub const PODS: [Pod; 19] = [
    // A pod's own resources.
    Pod {
        name: "podlevel",
        rows: &[SUCCEEDED],
        spec: r#"
  restartPolicy: Never
  resources: { requests: { cpu: 100m, memory: 32Mi }, limits: { cpu: 500m, memory: 64Mi } }
  containers:
  - { name: main, image: BUSYBOX,
      env: [{ name: CPU, valueFrom: { resourceFieldRef: { resource: limits.cpu, divisor: 1m } } },
            { name: MEMORY, valueFrom: { resourceFieldRef: { resource: limits.memory } } },
            { name: ASKED, valueFrom: { resourceFieldRef: { resource: requests.cpu, divisor: 1m } } }],
      command: [sh, -c, "{ echo $CPU $MEMORY $ASKED; GROUPS; } >/dev/termination-log"] }
"#,
    },
    // What the containers ask for together is what the pod asks for, not its limits.
    Pod {
        name: "burstable",
        rows: &[
            "Succeeded, not ContainersReady: PodCompleted | asks Completed 0 r0 | rest Completed 0 r0",
        ],
        spec: r#"
  restartPolicy: Never
  resources: { limits: { cpu: 500m, memory: 64Mi } }
  containers:
  - { name: asks, image: BUSYBOX, resources: { requests: { cpu: 100m, memory: 16Mi } },
      command: [sh, -c, "{ GROUPS; } >/dev/termination-log"] }
  - { name: rest, image: BUSYBOX, command: [sh, -c, "{ GROUPS; } >/dev/termination-log"] }
"#,
    },
    Pod {
        name: "guaranteed",
        rows: &[SUCCEEDED],
        spec: r#"
  restartPolicy: Never
  resources: { requests: { cpu: 200m, memory: 64Mi }, limits: { cpu: 200m, memory: 64Mi } }
  containers:
  - { name: main, image: BUSYBOX, command: [sh, -c, "{ GROUPS; } >/dev/termination-log"] }
"#,
    },
    Pod {
        name: "limits",
        rows: &[SUCCEEDED],
        spec: r#"
  restartPolicy: Never
  containers:
  - { name: main, image: BUSYBOX,
      resources: { requests: { cpu: 100m, memory: 16Mi }, limits: { cpu: 250m, memory: 64Mi, ephemeral-storage: 1Gi } },
      env: [{ name: CPU, valueFrom: { resourceFieldRef: { resource: limits.cpu } } },
            { name: MEMORY, valueFrom: { resourceFieldRef: { resource: requests.memory, divisor: 1Mi } } },
            { name: DISK, valueFrom: { resourceFieldRef: { resource: limits.ephemeral-storage } } }],
      command: [sh, -c, "{ echo $CPU $MEMORY $DISK; GROUPS; } >/dev/termination-log"] }
"#,
    },
    // Without limits, those of the node.
    Pod {
        name: "downward",
        rows: &[SUCCEEDED],
        spec: r#"
  restartPolicy: Never
  hostname: here
  containers:
  - { name: main, image: BUSYBOX, volumeMounts: [{ name: about, mountPath: /about }],
      env: [{ name: NAME, valueFrom: { fieldRef: { fieldPath: metadata.name } } },
            { name: SPACE, valueFrom: { fieldRef: { fieldPath: metadata.namespace } } },
            { name: LABEL, valueFrom: { fieldRef: { fieldPath: "metadata.labels['app']" } } },
            { name: IP, valueFrom: { fieldRef: { fieldPath: status.podIP } } },
            { name: CPU, valueFrom: { resourceFieldRef: { resource: limits.cpu } } },
            { name: MEMORY, valueFrom: { resourceFieldRef: { resource: limits.memory, divisor: 1Gi } } },
            { name: BOTH, value: "$(NAME) $(NONE) $$(NAME)" }],
      command: [sh, -c, "{ echo $NAME $SPACE $LABEL $IP $CPU $MEMORY; echo $BOTH; hostname; hostname -i; cat /about/labels /about/cpu; stat -c %a /about/..data/labels; } >/dev/termination-log"] }
  volumes:
  - name: about
    downwardAPI:
      items:
      - { path: labels, fieldRef: { fieldPath: metadata.labels } }
      - { path: cpu, resourceFieldRef: { containerName: main, resource: requests.cpu, divisor: 1m } }
"#,
    },
    // One option: the kubelet puts several in any order.
    Pod {
        name: "resolver",
        rows: &[SUCCEEDED],
        spec: r#"
  restartPolicy: Never
  dnsPolicy: Default
  dnsConfig: { searches: [example.test], options: [{ name: ndots, value: "3" }] }
  hostAliases: [{ ip: 192.0.2.1, hostnames: [one.test, two.test] }]
  containers:
  - { name: main, image: BUSYBOX, command: [sh, -c, "cat /etc/resolv.conf /etc/hosts >/dev/termination-log"] }
"#,
    },
    Pod {
        name: "nameless",
        rows: &[SUCCEEDED],
        spec: r#"
  restartPolicy: Never
  dnsPolicy: None
  dnsConfig: { nameservers: [192.0.2.53], searches: [a.test, b.test] }
  containers:
  - { name: main, image: BUSYBOX, command: [sh, -c, "cat /etc/resolv.conf >/dev/termination-log"] }
"#,
    },
    Pod {
        name: "owners",
        rows: &[SUCCEEDED],
        spec: r#"
  restartPolicy: Never
  securityContext: { fsGroup: 1234, runAsUser: 1000, runAsGroup: 3000, supplementalGroups: [5] }
  containers:
  - { name: main, image: BUSYBOX, volumeMounts: [{ name: data, mountPath: /data }],
      command: [sh, -c, "{ id -u; id -g; id -G; stat -c '%g %a' /data; touch /data/x; stat -c '%u %g %a' /data/x; } >/dev/termination-log"] }
  volumes: [{ name: data, emptyDir: {} }]
"#,
    },
    Pod {
        name: "readonly",
        rows: &[SUCCEEDED],
        spec: r#"
  restartPolicy: Never
  containers:
  - { name: main, image: BUSYBOX, securityContext: { readOnlyRootFilesystem: true },
      volumeMounts: [{ name: data, mountPath: /one, readOnly: true, recursiveReadOnly: IfPossible },
                     { name: data, mountPath: /two, readOnly: true }, { name: data, mountPath: /three }],
      command: [sh, -c, "{ touch /x || echo root; touch /one/x || echo one; touch /two/x || echo two; touch /three/x && echo three; } 2>/dev/null >/dev/termination-log"] }
  volumes: [{ name: data, emptyDir: { medium: Memory, sizeLimit: 1Mi } }]
"#,
    },
    Pod {
        name: "sysctls",
        rows: &[SUCCEEDED],
        spec: r#"
  restartPolicy: Never
  securityContext:
    sysctls: [{ name: net.ipv4.ip_unprivileged_port_start, value: "81" }, { name: kernel.shm_rmid_forced, value: "1" }]
  containers:
  - { name: main, image: BUSYBOX,
      command: [sh, -c, "cd /proc/sys; cat net/ipv4/ip_unprivileged_port_start kernel/shm_rmid_forced >/dev/termination-log"] }
"#,
    },
    Pod {
        name: "unsafe",
        rows: &["Failed SysctlForbidden, no PodScheduled | main"],
        spec: r#"
  securityContext: { sysctls: [{ name: kernel.msgmax, value: "65536" }] }
  containers: [{ name: main, image: BUSYBOX, command: [sleep, "10"] }]
"#,
    },
    // The same port of the host for one that has ended and one that comes after it.
    Pod {
        name: "ports",
        rows: &["Running ready | first Completed 0 r0 | main running r0"],
        spec: r#"
  initContainers:
  - { name: first, image: BUSYBOX, command: ["true"], ports: [{ containerPort: 8080, hostPort: 18081 }] }
  containers:
  - { name: main, image: WORK, command: [/bin/work, serve, "8080", here],
      ports: [{ containerPort: 8080, hostPort: 18081 }] }
"#,
    },
    // Without standard input it would end.
    Pod {
        name: "stdin",
        rows: &[RUNNING],
        spec: r#"
  terminationGracePeriodSeconds: 1
  containers: [{ name: main, image: BUSYBOX, command: [cat], stdin: true, stdinOnce: true }]
"#,
    },
    Pod {
        name: "gated",
        rows: &["Running, not Ready: ReadinessGatesNotReady | main running r0"],
        spec: r#"
  readinessGates: [{ conditionType: example.test/one }, { conditionType: example.test/two }]
  containers: [{ name: main, image: BUSYBOX, command: [sh, -c, "HOLD"] }]
"#,
    },
    // Started, ready and at last killed by its probes, and the pod with it.
    Pod {
        name: "probed",
        rows: &[
            "Pending, not Initialized: ContainersNotInitialized | helper running r0 | main waiting PodInitializing r0",
            "Running, not ContainersReady: ContainersNotReady | helper running r0 | main running r0",
            "Running ready | helper running r0 | main running r0",
            "Running ready | helper running r1 last Completed 0 | main running r0",
        ],
        spec: r#"
  initContainers:
  - { name: helper, image: BUSYBOX, restartPolicy: Always, volumeMounts: [{ name: seen, mountPath: /seen }],
      command: [sh, -c, "mkdir /seen/once && touch /first; HOLD"],
      startupProbe: { exec: { command: [test, -e, /seen/1] }, periodSeconds: 1, failureThreshold: 1000, timeoutSeconds: 10 },
      readinessProbe: { exec: { command: [test, -e, /seen/2] }, periodSeconds: 1, timeoutSeconds: 10 },
      livenessProbe: { exec: { command: [sh, -c, "! [ -e /first -a -e /seen/3 ]"] }, periodSeconds: 1, timeoutSeconds: 10 } }
  containers: [{ name: main, image: BUSYBOX, command: [sh, -c, "HOLD"] }]
  volumes: [{ name: seen, hostPath: { path: "@seen@" } }]
"#,
    },
    Pod {
        name: "rules",
        rows: &["Succeeded, not ContainersReady: PodCompleted | main Completed 0 r1 last Error 42"],
        spec: r#"
  restartPolicy: Never
  containers:
  - { name: main, image: BUSYBOX, restartPolicy: Never,
      restartPolicyRules: [{ action: Restart, exitCodes: { operator: In, values: [42] } }],
      command: [sh, -c, "mkdir /data/1 && exit 42; exit 0"], volumeMounts: [{ name: data, mountPath: /data }] }
  volumes: [{ name: data, emptyDir: {} }]
"#,
    },
    Pod {
        name: "never",
        rows: &[
            "Pending, not ContainersReady: ContainersNotReady | main waiting ErrImageNeverPull r0",
        ],
        spec: r#"
  containers: [{ name: main, image: "images.rrun.test/none:1", imagePullPolicy: Never }]
"#,
    },
    Pod {
        name: "misnamed",
        rows: &[
            "Pending, not ContainersReady: ContainersNotReady | main waiting InvalidImageName r0",
        ],
        spec: r#"
  containers: [{ name: main, image: "images.rrun.test/UPPER:1" }]
"#,
    },
    Pod {
        name: "nowhere",
        rows: &[
            "Pending, not ContainersReady: ContainersNotReady | main waiting ContainerCreating r0",
        ],
        spec: r#"
  containers: [{ name: main, image: BUSYBOX, command: [sleep, "10"], volumeMounts: [{ name: data, mountPath: /data }] }]
  volumes: [{ name: data, hostPath: { path: /none, type: Directory } }]
"#,
    },
];
