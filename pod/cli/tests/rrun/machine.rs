//! A sandbox in which `rrun` runs with its defaults, and an image of `tests/programs/work.c`.

use rrun_tests::leaks::{Kind, Snapshot, View};
use rrun_tests::limit;
use rrun_tests::place;
use rrun_tests::sandbox::Sandbox;
use std::cell::RefCell;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::LazyLock;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Our image.
pub const IMAGE: &str = "images.rrun.test/work:latest";

/// How long anything may take on a loaded machine.
const LONG: Duration = Duration::from_secs(120);

/// Our image that talks, of `tests/programs/talk.c` beside this.
pub const TALK: &str = "images.rrun.test/talk:latest";

static LAYOUTS: LazyLock<[(PathBuf, &str); 2]> = LazyLock::new(|| {
    let work = place::workspace().join("tests/programs/work.c");
    let talk = place::workspace().join("pod/cli/tests/programs/talk.c");
    [(layout(&work, IMAGE), IMAGE), (layout(&talk, TALK), TALK)]
});

/// The layout of [`TALK`].
pub fn talk_layout() -> &'static Path {
    &LAYOUTS[1].0
}

/// Compiles a static program and makes an image layout of it.
pub fn layout(source: &Path, image: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let program = folder.join(source.file_stem().unwrap());
    let layout = program.with_extension("layout");
    let built = Command::new("cc").args(["-static", "-O1", "-o"]).args([&program, source]).status();
    assert!(built.unwrap().success(), "cc {}", source.display());
    let tool = place::workspace().join("examples/image");
    let packed = Command::new(tool).args([&layout, &program]).arg(image).status();
    assert!(packed.unwrap().success(), "examples/image");
    layout
}

/// The configuration file of a sandbox, with these sections beside what every one needs.
pub fn configure(sandbox: &Sandbox, sections: &str) {
    let folder = sandbox.inside("/etc/rrun");
    std::fs::create_dir_all(&folder).unwrap();
    let cgroup = format!("[cgroup]\nparent = \"{}\"\n", sandbox.cgroup_parent());
    std::fs::write(folder.join("rrund.toml"), cgroup + sections).unwrap();
}

pub struct Machine {
    pub sandbox: Sandbox,
    before: Option<Snapshot>,
}

impl Machine {
    /// Imports the images, and runs one pod: it makes what is made once for a machine.
    pub fn new() -> Machine {
        let sandbox = Sandbox::new().unwrap();
        let mut machine = Machine { sandbox, before: None };
        configure(&machine.sandbox, "");
        for (layout, image) in &*LAYOUTS {
            let imported = machine.rrun(&["image", "import", layout.to_str().unwrap()]);
            assert_eq!(text(&imported.stdout).trim(), *image, "{}", text(&imported.stderr));
        }
        let first = machine.write("first", &pod("first", "Never", &["true"]));
        let ended = machine.rrun(&["run", &first]);
        assert!(ended.status.success(), "{}", text(&ended.stderr));
        // So does the first pull.
        for folder in ["pulled", "pulling"] {
            std::fs::create_dir_all(machine.sandbox.state().join("pulls/local").join(folder))
                .unwrap();
        }
        std::fs::create_dir_all(machine.sandbox.inside("/run/rrun/users")).unwrap();
        machine.ok(&["gc", "containers"]);
        machine.before = Some(machine.look());
        machine
    }

    /// Changes the configuration of what is started from now on.
    pub fn configure(&self, sections: &str) {
        configure(&self.sandbox, sections);
    }

    /// What is there now. The first pod's shim outlived its `rrun` and is reaped by the machine's
    /// init: looked at before that, it would be missed later.
    fn look(&self) -> Snapshot {
        let deadline = Instant::now() + LONG;
        loop {
            let found = Snapshot::take(&self.view()).unwrap();
            let dead = |line: &String| line.contains("(zombie)");
            if !found.of(Kind::Process).iter().any(dead) || Instant::now() > deadline {
                return found;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn view(&self) -> View {
        // The write-ahead logs of the registers of images and addresses come and go.
        self.sandbox.view().allow(".db-wal").allow(".db-shm")
    }

    /// Everything is as it was before the test.
    pub fn assert_nothing_left(&self) {
        self.before.as_ref().unwrap().assert_nothing_left(&self.view()).unwrap();
    }

    /// The same, once what ends by itself has ended.
    pub fn await_nothing_left(&self) {
        let before = self.before.as_ref().unwrap();
        await_that("nothing is left", || before.assert_nothing_left(&self.view()).is_ok());
    }

    /// Writes a manifest; the answer is its path.
    pub fn write(&self, name: &str, manifest: &str) -> String {
        let path = self.sandbox.root().join(format!("{name}.yaml"));
        std::fs::write(&path, manifest).unwrap();
        path.display().to_string()
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = self.sandbox.command(place::program("rrun").unwrap());
        command.args(args).stdin(Stdio::null());
        command
    }

    /// Runs `rrun` to its end.
    pub fn rrun(&self, args: &[&str]) -> Output {
        limit::output(&mut self.command(args)).unwrap()
    }

    /// Runs `rrun` to its end, which must be a good one: what it printed.
    #[track_caller]
    pub fn ok(&self, args: &[&str]) -> String {
        printed(args, &self.rrun(args))
    }

    /// A command can be run in the container `main` of a pod.
    #[track_caller]
    pub fn assert_exec_works(&self, pod: &str) {
        let exec = self.rrun(&["exec", pod, "--", "/bin/work", "exit", "7"]);
        assert_eq!(exec.status.code(), Some(7), "{}", text(&exec.stderr));
    }

    /// Runs `rrun` to its end, which must be a refusal: what it said.
    #[track_caller]
    pub fn refused(&self, args: &[&str]) -> String {
        let done = self.rrun(args);
        assert_eq!(done.status.code(), Some(2), "{args:?}: {}", text(&done.stdout));
        text(&done.stderr)
    }

    /// Waits until a pod's line of `rrun ps -a` has this ready count and status.
    #[track_caller]
    pub fn await_ps(&self, name: &str, ready: &str, status: &str) -> Vec<String> {
        let mut row = None;
        await_that(&format!("{name} {ready} {status}"), || {
            row = self.ps(name);
            row.as_ref().is_some_and(|row| row[2] == ready && row[3] == status)
        });
        row.unwrap()
    }

    /// Runs `rrun run` beside the test.
    pub fn run(&self, name: &str, manifest: &str) -> Run {
        let path = self.write(name, manifest);
        self.start(&["run", &path])
    }

    /// Runs `rrun` beside the test.
    pub fn start(&self, args: &[&str]) -> Run {
        Run::start(self.command(args))
    }

    /// Columns of a pod in `rrun ps -a`.
    pub fn ps(&self, name: &str) -> Option<Vec<String>> {
        let listed = self.rrun(&["ps", "--all"]);
        let listed = text(&listed.stdout);
        let rows = listed.lines().map(|line| line.split_whitespace().map(str::to_owned).collect());
        rows.into_iter().find(|row: &Vec<String>| row[1] == name)
    }
}

/// An `rrun run` that goes on.
pub struct Run {
    child: Child,
    lines: Receiver<String>,
    /// Lines that came while another one was expected.
    passed_over: RefCell<Vec<String>>,
}

impl Run {
    /// Starts a command of [`Machine::command`] beside the test.
    pub fn start(mut command: Command) -> Run {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = channel();
        let streams: [Box<dyn Read + Send>; 2] =
            [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
        for stream in streams {
            let sender = sender.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    let _ = sender.send(line);
                }
            });
        }
        Run { child, lines, passed_over: RefCell::default() }
    }

    /// Waits for a line with `text` in it that was not expected before. What one stream says has
    /// no order towards the other stream, so lines that came before the last expected one count.
    #[track_caller]
    pub fn expect(&self, text: &str) {
        let mut passed_over = self.passed_over.borrow_mut();
        if let Some(at) = passed_over.iter().position(|line| line.contains(text)) {
            passed_over.remove(at);
            return;
        }
        let deadline = Instant::now() + LONG;
        let left = || deadline.saturating_duration_since(Instant::now());
        while !left().is_zero()
            && let Ok(line) = self.lines.recv_timeout(left())
        {
            if line.contains(text) {
                return;
            }
            passed_over.push(line);
        }
        panic!("no line with {text:?} in {LONG:?}:\n{}", passed_over.join("\n"));
    }

    /// Its process, as this test sees it.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    /// Waits for its end: the lines that were not expected.
    pub fn rest(mut self) -> Vec<String> {
        limit::end(&mut self.child, "rrun").unwrap();
        let mut lines = self.passed_over.take();
        lines.extend(self.lines.iter());
        lines
    }

    /// Waits for its end: its exit code, none after a signal.
    pub fn end(mut self) -> Option<i32> {
        limit::end(&mut self.child, "rrun").unwrap().code()
    }
}

/// A pod with one container `main`.
pub fn pod(name: &str, restart: &str, args: &[&str]) -> String {
    format!(
        "apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  restartPolicy: {restart}
  terminationGracePeriodSeconds: 5
  containers:
    - name: main
      image: {IMAGE}
      imagePullPolicy: Never
      args: {args:?}
"
    )
}

/// What a command printed, which must have ended well.
#[track_caller]
pub fn printed(args: &[&str], done: &Output) -> String {
    assert!(done.status.success(), "{args:?}: {:?} {}", done.status, text(&done.stderr));
    text(&done.stdout)
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Waits until something is so.
#[track_caller]
pub fn await_that(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + LONG;
    while !is_so() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A container of the image that talks, as an item of a list of containers.
pub fn talker(name: &str, args: &[&str]) -> String {
    format!("    - {{name: {name}, image: \"{TALK}\", imagePullPolicy: Never, args: {args:?}}}\n")
}

/// A pod of these containers.
pub fn talkers(name: &str, restart: &str, containers: &[String]) -> String {
    format!(
        "apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  restartPolicy: {restart}
  terminationGracePeriodSeconds: 5
  containers:
{}",
        containers.concat()
    )
}
