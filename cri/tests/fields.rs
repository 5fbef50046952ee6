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
use table::{Sources, has_word, lines, upwards};

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
    /// The message of each request's part, by its path.
    parts: BTreeMap<String, String>,
}

impl Fields {
    fn of_contract() -> Fields {
        let set = FileDescriptorSet::decode(rrun_cri_api::FILE_DESCRIPTOR_SET).unwrap();
        let mut fields =
            Fields { messages: BTreeMap::new(), paths: BTreeSet::new(), parts: BTreeMap::new() };
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
                Some(below) => {
                    self.walk(&below, &path);
                    self.parts.insert(path, below);
                }
                None => drop(self.paths.insert(path)),
            }
        }
    }

    /// Whether a field is a map: its message is one that the compiler has made for it.
    fn is_map(&self, message: &str, field: &FieldDescriptorProto) -> bool {
        let nested = &self.messages[message].nested_type;
        nested.iter().any(|entry| entry.name() == short(field.type_name()))
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
            // What a conversion must show need not stand in its test under the name of the wire.
            "works" if converted(path).is_some() => {
                assert!(tests.have(note), "{path}: no test {note:?}");
            }
            "works" => {
                let body = tests.body(note).unwrap_or_else(|| panic!("{path}: no test {note:?}"));
                assert!(has_word(body, short(path)), "{path}: {note} does not speak of it");
            }
            "refused" | "ignored" | "unimplemented" => assert!(!note.is_empty(), "{path}: why?"),
            _ => panic!("{path}: no state is called {state:?}"),
        }
        let whole_call = !path.contains('.');
        assert_eq!(state == "unimplemented", whole_call, "{path} is {state}");
    }
}

/// A message as it comes, and what becomes of it, as text.
type Conversion = fn(&[u8]) -> String;

/// Which part of a request a field is converted with, and how: what is left of its path is from
/// there.
fn converted(path: &str) -> Option<(&'static str, Conversion)> {
    fn decoded<M: Message + Default>(bytes: &[u8]) -> M {
        M::decode(bytes).unwrap()
    }
    const ALL: [(&str, Conversion); 10] = [
        ("RunPodSandboxRequest.config", |b| {
            format!("{:?}", convert::pod_config(decoded(b)).unwrap())
        }),
        ("CreateContainerRequest.config", |b| {
            format!("{:?}", convert::container_config(decoded(b)).unwrap())
        }),
        ("UpdateContainerResourcesRequest.linux", |b| {
            format!("{:?}", convert::resources(decoded(b)))
        }),
        ("UpdatePodSandboxResourcesRequest.overhead", |b| {
            format!("{:?}", convert::resources(decoded(b)))
        }),
        ("UpdatePodSandboxResourcesRequest.resources", |b| {
            format!("{:?}", convert::resources(decoded(b)))
        }),
        ("ListPodSandboxRequest.filter", |b| {
            format!("{:?}", convert::pod_filter(Some(decoded(b))))
        }),
        ("StreamPodSandboxesRequest.filter", |b| {
            format!("{:?}", convert::pod_filter(Some(decoded(b))))
        }),
        ("ListContainersRequest.filter", |b| {
            format!("{:?}", convert::container_filter(Some(decoded(b))))
        }),
        ("StreamContainersRequest.filter", |b| {
            format!("{:?}", convert::container_filter(Some(decoded(b))))
        }),
        // Their own `Debug` keeps secrets.
        ("PullImageRequest.auth", |b| {
            let of = convert::credentials(decoded(b));
            let (account, tokens) =
                ([of.username, of.password], [of.identity_token, of.registry_token]);
            format!("{account:?} {tokens:?} {} {}", of.auth, of.server_address)
        }),
    ];
    let begins = |part: &str| path.strip_prefix(part).is_some_and(|rest| rest.starts_with('.'));
    ALL.into_iter().find(|(part, _)| begins(part))
}

/// A message that has what `path` leads to, and the last field of it with a value if `is_set`.
fn encoded(fields: &Fields, message: &str, path: &str, is_set: bool) -> Vec<u8> {
    use field_descriptor_proto::Type;
    let (name, rest) = path.split_once('.').unwrap_or((path, ""));
    let all = &fields.messages[message].field;
    let field = all.iter().find(|field| field.name() == name).unwrap();
    let mut bytes = Vec::new();
    // A name of a file counts with its own kind of profile alone.
    if name == "localhost_ref" {
        let kind = all.iter().find(|field| field.name() == "profile_type").unwrap();
        bytes.extend(number(kind, 2));
    }
    let text = || delimited(field, b"a");
    bytes.extend(match field.r#type() {
        Type::Message if !rest.is_empty() => {
            delimited(field, &encoded(fields, short(field.type_name()), rest, is_set))
        }
        _ if !is_set => Vec::new(),
        // An entry of a map has its key and value at 1 and 2, a wrapper its value at 1.
        Type::Message if fields.is_map(message, field) => {
            delimited(field, &[0x0a, 1, b'a', 0x12, 1, b'b'])
        }
        Type::Message => {
            let first = &fields.messages[short(field.type_name())].field[0];
            let is_text = matches!(first.r#type(), Type::String | Type::Bytes);
            delimited(field, &if is_text { delimited(first, b"a") } else { number(first, 1) })
        }
        Type::String | Type::Bytes => text(),
        _ => number(field, 1),
    });
    bytes
}

/// Tag and number: <https://protobuf.dev/programming-guides/encoding/>.
fn number(field: &FieldDescriptorProto, value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    prost::encoding::encode_key(
        field.number() as u32,
        prost::encoding::WireType::Varint,
        &mut bytes,
    );
    prost::encoding::encode_varint(value, &mut bytes);
    bytes
}

/// Tag, length and content.
fn delimited(field: &FieldDescriptorProto, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    prost::encoding::encode_key(
        field.number() as u32,
        prost::encoding::WireType::LengthDelimited,
        &mut bytes,
    );
    prost::encoding::encode_varint(content.len() as u64, &mut bytes);
    bytes.extend(content);
    bytes
}

#[test]
fn what_works_in_a_config_a_filter_or_credentials_is_converted_field_by_field() {
    let fields = Fields::of_contract();
    let mut tried = 0;
    for (path, _) in read_table().into_iter().filter(|(_, entry)| entry.state == "works") {
        let Some((part, convert)) = converted(path) else { continue };
        let message = &fields.parts[part];
        // Configs are refused without their metadata.
        let metadata = fields.messages[message].field.iter().find(|f| f.name() == "metadata");
        let base = metadata.map(|field| delimited(field, b"")).unwrap_or_default();
        let of = |is_set| {
            let rest = &path[part.len() + 1..];
            convert(&[&base[..], &encoded(&fields, message, rest, is_set)].concat())
        };
        assert_ne!(of(true), of(false), "{path} is lost");
        tried += 1;
    }
    assert!(tried > 100, "{tried}");
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
    check::pod(&convert::pod_config(config)?, "", &Lsm::default(), &Default::default())
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
    check::container(
        &pod,
        &convert::container_config(config)?,
        &Lsm::default(),
        &Default::default(),
    )
}

fn pull(change: impl FnOnce(&mut ImageSpec)) -> Result<()> {
    let mut image = ImageSpec { image: "i".into(), ..Default::default() };
    change(&mut image);
    convert::image_to_pull(image, &Default::default()).map(drop)
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

fn label() -> Option<SeLinuxOption> {
    Some(SeLinuxOption { r#type: "container_t".into(), ..Default::default() })
}

/// Sets each field that is refused, alone.
fn refusals() -> Vec<(&'static str, Result<()>)> {
    vec![
        (
            "RunPodSandboxRequest.config.linux.security_context.namespace_options.target_id",
            pod(|p| {
                pod_security(p).namespace_options.as_mut().unwrap().target_id = "x".into();
            }),
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
            "CreateContainerRequest.config.mounts.image.runtime_handler",
            container(|c| {
                let runtime_handler = "kata".into();
                c.mounts[0].image = Some(ImageSpec { runtime_handler, ..Default::default() });
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
