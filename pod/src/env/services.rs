//! The variables of Services (the kubelet's `pkg/kubelet/envvars`).
//!
//! Where a cluster has the address of a Service, here stands that of its first pod that has one.

use std::fmt::Display;

use super::expansion::Environment;
use crate::addresses::Addresses;
use crate::model::{Pod, Service, ServicePort};

/// The Service whose variables every pod has, whatever it asks for.
const KUBERNETES: (&str, &str) = ("default", "kubernetes");

/// The variables of the Services that a pod is told of.
pub fn variables(pod: &Pod, addresses: &Addresses) -> Environment {
    let mut all = Environment::default();
    for service in pod.objects.services.iter().filter(|service| is_told(pod, service)) {
        let known = |selected| addresses.behind(service, selected, &pod.meta).first();
        let Some(host) = service.pods.iter().find_map(known) else { continue };
        add(&mut all, service, host);
    }
    all
}

fn is_told(pod: &Pod, service: &Service) -> bool {
    let is_kubernetes = (service.namespace.as_str(), service.name.as_str()) == KUBERNETES;
    let is_near = pod.spec.enable_service_links && service.namespace == pod.meta.namespace;
    !service.headless && (is_kubernetes || is_near)
}

fn add(all: &mut Environment, service: &Service, host: &str) {
    let mut set = |name: String, value: &dyn Display| all.set(name, value.to_string());
    let prefix = upper(&service.name);
    set(format!("{prefix}_SERVICE_HOST"), &host);
    let Some(first) = service.ports.first() else { return };
    set(format!("{prefix}_SERVICE_PORT"), &first.port);
    for ServicePort { name, port, .. } in &service.ports {
        if let Some(name) = name {
            set(format!("{prefix}_SERVICE_PORT_{}", upper(name)), port);
        }
    }
    for (i, ServicePort { port, protocol, .. }) in service.ports.iter().enumerate() {
        let protocol = protocol.as_str();
        let spoken = protocol.to_lowercase();
        let host_and_port =
            if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let url = format!("{spoken}://{host_and_port}");
        if i == 0 {
            set(format!("{prefix}_PORT"), &url);
        }
        let prefix = format!("{prefix}_PORT_{port}_{protocol}");
        set(prefix.clone(), &url);
        set(format!("{prefix}_PROTO"), &spoken);
        set(format!("{prefix}_PORT"), port);
        set(format!("{prefix}_ADDR"), &host);
    }
}

fn upper(name: &str) -> String {
    name.replace('-', "_").to_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::{FileValues, environment};
    use crate::testing;

    const SERVICES: &str = "---
apiVersion: v1
kind: Service
metadata: {name: my-db}
spec:
  selector: {app: web}
  ports: [{name: sql, port: 5432}, {name: stats-2, port: 53, protocol: UDP}]
---
apiVersion: v1
kind: Service
metadata: {name: kubernetes, namespace: default}
spec: {selector: {app: web}, ports: [{port: 443}]}
---
apiVersion: v1
kind: Service
metadata: {name: quiet}
spec: {clusterIP: None, selector: {app: web}, ports: [{port: 1}]}
---
apiVersion: v1
kind: Service
metadata: {name: far, namespace: other}
spec: {selector: {app: web}, ports: [{port: 1}]}
";

    fn read(spec: &str) -> Pod {
        testing::labelled_pod("{app: web}", &format!("{spec}{SERVICES}"))
    }

    fn told(pod: &Pod, addresses: &Addresses) -> Vec<String> {
        let node = testing::facts();
        let container = &pod.spec.containers[0];
        let env = environment(pod, container, addresses, &node, &FileValues::new()).unwrap();
        env.iter().map(|(name, value)| format!("{name}={value}")).collect()
    }

    const KUBERNETES: [&str; 7] = [
        "KUBERNETES_SERVICE_HOST=10.0.0.2",
        "KUBERNETES_SERVICE_PORT=443",
        "KUBERNETES_PORT=tcp://10.0.0.2:443",
        "KUBERNETES_PORT_443_TCP=tcp://10.0.0.2:443",
        "KUBERNETES_PORT_443_TCP_PROTO=tcp",
        "KUBERNETES_PORT_443_TCP_PORT=443",
        "KUBERNETES_PORT_443_TCP_ADDR=10.0.0.2",
    ];

    #[test]
    fn variables_of_services_are_the_kubelets() {
        let addresses = Addresses { pod: vec!["10.0.0.2".into()], ..Addresses::default() };
        let plain = "  containers: [{name: a, image: i}]\n";
        let own = [
            "MY_DB_SERVICE_HOST=10.0.0.2",
            "MY_DB_SERVICE_PORT=5432",
            "MY_DB_SERVICE_PORT_SQL=5432",
            "MY_DB_SERVICE_PORT_STATS_2=53",
            "MY_DB_PORT=tcp://10.0.0.2:5432",
            "MY_DB_PORT_5432_TCP=tcp://10.0.0.2:5432",
            "MY_DB_PORT_5432_TCP_PROTO=tcp",
            "MY_DB_PORT_5432_TCP_PORT=5432",
            "MY_DB_PORT_5432_TCP_ADDR=10.0.0.2",
            "MY_DB_PORT_53_UDP=udp://10.0.0.2:53",
            "MY_DB_PORT_53_UDP_PROTO=udp",
            "MY_DB_PORT_53_UDP_PORT=53",
            "MY_DB_PORT_53_UDP_ADDR=10.0.0.2",
        ];
        assert_eq!(told(&read(plain), &addresses), [&KUBERNETES[..], &own].concat());
        let without = read(&format!("  enableServiceLinks: false\n{plain}"));
        assert_eq!(told(&without, &addresses), KUBERNETES);
        assert!(told(&read(plain), &Addresses::default()).is_empty(), "no address, no variables");
    }

    #[test]
    fn a_containers_own_variables_may_use_those_of_services_and_come_before_them() {
        let pod = read(
            "  containers: [{name: a, image: i, env: [{name: URL, value: $(MY_DB_PORT)/x}, {name: MY_DB_PORT, value: mine}, {name: AGAIN, value: $(MY_DB_PORT)}]}]\n",
        );
        let addresses = Addresses { pod: vec!["fd00::2".into()], ..Addresses::default() };
        let told = told(&pod, &addresses);
        let own = ["URL=tcp://[fd00::2]:5432/x", "MY_DB_PORT=mine", "AGAIN=mine"];
        assert_eq!(told[..3], own);
        assert_eq!(told.iter().filter(|one| one.starts_with("MY_DB_PORT=")).count(), 1);
        assert!(told.contains(&"MY_DB_SERVICE_HOST=fd00::2".to_owned()), "{told:?}");
    }
}
