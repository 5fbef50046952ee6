//! What others want of the process that runs a pod, as it is said: a line, `stop SECONDS`, `stop -` (the
//! pod's own grace), `remove` or `restart`; or `apply BYTES` or `debug BYTES`, and so many of JSON.

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt, BufReader, Take};
use tokio::net::unix::OwnedReadHalf;

use crate::ephemeral::Ephemeral;
use crate::error::{Context, Error, Kind, Result};
use crate::supervise::definition::Definition;

/// The longest JSON, in bytes: a definition may be long.
const JSON: u64 = 64 << 20;

/// What another process wants of the pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// To end, after this grace in seconds or its own.
    Stop(Option<u32>),
    /// To end at once and be removed.
    Remove,
    /// To become what this says.
    Apply(Box<Definition>),
    /// To have another container beside the others.
    Debug(Box<Ephemeral>),
    /// To start all of its containers again.
    Restart,
}

impl Request {
    pub(super) fn message(&self) -> Result<String> {
        Ok(match self {
            Request::Stop(Some(seconds)) => format!("stop {seconds}\n"),
            Request::Stop(None) => "stop -\n".to_owned(),
            Request::Remove => "remove\n".to_owned(),
            Request::Restart => "restart\n".to_owned(),
            Request::Apply(definition) => with_json("apply", definition)?,
            Request::Debug(container) => with_json("debug", container)?,
        })
    }

    /// What is asked by a line and what stands behind it.
    pub(super) async fn read(
        line: &str,
        input: &mut BufReader<Take<OwnedReadHalf>>,
    ) -> Result<Request> {
        match line.split_once(' ') {
            Some(("apply", length)) => json(line, length, input).await.map(Request::Apply),
            Some(("debug", length)) => json(line, length, input).await.map(Request::Debug),
            _ => Request::parse(line).ok_or_else(|| unknown(line)),
        }
    }

    fn parse(line: &str) -> Option<Request> {
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["remove"] => Some(Request::Remove),
            ["restart"] => Some(Request::Restart),
            ["stop", "-"] => Some(Request::Stop(None)),
            ["stop", seconds] => Some(Request::Stop(Some(seconds.parse().ok()?))),
            _ => None,
        }
    }

    /// What a person is told who waits for it.
    pub(super) fn waits(&self) -> &'static str {
        match self {
            Request::Stop(_) | Request::Remove => "the pod is still being ended",
            Request::Apply(_) => "the change is not taken up yet",
            Request::Debug(_) => "the container is not added yet",
            Request::Restart => "the restart has not begun yet",
        }
    }
}

fn unknown(line: &str) -> Error {
    Error::new(Kind::Invalid, format!("unknown request {line:?}"))
}

async fn json<T: DeserializeOwned>(
    line: &str,
    length: &str,
    input: &mut BufReader<Take<OwnedReadHalf>>,
) -> Result<T> {
    let length = length.parse().ok().filter(|length| *length <= JSON);
    let length = length.ok_or_else(|| unknown(line))?;
    input.get_mut().set_limit(length);
    let mut bytes = Vec::new();
    input.take(length).read_to_end(&mut bytes).await.context(|| format!("read {line:?}"))?;
    let parsed = serde_json::from_slice(&bytes);
    parsed.map_err(|e| Error::new(Kind::Invalid, format!("what stands behind {line:?}: {e}")))
}

fn with_json(word: &str, value: &impl Serialize) -> Result<String> {
    let json = serde_json::to_string(value);
    let json = json.map_err(|e| Error::new(Kind::Internal, format!("encode: {e}")))?;
    Ok(format!("{word} {}\n{json}", json.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_back_and_another_line_is_none() {
        let all = [Request::Stop(None), Request::Stop(Some(3)), Request::Remove, Request::Restart];
        for request in all {
            assert_eq!(Request::parse(request.message().unwrap().trim_end()), Some(request));
        }
        for line in ["", "stop", "stop x", "stop -1", "remove now", "apply", "apply 2"] {
            assert_eq!(Request::parse(line), None, "{line}");
        }
    }

    #[tokio::test]
    async fn what_does_not_read_as_what_it_is_said_to_be_is_told_with_the_reason() {
        for (line, behind, words) in [
            ("apply x", "", "unknown request \"apply x\""),
            ("apply 99999999999", "", "unknown request"),
            ("debug 2", "{}", "what stands behind \"debug 2\": missing field"),
            ("apply 9", "{\"a\": 1", "what stands behind \"apply 9\": EOF"),
        ] {
            let (ours, mut theirs) = tokio::net::UnixStream::pair().unwrap();
            tokio::io::AsyncWriteExt::write_all(&mut theirs, behind.as_bytes()).await.unwrap();
            drop(theirs);
            let mut input = BufReader::new(ours.into_split().0.take(0));
            let refused = Request::read(line, &mut input).await.unwrap_err().to_string();
            assert!(refused.contains(words), "{line}: {refused}");
        }
    }
}
