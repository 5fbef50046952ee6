//! The three files that every container of a pod finds in its /etc: pure text.

use crate::model::{Dns, PodConfig};

/// Content of resolv.conf; `None` in a pod copies the host's.
pub(crate) fn resolv_conf(dns: &Dns) -> String {
    let mut text = String::new();
    if !dns.searches.is_empty() {
        text.push_str(&format!("search {}\n", dns.searches.join(" ")));
    }
    for server in &dns.servers {
        text.push_str(&format!("nameserver {server}\n"));
    }
    if !dns.options.is_empty() {
        text.push_str(&format!("options {}\n", dns.options.join(" ")));
    }
    text
}

/// The name that a pod's processes see; that of the host where the pod asks for none.
pub(crate) fn hostname<'a>(config: &'a PodConfig, host: &'a str) -> &'a str {
    if config.hostname.is_empty() { host } else { &config.hostname }
}

/// Whether a pod gets a network (and with it a UTS) namespace of its own.
pub(crate) fn has_network(config: &PodConfig) -> bool {
    config.security.namespaces.network != crate::model::NamespaceMode::Node
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolv_conf_has_one_search_one_options_and_a_line_for_each_server() {
        let dns = Dns {
            servers: vec!["10.0.0.10".into(), "10.0.0.11".into()],
            searches: vec!["a.local".into(), "local".into()],
            options: vec!["ndots:5".into()],
        };
        let text =
            "search a.local local\nnameserver 10.0.0.10\nnameserver 10.0.0.11\noptions ndots:5\n";
        assert_eq!(resolv_conf(&dns), text);
        assert_eq!(resolv_conf(&Dns::default()), "");
    }
}
