//! What a plugin is told of the pods and containers that are there when it comes.

use crate::api::{Container, ContainerUpdate, PodSandbox, SynchronizeRequest, SynchronizeResponse};
use crate::error::{Error, Kind, Result};
use crate::plugin::{Plugin, decode};
use prost::Message;
use std::time::Duration;

/// How much one message says at most; ttrpc takes 4 MiB.
const MOST: usize = 3 << 20;

/// Tells it all, in as many messages as it takes. The caller holds the plugin's queue.
///
/// # Errors
/// When the plugin does not take it in.
pub(crate) async fn synchronize(
    plugin: &Plugin,
    pods: Vec<PodSandbox>,
    containers: Vec<Container>,
    limit: Duration,
) -> Result<Vec<ContainerUpdate>> {
    let messages = split(pods, containers);
    for message in messages {
        let answer = plugin.call("Synchronize", &message, limit).await?;
        let answer = answer.map(|bytes| decode::<SynchronizeResponse>(&bytes)).transpose()?;
        let answer = answer.unwrap_or_default();
        match message.more {
            false => return Ok(answer.update),
            true if answer.more && answer.update.is_empty() => {}
            true => {
                let text = "it does not take what there is in several messages";
                return Err(Error::new(Kind::Closed, text));
            }
        }
    }
    Ok(Vec::new())
}

/// Messages that are short enough; one at least.
fn split(pods: Vec<PodSandbox>, containers: Vec<Container>) -> Vec<SynchronizeRequest> {
    let mut all = vec![SynchronizeRequest::default()];
    let mut length = 0;
    let mut place = |size: usize, all: &mut Vec<SynchronizeRequest>| {
        if length > 0 && length + size > MOST {
            if let Some(last) = all.last_mut() {
                last.more = true;
            }
            all.push(SynchronizeRequest::default());
            length = 0;
        }
        length += size;
    };
    for pod in pods {
        place(pod.encoded_len() + 16, &mut all);
        all.last_mut().into_iter().for_each(|last| last.pods.push(pod.clone()));
    }
    for container in containers {
        place(container.encoded_len() + 16, &mut all);
        all.last_mut().into_iter().for_each(|last| last.containers.push(container.clone()));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_for_one_message_goes_into_several() {
        let pod = |n: usize| PodSandbox { id: n.to_string(), ..PodSandbox::default() };
        let container = |n: usize| Container {
            id: n.to_string(),
            args: vec!["x".repeat(1 << 20)],
            ..Container::default()
        };
        let messages = split((0..3).map(pod).collect(), (0..7).map(container).collect());
        let counts: Vec<_> =
            messages.iter().map(|m| (m.pods.len(), m.containers.len(), m.more)).collect();
        assert_eq!(counts, [(3, 2, true), (0, 2, true), (0, 2, true), (0, 1, false)]);
        assert!(messages.iter().all(|message| message.encoded_len() <= crate::ttrpc::LONGEST));
        assert_eq!(split(Vec::new(), Vec::new()), [SynchronizeRequest::default()]);
    }
}
