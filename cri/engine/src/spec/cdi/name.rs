//! Names of devices: `vendor.com/class=device`.

use crate::error::{Error, Result};
use std::fmt;
use std::str::FromStr;

/// The full name of a device.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name {
    /// `vendor.com/class`, as the file of the device says it.
    pub(super) kind: String,
    pub(super) device: String,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.kind, self.device)
    }
}

impl FromStr for Name {
    type Err = Error;

    fn from_str(text: &str) -> Result<Name> {
        let parts =
            text.split_once('=').filter(|(kind, device)| is_kind(kind) && is_device(device));
        let Some((kind, device)) = parts else {
            let message = format!("{text:?} is no device: vendor.com/class=device");
            return Err(Error::invalid(message));
        };
        Ok(Name { kind: kind.to_owned(), device: device.to_owned() })
    }
}

/// `vendor.com/class`
pub(super) fn is_kind(text: &str) -> bool {
    let begins = |part: &str| part.starts_with(|c: char| c.is_ascii_alphabetic());
    text.split_once('/').is_some_and(|(vendor, class)| {
        [vendor, class].iter().all(|part| begins(part) && is_word(part, "_-."))
    })
}

/// The part behind the `=`.
pub(super) fn is_device(text: &str) -> bool {
    is_word(text, "_-.:")
}

/// Letters, digits and some other characters in between.
fn is_word(text: &str, between: &str) -> bool {
    let inside = |c: char| c.is_ascii_alphanumeric() || between.contains(c);
    let outside = |c: char| c.is_ascii_alphanumeric();
    text.starts_with(outside) && text.ends_with(outside) && text.chars().all(inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_a_vendor_a_class_and_a_device() {
        for good in ["vendor.com/net=0", "a/b=c", "nvidia.com/gpu=GPU-1:2", "a/b.c=all", "v/c=0a.b"]
        {
            assert_eq!(good.parse::<Name>().unwrap().to_string(), good);
        }
        let bad = [
            "",
            "a",
            "a/b",
            "a=b",
            "/b=c",
            "a/=c",
            "a/b=",
            "1a/b=c",
            "a/b=-c",
            "a/b=c-",
            "a/b/c=d",
            "a/b=c=d",
            "a b/c=d",
            "a/b=c,d",
            "\u{e9}/b=c",
        ];
        for bad in bad {
            let error = bad.parse::<Name>().unwrap_err().to_string();
            assert!(error.contains("vendor.com/class=device"), "{bad}: {error}");
        }
    }
}
