//! The network configuration of a node that gets its addresses from the cluster: a template that is
//! filled with what the kubelet tells (`UpdateRuntimeConfig`), as by containerd's `conf_template`.
//!
//! It is Go's `text/template`, and knows `.PodCIDR` (the first), `.PodCIDRRanges` (all) and `.Routes`
//! (the default route of each family among them).

use crate::config::Settings;
use crate::error::{Context, Error, Result};
use crate::plugin;
use gotmpl::{MissingKey, Template};
use rrun_sys::in_root::read_regular_of_host;
use rrun_sys::{record, step};
use std::fs;
use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// The name of the file in the folder of configurations.
const NAME: &str = "10-rrun.conflist";

/// No template is longer.
const MAX_BYTES: u64 = 1 << 20;

/// What became of the addresses of a node's pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filled {
    /// There is no template, or the mode is that of the built-in bridge.
    Nothing,
    /// This file is there already, and counts.
    Other(PathBuf),
    /// This file has them now.
    Written(PathBuf),
}

/// Fills the template of `settings`, unless somebody else has put a configuration into the folder.
///
/// # Errors
/// `Invalid` for a template that is broken, or that does not make a network configuration.
pub fn fill(settings: &Settings, cidrs: &[(IpAddr, u8)]) -> Result<Filled> {
    let Some(template) = settings.template() else { return Ok(Filled::Nothing) };
    let file = settings.conf_dir.join(NAME);
    if let Some(first) = plugin::first_file(&settings.conf_dir)?
        && first != file
    {
        return Ok(Filled::Other(first));
    }
    let text = render(template, cidrs).context(|| template.display())?;
    step::run("cni.template.write", || write(&file, &text)).context(|| file.display())?;
    Ok(Filled::Written(file))
}

fn render(template: &Path, cidrs: &[(IpAddr, u8)]) -> Result<String> {
    let bytes = read_regular_of_host(template, MAX_BYTES)?;
    let source = String::from_utf8(bytes).map_err(Error::invalid)?;
    let routes = [("0.0.0.0/0", false), ("::/0", true)];
    let is_used = |(_, six): &(&str, bool)| cidrs.iter().any(|(ip, _)| ip.is_ipv6() == *six);
    let routes: Vec<&str> = routes.into_iter().filter(is_used).map(|(route, _)| route).collect();
    let ranges: Vec<String> = cidrs.iter().map(|(ip, bits)| format!("{ip}/{bits}")).collect();
    let first = ranges.first().cloned().unwrap_or_default();
    let data = gotmpl::tmap! { "PodCIDR" => first, "PodCIDRRanges" => ranges, "Routes" => routes };
    // A word that is not known would else be `<no value>` in the file.
    let template = Template::new("").missing_key(MissingKey::Error).parse(&source);
    let text =
        template.and_then(|parsed| parsed.execute_to_string(&data)).map_err(Error::invalid)?;
    plugin::check_list(text.as_bytes()).context(|| "what it makes")?;
    Ok(text)
}

/// By a rename: a look at the folder finds the configuration whole, or the one of before.
fn write(file: &Path, text: &str) -> Result<()> {
    if let Some(dir) = file.parent() {
        fs::create_dir_all(dir)?;
    }
    let new = file.with_extension("new");
    record::create(&new, 0o644)?.write_all(text.as_bytes())?;
    fs::rename(&new, file)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Mode;
    use serde_json::{Value, json};

    /// As clouds write it for nodes of both families.
    const KUBENET: &str = r#"{
        "cniVersion": "0.3.1", "name": "kubenet", "plugins": [{
            "type": "bridge", "bridge": "cbr0", "isGateway": true,
            "ipam": {
                "type": "host-local", "subnet": "{{.PodCIDR}}",
                "ranges": [{{range $i, $range := .PodCIDRRanges}}{{if $i}}, {{end}}[{"subnet": "{{$range}}"}]{{end}}],
                "routes": [{{range $i, $route := .Routes}}{{if $i}}, {{end}}{"dst": "{{$route}}"}{{end}}]
            }
        }]
    }"#;

    fn settings(dir: &Path, template: &str) -> Settings {
        let path = dir.join("cni.in");
        fs::write(&path, template).unwrap();
        let conf_dir = dir.join("etc/cni/net.d");
        Settings { conf_dir, conf_template: Some(path), ..Settings::default() }
    }

    fn cidrs(text: &[&str]) -> Vec<(IpAddr, u8)> {
        let cidr = |text: &&str| {
            let (ip, bits) = text.split_once('/').unwrap();
            (ip.parse().unwrap(), bits.parse().unwrap())
        };
        text.iter().map(cidr).collect()
    }

    #[test]
    fn a_template_has_the_addresses_of_both_families_and_is_filled_again_when_they_change() {
        let dir = tempfile::tempdir().unwrap();
        let settings = settings(dir.path(), KUBENET);
        let file = settings.conf_dir.join(NAME);
        for (told, first, ranges, routes) in [
            (&["10.1.2.0/24"][..], "10.1.2.0/24", json!([[{"subnet": "10.1.2.0/24"}]]), 1),
            (
                &["fd00:1::/64", "10.1.0.0/16"],
                "fd00:1::/64",
                json!([[{"subnet": "fd00:1::/64"}], [{"subnet": "10.1.0.0/16"}]]),
                2,
            ),
        ] {
            assert_eq!(fill(&settings, &cidrs(told)).unwrap(), Filled::Written(file.clone()));
            let made: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
            let ipam = &made["plugins"][0]["ipam"];
            assert_eq!((&ipam["subnet"], &ipam["ranges"]), (&json!(first), &ranges));
            let default = [json!({"dst": "0.0.0.0/0"}), json!({"dst": "::/0"})];
            assert_eq!(ipam["routes"], json!(default[..routes]));
        }
    }

    #[test]
    fn a_configuration_of_somebody_else_counts_and_without_a_template_there_is_nothing_to_fill() {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = settings(dir.path(), KUBENET);
        let told = cidrs(&["10.1.2.0/24"]);
        fs::create_dir_all(&settings.conf_dir).unwrap();
        let other = settings.conf_dir.join("87-other.conf");
        fs::write(&other, "{}").unwrap();
        assert_eq!(fill(&settings, &told).unwrap(), Filled::Other(other));
        settings.mode = Mode::Builtin;
        assert_eq!(fill(&settings, &told).unwrap(), Filled::Nothing);
        settings.mode = Mode::Auto;
        settings.conf_template = None;
        assert_eq!(fill(&settings, &told).unwrap(), Filled::Nothing);
        assert_eq!(fs::read_dir(&settings.conf_dir).unwrap().count(), 1);
    }

    #[test]
    fn a_template_that_is_broken_is_refused_by_name_and_what_was_there_stays() {
        let dir = tempfile::tempdir().unwrap();
        let good = settings(dir.path(), KUBENET);
        let told = cidrs(&["10.1.2.0/24"]);
        fill(&good, &told).unwrap();
        let before = fs::read(good.conf_dir.join(NAME)).unwrap();
        for (template, why) in [
            ("{{.PodCIDR", "1:11: unclosed action"),
            ("{{.Podcidr}}", "Podcidr"),
            ("{{template \"x\"}}", "undefined template: x"),
            ("no JSON: {{.PodCIDR}}", "what it makes: expected ident at line 1"),
            ("{\"name\": \"{{.PodCIDR}}\", \"plugins\": []}", "what it makes: name"),
            (
                "{\"cniVersion\": \"1.0.0\", \"name\": \"n\", \"loadOnlyInlinedPlugins\": true}",
                "there is none",
            ),
        ] {
            let broken = settings(dir.path(), template);
            let refused = fill(&broken, &told).unwrap_err().to_string();
            let path = broken.conf_template.unwrap().display().to_string();
            assert!(refused.starts_with(&path) && refused.contains(why), "{refused}");
        }
        let mut absent = good.clone();
        absent.conf_template = Some(dir.path().join("none"));
        assert!(fill(&absent, &told).unwrap_err().to_string().contains("none"));
        assert_eq!(fs::read(good.conf_dir.join(NAME)).unwrap(), before);
    }
}
