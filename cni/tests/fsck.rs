//! What a look through networks finds, what it leaves alone, and what is put right.

// Clippy does not see that helpers of tests are tests.
#![allow(clippy::unwrap_used)]

mod lab;

use lab::{Lab, sh, traces, wait};
use rrun_cni::fsck::{Fault, Gone, Look, look, mend};
use rrun_cni::{Kind, Mode, Protocol};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

/// All sandboxes but these are gone.
fn but(living: &[&str]) -> Gone {
    let living: BTreeSet<String> = living.iter().map(|&id| id.to_owned()).collect();
    Arc::new(move |attached| Ok(attached.difference(&living).cloned().collect()))
}

fn seen(lab: &Lab, living: &[&str]) -> Look {
    wait(look(&lab.config(), &but(living))).unwrap()
}

fn told(look: &Look) -> Vec<(Fault, &str, &str)> {
    let told = look.found.iter().map(|one| &one.finding);
    told.map(|one| (one.fault, one.object.as_str(), one.what.as_str())).collect()
}

/// What was done about each.
fn mended(lab: &Lab, look: &Look) -> Vec<Result<&'static str, String>> {
    let done = wait(mend(&lab.config(), &look.found)).into_iter();
    done.map(|done| done.map_err(|error| error.to_string())).collect()
}

fn sql(lab: &Lab, text: &str) {
    let database = rusqlite::Connection::open(lab.path("state/network.db")).unwrap();
    database.execute_batch(text).unwrap();
}

#[test]
fn living_pods_are_clean_beside_whoever_has_the_records_open() {
    let lab = Lab::new();
    let nothing = seen(&lab, &[]);
    assert!(nothing.found.is_empty() && nothing.notes.len() == 1, "{nothing:?}");
    assert!(!lab.path("state").exists());
    let network = lab.network();
    let pods =
        ["a", "b"].map(|id| lab.pod(id).port(Protocol::Tcp, 8000 + u16::from(id == "a"), 80));
    pods.iter().for_each(|pod| drop(pod.add(&network).unwrap()));
    // As CNI's bridge and a person would name theirs.
    sh(
        "ip link add veth12345678 type veth peer name own0; ip link set veth12345678 master rrtest0",
    );
    let look = seen(&lab, &["a", "b"]);
    assert_eq!(told(&look), []);
    assert_eq!(look.attached, ["a", "b"].map(str::to_owned).into());
    let unknown: Gone = Arc::new(|_| Err("the disk hangs".into()));
    let look = wait(rrun_cni::fsck::look(&lab.config(), &unknown)).unwrap();
    assert!(look.found.is_empty());
    assert!(look.notes.iter().any(|note| note.ends_with("not judged: the disk hangs")), "{look:?}");
    sh("ip link del veth12345678");
    pods.iter().for_each(|pod| pod.del(&network).unwrap());
}

#[test]
fn an_attachment_of_a_pod_that_is_gone_is_detached_and_its_address_and_port_are_free() {
    let lab = Lab::new();
    let network = lab.network();
    let (lost, lives) = (lab.pod("lost").port(Protocol::Tcp, 8080, 80), lab.pod("lives"));
    lost.add(&network).unwrap();
    lives.add(&network).unwrap();
    let before = traces();
    let look = seen(&lab, &["lives"]);
    let what = "its pod is not on record (rrtest0, 10.213.0.2, 8080/tcp)";
    assert_eq!(told(&look), [(Fault::Attachment, "lost", what)]);
    assert_eq!((traces(), seen(&lab, &["lives"]).found.len()), (before, 1));
    assert_eq!(mended(&lab, &look), [Ok("detached")]);
    assert_eq!(told(&seen(&lab, &["lives"])), []);
    let other = lab.pod("other").port(Protocol::Tcp, 8080, 80);
    other.add(&network).unwrap();
    other.del(&network).unwrap();
    lives.del(&network).unwrap();
    assert_eq!(traces(), "");
}

#[test]
fn an_attachment_by_a_plugin_is_detached_by_that_plugin_and_stays_where_that_fails() {
    let lab = Lab::new();
    let plugin = lab.path("bin/fake");
    let script = "#!/bin/sh\ncat >/dev/null\n[ $CNI_COMMAND = DEL ] || echo \
        '{\"cniVersion\": \"1.0.0\", \"ips\": [{\"address\": \"10.98.0.2/24\"}]}'\n";
    fs::write(&plugin, script).unwrap();
    fs::set_permissions(&plugin, fs::Permissions::from_mode(0o755)).unwrap();
    let conf = r#"{"cniVersion": "1.0.0", "name": "fake", "plugins": [{"type": "fake"}]}"#;
    fs::write(lab.path("conf/1.conflist"), conf).unwrap();
    let config = lab.config_of(Mode::Cni, &lab.path("bin"));
    let network = lab::open(config).unwrap();
    lab.pod("lost").add(&network).unwrap();
    let look = seen(&lab, &[]);
    let what = "its pod is not on record (fake)";
    assert_eq!(told(&look), [(Fault::Attachment, "lost", what)]);
    fs::rename(&plugin, lab.path("aside")).unwrap();
    assert!(mended(&lab, &look)[0].as_ref().unwrap_err().contains("fake"));
    assert_eq!(seen(&lab, &[]).found.len(), 1);
    fs::rename(lab.path("aside"), &plugin).unwrap();
    assert_eq!(mended(&lab, &look), [Ok("detached")]);
    assert_eq!(told(&seen(&lab, &[])), []);
}

#[test]
fn a_link_of_no_attachment_goes_with_what_limited_its_traffic() {
    let lab = Lab::new();
    let pod = lab.pod("lost").annotated("kubernetes.io/egress-bandwidth", "1M");
    pod.add(&lab.network()).unwrap();
    sql(&lab, "DELETE FROM attachment; DELETE FROM address");
    let look = seen(&lab, &[]);
    assert_eq!(mended(&lab, &look), [Ok("removed")]);
    assert_eq!(traces(), "");
}

#[test]
fn what_is_reserved_or_stands_for_no_attachment_is_given_back() {
    let lab = Lab::new();
    let network = lab.network();
    lab.pod("lost")
        .port(Protocol::Udp, 5353, 53)
        .port_on("192.0.2.1", 81, 80)
        .add(&network)
        .unwrap();
    let lives = lab.pod("lives").port(Protocol::Tcp, 8080, 80);
    lives.add(&network).unwrap();
    let of_living = sh("ip -o link show type veth | grep -o 'veth[0-9a-f]*'").lines().count() - 1;
    sql(&lab, "DELETE FROM attachment WHERE id='lost'");
    let look = seen(&lab, &["lives"]);
    let reserved = "it is reserved for lost, which is not attached";
    let [address, one, other, (Fault::Link, link, what)] = told(&look)[..] else {
        panic!("{look:?}")
    };
    assert_eq!(address, (Fault::Address, "10.213.0.2", reserved));
    assert_eq!(one, (Fault::Port, "192.0.2.1:81/tcp", reserved));
    assert_eq!(other, (Fault::Port, "5353/udp", reserved));
    assert!(link.starts_with("veth"));
    assert_eq!(what, "it is a port of rrtest0, and of no attachment");
    assert_eq!(seen(&lab, &["lives"]).found, look.found, "nothing was changed");
    let given_back = Ok("given back");
    assert_eq!(
        mended(&lab, &look),
        [given_back.clone(), given_back.clone(), given_back, Ok("removed")]
    );
    assert_eq!(told(&seen(&lab, &["lives"])), []);
    assert_eq!(
        sh("ip -o link show type veth | grep -o 'veth[0-9a-f]*'").lines().count(),
        of_living
    );
    assert!(traces().contains("8080") || traces().contains("elements"), "{}", traces());
    lives.del(&network).unwrap();
    assert_eq!(traces(), "");
}

#[test]
fn a_record_that_cannot_be_read_is_detached_by_its_id_when_its_pod_is_gone() {
    let lab = Lab::new();
    let network = lab.network();
    for id in ["torn", "newer"] {
        lab.pod(id).add(&network).unwrap();
    }
    sql(
        &lab,
        "UPDATE attachment SET record='{\"version\": 1' WHERE id='torn';
               UPDATE attachment SET record='{\"version\": 9}' WHERE id='newer'",
    );
    let look = seen(&lab, &["torn", "newer"]);
    let [(Fault::Attachment, "newer", newer), (Fault::Attachment, "torn", _)] = told(&look)[..]
    else {
        panic!("{look:?}")
    };
    assert!(newer.starts_with("its record cannot be read (10.213.0.3)"), "{newer}");
    assert!(newer.contains("written by version 9"), "{newer}");
    assert!(mended(&lab, &look).iter().all(|done| {
        done.as_ref().is_err_and(|why| why.contains("stop that, which detaches it"))
    }));
    let look = seen(&lab, &[]);
    assert_eq!(look.found.len(), 2);
    assert!(mended(&lab, &look).iter().all(Result::is_ok));
    assert_eq!(told(&seen(&lab, &[])), []);
    assert_eq!(traces(), "");
}

#[test]
fn damaged_records_are_made_anew_unless_somebody_has_them_open_and_those_of_a_later_version_stay() {
    let lab = Lab::new();
    drop(lab.network());
    sql(&lab, "PRAGMA user_version=9; PRAGMA wal_checkpoint(TRUNCATE)");
    let look = seen(&lab, &[]);
    let [(Fault::Records, "network.db", what)] = told(&look)[..] else { panic!("{look:?}") };
    assert!(what.contains("version 9, this program knows 1"), "{what}");
    assert!(mended(&lab, &look)[0].is_err());
    for end in ["-wal", "-shm"] {
        let _ = fs::remove_file(lab.path(&format!("state/network.db{end}")));
    }
    fs::write(lab.path("state/network.db"), "no database, for sure".repeat(400)).unwrap();
    let held = fs::File::open(lab.path("state/network.lock")).unwrap();
    held.lock_shared().unwrap();
    let look = seen(&lab, &[]);
    let [(Fault::Records, "network.db", what)] = told(&look)[..] else { panic!("{look:?}") };
    assert!(what.starts_with("it is damaged: "), "{what}");
    let refused = mended(&lab, &look)[0].clone().unwrap_err();
    assert!(refused.contains("another process has them open"), "{refused}");
    drop(held);
    assert_eq!(mended(&lab, &look), [Ok("set aside, and made anew without what was in them")]);
    let look = seen(&lab, &[]);
    assert_eq!(told(&look), []);
    assert!(look.notes.iter().any(|note| note.starts_with("network.db.damaged")), "{look:?}");
    let making = fs::File::open(lab.path("state/network.lock")).unwrap();
    making.lock().unwrap();
    let refused = wait(rrun_cni::fsck::look(&lab.config(), &but(&[]))).unwrap_err();
    assert_eq!(refused.kind(), Kind::Unavailable, "{refused}");
}
