//! Devices and packet filter rules of the view's network namespace.

use super::View;
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::process::Command;

#[derive(Deserialize)]
struct Link {
    ifname: String,
    link_type: String,
    #[serde(default)]
    master: Option<String>,
}

/// Network devices with their type and master.
pub fn links(view: &View) -> Result<BTreeSet<String>> {
    let links: Vec<Link> = serde_json::from_str(&output(view, &["ip", "-json", "link", "show"])?)?;
    Ok(links
        .into_iter()
        .map(|link| match link.master {
            Some(master) => format!("{} ({} in {master})", link.ifname, link.link_type),
            None => format!("{} ({})", link.ifname, link.link_type),
        })
        .collect())
}

/// Tables, chains and rules without their counters, each with the blocks that it stands in.
pub fn nft(view: &View) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    let mut blocks: Vec<String> = Vec::new();
    for line in output(view, &["nft", "--stateless", "list", "ruleset"])?.lines() {
        let line = line.trim();
        if line == "}" {
            blocks.pop();
        } else if let Some(name) = line.strip_suffix(" {") {
            blocks.push(name.to_owned());
            found.insert(blocks.join(" / "));
        } else if !line.is_empty() && !line.starts_with('#') {
            found.insert(format!("{}: {line}", blocks.join(" / ")));
        }
    }
    Ok(found)
}

fn output(view: &View, command: &[&str]) -> Result<String> {
    let words: Vec<&str> =
        view.prefix.iter().map(String::as_str).chain(command.iter().copied()).collect();
    let output = Command::new(words[0]).args(&words[1..]).output().context(words[0].to_owned())?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        bail!("{}: {}: {stderr}", command.join(" "), output.status);
    }
    Ok(String::from_utf8(output.stdout)?)
}
