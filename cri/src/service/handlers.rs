//! The runtime handlers, and what each can do: other runtimes say so themselves.

use super::Service;
use rrun_blocking::Shares;
use rrun_blocking::program::{Most, Program};
use rrun_cri_api::v1::{RuntimeHandler, RuntimeHandlerFeatures};
use rrun_engine::handlers::{BUILT_IN, CommandLine, Handlers};
use rrun_error::{printable_line, reason};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

/// Who looks at programs and starts them may wait for the disk that they are on: each program has a
/// share of these.
static LOOKS: LazyLock<Shares> = LazyLock::new(|| Shares::new(32, 2));

/// How long one may take to say what it can do.
const LIMIT: Duration = Duration::from_secs(5);
/// For how much of that a caller waits: what one has not said by then is told to a later caller.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long one that has not said so is not asked again, unless it is another program by then.
const PAUSE: Duration = Duration::from_secs(60);
/// How much of it is read.
const MOST: Most = Most { stdout: 1 << 20, stderr: 1024 };

/// What the runtimes have said, by their handlers' names.
#[derive(Default)]
pub(super) struct Told(Mutex<BTreeMap<String, Asked>>);

/// The question that was put last to a runtime: by whoever came first, for all.
struct Asked {
    by: CommandLine,
    at: Instant,
    /// What it has said before.
    before: Option<Answer>,
    answer: watch::Receiver<Option<Answer>>,
}

#[derive(Clone)]
struct Answer {
    file: Option<File>,
    at: Instant,
    said: Result<RuntimeHandlerFeatures, String>,
}

/// What tells a program from another one at its path.
#[derive(Clone, PartialEq, Eq)]
struct File {
    place: (u64, u64),
    size: u64,
    written: (i64, i64),
    changed: (i64, i64),
}

impl Told {
    /// What each runtime says of itself, or why nobody can tell.
    async fn of(
        &self,
        handlers: &Handlers,
    ) -> BTreeMap<String, Result<RuntimeHandlerFeatures, String>> {
        let asked = handlers.iter().map(async |(name, line)| {
            let (mut answer, before, until) = self.ask(name, line);
            let come = timeout_at(until, answer.wait_for(Option::is_some)).await;
            let answer = match come {
                Ok(Ok(answer)) => answer.clone(),
                _ => before,
            };
            let not_yet = || Err("it has not said yet what it can do".to_owned());
            (name.clone(), answer.map_or_else(not_yet, |answer| answer.said))
        });
        let said = futures::future::join_all(asked).await.into_iter().collect();
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.retain(|name, _| handlers.contains_key(name));
        said
    }

    /// Joins a question that is under way, or asks.
    fn ask(
        &self,
        name: &str,
        line: &CommandLine,
    ) -> (watch::Receiver<Option<Answer>>, Option<Answer>, Instant) {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let last = told.get(name).filter(|asked| asked.by == *line);
        let is_under_way =
            |asked: &&Asked| asked.answer.borrow().is_none() && asked.answer.has_changed().is_ok();
        if let Some(asked) = last.filter(is_under_way) {
            return (asked.answer.clone(), asked.before.clone(), asked.at + PATIENCE);
        }
        let before = last.and_then(|asked| {
            let answer = asked.answer.borrow().clone();
            answer.or_else(|| asked.before.clone())
        });
        let (sender, answer) = watch::channel(None);
        let (by, known, at) = (line.clone(), before.clone(), Instant::now());
        let asked = Asked { by: by.clone(), at, before: before.clone(), answer: answer.clone() };
        told.insert(name.to_owned(), asked);
        tokio::spawn(async move {
            // Nobody may wait any more.
            let _ = sender.send(Some(answer_of(&by, known).await));
        });
        (answer, before, at + PATIENCE)
    }
}

/// What was said before, as long as it stands.
async fn answer_of(line: &CommandLine, before: Option<Answer>) -> Answer {
    let (owner, path) = (line.path.to_string_lossy().into_owned(), line.path.clone());
    let file = match LOOKS.run(&owner, LIMIT, move || look(&path)).await {
        Ok(file) => file.ok(),
        Err(_) => None,
    };
    if let Some(before) = before
        && before.file == file
        && (before.said.is_ok() || before.at.elapsed() < PAUSE)
    {
        return before;
    }
    Answer { file, at: Instant::now(), said: ask(line).await }
}

fn look(path: &Path) -> io::Result<File> {
    let found = std::fs::metadata(path)?;
    Ok(File {
        place: (found.dev(), found.ino()),
        size: found.size(),
        written: (found.mtime(), found.mtime_nsec()),
        changed: (found.ctime(), found.ctime_nsec()),
    })
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
        for (name, said) in self.told.of(&handlers).await {
            all.push(handler(&name, said.as_ref().ok().copied()));
            let state = said.err().unwrap_or_else(|| "ok".to_owned());
            let path = handlers.get(&name).map(|line| line.path.display());
            words.extend(path.map(|path| (name, format!("{path}: {state}").into())));
        }
        (all, Value::Object(words))
    }
}

/// What a runtime says of itself: <https://github.com/opencontainers/runtime-spec>, features.md.
async fn ask(line: &CommandLine) -> Result<RuntimeHandlerFeatures, String> {
    let command = line.call("features");
    let words = |error: io::Error| reason(&error);
    let start = move || Program::start(command);
    let started = LOOKS.run(&line.path.to_string_lossy(), LIMIT, start).await;
    let started = started.map_err(|_| "earlier calls of it have not begun yet".to_owned())?;
    let ended = started.map_err(words)?.end(b"", MOST, LIMIT).await.map_err(words)?;
    if !ended.status.success() {
        let said = String::from_utf8_lossy(&ended.stderr.bytes);
        return Err(format!("features: {}: {}", ended.how(), printable_line(said.trim())));
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
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_a_runtime_can_do_is_read_from_its_features() {
        let can = |json: Value| of_json(&json).recursive_read_only_mounts;
        assert!(can(serde_json::json!({"mountOptions": ["bind", "rro"]})));
        assert!(!can(serde_json::json!({"mountOptions": ["bind"]})));
        assert!(!can(serde_json::json!([])));
    }

    /// A runtime that counts its calls, and what it has said of its features when it has.
    struct Runtime(tempfile::TempDir);

    impl Runtime {
        fn new(script: &str) -> Runtime {
            let runtime = Runtime(tempfile::tempdir().unwrap());
            runtime.is(script);
            runtime
        }

        fn is(&self, script: &str) {
            let (path, new) = (self.0.path().join("runtime"), self.0.path().join("new"));
            let calls = self.0.path().join("calls");
            let script = format!("#!/bin/sh\necho $1 >>{}\n{script}\n", calls.display());
            std::fs::write(&new, script).unwrap();
            std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o755)).unwrap();
            std::fs::rename(new, path).unwrap();
        }

        fn line(&self) -> CommandLine {
            CommandLine { path: self.0.path().join("runtime"), args: Vec::new(), timeout: 30 }
        }

        fn calls(&self) -> usize {
            let calls = std::fs::read_to_string(self.0.path().join("calls")).unwrap_or_default();
            calls.lines().filter(|call| *call == "features").count()
        }
    }

    const SAYS: &str = r#"echo '{"mountOptions":["rro"]}'"#;

    #[tokio::test]
    async fn a_runtime_is_asked_once_however_many_want_to_know_until_it_is_another_program() {
        let (runtime, told) = (Runtime::new(&format!("sleep 0.2; {SAYS}")), Told::default());
        let handlers = Handlers::from([("r".to_owned(), runtime.line())]);
        let all = futures::future::join_all((0..10).map(|_| told.of(&handlers))).await;
        assert!(all.iter().all(|said| said["r"].as_ref().unwrap().recursive_read_only_mounts));
        told.of(&handlers).await;
        assert_eq!(runtime.calls(), 1);
        runtime.is("echo '{}'");
        assert!(!told.of(&handlers).await["r"].as_ref().unwrap().recursive_read_only_mounts);
        assert_eq!(runtime.calls(), 2);
        let other = CommandLine { args: vec!["features".into()], ..runtime.line() };
        told.of(&Handlers::from([("r".to_owned(), other)])).await;
        assert_eq!(runtime.calls(), 3);
        assert!(told.of(&Handlers::new()).await.is_empty());
        assert!(told.0.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_runtime_that_hangs_is_not_waited_for_by_those_who_ask_for_others() {
        let (hangs, good, told) = (Runtime::new("sleep 1000"), Runtime::new(SAYS), Told::default());
        let handlers =
            Handlers::from([("hangs".to_owned(), hangs.line()), ("good".to_owned(), good.line())]);
        for _ in 0..20 {
            let said = told.of(&handlers).await;
            assert!(said["good"].is_ok());
            assert_eq!(said["hangs"].as_ref().unwrap_err(), "it has not said yet what it can do");
        }
        // All of them within the time that the first has.
        assert_eq!((hangs.calls(), good.calls()), (1, 1));
        while told.of(&handlers).await["hangs"].as_ref().unwrap_err()
            != "not done after 5 s, killed"
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(hangs.calls(), 1);
    }

    #[tokio::test]
    async fn what_a_runtime_says_of_a_failure_is_one_line_that_no_terminal_obeys() {
        let runtime = Runtime::new(r"printf 'no\nway\033[2J' >&2; exit 3");
        let handlers = Handlers::from([("r".to_owned(), runtime.line())]);
        let said = Told::default().of(&handlers).await["r"].clone().unwrap_err();
        assert_eq!(said, "features: exit status 3: no way\u{fffd}[2J");
    }
}
