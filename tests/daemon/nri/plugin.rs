//! A plugin of NRI: an end of the protocol that shares nothing with the daemon's but the messages.

use nix::sys::socket::{SockType, getsockopt, sockopt};
use prost::Message;
use rrun_nri::api::{RegisterPluginRequest, UpdateContainersRequest, UpdateContainersResponse};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};

const SERVICE: &str = "nri.pkg.api.v1alpha1.Runtime";

#[derive(Clone, PartialEq, prost::Message)]
struct Request {
    #[prost(string, tag = "1")]
    service: String,
    #[prost(string, tag = "2")]
    method: String,
    #[prost(bytes = "vec", tag = "3")]
    payload: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Response {
    #[prost(message, optional, tag = "1")]
    status: Option<Status>,
    #[prost(bytes = "vec", tag = "2")]
    payload: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

/// What a plugin does when it is asked.
pub enum Reply {
    /// Answers.
    With(Vec<u8>),
    /// Says no.
    No(&'static str),
    /// Never answers.
    Never,
    /// Sends what is no message.
    Nonsense,
    /// Ends.
    End,
}

impl Reply {
    pub fn of(message: &impl Message) -> Reply {
        Reply::With(message.encode_to_vec())
    }

    pub fn nothing() -> Reply {
        Reply::With(Vec::new())
    }
}

type Heard = Arc<Mutex<Vec<(String, Vec<u8>)>>>;
type Waiting = Arc<Mutex<BTreeMap<u32, oneshot::Sender<Response>>>>;

/// A plugin that is connected for as long as the value lives.
pub struct Plugin {
    heard: Heard,
    waiting: Waiting,
    write: mpsc::UnboundedSender<Vec<u8>>,
    ended: tokio::task::JoinHandle<()>,
}

impl Drop for Plugin {
    fn drop(&mut self) {
        self.ended.abort();
    }
}

impl Plugin {
    /// Connects and registers; `reply` says what is answered to a method with this request.
    pub async fn connect(
        socket: &Path,
        (index, name): (&str, &str),
        reply: impl Fn(&str, &[u8]) -> Reply + Send + 'static,
    ) -> Plugin {
        let stream = UnixStream::connect(socket).await.unwrap();
        assert_eq!(getsockopt(&stream, sockopt::SockType).unwrap(), SockType::Stream);
        let (write, to_write) = mpsc::unbounded_channel();
        let (heard, waiting) = (Heard::default(), Waiting::default());
        let serving =
            serve(stream, to_write, (heard.clone(), waiting.clone(), write.clone()), reply);
        let plugin = Plugin { heard, waiting, write, ended: tokio::spawn(serving) };
        let register = RegisterPluginRequest {
            plugin_name: name.to_owned(),
            plugin_idx: index.to_owned(),
            nri_version: String::new(),
        };
        let answer = plugin.call(1, "RegisterPlugin", register.encode_to_vec()).await.unwrap();
        assert_eq!(answer.status.unwrap_or_default().code, 0);
        plugin
    }

    async fn call(&self, call: u32, method: &str, payload: Vec<u8>) -> Option<Response> {
        let (sender, answer) = oneshot::channel();
        self.waiting.lock().unwrap().insert(call, sender);
        let request = Request { service: SERVICE.to_owned(), method: method.to_owned(), payload };
        self.write.send(frame(2, call, 1, &request.encode_to_vec())).unwrap();
        answer.await.ok()
    }

    /// Changes containers unasked; those that could not be come back.
    pub async fn update(&self, call: u32, request: &UpdateContainersRequest) -> Vec<String> {
        let answer = self.call(call, "UpdateContainers", request.encode_to_vec()).await.unwrap();
        let answer = UpdateContainersResponse::decode(&*answer.payload).unwrap();
        answer.failed.into_iter().map(|update| update.container_id).collect()
    }

    /// The methods that were called, in order.
    pub fn methods(&self) -> Vec<String> {
        self.heard.lock().unwrap().iter().map(|(method, _)| method.clone()).collect()
    }

    /// The last request of a method.
    pub fn last<M: Message + Default>(&self, method: &str) -> M {
        let heard = self.heard.lock().unwrap();
        let (_, bytes) = heard.iter().rfind(|(other, _)| other == method).unwrap();
        M::decode(&**bytes).unwrap()
    }

    /// Forgets what it has heard.
    pub fn forget(&self) {
        self.heard.lock().unwrap().clear();
    }

    /// Whether its connection has ended.
    pub fn has_ended(&self) -> bool {
        self.ended.is_finished()
    }
}

fn frame(stream: u32, call: u32, kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap();
    let mut bytes = stream.to_be_bytes().to_vec();
    bytes.extend((length + 10).to_be_bytes());
    bytes.extend(length.to_be_bytes());
    bytes.extend(call.to_be_bytes());
    bytes.extend([kind, 0]);
    bytes.extend(body);
    bytes
}

async fn serve(
    stream: UnixStream,
    mut to_write: mpsc::UnboundedReceiver<Vec<u8>>,
    (heard, waiting, write): (Heard, Waiting, mpsc::UnboundedSender<Vec<u8>>),
    reply: impl Fn(&str, &[u8]) -> Reply + Send + 'static,
) {
    let (mut reader, mut writer) = stream.into_split();
    let writing = async move {
        while let Some(bytes) = to_write.recv().await {
            if writer.write_all(&bytes).await.is_err() {
                return;
            }
        }
    };
    let reading = async move {
        let mut streams: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
        while let (Ok(stream), Ok(length)) = (reader.read_u32().await, reader.read_u32().await) {
            let mut bytes = vec![0; length as usize];
            reader.read_exact(&mut bytes).await.unwrap();
            let incoming = streams.entry(stream).or_default();
            incoming.extend(bytes);
            while let Some(header) = incoming.first_chunk::<10>().copied() {
                let length = u32::from_be_bytes(header[..4].try_into().unwrap()) as usize;
                let call = u32::from_be_bytes(header[4..8].try_into().unwrap());
                if incoming.len() < 10 + length {
                    break;
                }
                let body: Vec<u8> = incoming.drain(..10 + length).skip(10).collect();
                if header[8] == 2 {
                    let answer = Response::decode(&*body).unwrap();
                    if let Some(sender) = waiting.lock().unwrap().remove(&call) {
                        let _ = sender.send(answer);
                    }
                    continue;
                }
                let request = Request::decode(&*body).unwrap();
                heard.lock().unwrap().push((request.method.clone(), request.payload.clone()));
                let (code, message, payload) = match reply(&request.method, &request.payload) {
                    Reply::With(payload) => (0, String::new(), payload),
                    Reply::No(words) => (2, words.to_owned(), Vec::new()),
                    Reply::Never => continue,
                    Reply::Nonsense => {
                        write.send(vec![0xff; 64]).unwrap();
                        continue;
                    }
                    Reply::End => return,
                };
                let status = Some(Status { code, message });
                let body = Response { status, payload }.encode_to_vec();
                write.send(frame(1, call, 2, &body)).unwrap();
            }
        }
    };
    tokio::select! {
        () = writing => {}
        () = reading => {}
    }
}
