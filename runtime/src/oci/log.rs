//! Errors and warnings: to stderr, and as lines that callers of runc know to a file.

use crate::cli::{Global, LogFormat, LogLevel};
use rrun_sys::time::Timestamp;
use std::fs::{File, OpenOptions};
use std::io::Write;

/// Where a command tells what went wrong.
pub struct Log {
    file: Option<File>,
    format: LogFormat,
    level: LogLevel,
}

impl Log {
    /// A log that cannot be opened is told on stderr, and the command goes on without.
    pub fn open(global: &Global) -> Log {
        let file = global.log.as_ref().and_then(|path| {
            let opened = OpenOptions::new().append(true).create(true).open(path);
            opened
                .inspect_err(|error| {
                    eprintln!("rrun-oci: log {}: {}", path.display(), rrun_error::reason(error))
                })
                .ok()
        });
        Log { file, format: global.log_format, level: global.log_level }
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
        let Some(mut file) = self.file.as_ref() else { return };
        let time = Timestamp::now().to_string();
        let line = match self.format {
            LogFormat::Json => {
                serde_json::json!({ "level": level, "msg": message, "time": time }).to_string()
            }
            LogFormat::Text => format!("time={time:?} level={level} msg={message:?}"),
        };
        // One write a line; nothing is to be done about a full disk here.
        let _ = file.write_all(format!("{line}\n").as_bytes());
    }
}
