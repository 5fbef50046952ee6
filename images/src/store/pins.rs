//! Images that the configuration pins.

use std::str::FromStr;

use super::by_digest;
use crate::digest::{Digest, ImageId};
use crate::error::{Error, Result};
use crate::reference::Reference;

/// An image that is never collected: `name:tag`, a name, which means its `latest`, `name@digest`,
/// or a digest alone: that of an image, its id, or that of the manifest or index it was pulled by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin(Meant);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Meant {
    Name(String),
    Digest(Digest),
}

impl FromStr for Pin {
    type Err = Error;

    fn from_str(text: &str) -> Result<Pin> {
        if let Ok(digest) = text.parse::<Digest>() {
            return Ok(Pin(Meant::Digest(digest)));
        }
        if text.starts_with("sha256:") {
            return Err(Error::invalid(format_args!("{text:?} is no whole digest")));
        }
        let reference: Reference = text.parse()?;
        // Of a name with both, the digest counts, as in a pull.
        let name = reference.tagged().unwrap_or_else(|| by_digest(&reference));
        Ok(Pin(Meant::Name(name)))
    }
}

impl Pin {
    /// Whether it means the image with this id and these names, tags and digests.
    pub(super) fn means<'a>(
        &self,
        id: &ImageId,
        mut names: impl Iterator<Item = &'a String>,
    ) -> bool {
        match &self.0 {
            Meant::Name(name) => names.any(|of_image| of_image == name),
            Meant::Digest(digest) => {
                let text = digest.to_string();
                let is_it = |name: &str| name.rsplit_once('@').is_some_and(|(_, d)| d == text);
                id.digest() == digest || names.any(|name| is_it(name))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_pinned_by_any_of_its_names_by_its_id_or_by_a_digest_alone() {
        let digest = |c: char| format!("sha256:{}", c.to_string().repeat(64));
        let id: ImageId = digest('a').parse().unwrap();
        let names = [
            "docker.io/library/busybox:latest".to_owned(),
            "reg.test/x:1".to_owned(),
            format!("reg.test/x@{}", digest('b')),
        ];
        let means = |text: &str| text.parse::<Pin>().unwrap().means(&id, names.iter());
        let by_digest = format!("reg.test/x@{}", digest('b'));
        let by_both = format!("reg.test/x:7@{}", digest('b'));
        for text in ["busybox", "reg.test/x:1", &by_digest, &by_both, &digest('a'), &digest('b')] {
            assert!(means(text), "{text}");
        }
        let others = ["busybox:1", "reg.test/x", "reg.test/y:1", &digest('c')];
        assert!(others.iter().all(|text| !means(text)));
        assert!(["UPPER", "", "sha256:abcd"].iter().all(|text| text.parse::<Pin>().is_err()));
    }
}
