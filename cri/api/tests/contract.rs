//! The compiled contract against the committed facts, both ways.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;

use prost::Message;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto,
    FileDescriptorSet, MethodDescriptorProto,
};

const FACTS: &str = include_str!("cri-v1-0.36.tsv");

/// One fact a line, in the form of the TSV.
fn compiled() -> BTreeSet<String> {
    let set = FileDescriptorSet::decode(rrun_cri_api::FILE_DESCRIPTOR_SET).unwrap();
    let [file] = set.file.as_slice() else { panic!("one file, got {}", set.file.len()) };
    assert_eq!(file.package(), "runtime.v1");
    assert_eq!(file.syntax(), "proto3");
    let mut facts = BTreeSet::new();
    for service in &file.service {
        for rpc in &service.method {
            facts.insert(rpc_fact(service.name(), rpc));
        }
    }
    for message in &file.message_type {
        message_facts("", message, &mut facts);
    }
    for e in &file.enum_type {
        enum_facts("", e, &mut facts);
    }
    facts
}

fn rpc_fact(service: &str, rpc: &MethodDescriptorProto) -> String {
    let kind = match (rpc.client_streaming(), rpc.server_streaming()) {
        (false, false) => "unary",
        (false, true) => "server-stream",
        (true, _) => "client-stream",
    };
    let [input, output] = [short(rpc.input_type()), short(rpc.output_type())];
    format!("rpc\t{service}\t{}\t{kind}\t{input}\t{output}", rpc.name())
}

fn message_facts(outer: &str, message: &DescriptorProto, facts: &mut BTreeSet<String>) {
    let name = format!("{outer}{}", message.name());
    assert!(message.oneof_decl.is_empty(), "{name} has a oneof or an optional field");
    for field in &message.field {
        let (label, r#type) = label_and_type(message, field);
        let (number, field) = (field.number(), field.name());
        facts.insert(format!("field\t{name}\t{number}\t{label}\t{type}\t{field}"));
    }
    for range in &message.reserved_range {
        for number in range.start()..range.end() {
            facts.insert(format!("reserved\t{name}\t{number}"));
        }
    }
    for reserved in &message.reserved_name {
        facts.insert(format!("reserved\t{name}\t{reserved}"));
    }
    for e in &message.enum_type {
        enum_facts(&format!("{name}."), e, facts);
    }
    for nested in message.nested_type.iter().filter(|n| !is_map_entry(n)) {
        message_facts(&format!("{name}."), nested, facts);
    }
}

fn enum_facts(outer: &str, e: &EnumDescriptorProto, facts: &mut BTreeSet<String>) {
    for value in &e.value {
        let (name, number) = (value.name(), value.number());
        facts.insert(format!("value\t{outer}{}\t{number}\t\t\t{name}", e.name()));
    }
}

fn label_and_type(
    message: &DescriptorProto,
    field: &FieldDescriptorProto,
) -> (&'static str, String) {
    let entry = message.nested_type.iter().find(|n| is_map_entry(n) && names(field, n));
    if let Some(entry) = entry {
        let [key, value] = [0, 1].map(|i| scalar_or_name(&entry.field[i]));
        return ("singular", format!("map<{key},{value}>"));
    }
    let label = match field.label() {
        Label::Repeated => "repeated",
        Label::Optional => "singular",
        Label::Required => "required",
    };
    (label, scalar_or_name(field))
}

fn is_map_entry(message: &DescriptorProto) -> bool {
    message.options.as_ref().is_some_and(|o| o.map_entry())
}

fn names(field: &FieldDescriptorProto, message: &DescriptorProto) -> bool {
    field.r#type() == Type::Message && short(field.type_name()) == message.name()
}

fn scalar_or_name(field: &FieldDescriptorProto) -> String {
    match field.r#type() {
        Type::Message | Type::Enum => short(field.type_name()).to_owned(),
        scalar => scalar.as_str_name().trim_start_matches("TYPE_").to_lowercase(),
    }
}

fn short(full: &str) -> &str {
    full.rsplit('.').next().unwrap_or(full)
}

#[test]
fn the_compiled_contract_is_the_facts_no_more_and_no_less() {
    let facts: BTreeSet<String> =
        FACTS.lines().filter(|l| !l.starts_with('#')).map(|l| l.trim_end().to_owned()).collect();
    assert_eq!(facts.iter().filter(|f| f.starts_with("rpc\t")).count(), 41);
    let compiled = compiled();
    let missing: Vec<_> = facts.difference(&compiled).collect();
    let extra: Vec<_> = compiled.difference(&facts).collect();
    assert!(missing.is_empty() && extra.is_empty(), "missing {missing:#?}\nextra {extra:#?}");
}

#[test]
fn every_message_is_one_that_the_facts_know() {
    let set = FileDescriptorSet::decode(rrun_cri_api::FILE_DESCRIPTOR_SET).unwrap();
    let known: BTreeSet<&str> = FACTS
        .lines()
        .filter(|l| !l.starts_with('#'))
        .flat_map(|l| {
            let f: Vec<&str> = l.split('\t').collect();
            if f[0] == "rpc" { vec![f[4], f[5]] } else { vec![f[1]] }
        })
        .collect();
    let messages = |file: &FileDescriptorProto| -> Vec<String> {
        file.message_type.iter().map(|m| m.name().to_owned()).collect()
    };
    let compiled: BTreeSet<String> = set.file.iter().flat_map(messages).collect();
    let unknown: Vec<_> = compiled.iter().filter(|m| !known.contains(m.as_str())).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn cdi_devices_keeps_its_wire_name() {
    assert!(compiled().contains("field\tContainerConfig\t17\trepeated\tCDIDevice\tCDI_devices"));
}
