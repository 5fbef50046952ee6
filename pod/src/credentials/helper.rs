//! Programs that keep credentials of registries, as Docker calls them: `docker-credential-NAME`.

use std::process::Command;
use std::time::Duration;

use rrun_blocking::Pool;
use rrun_blocking::program::{Ended, Most, Program};
use rrun_cri_api::v1;
use rrun_error::printable_line;
use serde::Deserialize;
use serde_json::json;

use crate::error::{Context, Error, Kind, Result};

/// How long one may take: it may ask a cloud, and a kubelet gives its own such programs as long.
const LIMIT: Duration = Duration::from_secs(60);
/// So much is read of what it says.
const MOST: Most = Most { stdout: 256 << 10, stderr: 4 << 10 };
/// What it says of a registry that it knows nothing of.
const NONE: &str = "credentials not found in native keychain";
/// As a user name: the secret is a token for the token server.
const TOKEN: &str = "<token>";
/// Of what it says of a failure, in characters.
const LONGEST: usize = 200;

/// Programs that are started.
static STARTS: Pool = Pool::new(16);

/// Such a program.
pub(super) struct Helper {
    program: String,
    limit: Duration,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

impl Helper {
    /// By what comes after `docker-credential-` in its name.
    ///
    /// # Errors
    /// `Invalid` for a name that would lead out of the folders of `PATH`.
    pub fn named(name: &str) -> Result<Helper> {
        if name.contains(['/', '\0']) {
            let why = format!("credential helper {name:?}: want a name, not a path");
            return Err(Error::new(Kind::Invalid, why));
        }
        Ok(Helper { program: format!("docker-credential-{name}"), limit: LIMIT })
    }

    /// Its name.
    pub fn program(&self) -> &str {
        &self.program
    }

    /// What it has for a registry.
    ///
    /// # Errors
    /// Of a program that is not there, fails, is not done in time or answers something else. They
    /// hold nothing of what it answered.
    pub async fn get(&self, server: &str) -> Result<Option<v1::AuthConfig>> {
        let what = || format!("{} get", self.program);
        let ended = self.call("get", server.as_bytes()).await.context(what)?;
        if !ended.status.success() {
            return match ended.stdout.bytes.trim_ascii() == NONE.as_bytes() {
                true => Ok(None),
                false => Err(failure(&ended, "")).context(what),
            };
        }
        let answer = serde_json::from_slice::<Answer>(&ended.stdout.bytes);
        let filled = answer.ok().filter(|a| !a.username.is_empty() && !a.secret.is_empty());
        let Some(Answer { username, secret }) = filled else {
            let why = "its answer is no JSON object with Username and Secret";
            return Err(Error::new(Kind::Internal, why)).context(what);
        };
        Ok(Some(match username == TOKEN {
            true => v1::AuthConfig { identity_token: secret, ..Default::default() },
            false => v1::AuthConfig { username, password: secret, ..Default::default() },
        }))
    }

    /// Gives it a password to keep.
    ///
    /// # Errors
    /// Of a program that is not there, fails or is not done in time.
    pub async fn store(&self, server: &str, username: &str, secret: &str) -> Result<()> {
        let input = json!({"ServerURL": server, "Username": username, "Secret": secret});
        self.tell("store", &input.to_string(), secret).await
    }

    /// Has it forget a registry.
    ///
    /// # Errors
    /// As [`Helper::store`].
    pub async fn erase(&self, server: &str) -> Result<()> {
        self.tell("erase", server, "").await
    }

    async fn tell(&self, verb: &'static str, input: &str, secret: &str) -> Result<()> {
        let what = || format!("{} {verb}", self.program);
        let ended = self.call(verb, input.as_bytes()).await.context(what)?;
        if ended.status.success() { Ok(()) } else { Err(failure(&ended, secret)).context(what) }
    }

    async fn call(&self, verb: &'static str, input: &[u8]) -> Result<Ended> {
        let mut command = Command::new(&self.program);
        command.arg(verb);
        rrun_sys::limit::hand_down(&mut command);
        let started = STARTS.run(move || Program::start(command)).await.context(|| "start")?;
        started.end(input, MOST, self.limit).await.context(|| "wait")
    }
}

/// How it failed, with its own words, unless they have this secret in them or look like what it keeps.
fn failure(ended: &Ended, secret: &str) -> Error {
    let said = [&ended.stdout, &ended.stderr]
        .map(|written| printable_line(String::from_utf8_lossy(&written.bytes).trim()));
    let said = said.into_iter().find(|text| !text.is_empty()).unwrap_or_default();
    let is_secret = said.starts_with(['{', '[', '"'])
        || said.to_lowercase().contains("secret\"")
        || (!secret.is_empty() && said.contains(secret));
    let said = match is_secret {
        true => "what it says may be secret".to_owned(),
        false => said.chars().take(LONGEST).collect(),
    };
    let colon = if said.is_empty() { "" } else { ": " };
    Error::new(Kind::Unavailable, format!("{}{colon}{said}", ended.how()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    fn helper(folder: &Path, script: &str) -> Helper {
        let path = folder.join("docker-credential-x");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        Helper { program: path.display().to_string(), limit: LIMIT }
    }

    async fn got(script: &str) -> Result<Option<v1::AuthConfig>> {
        let folder = tempfile::tempdir().unwrap();
        helper(folder.path(), script).get("r.io").await
    }

    #[tokio::test]
    async fn what_it_has_for_a_server_is_a_password_or_a_token_and_none_is_no_error() {
        let answer = r#"[ "$1" = get ] && read -r server || :
            printf '{"ServerURL": "%s", "Username": "u", "Secret": "%s"}' "$server" "$server""#;
        let auth = got(answer).await.unwrap().unwrap();
        assert_eq!((auth.username.as_str(), auth.password.as_str()), ("u", "r.io"));
        let token = r#"echo '{"ServerURL": "r.io", "Username": "<token>", "Secret": "t"}'"#;
        let auth = got(token).await.unwrap().unwrap();
        let empty = v1::AuthConfig { identity_token: "t".into(), ..Default::default() };
        assert_eq!(auth, empty);
        assert_eq!(got(&format!("echo '{NONE}'; exit 1")).await.unwrap(), None);
    }

    #[tokio::test]
    async fn one_that_fails_is_told_by_its_words_and_no_secret_is_ever_in_them() {
        let answer = |text: &str| format!("echo '{text}'");
        for (script, want) in [
            ("echo locked; exit 3".to_owned(), "exit status 3: locked"),
            ("echo locked >&2; exit 3".to_owned(), "exit status 3: locked"),
            ("kill -9 $$".to_owned(), "killed by signal 9"),
            (answer("rubbish s3cret"), "its answer is no JSON object with Username and Secret"),
            (answer(r#"{"Username": "u", "Secret": {"s3cret": 1}}"#), "its answer is no JSON"),
            (answer(r#"{"Username": "", "Secret": "s3cret"}"#), "its answer is no JSON"),
            (
                answer(r#"{"Username": "u", "Secret": "s3cret"}"#) + "; exit 1",
                "exit status 1: what it says may be secret",
            ),
            (
                answer(r#"got {"Username": "u", "Secret": "s3cret"}"#) + "; exit 1",
                "exit status 1: what it says may be secret",
            ),
        ] {
            let error = got(&script).await.unwrap_err().to_string();
            assert!(error.contains("docker-credential-x get: "), "{error}");
            assert!(error.contains(want) && !error.contains("s3cret"), "{error}");
        }
    }

    #[tokio::test]
    async fn it_is_given_what_it_is_to_keep_and_its_error_does_not_say_what_that_was() {
        let folder = tempfile::tempdir().unwrap();
        let kept = folder.path().join("kept");
        let keeps = helper(folder.path(), &format!("(echo $1; cat) >{}", kept.display()));
        keeps.store("r.io", "u", "s3\"cret").await.unwrap();
        let text = std::fs::read_to_string(&kept).unwrap();
        let (verb, given) = text.split_once('\n').unwrap();
        let given: serde_json::Value = serde_json::from_str(given).unwrap();
        let want = json!({"ServerURL": "r.io", "Username": "u", "Secret": "s3\"cret"});
        assert_eq!((verb, given), ("store", want));
        keeps.erase("r.io").await.unwrap();
        assert_eq!(std::fs::read_to_string(&kept).unwrap(), "erase\nr.io");
        let fails = helper(folder.path(), "echo \"s3cret is too short\"; exit 1");
        let error = fails.store("r.io", "u", "s3cret").await.unwrap_err().to_string();
        assert!(error.ends_with("x store: exit status 1: what it says may be secret"), "{error}");
        let error = fails.erase("r.io").await.unwrap_err().to_string();
        assert!(error.ends_with("x erase: exit status 1: s3cret is too short"), "{error}");
    }

    #[tokio::test]
    async fn one_that_is_missing_or_hangs_is_named() {
        let helper = |limit| Helper { program: "docker-credential-none".to_owned(), limit };
        let error = helper(LIMIT).get("r.io").await.unwrap_err();
        assert_eq!(error.to_string(), "docker-credential-none get: start: ENOENT");
        let folder = tempfile::tempdir().unwrap();
        let hangs = self::helper(folder.path(), "exec sleep 1000");
        let error = Helper { limit: Duration::from_secs(1), ..hangs }.get("r.io").await;
        let error = error.unwrap_err().to_string();
        assert!(error.ends_with("docker-credential-x get: wait: not done after 1 s, killed"));
        for name in ["../x", "/bin/x", "a/b"] {
            let error = Helper::named(name).err().unwrap().to_string();
            assert!(error.ends_with("want a name, not a path"), "{error}");
        }
    }
}
