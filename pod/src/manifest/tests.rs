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
    assert_eq!(pod.ignored, ["spec.nodeSelector", "spec.priorityClassName", "spec.tolerations"]);
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

#[test]
fn every_refusal_names_file_line_path_and_reason() {
    let cases: &[(&str, String, &str)] = &[
        (
            "unknown field",
            with_container("    prots: []\n"),
            "web.yaml:9: spec.containers[0].prots: unknown field",
        ),
        (
            "wrong type",
            with_container("    command: sleep\n"),
            "web.yaml:9: spec.containers[0].command: expected a list, found a string",
        ),
        (
            "number for string",
            with_container("    env:\n    - {name: A, value: 1}\n"),
            "web.yaml:10: spec.containers[0].env[0].value: expected a string, found an integer (put it in quotes)",
        ),
        (
            "norway",
            with_container("    env:\n    - name: A\n      value: no\n"),
            "web.yaml:11: spec.containers[0].env[0].value: expected a string, found a boolean (put it in quotes)",
        ),
        (
            "not yet",
            with_spec("  hostUsers: false\n"),
            "web.yaml:9: spec.hostUsers: not supported yet: spec.hostUsers=false",
        ),
        (
            "claim",
            with_spec("  volumes:\n  - name: d\n    persistentVolumeClaim: {claimName: x}\n"),
            "web.yaml:11: spec.volumes[0].persistentVolumeClaim: not supported yet: spec.volumes[0].persistentVolumeClaim",
        ),
        (
            "name",
            with_spec("  - {name: A_b, image: i}\n"),
            "web.yaml:9: spec.containers[1].name: \"A_b\" must consist of lower case letters, digits and '-', and start and end with a letter or digit",
        ),
        (
            "twice",
            with_spec("  - {name: a, image: i}\n"),
            "web.yaml:9: spec.containers[1].name: \"a\" is given twice",
        ),
        (
            "missing",
            with_spec("  - {name: b}\n"),
            "web.yaml:9: spec.containers[1].image: is required",
        ),
        (
            "port",
            with_container("    ports:\n    - containerPort: 70000\n"),
            "web.yaml:10: spec.containers[0].ports[0].containerPort: 70000 is not between 1 and 65535",
        ),
        (
            "enum",
            with_spec("  restartPolicy: always\n"),
            "web.yaml:9: spec.restartPolicy: \"always\" is not one of Always, OnFailure, Never",
        ),
        (
            "no volume",
            with_container("    volumeMounts:\n    - name: v\n      mountPath: /v\n"),
            "web.yaml:10: spec.containers[0].volumeMounts[0].name: no volume is named \"v\"",
        ),
        (
            "sub path",
            with_container(
                "    volumeMounts:\n    - {name: v, mountPath: /v, subPath: ../x}\n  volumes: [{name: v}]\n",
            ),
            "web.yaml:10: spec.containers[0].volumeMounts[0]: subPath \"../x\" must not contain '..'",
        ),
        (
            "two sources",
            with_spec("  volumes:\n  - {name: v, emptyDir: {}, hostPath: {path: /}}\n"),
            "web.yaml:10: spec.volumes[0]: may not name more than one kind of volume",
        ),
        (
            "no object",
            with_spec("  volumes:\n  - {name: v, configMap: {name: c}}\n"),
            "web.yaml:10: spec.volumes[0]: no ConfigMap \"c\" was given",
        ),
        (
            "quantity",
            with_container("    resources: {limits: {memory: 64mb}}\n"),
            "web.yaml:9: spec.containers[0].resources.limits.memory: quantity \"64mb\": unknown suffix",
        ),
        (
            "over",
            with_container("    resources: {limits: {cpu: 1}, requests: {cpu: 2}}\n"),
            "web.yaml:9: spec.containers[0].resources: requests.cpu must not be more than limits.cpu",
        ),
        (
            "two handlers",
            with_container("    livenessProbe: {exec: {command: [a]}, tcpSocket: {port: 1}}\n"),
            "web.yaml:9: spec.containers[0].livenessProbe: exactly one of exec, httpGet, tcpSocket, grpc must be given",
        ),
        (
            "liveness success",
            with_container("    livenessProbe: {exec: {command: [a]}, successThreshold: 2}\n"),
            "web.yaml:9: spec.containers[0].livenessProbe.successThreshold: must be 1",
        ),
        (
            "named port",
            with_container("    readinessProbe: {httpGet: {port: http}}\n"),
            "web.yaml:9: spec.containers[0].readinessProbe.httpGet.port: the container has no port named \"http\"",
        ),
        (
            "init probe",
            with_spec(
                "  initContainers:\n  - {name: i, image: x, readinessProbe: {exec: {command: [a]}}}\n",
            ),
            "web.yaml:10: spec.initContainers[0].readinessProbe: may not be set for init containers without restartPolicy: Always",
        ),
        (
            "bidirectional",
            with_container(
                "    volumeMounts: [{name: v, mountPath: /v, mountPropagation: Bidirectional}]\n  volumes: [{name: v}]\n",
            ),
            "web.yaml:9: spec.containers[0].volumeMounts[0].mountPropagation: Bidirectional is for privileged containers only",
        ),
        (
            "key twice",
            with_spec("  hostNetwork: true\n  hostNetwork: true\n"),
            "web.yaml:10: hostNetwork: the key appears twice",
        ),
        (
            "yaml",
            with_spec("  volumes: [\n"),
            "web.yaml:10: YAML: while parsing a node, did not find expected node content",
        ),
        (
            "kind",
            "apiVersion: v1\nkind: Deployment\nmetadata: {name: x}\nspec: {}\n".into(),
            "web.yaml:2: kind: expected Pod, found Deployment",
        ),
        ("empty", "# nothing\n".into(), "web.yaml: no Pod in it"),
        ("a list", "- a\n".into(), "web.yaml:1: expected an object, found a list"),
        (
            "two pods",
            format!("{}---\n{}", with_spec(""), with_spec("")),
            "web.yaml:10: a second document that is no ConfigMap or Secret: one Pod a file",
        ),
        (
            "field path",
            with_container("    env: [{name: A, valueFrom: {fieldRef: {fieldPath: spec.x}}}]\n"),
            "web.yaml:9: spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: \"spec.x\" is not a field of a pod that can be referred to",
        ),
        (
            "relative host path",
            with_spec("  volumes: [{name: v, hostPath: {path: data}}]\n"),
            "web.yaml:9: spec.volumes[0].hostPath.path: must be an absolute path: a manifest has no working directory",
        ),
        (
            "privilege",
            with_container(
                "    securityContext: {privileged: true, allowPrivilegeEscalation: false}\n",
            ),
            "web.yaml:9: spec.containers[0].securityContext.allowPrivilegeEscalation: cannot be false when privileged is true",
        ),
        (
            "dns",
            with_spec("  dnsPolicy: None\n"),
            "web.yaml:5: spec.dnsConfig.nameservers: must not be empty when dnsPolicy is None",
        ),
    ];
    for (name, text, want) in cases {
        assert_eq!(read(text).unwrap_err(), *want, "case {name}");
    }
}

#[test]
fn no_manifest_makes_the_reader_panic() {
    let base =
        with_container("    env: [{name: A, value: 'x'}]\n    ports: [{containerPort: 80}]\n");
    // Every truncation and every one-byte change of a manifest: a fault or a pod, never a panic.
    for end in 0..base.len() {
        let _ = read(&base[..end]);
    }
    for i in 0..base.len() {
        for byte in [b'\t', b':', b'[', b'{', b'&', b'*', b'\'', b'"', b'-', 0] {
            let mut text = base.clone().into_bytes();
            text[i] = byte;
            let _ = pod(Source { name: "x", text: &text }, &[]);
        }
    }
}
