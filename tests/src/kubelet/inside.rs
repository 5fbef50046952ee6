//! Pods that say what it is like inside of them, and pods that are never let in.

use super::pod::{Pod, SUCCEEDED};

pub const PODS: [Pod; 22] = [
    // The words of a file, of the log, and of none.
    Pod {
        name: "lastwords",
        rows: &[
            "Failed, not ContainersReady: PodFailed | well Completed 0 r0 | file Error 1 r0 | own Error 2 r0 | none Error 3 r0",
        ],
        spec: r#"
  restartPolicy: Never
  containers:
  - { name: well, image: BUSYBOX, terminationMessagePolicy: FallbackToLogsOnError, command: [sh, -c, "echo logged"] }
  - { name: file, image: BUSYBOX, terminationMessagePolicy: FallbackToLogsOnError, command: [sh, -c, "echo logged; echo kept >/dev/termination-log; exit 1"] }
  - { name: own, image: BUSYBOX, terminationMessagePath: /var/run/last, command: [sh, -c, "echo logged; printf 'caf\\303\\251 \\377 \\033[1m' >/var/run/last; exit 2"] }
  - { name: none, image: BUSYBOX, command: [sh, -c, "echo logged; rm /dev/termination-log; exit 3"] }
"#,
    },
    Pod {
        name: "about",
        rows: &[SUCCEEDED],
        spec: r#"
  restartPolicy: Never
  securityContext: { runAsUser: 1000, fsGroup: 2000 }
  containers:
  - { name: main, image: BUSYBOX, volumeMounts: [{ name: all, mountPath: /all }],
      resources: { limits: { cpu: 15m, memory: 33Mi } },
      command: [sh, -c, "{ cd /all; for f in name deep/labels deep/down/cpu memory; do stat -Lc '%n %a %u %g' $f; cat $f; echo; done; touch x || echo read-only; ls; } >/dev/termination-log 2>/dev/null"] }
  volumes:
  - name: all
    downwardAPI:
      defaultMode: 0440
      items:
      - { path: name, fieldRef: { fieldPath: metadata.name } }
      - { path: deep/labels, mode: 0400, fieldRef: { fieldPath: metadata.labels } }
      - { path: deep/down/cpu, resourceFieldRef: { containerName: main, resource: limits.cpu } }
      - { path: memory, mode: 0777, resourceFieldRef: { containerName: main, resource: limits.memory, divisor: 1Mi } }
"#,
    },
    // Variables of a file that an init container has written.
    Pod {
        name: "envfile",
        rows: &[
            "Succeeded, not ContainersReady: PodCompleted | write Completed 0 r0 | main Completed 0 r0",
        ],
        spec: r#"
  restartPolicy: Never
  initContainers:
  - { name: write, image: BUSYBOX, volumeMounts: [{ name: data, mountPath: /data }],
      command: [sh, -c, "mkdir /data/env; printf \"ONE='first'\\n# a comment\\nTWO='second one'\\n\" >/data/env/file"] }
  containers:
  - { name: main, image: BUSYBOX, command: [sh, -c, "echo $A, $B, ${C-unset}, $D >/dev/termination-log"],
      env: [{ name: A, valueFrom: { fileKeyRef: { volumeName: data, path: env/file, key: ONE } } },
            { name: B, valueFrom: { fileKeyRef: { volumeName: data, path: env/file, key: TWO } } },
            { name: C, valueFrom: { fileKeyRef: { volumeName: data, path: env/file, key: NONE, optional: true } } },
            { name: D, value: "$(A) $(C)" }] }
  volumes: [{ name: data, emptyDir: {} }]
"#,
    },
    // A file that is not there, and one in a volume that no container mounts.
    Pod {
        name: "noenvfile",
        rows: &[
            "Pending, not ContainersReady: ContainersNotReady | key waiting CreateContainerConfigError r0 | main waiting CreateContainerConfigError r0",
        ],
        spec: r#"
  containers:
  - { name: key, image: BUSYBOX, command: ["true"], volumeMounts: [{ name: about, mountPath: /about }],
      env: [{ name: A, valueFrom: { fileKeyRef: { volumeName: about, path: broken, key: ONE } } }] }
  - { name: main, image: BUSYBOX, command: ["true"], env: [{ name: A, valueFrom: { fileKeyRef: { volumeName: data, path: none, key: ONE, optional: true } } }] }
  volumes: [{ name: data, emptyDir: {} }, { name: about, emptyDir: {} }]
"#,
    },
    Pod {
        name: "fqdn",
        rows: &[SUCCEEDED],
        spec: r#"
  restartPolicy: Never
  hostname: web-0
  subdomain: web
  setHostnameAsFQDN: true
  hostAliases: [{ ip: 192.0.2.7, hostnames: [alias.test] }]
  containers: [{ name: main, image: BUSYBOX, command: [sh, -c, "{ hostname; cat /etc/hosts; } >/dev/termination-log"] }]
"#,
    },
    // Of each namespace: whether it is that of the host's first process.
    Pod {
        name: "hosts",
        rows: &[SUCCEEDED],
        spec: r#"
  restartPolicy: Never
  hostPID: true
  hostIPC: true
  containers:
  - { name: main, image: BUSYBOX, securityContext: { privileged: true },
      command: [sh, -c, "for n in ipc mnt net pid user uts cgroup; do [ \"$(readlink /proc/1/ns/$n)\" = \"$(readlink /proc/self/ns/$n)\" ] && echo $n; done >/dev/termination-log; true"] }
"#,
    },
    Pod {
        name: "users",
        rows: &[SUCCEEDED],
        spec: r#"
  restartPolicy: Never
  hostUsers: false
  containers:
  - { name: main, image: BUSYBOX, volumeMounts: [{ name: data, mountPath: /data }],
      securityContext: { procMount: Unmasked, capabilities: { add: [SYS_ADMIN] } },
      command: [sh, -c, "{ awk '{print $1, $3}' /proc/self/uid_map; touch /data/x; stat -c '%u %g' /data/x /proc/self /etc/passwd; grep Cap /proc/self/status; grep -c ' /proc/' /proc/self/mounts || true; } >/dev/termination-log"] }
  volumes: [{ name: data, emptyDir: {} }]
"#,
    },
    // What each container may, in one pod.
    Pod {
        name: "powers",
        rows: &[
            "Succeeded, not ContainersReady: PodCompleted | plain Completed 0 r0 | less Completed 0 r0 | more Completed 0 r0 | all Completed 0 r0 | user Completed 0 r0",
        ],
        spec: r#"
  restartPolicy: Never
  securityContext: { seccompProfile: { type: RuntimeDefault } }
  containers:
  - { name: plain, image: BUSYBOX, command: [sh, -c, "grep -e Cap -e NoNew -e Seccomp: /proc/self/status >/dev/termination-log"] }
  - { name: less, image: BUSYBOX, command: [sh, -c, "grep -e Cap -e NoNew -e Seccomp: /proc/self/status >/dev/termination-log"],
      securityContext: { capabilities: { drop: [ALL], add: [CHOWN, CAP_KILL] }, allowPrivilegeEscalation: false } }
  - { name: more, image: BUSYBOX, command: [sh, -c, "grep -e Cap -e NoNew -e Seccomp: /proc/self/status >/dev/termination-log"],
      securityContext: { capabilities: { add: [ALL], drop: [SYS_ADMIN, NET_RAW] }, seccompProfile: { type: Unconfined } } }
  - { name: all, image: BUSYBOX, command: [sh, -c, "{ grep -e Cap -e NoNew -e Seccomp: /proc/self/status; grep -c '^proc /proc/' /proc/self/mounts; test -e /dev/kmsg && echo devices; } >/dev/termination-log"],
      securityContext: { privileged: true } }
  - { name: user, image: BUSYBOX, command: [sh, -c, "grep -e Cap -e NoNew -e Seccomp: -e Groups /proc/self/status >/dev/termination-log"],
      securityContext: { runAsUser: 1000, runAsGroup: 1001, capabilities: { add: [NET_ADMIN] } } }
"#,
    },
    Pod {
        name: "noprofile",
        rows: &[
            "Pending, not ContainersReady: ContainersNotReady | main waiting CreateContainerError r0",
        ],
        spec: r#"
  containers:
  - { name: main, image: BUSYBOX, command: ["true"], securityContext: { seccompProfile: { type: Localhost, localhostProfile: profiles/none.json } } }
"#,
    },
    // The groups of the image's own file do not count.
    Pod {
        name: "strict",
        rows: &[
            "Succeeded, not ContainersReady: PodCompleted | main Completed 0 r0 | other Completed 0 r0",
        ],
        spec: r#"
  restartPolicy: Never
  securityContext: { supplementalGroups: [60000], supplementalGroupsPolicy: Strict, fsGroup: 60001 }
  containers:
  - { name: main, image: BUSYBOX, command: [sh, -c, "id -G >/dev/termination-log"] }
  - { name: other, image: BUSYBOX, securityContext: { runAsUser: 1, runAsGroup: 2 }, command: [sh, -c, "id -G >/dev/termination-log"] }
"#,
    },
    Pod {
        name: "merged",
        rows: &[
            "Succeeded, not ContainersReady: PodCompleted | main Completed 0 r0 | other Completed 0 r0",
        ],
        spec: r#"
  restartPolicy: Never
  securityContext: { supplementalGroups: [60000], supplementalGroupsPolicy: Merge }
  containers:
  - { name: main, image: BUSYBOX, command: [sh, -c, "id -G >/dev/termination-log"] }
  - { name: other, image: BUSYBOX, securityContext: { runAsUser: 1 }, command: [sh, -c, "id -G >/dev/termination-log"] }
"#,
    },
    Pod {
        name: "zero",
        rows: &[
            "Pending, not ContainersReady: ContainersNotReady | main waiting CreateContainerConfigError r0 | other running r0",
        ],
        spec: r#"
  terminationGracePeriodSeconds: 1
  securityContext: { runAsNonRoot: true }
  containers:
  - { name: main, image: BUSYBOX, command: [sleep, "10"], securityContext: { runAsUser: 0 } }
  - { name: other, image: WORK, command: [/bin/work, sleeper], securityContext: { runAsUser: 7 } }
"#,
    },
    // A folder that is a file.
    Pod {
        name: "badcwd",
        rows: &["Failed, not ContainersReady: PodFailed | main StartError 128 r0"],
        spec: r#"
  restartPolicy: Never
  containers: [{ name: main, image: BUSYBOX, workingDir: /etc/passwd, command: ["true"] }]
"#,
    },
    Pod {
        name: "noexec",
        rows: &[
            "Failed, not ContainersReady: PodFailed | file StartError 128 r0 | folder StartError 128 r0 | name StartError 128 r0",
        ],
        spec: r#"
  restartPolicy: Never
  containers:
  - { name: file, image: BUSYBOX, command: [/etc/passwd] }
  - { name: folder, image: BUSYBOX, command: [/etc] }
  - { name: name, image: BUSYBOX, command: [nothing-of-this-name, argument] }
"#,
    },
    // A file where the image has a folder.
    Pod {
        name: "fileover",
        rows: &[
            "Pending, not ContainersReady: ContainersNotReady | main waiting CreateContainerError r0",
        ],
        spec: r#"
  restartPolicy: Never
  containers: [{ name: main, image: BUSYBOX, command: ["true"], volumeMounts: [{ name: about, mountPath: /etc, subPath: name }] }]
  volumes: [{ name: about, downwardAPI: { items: [{ path: name, fieldRef: { fieldPath: metadata.name } }] } }]
"#,
    },
    Pod {
        name: "kinds",
        rows: &[SUCCEEDED],
        spec: r#"
  restartPolicy: Never
  containers:
  - { name: main, image: BUSYBOX,
      volumeMounts: [{ name: folder, mountPath: /a }, { name: file, mountPath: /b }, { name: device, mountPath: /c }, { name: old, mountPath: /d, readOnly: true }, { name: folder, mountPath: /e, subPath: in/side }],
      command: [sh, -c, "{ stat -c '%F %a %u %g' /a /b /c /d /e; echo x >/b; cat /b; ls /a; } >/dev/termination-log"] }
  volumes:
  - { name: folder, hostPath: { path: "@shared@/kinds/folder", type: DirectoryOrCreate } }
  - { name: file, hostPath: { path: "@shared@/kinds-file", type: FileOrCreate } }
  - { name: device, hostPath: { path: /dev/null, type: CharDevice } }
  - { name: old, hostPath: { path: /etc/hostname, type: File } }
"#,
    },
    // Memory is as large as its limit, or as what its containers may use.
    Pod {
        name: "memory",
        rows: &[SUCCEEDED],
        spec: r#"
  restartPolicy: Never
  containers:
  - { name: main, image: BUSYBOX, resources: { limits: { memory: 64Mi } },
      volumeMounts: [{ name: sized, mountPath: /sized }, { name: rest, mountPath: /rest }, { name: huge, mountPath: /huge }],
      command: [sh, -c, "{ for f in /sized /rest /huge; do df -k $f | awk 'NR==2 {print $1, $2}'; stat -c %a $f; done; dd if=/dev/zero of=/sized/x bs=1M count=3 || ls -s /sized; } >/dev/termination-log 2>/dev/null"] }
  volumes:
  - { name: sized, emptyDir: { medium: Memory, sizeLimit: 2Mi } }
  - { name: rest, emptyDir: { medium: Memory } }
  - { name: huge, emptyDir: { medium: Memory, sizeLimit: 1Gi } }
"#,
    },
    Pod {
        name: "limitsonly",
        rows: &[
            "Succeeded, not ContainersReady: PodCompleted | main Completed 0 r0 | tiny Completed 0 r0",
        ],
        spec: r#"
  restartPolicy: Never
  containers:
  - { name: main, image: BUSYBOX, resources: { limits: { cpu: 20m, memory: 100Mi } }, command: [sh, -c, "{ GROUPS; } >/dev/termination-log"] }
  - { name: tiny, image: BUSYBOX, resources: { requests: { cpu: 1m }, limits: { cpu: 5m } }, command: [sh, -c, "{ GROUPS; } >/dev/termination-log"] }
"#,
    },
    // Variables that name each other and themselves, and none of Services.
    Pod {
        name: "circles",
        rows: &[SUCCEEDED],
        spec: r#"
  restartPolicy: Never
  enableServiceLinks: false
  containers:
  - { name: main, image: BUSYBOX,
      env: [{ name: A, value: "$(B)" }, { name: B, value: "$(A)x" }, { name: C, value: "$(C)" }, { name: D, value: "$$$(A) $(A $A)" }, { name: A, value: "2" }, { name: E, value: "$(A)$(B)" }],
      command: [sh, -c, "{ env | sort | grep -v -e HOSTNAME; echo \"$@\"; } >/dev/termination-log", me],
      args: ["$(A)", "$(B)", "$(C)", "$$(D)", "$(E)$", "$("] }
"#,
    },
    Pod {
        name: "terminal",
        rows: &[SUCCEEDED],
        spec: r#"
  restartPolicy: Never
  containers:
  - { name: main, image: BUSYBOX, tty: true, stdin: true, command: [sh, -c, "{ tty; stty size; stat -c '%a %u %G' /dev/console; echo $TERM; } >/dev/termination-log"] }
"#,
    },
    // An image is a volume.
    Pod {
        name: "imagevolume",
        rows: &[SUCCEEDED],
        spec: r#"
  restartPolicy: Never
  containers:
  - { name: main, image: BUSYBOX, volumeMounts: [{ name: work, mountPath: /whole }, { name: work, mountPath: /bins, subPath: bin }],
      command: [sh, -c, "{ ls /whole /bins; /bins/work exit 9; echo $?; touch /whole/x || echo read-only; } >/dev/termination-log 2>/dev/null"] }
  volumes: [{ name: work, image: { reference: WORK, pullPolicy: IfNotPresent } }]
"#,
    },
    // What one mounts is seen by another who asks for it.
    Pod {
        name: "propagated",
        rows: &[
            "Succeeded, not ContainersReady: PodCompleted | mounts Completed 0 r0 | sees Completed 0 r0 | not Completed 0 r0",
        ],
        spec: r#"
  restartPolicy: Never
  initContainers:
  - { name: mounts, image: BUSYBOX, securityContext: { privileged: true }, volumeMounts: [{ name: data, mountPath: /data, mountPropagation: Bidirectional }],
      command: [sh, -c, "mkdir /data/in && mount -t tmpfs none /data/in && echo there >/data/in/file"] }
  containers:
  - { name: sees, image: BUSYBOX, securityContext: { privileged: true }, volumeMounts: [{ name: data, mountPath: /data, mountPropagation: Bidirectional }],
      command: [sh, -c, "cat /data/in/file >/dev/termination-log; touch /data/seen; until [ -e /data/done ]; do sleep 0.2; done; umount /data/in"] }
  - { name: not, image: BUSYBOX, volumeMounts: [{ name: data, mountPath: /data, mountPropagation: HostToContainer }],
      command: [sh, -c, "until [ -e /data/seen ]; do sleep 0.2; done; touch /data/done; while [ -e /data/in/file ]; do sleep 0.2; done; ls /data >/dev/termination-log"] }
  volumes: [{ name: data, emptyDir: {} }]
"#,
    },
];
