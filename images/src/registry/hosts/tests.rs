use super::*;

fn read(text: &str) -> Vec<Host> {
    parse(text, Path::new("/certs"), "docker.io").unwrap()
}

fn bases(hosts: &[Host]) -> Vec<&str> {
    hosts.iter().map(|h| h.base.as_str()).collect()
}

#[test]
fn hosts_come_in_the_order_of_the_file_then_the_server() {
    let hosts = read(
        "server = 'https://up.example'\n\
         [host.'https://z.example']\n\
         [host.'a.example:5000']\n\
         [host.'http://m.example/prefix/']\n",
    );
    let want = [
        "https://z.example/v2",
        "https://a.example:5000/v2",
        "http://m.example/prefix/v2",
        "https://up.example/v2",
    ];
    assert_eq!(bases(&hosts), want);
    assert_eq!(hosts[0].namespace.as_deref(), Some("docker.io"));
}

#[test]
fn without_a_server_the_registry_itself_comes_last_with_the_root_keys() {
    let hosts = read("skip_verify = true\n[host.'https://m']\n");
    assert_eq!(bases(&hosts), ["https://m/v2", "https://registry-1.docker.io/v2"]);
    assert!(hosts[1].skip_verify && !hosts[0].skip_verify);
    assert_eq!(hosts[1].namespace, None);
}

#[test]
fn every_key_of_a_host_is_read() {
    let hosts = read(
        r#"
        server = "https://m"
        [host."http://h:8080/v2/x"]
        capabilities = ["pull", "Resolve"]
        ca = ["a.crt", "/abs/b.crt"]
        client = [["c.cert", "c.key"], ["d.pem", ""]]
        override_path = true
        dial_timeout = "1m1.5s"
        [host."http://h:8080/v2/x".header]
        x-one = "1"
        x-two = ["2", "3"]
        "#,
    );
    let host = &hosts[0];
    assert_eq!(host.base.as_str(), "https://h:8080/v2/x");
    assert!(host.http_fallback, "an http URL with TLS options is tried as https first");
    assert_eq!(host.ca, [PathBuf::from("/certs/a.crt"), PathBuf::from("/abs/b.crt")]);
    assert_eq!(host.client[0].key.as_deref(), Some(Path::new("/certs/c.key")));
    assert_eq!(host.client[1].key, None);
    assert_eq!(host.dial_timeout, Some(Duration::from_millis(61_500)));
    assert_eq!(host.headers.len(), 3);
    assert!(host.may_pull && host.may_resolve);
}

#[test]
fn capabilities_are_all_unless_named() {
    let hosts = read("[host.a]\n[host.b]\ncapabilities = ['pull']\n[host.c]\ncapabilities = []\n");
    let can: Vec<_> = hosts.iter().map(|h| (h.may_pull, h.may_resolve)).collect();
    assert_eq!(can, [(true, true), (true, false), (false, false), (true, true)]);
}

#[test]
fn what_is_wrong_is_refused_with_its_line_and_key() {
    let table = [
        ("\nservr = 'x'\n", "2: servr: unknown key"),
        ("[host.'https://a']\nskip = true\n", "2: host.\"https://a\".skip: unknown key"),
        (
            "[host.a]\ncapabilities = ['pul']\n",
            "2: host.\"a\".capabilities: unknown capability \"pul\"",
        ),
        ("[host.a]\nskip_verify = 'yes'\n", "2: host.\"a\".skip_verify: not a boolean"),
        ("server = 1\n", "1: server: not a string"),
        ("\nserver = 'ftp://a'\n", "2: server: host \"ftp://a\": not an http or https URL"),
        ("host = 'a'\n", "1: host: not a table"),
        ("[host]\na = 1\n", "2: host.\"a\": not a table"),
        ("[host.a]\nca = [1]\n", "2: host.\"a\".ca: not a string"),
        ("[host.a.header]\nx = 1\n", "2: host.\"a\".header.x: not a string"),
        ("dial_timeout = '1x'\n", "1: dial_timeout: \"1x\" is no duration"),
        ("[host.'ftp://a']\n", "1: host: host \"ftp://a\": not an http or https URL"),
        ("[host.a]\nclient = [['a','b','c']]\n", "2: host.\"a\".client: not [certificate, key]"),
    ];
    for (text, want) in table {
        assert_eq!(parse(text, Path::new("/"), "x.io").unwrap_err(), want);
    }
    assert!(parse("a = \n[", Path::new("/"), "x.io").unwrap_err().starts_with("1: "));
}

#[test]
fn the_implied_host_is_the_registry_and_loopback_is_not_verified() {
    let show = |name: &str| {
        let hosts = super::super::host::implied(name);
        let h = &hosts[0];
        format!("{} {} {}", h.base, h.skip_verify, h.http_fallback)
    };
    let table = [
        ("docker.io", "https://registry-1.docker.io/v2 false false"),
        ("gcr.io", "https://gcr.io/v2 false false"),
        ("gcr.io:5000", "https://gcr.io:5000/v2 false false"),
        ("localhost", "https://localhost/v2 true false"),
        ("localhost:80", "http://localhost/v2 false false"),
        ("127.0.0.1:443", "https://127.0.0.1/v2 true false"),
        ("127.1.2.3:5000", "https://127.1.2.3:5000/v2 true true"),
        ("[::1]:5000", "https://[::1]:5000/v2 true true"),
    ];
    for (name, want) in table {
        assert_eq!(show(name), want, "{name}");
    }
}
