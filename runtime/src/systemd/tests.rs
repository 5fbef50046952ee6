//! The messages, against a bus of our own.

use super::bus::{Bus, Place};
use super::message::{self, Body, FIXED, Method, Value, other_end};
use super::*;
use crate::plan::{CgroupDir, CgroupWrite};
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::mpsc;

/// What a test's systemd says to a call.
enum Said {
    Answer(&'static str),
    /// A property.
    Property(&'static str),
    /// A job, and how it ends.
    Job(&'static str),
    Refusal(&'static str, &'static str),
}

/// A bus with a systemd that answers as `says` does, and the calls that it hears.
fn systemd(
    says: impl Fn(&str) -> Said + Send + 'static,
) -> (Bus, mpsc::Receiver<(String, Body)>, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bus");
    let listener = UnixListener::bind(&path).unwrap();
    let (heard, calls) = mpsc::channel();
    std::thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        let greeting = line(&mut stream);
        assert!(greeting.starts_with("\0AUTH EXTERNAL "), "{greeting:?}");
        stream.write_all(b"OK 0123\r\n").unwrap();
        assert_eq!(line(&mut stream), "BEGIN\r\n");
        let mut fixed = [0; FIXED];
        while stream.read_exact(&mut fixed).is_ok() {
            let mut rest = vec![0; message::length_after(&fixed).unwrap()];
            stream.read_exact(&mut rest).unwrap();
            let (serial, member, body) = other_end::read_call(&fixed, &rest);
            let said = match member.as_str() {
                "Hello" | "AddMatch" | "Subscribe" => Said::Answer(":1.1"),
                other => says(other),
            };
            let _ = heard.send((member, body));
            let bytes = match said {
                Said::Answer(text) => other_end::answer(serial, text, false),
                Said::Property(text) => other_end::answer(serial, text, true),
                Said::Refusal(name, words) => {
                    other_end::refusal(serial, &format!("org.freedesktop.systemd1.{name}"), words)
                }
                // The end of somebody else's job comes between.
                Said::Job(result) => [
                    other_end::job_removed("/job/1", "failed"),
                    other_end::answer(serial, "/job/2", false),
                    other_end::job_removed("/job/2", result),
                ]
                .concat(),
            };
            stream.write_all(&bytes).unwrap();
        }
    });
    let place = Place { path: path.to_str().unwrap(), has_bus: true };
    (Bus::at(place).unwrap(), calls, folder)
}

fn line(stream: &mut UnixStream) -> String {
    let (mut text, mut byte) = (Vec::new(), [0]);
    while !text.ends_with(b"\r\n") {
        stream.read_exact(&mut byte).unwrap();
        text.push(byte[0]);
    }
    String::from_utf8(text).unwrap()
}

fn names(calls: &mpsc::Receiver<(String, Body)>) -> Vec<String> {
    calls.try_iter().map(|(member, _)| member).collect()
}

fn scope() -> Scope {
    Scope::parse("machine.slice:libpod:c1").unwrap()
}

fn limited() -> Cgroups {
    let path = "/sys/fs/cgroup/machine.slice/libpod-c1.scope".into();
    let write =
        CgroupWrite { dir: 0, file: "memory.max".into(), value: "1048576".into(), optional: false };
    Cgroups {
        dirs: vec![CgroupDir { path, unified: true, inherit_cpuset: false }],
        writes: vec![write],
        ..Cgroups::default()
    }
}

#[test]
fn a_scope_is_asked_for_with_its_process_and_its_limits_and_its_job_is_waited_for() {
    let (mut bus, calls, _folder) = systemd(|_| Said::Job("done"));
    start(&mut bus, &scope(), "mine", &limited(), Pid::from_raw(4711)).unwrap();
    let all: Vec<_> = calls.try_iter().collect();
    let order: Vec<&str> = all.iter().map(|(member, _)| member.as_str()).collect();
    assert_eq!(order, ["Hello", "AddMatch", "Subscribe", "StartTransientUnit"]);
    let mut reader = all[3].1.reader();
    assert_eq!(reader.text().unwrap(), "libpod-c1.scope");
    assert_eq!(reader.text().unwrap(), "replace");
    let said = other_end::words(&all[3].1);
    for word in ["Slice", "machine.slice", "Delegate", "PIDs", "MemoryMax", "IOAccounting", "mine"]
    {
        assert!(said.contains(word), "{word}: {said}");
    }
}

#[test]
fn a_slice_is_asked_for_with_its_limits_and_one_that_is_there_gets_them() {
    let slice = Slice::parse("rrun-pod1.slice").unwrap();
    let (mut bus, calls, _folder) = systemd(|member| match member {
        "StartTransientUnit" => Said::Refusal("UnitExists", "it is there"),
        _ => Said::Answer(""),
    });
    start_slice(&mut bus, &slice, "a pod", &limited()).unwrap();
    let all: Vec<_> = calls.try_iter().collect();
    let order: Vec<&str> = all[3..].iter().map(|(member, _)| member.as_str()).collect();
    assert_eq!(order, ["StartTransientUnit", "SetUnitProperties"]);
    for (call, words) in [(3, ["a pod", "MemoryAccounting"]), (4, ["rrun-pod1.slice", "MemoryMax"])]
    {
        let said = other_end::words(&all[call].1);
        assert!(words.iter().all(|word| said.contains(word)), "{said}");
    }
    assert!(other_end::words(&all[3].1).contains("MemoryMax"));
}

#[test]
fn a_slice_without_limits_that_is_there_is_left_as_it_is() {
    let slice = Slice::parse("rrun-pod1.slice").unwrap();
    let (mut bus, calls, _folder) = systemd(|_| Said::Refusal("UnitExists", "it is there"));
    start_slice(&mut bus, &slice, "a pod", &Cgroups::default()).unwrap();
    assert_eq!(names(&calls)[3..], ["StartTransientUnit"]);
}

#[test]
fn a_job_that_fails_is_an_error_with_its_result() {
    let (mut bus, _calls, _folder) = systemd(|_| Said::Job("failed"));
    let error = start(&mut bus, &scope(), "mine", &limited(), Pid::from_raw(1)).unwrap_err();
    assert_eq!(error.to_string(), "systemd: the job has ended as \"failed\"");
}

#[test]
fn what_systemd_refuses_is_told_in_its_words() {
    for (name, kind) in
        [("UnitExists", Kind::Exists), ("NoSuchUnit", Kind::NotFound), ("Anything", Kind::Kernel)]
    {
        let (mut bus, _calls, _folder) = systemd(move |_| Said::Refusal(name, "no, said systemd"));
        let error = start(&mut bus, &scope(), "mine", &limited(), Pid::from_raw(1)).unwrap_err();
        assert_eq!(error.kind(), kind);
        assert_eq!(error.to_string(), format!("systemd: no, said systemd ({name})"));
    }
}

#[test]
fn a_scope_is_stopped_by_whoever_made_it_and_by_nobody_else() {
    let says = |member: &str| match member {
        "GetUnit" => Said::Answer("/unit/1"),
        "Get" => Said::Property("mine"),
        "StopUnit" => Said::Job("done"),
        _ => Said::Answer(""),
    };
    let nothing = Cgroups::default();
    let (mut bus, calls, _folder) = systemd(says);
    assert!(stop_ours(&mut bus, &scope(), "mine", &nothing).unwrap());
    assert_eq!(names(&calls)[3..], ["GetUnit", "Get", "StopUnit", "ResetFailedUnit"]);
    let (mut bus, calls, _folder) = systemd(says);
    assert!(!stop_ours(&mut bus, &scope(), "another's", &nothing).unwrap());
    assert_eq!(names(&calls)[3..], ["GetUnit", "Get", "GetUnit", "Get"]);
}

#[test]
fn a_scope_that_is_gone_is_stopped_already() {
    let (mut bus, calls, _folder) = systemd(|_| Said::Refusal("NoSuchUnit", "not loaded"));
    assert!(stop_ours(&mut bus, &scope(), "mine", &Cgroups::default()).unwrap());
    assert_eq!(names(&calls)[3..], ["GetUnit"]);
    let (mut bus, _calls, _folder) = systemd(|member| match member {
        "GetUnit" => Said::Answer("/unit/1"),
        "Get" => Said::Property("mine"),
        // It has ended meanwhile.
        _ => Said::Refusal("NoSuchUnit", "not loaded"),
    });
    assert!(stop_ours(&mut bus, &scope(), "mine", &Cgroups::default()).unwrap());
    let (mut bus, _calls, _folder) = systemd(|member| match member {
        "GetUnit" => Said::Answer("/unit/1"),
        // Looked up by a path, it is there without being any.
        _ => Said::Property("not-found"),
    });
    assert!(stop_ours(&mut bus, &scope(), "mine", &Cgroups::default()).unwrap());
}

#[test]
fn a_socket_that_will_not_do_is_named_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bus");
    let place = Place { path: path.to_str().unwrap(), has_bus: true };
    let error = Bus::at(place).unwrap_err().to_string();
    assert_eq!(error, format!("connect {}: ENOENT", path.display()));
    let listener = UnixListener::bind(&path).unwrap();
    let server = std::thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        line(&mut stream);
        stream.write_all(b"REJECTED EXTERNAL\r\n").unwrap();
    });
    let error = Bus::at(place).unwrap_err().to_string();
    assert_eq!(error, format!("connect {}: not let in: REJECTED EXTERNAL", path.display()));
    server.join().unwrap();
}

/// Written by hand from the specification.
#[cfg(target_endian = "little")]
#[test]
fn a_call_has_the_bytes_of_the_specification() {
    let method = Method { destination: "d.e", path: "/p", interface: "i.f", member: "M" };
    let arguments = [Value::Text("ab".into()), Value::Bool(true), Value::Number(3)];
    let expected: &[u8] = &[
        b'l', 1, 0, 1, // a call
        24, 0, 0, 0, // the body's length
        7, 0, 0, 0, // the serial
        73, 0, 0, 0, // the fields' length, without what aligns the body
        1, 1, b'o', 0, 2, 0, 0, 0, b'/', b'p', 0, 0, 0, 0, 0, 0, // path
        2, 1, b's', 0, 3, 0, 0, 0, b'i', b'.', b'f', 0, 0, 0, 0, 0, // interface
        3, 1, b's', 0, 1, 0, 0, 0, b'M', 0, 0, 0, 0, 0, 0, 0, // member
        6, 1, b's', 0, 3, 0, 0, 0, b'd', b'.', b'e', 0, 0, 0, 0, 0, // destination
        8, 1, b'g', 0, 3, b's', b'b', b't', 0, 0, 0, 0, 0, 0, 0, 0, // signature
        2, 0, 0, 0, b'a', b'b', 0, 0, // "ab"
        1, 0, 0, 0, 0, 0, 0, 0, // true
        3, 0, 0, 0, 0, 0, 0, 0, // 3
    ];
    assert_eq!(message::call(&method, &arguments, 7), expected);
}

#[test]
fn a_message_torn_anywhere_is_an_error_and_no_panic() {
    let whole = other_end::refusal(3, "a.B", "words");
    let mut fixed = [0; FIXED];
    fixed.copy_from_slice(&whole[..FIXED]);
    assert_eq!(message::length_after(&fixed).unwrap(), whole.len() - FIXED);
    let fields = whole.len() - FIXED - "words\0".len() - 4;
    for cut in 0..fields - 8 {
        assert!(message::read(&fixed, &whole[FIXED..FIXED + cut]).is_err(), "{cut}");
    }
    for at in 0..FIXED {
        let mut bad = fixed;
        bad[at] ^= 0xff;
        if let Ok(rest) = message::length_after(&bad) {
            let _ = message::read(&bad, &vec![0xff; rest]);
        }
    }
}
