//! The table of the fields of answers, against the compiled contract, the conversions and the tests.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod table;

use prost::Message;
use prost::encoding::{WireType, decode_key, decode_varint};
use prost_types::field_descriptor_proto::Type;
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorSet};
use rrun_cri::convert;
use rrun_cri_api::v1;
use rrun_engine::model::{
    ContainerConfig, HugepageLimit, IdMapping, ImageSpec, MountPropagation, MountSpec,
    NamespaceMode, NamespaceOptions, PodConfig, Resources, Tags, UserNamespace,
};
use rrun_engine::stats::{
    ContainerMetrics, ContainerStats, FsUsage, InterfaceUsage, Memory, PodMetrics, PodStats,
    Pressure, Pressures, Stall, Stats, Swap, Usage,
};
use rrun_engine::status::{
    ContainerExit, ContainerItem, ContainerStatus, LinuxUser, PodItem, PodStatus,
};
use rrun_engine::{ContainerPhase, PodPhase};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use table::{Sources, has_word, lines};

const TABLE: &str = include_str!("../answers.tsv");

/// State and note of each field, as `Message.field`.
fn read_table() -> BTreeMap<&'static str, (&'static str, &'static str)> {
    let mut all = BTreeMap::new();
    for line in lines(TABLE) {
        let mut columns = line.split('\t');
        let field = columns.next().unwrap();
        let state = columns.next().unwrap_or_else(|| panic!("{field}: no state"));
        let entry = (state, columns.next().unwrap_or(""));
        assert!(all.insert(field, entry).is_none(), "{field} stands twice");
    }
    all
}

struct Contract {
    messages: BTreeMap<String, DescriptorProto>,
    answers: BTreeSet<String>,
}

impl Contract {
    fn read() -> Contract {
        let set = FileDescriptorSet::decode(rrun_cri_api::FILE_DESCRIPTOR_SET).unwrap();
        let messages = set.file.iter().flat_map(|file| &file.message_type);
        let messages = messages.map(|message| (message.name().to_owned(), message.clone()));
        let methods = set.file.iter().flat_map(|file| &file.service).flat_map(|s| &s.method);
        let answers = methods.map(|method| short(method.output_type()).to_owned());
        Contract { messages: messages.collect(), answers: answers.collect() }
    }

    /// The message of a field that has fields of its own: maps and wrappers of one value have none.
    fn below(&self, field: &FieldDescriptorProto) -> Option<&str> {
        let name = short(field.type_name());
        let is_message = field.r#type() == Type::Message && !name.ends_with("Value");
        let (name, _) = self.messages.get_key_value(name).filter(|_| is_message)?;
        Some(name)
    }

    /// Adds what the bytes of a message have a value for.
    fn look(&self, message: &str, mut bytes: &[u8], found: &mut BTreeSet<String>) {
        while !bytes.is_empty() {
            let (number, kind) = decode_key(&mut bytes).unwrap();
            let fields = &self.messages[message].field;
            let field = fields.iter().find(|field| field.number() as u32 == number).unwrap();
            found.insert(format!("{message}.{}", field.name()));
            let length = match kind {
                WireType::Varint => {
                    decode_varint(&mut bytes).unwrap();
                    0
                }
                WireType::LengthDelimited => decode_varint(&mut bytes).unwrap() as usize,
                WireType::SixtyFourBit => 8,
                other => panic!("{message}.{}: {other:?}", field.name()),
            };
            let (inside, behind) = bytes.split_at(length);
            if let Some(below) = self.below(field) {
                self.look(below, inside, found);
            }
            bytes = behind;
        }
    }
}

fn short(full: &str) -> &str {
    full.rsplit('.').next().unwrap_or(full)
}

#[test]
fn every_field_of_every_answer_has_one_entry_and_every_entry_has_a_field() {
    let (table, contract) = (read_table(), Contract::read());
    let mut met = BTreeSet::new();
    let mut wanted: Vec<&str> = contract.answers.iter().map(String::as_str).collect();
    let mut seen = BTreeSet::new();
    while let Some(message) = wanted.pop() {
        if !seen.insert(message) {
            continue;
        }
        if contract.answers.contains(message) && table.contains_key(message) {
            met.insert(message.to_owned());
            continue;
        }
        for field in &contract.messages[message].field {
            let path = format!("{message}.{}", field.name());
            let (state, _) = table.get(path.as_str()).unwrap_or_else(|| panic!("{path}: no entry"));
            let below = contract.below(field).filter(|_| *state != "empty");
            wanted.extend(below);
            met.insert(path);
        }
    }
    let lost: Vec<_> = table.keys().filter(|path| !met.contains(**path)).collect();
    assert!(lost.is_empty(), "no answer has {lost:?}");
}

#[test]
fn every_entry_has_a_state_and_the_reason_or_test_that_goes_with_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let tests = Sources::read(["cri", "images", "cni", "tests"].map(|folder| root.join(folder)));
    for (path, (state, note)) in read_table() {
        match state {
            "works" => {
                let body = tests.body(note).unwrap_or_else(|| panic!("{path}: no test {note:?}"));
                assert!(has_word(body, short(path)), "{path}: {note} does not speak of it");
            }
            "converted" => assert!(note.is_empty(), "{path}: its test is in this file"),
            "empty" | "unimplemented" => assert!(!note.is_empty(), "{path}: why?"),
            _ => panic!("{path}: no state is called {state:?}"),
        }
        assert_eq!(state == "unimplemented", !path.contains('.'), "{path} is {state}");
    }
}

fn tags() -> Tags {
    [("a".to_owned(), "b".to_owned())].into()
}

fn ids() -> Vec<IdMapping> {
    vec![IdMapping { host_id: 1, container_id: 1, length: 1 }]
}

fn pod_config() -> Arc<PodConfig> {
    let node = NamespaceMode::Node;
    let userns = Some(UserNamespace { mode: node, uids: ids(), gids: ids() });
    let mut config = PodConfig {
        name: "web".into(),
        uid: "1".into(),
        namespace: "default".into(),
        attempt: 1,
        labels: tags(),
        annotations: tags(),
        ..PodConfig::default()
    };
    config.security.namespaces =
        NamespaceOptions { network: node, pid: node, ipc: node, userns, ..Default::default() };
    Arc::new(config)
}

fn container_config() -> Arc<ContainerConfig> {
    let image = ImageSpec {
        image: "i".into(),
        annotations: tags(),
        user_specified: "i:1".into(),
        runtime_handler: "rrun".into(),
        image_ref: "i@sha256:0".into(),
    };
    Arc::new(ContainerConfig {
        name: "c".into(),
        attempt: 1,
        image,
        labels: tags(),
        annotations: tags(),
        ..ContainerConfig::default()
    })
}

fn resources() -> Resources {
    Resources {
        cpu_period: 1,
        cpu_quota: 1,
        cpu_shares: 1,
        memory_limit: 1,
        memory_swap_limit: 1,
        oom_score_adj: 1,
        cpuset_cpus: "0".into(),
        cpuset_mems: "0".into(),
        hugepages: vec![HugepageLimit { page_size: "2MB".into(), limit: 1 }],
        unified: [("a".to_owned(), "b".to_owned())].into(),
    }
}

fn container_status() -> ContainerStatus {
    let mount = MountSpec {
        container_path: "/c".into(),
        host_path: "/h".into(),
        readonly: true,
        selinux_relabel: true,
        propagation: MountPropagation::Bidirectional,
        recursive_read_only: true,
        uid_mappings: ids(),
        gid_mappings: ids(),
        ..MountSpec::default()
    };
    let image = MountSpec {
        image: Some(ImageSpec { image: "sha256:1".into(), ..ImageSpec::default() }),
        image_sub_path: "a".into(),
        ..MountSpec::default()
    };
    let (reason, message) = ("Error".into(), "no such file".into());
    ContainerStatus {
        id: "1".repeat(64).parse().unwrap(),
        pod: "0".repeat(64).parse().unwrap(),
        config: container_config(),
        phase: ContainerPhase::Exited,
        created_at: 1,
        started_at: 2,
        exit: Some(ContainerExit { code: 1, at: 3, reason, message }),
        image_id: "sha256:1".into(),
        image_ref: "i@sha256:0".into(),
        base: None,
        mounts: vec![mount, image],
        log_path: "/log".into(),
        resources: resources(),
        user: LinuxUser { uid: 1, gid: 1, groups: vec![1] },
        stop_signal: 15,
        info: None,
    }
}

fn usage() -> Option<Arc<Usage>> {
    let stall = Stall { avg10: 1, avg60: 1, avg300: 1, total_us: 1 };
    let all = Pressure { some: stall, full: stall };
    let memory = Memory { limit: Some(1), ..Memory::default() };
    let figures = Stats {
        cpu_usage_ns: Some(1),
        memory: Some(memory),
        swap: Some(Swap { usage: 1, limit: Some(1) }),
        pids: Some(1),
        pressure: Some(Pressures { cpu: all, memory: all, io: all }),
        ..Stats::default()
    };
    Some(Arc::new(Usage { at: 1, figures, nano_cores: Some(1) }))
}

fn pod_stats() -> PodStats {
    let layer = FsUsage { at: 1, mountpoint: "/m".into(), bytes: 1, inodes: 1, file_system: None };
    let container = ContainerStats {
        id: "1".repeat(64).parse().unwrap(),
        config: container_config(),
        usage: usage(),
        writable_layer: Some(layer),
    };
    let interface = |name: &str| InterfaceUsage { name: name.into(), ..Default::default() };
    PodStats {
        id: "0".repeat(64).parse().unwrap(),
        config: pod_config(),
        usage: usage(),
        interfaces: Arc::new(vec![interface("eth0"), interface("net1")]),
        containers: vec![container],
    }
}

fn pod_metrics() -> PodMetrics {
    let container = ContainerMetrics {
        id: "1".repeat(64).parse().unwrap(),
        config: container_config(),
        base: None,
        started_at: 1,
        resources: resources(),
        counts: Some((1, Arc::default())),
        writable_layer: None,
    };
    PodMetrics {
        id: "0".repeat(64).parse().unwrap(),
        config: pod_config(),
        interfaces: Some((1, Arc::new(vec![InterfaceUsage::default()]))),
        containers: vec![container],
    }
}

fn pod_status() -> PodStatus {
    PodStatus {
        id: "0".repeat(64).parse().unwrap(),
        config: pod_config(),
        phase: PodPhase::Stopped,
        created_at: 1,
        ips: vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()],
        handler: "rrun".into(),
        reason: String::new(),
        info: None,
    }
}

#[test]
fn what_is_converted_is_in_the_bytes_of_a_full_answer_and_what_is_empty_is_not() {
    let contract = Contract::read();
    let (pod, container) = (pod_status(), container_status());
    let item = PodItem {
        id: pod.id.clone(),
        config: pod.config.clone(),
        ready: false,
        created_at: 1,
        handler: pod.handler.clone(),
    };
    let line = ContainerItem {
        id: container.id.clone(),
        pod: container.pod.clone(),
        config: container.config.clone(),
        phase: container.phase,
        created_at: 1,
        image_id: container.image_id.clone(),
        image_ref: container.image_ref.clone(),
        base: None,
    };
    let descriptor = &convert::metric_descriptors()[0];
    let answers: [(&str, Vec<u8>); 7] = [
        ("PodSandboxStatus", convert::pod_status(&pod).0.encode_to_vec()),
        ("PodSandbox", convert::pod_item(&item).encode_to_vec()),
        ("ContainerStatus", convert::container_status(&container).0.encode_to_vec()),
        ("Container", convert::container_item(&line).encode_to_vec()),
        ("PodSandboxStats", convert::pod_stats(&pod_stats()).encode_to_vec()),
        ("MetricDescriptor", descriptor.encode_to_vec()),
        ("PodSandboxMetrics", convert::pod_metrics(&pod_metrics()).encode_to_vec()),
    ];
    let mut found = BTreeSet::new();
    for (message, bytes) in answers {
        contract.look(message, &bytes, &mut found);
    }
    for (field, (state, _)) in read_table() {
        match state {
            "converted" => assert!(found.contains(field), "{field} is lost"),
            "empty" => assert!(!found.contains(field), "{field} is told"),
            _ => {}
        }
    }
}

#[test]
fn a_value_is_found_in_the_message_that_has_it() {
    let psi = v1::PsiData { avg10: 1.0, ..Default::default() };
    let io = v1::IoUsage { timestamp: 0, psi: Some(v1::PsiStats { full: None, some: Some(psi) }) };
    let mut found = BTreeSet::new();
    Contract::read().look("IoUsage", &io.encode_to_vec(), &mut found);
    let all: Vec<&str> = found.iter().map(String::as_str).collect();
    assert_eq!(all, ["IoUsage.psi", "PsiData.Avg10", "PsiStats.Some"]);
}
