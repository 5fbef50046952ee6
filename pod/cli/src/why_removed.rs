//! `rrun why-removed`

use crate::args::Output;
use crate::context::Context;
use crate::image_gc;
use crate::table;
use anyhow::Result;
use rrun_pod::clock::Timestamp;
use rrun_pod::tombstone::{self, Tombstone};
use std::fmt::Write;
use std::process::ExitCode;

/// Prints the tombstones of the containers that are called so, the oldest first; else what was decided
/// about the image of that name.
pub async fn why_removed(
    context: &Context,
    name: Option<&str>,
    output: Option<Output>,
) -> Result<ExitCode> {
    let Some(name) = name else { return image_gc::why_removed(context, None, output).await };
    let mut found = tombstone::all(&context.tombstones())?;
    found.retain(|stone| stone.is_called(name));
    if found.is_empty() {
        return image_gc::why_removed(context, Some(name), output).await;
    }
    let text = match output {
        Some(Output::Json) => crate::json::pretty(&found)?,
        None => rrun_error::printable(&found.iter().map(describe).collect::<Vec<_>>().join("\n")),
    };
    table::write(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// As `kubectl describe` lays out a container.
fn describe(stone: &Tombstone) -> String {
    let time = |at: Timestamp| if at.is_zero() { "-".to_owned() } else { at.to_string() };
    let end = match (stone.ended, stone.reason.as_str()) {
        (false, _) => "it had not ended".to_owned(),
        (true, "") => format!("exit code {}", stone.exit_code),
        (true, reason) => format!("{reason}, exit code {}", stone.exit_code),
    };
    let mut text = String::new();
    for (label, value) in [
        ("Container:", stone.full_name()),
        ("Container ID:", stone.id.clone()),
        ("Image:", stone.image.clone()),
        ("Restart Count:", stone.restart_count.to_string()),
        ("Created:", time(stone.created_at)),
        ("Started:", time(stone.started_at)),
        ("Finished:", time(stone.finished_at)),
        ("End:", end),
        ("Message:", stone.message.trim_end().replace('\n', "\n                ")),
        ("Removed:", time(stone.removed_at)),
        ("Because:", stone.cause.to_string()),
    ] {
        if !value.is_empty() {
            let _ = writeln!(text, "{label:<16}{value}");
        }
    }
    if !stone.log_end.is_empty() {
        text.push_str("Last lines:\n");
        stone.log_end.lines().for_each(|line| {
            let _ = writeln!(text, "  {line}");
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use rrun_pod::tombstone::Cause;

    #[test]
    fn a_removed_container_says_how_it_ended_why_it_went_and_its_last_lines() {
        let stone = Tombstone {
            id: "4fc5".into(),
            container: "main".into(),
            namespace: "default".into(),
            pod: "web".into(),
            uid: "u-1".into(),
            image: "img:1".into(),
            restart_count: 3,
            ended: true,
            exit_code: 137,
            reason: "OOMKilled".into(),
            message: String::new(),
            created_at: Timestamp::from_nanos(1),
            started_at: Timestamp::default(),
            finished_at: Timestamp::from_nanos(2_000_000_000),
            removed_at: Timestamp::from_nanos(3_000_000_000),
            cause: Cause::PodRemoved,
            log_end: "one\ntwo\n".into(),
        };
        let want = "\
Container:      default/web/main
Container ID:   4fc5
Image:          img:1
Restart Count:  3
Created:        1970-01-01T00:00:00Z
Started:        -
Finished:       1970-01-01T00:00:02Z
End:            OOMKilled, exit code 137
Removed:        1970-01-01T00:00:03Z
Because:        its pod was removed
Last lines:
  one
  two
";
        assert_eq!(describe(&stone), want);
        let running = describe(&Tombstone { ended: false, ..stone });
        assert!(running.contains("End:            it had not ended\n"), "{running}");
    }
}
