//! Pods with addresses of both families.

use super::*;
use lab::{advertise, await_that};
use rrun_cni::Network;
use std::net::Ipv6Addr;

/// As [`lab_with_outside`], where the host and its neighbour have IPv6 addresses too.
fn lab_with_both() -> (Lab, Network) {
    let lab = lab_with_outside();
    sh("ip addr add 2001:db8::1/64 dev wire0 nodad");
    in_outside(|| sh("ip addr add 2001:db8::2/64 dev wire1 nodad"));
    let network = open_both(&lab);
    (lab, network)
}

fn open_both(lab: &Lab) -> Network {
    let subnet6 = Some("fd00:213::/64".parse().unwrap());
    open(rrun_cni::Config { subnet6, ..lab.config() }).unwrap()
}

fn six(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

#[test]
fn a_pod_has_an_address_of_each_family_and_reaches_all_by_both() {
    let (lab, network) = lab_with_both();
    let (a, b) = (lab.pod("a"), lab.pod("b"));
    let got = a.add(&network).unwrap();
    let ips: Vec<String> = got.ips.iter().map(ToString::to_string).collect();
    assert_eq!(ips, ["10.213.0.2", "fd00:213::2"]);
    let result: serde_json::Value = serde_json::from_str(&got.result).unwrap();
    assert_eq!(result["ips"][1]["address"], "fd00:213::2/64");
    assert_eq!(result["routes"][1]["dst"], "::/0");
    let ips = b.add(&network).unwrap().ips;
    b.serve(80);
    for (ip, own) in [(ips[0], "10.213.0.2"), (ips[1], "fd00:213::2")] {
        assert_eq!(a.run(|| ask(ip, 80)).unwrap(), own);
    }
    assert_eq!(ask(ips[1], 80).unwrap(), "fd00:213::1");
    // With the node's address, beyond the node.
    in_outside(|| serve(TcpListener::bind("[2001:db8::2]:83").unwrap()));
    assert_eq!(a.run(|| ask(six("2001:db8::2"), 83)).unwrap(), "2001:db8::1");
    a.del(&network).unwrap();
    b.del(&network).unwrap();
    assert_eq!(traces(), "");
}

#[test]
fn a_host_port_is_reached_by_both_families() {
    let (lab, network) = lab_with_both();
    let web = lab.pod("web").port(Protocol::Tcp, 8080, 80).port_on("2001:db8::1", 8081, 80);
    let web = web.port_on("192.0.2.1", 8082, 80);
    let other = lab.pod("other");
    web.add(&network).unwrap();
    other.add(&network).unwrap();
    web.serve(80);
    let (four, node) = ([192, 0, 2, 1], six("2001:db8::1"));
    assert_eq!(in_outside(|| ask(four, 8080)).unwrap(), "192.0.2.2");
    assert_eq!(in_outside(|| ask(node, 8080)).unwrap(), "2001:db8::2");
    assert_eq!(ask(node, 8080).unwrap(), "2001:db8::1");
    assert_eq!(other.run(|| ask(node, 8080)).unwrap(), "fd00:213::1");
    assert_eq!(web.run(|| ask(node, 8080)).unwrap(), "fd00:213::1");
    // One address of the host alone, of either family.
    assert_eq!(in_outside(|| ask(node, 8081)).unwrap(), "2001:db8::2");
    assert!(in_outside(|| ask(four, 8081)).is_err());
    assert_eq!(in_outside(|| ask(four, 8082)).unwrap(), "192.0.2.2");
    assert!(in_outside(|| ask(node, 8082)).is_err());
    // What is sent to ::1 stays there, and is refused at once.
    let refused = ask(Ipv6Addr::LOCALHOST, 8080).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    // Another process finds the elements by the record.
    web.del(&lab.network()).unwrap();
    assert!(ask(node, 8080).is_err());
    other.del(&network).unwrap();
    assert_eq!(traces(), "");
}

#[test]
fn what_somebody_takes_from_the_second_family_is_back_with_the_next_pod() {
    let (lab, network) = lab_with_both();
    let (a, b) = (lab.pod("a").port(Protocol::Tcp, 8080, 80), lab.pod("b"));
    a.add(&network).unwrap();
    a.serve(80);
    let reached = || in_outside(|| ask(six("2001:db8::1"), 8080));
    reached().unwrap();
    assert_eq!(wait(network.status()).message, "");
    let forwarding = "/proc/sys/net/ipv6/conf/all/forwarding";
    for loss in [
        &format!("echo 0 > {forwarding}"),
        "ip -6 addr flush dev rrtest0 scope global",
        "ip -6 route flush dev rrtest0 fd00:213::/64",
        "nft delete table ip6 rrtest",
    ] {
        sh(loss);
        if loss.contains(forwarding) {
            let message = wait(network.status()).message;
            assert!(message.contains("ipv6/conf/all/forwarding is off"), "{message}");
        }
        reached().expect_err(loss);
        b.add(&network).unwrap();
        reached().expect(loss);
        b.del(&network).unwrap();
    }
    a.del(&network).unwrap();
}

#[test]
fn a_policy_that_drops_what_is_forwarded_in_the_second_family_lets_pods_pass() {
    let (lab, network) = lab_with_both();
    sh(
        "nft 'add table ip6 filter; add chain ip6 filter FORWARD { type filter hook forward priority 0; policy drop; }'",
    );
    let a = lab.pod("a").port(Protocol::Tcp, 8080, 80);
    a.add(&network).unwrap();
    a.serve(80);
    assert_eq!(in_outside(|| ask(six("2001:db8::1"), 8080)).unwrap(), "2001:db8::2");
    assert_eq!(sh("nft list chain ip6 filter FORWARD | grep -c accept").trim(), "2");
    sh(
        "nft 'add table inet fw; add chain inet fw forward { type filter hook forward priority 0; policy drop; }'",
    );
    let message = wait(network.status()).message;
    assert!(message.contains("does not name rrtest0 or fd00:213::/64"), "{message}");
    a.del(&network).unwrap();
}

#[test]
fn a_host_keeps_the_routes_that_it_has_by_advertisements() {
    let (lab, network) = lab_with_both();
    let has_route = || sh("ip -6 route show default").contains("proto ra");
    in_outside(|| advertise("wire1"));
    await_that("a default route", has_route);
    let pod = lab.pod("a");
    pod.add(&network).unwrap();
    assert!(has_route());
    let accepts = |link: &str| sh(&format!("cat /proc/sys/net/ipv6/conf/{link}/accept_ra"));
    assert_eq!((&*accepts("wire0"), &*accepts("default")), ("2\n", "1\n"));
    pod.del(&network).unwrap();
}

#[test]
fn nobody_takes_a_pod_for_a_router() {
    let lab = lab_with_outside();
    // Also where pods have no IPv6 of ours: the kernel gives every link an address.
    let network = lab.network();
    let (bad, good) = (lab.pod("bad"), lab.pod("good"));
    bad.add(&network).unwrap();
    good.add(&network).unwrap();
    let fooled = || sh("ip -6 route; ip -6 addr").contains("2001:db8:bad:");
    let check = "sysctl -q -w net.ipv6.conf.rrtest0.accept_ra=1 net.ipv6.conf.rrtest0.forwarding=0";
    bad.run(|| advertise("eth0"));
    // What comes later is there later: everybody has heard the first by then.
    std::thread::sleep(Duration::from_millis(500));
    assert!(!fooled() && !good.run(fooled));
    // It is that switch, and nothing else would.
    sh(check);
    good.run(|| sh("sysctl -q -w net.ipv6.conf.eth0.accept_ra=1"));
    bad.run(|| advertise("eth0"));
    await_that("they are fooled", || fooled() && good.run(fooled));
    bad.del(&network).unwrap();
    // The next pod finds it as it should be.
    let next = lab.pod("next");
    next.add(&network).unwrap();
    assert_eq!(sh("sysctl -n net.ipv6.conf.rrtest0.accept_ra"), "0\n");
    next.del(&network).unwrap();
    good.del(&network).unwrap();
}

#[test]
fn a_host_that_has_no_ipv6_by_default_gives_it_to_pods_all_the_same() {
    let (lab, network) = lab_with_both();
    sh("echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6");
    let pod = lab.pod("a");
    pod.run(|| sh("echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6"));
    let ip = pod.add(&network).unwrap().ips[1];
    pod.serve(80);
    assert_eq!(ask(ip, 80).unwrap(), "fd00:213::1");
    pod.del(&network).unwrap();
}

#[test]
fn a_pod_from_before_the_second_family_is_as_it_was_and_goes_whole() {
    let lab = lab_with_outside();
    let old = lab.pod("old").port(Protocol::Tcp, 8080, 80);
    old.add(&lab.network()).unwrap();
    old.serve(80);
    let network = open_both(&lab);
    let new = lab.pod("new");
    assert_eq!(new.add(&network).unwrap().ips.len(), 2);
    assert_eq!(in_outside(|| ask([192, 0, 2, 1], 8080)).unwrap(), "192.0.2.2");
    old.del(&network).unwrap();
    new.del(&network).unwrap();
    assert_eq!(traces(), "");
}

#[test]
fn a_second_subnet_with_too_few_addresses_is_refused() {
    let lab = Lab::new();
    let subnet = Some("10.0.0.0/8".parse().unwrap());
    let subnet6 = Some("fd00:213::/112".parse().unwrap());
    let network = open(rrun_cni::Config { subnet, subnet6, ..lab.config() }).unwrap();
    let refused = lab.pod("a").add(&network).unwrap_err().to_string();
    assert!(refused.ends_with("fd00:213::/112 has fewer addresses than 10.0.0.0/8"), "{refused}");
    assert_eq!(traces(), "");
}
