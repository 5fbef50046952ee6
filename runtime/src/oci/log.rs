//! Errors and warnings: to stderr, and as lines that callers of runc know to a file.

use crate::cli::{Global, LogFormat, LogLevel};
use rrun_sys::time::Timestamp;
use std::fs::{File, OpenOptions};
use std::io::{Result, Write};
use std::os::unix::net::UnixDatagram;
use std::path::Path;

/// Where journald and a syslog daemon listen.
const JOURNAL: &str = "/run/systemd/journal/socket";
const SYSLOG: &str = "/dev/log";
/// syslog(3): LOG_DAEMON.
const FACILITY: u8 = 3 << 3;

/// Where a command tells what went wrong.
pub struct Log {
    target: Option<Target>,
    format: LogFormat,
    level: LogLevel,
}

enum Target {
    File(File),
    /// Under a name.
    Journal(UnixDatagram, String),
    Syslog(UnixDatagram, String),
}

impl Target {
    /// `journald:NAME`, `syslog:NAME`, `file:PATH` and a path, as crun has them.
    fn open(text: &str) -> Result<Target> {
        if let Some(name) = text.strip_prefix("journald:") {
            return Ok(Target::Journal(connected(Path::new(JOURNAL))?, named(name)));
        }
        if let Some(name) = text.strip_prefix("syslog:") {
            return Ok(Target::Syslog(connected(Path::new(SYSLOG))?, named(name)));
        }
        let path = text.strip_prefix("file:").unwrap_or(text);
        OpenOptions::new().append(true).create(true).open(path).map(Target::File)
    }

    /// One write a line; nothing is to be done about a full disk or a daemon that is gone.
    fn write(&self, severity: u8, line: &str) {
        let _ = match self {
            Target::File(file) => (&*file).write_all(format!("{line}\n").as_bytes()),
            Target::Journal(socket, name) => {
                // A line break ends a field.
                let line = rrun_error::printable_line(line);
                let fields =
                    format!("SYSLOG_IDENTIFIER={name}\nPRIORITY={severity}\nMESSAGE={line}\n");
                socket.send(fields.as_bytes()).map(drop)
            }
            Target::Syslog(socket, name) => {
                let (tag, pid) = (FACILITY | severity, std::process::id());
                let line = rrun_error::printable_line(line);
                socket.send(format!("<{tag}>{name}[{pid}]: {line}").as_bytes()).map(drop)
            }
        };
    }
}

fn named(name: &str) -> String {
    let name = if name.is_empty() { "rrun-oci" } else { name };
    rrun_error::printable_line(name)
}

fn connected(path: &Path) -> Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(path)?;
    // Who reads there slowly keeps no container waiting.
    socket.set_nonblocking(true)?;
    Ok(socket)
}

impl Log {
    /// A log that cannot be opened is told on stderr, and the command goes on without.
    pub fn open(global: &Global) -> Log {
        let target = global.log.as_ref().and_then(|text| {
            let opened = Target::open(text);
            opened
                .inspect_err(|error| {
                    eprintln!("rrun-oci: log {text}: {}", rrun_error::reason(error))
                })
                .ok()
        });
        Log { target, format: global.log_format, level: global.log_level }
    }

    pub fn error(&self, message: &str) {
        self.line("error", message);
    }

    pub fn warning(&self, message: &str) {
        if self.level >= LogLevel::Warning {
            self.line("warning", message);
        }
    }

    fn line(&self, level: &str, message: &str) {
        eprintln!("rrun-oci: {}", rrun_error::printable(message));
        let Some(target) = self.target.as_ref() else { return };
        // syslog(3): LOG_ERR and LOG_WARNING.
        let severity = if level == "error" { 3 } else { 4 };
        let time = Timestamp::now().to_string();
        let line = match (self.format, target) {
            (LogFormat::Json, _) => {
                serde_json::json!({ "level": level, "msg": message, "time": time }).to_string()
            }
            (LogFormat::Text, Target::File(_)) => {
                format!("time={time:?} level={level} msg={message:?}")
            }
            // The daemon writes time and level beside it.
            (LogFormat::Text, _) => message.to_owned(),
        };
        target.write(severity, &line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(make: impl Fn(UnixDatagram, String) -> Target) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let daemon = UnixDatagram::bind(&path).unwrap();
        let target = Some(make(connected(&path).unwrap(), named("")));
        let log = Log { target, format: LogFormat::Text, level: LogLevel::Warning };
        log.line("error", "create a:\nPRIORITY=0");
        let mut packet = [0; 256];
        let length = daemon.recv(&mut packet).unwrap();
        String::from_utf8_lossy(&packet[..length]).into_owned()
    }

    #[test]
    fn the_journal_gets_one_message_whatever_is_in_it() {
        let said = heard(Target::Journal);
        let fields: Vec<&str> = said.lines().collect();
        assert_eq!(fields[..2], ["SYSLOG_IDENTIFIER=rrun-oci", "PRIORITY=3"], "{said}");
        assert!(fields.len() == 3 && fields[2].starts_with("MESSAGE=create a:"), "{said}");
    }

    #[test]
    fn syslog_gets_its_tag_and_one_line() {
        let said = heard(Target::Syslog);
        let begin = format!("<27>rrun-oci[{}]: create a:", std::process::id());
        assert!(said.starts_with(&begin) && said.lines().count() == 1, "{said}");
    }

    #[test]
    fn a_file_may_be_named_as_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a").display().to_string();
        for text in [path.clone(), format!("file:{path}")] {
            Target::open(&text).unwrap().write(3, "line");
        }
        assert_eq!(std::fs::read_to_string(path).unwrap(), "line\nline\n");
    }
}
