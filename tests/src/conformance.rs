//! critest: how it is run, and what its JSON report says.

use crate::place;
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Pulls by a digest of the public image, which nobody can build: without that registry it
/// cannot pass. The images suite covers the behaviour.
const NEEDS_THE_INTERNET: &str =
    "[k8s.io] Image Manager public image with digest should be pulled and removed [Conformance]";

/// A CRI server to be tested, and where its tester runs.
pub struct Critest {
    endpoint: String,
    prefix: Vec<String>,
    scratch: PathBuf,
}

/// How a spec ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It held.
    Passed,
    /// It did not hold, panicked or ran out of time.
    Failed,
    /// critest itself passed it over, and said why.
    Skipped,
}

/// One spec's end.
#[derive(Clone, Debug)]
pub struct Spec {
    /// How.
    pub outcome: Outcome,
    /// The failure's or the skip's first line.
    pub reason: String,
}

/// One run of critest, by full spec name.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Specs that were chosen to run.
    pub specs: BTreeMap<String, Spec>,
}

impl Critest {
    /// `prefix` goes before the command (a sandbox's); `scratch` takes its temporary files.
    pub fn new(endpoint: String, prefix: Vec<String>, scratch: PathBuf) -> Self {
        Self { endpoint, prefix, scratch }
    }

    /// Runs the validation specs that match `focus`, or all; `name` is that of the report files,
    /// which stay in the cache.
    pub fn run(
        &self,
        name: &str,
        focus: Option<&str>,
        parallel: u32,
        flags: &[&str],
    ) -> Result<Report> {
        let critest = place::tool("critest")?;
        let bin = critest.parent().context("no folder")?.display().to_string();
        let report = self.scratch.join(format!("{name}.json"));
        let log = place::cache().join(format!("conformance-{name}.log"));
        let output = File::create(&log).with_context(|| format!("{}", log.display()))?;

        let words: Vec<&Path> =
            self.prefix.iter().map(Path::new).chain([critest.as_path()]).collect();
        let mut command = Command::new(words[0]);
        command
            .args(&words[1..])
            .arg(format!("-runtime-endpoint={}", self.endpoint))
            .arg(format!("-image-endpoint={}", self.endpoint))
            .arg(format!("-ginkgo.json-report={}", report.display()))
            .args(["-ginkgo.no-color", "-ginkgo.v", "-test.timeout=30m"])
            .args(flags)
            .env("TMPDIR", &self.scratch)
            .env("PATH", format!("{bin}:{}", std::env::var("PATH").unwrap_or_default()))
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        // critest hands several to ginkgo; one it runs itself, and then refuses the flag.
        if parallel > 1 {
            command.arg(format!("-parallel={parallel}"));
        }
        if let Some(focus) = focus {
            command.arg(format!("-ginkgo.focus={focus}"));
        }
        let status = command.status().with_context(|| format!("{command:?}"))?;
        let bytes = std::fs::read(&report).with_context(|| {
            format!("critest ended with {status} and no report: {}", log.display())
        })?;
        parse(&bytes).with_context(|| format!("{}", report.display()))
    }
}

impl Report {
    /// How many specs ended so.
    pub fn count(&self, outcome: Outcome) -> usize {
        self.specs.values().filter(|spec| spec.outcome == outcome).count()
    }

    /// Prints each spec that did not pass, with its reason.
    pub fn print(&self) {
        for (name, spec) in &self.specs {
            match spec.outcome {
                Outcome::Passed => {}
                Outcome::Failed => println!("FAILED {name}\n       {}", spec.reason),
                Outcome::Skipped => println!("skipped {name}: {}", spec.reason),
            }
        }
    }
}

/// A spec's name with single spaces: some of critest's have two, or one at the end.
pub fn normal(name: &str) -> String {
    name.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Suite {
    spec_reports: Vec<SpecReport>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SpecReport {
    container_hierarchy_texts: Option<Vec<String>>,
    leaf_node_type: String,
    leaf_node_text: String,
    state: String,
    #[serde(default)]
    failure: Failure,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Failure {
    #[serde(default)]
    message: String,
}

/// Reads ginkgo's JSON report. Specs that a filter left out are not in the result; one that
/// critest skips while it runs has a message.
fn parse(bytes: &[u8]) -> Result<Report> {
    let suites: Vec<Suite> = serde_json::from_slice(bytes)?;
    let mut report = Report::default();
    for spec in suites.into_iter().flat_map(|suite| suite.spec_reports) {
        let reason = spec.failure.message.lines().next().unwrap_or_default().to_owned();
        let outcome = match spec.state.as_str() {
            "passed" => Outcome::Passed,
            "skipped" | "pending" if reason.is_empty() => continue,
            "skipped" | "pending" => Outcome::Skipped,
            _ => Outcome::Failed,
        };
        if spec.leaf_node_type != "It" {
            if outcome == Outcome::Failed {
                bail!("{}: {reason}", spec.leaf_node_type);
            }
            continue;
        }
        let mut words = spec.container_hierarchy_texts.unwrap_or_default();
        words.push(spec.leaf_node_text);
        let name = normal(&words.join(" "));
        let spec = match outcome {
            Outcome::Failed if name == NEEDS_THE_INTERNET => Spec {
                outcome: Outcome::Skipped,
                reason: "its image is known by a digest that cannot be built".to_owned(),
            },
            outcome => Spec { outcome, reason },
        };
        report.specs.insert(name, spec);
    }
    if report.specs.is_empty() {
        bail!("no spec ran");
    }
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(state: &str, message: &str) -> String {
        format!(
            r#"{{"ContainerHierarchyTexts":["[k8s.io] Container","create"],"LeafNodeType":"It",
                "LeafNodeText":"works","State":"{state}","Failure":{{"Message":"{message}"}}}}"#
        )
    }

    fn outcome(state: &str, message: &str) -> Option<Outcome> {
        let text = format!(r#"[{{"SpecReports":[{},{}]}}]"#, spec(state, message), OTHER);
        let report = parse(text.as_bytes()).unwrap();
        report.specs.get("[k8s.io] Container create works").map(|spec| spec.outcome)
    }

    const OTHER: &str = r#"{"ContainerHierarchyTexts":null,"LeafNodeType":"It",
        "LeafNodeText":"other","State":"passed"}"#;

    #[test]
    fn a_spec_that_neither_passes_nor_is_skipped_has_failed() {
        assert_eq!(outcome("passed", ""), Some(Outcome::Passed));
        for state in ["failed", "panicked", "timedout", "interrupted", "aborted"] {
            assert_eq!(outcome(state, "x"), Some(Outcome::Failed), "{state}");
        }
    }

    #[test]
    fn a_skip_counts_only_when_the_suite_gives_a_reason() {
        assert_eq!(outcome("skipped", "no AppArmor"), Some(Outcome::Skipped));
        assert_eq!(outcome("skipped", ""), None);
    }

    #[test]
    fn a_failed_setup_is_an_error_and_not_an_empty_success() {
        let text = r#"[{"SpecReports":[{"ContainerHierarchyTexts":null,
            "LeafNodeType":"SynchronizedBeforeSuite","LeafNodeText":"","State":"failed",
            "Failure":{"Message":"no runtime"}}]}]"#;
        assert!(parse(text.as_bytes()).unwrap_err().to_string().contains("no runtime"));
        assert!(parse(b"[]").is_err());
    }
}
