//! Logs that are full, torn, or no files.

use super::*;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use nix::unistd::{mkfifo, pipe2, write};
use rrun_shim_protocol::remaining_output::{self, ReadEnds};
use std::os::unix::fs::symlink;

fn tee_pipe() -> TeePipe {
    let (reader, writer) = io::pipe().unwrap();
    set_nonblocking(&reader).unwrap();
    TeePipe { reader: Arc::new(reader), writer }
}

#[test]
fn a_peek_leaves_the_pipe_as_it_is_and_nothing_behind_for_the_next() {
    let log = LogThread::start().unwrap();
    let mut buffer = [0; 64];
    for flags in [OFlag::empty(), OFlag::O_DIRECT] {
        let (reader, writer) = pipe2(flags).unwrap();
        for word in ["one ", "two ", "three"] {
            write(&writer, word.as_bytes()).unwrap();
        }
        for _ in 0..2 {
            let count = log.peek(&reader, &mut buffer).unwrap();
            assert_eq!(&buffer[..count], b"one two three");
        }
    }
}

#[test]
fn a_line_that_does_not_end_is_in_the_log_before_its_end_and_goes_on_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let (path, journal) = (folder.path().join("0.log"), folder.path().join("journal"));
    let log = LogThread::start().unwrap();
    let key: Key = 1;
    log.send(LogCommand::Open(key, path.clone(), journal));
    let write = |text: &[u8]| {
        let read = Read { at: now(), bytes: text.to_vec(), pipe: None };
        log.send(LogCommand::Bytes(key, Stream::Stdout, read));
    };
    let expect = |expected: &[&str]| {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            let lines: Vec<_> =
                text.lines().filter_map(|line| Some(line.split_once(" stdout ")?.1)).collect();
            if lines == expected {
                return;
            }
            assert!(Instant::now() < deadline, "{lines:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    write(b"one\nprompt> ");
    expect(&["F one", "P prompt> "]);
    write(b"yes\n");
    expect(&["F one", "P prompt> ", "F yes"]);
    write(b"all there is");
    log.send(LogCommand::Close(key, now(), None));
    expect(&["F one", "P prompt> ", "F yes", "P all there is"]);
}

#[test]
fn what_a_full_disk_does_not_take_is_counted_and_told_by_the_next_line_that_can_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("0.log");
    let (key, tee): (Key, _) = (1, tee_pipe());
    let mut logs = BTreeMap::new();
    let done =
        |logs: &mut BTreeMap<Key, Log>, command| carry_out(command, logs, &mut Vec::new(), &tee);
    let fill = |logs: &mut BTreeMap<Key, Log>| {
        let full = File::options().append(true).open("/dev/full").unwrap();
        logs.get_mut(&key).unwrap().file = full;
    };
    let output = |text: &str| {
        let read = Read { at: 0, bytes: text.as_bytes().to_vec(), pipe: None };
        LogCommand::Bytes(key, Stream::Stdout, read)
    };
    let not_taken = |done: Done| match done {
        Done::Written(_, _, not_taken) | Done::Closed(_, not_taken) => {
            (not_taken.bytes, not_taken.why)
        }
        other => panic!("{other:?}"),
    };
    let (full, nothing) = (|bytes| (bytes, "ENOSPC".to_owned()), (0, String::new()));
    done(&mut logs, LogCommand::Open(key, path.clone(), folder.path().join("journal")));
    fill(&mut logs);
    assert_eq!(not_taken(done(&mut logs, output("one\n"))), full(4));
    assert_eq!(not_taken(done(&mut logs, output("two\nthree\n"))), full(10));
    done(&mut logs, LogCommand::Reopen(key));
    assert_eq!(not_taken(done(&mut logs, output("four\n"))), nothing);
    fill(&mut logs);
    assert_eq!(not_taken(done(&mut logs, output("five"))), nothing);
    assert_eq!(not_taken(done(&mut logs, LogCommand::Close(key, 0, None))), full(4));
    let text = std::fs::read_to_string(path).unwrap();
    let expected = "stderr F rrun: 14 bytes are missing here: ENOSPC\nstdout F four\n";
    assert_eq!(text.replace("1970-01-01T00:00:00.000000000Z ", ""), expected);
}

#[test]
fn what_a_full_disk_has_not_taken_is_told_by_whoever_comes_after_a_shim_that_was_killed() {
    let folder = tempfile::tempdir().unwrap();
    let (path, journal) = (folder.path().join("0.log"), folder.path().join("journal"));
    let (key, tee): (Key, _) = (1, tee_pipe());
    let (mut logs, mut lines) = (BTreeMap::new(), Vec::new());
    let mut done = |logs: &mut BTreeMap<Key, Log>, command| {
        drop(carry_out(command, logs, &mut lines, &tee));
        lines.clear();
    };
    done(&mut logs, LogCommand::Open(key, path.clone(), journal.clone()));
    let full = File::options().append(true).open("/dev/full").unwrap();
    logs.get_mut(&key).unwrap().file = full;
    let streams = [Stream::Stdout, Stream::Stderr].map(|stream| {
        let (reader, writer) = pipe2(OFlag::O_NONBLOCK).unwrap();
        (stream, Arc::new(reader), writer)
    });
    for (text, (stream, reader, writer)) in ["one\n", "two\nthree\n"].iter().zip(&streams) {
        write(writer, text.as_bytes()).unwrap();
        let bytes = text.as_bytes().to_vec();
        let read = Read { at: 0, bytes, pipe: Some(Arc::clone(reader)) };
        done(&mut logs, LogCommand::Bytes(key, *stream, read));
    }
    // Killed, and its disk has room again.
    drop(logs);
    let [(_, stdout, left), (_, stderr, _)] = &streams;
    write(left, b"four\n").unwrap();
    let reader = OwnedFd::from(tee.reader.try_clone().unwrap());
    let ends = ReadEnds { tee: &reader, stdout: Some(stdout), stderr: Some(stderr) };
    remaining_output::log(&journal, &path, &ends).unwrap();
    let text = std::fs::read_to_string(path).unwrap();
    let said: Vec<&str> = text.lines().map(|line| line.split_once(' ').unwrap().1).collect();
    assert_eq!(said, ["stderr F rrun: 14 bytes are missing here: ENOSPC", "stdout F four"]);
}

#[test]
fn a_log_that_is_opened_anew_where_a_link_or_a_fifo_is_goes_on_in_the_file_that_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let (path, rotated) = (folder.path().join("0.log"), folder.path().join("1.log"));
    let (key, tee): (Key, _) = (1, tee_pipe());
    let (mut logs, mut lines) = (BTreeMap::new(), Vec::new());
    let open = LogCommand::Open(key, path.clone(), folder.path().join("journal"));
    carry_out(open, &mut logs, &mut lines, &tee);
    std::fs::rename(&path, &rotated).unwrap();
    let precious = folder.path().join("precious");
    std::fs::write(&precious, "").unwrap();
    let put: [(&dyn Fn(), &str); 2] = [
        (&|| symlink(&precious, &path).unwrap(), "it is a symbolic link"),
        (&|| mkfifo(&path, Mode::S_IRWXU).unwrap(), "not a regular file"),
    ];
    for (put, words) in put {
        put();
        let reopened = carry_out(LogCommand::Reopen(key), &mut logs, &mut lines, &tee);
        let Done::Reopened(_, Err(refused)) = reopened else { panic!("{reopened:?}") };
        let expected = format!("open log {}: {words}", path.display());
        assert_eq!(refused.to_string(), expected);
        let read = Read { at: 0, bytes: b"line\n".to_vec(), pipe: None };
        let bytes = LogCommand::Bytes(key, Stream::Stdout, read);
        carry_out(bytes, &mut logs, &mut lines, &tee);
        lines.clear();
        std::fs::remove_file(&path).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&rotated).unwrap().lines().count(), 2);
    assert_eq!(std::fs::read(&precious).unwrap(), b"");
}

#[test]
fn what_is_taken_goes_packet_by_packet_too() {
    let tee = tee_pipe();
    let (reader, writer) = pipe2(OFlag::O_DIRECT | OFlag::O_NONBLOCK).unwrap();
    for word in ["one ", "two ", "three"] {
        write(&writer, word.as_bytes()).unwrap();
    }
    let mut bytes = [0; 8];
    tee.take(&reader, &mut bytes);
    tee.empty(&mut bytes);
    assert_eq!(nix::unistd::read(&tee.reader, &mut bytes), Err(Errno::EAGAIN));
    assert_eq!(nix::unistd::read(&reader, &mut bytes), Ok(5));
}
