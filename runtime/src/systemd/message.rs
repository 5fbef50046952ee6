//! Messages of D-Bus: <https://dbus.freedesktop.org/doc/dbus-specification.html>, as much of them
//! as a caller of systemd's manager needs.

use crate::{Error, Kind, Result};

/// The longest message that is taken, bytes. What systemd answers has a few hundred.
const LONGEST: usize = 1 << 20;

/// What precedes the fields of every header: endianness, type, flags, version, length of the body,
/// serial, length of the fields.
pub const FIXED: usize = 16;

/// The byte that says in which order those of a number are. Everybody on one machine has the same.
const ENDIAN: u8 = if cfg!(target_endian = "little") { b'l' } else { b'B' };

const CALL: u8 = 1;
const REPLY: u8 = 2;
const ERROR: u8 = 3;
const SIGNAL: u8 = 4;

/// Codes of header fields.
const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const ERROR_NAME: u8 = 4;
const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;
const SIGNATURE: u8 = 8;

/// A value of a unit's property, or an argument of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// `b`
    Bool(bool),
    /// `t`
    Number(u64),
    /// `s`
    Text(String),
    /// `au`
    Numbers(Vec<u32>),
    /// `ay`
    Bytes(Vec<u8>),
    /// `a(ss)`
    Pairs(Vec<(String, String)>),
    /// `a(sv)`
    Properties(Vec<Property>),
    /// `a(sa(sv))` without any: units to be made beside the one that is.
    NoUnits,
}

/// A property of a unit and its value.
pub type Property = (&'static str, Value);

impl Value {
    fn signature(&self) -> &'static str {
        match self {
            Value::Bool(_) => "b",
            Value::Number(_) => "t",
            Value::Text(_) => "s",
            Value::Numbers(_) => "au",
            Value::Bytes(_) => "ay",
            Value::Pairs(_) => "a(ss)",
            Value::Properties(_) => "a(sv)",
            Value::NoUnits => "a(sa(sv))",
        }
    }
}

/// A method to call.
#[derive(Clone, Copy, Debug)]
pub struct Method<'a> {
    /// The bus name of who has it.
    pub destination: &'a str,
    /// The object.
    pub path: &'a str,
    /// Its interface.
    pub interface: &'a str,
    /// Its name.
    pub member: &'a str,
}

/// The bytes of a call.
pub fn call(method: &Method<'_>, arguments: &[Value], serial: u32) -> Vec<u8> {
    let mut body = Writer::default();
    arguments.iter().for_each(|value| body.value(value));
    let signature: String = arguments.iter().map(Value::signature).collect();
    let mut all = Writer(vec![ENDIAN, CALL, 0, 1]);
    all.u32(length(&body.0));
    all.u32(serial);
    let text = |all: &mut Writer, code: u8, kind: &str, text: &str| {
        all.align(8);
        all.0.push(code);
        all.signature(kind);
        all.text(text);
    };
    all.array(8, |all| {
        text(all, PATH, "o", method.path);
        text(all, INTERFACE, "s", method.interface);
        text(all, MEMBER, "s", method.member);
        text(all, DESTINATION, "s", method.destination);
        if !signature.is_empty() {
            all.align(8);
            all.0.push(SIGNATURE);
            all.signature("g");
            all.signature(&signature);
        }
    });
    all.align(8);
    all.0.extend(body.0);
    all.0
}

/// Values with their alignment, which counts from the start of the message; a body starts at a
/// multiple of eight.
#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    fn u32(&mut self, number: u32) {
        self.align(4);
        self.0.extend(number.to_ne_bytes());
    }

    fn text(&mut self, text: &str) {
        self.u32(length(text.as_bytes()));
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }

    /// A signature has one byte for its length: ours are a few letters.
    fn signature(&mut self, signature: &str) {
        self.0.push(signature.len() as u8);
        self.0.extend(signature.as_bytes());
        self.0.push(0);
    }

    /// The length of an array does not count what aligns its first element.
    fn array(&mut self, align: usize, elements: impl FnOnce(&mut Writer)) {
        self.u32(0);
        let at = self.0.len() - 4;
        self.align(align);
        let start = self.0.len();
        elements(self);
        let length = length(&self.0[start..]);
        self.0[at..at + 4].copy_from_slice(&length.to_ne_bytes());
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Bool(value) => self.u32((*value).into()),
            Value::Number(number) => {
                self.align(8);
                self.0.extend(number.to_ne_bytes());
            }
            Value::Text(text) => self.text(text),
            Value::Numbers(all) => self.array(4, |w| all.iter().for_each(|n| w.u32(*n))),
            Value::Bytes(bytes) => self.array(1, |w| w.0.extend(bytes)),
            Value::Pairs(all) => self.array(8, |w| {
                for (first, second) in all {
                    w.align(8);
                    w.text(first);
                    w.text(second);
                }
            }),
            Value::Properties(all) => self.array(8, |w| {
                for (name, value) in all {
                    w.align(8);
                    w.text(name);
                    w.signature(value.signature());
                    w.value(value);
                }
            }),
            Value::NoUnits => self.array(8, |_| {}),
        }
    }
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

/// What was received, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// The answer to the call of this serial.
    Reply(u32, Body),
    /// Its refusal: the name of the error and its words.
    Error(u32, String, String),
    /// A signal: its member.
    Signal(String, Body),
    /// A call, or something of a later version.
    Other,
}

/// The number of bytes after the first [`FIXED`] ones.
///
/// # Errors
/// `Kernel` for what is no message of D-Bus, or too long.
pub fn length_after(fixed: &[u8; FIXED]) -> Result<usize> {
    let number = |at: usize| {
        let bytes = [fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]];
        u32::from_ne_bytes(bytes) as usize
    };
    let fields = number(12).min(LONGEST).next_multiple_of(8);
    let length = fields + number(4).min(LONGEST);
    match fixed[0] == ENDIAN && fixed[3] == 1 && length <= LONGEST {
        true => Ok(length),
        false => Err(broken("it is no message")),
    }
}

/// Reads a message: its first bytes and the rest.
///
/// # Errors
/// `Kernel` for one that is torn.
pub fn read(fixed: &[u8; FIXED], rest: &[u8]) -> Result<Received> {
    let bytes = [&fixed[..], rest].concat();
    let mut reader = Reader { bytes: &bytes, at: 12 };
    let (mut member, mut error, mut serial) = (String::new(), String::new(), None);
    let end = reader.u32()? as usize + FIXED;
    while reader.at < end {
        reader.align(8);
        let code = reader.byte()?;
        let kind = reader.signature()?;
        match (code, kind.as_str()) {
            (MEMBER, "s") => member = reader.text()?,
            (ERROR_NAME, "s") => error = reader.text()?,
            (REPLY_SERIAL, "u") => serial = Some(reader.u32()?),
            (_, "s" | "o") => drop(reader.text()?),
            (_, "u") => drop(reader.u32()?),
            (_, "g") => drop(reader.signature()?),
            _ => return Err(broken("it has a field of an unknown type")),
        }
    }
    reader.align(8);
    let body = Body(bytes.get(reader.at..).unwrap_or_default().to_vec());
    Ok(match (fixed[1], serial) {
        (REPLY, Some(serial)) => Received::Reply(serial, body),
        (ERROR, Some(serial)) => {
            // By convention the first argument is what there is to say.
            let words = body.reader().text().unwrap_or_default();
            Received::Error(serial, error, words)
        }
        (SIGNAL, _) => Received::Signal(member, body),
        _ => Received::Other,
    })
}

/// The arguments of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Body(Vec<u8>);

impl Body {
    /// Reads them one after the other.
    pub fn reader(&self) -> Reader<'_> {
        Reader { bytes: &self.0, at: 0 }
    }
}

/// Reads values with their alignment.
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn take(&mut self, count: usize) -> Result<&[u8]> {
        let end = self.at.checked_add(count).ok_or_else(|| broken("it is torn"))?;
        let taken = self.bytes.get(self.at..end).ok_or_else(|| broken("it is torn"))?;
        self.at = end;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8> {
        Ok(self.take(1)?[0])
    }

    /// `u`
    ///
    /// # Errors
    /// `Kernel` where the message ends.
    pub fn u32(&mut self) -> Result<u32> {
        self.align(4);
        let bytes = self.take(4)?;
        Ok(u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    /// `s` or `o`
    ///
    /// # Errors
    /// As [`Reader::u32`].
    pub fn text(&mut self) -> Result<String> {
        let length = self.u32()? as usize;
        self.ended(length)
    }

    /// `g`
    ///
    /// # Errors
    /// As [`Reader::u32`].
    pub fn signature(&mut self) -> Result<String> {
        let length = self.byte()?.into();
        self.ended(length)
    }

    fn ended(&mut self, length: usize) -> Result<String> {
        let text = self.take(length)?.to_vec();
        self.take(1)?;
        String::from_utf8(text).map_err(|_| broken("it has a text that is none"))
    }
}

fn broken(why: &str) -> Error {
    Error::new(Kind::Kernel, format!("a message cannot be read: {why}"))
}

/// The other end, for a bus that tests stand in for.
#[cfg(test)]
pub(super) mod other_end {
    use super::*;

    /// The serial, member and arguments of a call.
    pub fn read_call(fixed: &[u8; FIXED], rest: &[u8]) -> (u32, String, Body) {
        // As a signal is read, which has a member too.
        let mut signal = *fixed;
        signal[1] = SIGNAL;
        let serial = [fixed[8], fixed[9], fixed[10], fixed[11]];
        match read(&signal, rest).unwrap() {
            Received::Signal(member, body) => (u32::from_ne_bytes(serial), member, body),
            other => panic!("{other:?}"),
        }
    }

    fn message(
        kind: u8,
        field: impl FnOnce(&mut Writer),
        arguments: impl FnOnce(&mut Writer),
    ) -> Vec<u8> {
        let (mut body, mut all) = (Writer::default(), Writer(vec![ENDIAN, kind, 0, 1]));
        arguments(&mut body);
        all.u32(length(&body.0));
        all.u32(1);
        all.array(8, field);
        all.align(8);
        all.0.extend(body.0);
        all.0
    }

    /// The texts in the arguments, among other bytes.
    pub fn words(body: &Body) -> String {
        String::from_utf8_lossy(&body.0).into_owned()
    }

    fn to(serial: u32) -> impl FnOnce(&mut Writer) {
        move |all| {
            all.0.push(REPLY_SERIAL);
            all.signature("u");
            all.u32(serial);
        }
    }

    /// An answer with one text, or a variant of it.
    pub fn answer(serial: u32, text: &str, variant: bool) -> Vec<u8> {
        message(REPLY, to(serial), |body| {
            if variant {
                body.signature("s");
            }
            body.text(text);
        })
    }

    /// A refusal.
    pub fn refusal(serial: u32, name: &str, words: &str) -> Vec<u8> {
        let fields = |all: &mut Writer| {
            to(serial)(all);
            all.align(8);
            all.0.push(ERROR_NAME);
            all.signature("s");
            all.text(name);
        };
        message(ERROR, fields, |body| body.text(words))
    }

    /// The end of a job.
    pub fn job_removed(job: &str, result: &str) -> Vec<u8> {
        let member = |all: &mut Writer| {
            all.0.push(MEMBER);
            all.signature("s");
            all.text("JobRemoved");
        };
        message(SIGNAL, member, |body| {
            body.u32(9);
            [job, "x.scope", result].iter().for_each(|text| body.text(text));
        })
    }
}
