//! Credentials of the node: in files as Docker's, and of the programs that such a file names.

use crate::images::private;
use crate::machine::{IMAGE, Machine, await_that, pod, text};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};

/// A machine whose `/root` has no `.docker`, and a folder for programs.
pub struct Home {
    pub machine: Machine,
    programs: PathBuf,
}

impl Home {
    pub fn new() -> Home {
        let machine = Machine::new();
        let over = machine.sandbox.root().join("over/root");
        let [upper, work] = ["upper", "work"].map(|name| over.join(name));
        std::fs::create_dir_all(&upper).unwrap();
        std::fs::create_dir_all(&work).unwrap();
        let options =
            format!("lowerdir=/root,upperdir={},workdir={}", upper.display(), work.display());
        let mut mount = machine.sandbox.command("mount");
        mount.args(["-t", "overlay", "-o", &options, "sandbox", "/root"]);
        assert!(mount.status().unwrap().success());
        let programs = machine.sandbox.root().join("programs");
        std::fs::create_dir(&programs).unwrap();
        let home = Home { machine, programs };
        let _ = std::fs::remove_dir_all(home.folder());
        home
    }

    pub fn folder(&self) -> PathBuf {
        self.machine.sandbox.inside("/root/.docker")
    }

    pub fn write(&self, config: &str) {
        std::fs::create_dir_all(self.folder()).unwrap();
        std::fs::write(self.folder().join("config.json"), config).unwrap();
    }

    /// A program that keeps credentials, by what it does.
    pub fn helper(&self, name: &str, script: &str) {
        let path = self.programs.join(format!("docker-credential-{name}"));
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let path = format!("{}:{}", self.programs.display(), std::env::var("PATH").unwrap());
        let mut command = self.machine.command(args);
        command.env("PATH", path);
        command
    }

    pub fn rrun(&self, args: &[&str]) -> Output {
        rrun_tests::limit::output(&mut self.command(args)).unwrap()
    }

    #[track_caller]
    pub fn refused(&self, args: &[&str]) -> String {
        let done = self.rrun(args);
        assert_eq!(done.status.code(), Some(2), "{args:?}: {}", text(&done.stdout));
        text(&done.stderr)
    }

    #[track_caller]
    pub fn ok(&self, args: &[&str]) -> String {
        crate::machine::printed(args, &self.rrun(args))
    }
}

/// Answers as Docker's protocol has it.
fn answers(user: &str, secret: &str) -> String {
    format!(
        r#"read -r server || :
[ "$1" = get ] || exit 9
printf '{{"ServerURL": "%s", "Username": "{user}", "Secret": "{secret}"}}' "$server""#
    )
}

#[test]
fn a_pull_shows_what_a_credential_helper_has_and_says_what_is_wrong_with_one() {
    let home = Home::new();
    let (registry, image) = private(&home.machine);
    let name = registry.address();
    let asked = home.machine.sandbox.root().join("asked");
    let own = |helper: &str| format!(r#"{{"credHelpers": {{"{name}": "{helper}"}}}}"#);
    home.write(&own("good"));
    let refused = home.refused(&["pull", &image]);
    let missing = "missing credentials: /root/.docker/config.json: docker-credential-good get: ";
    assert!(refused.contains(&format!("{missing}start: ENOENT")), "{refused}");
    assert!(refused.contains("401 unauthorized"), "it is tried without: {refused}");
    for (script, why) in [
        ("echo 'the door is locked'; exit 1", "exit status 1: the door is locked"),
        ("echo right", "its answer is no JSON object with Username and Secret"),
    ] {
        home.helper("good", script);
        let refused = home.refused(&["pull", &image]);
        assert!(refused.contains(&format!("{missing}{why}")), "{refused}");
        assert!(!refused.contains("right"), "{refused}");
    }
    home.helper("good", &answers("someone", "wrong"));
    let refused = home.refused(&["pull", &image]);
    let said = "credentials of docker-credential-good, user \"someone\"";
    assert!(refused.contains(said) && !refused.contains("wrong"), "{refused}");
    home.write(&own("../good"));
    let refused = home.refused(&["pull", &image]);
    assert!(refused.contains("\"../good\": want a name, not a path"), "{refused}");

    // What a program for one registry says is not asked of the one for all.
    let note = format!("echo \"$0 $1\" >>{}", asked.display());
    home.helper("good", &format!("{note}\n{}", answers("someone", "right")));
    home.helper("all", &format!("{note}\necho 'credentials not found in native keychain'; exit 1"));
    let both = own("good").replace('}', "").to_owned() + r#"}, "credsStore": "all"}"#;
    home.write(&both);
    home.ok(&["pull", &image]);
    let calls = std::fs::read_to_string(&asked).unwrap();
    assert_eq!(calls, format!("{}/docker-credential-good get\n", home.programs.display()));
    home.machine.ok(&["rmi", &image]);

    // It has none, and those of the kubelet's file are shown.
    let folder = home.machine.sandbox.inside("/var/lib/kubelet");
    std::fs::create_dir_all(&folder).unwrap();
    let who = r#"{"username": "someone", "password": "right"}"#;
    let auths = format!(r#"{{"credsStore": "all", "auths": {{"{name}": {who}}}}}"#);
    std::fs::write(folder.join("config.json"), auths).unwrap();
    home.write(r#"{"credsStore": "none"}"#);
    home.ok(&["pull", &image]);
}

#[test]
fn a_pods_pull_shows_what_a_credential_helper_has_and_its_events_name_one_that_fails() {
    let home = Home::new();
    let (registry, image) = private(&home.machine);
    home.write(&format!(r#"{{"credHelpers": {{"{}": "cloud"}}}}"#, registry.address()));
    home.helper("cloud", "echo 'no such role' >&2; exit 1");
    let plain = pod("web", "Never", &["true"]).replace(IMAGE, &image);
    let path = home.machine.write("web", &plain.replace("PullPolicy: Never", "PullPolicy: Always"));
    home.ok(&["run", "--detach", &path]);
    let said = "(missing credentials: /root/.docker/config.json: docker-credential-cloud get: \
                exit status 1: no such role)";
    await_that(said, || home.machine.ok(&["events", "web"]).contains(said));
    home.ok(&["rm", "--force", "web"]);
    home.helper("cloud", &answers("someone", "right"));
    let done = home.rrun(&["run", &path]);
    assert!(done.status.success(), "{}", text(&done.stderr));
}
