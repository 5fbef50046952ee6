mod refusals;
mod services;
mod workloads;

use super::{Source, pod};
use crate::error::Kind;
use crate::model::{
    DnsPolicy, EnvSource, Handler, PortRef, PullPolicy, RestartPolicy, VolumeSource,
};

fn read(text: &str) -> Result<crate::model::Pod, String> {
    pod(Source { name: "web.yaml", text: text.as_bytes() }, &[]).map_err(|e| {
        assert_eq!(e.kind(), Kind::Invalid);
        e.to_string()
    })
}

/// A pod with `body` as the rest of its spec (two spaces of indent) after one plain container.
fn with_spec(body: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\nspec:\n  containers:\n  - name: a\n    image: img:1\n{body}"
    )
}

/// As above, with `body` in the container (four spaces of indent); it starts at line 9.
fn with_container(body: &str) -> String {
    with_spec(body)
}

/// The notes, each without the words that all paths have behind them.
fn noted(pod: &crate::model::Pod) -> Vec<&str> {
    pod.notes.iter().map(|n| n.trim_end_matches(" means nothing without a cluster")).collect()
}

#[test]
fn defaults_are_the_api_servers() {
    let pod = read(&with_container(
        "    livenessProbe: {httpGet: {port: 80}}\n  - {name: b, image: img}\n  - {name: c, image: 'r:5000/img'}\n  - {name: d, image: 'img@sha256:00'}\n  - {name: e, image: 'img:latest'}\n",
    ))
    .unwrap();
    assert_eq!(pod.meta.namespace, "default");
    assert_eq!(pod.spec.restart_policy, RestartPolicy::Always);
    assert_eq!(pod.spec.termination_grace_period, 30);
    assert_eq!(pod.spec.dns_policy, DnsPolicy::ClusterFirst);
    let policies: Vec<PullPolicy> = pod.spec.containers.iter().map(|c| c.pull_policy).collect();
    use PullPolicy::{Always, IfNotPresent};
    assert_eq!(policies, [IfNotPresent, Always, Always, IfNotPresent, Always]);
    let a = &pod.spec.containers[0];
    assert_eq!(a.termination_message_path, "/dev/termination-log");
    let probe = a.liveness.as_ref().unwrap();
    assert_eq!(
        (probe.timeout, probe.period, probe.success_threshold, probe.failure_threshold),
        (1, 10, 1, 3)
    );
    let Handler::HttpGet(get) = &probe.handler else { panic!("httpGet") };
    assert_eq!((get.path.as_str(), &get.port), ("/", &PortRef::Number(80)));
}

#[test]
fn limits_become_requests_where_none_are_given() {
    let pod = read(&with_container(
        "    resources: {limits: {cpu: 1, memory: 64Mi}, requests: {cpu: 100m}}\n",
    ))
    .unwrap();
    let resources = &pod.spec.containers[0].resources;
    assert_eq!(resources.requests.cpu.unwrap().milli(), 100);
    assert_eq!(resources.requests.memory.unwrap().value(), 64 << 20);
}

#[test]
fn fields_without_meaning_here_are_accepted_and_listed() {
    let pod = read(&with_spec(
        "  nodeSelector: {disk: ssd}\n  tolerations: [{operator: Exists}]\n  priorityClassName: high\n",
    ))
    .unwrap();
    assert_eq!(noted(&pod), ["spec.nodeSelector", "spec.priorityClassName", "spec.tolerations"]);
}

#[test]
fn an_empty_source_is_an_empty_dir_and_octal_modes_are_octal() {
    let pod = read(&format!(
        "{}---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c}}\ndata: {{k: v}}\n",
        with_spec(
            "  volumes:\n  - name: v\n  - {name: c, configMap: {name: c, defaultMode: 0400}}\n"
        )
    ))
    .unwrap();
    assert!(matches!(pod.spec.volumes[0].source, VolumeSource::EmptyDir(_)));
    let VolumeSource::Projected { default_mode, in_memory, .. } = &pod.spec.volumes[1].source
    else {
        panic!("projected")
    };
    assert_eq!((*default_mode, *in_memory), (0o400, false));
}

#[test]
fn secrets_are_decoded_and_never_printed() {
    let secret = b"apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: {a: aGk=}\nstringData: {b: plain}\n";
    let manifest = with_container(
        "    env:\n    - name: X\n      valueFrom: {secretKeyRef: {name: s, key: a}}\n",
    );
    let pod = pod(
        Source { name: "web.yaml", text: manifest.as_bytes() },
        &[Source { name: "s.yaml", text: secret }],
    )
    .unwrap();
    assert_eq!(pod.objects.secrets["s"].data["a"], b"hi");
    assert!(matches!(pod.spec.containers[0].env[0].source, EnvSource::Key { .. }));
    assert!(!format!("{pod:?}").contains("plain"));
}

/// A pod in which every string that has a default, every number and every list says nothing.
const UNSET: &str = r#"apiVersion: v1
kind: Pod
metadata: {name: web, namespace: "", uid: "", labels: null, annotations: {}, generateName: ""}
spec:
  restartPolicy: ""
  dnsPolicy: ""
  hostname: ""
  subdomain: ""
  nodeName: ""
  serviceAccountName: ""
  serviceAccount: ""
  priorityClassName: ""
  runtimeClassName: ""
  schedulerName: ""
  terminationGracePeriodSeconds: null
  hostUsers: null
  ephemeralContainers: []
  resourceClaims: []
  initContainers: []
  readinessGates: []
  schedulingGates: []
  tolerations: []
  hostAliases: []
  imagePullSecrets: [{name: ""}, {}, null]
  dnsConfig: {nameservers: [], options: [{name: edns0, value: ""}]}
  resources: {}
  securityContext:
    fsGroupChangePolicy: ""
    supplementalGroupsPolicy: ""
    supplementalGroups: []
    sysctls: []
    windowsOptions: {}
    seccompProfile: {type: RuntimeDefault, localhostProfile: ""}
  volumes:
  - {name: a, emptyDir: {medium: ""}}
  - {name: b, hostPath: {path: /tmp, type: ""}}
  - {name: c}
  containers:
  - name: a
    image: img:1
    imagePullPolicy: ""
    workingDir: ""
    terminationMessagePath: ""
    terminationMessagePolicy: ""
    restartPolicy: ""
    command: []
    args: null
    env: [{name: A, value: ""}, {name: B, valueFrom: {fieldRef: {apiVersion: "", fieldPath: metadata.name}}}]
    envFrom: []
    volumeDevices: []
    resources: {claims: [], limits: {}, requests: null}
    lifecycle: {}
    securityContext: {procMount: "", capabilities: {add: [], drop: null}, windowsOptions: null}
    ports: [{name: "", containerPort: 8080, protocol: "", hostIP: "", hostPort: 0}]
    volumeMounts: [{name: a, mountPath: /a, subPath: "", subPathExpr: "", mountPropagation: "", recursiveReadOnly: ""}]
    livenessProbe:
      {httpGet: {port: 8080, scheme: "", host: "", path: "", httpHeaders: []}, periodSeconds: 0, timeoutSeconds: 0, successThreshold: 0, failureThreshold: 0, initialDelaySeconds: 0}
"#;

#[test]
fn what_go_calls_unset_is_unset() {
    let plain = read(&with_container("    livenessProbe: {httpGet: {port: 8080}}\n")).unwrap();
    let unset = read(UNSET).unwrap();
    assert_eq!(unset.notes, Vec::<String>::new());
    assert_eq!(unset.meta.namespace, "default");
    let (spec, want) = (&unset.spec, &plain.spec);
    assert_eq!(spec.restart_policy, want.restart_policy);
    assert_eq!(spec.dns_policy, want.dns_policy);
    assert_eq!(spec.termination_grace_period, 30);
    assert_eq!((&spec.hostname, &spec.node_name, &spec.runtime_class), (&None, &None, &None));
    assert_eq!(spec.image_pull_secrets, Vec::<String>::new());
    let (found, want) = (&spec.containers[0], &want.containers[0]);
    assert_eq!(found.liveness, want.liveness);
    assert_eq!(found.pull_policy, want.pull_policy);
    assert_eq!(found.termination_message_path, want.termination_message_path);
    assert_eq!(found.restart_policy, None);
    assert_eq!(found.ports[0].name, None);
}

#[test]
fn objects_say_nothing_the_same_way() {
    let text = format!(
        "{}---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c, namespace: \"\"}}\nimmutable: false\ndata: {{k: null, e: \"\"}}\nbinaryData: null\n---\napiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\ntype: \"\"\ndata: {{k: \"\", 'n': null}}\nstringData: {{}}\n",
        with_spec("")
    );
    let pod = read(&text).unwrap();
    assert_eq!(pod.objects.config_maps["c"].data["k"], b"");
    assert_eq!(pod.objects.secrets["s"].kind, "Opaque");
    assert_eq!(pod.objects.secrets["s"].data["n"], b"");
}

#[test]
fn whole_numbers_may_have_a_point_or_an_exponent_and_fractions_may_not() {
    let pod = read(&with_container(
        "    ports: [{containerPort: 8080.0}]\n    livenessProbe: {tcpSocket: {port: 8.08e+3}, periodSeconds: 1e+1}\n  terminationGracePeriodSeconds: 1e+01\n  securityContext: {runAsUser: 1.00064e+09, supplementalGroups: [1e3]}\n",
    ))
    .unwrap();
    assert_eq!(pod.spec.security.run_as_user, Some(1_000_640_000));
    assert_eq!(pod.spec.security.supplemental_groups, [1000]);
    assert_eq!(pod.spec.termination_grace_period, 10);
    assert_eq!(pod.spec.containers[0].ports[0].container_port, 8080);
    let probe = pod.spec.containers[0].liveness.as_ref().unwrap();
    assert_eq!(probe.period, 10);
    assert!(matches!(&probe.handler, Handler::TcpSocket { port: PortRef::Number(8080), .. }));
    let fault = read(&with_spec("  securityContext: {runAsUser: 1.5}\n")).unwrap_err();
    assert!(fault.ends_with("runAsUser: expected an integer, found a number"), "{fault}");
    let fault = read(&with_spec("  securityContext: {runAsUser: 1e+30}\n")).unwrap_err();
    assert!(fault.ends_with("runAsUser: expected an integer, found a number"), "{fault}");
}

#[test]
fn a_negative_grace_is_one_second() {
    let pod = read(&with_spec("  terminationGracePeriodSeconds: -1\n")).unwrap();
    assert_eq!(pod.spec.termination_grace_period, 1);
    let pod = read(&with_spec("  terminationGracePeriodSeconds: -9223372036854775808\n")).unwrap();
    assert_eq!(pod.spec.termination_grace_period, 1);
    let pod = read(&with_spec("  terminationGracePeriodSeconds: 0\n")).unwrap();
    assert_eq!(pod.spec.termination_grace_period, 0);
}

#[test]
fn what_a_cluster_prints_can_be_replayed() {
    let text = "apiVersion: v1
kind: Pod
metadata: {name: got, generateName: got-, creationTimestamp: null, resourceVersion: '5'}
spec:
  nodeName: node-1
  ephemeralContainers: [{name: debugger, image: x}]
  overhead: {cpu: 1m}
  os: {name: linux}
  containers:
  - {name: a, image: 'i:1', volumeMounts: [{name: kube-api-access-abcde, mountPath: /var/run/secrets/kubernetes.io/serviceaccount, readOnly: true}]}
  volumes:
  - name: kube-api-access-abcde
    projected: {defaultMode: 420, sources: [{serviceAccountToken: {path: token, expirationSeconds: 3607}}]}
status: {phase: Running}
";
    let pod = read(text).unwrap();
    assert_eq!(
        noted(&pod),
        [
            "status",
            "metadata.resourceVersion",
            "metadata.generateName means nothing beside a name",
            "spec.ephemeralContainers",
            "spec.overhead",
            "spec.volumes[0] is left out: only a cluster has that token",
        ]
    );
    assert!(pod.spec.volumes.is_empty() && pod.spec.containers[0].mounts.is_empty());
    let fault = read(&with_spec("  os: {name: windows}\n")).unwrap_err();
    assert!(fault.ends_with("spec.os.name: expected linux, found windows"), "{fault}");
    let fault = read("apiVersion: v1\nkind: Pod\nmetadata: {generateName: x-}\nspec: {}\n");
    assert!(fault.unwrap_err().contains("generateName is for API servers"));
}

#[test]
fn objects_of_another_namespace_are_not_seen_and_noted() {
    let map = |namespace: &str| {
        format!("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c{namespace}}}\n")
    };
    let text = format!("{}{}", with_spec(""), map(", namespace: other"));
    let pod = read(&text).unwrap();
    assert!(pod.objects.config_maps.is_empty());
    assert_eq!(noted(&pod), ["ConfigMap c: in namespace other, the pod is in default"]);
    let text = format!("{}{}{}", with_spec(""), map(""), map(", namespace: other"));
    assert_eq!(read(&text).unwrap().objects.config_maps.len(), 1);
    let text = format!("{}{}{}", with_spec(""), map(""), map(", namespace: default"));
    assert!(read(&text).unwrap_err().ends_with("c is given twice"));
}

#[test]
fn an_init_container_may_use_a_port_of_the_node_before_the_others() {
    let port = "ports: [{containerPort: 80, hostPort: 80}]";
    let two = |list: &str, more: &str| {
        with_container(&format!("    {port}\n  {list}:\n  - {{name: b, image: x, {more}{port}}}\n"))
    };
    assert!(read(&two("initContainers", "")).is_ok());
    let fault = read(&two("initContainers", "restartPolicy: Always, ")).unwrap_err();
    assert!(fault.ends_with("hostPort: 80 is given twice"), "{fault}");
}

#[test]
fn a_pull_secret_that_is_not_there_is_noted() {
    let pod = read(&with_spec("  imagePullSecrets: [{name: regcred}]\n")).unwrap();
    assert_eq!(noted(&pod), ["spec.imagePullSecrets: no Secret \"regcred\" was given"]);
}

#[test]
fn a_divisor_is_a_unit_of_its_resource() {
    let with = |resource: &str, divisor: &str| {
        let reference = format!("{{resource: {resource}, divisor: {divisor}}}");
        let from =
            format!("    env: [{{name: A, valueFrom: {{resourceFieldRef: {reference}}}}}]\n");
        read(&with_container(&from)).map(drop)
    };
    for (resource, divisor) in [
        ("limits.cpu", "1"),
        ("limits.cpu", "1m"),
        ("limits.cpu", "0"),
        ("requests.memory", "1Mi"),
        ("requests.memory", "1k"),
        ("limits.ephemeral-storage", "1Ei"),
        ("limits.hugepages-2Mi", "1Mi"),
    ] {
        with(resource, divisor).unwrap();
    }
    for (resource, divisor) in [
        ("limits.cpu", "100m"),
        ("limits.cpu", "1k"),
        ("limits.memory", "1m"),
        ("limits.memory", "2"),
        ("requests.hugepages-2Mi", "1m"),
    ] {
        let refused = with(resource, divisor).unwrap_err();
        assert!(refused.contains("resourceFieldRef.divisor: is not one of 1"), "{refused}");
    }
}

#[test]
fn a_stop_signal_is_one_of_linux_and_wants_the_pods_os() {
    let with = |signal: &str, os: &str| {
        let container = format!("    lifecycle: {{stopSignal: {signal}}}\n");
        read(&(with_container(&container) + os))
    };
    let os = "  os: {name: linux}\n";
    for (signal, number) in [("SIGUSR1", 29), ("SIGRTMIN+1", 36), ("SIGRTMAX-14", 51)] {
        let pod = with(signal, os).unwrap();
        let found = pod.spec.containers[0].lifecycle.stop_signal.as_ref().unwrap();
        assert_eq!(found.wire() as i32, number, "{signal}");
    }
    for signal in ["USR1", "SIGNONE", "SIGRTMINPLUS1", "RUNTIME_DEFAULT", "sigterm"] {
        let refused = with(signal, os).unwrap_err();
        assert!(refused.contains("stopSignal") && refused.contains(signal), "{refused}");
    }
    let refused = with("SIGUSR1", "").unwrap_err();
    assert!(refused.contains("with empty `spec.os.name`"), "{refused}");
}

#[test]
fn what_kubectl_prints_as_a_list_is_read_item_by_item() {
    let item = "apiVersion: v1\n  kind: ConfigMap\n  metadata: {name: c}";
    let pod_item = with_spec("").trim_end().replace('\n', "\n    ");
    let text = format!(
        "apiVersion: v1\nkind: List\nmetadata: {{resourceVersion: ''}}\nitems:\n- {item}\n- kind: List\n  apiVersion: v1\n  items:\n  - {pod_item}\n"
    );
    let pod = read(&text).unwrap();
    assert_eq!(pod.objects.config_maps.len(), 1);
    let none = read("apiVersion: v1\nkind: List\nitems: []\n").unwrap_err();
    assert!(none.ends_with("no Pod in it"), "{none}");
}

#[test]
fn what_the_api_server_takes_in_odd_places_is_taken() {
    let pod = read(&with_spec(
        "    resources: {limits: {memory: ' 64Mi', nvidia.com/gpu: 0}}\n    volumeMounts: [{name: v, mountPath: '/sys/0000:00:1f.2'}]\n  terminationGracePeriodSeconds: 9223372036854775807\n  volumes: [{name: v, projected: {sources: [{}, null, {downwardAPI: null}]}}]\n",
    ).replace("name: web", "name: web\n  annotations: {Example.com/Note: x}"))
    .unwrap();
    assert_eq!(pod.spec.termination_grace_period, i32::MAX as u32);
    assert_eq!(pod.meta.annotations["Example.com/Note"], "x");
    assert_eq!(pod.spec.containers[0].mounts[0].mount_path, "/sys/0000:00:1f.2");
    let VolumeSource::Projected { sources, .. } = &pod.spec.volumes[0].source else {
        panic!("projected")
    };
    assert!(sources.is_empty());
}
