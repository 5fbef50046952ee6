//! The runtime handlers, and what each can do: other runtimes say so themselves.

use super::Service;
use rrun_blocking::Pool;
use rrun_blocking::program::{Most, Program};
use rrun_cri_api::v1::{RuntimeHandler, RuntimeHandlerFeatures};
use rrun_engine::handlers::{BUILT_IN, CommandLine, Handlers};
use serde_json::Value;
use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Programs are started on threads of these.
static STARTS: Pool = Pool::new(4);

/// How long one may take to say what it can do.
const LIMIT: Duration = Duration::from_secs(5);
/// How long one that has not said so is not asked again.
const PAUSE: Duration = Duration::from_secs(60);
/// How much of it is read.
const MOST: Most = Most { stdout: 1 << 20, stderr: 1024 };

/// What the runtimes have said.
#[derive(Default)]
pub(super) struct Told(Mutex<BTreeMap<String, Answer>>);

#[derive(Clone)]
struct Answer {
    by: CommandLine,
    at: Instant,
    said: Result<RuntimeHandlerFeatures, String>,
}

impl Answer {
    /// It is of this command line, and not to be asked for again yet.
    fn stands(&self, line: &CommandLine) -> bool {
        self.by == *line && (self.said.is_ok() || self.at.elapsed() < PAUSE)
    }
}

impl Told {
    fn of(&self, name: &str, line: &CommandLine) -> Option<Answer> {
        let told = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        told.get(name).filter(|answer| answer.stands(line)).cloned()
    }

    fn keep(&self, name: &str, answer: Answer) {
        let mut told = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        told.insert(name.to_owned(), answer);
    }
}

impl Service {
    /// The handlers that a pod may ask for, beside the built-in one.
    pub(super) fn handlers(&self) -> Handlers {
        self.config.borrow().runtimes.handlers()
    }

    /// All handlers with what they can do, and in words what is wrong with one.
    pub(super) async fn handlers_told(&self) -> (Vec<RuntimeHandler>, Value) {
        let own = RuntimeHandlerFeatures {
            recursive_read_only_mounts: true,
            user_namespaces: self.engine.has_user_namespaces(),
        };
        let handler = |name: &str, features| RuntimeHandler { name: name.to_owned(), features };
        let mut all = vec![handler("", Some(own)), handler(BUILT_IN, Some(own))];
        let mut words = serde_json::Map::new();
        let handlers = self.handlers();
        let asked = handlers.iter().map(async |(name, line)| match self.told.of(name, line) {
            Some(answer) => answer,
            None => {
                let answer = Answer { by: line.clone(), at: Instant::now(), said: ask(line).await };
                self.told.keep(name, answer.clone());
                answer
            }
        });
        let answers = futures::future::join_all(asked).await;
        for ((name, line), answer) in handlers.iter().zip(answers) {
            all.push(handler(name, answer.said.as_ref().ok().copied()));
            let state = answer.said.err().unwrap_or_else(|| "ok".to_owned());
            words.insert(name.clone(), format!("{}: {state}", line.path.display()).into());
        }
        (all, Value::Object(words))
    }
}

/// What a runtime says of itself: <https://github.com/opencontainers/runtime-spec>, features.md.
async fn ask(line: &CommandLine) -> Result<RuntimeHandlerFeatures, String> {
    let mut command = Command::new(&line.path);
    command.args(&line.args).arg("features");
    let words = |error: std::io::Error| rrun_error::reason(&error);
    let started = STARTS.run(move || Program::start(command)).await.map_err(words)?;
    let ended = started.end(b"", MOST, LIMIT).await.map_err(words)?;
    if !ended.status.success() {
        let said = String::from_utf8_lossy(&ended.stderr.bytes).trim().to_owned();
        return Err(format!("features: {}: {said}", ended.how()));
    }
    let json = serde_json::from_slice(&ended.stdout.bytes);
    json.map(|json| of_json(&json)).map_err(|error| format!("features: {error}"))
}

fn of_json(json: &Value) -> RuntimeHandlerFeatures {
    let options = json["mountOptions"].as_array().map(Vec::as_slice).unwrap_or_default();
    RuntimeHandlerFeatures {
        recursive_read_only_mounts: options.iter().any(|option| option == "rro"),
        // A pod with one is refused, whatever the runtime says.
        user_namespaces: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_runtime_can_do_is_read_from_its_features() {
        let can = |json: Value| of_json(&json).recursive_read_only_mounts;
        assert!(can(serde_json::json!({"mountOptions": ["bind", "rro"]})));
        assert!(!can(serde_json::json!({"mountOptions": ["bind"]})));
        assert!(!can(serde_json::json!([])));
    }
}
