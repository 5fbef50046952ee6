//! A proxy before the registry that answers, cuts, holds and spoils as a test says.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    pub path: String,
    pub host: String,
    pub authorization: String,
    pub range: String,
}

impl Request {
    pub fn is_blob(&self, digest: &str) -> bool {
        self.path.contains(&format!("/blobs/{digest}"))
    }
}

/// What becomes of a request.
pub enum Verdict {
    Pass,
    /// Passed on as if it had asked for this path.
    PassAt(String),
    /// Half of the body, then the connection ends.
    Cut,
    /// Half of the body, then a word to the test, then nothing until the client goes away.
    Hold(Sender<()>),
    /// The byte in the middle of the body is another one.
    Spoil,
    /// This answer instead: status with reason, further headers, body.
    Say(&'static str, String, &'static str),
}

type Judge = dyn FnMut(&Request) -> Verdict + Send;

/// Listens on loopback until dropped.
pub struct Proxy {
    pub address: String,
    seen: Arc<Mutex<Vec<Request>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// A proxy before the registry at `upstream`.
    pub fn before(
        upstream: &str,
        judge: impl FnMut(&Request) -> Verdict + Send + 'static,
    ) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let judge: Arc<Mutex<Box<Judge>>> = Arc::new(Mutex::new(Box::new(judge)));
        let (to, noted, ended) = (upstream.to_owned(), Arc::clone(&seen), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            while let Ok((client, _)) = listener.accept() {
                if ended.load(Ordering::SeqCst) {
                    return;
                }
                let (to, noted, judge) = (to.clone(), Arc::clone(&noted), Arc::clone(&judge));
                // A client that goes away early is what some tests want.
                std::thread::spawn(move || {
                    let judge = |request: &Request| {
                        noted.lock().unwrap().push(request.clone());
                        judge.lock().unwrap()(request)
                    };
                    serve(client, &to, judge)
                });
            }
        });
        Proxy { address, seen, stop, thread: Some(thread) }
    }

    /// How many requests came.
    pub fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    /// The requests for a blob.
    pub fn asked(&self, digest: &str) -> Vec<Request> {
        let seen = self.seen.lock().unwrap();
        seen.iter().filter(|request| request.is_blob(digest)).cloned().collect()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let woken = TcpStream::connect(&self.address).is_ok();
        if let Some(thread) = self.thread.take().filter(|_| woken) {
            let _ = thread.join();
        }
    }
}

/// One request, one answer, one connection.
fn serve(
    mut client: TcpStream,
    upstream: &str,
    judge: impl FnOnce(&Request) -> Verdict,
) -> io::Result<()> {
    let mut lines = head(&mut BufReader::new(client.try_clone()?))?;
    let request = Request {
        path: lines[0].split(' ').nth(1).unwrap_or_default().to_owned(),
        host: value(&lines, "host"),
        authorization: value(&lines, "authorization"),
        range: value(&lines, "range"),
    };
    let verdict = judge(&request);
    if let Verdict::Say(status, headers, body) = &verdict {
        let length = body.len();
        let end = format!("content-length: {length}\r\nconnection: close\r\n\r\n{body}");
        return client.write_all(format!("HTTP/1.1 {status}\r\n{headers}{end}").as_bytes());
    }
    if let Verdict::PassAt(path) = &verdict {
        lines[0] = lines[0].replacen(&request.path, path, 1);
    }
    let mut server = TcpStream::connect(upstream)?;
    let kept = lines.iter().filter(|line| !line.to_ascii_lowercase().starts_with("connection:"));
    let kept: String = kept.map(|line| format!("{line}\r\n")).collect();
    server.write_all(format!("{kept}connection: close\r\n\r\n").as_bytes())?;
    let mut server = BufReader::new(server);
    let answer = head(&mut server)?;
    let text: String = answer.iter().map(|line| format!("{line}\r\n")).collect();
    client.write_all(format!("{text}\r\n").as_bytes())?;
    let half = value(&answer, "content-length").parse::<u64>().unwrap_or(0) / 2;
    match verdict {
        Verdict::Cut => io::copy(&mut server.take(half), &mut client).map(drop),
        Verdict::Hold(word) => {
            io::copy(&mut server.take(half), &mut client)?;
            let _ = word.send(());
            client.read(&mut [0]).map(drop)
        }
        Verdict::Spoil => {
            io::copy(&mut server.by_ref().take(half), &mut client)?;
            let mut one = [0];
            server.read_exact(&mut one)?;
            client.write_all(&[!one[0]])?;
            io::copy(&mut server, &mut client).map(drop)
        }
        _ => io::copy(&mut server, &mut client).map(drop),
    }
}

/// The lines up to the empty one; an error for anything but HTTP, such as TLS.
fn head(from: &mut impl BufRead) -> io::Result<Vec<String>> {
    if !from.fill_buf()?.first().is_some_and(u8::is_ascii_uppercase) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    from.lines().take_while(|line| !matches!(line, Ok(text) if text.is_empty())).collect()
}

fn value(lines: &[String], name: &str) -> String {
    let found = lines.iter().filter_map(|line| line.split_once(':'));
    let mut found = found.filter(|(key, _)| key.eq_ignore_ascii_case(name));
    found.next().map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
}
