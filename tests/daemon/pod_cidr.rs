//! `UpdateRuntimeConfig`: the addresses of the node's pods, as the cluster gives them.

use crate::reload::reload;
use crate::suite::*;
use rrun_cri_api::Cri;
use rrun_cri_api::v1::*;
use rrun_tests::place;
use std::fs;
use tonic::{Code, Status};

const TEMPLATE: &str = r#"{
  "cniVersion": "1.0.0", "name": "of-the-node", "plugins": [
    { "type": "ptp",
      "ipam": { "type": "host-local", "dataDir": "/run/of-the-node",
        "ranges": [{{range $i, $range := .PodCIDRRanges}}{{if $i}}, {{end}}[{"subnet": "{{$range}}"}]{{end}}],
        "routes": [{{range $i, $route := .Routes}}{{if $i}}, {{end}}{"dst": "{{$route}}"}{{end}}] } }
  ]
}"#;

async fn tell(
    suite: &Suite,
    network_config: NetworkConfig,
) -> Result<UpdateRuntimeConfigResponse, Status> {
    let network_config = Some(network_config);
    let runtime_config = Some(RuntimeConfig { network_config });
    let request = UpdateRuntimeConfigRequest { runtime_config };
    suite.harness.client.update_runtime_config(request).await
}

/// Why the network is not ready; empty when it is.
async fn lacks(suite: &Suite) -> String {
    let answer = suite.harness.client.status(StatusRequest::default()).await.unwrap();
    let conditions = answer.status.unwrap().conditions;
    let network = conditions.into_iter().find(|one| one.r#type == "NetworkReady").unwrap();
    assert_eq!(network.status, network.message.is_empty());
    network.message
}

async fn addresses(suite: &Suite, pod: &str) -> Vec<String> {
    let network = suite.pod_status(pod).await.network.unwrap();
    let more = network.additional_ips.into_iter().map(|one| one.ip);
    [network.ip].into_iter().chain(more).collect()
}

#[tokio::test]
async fn a_nodes_addresses_by_its_kubelet_are_in_the_configuration_that_the_template_makes() {
    let plugins = place::tool("cni/ptp").unwrap().parent().unwrap().display().to_string();
    let mut suite = Suite::start().await;
    let config = format!(
        "[network]\nmode = 'cni'\nconf_dir = '/etc/rrun/net.d'\nbin_dirs = ['{plugins}']\n\
         conf_template = '/etc/rrun/net.in'\n"
    );
    reload(&suite, &config, "network.conf_template").await;
    let told = |pod_cidr: &str| NetworkConfig { pod_cidr: pod_cidr.to_owned() };
    let inside = |suite: &Suite, path: &str| suite.harness.sandbox().inside(path);
    let template = inside(&suite, "/etc/rrun/net.in");
    let file = inside(&suite, "/etc/rrun/net.d/10-rrun.conflist");

    assert!(lacks(&suite).await.contains("/etc/rrun/net.in waits for"), "{}", lacks(&suite).await);
    tell(&suite, told("")).await.unwrap();
    let refused = tell(&suite, told("10.123.1.0")).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    let refused = tell(&suite, told("10.123.1.0/24")).await.unwrap_err();
    assert!(refused.message().contains("/etc/rrun/net.in: ENOENT"), "{refused}");
    fs::write(&template, TEMPLATE.replace("{{$route}}", "{{$rout}}")).unwrap();
    let refused = tell(&suite, told("10.123.1.0/24")).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    assert!(refused.message().contains("$rout"), "{refused}");
    assert!(!file.exists());

    fs::write(&template, TEMPLATE).unwrap();
    tell(&suite, told("10.123.1.0/24")).await.unwrap();
    assert_eq!(lacks(&suite).await, "");
    let first = suite.run_pod(&suite.harness.pod("first")).await;
    assert!(addresses(&suite, &first).await[0].starts_with("10.123.1."));
    // A kubelet tells it once; the daemon starts again alone.
    suite.restart().await;
    reload(&suite, &config, "network.conf_template").await;
    assert_eq!(lacks(&suite).await, "");
    let both = "10.123.2.0/24,fd00:123:2::/64";
    tell(&suite, told(both)).await.unwrap();
    let second = suite.run_pod(&suite.harness.pod("second")).await;
    let [four, six] = &addresses(&suite, &second).await[..] else { panic!("not of both") };
    assert!(four.starts_with("10.123.2.") && six.starts_with("fd00:123:2::"), "{four} {six}");

    // What somebody else puts there counts, and what they wrote stays.
    let other = inside(&suite, "/etc/rrun/net.d/05-other.conflist");
    let text = fs::read_to_string(&file).unwrap().replace("of-the-node", "of-others");
    fs::write(&other, &text).unwrap();
    tell(&suite, told("10.123.3.0/24")).await.unwrap();
    assert!(suite.daemon_log().contains("05-other.conflist is there already"));
    assert_eq!(fs::read_to_string(&file).unwrap().replace("of-the-node", "of-others"), text);
    suite.remove(&first).await;
    suite.remove(&second).await;
    fs::remove_dir_all(inside(&suite, "/etc/rrun/net.d")).unwrap();
    fs::remove_dir_all(inside(&suite, "/run/of-the-node")).unwrap();
    fs::remove_file(template).unwrap();
    suite.assert_nothing_left();
}
