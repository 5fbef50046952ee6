//! Containers on the real kernel; needs root.

mod support;

use support::*;

#[test]
fn a_container_runs_with_a_name_and_a_pid_namespace_of_its_own() {
    let place = Box::new();
    let plan = place.plan(&["sh", "-c", "hostname; echo $$; cat /proc/1/cmdline | tr '\\0' ' '"]);
    let (code, output) = place.run(&plan).unwrap();
    assert_eq!(
        (code, output.as_str()),
        (0, "boxed\n1\nsh -c hostname; echo $$; cat /proc/1/cmdline | tr '\\0' ' ' ")
    );
}
