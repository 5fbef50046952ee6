//! Manifests that are refused, each with its file, line, path and reason.

use super::*;

#[test]
fn every_refusal_names_file_line_path_and_reason() {
    let cases: &[(&str, String, &str)] = &[
        (
            "unknown field",
            with_container("    prots: []\n"),
            "web.yaml:9: spec.containers[0].prots: unknown field, did you mean ports?",
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
            "own users on the node's network",
            with_spec("  hostUsers: false\n  hostNetwork: true\n"),
            "web.yaml:10: spec.hostNetwork: Forbidden: when `hostUsers` is false",
        ),
        (
            "own users among the node's processes",
            with_spec("  hostUsers: false\n  hostPID: true\n"),
            "web.yaml:10: spec.hostPID: Forbidden: when `hostUsers` is false",
        ),
        (
            "own users with the node's IPC",
            with_spec("  hostIPC: true\n  hostUsers: false\n"),
            "web.yaml:9: spec.hostIPC: Forbidden: when `hostUsers` is false",
        ),
        (
            "own users and devices",
            with_spec(
                "  - {name: b, image: i, volumeDevices: [{name: v, devicePath: /d}]}\n  hostUsers: false\n",
            ),
            "web.yaml:9: spec.containers[1].volumeDevices: Forbidden: when `hostUsers` is false",
        ),
        (
            "devices",
            with_container("    volumeDevices: [{name: v, devicePath: /d}]\n"),
            "web.yaml:9: spec.containers[0].volumeDevices: not supported yet: spec.containers[0].volumeDevices",
        ),
        (
            "proc",
            with_container("    securityContext: {procMount: Unmasked}\n"),
            "web.yaml:9: spec.containers[0].securityContext.procMount: Invalid value: \"Unmasked\": `hostUsers` must be false to use `Unmasked`",
        ),
        (
            "claim",
            with_spec("  volumes:\n  - name: d\n    persistentVolumeClaim: {claimName: x}\n"),
            "web.yaml:10: spec.volumes[0]: no PersistentVolumeClaim \"x\" was given",
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
            "yaml",
            with_spec("  volumes: [\n"),
            "web.yaml:10: YAML: while parsing a flow node, did not find expected node content",
        ),
        (
            "kind",
            "apiVersion: v1\nkind: Pdo\nmetadata: {name: x}\nspec: {}\n".into(),
            "web.yaml:2: kind: no kind \"Pdo\" is known, did you mean Pod?",
        ),
        ("empty", "# nothing\n".into(), "web.yaml: no Pod in it"),
        ("a list", "- a\n".into(), "web.yaml:1: expected an object, found a list"),
        (
            "two pods",
            format!("{}---\n{}", with_spec(""), with_spec("")),
            "web.yaml: Pod default/web is given twice",
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
            "sysctl twice",
            with_spec(
                "  securityContext:\n    sysctls:\n    - {name: net.a, value: '1'}\n    - {name: net/a, value: '2'}\n",
            ),
            "web.yaml:12: spec.securityContext.sysctls[1].name: \"net.a\" is given twice",
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
