//! The table of request fields, against the compiled contract, the handlers and the tests.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod table;

use prost::Message;
use prost_types::{
    DescriptorProto, FieldDescriptorProto, FileDescriptorSet, field_descriptor_proto,
};
use rrun_cri::convert;
use rrun_cri_api::v1::*;
use rrun_engine::{Kind, Lsm, Result, check};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use table::{Sources, lines, upwards};

const TABLE: &str = include_str!("../fields.tsv");

/// One line of the table.
struct Entry {
    state: &'static str,
    note: &'static str,
}

fn read_table() -> BTreeMap<&'static str, Entry> {
    let mut all = BTreeMap::new();
    for line in lines(TABLE) {
        let mut columns = line.split('\t');
        let path = columns.next().unwrap();
        let state = columns.next().unwrap_or_else(|| panic!("{path}: no state"));
        let entry = Entry { state, note: columns.next().unwrap_or("") };
        assert!(all.insert(path, entry).is_none(), "{path} stands twice");
    }
    all
}

/// Every field that can be set in a request, as a path from the request.
struct Fields {
    messages: BTreeMap<String, DescriptorProto>,
    paths: BTreeSet<String>,
}

impl Fields {
    fn of_contract() -> Fields {
        let set = FileDescriptorSet::decode(rrun_cri_api::FILE_DESCRIPTOR_SET).unwrap();
        let mut fields = Fields { messages: BTreeMap::new(), paths: BTreeSet::new() };
        for message in set.file.iter().flat_map(|file| &file.message_type) {
            fields.messages.insert(message.name().to_owned(), message.clone());
        }
        let methods = set.file.iter().flat_map(|file| &file.service).flat_map(|s| &s.method);
        for method in methods {
            let request = short(method.input_type()).to_owned();
            fields.walk(&request, &request);
        }
        fields
    }

    fn walk(&mut self, message: &str, path: &str) {
        for field in self.messages[message].field.clone() {
            let path = format!("{path}.{}", field.name());
            match self.below(&field) {
                Some(below) => self.walk(&below, &path),
                None => drop(self.paths.insert(path)),
            }
        }
    }

    /// The message of a field that has fields of its own. Maps have none, nor do wrappers of one
    /// value (`Int64Value` and its like).
    fn below(&self, field: &FieldDescriptorProto) -> Option<String> {
        let name = short(field.type_name());
        let is_message = field.r#type() == field_descriptor_proto::Type::Message;
        (is_message && !name.ends_with("Value") && self.messages.contains_key(name))
            .then(|| name.to_owned())
    }
}

fn short(full: &str) -> &str {
    full.rsplit('.').next().unwrap_or(full)
}

#[test]
fn every_field_of_every_request_has_one_entry_and_every_entry_has_a_field() {
    let (table, fields) = (read_table(), Fields::of_contract());
    let mut met = BTreeSet::new();
    for path in &fields.paths {
        let entries: Vec<&str> = upwards(path).filter(|path| table.contains_key(path)).collect();
        let [entry] = entries[..] else { panic!("{path} has these entries: {entries:?}") };
        let covers = matches!(table[entry].state, "refused" | "ignored" | "unimplemented");
        assert!(entry == path || covers, "{path} is not covered by {entry}");
        met.insert(entry);
    }
    let lost: Vec<_> = table.keys().filter(|path| !met.contains(*path)).collect();
    assert!(lost.is_empty(), "no field is at {lost:?}");
}

#[test]
fn every_entry_has_a_state_and_the_reason_or_test_that_goes_with_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let tests = Sources::read(["cri", "images", "cni", "tests"].map(|folder| root.join(folder)));
    for (path, Entry { state, note }) in read_table() {
        match state {
            "works" if note.is_empty() => {}
            "works" => assert!(tests.have(note), "{path}: no test {note}"),
            "refused" | "ignored" | "unimplemented" => assert!(!note.is_empty(), "{path}: why?"),
            _ => panic!("{path}: no state is called {state:?}"),
        }
        let whole_call = !path.contains('.');
        assert_eq!(state == "unimplemented", whole_call, "{path} is {state}");
    }
}

fn pod(change: impl FnOnce(&mut PodSandboxConfig)) -> Result<()> {
    let metadata = PodSandboxMetadata {
        name: "web".into(),
        namespace: "default".into(),
        uid: "1".into(),
        attempt: 0,
    };
    let linux = LinuxPodSandboxConfig {
        security_context: Some(LinuxSandboxSecurityContext {
            namespace_options: Some(NamespaceOption::default()),
            ..Default::default()
        }),
        ..Default::default()
    };
    let mut config =
        PodSandboxConfig { metadata: Some(metadata), linux: Some(linux), ..Default::default() };
    change(&mut config);
    check::pod(&convert::pod_config(config)?, "", &Lsm::default())
}

fn container(change: impl FnOnce(&mut ContainerConfig)) -> Result<()> {
    let linux = LinuxContainerConfig {
        security_context: Some(LinuxContainerSecurityContext {
            namespace_options: Some(NamespaceOption::default()),
            ..Default::default()
        }),
        ..Default::default()
    };
    let mut config = ContainerConfig {
        metadata: Some(ContainerMetadata { name: "c".into(), attempt: 0 }),
        image: Some(ImageSpec { image: "i".into(), ..Default::default() }),
        mounts: vec![Mount {
            container_path: "/a".into(),
            host_path: "/a".into(),
            ..Default::default()
        }],
        linux: Some(linux),
        ..Default::default()
    };
    change(&mut config);
    let pod = rrun_engine::model::PodConfig::default();
    check::container(&pod, &convert::container_config(config)?, &Lsm::default())
}

fn pull(change: impl FnOnce(&mut ImageSpec)) -> Result<()> {
    let mut image = ImageSpec { image: "i".into(), ..Default::default() };
    change(&mut image);
    convert::image_to_pull(image).map(drop)
}

fn update(change: impl FnOnce(&mut UpdateContainerResourcesRequest)) -> Result<()> {
    let mut request =
        UpdateContainerResourcesRequest { linux: Some(Default::default()), ..Default::default() };
    change(&mut request);
    convert::changed_resources(request).map(drop)
}

fn pod_security(p: &mut PodSandboxConfig) -> &mut LinuxSandboxSecurityContext {
    p.linux.as_mut().unwrap().security_context.as_mut().unwrap()
}

fn security(c: &mut ContainerConfig) -> &mut LinuxContainerSecurityContext {
    c.linux.as_mut().unwrap().security_context.as_mut().unwrap()
}

fn userns() -> Option<UserNamespace> {
    let ids = vec![IdMapping { host_id: 65536, container_id: 0, length: 65536 }];
    Some(UserNamespace { mode: NamespaceMode::Pod as i32, uids: ids.clone(), gids: ids })
}

fn label() -> Option<SeLinuxOption> {
    Some(SeLinuxOption { r#type: "container_t".into(), ..Default::default() })
}

/// Sets each field that is refused, alone.
fn refusals() -> Vec<(&'static str, Result<()>)> {
    let ids = || vec![IdMapping { host_id: 1, container_id: 0, length: 1 }];
    vec![
        (
            "RunPodSandboxRequest.config.linux.security_context.namespace_options.target_id",
            pod(|p| {
                pod_security(p).namespace_options.as_mut().unwrap().target_id = "x".into();
            }),
        ),
        (
            "RunPodSandboxRequest.config.linux.security_context.namespace_options.userns_options",
            pod(|p| pod_security(p).namespace_options.as_mut().unwrap().userns_options = userns()),
        ),
        (
            "RunPodSandboxRequest.config.linux.security_context.selinux_options",
            pod(|p| pod_security(p).selinux_options = label()),
        ),
        ("RunPodSandboxRequest.config.windows", pod(|p| p.windows = Some(Default::default()))),
        (
            "CreateContainerRequest.config.image.runtime_handler",
            container(|c| c.image.as_mut().unwrap().runtime_handler = "kata".into()),
        ),
        (
            "CreateContainerRequest.config.mounts.uidMappings",
            container(|c| c.mounts[0].uid_mappings = ids()),
        ),
        (
            "CreateContainerRequest.config.mounts.gidMappings",
            container(|c| c.mounts[0].gid_mappings = ids()),
        ),
        (
            "CreateContainerRequest.config.mounts.image",
            container(|c| c.mounts[0].image = Some(Default::default())),
        ),
        (
            "CreateContainerRequest.config.mounts.image_sub_path",
            container(|c| c.mounts[0].image_sub_path = "x".into()),
        ),
        (
            "CreateContainerRequest.config.linux.security_context.namespace_options.userns_options",
            container(|c| {
                security(c).namespace_options.as_mut().unwrap().userns_options = userns()
            }),
        ),
        (
            "CreateContainerRequest.config.linux.security_context.selinux_options",
            container(|c| security(c).selinux_options = label()),
        ),
        (
            "CreateContainerRequest.config.windows",
            container(|c| c.windows = Some(Default::default())),
        ),
        (
            "CreateContainerRequest.config.CDI_devices",
            container(|c| c.cdi_devices = vec![CdiDevice { name: "a/b=c".into() }]),
        ),
        (
            "UpdateContainerResourcesRequest.windows",
            update(|r| r.windows = Some(Default::default())),
        ),
        (
            "PullImageRequest.image.runtime_handler",
            pull(|image| image.runtime_handler = "kata".into()),
        ),
    ]
}

#[test]
fn what_is_refused_is_refused_by_its_name() {
    pod(|_| {}).unwrap();
    container(|_| {}).unwrap();
    pull(|_| {}).unwrap();
    update(|_| {}).unwrap();
    let table = read_table();
    let refused: BTreeSet<&str> =
        table.iter().filter(|(_, entry)| entry.state == "refused").map(|(path, _)| *path).collect();
    let mut tried = BTreeSet::new();
    for (path, result) in refusals() {
        let error = result.expect_err(path);
        assert_eq!(error.kind(), Kind::Invalid, "{path}: {error}");
        assert!(error.to_string().contains(short(path)), "{path}: {error}");
        tried.insert(path);
    }
    assert_eq!(tried, refused);
}
