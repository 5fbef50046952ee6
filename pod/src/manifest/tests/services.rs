//! Services beside pods.

use super::with_spec;
use crate::manifest::{Source, pods};
use crate::model::Pod;

fn all(text: &str) -> Result<Vec<Pod>, String> {
    pods(&[Source { name: "web.yaml", text: text.as_bytes() }], &[]).map_err(|e| e.to_string())
}

/// A Deployment of so many pods labelled `app: web` with the port `http` (8080), and a Service `web`
/// with this spec.
fn beside(replicas: u32, service: &str) -> String {
    format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec: {{containers: [{{name: a, image: 'i:1', ports: [{{name: http, containerPort: 8080}}]}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: web, labels: {{chart: x}}}}
spec: {{{service}}}
"
    )
}

#[test]
fn a_service_knows_its_pods_and_what_it_cannot_do_is_noted() {
    let selector = "selector: {app: web}";
    let spread = "its name leads to all 2 pods and its variables to the first; connections are not \
                  spread among them";
    for (replicas, spec, notes) in [
        (1, format!("{selector}, ports: [{{port: 8080}}]"), vec![]),
        (1, format!("{selector}, ports: [{{port: 8080, targetPort: http}}]"), vec![]),
        (
            1,
            format!("{selector}, clusterIP: None, ports: [{{port: 80, targetPort: 8080}}]"),
            vec![],
        ),
        (2, format!("{selector}, ports: [{{port: 8080}}]"), vec![spread]),
        (
            1,
            format!("{selector}, ports: [{{port: 80, targetPort: http}}]"),
            vec!["nothing turns its port 80 into port 8080 of its pods: connect to web:8080"],
        ),
        (
            1,
            "selector: {app: db}, ports: [{port: 80}]".to_owned(),
            vec!["none of these pods has the labels that it selects"],
        ),
        (
            1,
            "ports: [{port: 80}]".to_owned(),
            vec!["it has no selector, and nothing is behind it here"],
        ),
        (
            1,
            "type: ExternalName, externalName: db.example.com".to_owned(),
            vec![
                "only a DNS server could make its name lead to db.example.com: use db.example.com \
                 itself",
            ],
        ),
        (
            1,
            format!("{selector}, type: LoadBalancer, ports: [{{port: 8080, nodePort: 30000}}]"),
            vec!["no port of the node leads to it: give a container a hostPort"],
        ),
        (
            1,
            format!("{selector}, clusterIP: 10.96.0.9, ports: [{{port: 8080}}]"),
            vec!["nobody answers at 10.96.0.9: its name leads to its pods"],
        ),
        (
            1,
            format!("{selector}, externalIPs: [192.0.2.1], ports: [{{port: 8080}}]"),
            vec!["spec.externalIPs means nothing without a cluster"],
        ),
    ] {
        let found = all(&beside(replicas, &spec)).unwrap();
        let notes: Vec<String> = notes.iter().map(|note| format!("Service web: {note}")).collect();
        assert_eq!(found[0].notes, notes, "{spec}");
    }
    let found = all(&beside(2, &format!("{selector}, ports: [{{port: 80}}]"))).unwrap();
    let service = &found[1].objects.services[0];
    let names: Vec<&str> = service.pods.iter().map(|pod| pod.name.as_str()).collect();
    assert_eq!(names, ["web-0", "web-1"]);
}

#[test]
fn a_service_selects_in_its_namespace_and_one_without_in_each() {
    let service = |namespace: &str| {
        format!(
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: web{namespace}}}\nspec: \
             {{selector: {{app: web}}, ports: [{{port: 8080}}]}}\n"
        )
    };
    let other =
        with_spec("").replace("name: web", "name: far\n  namespace: far\n  labels: {app: web}");
    let near = with_spec("").replace("name: web", "name: near\n  labels: {app: web}");
    let behind = |namespace: &str| {
        let found = all(&format!("{other}---\n{near}{}", service(namespace))).unwrap();
        let one = |pod: &Pod| {
            let service = &pod.objects.services[0];
            service.pods.iter().map(|pod| service.full_name(pod)).collect::<Vec<_>>()
        };
        found.iter().map(one).collect::<Vec<_>>()
    };
    assert_eq!(behind(""), [["far/far"], ["default/near"]]);
    assert_eq!(behind(", namespace: far"), [["far/far"], ["far/far"]]);
    let twice = all(&format!("{near}{}{}", service(""), service(", namespace: default")));
    assert_eq!(twice.unwrap_err(), "web.yaml: Service web is given twice");
}

#[test]
fn what_the_api_server_refuses_of_a_service_is_refused_with_its_place() {
    for (spec, want) in [
        ("selector: {a: b}", "14: spec.ports: is required"),
        ("ports: [{port: 0}]", "14: spec.ports[0].port: 0 is not between 1 and 65535"),
        ("ports: [{port: 1}, {port: 2}]", "14: spec.ports[0].name: is required"),
        ("ports: [{name: a, port: 1}, {name: a, port: 2}]", "14: spec: port \"a\" is given twice"),
        ("type: ExternalName", "14: spec.externalName: is required"),
        (
            "type: NodePort, clusterIP: None, ports: [{port: 1}]",
            "14: spec.clusterIP: may not be set to 'None' for NodePort and LoadBalancer services",
        ),
        (
            "ports: [{port: 1, targetPort: 70000}]",
            "14: spec.ports[0].targetPort: 70000 is not between 1 and 65535",
        ),
        (
            "ports: [{port: 1}], selectors: {}",
            "14: spec.selectors: unknown field, did you mean selector?",
        ),
    ] {
        let refused = all(&beside(1, spec)).unwrap_err();
        assert_eq!(refused, format!("web.yaml:{want}"), "{spec}");
    }
}
