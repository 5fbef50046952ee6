//! Ids of pods and containers, checked when they are made, and who owns a pod.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io::Read;
use std::sync::Arc;

const DIGITS: usize = 64;

/// 32 random bytes as hexadecimal digits: no `-`, since the kubelet takes what stands behind the
/// last one in a group's name for the container id.
fn random() -> Result<Arc<str>> {
    let mut bytes = [0_u8; DIGITS / 2];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(|error| Error::os("read /dev/urandom", &error))?;
    Ok(hex(&bytes).into())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn check(text: &str) -> Result<Arc<str>> {
    let hexadecimal = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    if text.len() == DIGITS && text.bytes().all(hexadecimal) {
        Ok(text.into())
    } else {
        Err(Error::invalid(format!("{text:?} is not an id of 64 hexadecimal digits")))
    }
}

macro_rules! id {
    ($name:ident, $what:literal) => {
        #[doc = concat!("The id of a ", $what, ": 64 lower-case hexadecimal digits.")]
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// A new one, from the kernel's randomness.
            ///
            /// # Errors
            /// When the kernel gives none.
            pub fn random() -> Result<$name> {
                random().map($name)
            }

            /// As text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<$name> {
                check(text).map($name)
            }
        }

        impl TryFrom<String> for $name {
            type Error = Error;

            fn try_from(text: String) -> Result<$name> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        /// So that ordered tables are searched by prefix.
        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

id!(PodId, "pod");
id!(ContainerId, "container");

/// Whose a pod is. Every call carries its caller's owner; lists show only the owner's pods, and
/// to any other owner a pod does not exist.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Owner {
    /// The CRI client, which restarts, probes and collects by itself.
    Cri,
    /// The pod engine of this name (`rrun`, or the daemon's manifest directory).
    Engine(String),
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Owner::Cri => f.write_str("cri"),
            Owner::Engine(name) => write!(f, "engine {name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_64_lower_case_hexadecimal_digits_and_nothing_else() {
        let good = "0123456789abcdef".repeat(4);
        assert_eq!(good.parse::<PodId>().unwrap().as_str(), good);
        for bad in [String::new(), good[1..].into(), good.to_uppercase(), good.replace('0', "-")] {
            assert!(bad.parse::<PodId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn random_ids_are_ids_and_differ() {
        let (a, b) = (ContainerId::random().unwrap(), ContainerId::random().unwrap());
        assert_ne!(a, b);
        assert_eq!(a.as_str().parse::<ContainerId>().unwrap(), a);
    }
}
