//! The command line: written by the daemon.

use std::ffi::OsString;
use std::path::PathBuf;

/// What the daemon asks for at the start; see `rrun_shim_protocol::Launch`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Args {
    /// The pod's run folder.
    pub run_dir: PathBuf,
    /// Control groups to move to.
    pub cgroups: Vec<PathBuf>,
    /// Wanted `oom_score_adj`.
    pub oom_score_adj: i32,
}

/// What a person is told who asks for help or the version; `None` for what the daemon says.
pub fn about(first: Option<OsString>) -> Option<&'static str> {
    match first?.to_str()? {
        "--help" | "-h" => Some(
            "The supervisor of one pod. rrund and rrun start it and say what it does; there is \
             nothing to ask of it by hand.",
        ),
        "--version" | "-V" => Some(concat!("rrun-shim ", env!("CARGO_PKG_VERSION"))),
        _ => None,
    }
}

/// Reads the command line, program name left out.
pub fn parse(mut args: impl Iterator<Item = OsString>) -> Result<Args, String> {
    let mut parsed = Args::default();
    while let Some(name) = args.next() {
        let name = name.to_string_lossy().into_owned();
        let value = args.next().ok_or_else(|| format!("{name}: a value is missing"))?;
        match name.as_str() {
            "--run-dir" => parsed.run_dir = value.into(),
            "--cgroup" => parsed.cgroups.push(value.into()),
            "--oom-score-adj" => {
                let text = value.to_string_lossy();
                parsed.oom_score_adj =
                    text.parse().map_err(|_| format!("--oom-score-adj: {text} is no number"))?;
            }
            _ => return Err(format!("{name}: unknown")),
        }
    }
    if parsed.run_dir.as_os_str().is_empty() {
        return Err("--run-dir is missing: rrun-shim is started by rrund or rrun".to_owned());
    }
    Ok(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> impl Iterator<Item = OsString> {
        text.split_whitespace().map(OsString::from)
    }

    #[test]
    fn the_daemons_words_are_understood_and_others_refused_by_name() {
        let args = parse(words("--run-dir /r --cgroup /a --cgroup /b --oom-score-adj -998"));
        let args = args.unwrap();
        assert_eq!(args.cgroups, [PathBuf::from("/a"), PathBuf::from("/b")]);
        assert_eq!(args.oom_score_adj, -998);
        assert!(parse(words("--run-dir")).unwrap_err().contains("--run-dir"));
        assert!(parse(words("--x 1")).unwrap_err().contains("--x"));
        assert!(parse(words("")).unwrap_err().contains("--run-dir"));
        assert_eq!(about(words("--run-dir").next()), None);
        assert!(about(words("-h").next()).is_some_and(|text| text.contains("rrund")));
        assert!(
            about(words("--version").next()).is_some_and(|text| text.starts_with("rrun-shim "))
        );
    }
}
