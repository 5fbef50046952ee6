//! What a pull shows on a terminal.

use crate::machine::{Machine, await_that, text};
use nix::sched::{CloneFlags, setns};
use rrun_tests::images::{Blob, Config, Format, Layer, Sources, assemble};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::process::Stdio;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

/// A registry of one image that keeps back the last quarter of its layer until it is told to go on.
struct Halting {
    address: String,
    layer: String,
    go_on: Sender<()>,
}

/// What the registry serves.
struct Content {
    blobs: HashMap<String, Vec<u8>>,
    manifest: Vec<u8>,
    layer: String,
}

impl Halting {
    fn start(machine: &Machine) -> Halting {
        let nowhere = Sources { debian: "/none".into(), programs: "/none".into() };
        // Numbers that deflate finds no end of.
        let mut words = String::new();
        for number in 0..400_000_u64 {
            write!(words, "{:x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15)).unwrap();
        }
        let layer = Layer::default().text("etc/numbers", &words).blob(&nowhere).unwrap();
        let made = assemble(Format::Oci, &Config::default(), &[&layer]).unwrap();
        let (config, (_, manifest)) = (made.config, made.manifest);
        let digest = layer.blob.digest.clone();
        let content = Content {
            manifest: manifest.bytes.clone(),
            blobs: [layer.blob, config, manifest]
                .into_iter()
                .map(|Blob { digest, bytes, .. }| (digest, bytes))
                .collect(),
            layer: digest.clone(),
        };
        let namespace = File::open(format!("/proc/{}/ns/net", machine.sandbox.pid())).unwrap();
        let inside = || {
            setns(&namespace, CloneFlags::CLONE_NEWNET).unwrap();
            TcpListener::bind("127.0.0.1:0").unwrap()
        };
        let listener = std::thread::scope(|scope| scope.spawn(inside).join()).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (go_on, gate) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // Whoever hangs up says so to himself.
                let _ = answer(stream, &content, &gate);
            }
        });
        Halting { address, layer: digest, go_on }
    }
}

fn answer(mut stream: TcpStream, content: &Content, gate: &Receiver<()>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let first = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    while !lines.next().unwrap_or_else(|| Ok(String::new()))?.is_empty() {}
    let name = first.split(' ').nth(1).and_then(|path| path.rsplit('/').next());
    let name = name.unwrap_or_default();
    let body = content.blobs.get(name).unwrap_or(&content.manifest);
    let length = body.len();
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n")?;
    if first.starts_with("HEAD") {
        return Ok(());
    }
    let (one, other) = body.split_at(length / 4 * 3);
    stream.write_all(one)?;
    stream.flush()?;
    if name == content.layer {
        // Gone when the test is.
        let _ = gate.recv();
    }
    stream.write_all(other)
}

/// Columns of the terminal.
const COLUMNS: usize = 200;

/// A terminal, and what was written to it.
struct Terminal {
    slave: OwnedFd,
    written: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    fn open() -> Terminal {
        let size =
            nix::pty::Winsize { ws_row: 24, ws_col: COLUMNS as u16, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = nix::pty::openpty(&size, None).unwrap();
        let written = Arc::new(Mutex::new(Vec::new()));
        let (mut reader, into) = (File::from(pty.master), Arc::clone(&written));
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            // EIO: nobody has the other end any more.
            while let Ok(length @ 1..) = reader.read(&mut piece) {
                into.lock().unwrap().extend_from_slice(&piece[..length]);
            }
        });
        Terminal { slave: pty.slave, written }
    }

    /// The lines that a person sees, without those that are empty.
    fn screen(&self) -> Vec<String> {
        let written = text(&self.written.lock().unwrap());
        let (mut lines, mut row, mut column) = (vec![Vec::new()], 0_usize, 0);
        let mut all = written.chars();
        while let Some(one) = all.next() {
            match one {
                '\r' => column = 0,
                '\n' => row += 1,
                // ECMA-48, control sequences: a bracket, numbers, and a letter that says what.
                '\x1b' => {
                    let rest = all.as_str();
                    // It is still being written.
                    let Some(end) = rest.find(|one: char| one.is_ascii_alphabetic()) else { break };
                    let number = rest.get(1..end).unwrap_or_default();
                    match &rest[end..=end] {
                        "A" => row = row.saturating_sub(number.parse().unwrap_or(1)),
                        "B" => row += number.parse().unwrap_or(1),
                        "K" => lines.get_mut(row).map_or((), Vec::clear),
                        _ => {}
                    }
                    all = rest[end + 1..].chars();
                }
                one => {
                    // Only with what comes behind the last column is there a new line.
                    (row, column) = if column < COLUMNS { (row, column) } else { (row + 1, 0) };
                    lines.resize(lines.len().max(row + 1), Vec::new());
                    let line: &mut Vec<char> = &mut lines[row];
                    line.resize(line.len().max(column + 1), ' ');
                    line[column] = one;
                    column += 1;
                }
            }
        }
        let lines = lines.into_iter().map(|line| line.into_iter().collect::<String>());
        lines.map(|line| line.trim_end().to_owned()).filter(|line| !line.is_empty()).collect()
    }
}

#[test]
fn a_pull_shows_on_a_terminal_how_far_each_layer_is_and_at_its_end_one_line() {
    let machine = Machine::new();
    let registry = Halting::start(&machine);
    let image = format!("{}/numbers:1", registry.address);
    let terminal = Terminal::open();
    let end = || Stdio::from(terminal.slave.as_fd().try_clone_to_owned().unwrap());
    let mut command = machine.command(&["pull", &image]);
    command.env("TERM", "xterm").stdin(end()).stdout(Stdio::piped()).stderr(end());
    let child = command.spawn().unwrap();
    let layer = &registry.layer["sha256:".len()..][..12];
    await_that("a part of a bar", || {
        let screen = terminal.screen();
        let has = |words: [&str; 3]| {
            screen.iter().any(|line| words.iter().all(|word| line.contains(word)))
        };
        has([&image, " 0 of 1 layers [==========", " of "])
            && has([layer, " [==========", " of "])
            && screen.len() == 2
    });
    registry.go_on.send(()).unwrap();
    let done = rrun_tests::limit::output_of(child, "pull").unwrap();
    assert!(done.status.success(), "{:?}", terminal.screen());
    assert!(text(&done.stdout).starts_with("sha256:"), "{done:?}");
    nix::unistd::write(&terminal.slave, b"#").unwrap();
    await_that("the last of it", || terminal.screen().last().is_some_and(|line| line == "#"));
    let screen = terminal.screen();
    let [summary, _] = &screen[..] else { panic!("{screen:?}") };
    assert!(summary.starts_with(&format!("rrun: {image}: ")), "{screen:?}");
    assert!(summary.contains(" s: 1 layer; manifest "), "{screen:?}");

    // Nobody else writes there meanwhile, and nothing is drawn where that is not wanted.
    machine.ok(&["rmi", &image]);
    registry.go_on.send(()).unwrap();
    let quiet = Terminal::open();
    let mut command = machine.command(&["pull", "--quiet", &image]);
    let end = quiet.slave.as_fd().try_clone_to_owned().unwrap();
    let child = command.env("TERM", "xterm").stdout(Stdio::piped()).stderr(end).spawn().unwrap();
    let done = rrun_tests::limit::output_of(child, "pull --quiet").unwrap();
    assert!(done.status.success());
    nix::unistd::write(&quiet.slave, b"#").unwrap();
    await_that("nothing but this", || !quiet.screen().is_empty());
    assert_eq!(quiet.screen(), ["#"]);
}
