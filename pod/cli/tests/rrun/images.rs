//! `rrun images`, `image import` and `rmi`.

use crate::machine::{IMAGE, Machine, TALK, talk_layout};

#[test]
fn images_are_imported_listed_and_removed_by_name_and_id() {
    let machine = Machine::new();
    let listed = machine.ok(&["images"]);
    let rows: Vec<Vec<&str>> =
        listed.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["IMAGE", "ID", "SIZE"]);
    assert_eq!((rows[1][0], rows[2][0], rows.len()), (TALK, IMAGE, 3), "{listed}");
    assert!(rows[1][1].len() == 12 && rows[1][3] == "KiB", "{listed}");

    let path = talk_layout().to_str().unwrap();
    let other = "other.rrun.test/talk:2";
    assert_eq!(machine.ok(&["image", "import", path, other]), format!("{other}\n"));
    let tar = machine.sandbox.root().join("talk.tar");
    let packed = std::process::Command::new("tar")
        .args(["-cf", tar.to_str().unwrap(), "-C", path, "."])
        .status();
    assert!(packed.unwrap().success());
    assert!(machine.ok(&["image", "import", tar.to_str().unwrap()]).contains(TALK));

    machine.ok(&["rmi", rows[1][1]]);
    let left = machine.ok(&["images"]);
    assert!(!left.contains("talk") && left.contains(IMAGE), "{left}");
    machine.ok(&["rmi", IMAGE]);
    assert_eq!(machine.ok(&["images"]), "IMAGE  ID  SIZE\n");
    assert_eq!(
        machine.refused(&["rmi", IMAGE]),
        format!("rrun: image {IMAGE}: not found (rrun images)\n")
    );
    let missing = machine.refused(&["image", "import", "/none"]);
    assert!(missing.contains("/none"), "{missing}");
    let wrong = machine.refused(&["pull", "UPPER/case"]);
    assert!(wrong.contains("UPPER/case"), "{wrong}");
    let nowhere = machine.refused(&["pull", "127.0.0.1:1/none:1"]);
    assert!(nowhere.contains("127.0.0.1:1"), "{nowhere}");
}
