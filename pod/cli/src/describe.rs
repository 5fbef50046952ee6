//! `rrun describe`: all that is known of a pod, laid out as `kubectl describe pod` does.

use crate::context::Context;
use crate::{events, table};
use anyhow::Result;
use rrun_error::printable_line;
use rrun_pod::clock::Timestamp;
use rrun_pod::model::{Container, HostPathType, Medium, Pod, ResourceList, VolumeSource};
use rrun_pod::status::{ContainerStatus, PodStatus, State, Terminated};
use rrun_pod::supervise::Entry;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::process::ExitCode;

/// Prints what is known of pods.
pub async fn describe(context: &Context, pods: &[String]) -> Result<ExitCode> {
    for (i, name) in pods.iter().enumerate() {
        let entry = context.store.find(name).await?;
        let pod = entry.pod()?;
        if i > 0 {
            table::write("\n\n")?;
        }
        table::write(&text(&entry, &pod))?;
        let past = context.store.events(&entry).await?;
        if past.is_empty() {
            table::write("Events:  <none>\n")?;
            continue;
        }
        table::write("Events:\n")?;
        let head = ["  Time", "Type", "Reason", "Container", "Message"].map(String::from);
        let row = |event| {
            let mut row = events::row(event);
            row[0].insert_str(0, "  ");
            row
        };
        table::print(&std::iter::once(head).chain(past.iter().map(row)).collect::<Vec<_>>())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Labelled lines. No terminal obeys what is in their values, which others have said.
struct Text {
    out: String,
    indent: usize,
    width: usize,
}

impl Text {
    fn put(&mut self, label: &str, value: impl AsRef<str>) {
        let (indent, width) = (self.indent, self.width);
        let value = printable_line(value.as_ref());
        let line = format!("{:indent$}{:width$}{value}", "", format!("{label}:"));
        self.out.push_str(line.trim_end());
        self.out.push('\n');
    }

    /// One line for each, below each other; `<none>` without any.
    fn list(&mut self, label: &str, values: impl IntoIterator<Item = String>) {
        let mut values = values.into_iter();
        self.put(label, values.next().unwrap_or_else(|| "<none>".to_owned()));
        let column = self.indent + self.width;
        values.for_each(|value| {
            let _ = writeln!(self.out, "{:column$}{}", "", printable_line(&value));
        });
    }

    /// A label, and what belongs to it further in.
    fn below(&mut self, label: &str, width: usize, write: impl FnOnce(&mut Text)) {
        let _ = writeln!(self.out, "{:1$}{label}:", "", self.indent);
        let before = (self.indent, self.width);
        (self.indent, self.width) = (self.indent + 2, width);
        write(self);
        (self.indent, self.width) = before;
    }
}

fn text(entry: &Entry, pod: &Pod) -> String {
    let mut text = Text { out: String::new(), indent: 0, width: 18 };
    let status = entry.state.as_ref().map(|state| &state.status);
    text.put("Name", &entry.name);
    text.put("Namespace", &entry.namespace);
    text.put("UID", entry.uid.as_str());
    if let Some(file) = &entry.definition.file {
        text.put("Manifest", file.display().to_string());
    }
    if let Some(endpoint) = &entry.definition.endpoint {
        text.put("Endpoint", endpoint);
    }
    if let Some(status) = status {
        text.put("Node", status.host_ips.join(","));
        text.put("Start Time", status.start_time.to_string());
    }
    text.list("Labels", pairs(&pod.meta.labels, "="));
    text.list("Annotations", pairs(&pod.meta.annotations, ": "));
    text.put("Status", entry.phase().as_str());
    if let Some(status) = status {
        head(&mut text, status);
    }
    let spec = &pod.spec;
    for (label, containers) in
        [("Init Containers", &spec.init_containers), ("Containers", &spec.containers)]
    {
        if !containers.is_empty() {
            text.below(label, 0, |text| {
                containers.iter().for_each(|c| {
                    let found = status.and_then(|status| status.container(&c.name));
                    text.below(&c.name, 16, |text| container(text, c, found));
                });
            });
        }
    }
    if let Some(status) = status {
        text.below("Conditions", 29, |text| {
            let row = |text: &mut Text, kind: &str, is: &str| {
                let _ = writeln!(text.out, "  {kind:<28}{is}");
            };
            row(text, "Type", "Status");
            for found in &status.conditions {
                row(text, &found.kind, if found.status { "True" } else { "False" });
            }
        });
    }
    if !spec.volumes.is_empty() {
        text.below("Volumes", 0, |text| {
            spec.volumes.iter().for_each(|volume| {
                text.below(&volume.name, 14, |text| source(text, &volume.source));
            });
        });
    }
    if let Some(status) = status {
        text.put("QoS Class", status.qos.as_str());
    }
    pod.notes.iter().for_each(|note| text.put("Note", note));
    text.out
}

fn head(text: &mut Text, status: &PodStatus) {
    for (label, value) in [("Reason", &status.reason), ("Message", &status.message)] {
        if !value.is_empty() {
            text.put(label, value);
        }
    }
    text.put("IP", status.pod_ips.first().map_or("", String::as_str));
    text.list("IPs", status.pod_ips.iter().cloned());
}

fn pairs(map: &BTreeMap<String, String>, between: &str) -> Vec<String> {
    map.iter().map(|(key, value)| format!("{key}{between}{value}")).collect()
}

fn container(text: &mut Text, c: &Container, status: Option<&ContainerStatus>) {
    let id = status.and_then(|status| status.container_id.clone());
    text.put("Container ID", id.unwrap_or_default());
    text.put("Image", &c.image);
    text.put("Image ID", status.map_or("", |status| status.image_id.as_str()));
    let port =
        |port: u16, c: &rrun_pod::model::ContainerPort| format!("{port}/{}", c.protocol.as_str());
    let list = |ports: Vec<String>| {
        if ports.is_empty() { "<none>".to_owned() } else { ports.join(", ") }
    };
    text.put("Ports", list(c.ports.iter().map(|p| port(p.container_port, p)).collect()));
    text.put("Host Ports", list(c.ports.iter().map(|p| port(p.host_port, p)).collect()));
    for (label, words) in [("Command", &c.command), ("Args", &c.args)] {
        if !words.is_empty() {
            text.list(label, words.iter().cloned());
        }
    }
    if let Some(status) = status {
        state(text, "State", &status.state);
        if let Some(end) = &status.last {
            ended(text, "Last State", end);
        }
        text.put("Ready", if status.ready { "True" } else { "False" });
        text.put("Restart Count", status.restart_count.to_string());
    }
    for (label, list) in [("Limits", &c.resources.limits), ("Requests", &c.resources.requests)] {
        let amounts = amounts(list);
        if !amounts.is_empty() {
            text.below(label, 13, |text| {
                amounts.iter().for_each(|(name, amount)| text.put(name, amount));
            });
        }
    }
    for (label, found) in
        [("Liveness", &c.liveness), ("Readiness", &c.readiness), ("Startup", &c.startup)]
    {
        if let Some(found) = found {
            text.put(label, found.to_string());
        }
    }
    text.list("Environment", c.env.iter().map(|var| var.name.clone()));
    text.list(
        "Mounts",
        c.mounts.iter().map(|mount| {
            let access = if mount.read_only { "ro" } else { "rw" };
            format!("{} from {} ({access})", mount.mount_path, mount.name)
        }),
    );
}

fn state(text: &mut Text, label: &str, state: &State) {
    match state {
        State::Running { started_at } => {
            text.put(label, "Running");
            text.put("  Started", started_at.to_string());
        }
        State::Waiting { reason, message } => {
            text.put(label, "Waiting");
            reason_and_message(text, reason, message);
        }
        State::Terminated(end) => ended(text, label, end),
    }
}

fn ended(text: &mut Text, label: &str, end: &Terminated) {
    text.put(label, "Terminated");
    reason_and_message(text, &end.reason, &end.message);
    text.put("  Exit Code", end.exit_code.to_string());
    for (label, at) in [("  Started", end.started_at), ("  Finished", end.finished_at)] {
        text.put(label, time(at));
    }
}

fn reason_and_message(text: &mut Text, reason: &str, message: &str) {
    for (label, value) in [("  Reason", reason), ("  Message", message.trim_end())] {
        if !value.is_empty() {
            text.list(label, value.lines().map(str::to_owned));
        }
    }
}

fn time(at: Timestamp) -> String {
    if at.is_zero() { String::new() } else { at.to_string() }
}

fn amounts(list: &ResourceList) -> Vec<(String, String)> {
    let own =
        [("cpu", list.cpu), ("ephemeral-storage", list.ephemeral_storage), ("memory", list.memory)];
    let own = own.into_iter().filter_map(|(name, amount)| Some((name.to_owned(), amount?)));
    let pages = list.hugepages.iter().map(|(size, amount)| (format!("hugepages-{size}"), *amount));
    own.chain(pages).map(|(name, amount)| (name, amount.canonical())).collect()
}

fn source(text: &mut Text, source: &VolumeSource) {
    match source {
        VolumeSource::EmptyDir(dir) => {
            text.put("Type", "EmptyDir (a temporary directory that shares a pod's lifetime)");
            text.put("Medium", if dir.medium == Medium::Memory { "Memory" } else { "" });
            let limit =
                dir.size_limit.map_or_else(|| "<unset>".to_owned(), |limit| limit.canonical());
            text.put("SizeLimit", limit);
        }
        VolumeSource::HostPath { path, kind } => {
            text.put("Type", "HostPath (bare host directory volume)");
            text.put("Path", path);
            text.put("HostPathType", host_path_type(*kind));
        }
        VolumeSource::Projected { sources, default_mode, .. } => {
            text.put(
                "Type",
                "Projected (a volume that contains injected data from multiple sources)",
            );
            text.put("Sources", sources.len().to_string());
            text.put("Mode", format!("{default_mode:04o}"));
        }
        VolumeSource::Claim { claim, read_only } => {
            text.put("Type", "PersistentVolumeClaim (a reference to a PersistentVolumeClaim)");
            text.put("ClaimName", claim);
            text.put("ReadOnly", read_only.to_string());
        }
        VolumeSource::Image { reference, .. } => {
            text.put("Type", "Image (a container image or OCI artifact)");
            text.put("Reference", reference);
        }
    }
}

fn host_path_type(kind: HostPathType) -> &'static str {
    match kind {
        HostPathType::Unset => "",
        HostPathType::DirectoryOrCreate => "DirectoryOrCreate",
        HostPathType::Directory => "Directory",
        HostPathType::FileOrCreate => "FileOrCreate",
        HostPathType::File => "File",
        HostPathType::Socket => "Socket",
        HostPathType::CharDevice => "CharDevice",
        HostPathType::BlockDevice => "BlockDevice",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_obeys_nothing_of_what_others_have_said() {
        let mut text = Text { out: String::new(), indent: 0, width: 9 };
        reason_and_message(&mut text, "Err\x1b[2J", "one\ntwo\u{9b}2J");
        text.put("Image", "a\x07\nb");
        let want = "  Reason:Err\u{fffd}[2J\n  Message:one\n         two\u{fffd}2J\nImage:   a\u{fffd} b\n";
        assert_eq!(text.out, want);
    }
}
