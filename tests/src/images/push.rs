//! The registry's HTTP protocol, as far as a push needs it.
//!
//! <https://github.com/opencontainers/distribution-spec/blob/main/spec.md#push>

use super::blob::Blob;
use anyhow::{Context, Result, bail};
use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use ureq::http::Response;
use ureq::{Agent, AsSendBody};

/// Pushes to one registry, and remembers which repository holds a blob already.
pub struct Pusher {
    base: String,
    agent: Agent,
    /// Blob digest → a repository that has it.
    held: HashMap<String, String>,
}

impl Pusher {
    /// Speaks to `http://address`.
    pub fn new(address: &str) -> Self {
        let agent = Agent::config_builder().http_status_as_error(false).build().into();
        Self { base: format!("http://{address}"), agent, held: HashMap::new() }
    }

    /// Uploads a blob, or has it mounted from a repository that got it before.
    pub fn blob(&mut self, repository: &str, blob: &Blob) -> Result<()> {
        self.upload(repository, &blob.digest, &blob.bytes)
    }

    /// The same for a blob that is in a file, which is not read into memory.
    pub fn file(&mut self, repository: &str, digest: &str, path: &Path) -> Result<()> {
        let file = File::open(path).with_context(|| format!("{}", path.display()))?;
        self.upload(repository, digest, &file)
    }

    fn upload(&mut self, repository: &str, digest: &str, bytes: impl AsSendBody) -> Result<()> {
        let mut start = format!("{}/v2/{repository}/blobs/uploads/", self.base);
        match self.held.get(digest) {
            Some(from) if from == repository => return Ok(()),
            Some(from) => start += &format!("?mount={digest}&from={from}"),
            None => {}
        }
        let response = self.agent.post(&start).send_empty().context(start.clone())?;
        if response.status() != 201 {
            expect(&start, &response, 202)?;
            let location = response.headers().get("location").and_then(|l| l.to_str().ok());
            let location = location.with_context(|| format!("POST {start}: no location"))?;
            let joint = if location.contains('?') { '&' } else { '?' };
            let finish = format!("{location}{joint}digest={digest}");
            let request = self.agent.put(&finish).content_type("application/octet-stream");
            expect(&finish, &request.send(bytes).context(finish.clone())?, 201)?;
        }
        self.held.insert(digest.to_owned(), repository.to_owned());
        Ok(())
    }

    /// Uploads a manifest or index under a tag or its digest.
    pub fn manifest(&self, repository: &str, name: &str, media: &str, blob: &Blob) -> Result<()> {
        let url = format!("{}/v2/{repository}/manifests/{name}", self.base);
        let request = self.agent.put(&url).content_type(media);
        expect(&url, &request.send(&blob.bytes).context(url.clone())?, 201)
    }
}

fn expect<B>(url: &str, response: &Response<B>, status: u16) -> Result<()> {
    if response.status() != status {
        bail!("{url}: {}", response.status());
    }
    Ok(())
}
