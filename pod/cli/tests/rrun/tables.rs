//! Tables as a person reads them, and scripts too.

use crate::machine::{Machine, pod};

#[test]
fn ps_and_events_are_laid_out_as_they_are_written_here() {
    let machine = Machine::new();
    // A full disk would add events of its own.
    machine.configure("[images]\nimage_gc_high_threshold_percent = 100\n");
    let path = machine.write("once", &pod("once", "Never", &["exit", "3"]));
    machine.rrun(&["run", "--keep", &path]);
    let row = machine.ps("once").unwrap();
    let (ip, uid) = (&row[5], &row[6]);
    let (gap, more) = (" ".repeat(ip.len() - 2), " ".repeat(uid.len() - 3));
    let expected = format!(
        "NAMESPACE  NAME  READY  STATUS  RESTARTS  IP{gap}  UID{more}  AGE\n\
         default    once  0/1    Error   0         {ip}  {uid}  "
    );
    let listed = machine.ok(&["ps", "--all"]);
    assert!(listed.starts_with(&expected) && listed.ends_with("s\n"), "{listed}");
    assert_eq!(machine.ok(&["ps"]), "NAMESPACE  NAME  READY  STATUS  RESTARTS  IP  UID  AGE\n");

    let events = machine.ok(&["events", "once"]);
    let (times, shown): (Vec<&str>, Vec<&str>) = events.lines().map(|l| l.split_at(20)).unzip();
    assert_eq!(times[0].trim(), "TIME");
    assert!(times[1..].iter().all(|time| time.ends_with('Z')), "{events}");
    let image = "Container image \"images.rrun.test/work:latest\" already present on machine and can \
                 be accessed by the pod";
    let expected = [
        "  TYPE    REASON   CONTAINER  MESSAGE",
        &format!("  Normal  Pulled   main       {image}"),
        "  Normal  Created  main       Container created",
        "  Normal  Started  main       Container started",
    ];
    assert_eq!(shown, expected);
    machine.ok(&["rm", "once"]);
    machine.assert_nothing_left();
}
