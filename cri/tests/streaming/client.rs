//! The reference client, a Go program: built once, or absent where `go` is.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;

use tokio::io::AsyncWriteExt;

static CLIENT: LazyLock<Option<PathBuf>> = LazyLock::new(|| {
    Command::new("go").arg("version").output().ok()?;
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/streaming-client");
    let client = Path::new(env!("CARGO_TARGET_TMPDIR")).join("streaming-client");
    let built = Command::new("go")
        .args(["build", "-buildvcs=false", "-trimpath", "-o"])
        .arg(&client)
        .arg(".")
        .env("CGO_ENABLED", "0")
        .current_dir(source)
        .status()
        .unwrap();
    assert!(built.success(), "go build of the reference client");
    Some(client)
});

/// How a client speaks.
pub const TRANSPORTS: [Option<&str>; 2] = [None, Some("-websocket")];

/// The client, about to run; `None` where it cannot be had, and the test has nothing to do.
pub fn client(verb: &str, transport: Option<&str>) -> Option<tokio::process::Command> {
    let Some(program) = CLIENT.as_ref() else {
        println!("skipped: there is no go on this machine to build the reference client with");
        return None;
    };
    let mut command = tokio::process::Command::new(program);
    command.arg(verb).args(transport);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    Some(command)
}

/// Runs the client to its end with `input`.
pub async fn run(mut command: tokio::process::Command, input: Vec<u8>) -> Output {
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let feed = tokio::spawn(async move {
        // A command that ends early leaves input behind.
        let _ = stdin.write_all(&input).await;
    });
    let output = child.wait_with_output().await.unwrap();
    feed.abort();
    output
}

pub fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or(-1)
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
