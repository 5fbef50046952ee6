//! Rules of others that forbid forwarding.

use super::*;

#[test]
fn a_policy_that_drops_what_is_forwarded_lets_pods_pass() {
    let lab = lab_with_outside();
    sh(
        "nft 'add table ip filter; add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }'",
    );
    let network = lab.network();
    let (a, b) = (lab.pod("a").port(Protocol::Tcp, 8080, 80), lab.pod("b"));
    a.add(&network).unwrap();
    let ip_b = b.add(&network).unwrap().ips[0];
    for pod in [&a, &b] {
        pod.serve(80);
    }
    serve_outside();
    assert_eq!(a.run(ask_outside).unwrap(), "192.0.2.1");
    a.run(|| ask(ip_b, 80)).unwrap();
    assert_eq!(in_outside(|| ask([192, 0, 2, 1], 8080)).unwrap(), "192.0.2.2");
    assert_eq!(sh("nft list chain ip filter FORWARD | grep -c accept").trim(), "2");
    a.del(&network).unwrap();
    b.del(&network).unwrap();
}

#[test]
fn a_last_rule_that_rejects_what_is_forwarded_lets_pods_pass() {
    let lab = lab_with_outside();
    sh("nft 'add table ip filter
        add chain ip filter FORWARD { type filter hook forward priority 0; policy accept; }
        add rule ip filter FORWARD iifname \"docker0\" accept
        add rule ip filter FORWARD counter reject with icmp type host-prohibited'");
    let network = lab.network();
    let a = lab.pod("a").port(Protocol::Tcp, 8080, 80);
    a.add(&network).unwrap();
    a.serve(80);
    serve_outside();
    assert_eq!(a.run(ask_outside).unwrap(), "192.0.2.1");
    assert_eq!(in_outside(|| ask([192, 0, 2, 1], 8080)).unwrap(), "192.0.2.2");
    assert_eq!(wait(network.status()).message, "");
    // Until the next pod, if somebody takes it back.
    sh("nft flush chain ip filter FORWARD; nft add rule ip filter FORWARD drop");
    let message = wait(network.status()).message;
    assert!(message.contains("nft chain ip filter FORWARD forbids forwarding"), "{message}");
    assert!(message.ends_with("until the next pod is attached"), "{message}");
    a.del(&network).unwrap();
}

#[test]
fn a_chain_of_somebody_else_that_forbids_forwarding_is_told_by_name() {
    let lab = lab_with_outside();
    let network = lab.network();
    let pod = lab.pod("a");
    pod.add(&network).unwrap();
    serve_outside();
    let reaches = || pod.run(ask_outside).is_ok();
    let told = || wait(network.status()).message;
    let chain = |family: &str, hook: &str, policy: &str| {
        sh(&format!(
            "nft 'table {family} fw {{ set mine {{ type ifname; }}
             chain forward {{ type filter hook {hook} priority 0; policy {policy}; }}; }}'"
        ));
    };
    let by_name = |family: &str| {
        format!(
            "nft chain {family} fw forward forbids forwarding and does not name rrtest0 or \
             10.213.0.0/16: pods may reach nothing beyond it until a rule of it accepts them"
        )
    };
    chain("inet", "forward", "drop");
    assert!(!reaches());
    sh("nft delete table inet fw");
    let named = ["iifname rrtest0 accept", "ip saddr 10.213.0.0/16 accept", "iifname @mine accept"];
    for rule in named {
        chain("inet", "forward", "drop");
        // Answers pass by themselves, as with any firewall.
        sh("nft add rule inet fw forward ct state established accept");
        assert_eq!(told(), by_name("inet"));
        sh(&format!(
            "nft 'add element inet fw mine {{ {} }}; add rule inet fw forward {rule}'",
            if rule.contains("@mine") { "rrtest0" } else { "wire0" }
        ));
        assert_eq!((told(), reaches()), (String::new(), true), "{rule}");
        sh("nft delete table inet fw");
    }
    for family in ["ip", "bridge"] {
        chain(family, "forward", "drop");
        assert_eq!(told(), by_name(family));
        sh(&format!("nft delete table {family} fw"));
    }
    // What forbids nothing of that, and what is not asked.
    for (hook, policy, rule) in
        [("forward", "accept", "ip daddr 192.0.2.9 drop"), ("input", "drop", "counter")]
    {
        chain("inet", hook, policy);
        sh(&format!("nft add rule inet fw forward {rule}"));
        assert_eq!((told(), reaches()), (String::new(), true), "{rule}");
        sh("nft delete table inet fw");
    }
    pod.del(&network).unwrap();
}

#[test]
fn firewalld_is_told_with_the_command_that_lets_pods_pass() {
    let lab = lab_with_outside();
    let network = lab.network();
    let pod = lab.pod("a");
    pod.add(&network).unwrap();
    // As firewalld 1.3 builds it: accepted is what a zone accepts, and the last rule rejects.
    sh("nft 'table inet firewalld {
            chain filter_FWD_public { ct state { established, related } accept; }
            chain filter_FWD_trusted { accept; }
            chain filter_FORWARD_ZONES { iifname \"wire0\" goto filter_FWD_public; }
            chain filter_FORWARD {
                type filter hook forward priority 10; policy accept;
                ct state { established, related } accept
                jump filter_FORWARD_ZONES
                ct state invalid drop
                reject with icmpx admin-prohibited
            }
        }'");
    let message = wait(network.status()).message;
    assert!(message.starts_with("nft chain inet firewalld filter_FORWARD forbids"), "{message}");
    assert!(message.contains("firewall-cmd --zone=trusted --add-interface=rrtest0"), "{message}");
    serve_outside();
    assert!(pod.run(ask_outside).is_err());
    // What that command adds.
    sh(
        "nft insert rule inet firewalld filter_FORWARD_ZONES iifname rrtest0 goto filter_FWD_trusted",
    );
    assert_eq!(wait(network.status()).message, "");
    assert_eq!(pod.run(ask_outside).unwrap(), "192.0.2.1");
    pod.del(&network).unwrap();
}

#[test]
fn a_policy_of_legacy_iptables_that_drops_lets_pods_pass() {
    if sh("command -v iptables-legacy || true").is_empty() {
        eprintln!("skipped: iptables-legacy is not installed");
        return;
    }
    let lab = lab_with_outside();
    sh("iptables-legacy -P FORWARD DROP");
    let network = lab.network();
    let (a, b) = (lab.pod("a").port(Protocol::Tcp, 8080, 80), lab.pod("b"));
    a.add(&network).unwrap();
    b.add(&network).unwrap();
    a.serve(80);
    serve_outside();
    assert_eq!(a.run(ask_outside).unwrap(), "192.0.2.1");
    assert_eq!(in_outside(|| ask([192, 0, 2, 1], 8080)).unwrap(), "192.0.2.2");
    // Once each way, however many pods come.
    assert_eq!(sh("iptables-legacy -S FORWARD | grep -c ACCEPT").trim(), "2");
    a.del(&network).unwrap();
    b.del(&network).unwrap();
}
