//! Every message has its bytes in `tests/golden`: what a shim or a daemon of another release
//! sends. `UPDATE_GOLDEN=1 cargo test -p rrun-shim-protocol --test golden` writes them anew, which
//! `COMPATIBILITY.md` allows for messages that no release has yet.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod cbor;
mod samples;

use cbor::Value;
use rrun_runtime::plan::Plan;
use rrun_shim_protocol::cri_log::Stream;
use rrun_shim_protocol::log_journal::{self, Chunk, Gap, Journal};
use rrun_shim_protocol::{Event, NamespaceKind, Reply, Request, exit_record};
use samples::{Message, samples};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn hex(bytes: &[u8]) -> String {
    let line = |line: &[u8]| line.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    bytes.chunks(40).map(|chunk| line(chunk) + "\n").collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

/// The bytes of `name`, which are `bytes` when they are written anew.
fn golden(name: &str, bytes: &[u8]) -> Vec<u8> {
    let path = folder().join(format!("{name}.hex"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, hex(bytes)).unwrap();
    }
    unhex(&fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

fn encode(message: &Message) -> Vec<u8> {
    match message {
        Message::Request(request) => minicbor::to_vec(request),
        Message::Reply(reply) => minicbor::to_vec(reply),
        Message::Event(event) => minicbor::to_vec(event),
    }
    .unwrap()
}

/// `bytes` as a message of the sort that `like` is.
fn decode(like: &Message, bytes: &[u8]) -> Result<Message, minicbor::decode::Error> {
    Ok(match like {
        Message::Request(_) => Message::Request(Box::new(minicbor::decode::<Request>(bytes)?)),
        Message::Reply(_) => Message::Reply(minicbor::decode::<Reply>(bytes)?),
        Message::Event(_) => Message::Event(minicbor::decode::<Event>(bytes)?),
    })
}

#[test]
fn every_message_is_read_from_its_golden_bytes_and_written_to_them() {
    let samples = samples();
    for (name, message) in &samples {
        let golden = golden(name, &encode(message));
        assert_eq!(&decode(message, &golden).unwrap(), message, "{name}");
        assert_eq!(hex(&encode(message)), hex(&golden), "{name}");
    }
    let names: BTreeSet<String> = samples.into_iter().map(|(name, _)| name).collect();
    let files = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    for path in files.filter(|path| path.is_file()) {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let known = names.contains(&name) || ["exit-record", "log-journal"].contains(&&*name);
        assert!(known, "{} is no message's", path.display());
    }
}

/// The folder of a version has those of its messages whose bytes are others since; the rest is as it
/// was.
#[test]
fn what_earlier_versions_said_is_read_with_nothing_in_later_fields() {
    for version in [1, 2, 3, 4, 5] {
        let mut read = 0;
        for (name, mut message) in samples() {
            let path = folder().join(format!("{version}/{name}.hex"));
            let Ok(text) = fs::read_to_string(path) else { continue };
            clear_later_fields(&mut message, version);
            assert_eq!(decode(&message, &unhex(&text)).unwrap(), message, "{name}");
            read += 1;
        }
        assert_eq!(read, fs::read_dir(folder().join(version.to_string())).unwrap().count());
    }
}

fn clear_later_fields(message: &mut Message, version: u16) {
    if let Message::Request(request) = message {
        clear_listener(request);
    }
    match message {
        // Version 4 of the plan has come with none of the protocol.
        _ if version == 5 => {}
        Message::Reply(Reply::Created { clamped, .. } | Reply::Started { clamped, .. }) => {
            clamped.clear();
        }
        Message::Request(request) => match &mut **request {
            Request::Sandbox(sandbox) if version == 3 => {
                sandbox.reaper.as_mut().unwrap().plan.hooks = None;
            }
            Request::Create(create) if version == 4 => create.program = None,
            Request::Exec(exec) if version == 4 => exec.process = None,
            Request::Create(create) if version == 3 => {
                create.plan.hooks = None;
                create.program = None;
            }
            Request::Sandbox(sandbox) => {
                sandbox.id_maps = None;
                sandbox.namespaces.retain(|kind| *kind != NamespaceKind::User);
                sandbox.pins.retain(|pin| pin.kind != NamespaceKind::User);
                clear_later_fields_of(&mut sandbox.reaper.as_mut().unwrap().plan);
            }
            Request::Create(create) => {
                create.program = None;
                clear_later_fields_of(&mut create.plan);
            }
            Request::Exec(exec) => {
                exec.process = None;
                exec.plan.process.user.outside = None;
            }
            _ => panic!("it has no later field"),
        },
        _ => panic!("it has no later field"),
    }
}

fn clear_listener(request: &mut Request) {
    let process = match request {
        Request::Create(create) => &mut create.plan.process,
        Request::Exec(exec) => &mut exec.plan.process,
        Request::Sandbox(sandbox) => &mut sandbox.reaper.as_mut().unwrap().plan.process,
        _ => return,
    };
    process.seccomp.as_mut().unwrap().listener = None;
}

fn clear_later_fields_of(plan: &mut Plan) {
    plan.hooks = None;
    plan.process.user.outside = None;
    plan.mounts.iter_mut().for_each(|mount| mount.id_map = None);
}

#[test]
fn a_field_that_is_not_known_is_passed_over_in_every_map() {
    for (name, message) in samples() {
        let mut tree = Value::parse(&encode(&message));
        let mut maps = 0;
        tree.each_map(&mut |fields| {
            maps += 1;
            let nested = Value::Map(vec![(Value::Number(0), Value::Text("new".to_owned()))]);
            let new = Value::Array(vec![Value::Number(77), nested]);
            fields.insert(fields.len() / 2, (Value::Number(1000), new));
        });
        assert!(maps > 0, "{name} has nothing that can grow");
        assert_eq!(decode(&message, &tree.bytes()).unwrap(), message, "{name}");
    }
}

#[test]
fn a_variant_that_is_not_known_is_an_error_wherever_it_stands() {
    for (name, message) in samples() {
        let tree = Value::parse(&encode(&message));
        for at in 0..tree.clone().variants().len() {
            let mut changed = tree.clone();
            *changed.variants()[at] = 1000;
            let decoded = decode(&message, &changed.bytes());
            let error = decoded.expect_err(&format!("{name}: variant {at} of {tree:?}"));
            assert!(error.to_string().contains("1000"), "{name}: {error}");
        }
    }
}

#[test]
fn an_exit_record_is_read_from_its_golden_bytes() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(exit_record::folder(folder.path())).unwrap();
    let path = exit_record::folder(folder.path()).join("c");
    let exit = samples::exit();
    exit_record::write(folder.path(), "c", 3, &exit).unwrap();
    let written = fs::read(&path).unwrap();
    let golden = golden("exit-record", &written);
    assert_eq!(hex(&written), hex(&golden));
    fs::write(&path, golden).unwrap();
    assert_eq!(exit_record::read(folder.path(), "c").unwrap(), Some((3, exit)));
}

#[test]
fn a_journal_is_read_from_its_golden_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let path = log_journal::path(folder.path(), "c");
    let chunk = Some(Chunk { length: 300, at: -1, inode: u64::MAX, size: 70_000 });
    let gap = Some(Gap { bytes: 4096, why: "ENOSPC".into(), inode: u64::MAX, size: 70_000 });
    let mut journal = Journal::create(&path).unwrap();
    journal.put(Stream::Stderr, chunk.clone(), gap.clone(), b"open line").unwrap();
    let written = fs::read(&path).unwrap();
    let start = written.iter().position(|byte| *byte != 0).unwrap();
    let golden = golden("log-journal", &written[start..]);
    assert_eq!(hex(&written[start..]), hex(&golden));
    fs::write(&path, [&written[..start], &golden].concat()).unwrap();
    let [stdout, stderr] = log_journal::read(&path).unwrap();
    assert_eq!((stderr.chunk, stderr.gap, &*stderr.open), (chunk, gap, &b"open line"[..]));
    assert_eq!(stdout, log_journal::Entry::default());
}
