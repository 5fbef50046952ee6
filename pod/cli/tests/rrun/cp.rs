//! `rrun cp` with a container that has no program for it.

use crate::machine::{Machine, talker, talkers, text};
use std::os::unix::fs::{PermissionsExt, symlink};

#[test]
fn files_go_into_a_container_without_tar_and_come_out_of_it() {
    let machine = Machine::new();
    let run = machine.run("web", &talkers("web", "Always", &[talker("main", &["ask", "ready"])]));
    machine.await_ps("web", "1/1", "Running");
    let here = machine.sandbox.root().join("here");
    std::fs::create_dir_all(here.join("below")).unwrap();
    std::fs::write(here.join("below/page"), "hello").unwrap();
    std::fs::set_permissions(here.join("below/page"), PermissionsExt::from_mode(0o640)).unwrap();
    symlink("/etc/shadow", here.join("link")).unwrap();
    let here = here.display().to_string();
    let show = |path: &str| machine.ok(&["exec", "web", "--", "/bin/talk", "show", path]);
    machine.ok(&["cp", &here, "web:/made"]);
    assert_eq!(show("/made/below/page"), "hello");
    // A folder that is there takes it under its name; `/.` is what is in it.
    machine.ok(&["cp", "-c", "main", &here, "default/web:/made"]);
    assert_eq!(show("/made/here/below/page"), "hello");
    machine.ok(&["cp", &format!("{here}/."), "web:bin"]);
    assert_eq!(show("/bin/below/page"), "hello");
    let out = machine.sandbox.root().join("out");
    let copied = machine.rrun(&["cp", "web:/made", &out.display().to_string()]);
    assert!(copied.status.success(), "{}", text(&copied.stderr));
    let told = text(&copied.stderr);
    let links =
        ["rrun: out/here/link: left out: it is a link", "rrun: out/link: left out: it is a link"];
    assert_eq!(told.lines().collect::<Vec<_>>(), links);
    let page = out.join("here/below/page");
    assert_eq!(std::fs::read_to_string(&page).unwrap(), "hello");
    assert_eq!(std::fs::metadata(&page).unwrap().permissions().mode() & 0o777, 0o640);
    machine.ok(&[
        "cp",
        "--no-preserve",
        "web:/made/../made/below/page",
        &out.display().to_string(),
    ]);
    let mode = std::fs::metadata(out.join("page")).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o644);
    for (args, says) in [
        (["web:/none", "."], "/none in the container: ENOENT"),
        (["web:/proc/version", "."], "/proc/version in the container: not a regular file"),
        ([here.as_str(), "web:/none/below"], "/none/below in the container: ENOENT"),
        (["web:/made", "web:/other"], "one of src or dest must be a local file specification"),
        (["a", "b"], "one of src or dest must be a remote file specification"),
        (["web:", "b"], "filepath can not be empty"),
        (["nobody:/x", "b"], "pod nobody: not found"),
    ] {
        let refused = machine.refused(&["cp", args[0], args[1]]);
        assert!(refused.contains(says), "{args:?}: {refused}");
    }
    run.signal("INT");
    run.end();
    std::fs::remove_dir_all(&out).unwrap();
    machine.assert_nothing_left();
}

#[test]
fn a_container_that_does_not_run_has_nothing_to_copy() {
    let machine = Machine::new();
    let path = machine.write("once", &talkers("once", "Never", &[talker("main", &["say", "x"])]));
    machine.ok(&["run", "--keep", &path]);
    let refused = machine.refused(&["cp", "once:/bin/talk", "/tmp/none"]);
    assert!(refused.contains("container main: it does not run"), "{refused}");
    machine.ok(&["rm", "once"]);
    machine.assert_nothing_left();
}
