//! The pod's resolv.conf (the kubelet's `network/dns`), without a cluster's DNS.

use crate::model::{DnsPolicy, Pod};

const MAX_SERVERS: usize = 3;
const MAX_SEARCHES: usize = 32;
const MAX_SEARCH_CHARS: usize = 2_048;
const MAX_DOMAIN: usize = 253;

/// What a resolv.conf says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResolvConf {
    /// `nameserver` lines.
    pub servers: Vec<String>,
    /// The last `search` line.
    pub searches: Vec<String>,
    /// The last `options` line.
    pub options: Vec<String>,
}

impl ResolvConf {
    /// Reads a resolv.conf; lines that are none of the three are left out, as the kubelet does.
    pub fn parse(text: &str) -> Self {
        let mut conf = ResolvConf::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    conf.servers.extend(
                        words.next().filter(|w| !w.starts_with(['#', ';'])).map(str::to_owned),
                    );
                }
                Some("search") => {
                    // "." alone is dropped by the kubelet's reader of glibc's root.
                    conf.searches = words
                        .map(|w| if w == "." { w } else { w.trim_end_matches('.') })
                        .map(str::to_owned)
                        .collect();
                }
                Some("options") => conf.options = words.map(str::to_owned).collect(),
                _ => {}
            }
        }
        conf
    }
}

/// What the pod's resolv.conf says, and what had to be left out.
pub fn config(pod: &Pod, node: &ResolvConf) -> (ResolvConf, Option<String>) {
    let mut conf = match pod.spec.dns_policy {
        DnsPolicy::None => ResolvConf::default(),
        // Without a cluster DNS the kubelet falls back to Default.
        DnsPolicy::ClusterFirst | DnsPolicy::ClusterFirstWithHostNet | DnsPolicy::Default => {
            node.clone()
        }
    };
    let own = &pod.spec.dns_config;
    for server in &own.nameservers {
        push_new(&mut conf.servers, server);
    }
    for search in &own.searches {
        push_new(&mut conf.searches, search);
    }
    for (name, value) in &own.options {
        let text = value.as_ref().map_or_else(|| name.clone(), |v| format!("{name}:{v}"));
        let same = |o: &String| o.split(':').next() == Some(name);
        match conf.options.iter_mut().find(|o| same(o)) {
            Some(slot) => *slot = text,
            None => conf.options.push(text),
        }
    }
    let warning = fit(&mut conf);
    (conf, warning)
}

fn push_new(list: &mut Vec<String>, text: &str) {
    if !list.iter().any(|t| t == text) {
        list.push(text.to_owned());
    }
}

/// glibc reads no more than this; the kubelet cuts and warns.
fn fit(conf: &mut ResolvConf) -> Option<String> {
    let mut warning = None;
    if conf.servers.len() > MAX_SERVERS {
        conf.servers.truncate(MAX_SERVERS);
        warning = Some(format!(
            "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: {}",
            conf.servers.join(" ")
        ));
    }
    let before = conf.searches.len();
    conf.searches.truncate(MAX_SEARCHES);
    conf.searches.retain(|s| s.len() <= MAX_DOMAIN);
    while conf.searches.join(" ").len() > MAX_SEARCH_CHARS {
        conf.searches.pop();
    }
    if conf.searches.len() < before {
        warning = Some(format!(
            "Search Line limits were exceeded, some search paths have been omitted, the applied search line is: {}",
            conf.searches.join(" ")
        ));
    }
    warning
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pod;

    const NODE: &str = "# x\nnameserver 10.0.0.1\nnameserver 10.0.0.2\nsearch a.example. b\noptions ndots:2 rotate\n";

    #[test]
    fn the_nodes_file_is_the_base_and_the_pods_config_is_added() {
        let pod = pod("  containers: [{name: a, image: i}]
  dnsConfig: {nameservers: [10.0.0.2, 10.0.0.9], searches: [c], options: [{name: ndots, value: '5'}, {name: edns0}]}
");
        let (conf, warning) = config(&pod, &ResolvConf::parse(NODE));
        assert_eq!(conf.servers, ["10.0.0.1", "10.0.0.2", "10.0.0.9"]);
        assert_eq!(conf.searches, ["a.example", "b", "c"]);
        assert_eq!(conf.options, ["ndots:5", "rotate", "edns0"]);
        assert_eq!(warning, None);
    }

    #[test]
    fn what_the_resolver_would_not_read_is_cut_with_a_warning() {
        let pod = pod("  containers: [{name: a, image: i}]
  dnsConfig: {nameservers: [10.0.0.3, 10.0.0.4]}
");
        let (conf, warning) = config(&pod, &ResolvConf::parse(NODE));
        assert_eq!(conf.servers.len(), 3);
        assert!(warning.unwrap().starts_with("Nameserver limits were exceeded"));
    }

    #[test]
    fn policy_none_takes_nothing_from_the_node() {
        let pod = pod("  containers: [{name: a, image: i}]
  dnsPolicy: None
  dnsConfig: {nameservers: [10.0.0.3]}
");
        let (conf, _) = config(&pod, &ResolvConf::parse(NODE));
        assert_eq!(conf, ResolvConf { servers: vec!["10.0.0.3".into()], ..ResolvConf::default() });
    }
}
