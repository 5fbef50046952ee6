//! `rrun get`, `inspect`, `stats`, `ps -w`, `events -o json`, `completion` and the manual pages.

use crate::machine::{Machine, await_that, pod, text};
use serde_json::Value;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

const READY: &str = "      readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
      livenessProbe: {tcpSocket: {port: 8080}, initialDelaySeconds: 600}
";

#[test]
fn pods_are_shown_as_kubectl_shows_them() {
    let machine = Machine::new();
    let watch = machine.start(&["get", "-w"]);
    watch.expect("NAMESPACE");
    let listed = machine.start(&["ps", "-w"]);
    listed.expect("NAMESPACE");
    let path = machine.write("web", &(pod("web", "Always", &["serve", "8080", "hello"]) + READY));
    machine.ok(&["run", "--detach", &path]);
    machine.await_ps("web", "1/1", "Running");
    watch.expect("1/1    Running");
    listed.expect("1/1    Running");
    let table = machine.ok(&["get", "pods", "-n", "default"]);
    let rows: Vec<Vec<&str>> = table.lines().map(|l| l.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["NAME", "READY", "STATUS", "RESTARTS", "AGE"], "{table}");
    assert_eq!(rows[1][..4], ["web", "1/1", "Running", "0"], "{table}");
    assert!(rows[1][4].ends_with('s'), "{table}");
    assert_eq!(machine.ok(&["get", "-o", "name", "pod/web"]), "pod/web\n");
    let wide = machine.ok(&["get", "web", "-o", "wide", "--no-headers"]);
    let ip = machine.ok(&["get", "web", "-o", "jsonpath={.status.podIP}"]);
    assert!(wide.contains(&ip) && !wide.contains("NAME"), "{wide}");
    let whole = json(&machine.ok(&["get", "web", "-o", "json"]));
    assert_eq!(whole["spec"]["containers"][0]["args"][0], "serve");
    assert_eq!(whole["status"]["containerStatuses"][0]["ready"], true);
    for field in ["phase", "qosClass", "startTime", "podIPs", "hostIP", "conditions"] {
        assert!(!whole["status"][field].is_null(), "{field}: {whole}");
    }
    let template = r#"{range .items[*]}{.metadata.name}={.status.conditions[?(@.type=="Ready")].status}{"\n"}{end}"#;
    assert_eq!(machine.ok(&["get", "-o", &format!("jsonpath={template}")]), "web=True\n");
    let yaml = machine.ok(&["get", "web", "-o", "yaml"]);
    assert!(yaml.contains("kind: Pod\n") && yaml.contains("  phase: Running\n"), "{yaml}");
    assert_eq!(machine.ok(&["ps", "-o", "yaml"]).matches("kind: Pod\n").count(), 1);
    let some = machine.rrun(&["get", "web", "none", "-o", "name"]);
    assert_eq!((some.status.code(), text(&some.stdout).as_str()), (Some(2), "pod/web\n"));
    assert!(text(&some.stderr).contains("pod none: not found"));

    let inspected = json(&machine.ok(&["inspect", "web"]));
    let main = &inspected[0]["containers"][0];
    assert!(main["pid"].as_i64().is_some_and(|pid| pid > 1), "{main}");
    assert_eq!(main["status"]["state"], "CONTAINER_RUNNING");
    assert!(main["mounts"].as_array().is_some_and(|all| !all.is_empty()), "{main}");
    assert_eq!(inspected[0]["sandboxes"][0]["ips"][0].as_str(), Some(ip.as_str()));
    assert!(machine.refused(&["inspect", "web", "-c", "x"]).contains("container x"));

    await_that("figures", || {
        let stats = json(&machine.ok(&["stats", "web", "-o", "json"]));
        let main = &stats["containers"][0];
        main["cpuNanoCores"].is_u64() && main["probes"]["readiness"] == "Success"
    });
    let stats = machine.ok(&["stats"]);
    assert!(stats.contains("PSI-IO") && stats.contains("live? ready+"), "{stats}");

    let events = machine.ok(&["events", "web", "-o", "json"]);
    let reasons: Vec<Value> = events.lines().map(|line| json(line)["reason"].clone()).collect();
    assert!(reasons.contains(&Value::from("Started")), "{events}");
    machine.ok(&["rm", "--force", "web"]);
    for run in [watch, listed] {
        run.signal("TERM");
        run.end();
    }
    machine.await_nothing_left();
}

#[test]
fn pods_are_selected_by_labels_and_fields_as_kubectl_selects_them() {
    let machine = Machine::new();
    let labelled = |name: &str, restart: &str, labels: &str, args: &[&str]| {
        let name_and = format!("{{name: {name}, labels: {{{labels}}}}}");
        let text = pod(name, restart, args).replacen(&format!("{{name: {name}}}"), &name_and, 1);
        machine.ok(&["run", "-d", &machine.write(name, &text)]);
    };
    let watch = machine.start(&["get", "-w", "-l", "tier=back"]);
    watch.expect("NAMESPACE");
    labelled("web", "Always", "app: shop, tier: front", &["sleeper"]);
    labelled("db", "OnFailure", "app: shop, tier: back", &["sleeper"]);
    labelled("once", "Never", "canary: \"\"", &["exit", "3"]);
    machine.await_ps("web", "1/1", "Running");
    machine.await_ps("db", "1/1", "Running");
    machine.await_ps("once", "0/1", "Error");
    watch.expect("1/1    Running");
    let ip = machine.ok(&["get", "web", "-o", "jsonpath={.status.podIP}"]);
    let fields = |text: &str| machine.ok(&["get", "pods", "-o", "name", "--field-selector", text]);
    for (selector, names) in [
        ("app=shop", "pod/db\npod/web\n"),
        ("app=shop,tier notin (back)", "pod/web\n"),
        ("tier in (back, front),tier!=front", "pod/db\n"),
        ("!app", "pod/once\n"),
        ("canary", "pod/once\n"),
        ("app==other", ""),
    ] {
        assert_eq!(machine.ok(&["get", "-l", selector, "-o", "name"]), names, "{selector}");
    }
    for (selector, names) in [
        ("status.phase=Running", "pod/db\npod/web\n"),
        ("status.phase!=Running,metadata.namespace=default", "pod/once\n"),
        ("spec.restartPolicy==Always", "pod/web\n"),
        ("spec.schedulerName=default-scheduler,metadata.name=db", "pod/db\n"),
        ("spec.serviceAccountName!=default", ""),
        ("spec.hostNetwork=true", ""),
        ("spec.nodeName=", ""),
        ("status.nominatedNodeName=", "pod/db\npod/once\npod/web\n"),
        (&format!("status.podIP={ip}"), "pod/web\n"),
    ] {
        assert_eq!(fields(selector), names, "{selector}");
    }
    let both = ["get", "-l", "app", "--field-selector", "metadata.name=web", "--no-headers"];
    assert!(machine.ok(&both).starts_with("default  web  1/1"), "{}", machine.ok(&both));
    let list = json(&machine.ok(&["get", "-l", "tier=back", "-o", "json"]));
    assert_eq!(list["items"][0]["metadata"]["name"], "db", "{list}");
    let none = json(&machine.ok(&["get", "-l", "tier=none", "-o", "json"]));
    assert_eq!(none["items"], serde_json::json!([]));
    for (args, says) in [
        (["get", "-l", "a in b"], "want (, not \"b\""),
        (["get", "--field-selector", "spec.image=a"], "field label not supported: spec.image"),
    ] {
        let said = machine.refused(&args);
        assert!(said.contains(says), "{args:?}: {said}");
    }
    let both = machine.refused(&["get", "web", "-l", "app"]);
    assert!(both.contains("by their names or by a selector"), "{both}");
    for name in ["web", "db", "once"] {
        machine.ok(&["rm", "--force", name]);
    }
    watch.signal("TERM");
    watch.end();
    machine.await_nothing_left();
}

#[test]
fn who_watches_hears_once_of_a_record_that_is_broken_and_goes_on() {
    let machine = Machine::new();
    machine.rrun(&["run", "--keep", &machine.write("old", &pod("old", "Never", &["true"]))]);
    let definition = machine.sandbox.state().join("rrun/default_old/definition");
    let record = std::fs::read(&definition).unwrap();
    let whole = "jsonpath={.metadata.name} {.status.phase}{\"\\n\"}";
    let watches = [
        machine.start(&["get", "-w"]),
        machine.start(&["get", "-w", "old", "-o", whole]),
        machine.start(&["ps", "-a", "-w"]),
    ];
    watches[0].expect("Completed");
    watches[1].expect("old Succeeded");
    watches[2].expect("Completed");
    std::fs::write(&definition, "nothing").unwrap();
    watches.iter().for_each(|watch| watch.expect("read "));
    machine.rrun(&["run", "--keep", &machine.write("new", &pod("new", "Never", &["true"]))]);
    watches[0].expect("new");
    watches[2].expect("new");
    std::fs::write(&definition, record).unwrap();
    watches[0].expect("old");
    machine.ok(&["rm", "old", "new"]);
    for watch in watches {
        watch.signal("TERM");
        let more = watch.rest();
        assert!(more.iter().all(|line| !line.contains("read ")), "{more:?}");
    }
    machine.assert_nothing_left();
}

#[test]
fn completion_scripts_and_manual_pages_have_every_command() {
    let machine = Machine::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = machine.ok(&["completion", shell]);
        assert!(script.contains("port-forward"), "{shell}");
    }
    let script = machine.ok(&["completion", "bash"]);
    let path = machine.write("completion", &script);
    let mut bash = machine.sandbox.command("bash");
    let done = rrun_tests::limit::output(bash.args(["-n", &path])).unwrap();
    assert!(done.status.success(), "{}", text(&done.stderr));
    let folder = machine.sandbox.root().join("man");
    std::fs::create_dir(&folder).unwrap();
    machine.ok(&["man", folder.to_str().unwrap()]);
    let page = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap_or_default();
    assert!(page("rrun.1").starts_with(".ie"), "{}", page("rrun.1"));
    let names = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name());
    let of_help = names.filter(|name| name.to_string_lossy().contains("help")).count();
    assert_eq!(of_help, 0, "help has no page");
    for command in ["run", "port-forward", "image-export"] {
        let page = page(&format!("rrun-{command}.1"));
        assert!(page.contains(".SH OPTIONS"), "{command}: {page}");
    }
}
