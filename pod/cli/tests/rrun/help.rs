//! What `rrun` says of itself: `help/*.txt` is what a person reads, and holds every command.

use crate::machine::text;
use rrun_tests::place;
use std::path::Path;
use std::process::Command;

/// Every command, and the file that has its help.
const COMMANDS: [(&str, &[&str]); 50] = [
    ("rrun", &[]),
    ("run", &["run"]),
    ("apply", &["apply"]),
    ("manifests", &["manifests"]),
    ("validate", &["validate"]),
    ("explain", &["explain"]),
    ("ps", &["ps"]),
    ("get", &["get"]),
    ("logs", &["logs"]),
    ("events", &["events"]),
    ("why", &["why"]),
    ("trace", &["trace"]),
    ("top", &["top"]),
    ("stats", &["stats"]),
    ("inspect", &["inspect"]),
    ("describe", &["describe"]),
    ("wait", &["wait"]),
    ("exec", &["exec"]),
    ("attach", &["attach"]),
    ("port-forward", &["port-forward"]),
    ("debug", &["debug"]),
    ("cp", &["cp"]),
    ("stop", &["stop"]),
    ("restart", &["restart"]),
    ("delete", &["delete"]),
    ("rm", &["rm"]),
    ("gc", &["gc"]),
    ("gc-containers", &["gc", "containers"]),
    ("gc-images", &["gc", "images"]),
    ("fsck", &["fsck"]),
    ("doctor", &["doctor"]),
    ("why-removed", &["why-removed"]),
    ("images", &["images"]),
    ("pull", &["pull"]),
    ("login", &["login"]),
    ("logout", &["logout"]),
    ("rmi", &["rmi"]),
    ("image", &["image"]),
    ("image-ls", &["image", "ls"]),
    ("image-inspect", &["image", "inspect"]),
    ("image-history", &["image", "history"]),
    ("image-du", &["image", "du"]),
    ("image-tag", &["image", "tag"]),
    ("image-untag", &["image", "untag"]),
    ("image-rm", &["image", "rm"]),
    ("image-prune", &["image", "prune"]),
    ("image-verify", &["image", "verify"]),
    ("image-export", &["image", "export"]),
    ("image-import", &["image", "import"]),
    ("completion", &["completion"]),
];

fn rrun(args: &[&str]) -> (Option<i32>, String, String) {
    let program = place::program("rrun").unwrap();
    let mut command = Command::new(program);
    let done = rrun_tests::limit::output(command.args(args).env("COLUMNS", "100")).unwrap();
    (done.status.code(), text(&done.stdout), text(&done.stderr))
}

/// With `RRUN_WRITE_HELP=1` in the environment the files are written anew.
#[test]
fn help_of_every_command_is_as_it_is_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rrun/help");
    let mut listed = Vec::new();
    for (file, command) in COMMANDS {
        let (code, help, said) = rrun(&[command, &["--help"]].concat());
        assert_eq!(code, Some(0), "{said}");
        let path = folder.join(format!("{file}.txt"));
        if std::env::var_os("RRUN_WRITE_HELP").is_some() {
            std::fs::write(&path, &help).unwrap();
        }
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(help, written, "{}: RRUN_WRITE_HELP=1 writes it anew", path.display());
        if command.is_empty() {
            let commands = help.split("Commands:\n").nth(1).unwrap().lines();
            let names = commands.take_while(|line| !line.is_empty());
            listed
                .extend(names.filter_map(|line| line.split_whitespace().next().map(str::to_owned)));
        }
    }
    listed.retain(|name| name != "help");
    let known: Vec<&str> =
        COMMANDS.iter().filter(|(_, words)| words.len() == 1).map(|(_, words)| words[0]).collect();
    assert_eq!(listed, known, "every command of the list has its file");
}

#[test]
fn a_wrong_command_line_says_what_is_wrong_and_ends_with_2() {
    for (args, says) in [
        (&["rum"][..], "unrecognized subcommand 'rum'"),
        (&["run"], "required"),
        (&["run", "-f", "a", "b"], "cannot be used with"),
        (&["exec", "web"], "required"),
        (&["logs", "web", "--since", "5"], "missing unit in duration"),
        (&["run", "x.yaml", "--log-max-size", "0"], "want more than nothing"),
        (&["run", "x.yaml", "--log-max-files", "1"], "want 2 or more"),
        (
            &["gc", "containers", "--minimum-container-ttl-duration", "5"],
            "missing unit in duration",
        ),
        (
            &["gc", "containers", "--minimum-container-ttl-duration", "-1m"],
            "invalid minimum garbage collection age: -1m0s",
        ),
        (&["wait", "web", "--for", "ready"], "unrecognized condition: \"ready\""),
        (&["login", "--password-stdin"], "--username <USER>"),
        (&["login", "-u", "a", "-p", "b", "--password-stdin"], "cannot be used with"),
        (&["login", "a b"], "want a host, as in quay.io or localhost:5000"),
        (&["logout", "--all", "r.io"], "cannot be used with"),
        (&["--config", "/none.toml", "ps"], "/none.toml"),
        (&["--endpoint", "what", "images"], "want unix:///path"),
    ] {
        let (code, _, said) = rrun(args);
        assert_eq!(code, Some(2), "{args:?}: {said}");
        assert!(said.contains(says), "{args:?}: {said}");
    }
}

#[test]
fn an_endpoint_that_nobody_serves_is_an_error_of_every_command() {
    for args in [
        &["run", "-d", "/dev/null"][..],
        &["ps"],
        &["logs", "web"],
        &["events", "web"],
        &["exec", "web", "--", "true"],
        &["stop", "web"],
        &["rm", "web"],
        &["images"],
        &["pull", "a.test/b:1"],
        &["rmi", "a.test/b:1"],
    ] {
        let args = [&["--endpoint", "unix:///none.sock"], args].concat();
        let (code, listed, said) = rrun(&args);
        let expected = if args.contains(&"exec") { 125 } else { 2 };
        assert_eq!((code, listed.as_str()), (Some(expected), ""), "{args:?}: {said}");
        assert!(said.contains("connect unix:///none.sock: ENOENT"), "{args:?}: {said}");
    }
}
