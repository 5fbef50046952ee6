//! A container's id.

use rrun_runtime::{Error, Kind};
use std::fmt;
use std::str::FromStr;

/// A container's id: letters, digits and `_+-.`, at most 1024, and no name of a folder above.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Id(String);

impl Id {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Id {
    type Err = Error;

    fn from_str(text: &str) -> Result<Id, Error> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"_+-.".contains(&b);
        if text.is_empty() || text.len() > 1024 || !text.bytes().all(plain) || text.starts_with('.')
        {
            return Err(Error::new(Kind::Invalid, format!("{text:?} is no container id")));
        }
        Ok(Id(text.to_owned()))
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
