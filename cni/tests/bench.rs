//! How long ADD and DEL take, beside the plugins bridge, host-local and portmap where
//! `RRUN_TEST_CNI_BIN` names their folder:
//! `cargo test --release -p rrun-cni --test bench -- --ignored --nocapture`

// Clippy does not see that helpers of tests are tests.
#![allow(clippy::unwrap_used)]

mod lab;

use lab::{Lab, Pod, open, sh};
use rrun_cni::{Mode, Network, Protocol};
use std::time::{Duration, Instant};

const RUNS: usize = 200;
/// Plugins take a hundred times as long.
const PLUGIN_RUNS: usize = 50;

#[test]
#[ignore = "measures"]
fn add_and_del() {
    let lab = Lab::new();
    let network = lab.network();
    measure("built-in bridge", &lab, &network, |pod| pod);
    let port = |pod: Pod| pod.port(Protocol::Tcp, 8080, 80);
    measure("built-in bridge, a host port", &lab, &network, port);
    let many: Vec<Pod> = (0..RUNS).map(|n| lab.pod(&format!("m{n}"))).collect();
    many.iter().for_each(|pod| drop(pod.add(&network).unwrap()));
    measure("built-in bridge, 200 pods beside", &lab, &network, |pod| pod);
    many.iter().for_each(|pod| pod.del(&network).unwrap());
    let Some(bin) = std::env::var_os("RRUN_TEST_CNI_BIN") else { return };
    let list = r#"{"cniVersion":"1.0.0","name":"real","plugins":[
        {"type":"bridge","bridge":"cnitest0","isGateway":true,"ipMasq":true,
         "ipMasqBackend":"nftables","ipam":{"type":"host-local","dataDir":"DIR/ipam",
         "ranges":[[{"subnet":"10.214.0.0/16"}]],"routes":[{"dst":"0.0.0.0/0"}]}},
        {"type":"portmap","backend":"nftables","capabilities":{"portMappings":true}}]}"#;
    let list = list.replace("DIR", lab.dir.path().to_str().unwrap());
    std::fs::write(lab.path("conf/1.conflist"), list).unwrap();
    let network = open(lab.config_of(Mode::Cni, bin.as_ref())).unwrap();
    measure("plugins bridge, portmap", &lab, &network, |pod| pod);
    measure("plugins bridge, portmap, a host port", &lab, &network, port);
    sh("ip link del rrtest0");
}

fn measure(what: &str, lab: &Lab, network: &Network, shape: impl Fn(Pod) -> Pod) {
    let (mut adds, mut dels) = (Vec::new(), Vec::new());
    let runs = if what.starts_with("plugins") { PLUGIN_RUNS } else { RUNS };
    for n in 0..runs {
        let pod = shape(lab.pod(&format!("{}-{n}", what.replace([' ', ','], "_"))));
        let begin = Instant::now();
        pod.add(network).unwrap();
        adds.push(begin.elapsed());
        let begin = Instant::now();
        pod.del(network).unwrap();
        dels.push(begin.elapsed());
        pod.unpin();
    }
    println!("{what}: ADD {}, DEL {}", spread(adds), spread(dels));
}

fn spread(mut times: Vec<Duration>) -> String {
    times.sort();
    let ms = |at: usize| times[at].as_secs_f64() * 1e3;
    format!("p50 {:.2} p99 {:.2} ms", ms(times.len() / 2), ms(times.len() * 99 / 100))
}
