//! Content digests, and the image id that is one.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256, Sha512};

use crate::error::{Error, Result};

/// The hash of a digest. Both are registered in the OCI image spec.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// `sha256`, which every registry uses.
    Sha256,
    /// `sha512`.
    Sha512,
}

impl Algorithm {
    fn name(self) -> &'static str {
        match self {
            Algorithm::Sha256 => "sha256",
            Algorithm::Sha512 => "sha512",
        }
    }

    fn hex_length(self) -> usize {
        match self {
            Algorithm::Sha256 => 64,
            Algorithm::Sha512 => 128,
        }
    }
}

/// `sha256:<64 lower case hex digits>` or `sha512:<128>`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest {
    algorithm: Algorithm,
    hex: String,
}

impl Digest {
    /// The SHA-256 of `bytes`.
    pub fn of(bytes: &[u8]) -> Digest {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        hasher.update(bytes);
        hasher.finish()
    }

    /// The hash.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The hex digits without the algorithm.
    pub fn hex(&self) -> &str {
        &self.hex
    }

    /// Fails with both digests if `bytes` are not what this digest says.
    pub fn verify(&self, bytes: &[u8]) -> Result<()> {
        let mut hasher = Hasher::new(self.algorithm);
        hasher.update(bytes);
        self.expect_equal(&hasher.finish())
    }

    pub(crate) fn expect_equal(&self, got: &Digest) -> Result<()> {
        if self == got {
            return Ok(());
        }
        Err(Error::invalid(format_args!("the content has digest {got}, not {self}")))
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Digest> {
        let bad = |why: &str| Error::invalid(format_args!("digest {text:?}: {why}"));
        let (name, hex) = text.split_once(':').ok_or_else(|| bad("no `:`"))?;
        let algorithm = match name {
            "sha256" => Algorithm::Sha256,
            "sha512" => Algorithm::Sha512,
            _ => return Err(bad("the algorithm is neither sha256 nor sha512")),
        };
        if hex.len() != algorithm.hex_length() {
            return Err(bad(&format!("not {} hex digits", algorithm.hex_length())));
        }
        if !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(bad("not lower case hex"));
        }
        Ok(Digest { algorithm, hex: hex.to_owned() })
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.name(), self.hex)
    }
}

/// A running hash.
pub(crate) enum Hasher {
    Sha256(Sha256),
    Sha512(Box<Sha512>),
}

impl Hasher {
    pub(crate) fn new(algorithm: Algorithm) -> Hasher {
        match algorithm {
            Algorithm::Sha256 => Hasher::Sha256(Sha256::new()),
            Algorithm::Sha512 => Hasher::Sha512(Box::default()),
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Hasher::Sha256(h) => h.update(bytes),
            Hasher::Sha512(h) => h.update(bytes),
        }
    }

    pub(crate) fn finish(self) -> Digest {
        match self {
            Hasher::Sha256(h) => Digest { algorithm: Algorithm::Sha256, hex: hex(&h.finalize()) },
            Hasher::Sha512(h) => Digest { algorithm: Algorithm::Sha512, hex: hex(&h.finalize()) },
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    use fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The id of an image: the digest of its config. One and the same in `PullImageResponse`,
/// `Image.id`, `Container.image_id`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ImageId(Digest);

impl ImageId {
    /// The id of the image whose config has this digest.
    pub fn new(config: Digest) -> ImageId {
        ImageId(config)
    }

    /// The digest of the config.
    pub fn digest(&self) -> &Digest {
        &self.0
    }
}

impl FromStr for ImageId {
    type Err = Error;

    /// Parses `sha256:<hex>`; bare digits are not an id but something to look up.
    fn from_str(text: &str) -> Result<ImageId> {
        text.parse().map(ImageId)
    }
}

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_a_known_algorithm_and_its_number_of_lower_case_digits() {
        let good = format!("sha256:{}", "a1".repeat(32));
        assert_eq!(good.parse::<Digest>().unwrap().to_string(), good);
        assert!(format!("sha512:{}", "0".repeat(128)).parse::<Digest>().is_ok());
        for bad in [
            "",
            "sha256",
            "sha256:",
            &format!("sha256:{}", "A1".repeat(32)),
            &format!("sha256:{}", "a".repeat(63)),
            &format!("sha1:{}", "a".repeat(40)),
            &format!("sha256:{}/..", "a".repeat(61)),
        ] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }

    #[test]
    fn content_that_does_not_match_is_refused_with_both_digests() {
        let error = Digest::of(b"one").verify(b"two").unwrap_err().to_string();
        assert!(error.contains(Digest::of(b"one").hex()), "{error}");
        assert!(error.contains(Digest::of(b"two").hex()), "{error}");
    }
}
