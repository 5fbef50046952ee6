//! `rrund config`, as people and scripts call it.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn rrund(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rrund")).args(words).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A file and a drop-in of it.
fn files(folder: &Path, main: &str, drop_in: &str) -> String {
    let file = folder.join("rrund.toml");
    fs::write(&file, main).unwrap();
    fs::create_dir(folder.join("rrund.toml.d")).unwrap();
    fs::write(folder.join("rrund.toml.d/10-site.toml"), drop_in).unwrap();
    file.display().to_string()
}

#[test]
fn the_defaults_that_are_printed_are_fit_for_use_and_say_what_is_in_force_without_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let printed = rrund(&["config", "default"]);
    let file = folder.path().join("default.toml").display().to_string();
    fs::write(&file, &printed.stdout).unwrap();
    assert!(rrund(&["config", "check", &file]).status.success());
    let empty = folder.path().join("empty.toml").display().to_string();
    fs::write(&empty, "").unwrap();
    let [of_printed, of_empty] =
        [file, empty].map(|file| rrund(&["--config", &file, "config", "dump"]));
    assert_eq!(text(&of_printed.stdout), text(&of_empty.stdout));
    assert!(text(&of_empty.stdout).contains("\nmode = \"auto\"\n"));
}

#[test]
fn what_is_dumped_has_the_drop_ins_in_it_and_can_be_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let main = "root = '/r'\n[network]\nmode = 'cni'\nbridge = 'b0'\n";
    let file = files(folder.path(), main, "[network]\nmode = 'builtin'\n");
    let dumped = rrund(&["config", "dump", "--config", &file]);
    let again = text(&dumped.stdout);
    for line in ["root = \"/r\"", "mode = \"builtin\"", "bridge = \"b0\""] {
        assert!(again.lines().any(|found| found == line), "{line} is not in {again}");
    }
    let other = folder.path().join("again.toml").display().to_string();
    fs::write(&other, &again).unwrap();
    assert_eq!(text(&rrund(&["config", "dump", "--config", &other]).stdout), again);
}

#[test]
fn a_check_names_its_files_or_file_line_and_key_of_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let file = files(folder.path(), "root = '/r'\n", "\n[network]\nmoed = 1\n");
    let refused = rrund(&["config", "check", &file]);
    assert_eq!(refused.status.code(), Some(1));
    let why = "rrund.toml.d/10-site.toml:3: network.moed: unknown field `moed`";
    assert!(text(&refused.stderr).contains(why), "{}", text(&refused.stderr));
    fs::write(folder.path().join("rrund.toml.d/10-site.toml"), "[network]\nbridge = '/'\n")
        .unwrap();
    let refused = rrund(&["config", "check", &file]);
    let why = "config: network: bridge \"/\" is no interface name";
    assert!(text(&refused.stderr).contains(why), "what can be read and not used");
    fs::write(folder.path().join("rrund.toml.d/10-site.toml"), "[network]\nmode = 'cni'\n")
        .unwrap();
    let fit = rrund(&["config", "check", &file]);
    assert_eq!(fit.status.code(), Some(0));
    let said = text(&fit.stdout);
    assert!(
        said.contains("rrund.toml, ") && said.ends_with("10-site.toml: fit for use\n"),
        "{said}"
    );
}

#[test]
fn a_start_a_check_and_the_doctor_think_the_same_of_a_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rrund.toml").display().to_string();
    let state = folder.path().display();
    let gc =
        "[images]\nimage_gc_high_threshold_percent = 10\nimage_gc_low_threshold_percent = 20\n";
    for (wrong, why) in [
        ("[network]\nmoed = 1\n", "network.moed: unknown field"),
        ("[network]\nbridge = '/'\n", "config: network: bridge \"/\" is no"),
        (gc, "config: images.image_gc_low_threshold_percent: 20"),
        ("[cgroup]\ndriver = 'systemd'\nparent = '/x'\n", "config: cgroup.parent: \"/x\" is no"),
        ("\u{1b} = 1\n", "rrund.toml:4: "),
    ] {
        let places = format!("root = '{state}/root'\nrun = '{state}/run'\nsocket = '{state}/s'\n");
        fs::write(&file, format!("{places}{wrong}")).unwrap();
        let words: [&[&str]; 3] = [&[], &["config", "check"], &["doctor"]];
        for words in words {
            let refused = rrund(&[&["--config", &file], words].concat());
            assert!(!refused.status.success(), "{words:?}: {wrong}");
            let said = text(&refused.stderr);
            assert!(said.contains(why), "{words:?}: {said}");
            assert!(!said.trim_end().contains(|c: char| c.is_control() && c != '\n'), "{said:?}");
        }
        assert!(!folder.path().join("run").exists(), "nothing is begun with it");
    }
}

#[test]
fn a_configuration_of_containerd_is_printed_as_one_that_can_be_used() {
    let folder = tempfile::tempdir().unwrap();
    let theirs = folder.path().join("config.toml").display().to_string();
    let theirs_text = "version = 2\n[plugins.'io.containerd.grpc.v1.cri'.cni]\nbin_dir = '/x'\n\
                          max_conf_num = 1\n";
    fs::write(&theirs, theirs_text).unwrap();
    let imported = rrund(&["config", "import", &theirs]);
    assert!(imported.status.success());
    let ours = folder.path().join("rrund.toml").display().to_string();
    fs::write(&ours, &imported.stdout).unwrap();
    assert!(rrund(&["config", "check", &ours]).status.success());
    let printed = text(&imported.stdout);
    assert!(printed.contains("bin_dirs = [\"/x\"]\n"), "{printed}");
    assert!(
        printed.contains("cni.max_conf_num = 1\n#   the first configuration counts"),
        "{printed}"
    );
}

#[test]
fn the_doctor_tells_each_thing_with_what_follows_and_ends_with_1_where_something_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rrund.toml").display().to_string();
    let write = |shim: &str| {
        let shim = folder.path().join(shim).display().to_string();
        fs::write(&file, format!("shim = '{shim}'\nsocket = '/run/nobody.sock'\n")).unwrap();
    };
    let ask = || rrund(&["doctor", "-o", "json", "--config", &file]);
    write("none");
    let asked = ask();
    assert_eq!(asked.status.code(), Some(1));
    let rows: serde_json::Value = serde_json::from_slice(&asked.stdout).unwrap();
    let of = |rows: &serde_json::Value, what: &str| {
        let rows = rows.as_array().unwrap();
        rows.iter().find(|row| row["what"] == what).unwrap_or_else(|| panic!("{what}")).clone()
    };
    let shim = of(&rows, "rrun-shim");
    assert_eq!((&shim["verdict"], &shim["topic"]), (&"missing".into(), &"program".into()));
    assert_eq!(shim["follows"], "the daemon does not start without it");
    for what in
        ["Linux", "openat2", "hierarchies", "AppArmor", "open files (hard)", "streaming.address"]
    {
        of(&rows, what);
    }
    if nix::unistd::geteuid().is_root() {
        fs::copy("/bin/true", folder.path().join("shim")).unwrap();
        write("shim");
        let rows: serde_json::Value = serde_json::from_slice(&ask().stdout).unwrap();
        let missing: Vec<_> =
            rows.as_array().unwrap().iter().filter(|row| row["verdict"] == "missing").collect();
        assert!(missing.iter().all(|row| row["what"] == "root"), "{missing:#?}");
    }
}
