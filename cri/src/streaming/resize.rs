//! Terminal sizes: JSON objects one after the other, cut anywhere.

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::watch;

use super::Size;

/// Longest object that is looked at; `{"Width":65535,"Height":65535}` has 30 bytes.
const LONGEST: usize = 256;

/// Collects bytes into sizes. What is no size is dropped: a resize is never worth an error.
#[derive(Default)]
pub(super) struct Sizes {
    object: Vec<u8>,
}

impl Sizes {
    /// The last size that is complete with `bytes`.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Option<Size> {
        let mut last = None;
        for &byte in bytes {
            if self.object.len() == LONGEST {
                self.object.clear();
            }
            self.object.push(byte);
            // The objects are flat, so a brace ends one.
            if byte == b'}' {
                last = serde_json::from_slice(&self.object).ok().or(last);
                self.object.clear();
            }
        }
        last
    }
}

/// Feeds a stream of sizes to the backend, until it ends.
pub(super) async fn pump(mut stream: impl AsyncRead + Unpin, size: watch::Sender<Option<Size>>) {
    let mut sizes = Sizes::default();
    let mut buf = [0; LONGEST];
    while let Ok(n @ 1..) = stream.read(&mut buf).await {
        if let Some(new) = sizes.feed(&buf[..n]) {
            size.send_replace(Some(new));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_however_they_are_cut() {
        let text = br#"{"Width":101,"Height":33}{"Width":80,"Height":24}"#;
        for cut in 0..text.len() {
            let mut sizes = Sizes::default();
            let (a, b) = text.split_at(cut);
            let first = sizes.feed(a);
            let last = sizes.feed(b).or(first);
            assert_eq!(last, Some(Size { width: 80, height: 24 }), "cut at {cut}");
        }
    }

    #[test]
    fn what_is_no_size_is_dropped() {
        let mut sizes = Sizes::default();
        assert_eq!(sizes.feed(b"{\"Width\":70000,\"Height\":1}garbage}"), None);
        assert_eq!(sizes.feed(&[b'x'; 1000]), None);
        assert!(sizes.object.len() <= LONGEST);
        assert_eq!(sizes.feed(b"}{\"Width\":1,\"Height\":2}"), Some(Size { width: 1, height: 2 }));
    }
}
