//! One plugin: who it is, what it hears, and how it is asked.

use crate::api::{ConfigureRequest, ConfigureResponse, Empty, Event, RegisterPluginRequest};
use crate::config::Config;
use crate::connection::{Asked, Connection};
use crate::error::{Error, Kind, Result};
use crate::launch::{self, Installed};
use crate::ttrpc::{self, Status};
use prost::Message;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::process::Child;
use tokio::sync::{Mutex, MutexGuard, mpsc};
use tokio::time::timeout;

const RUNTIME: &str = "nri.pkg.api.v1alpha1.Runtime";
const PLUGIN: &str = "nri.pkg.api.v1alpha1.Plugin";

/// The version that is spoken.
const VERSION: &str = "0.12.0";

/// Every event that there is.
const ALL: i32 = (1 << (Event::Last as i32 - 1)) - 1;

/// A plugin that is connected.
pub(crate) struct Plugin {
    /// Two digits.
    pub(crate) index: String,
    pub(crate) base: String,
    events: i32,
    connection: Connection,
    limit: Duration,
    /// It is asked one thing at a time, in the order in which things happen.
    queue: Mutex<()>,
    /// One that was started here ends with this value.
    _child: Option<Child>,
}

impl Plugin {
    /// Waits for the plugin at the other end of `stream` to register, and configures it. What it asks
    /// later comes out of the receiver.
    ///
    /// # Errors
    /// When it does not do so in time, or not as the protocol wants it.
    pub(crate) async fn meet(
        stream: UnixStream,
        installed: Option<Installed>,
        config: &Config,
    ) -> Result<(Plugin, mpsc::Receiver<Asked>)> {
        let (connection, mut asked) = Connection::new(stream);
        let mut end = CloseOnDrop(Some(connection.clone()));
        let limit = config.registration_timeout;
        let registered = timeout(limit, registration(&mut asked)).await.unwrap_or_else(|_| {
            Err(Error::new(Kind::Closed, format!("it has not registered in {limit:?}")))
        })?;
        let (index, base, text, child) = match installed {
            Some(Installed { index, base, config, child }) => (index, base, config, Some(child)),
            None => {
                check(&registered)?;
                let RegisterPluginRequest { plugin_name, plugin_idx, .. } = registered;
                let found = launch::config_of(config, &plugin_idx, &plugin_name).await?;
                (plugin_idx, plugin_name, found, None)
            }
        };
        let name = format!("{index}-{base}");
        let milliseconds = |limit: Duration| i64::try_from(limit.as_millis()).unwrap_or(i64::MAX);
        let request = ConfigureRequest {
            config: text,
            runtime_name: config.runtime_name.clone(),
            runtime_version: config.runtime_version.clone(),
            registration_timeout: milliseconds(config.registration_timeout),
            request_timeout: milliseconds(config.request_timeout),
            nri_version: VERSION.to_owned(),
        };
        let limit = config.request_timeout;
        let answered = connection.call(PLUGIN, "Configure", request.encode_to_vec(), limit).await;
        let answer = answered.and_then(|answer| answer.map_err(|status| said(&status)));
        let answer = answer.and_then(|bytes| decode::<ConfigureResponse>(&bytes));
        let answer = answer.map_err(|error| error.context("Configure").context(name.as_str()))?;
        let events = if answer.events == 0 { ALL } else { answer.events };
        if events & !ALL != 0 {
            let text = format!("it wants to hear of unknown events: {:#x}", events & !ALL);
            return Err(Error::new(Kind::Closed, text).context(name));
        }
        end.0 = None;
        let queue = Mutex::new(());
        let plugin = Plugin { index, base, events, connection, limit, queue, _child: child };
        Ok((plugin, asked))
    }

    /// Index and name.
    pub(crate) fn name(&self) -> String {
        format!("{}-{}", self.index, self.base)
    }

    pub(crate) fn hears(&self, event: Event) -> bool {
        self.events & (1 << (event as i32 - 1)) != 0 && !self.connection.is_closed()
    }

    pub(crate) fn close(&self) {
        self.connection.close();
    }

    pub(crate) async fn closed(&self) {
        self.connection.closed().await;
    }

    /// Keeps what happens from the plugin while the value lives.
    pub(crate) async fn hold(&self) -> MutexGuard<'_, ()> {
        self.queue.lock().await
    }

    /// Asks the plugin, after what it is being asked already. `None` when it is not there any more, has
    /// not answered in time or has answered nonsense: it is closed then, and others go on without it.
    ///
    /// # Errors
    /// `Refused`, with the plugin, when it says no.
    pub(crate) async fn ask<A: Message + Default>(
        &self,
        method: &str,
        request: &impl Message,
    ) -> Result<Option<A>> {
        let _turn = self.queue.lock().await;
        if self.connection.is_closed() {
            return Ok(None);
        }
        let answered = self.call(method, request, self.limit).await;
        match answered.and_then(|answer| answer.map(|bytes| decode(&bytes)).transpose()) {
            Ok(answer) => Ok(answer),
            Err(error) if error.kind() == Kind::Closed => {
                tracing::warn!(plugin = self.name(), "NRI: {method}: {error}; closed");
                self.close();
                Ok(None)
            }
            Err(error) => Err(error.context(format!("NRI plugin {}: {method}", self.name()))),
        }
    }

    /// Calls a method out of turn: for one that holds the queue. `None` when the plugin has no such.
    pub(crate) async fn call(
        &self,
        method: &str,
        request: &impl Message,
        limit: Duration,
    ) -> Result<Option<Vec<u8>>> {
        match self.connection.call(PLUGIN, method, request.encode_to_vec(), limit).await? {
            Ok(bytes) => Ok(Some(bytes)),
            Err(status) if status.code == ttrpc::UNIMPLEMENTED => Ok(None),
            Err(status) => Err(said(&status)),
        }
    }
}

/// A connection that comes to nothing.
struct CloseOnDrop(Option<Connection>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.iter().for_each(Connection::close);
    }
}

/// The first thing that a plugin asks is to be registered.
async fn registration(asked: &mut mpsc::Receiver<Asked>) -> Result<RegisterPluginRequest> {
    let ended = || Error::new(Kind::Closed, "its connection has ended before it has registered");
    let (request, answer) = asked.recv().await.ok_or_else(ended)?;
    if (&*request.service, &*request.method) != (RUNTIME, "RegisterPlugin") {
        let _ = answer.send(Err(unknown(&request.service, &request.method)));
        return Err(Error::new(Kind::Closed, "its first call is not RegisterPlugin"));
    }
    let registered = decode::<RegisterPluginRequest>(&request.payload)?;
    let _ = answer.send(Ok(Empty {}.encode_to_vec()));
    Ok(registered)
}

/// What a plugin may be called: two digits, and letters, digits, `-`, `_`, `.` and `+`.
fn check(registered: &RegisterPluginRequest) -> Result<()> {
    let RegisterPluginRequest { plugin_name, plugin_idx, .. } = registered;
    let is_index = plugin_idx.len() == 2 && plugin_idx.bytes().all(|b| b.is_ascii_digit());
    if !is_index {
        let text = format!("its index {plugin_idx:?} is not two digits");
        return Err(Error::new(Kind::Closed, text));
    }
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"-_.+".contains(&b);
    if plugin_name.is_empty() || !plugin_name.bytes().all(fits) {
        return Err(Error::new(Kind::Closed, format!("{plugin_name:?} is no name of a plugin")));
    }
    Ok(())
}

/// A method of the runtime that a plugin has called.
pub(crate) fn is_update(request: &ttrpc::Request) -> bool {
    (&*request.service, &*request.method) == (RUNTIME, "UpdateContainers")
}

/// The answer to a call that nobody knows.
pub(crate) fn unknown(service: &str, method: &str) -> Status {
    Status { code: ttrpc::UNIMPLEMENTED, message: format!("{service}/{method} is not known") }
}

pub(crate) fn decode<M: Message + Default>(bytes: &[u8]) -> Result<M> {
    M::decode(bytes).map_err(|error| Error::new(Kind::Closed, error.to_string()))
}

fn said(status: &Status) -> Error {
    let text = match status.message.trim() {
        "" => format!("code {}", status.code),
        text => text.chars().take(1024).collect(),
    };
    Error::new(Kind::Refused, text)
}
