//! Pods of the sort that users bring.

use super::pod::{Pod, RUNNING};

pub const PODS: [Pod; 7] = [
    // A web server, and who writes what it serves.
    Pod {
        name: "writer",
        rows: &["Running ready | web running r0 | writer running r0"],
        spec: r#"
  terminationGracePeriodSeconds: 1
  containers:
  - { name: web, image: BUSYBOX, command: [httpd, -f, -p, "8080", -h, /srv], ports: [{ name: http, containerPort: 8080 }],
      readinessProbe: { httpGet: { path: /index.html, port: http }, periodSeconds: 1, timeoutSeconds: 10 },
      volumeMounts: [{ name: html, mountPath: /srv, readOnly: true }] }
  - { name: writer, image: BUSYBOX, command: [sh, -c, "while :; do date >/srv/index.html; sleep 1; done"],
      volumeMounts: [{ name: html, mountPath: /srv }] }
  volumes: [{ name: html, emptyDir: {} }]
"#,
    },
    // As ZooKeeper and Redis run: users of their own, data of their group, a probe by a command.
    Pod {
        name: "keeper",
        rows: &[RUNNING],
        spec: r#"
  terminationGracePeriodSeconds: 1
  securityContext: { runAsUser: 1000, runAsGroup: 1000, runAsNonRoot: true, fsGroup: 1000, fsGroupChangePolicy: OnRootMismatch }
  containers:
  - { name: main, image: BUSYBOX,
      env: [{ name: MY_NAME, valueFrom: { fieldRef: { fieldPath: metadata.name } } },
            { name: MY_IP, valueFrom: { fieldRef: { fieldPath: status.podIP } } }],
      command: [sh, -c, "echo ${MY_NAME##*-} >/data/myid && touch /ready/yes; HOLD"],
      resources: { requests: { cpu: 10m, memory: 16Mi }, limits: { memory: 64Mi } },
      readinessProbe: { exec: { command: [sh, -c, "test -e /ready/yes && cat /data/myid"] }, initialDelaySeconds: 1, periodSeconds: 1, timeoutSeconds: 10 },
      livenessProbe: { exec: { command: [test, -e, /ready/yes] }, initialDelaySeconds: 10, periodSeconds: 2, timeoutSeconds: 10 },
      volumeMounts: [{ name: data, mountPath: /data }, { name: ready, mountPath: /ready }] }
  volumes: [{ name: data, emptyDir: {} }, { name: ready, emptyDir: { medium: Memory, sizeLimit: 1Mi } }]
"#,
    },
    // As Eureka asks for itself: fields that name each other.
    Pod {
        name: "eureka",
        rows: &["Succeeded, not ContainersReady: PodCompleted | main Completed 0 r0"],
        spec: r#"
  restartPolicy: Never
  containers:
  - { name: main, image: BUSYBOX,
      env: [{ name: POD, valueFrom: { fieldRef: { fieldPath: metadata.name } } },
            { name: SPACE, valueFrom: { fieldRef: { fieldPath: metadata.namespace } } },
            { name: ZONE, value: "http://$(POD).eureka.$(SPACE).svc.cluster.local:8761/eureka/" },
            { name: JAVA_OPTS, value: "-Xmx64m -Dzone=$(ZONE)" }],
      command: [sh, -c, "echo $JAVA_OPTS | sed \"s/$POD/NAME/\" >/dev/termination-log"] }
"#,
    },
    // As the pods of a DaemonSet that install a plugin on their node.
    Pod {
        name: "agent",
        rows: &["Running ready | install Completed 0 r0 | main running r0"],
        spec: r#"
  hostNetwork: true
  hostPID: true
  terminationGracePeriodSeconds: 0
  tolerations: [{ operator: Exists }]
  initContainers:
  - { name: install, image: BUSYBOX, command: [sh, -c, "mkdir -p /host/bin && cp /bin/busybox /host/bin/agent && chmod 755 /host/bin/agent"],
      volumeMounts: [{ name: host, mountPath: /host }] }
  containers:
  - { name: main, image: BUSYBOX, command: [sh, -c, "test -x /host/bin/agent && HOLD"], securityContext: { privileged: true },
      env: [{ name: NODE, valueFrom: { fieldRef: { fieldPath: spec.nodeName } } }],
      volumeMounts: [{ name: host, mountPath: /host, readOnly: true }, { name: modules, mountPath: /lib/modules, readOnly: true }] }
  volumes:
  - { name: host, hostPath: { path: "@shared@/agent", type: DirectoryOrCreate } }
  - { name: modules, hostPath: { path: "@shared@/modules", type: DirectoryOrCreate } }
"#,
    },
    // As nginx' ingress: nobody's user with one capability, a port of the node, a hook that sleeps.
    Pod {
        name: "ingress",
        rows: &[RUNNING],
        spec: r#"
  terminationGracePeriodSeconds: 5
  containers:
  - { name: main, image: WORK, command: [/bin/work, serve, "8080", ok],
      ports: [{ name: http, containerPort: 8080, hostPort: 18082 }, { name: metrics, containerPort: 10254 }],
      securityContext: { runAsUser: 101, allowPrivilegeEscalation: false, capabilities: { drop: [ALL], add: [NET_BIND_SERVICE] },
                         seccompProfile: { type: RuntimeDefault } },
      lifecycle: { preStop: { sleep: { seconds: 1 } } },
      livenessProbe: { httpGet: { path: /healthz, port: http, scheme: HTTP }, initialDelaySeconds: 2, periodSeconds: 2, timeoutSeconds: 10, failureThreshold: 5 },
      readinessProbe: { httpGet: { path: /healthz, port: http }, periodSeconds: 1, timeoutSeconds: 10 } }
"#,
    },
    // As coredns: the node's resolver, a root that cannot be written to, two ports that are probed.
    Pod {
        name: "coredns",
        rows: &["Running ready | main running r0 | ready running r0"],
        spec: r#"
  dnsPolicy: Default
  terminationGracePeriodSeconds: 1
  tolerations: [{ key: node-role.kubernetes.io/control-plane, effect: NoSchedule }]
  containers:
  - { name: main, image: WORK, command: [/bin/work, serve, "8080", ok],
      resources: { requests: { cpu: 10m, memory: 16Mi }, limits: { memory: 64Mi } },
      ports: [{ name: dns, containerPort: 53, protocol: UDP }, { name: dns-tcp, containerPort: 53, protocol: TCP }],
      securityContext: { allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { add: [NET_BIND_SERVICE], drop: [ALL] } },
      livenessProbe: { httpGet: { path: /health, port: 8080 }, initialDelaySeconds: 2, timeoutSeconds: 10, failureThreshold: 5 } }
  - { name: ready, image: WORK, command: [/bin/work, serve, "8181", ok],
      readinessProbe: { httpGet: { path: /ready, port: 8181 }, periodSeconds: 1, timeoutSeconds: 10 } }
"#,
    },
    // As node-exporter: all of the node, and nothing of it may be changed.
    Pod {
        name: "exporter",
        rows: &[RUNNING],
        spec: r#"
  hostNetwork: true
  hostPID: true
  terminationGracePeriodSeconds: 1
  securityContext: { runAsNonRoot: true, runAsUser: 65534, runAsGroup: 65534 }
  containers:
  - { name: main, image: BUSYBOX, command: [sh, -c, "ls /host/proc/1 >/dev/null && ! touch /host/sys/x 2>/dev/null && HOLD"],
      securityContext: { readOnlyRootFilesystem: true },
      volumeMounts: [{ name: proc, mountPath: /host/proc, readOnly: true }, { name: sys, mountPath: /host/sys, readOnly: true }] }
  volumes: [{ name: proc, hostPath: { path: /proc } }, { name: sys, hostPath: { path: /sys } }]
"#,
    },
];
