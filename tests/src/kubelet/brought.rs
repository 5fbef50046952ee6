//! Pods of the sort that users bring: as they are found in charts and tutorials, on the images of these
//! tests.

use super::pod::{Pod, RUNNING, SUCCEEDED};

pub const PODS: [Pod; 14] = [
    // A web server, and beside it who writes its page.
    Pod {
        name: "writer",
        rows: &["Running ready | nginx running r0 | writer running r0"],
        spec: r#"
  terminationGracePeriodSeconds: 1
  volumes: [{ name: html, emptyDir: {} }]
  containers:
  - { name: nginx, image: BUSYBOX, command: [httpd, -f, -p, "80", -h, /usr/share/nginx/html],
      ports: [{ containerPort: 80, protocol: TCP }],
      readinessProbe: { httpGet: { path: /index.html, port: 80 }, periodSeconds: 1, timeoutSeconds: 10 },
      volumeMounts: [{ name: html, mountPath: /usr/share/nginx/html }] }
  - { name: writer, image: BUSYBOX, command: [/bin/sh, -c], args: ["while :; do date >>/html/index.html; sleep 1; done"],
      volumeMounts: [{ name: html, mountPath: /html }] }
"#,
    },
    // As ZooKeeper's: a number out of the host's name, files of a group, a port that answers `ruok`.
    Pod {
        name: "zk",
        rows: &["Running ready | init Completed 0 r0 | zookeeper running r0"],
        spec: r#"
  terminationGracePeriodSeconds: 1
  hostname: zk-2
  subdomain: zk-headless
  securityContext: { runAsUser: 1000, fsGroup: 1000, fsGroupChangePolicy: OnRootMismatch }
  initContainers:
  - { name: init, image: BUSYBOX, volumeMounts: [{ name: datadir, mountPath: /var/lib/zookeeper }],
      command: [sh, -c, "HOST=$(hostname -s); ORD=${HOST##*-}; mkdir -p /var/lib/zookeeper/data && echo $((ORD+1)) >/var/lib/zookeeper/data/myid && { stat -c '%u %g' /var/lib/zookeeper /var/lib/zookeeper/data/myid; cat /var/lib/zookeeper/data/myid; id -G; hostname; } >/dev/termination-log"] }
  containers:
  - { name: zookeeper, image: BUSYBOX, command: [nc, -ll, -p, "2181", -e, sh, -c, "read four; echo imok"],
      ports: [{ containerPort: 2181, name: client }, { containerPort: 2888, name: server }, { containerPort: 3888, name: leader-election }],
      env: [{ name: ZOO_DATA, value: /var/lib/zookeeper/data }],
      readinessProbe: { exec: { command: [sh, -c, "[ \"$(echo ruok | nc 127.0.0.1 2181)\" = imok ] && [ \"$(cat $ZOO_DATA/myid)\" = 3 ]"] }, periodSeconds: 1, timeoutSeconds: 10 },
      livenessProbe: { tcpSocket: { port: client }, initialDelaySeconds: 2, timeoutSeconds: 10 },
      volumeMounts: [{ name: datadir, mountPath: /var/lib/zookeeper }] }
  volumes: [{ name: datadir, emptyDir: {} }]
"#,
    },
    // As Redis': its configuration is made by an init container, and an exporter stands beside it.
    Pod {
        name: "redis",
        rows: &["Running ready | config Completed 0 r0 | redis running r0 | exporter running r0"],
        spec: r#"
  terminationGracePeriodSeconds: 1
  securityContext: { fsGroup: 999, runAsUser: 999, runAsGroup: 999, runAsNonRoot: true }
  initContainers:
  - { name: config, image: BUSYBOX, env: [{ name: POD, valueFrom: { fieldRef: { fieldPath: metadata.name } } }],
      command: [sh, -c, "cd /conf; case $POD in *-0) role=master;; *) role=replica;; esac; echo role $role >redis.conf; echo dir /data >>redis.conf; cat redis.conf >/dev/termination-log"],
      volumeMounts: [{ name: conf, mountPath: /conf }] }
  containers:
  - { name: redis, image: BUSYBOX, command: [sh, -ec], args: ["grep -q 'dir /data' /etc/redis/redis.conf; touch /data/appendonly; exec nc -ll -p 6379 -e cat"],
      resources: { requests: { cpu: 50m, memory: 16Mi }, limits: { memory: 64Mi } },
      startupProbe: { tcpSocket: { port: 6379 }, periodSeconds: 1, failureThreshold: 60, timeoutSeconds: 10 },
      livenessProbe: { exec: { command: [sh, -c, "echo PING | nc 127.0.0.1 6379 | grep PING"] }, periodSeconds: 2, timeoutSeconds: 10 },
      volumeMounts: [{ name: conf, mountPath: /etc/redis, readOnly: true }, { name: data, mountPath: /data }],
      securityContext: { allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: [ALL] } } }
  - { name: exporter, image: WORK, command: [/bin/work, serve, "9121", redis_up], ports: [{ name: metrics, containerPort: 9121 }],
      readinessProbe: { httpGet: { path: /metrics, port: metrics }, periodSeconds: 1, timeoutSeconds: 10 } }
  volumes: [{ name: conf, emptyDir: { medium: Memory } }, { name: data, emptyDir: { sizeLimit: 50Mi } }]
"#,
    },
    // As Eureka's: who it is, it learns from its own fields, and tells it in its arguments.
    Pod {
        name: "eureka",
        rows: &[SUCCEEDED],
        spec: r#"
  restartPolicy: Never
  hostname: eureka-0
  subdomain: eureka
  containers:
  - { name: main, image: BUSYBOX,
      env: [{ name: MY_POD_NAME, value: eureka-0 },
            { name: MY_POD_NAMESPACE, valueFrom: { fieldRef: { apiVersion: v1, fieldPath: metadata.namespace } } },
            { name: MY_POD_IP, valueFrom: { fieldRef: { fieldPath: status.podIP } } },
            { name: APP, valueFrom: { fieldRef: { fieldPath: "metadata.labels['app']" } } },
            { name: EUREKA_INSTANCE_HOSTNAME, value: "$(MY_POD_NAME).eureka.$(MY_POD_NAMESPACE).svc.cluster.local" }],
      command: [sh, -c, "{ echo $0 $1; echo $APP; [ \"$MY_POD_IP\" = \"$(hostname -i)\" ] && echo same address; } >/dev/termination-log"],
      args: ["--host=$(EUREKA_INSTANCE_HOSTNAME)", "--prefer-ip=$(UNKNOWN)"] }
"#,
    },
    // An application with what it may not know from the image, and a liveness probe with headers.
    Pod {
        name: "app",
        rows: &["Running ready | app running r0"],
        spec: r#"
  terminationGracePeriodSeconds: 1
  automountServiceAccountToken: false
  containers:
  - { name: app, image: WORK, imagePullPolicy: IfNotPresent, command: [/bin/work, serve, "3000", ok],
      env: [{ name: DATABASE_URL, value: "postgres://$(USER):$(PASSWORD)@db:5432/app" }, { name: USER, value: app }, { name: PASSWORD, value: s3cret }],
      ports: [{ name: http, containerPort: 3000 }],
      livenessProbe: { httpGet: { path: /healthz, port: http, httpHeaders: [{ name: X-Custom-Header, value: Awesome }, { name: Host, value: app.test }] },
                       initialDelaySeconds: 1, periodSeconds: 1, timeoutSeconds: 10, failureThreshold: 5 },
      readinessProbe: { httpGet: { path: "/ready?full=1", port: 3000, scheme: HTTP }, periodSeconds: 1, timeoutSeconds: 10, successThreshold: 2 },
      lifecycle: { preStop: { exec: { command: [/bin/work, "true"] } } },
      resources: { requests: { cpu: 10m, memory: 10Mi }, limits: { cpu: 500m, memory: 128Mi } } }
"#,
    },
    // A DaemonSet's: on the host's network, with an init container that installs programs on the host.
    Pod {
        name: "agent",
        rows: &["Running ready | install Completed 0 r0 | agent running r0"],
        spec: r#"
  terminationGracePeriodSeconds: 1
  hostNetwork: true
  hostPID: true
  dnsPolicy: ClusterFirstWithHostNet
  tolerations: [{ operator: Exists }, { effect: NoExecute, operator: Exists }]
  nodeSelector: { kubernetes.io/os: linux }
  initContainers:
  - { name: install, image: BUSYBOX, securityContext: { privileged: true },
      command: [sh, -c, "mkdir -p /host/opt/cni/bin /host/etc/cni; cp /bin/true /host/opt/cni/bin/plugin; chmod 0755 /host/opt/cni/bin/plugin; echo '{}' >/host/etc/cni/10-agent.conflist; ls /host/opt/cni/bin /host/etc/cni >/dev/termination-log"],
      volumeMounts: [{ name: host, mountPath: /host }] }
  containers:
  - { name: agent, image: BUSYBOX, command: [sh, -c, "[ -d /proc/1 ] && [ -e /host/etc/cni/10-agent.conflist ] || exit 1; HOLD"],
      env: [{ name: NODE_NAME, valueFrom: { fieldRef: { fieldPath: spec.nodeName } } }],
      securityContext: { capabilities: { add: [NET_ADMIN, NET_RAW] } },
      volumeMounts: [{ name: host, mountPath: /host, readOnly: true }] }
  volumes: [{ name: host, hostPath: { path: "@shared@/agent", type: DirectoryOrCreate } }]
"#,
    },
    // As ingress-nginx': few capabilities for a user who is not root, named ports, a hook at its end.
    Pod {
        name: "ingress",
        rows: &["Running ready | controller running r0"],
        spec: r#"
  terminationGracePeriodSeconds: 5
  dnsPolicy: ClusterFirst
  containers:
  - { name: controller, image: WORK, command: [/bin/work, serve, "10254", ok],
      args: [--election-id=ingress-nginx-leader, "--configmap=$(POD_NAMESPACE)/ingress-nginx-controller"],
      lifecycle: { preStop: { exec: { command: [/bin/work, "true"] } } },
      env: [{ name: POD_NAME, valueFrom: { fieldRef: { fieldPath: metadata.name } } },
            { name: POD_NAMESPACE, valueFrom: { fieldRef: { fieldPath: metadata.namespace } } },
            { name: LD_PRELOAD, value: /usr/local/lib/libmimalloc.so }],
      securityContext: { allowPrivilegeEscalation: true, capabilities: { add: [NET_BIND_SERVICE], drop: [ALL] }, runAsUser: 101, runAsGroup: 82, runAsNonRoot: true,
                         readOnlyRootFilesystem: false, seccompProfile: { type: RuntimeDefault } },
      livenessProbe: { failureThreshold: 5, httpGet: { path: /healthz, port: metrics, scheme: HTTP }, initialDelaySeconds: 1, periodSeconds: 1, successThreshold: 1, timeoutSeconds: 10 },
      readinessProbe: { failureThreshold: 3, httpGet: { path: /healthz, port: 10254, scheme: HTTP }, periodSeconds: 1, successThreshold: 1, timeoutSeconds: 10 },
      ports: [{ containerPort: 80, name: http, protocol: TCP }, { containerPort: 443, name: https, protocol: TCP }, { containerPort: 10254, name: metrics, protocol: TCP }],
      resources: { requests: { cpu: 100m, memory: 90Mi } } }
"#,
    },
    // As CoreDNS': the node's resolv.conf, a root that is read-only, two ports that are asked.
    Pod {
        name: "coredns",
        rows: &["Running ready | coredns running r0"],
        spec: r#"
  terminationGracePeriodSeconds: 1
  dnsPolicy: Default
  priorityClassName: system-cluster-critical
  tolerations: [{ key: CriticalAddonsOnly, operator: Exists }, { key: node-role.kubernetes.io/control-plane, effect: NoSchedule }]
  containers:
  - { name: coredns, image: BUSYBOX, command: [sh, -c, "httpd -f -p 8080 -h /srv & exec httpd -f -p 8181 -h /srv"],
      resources: { limits: { memory: 170Mi }, requests: { cpu: 100m, memory: 70Mi } },
      ports: [{ containerPort: 53, name: dns, protocol: UDP }, { containerPort: 53, name: dns-tcp, protocol: TCP }, { containerPort: 9153, name: metrics, protocol: TCP }],
      livenessProbe: { httpGet: { path: /, port: 8080, scheme: HTTP }, initialDelaySeconds: 1, timeoutSeconds: 10, successThreshold: 1, failureThreshold: 5 },
      readinessProbe: { httpGet: { path: /health, port: 8181, scheme: HTTP }, periodSeconds: 1, timeoutSeconds: 10 },
      volumeMounts: [{ name: srv, mountPath: /srv, readOnly: true }],
      securityContext: { allowPrivilegeEscalation: false, capabilities: { add: [NET_BIND_SERVICE], drop: [ALL] }, readOnlyRootFilesystem: true } }
  volumes:
  - { name: srv, downwardAPI: { items: [{ path: health, fieldRef: { fieldPath: metadata.name } }, { path: index.html, fieldRef: { fieldPath: metadata.namespace } }] } }
"#,
    },
    // As the node exporter's: the whole host to be read, and nobody in it.
    Pod {
        name: "exporter",
        rows: &[SUCCEEDED],
        spec: r#"
  restartPolicy: OnFailure
  hostNetwork: true
  hostPID: true
  securityContext: { runAsNonRoot: true, runAsUser: 65534, runAsGroup: 65534, fsGroup: 65534 }
  containers:
  - { name: main, image: BUSYBOX,
      command: [sh, -c, "{ id -u; id -G; test -e /host/root/etc/hostname -o -d /host/root/etc && echo root; grep -c ^cpu /host/proc/stat >/dev/null && echo stat; test -d /host/sys/class && echo sys; touch /host/root/x 2>/dev/null || echo read-only; } >/dev/termination-log"],
      args: ["--path.procfs=/host/proc", "--path.rootfs=/host/root"],
      securityContext: { readOnlyRootFilesystem: true, allowPrivilegeEscalation: false, capabilities: { drop: [ALL] } },
      volumeMounts: [{ name: proc, mountPath: /host/proc, readOnly: true }, { name: sys, mountPath: /host/sys, readOnly: true },
                     { name: root, mountPath: /host/root, readOnly: true }] }
  volumes: [{ name: proc, hostPath: { path: /proc } }, { name: sys, hostPath: { path: /sys } }, { name: root, hostPath: { path: / } }]
"#,
    },
    // As kubeadm's etcd: a static pod on the host's network, whose probes ask the host's loopback.
    Pod {
        name: "etcd",
        rows: &["Running ready | etcd running r0"],
        spec: r#"
  terminationGracePeriodSeconds: 1
  hostNetwork: true
  priority: 2000001000
  priorityClassName: system-node-critical
  securityContext: { seccompProfile: { type: RuntimeDefault } }
  containers:
  - { name: etcd, image: WORK, imagePullPolicy: IfNotPresent, command: [/bin/work, serve, "12381", healthy],
      livenessProbe: { failureThreshold: 8, httpGet: { host: 127.0.0.1, path: /livez, port: probe-port, scheme: HTTP }, initialDelaySeconds: 1, periodSeconds: 1, timeoutSeconds: 15 },
      readinessProbe: { failureThreshold: 3, httpGet: { host: 127.0.0.1, path: /readyz, port: probe-port, scheme: HTTP }, periodSeconds: 1, timeoutSeconds: 15 },
      startupProbe: { failureThreshold: 24, httpGet: { host: 127.0.0.1, path: /readyz, port: probe-port, scheme: HTTP }, initialDelaySeconds: 1, periodSeconds: 1, timeoutSeconds: 15 },
      ports: [{ containerPort: 12381, hostPort: 12381, name: probe-port, protocol: TCP }],
      resources: { requests: { cpu: 100m, memory: 100Mi } },
      volumeMounts: [{ mountPath: /var/lib/etcd, name: etcd-data }] }
  volumes: [{ name: etcd-data, hostPath: { path: "@shared@/etcd", type: DirectoryOrCreate } }]
"#,
    },
    // A batch that fails twice and succeeds with what it has kept of that.
    Pod {
        name: "batch",
        rows: &["Succeeded, not ContainersReady: PodCompleted | main Completed 0 r2 last Error 7"],
        spec: r#"
  restartPolicy: OnFailure
  containers:
  - { name: main, image: BUSYBOX, volumeMounts: [{ name: work, mountPath: /work }],
      command: [sh, -c, "echo try >>/work/tries; [ $(wc -l </work/tries) = 3 ] || exit 7"] }
  volumes: [{ name: work, emptyDir: {} }]
"#,
    },
    // A pod that velero would freeze: hooks in annotations are for it alone, and a PVC's folder is one.
    Pod {
        name: "frozen",
        rows: &["Running ready | nginx running r0 | fsfreeze running r0"],
        spec: r#"
  terminationGracePeriodSeconds: 1
  volumes: [{ name: nginx-logs, hostPath: { path: "@shared@/logs", type: DirectoryOrCreate } }]
  containers:
  - { name: nginx, image: BUSYBOX, command: [sh, -c, "echo started >>/var/log/nginx/access.log; exec httpd -f -p 80 -h /var/log/nginx"],
      ports: [{ containerPort: 80 }], volumeMounts: [{ mountPath: /var/log/nginx, name: nginx-logs, readOnly: false }] }
  - { name: fsfreeze, image: BUSYBOX, securityContext: { privileged: true }, command: [/bin/sh, -c, "HOLD"],
      volumeMounts: [{ mountPath: /var/log/nginx, name: nginx-logs, readOnly: false }] }
"#,
    },
    // Mesh: who injects a proxy has an init container change the network, and the proxy as a sidecar.
    Pod {
        name: "mesh",
        rows: &["Running ready | mesh-init Completed 0 r0 | proxy running r0 | app running r0"],
        spec: r#"
  terminationGracePeriodSeconds: 1
  initContainers:
  - { name: mesh-init, image: BUSYBOX, command: [sh, -c, "cat /proc/sys/net/ipv4/ip_unprivileged_port_start >/dev/termination-log"],
      securityContext: { runAsUser: 0, runAsNonRoot: false, privileged: false, capabilities: { add: [NET_ADMIN, NET_RAW], drop: [ALL] } } }
  - { name: proxy, image: WORK, restartPolicy: Always, command: [/bin/work, serve, "15021", ready],
      securityContext: { runAsUser: 1337, runAsGroup: 1337, runAsNonRoot: true },
      startupProbe: { httpGet: { path: /healthz/ready, port: 15021 }, periodSeconds: 1, failureThreshold: 600, timeoutSeconds: 10 },
      readinessProbe: { httpGet: { path: /healthz/ready, port: 15021 }, periodSeconds: 2, failureThreshold: 4, timeoutSeconds: 10 },
      lifecycle: { postStart: { exec: { command: [/bin/work, "true"] } } } }
  containers:
  - { name: app, image: BUSYBOX, command: [sh, -c, "nc 127.0.0.1 15021 </dev/null || exit 1; HOLD"] }
"#,
    },
    // What a chart writes out that is the default anyway.
    Pod {
        name: "defaults",
        rows: &[RUNNING],
        spec: r#"
  restartPolicy: Always
  terminationGracePeriodSeconds: 1
  dnsPolicy: ClusterFirst
  schedulerName: default-scheduler
  enableServiceLinks: true
  preemptionPolicy: PreemptLowerPriority
  securityContext: {}
  imagePullSecrets: []
  hostNetwork: false
  hostPID: false
  hostIPC: false
  containers:
  - { name: main, image: WORK, imagePullPolicy: IfNotPresent, command: [/bin/work, sleeper], args: [], env: [], envFrom: [], resources: {},
      terminationMessagePath: /dev/termination-log, terminationMessagePolicy: File, stdin: false, tty: false, securityContext: {}, volumeMounts: [] }
  volumes: []
"#,
    },
];
