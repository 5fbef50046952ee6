//! Limits of traffic.

use super::*;
use std::io::{Read, Write};
use std::net::TcpStream;

const BYTES: usize = 512 * 1024;

/// Takes or gives so many bytes, over one connection to the port of another; how long that took.
fn send(to: IpAddr, port: u16) -> Duration {
    let begin = Instant::now();
    let mut stream = TcpStream::connect((to, port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.write_all(&vec![7; BYTES]).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    // The other end says that it has all.
    stream.read_exact(&mut [0]).unwrap();
    begin.elapsed()
}

/// Takes all that is sent to a port, and says when it has it.
fn take(listener: TcpListener) {
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let mut all = Vec::new();
            stream.read_to_end(&mut all).unwrap();
            assert_eq!(all.len(), BYTES);
            stream.write_all(&[1]).unwrap();
        }
    });
}

#[test]
fn traffic_is_limited_each_way_as_the_annotations_say_and_nothing_is_left_of_it() {
    let lab = Lab::new();
    let network = lab.network();
    // 250,000 bytes a second: half a megabyte takes a second at least, beyond the burst.
    let pods = [
        lab.pod("open"),
        lab.pod("in").annotated("kubernetes.io/ingress-bandwidth", "2M"),
        lab.pod("out").annotated("kubernetes.io/egress-bandwidth", "2M"),
    ];
    let ips = pods.each_ref().map(|pod| pod.add(&network).unwrap().ips[0]);
    for pod in &pods {
        take(pod.run(|| TcpListener::bind("0.0.0.0:90").unwrap()));
    }
    let [open, inwards, outwards] = &pods;
    let limited = Duration::from_millis(1500);
    assert!(open.run(|| send(ips[1], 90)) >= limited);
    assert!(outwards.run(|| send(ips[0], 90)) >= limited);
    // The other way nothing holds them: what is read here is the rules, and not a clock.
    let shown = sh("tc qdisc show | grep tbf; tc filter show dev $(ip -o link show type veth \
                    | grep -o 'veth[0-9a-f]*' | tail -n 1) ingress | grep mirred; true");
    assert_eq!(shown.matches("rate 2Mbit").count(), 2, "{shown}");
    inwards.run(|| send(ips[0], 90));
    for pod in &pods {
        pod.del(&network).unwrap();
    }
    assert_eq!(sh("ip -o link show type ifb; tc qdisc show | grep tbf || true"), "");
    assert_eq!(traces(), "");
}

#[test]
fn a_rate_that_is_none_is_refused_and_nothing_stays() {
    let lab = Lab::new();
    let network = lab.network();
    let pod = lab.pod("a").annotated("kubernetes.io/ingress-bandwidth", "fast");
    let refused = pod.add(&network).unwrap_err().to_string();
    assert!(refused.contains("kubernetes.io/ingress-bandwidth: \"fast\" is no rate"), "{refused}");
    assert_eq!(wait(network.attachments()).unwrap(), []);
    assert_eq!(traces(), "");
}
