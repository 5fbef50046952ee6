//! `rrun login` and `logout`.

use crate::credentials::Home;
use crate::images::private;
use crate::machine::text;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, ChildStderr, Output, Stdio};

/// Runs `rrun login … --password-stdin`.
fn log_in(home: &Home, args: &[&str], password: &str) -> Output {
    let args = [&["login", "--password-stdin", "-u"], args].concat();
    let mut command = home.command(&args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let _ = child.stdin.take().unwrap().write_all(password.as_bytes());
    rrun_tests::limit::output_of(child, "login").unwrap()
}

#[test]
fn what_a_registry_takes_is_kept_and_shown_until_the_logout() {
    let home = Home::new();
    let (registry, image) = private(&home.machine);
    let name = registry.address();
    let file = home.folder().join("config.json");
    let done = log_in(&home, &["someone", name], "wr0ng\n");
    let said = text(&done.stderr);
    assert_eq!((done.status.code(), text(&done.stdout).as_str()), (Some(2), ""), "{said}");
    let refused =
        format!("rrun: login {name}: GET http://{name}/v2/ (with credentials of this login");
    assert!(said.starts_with(&refused) && said.contains("401 unauthorized"), "{said}");
    assert!(!said.contains("wr0ng") && !file.exists(), "{said}");

    let done = log_in(&home, &["someone", &format!("http://{name}/v2/")], "right\r\n");
    let said = text(&done.stderr);
    assert_eq!(text(&done.stdout), "Login Succeeded!\n", "{said}");
    assert!(said.contains("stored unencrypted in '/root/.docker/config.json'"), "{said}");
    let mode = |path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(file.clone()), mode(home.folder())), (0o600, 0o700));
    home.ok(&["pull", &image]);
    let again = format!("Existing credentials are valid. Already logged in to {name}\n");
    assert_eq!(home.ok(&["login", name]), again);
    assert_eq!(home.ok(&["logout", name]), format!("Removed login credentials for {name}\n"));
    assert_eq!(home.refused(&["logout", name]), format!("rrun: not logged into {name}\n"));
    assert!(home.refused(&["pull", &image]).contains("401 unauthorized"));

    // For a part of a registry alone, and beside what is there.
    home.write(r#"{"detachKeys": "ctrl-x", "auths": {"other.io": {"auth": "eDp5"}}}"#);
    let insecure = "rrun: WARNING! Using --password via the CLI is insecure. Use --password-stdin.";
    for (part, works) in [("other", false), ("e2e-test-images", true)] {
        let part = format!("{name}/{part}");
        let done = home.rrun(&["login", "-u", "someone", "-p", "right", &part]);
        assert!(done.status.success() && text(&done.stderr).contains(insecure));
        assert_eq!(home.rrun(&["pull", &image]).status.success(), works, "{part}");
    }
    let kept = std::fs::read_to_string(&file).unwrap();
    assert!(kept.contains("\"detachKeys\": \"ctrl-x\"") && kept.contains("eDp5"), "{kept}");
    assert_eq!(home.ok(&["logout", "-a"]), "Removed login credentials for all registries\n");
    let kept = std::fs::read_to_string(&file).unwrap();
    assert!(kept.contains("\"auths\": {}") && kept.contains("detachKeys"), "{kept}");

    home.write("{\"auths\": ");
    let refused = text(&log_in(&home, &["someone", name], "right").stderr);
    assert!(refused.contains("/root/.docker/config.json: not JSON, line 1"), "{refused}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "{\"auths\": ");
    home.write("{}");
    let folder = home.machine.sandbox.inside("/var/lib/kubelet");
    std::fs::create_dir_all(&folder).unwrap();
    let auths = format!(r#"{{"auths": {{"{name}": {{"username": "a", "password": "b"}}}}}}"#);
    std::fs::write(folder.join("config.json"), auths).unwrap();
    let refused = home.refused(&["logout", name]);
    assert!(refused.contains("; /var/lib/kubelet/config.json has credentials for it"), "{refused}");
    for (args, says) in [
        (&["login", name][..], "Cannot perform an interactive login from a non TTY device"),
        (&["login", "-u", "a:b", "-p", "c", name], "a colon ends it"),
        (&["login", "-u", "", "-p", "c", name], "username is required"),
        (&["login", "-u", "a", "-p", "", name], "password is required"),
        (&["login", "-u", "a", "-p", "c", "127.0.0.1:1"], "login 127.0.0.1:1: GET "),
    ] {
        let refused = home.refused(args);
        assert!(refused.contains(says), "{args:?}: {refused}");
    }
}

#[test]
fn a_credential_helper_keeps_and_forgets_what_a_login_gives_it() {
    let home = Home::new();
    let (registry, image) = private(&home.machine);
    let name = registry.address();
    let kept = home.machine.sandbox.root().join("kept");
    let keeps = format!(
        "f={}\ncase $1 in\nstore) cat >$f ;;\nerase) rm $f ;;\n\
         get) cat $f 2>/dev/null || {{ echo 'credentials not found in native keychain'; exit 1; }}\n\
         esac",
        kept.display()
    );
    home.helper("file", &keeps);
    home.write(r#"{"credsStore": "file", "credHelpers": {"cloud.io": "missing"}}"#);
    let done = log_in(&home, &["someone", name], "right");
    assert_eq!(
        (text(&done.stdout).as_str(), text(&done.stderr).as_str()),
        ("Login Succeeded!\n", "")
    );
    let file = || std::fs::read_to_string(home.folder().join("config.json")).unwrap();
    assert!(file().contains(&format!("\"{name}\": {{}}")) && !file().contains("\"auth\""));
    let given: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&kept).unwrap()).unwrap();
    let want = serde_json::json!({"ServerURL": name, "Username": "someone", "Secret": "right"});
    assert_eq!(given, want);
    home.ok(&["pull", &image]);
    assert!(home.ok(&["login", name]).starts_with("Existing credentials are valid."));
    // One that does not answer keeps no other from being forgotten.
    let refused = home.refused(&["logout", "--all"]);
    let said = "rrun: cloud.io: docker-credential-missing get: start: ENOENT\n";
    assert_eq!(refused, said);
    assert!(!kept.exists() && !file().contains(name), "{}", file());
    assert_eq!(home.refused(&["logout", name]), format!("rrun: not logged into {name}\n"));

    home.helper("file", "[ $1 = store ] && echo \"no room for $(cat)\" && exit 1");
    let refused = text(&log_in(&home, &["someone", name], "right").stderr);
    let said = "rrun: docker-credential-file store: exit status 1: what it says may be secret\n";
    assert_eq!(refused, said);
    assert!(!file().contains(name), "{}", file());
    let part = text(&log_in(&home, &["someone", &format!("{name}/team")], "right").stderr);
    assert!(
        part.contains("docker-credential-file keeps credentials of whole registries"),
        "{part}"
    );
}

/// A terminal, and `rrun login` on it.
struct Person {
    pty: nix::pty::OpenptyResult,
    child: Child,
    stderr: ChildStderr,
}

impl Person {
    fn new(home: &Home, args: &[&str]) -> Person {
        let pty = nix::pty::openpty(None, None).unwrap();
        let slave: OwnedFd = pty.slave.as_fd().try_clone_to_owned().unwrap();
        let mut command = home.command(args);
        command.stdin(slave).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stderr = child.stderr.take().unwrap();
        Person { pty, child, stderr }
    }

    /// Reads the prompt, and types.
    fn answer(&mut self, prompt: &str, line: &str) {
        let mut said = Vec::new();
        while !said.ends_with(prompt.as_bytes()) {
            let mut byte = [0];
            assert_eq!(self.stderr.read(&mut byte).unwrap(), 1, "{}", text(&said));
            said.push(byte[0]);
        }
        nix::unistd::write(&self.pty.master, line.as_bytes()).unwrap();
    }

    /// Its exit code, what it printed, and what the terminal showed of what was typed.
    fn end(mut self) -> (Option<i32>, String, String) {
        let mut said = String::new();
        self.stderr.read_to_string(&mut said).unwrap();
        let done = rrun_tests::limit::output_of(self.child, "login").unwrap();
        let settings = nix::sys::termios::tcgetattr(&self.pty.slave).unwrap();
        let echo = nix::sys::termios::LocalFlags::ECHO;
        assert!(settings.local_flags.contains(echo), "the terminal is as it was");
        nix::unistd::write(&self.pty.slave, b"#").unwrap();
        let mut terminal = File::from(self.pty.master);
        let mut shown = Vec::new();
        while !shown.ends_with(b"#") {
            let mut byte = [0];
            terminal.read_exact(&mut byte).unwrap();
            shown.push(byte[0]);
        }
        (done.status.code(), text(&done.stdout) + &said, text(&shown))
    }
}

#[test]
fn a_person_is_asked_and_the_terminal_does_not_show_the_password() {
    let home = Home::new();
    let (registry, image) = private(&home.machine);
    let name = registry.address();
    let mut person = Person::new(&home, &["login", name]);
    person.answer("Username: ", "someone\n");
    person.answer("Password: ", "right\n");
    let (code, said, shown) = person.end();
    assert_eq!((code, shown.as_str()), (Some(0), "someone\r\n#"), "{said}");
    assert!(said.starts_with("Login Succeeded!\n"), "{said}");
    home.ok(&["pull", &image]);

    // Those that are not taken any more are the proposal.
    let auths = format!(r#"{{"auths": {{"{name}": {{"username": "someone", "password": "x"}}}}}}"#);
    home.write(&auths);
    let mut person = Person::new(&home, &["login", name]);
    person.answer("Username (someone): ", "\n");
    person.answer("Password: ", "right\n");
    let (code, said, _) = person.end();
    assert_eq!(code, Some(0), "{said}");

    let mut person = Person::new(&home, &["login", "-u", "someone", name]);
    person.answer("Password: ", "rig");
    let pid = person.child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let (code, said, shown) = person.end();
    assert_eq!((code, shown.as_str()), (Some(2), "#"), "{said}");
    assert!(said.contains("rrun: interrupted"), "{said}");
}
