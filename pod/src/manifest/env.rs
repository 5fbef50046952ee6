//! `env` and `envFrom`.

use super::fields::{Item, Read};
use super::values::{data_key_fault, expect};
use crate::ids;
use crate::model::{
    EnvFrom, EnvSource, EnvVar, FieldRef, FileKeyRef, ObjectSource, PodField, ResourceField,
    ResourceFieldRef, ResourceName,
};
use crate::quantity::Quantity;

/// One entry of `env`.
pub fn var(item: &Item<'_>) -> Read<EnvVar> {
    item.object(|f| {
        let name = f.need("name", |i| i.checked(env_name_fault))?;
        let value = f.opt("value", Item::text)?;
        let from = f.get("valueFrom");
        let source = match (value, from) {
            (Some(value), Some(from)) if !value.is_empty() => {
                return Err(from.fault("may not be set together with value"));
            }
            (_, Some(from)) => source(&from)?,
            (value, None) => EnvSource::Value(value.unwrap_or_default()),
        };
        Ok(EnvVar { name, source })
    })
}

fn source(item: &Item<'_>) -> Read<EnvSource> {
    item.object(|f| {
        let mut found = Vec::new();
        let in_env = |i: &Item<'_>| {
            let field = field_ref(i)?;
            match field.0 {
                PodField::Labels | PodField::Annotations => {
                    Err(i.fault("a whole map is not served to environments, only to volumes"))
                }
                _ => Ok(EnvSource::Field(field)),
            }
        };
        found.extend(f.opt("fieldRef", in_env)?);
        found.extend(f.opt("resourceFieldRef", |i| resource_ref(i).map(EnvSource::Resource))?);
        found.extend(f.opt("configMapKeyRef", |i| key(i, ObjectSource::ConfigMap))?);
        found.extend(f.opt("secretKeyRef", |i| key(i, ObjectSource::Secret))?);
        found.extend(f.opt("fileKeyRef", |i| file_key(i).map(EnvSource::File))?);
        let one = found.pop().filter(|_| found.is_empty());
        one.ok_or_else(|| {
            f.here().fault(
                "exactly one of fieldRef, resourceFieldRef, configMapKeyRef, secretKeyRef, fileKeyRef must be given",
            )
        })
    })
}

fn key(item: &Item<'_>, object: fn(String) -> ObjectSource) -> Read<EnvSource> {
    item.object(|f| {
        Ok(EnvSource::Key {
            object: object(f.need("name", |i| i.checked(ids::subdomain_fault))?),
            key: f.need("key", |i| i.checked(data_key_fault))?,
            optional: f.flag("optional")?,
        })
    })
}

fn file_key(item: &Item<'_>) -> Read<FileKeyRef> {
    item.object(|f| {
        Ok(FileKeyRef {
            volume: f.need("volumeName", |i| i.checked(ids::label_fault))?,
            path: f.need("path", |i| i.checked(file_path_fault))?,
            key: f.need("key", |i| i.checked(env_name_fault))?,
            optional: f.flag("optional")?,
        })
    })
}

/// Why a path names no file of a volume, or `None` if it does. An absolute one begins at the
/// volume's root.
fn file_path_fault(path: &str) -> Option<&'static str> {
    match path.split('/').any(|part| part == "..") {
        true => Some("must not contain '..'"),
        false => path.is_empty().then_some("must not be empty"),
    }
}

/// `fieldRef`.
pub fn field_ref(item: &Item<'_>) -> Read<FieldRef> {
    item.object(|f| {
        f.word_or("apiVersion", |i| expect(i, "v1"), ())?;
        f.need("fieldPath", |i| {
            let path = i.text()?;
            let field = PodField::parse(&path);
            field.map(FieldRef).ok_or_else(|| {
                i.fault(format!("{path:?} is not a field of a pod that can be referred to"))
            })
        })
    })
}

/// `resourceFieldRef`.
pub fn resource_ref(item: &Item<'_>) -> Read<ResourceFieldRef> {
    use ResourceName::Cpu;
    item.object(|f| {
        let field = f.need("resource", resource_field)?;
        let of_cpu = matches!(field, ResourceField::Limit(Cpu) | ResourceField::Request(Cpu));
        let divisor = f.or("divisor", |i| divisor(i, of_cpu), Quantity::ZERO)?;
        Ok(ResourceFieldRef {
            container: f.word("containerName", Item::text)?,
            field,
            divisor: if divisor == Quantity::ZERO { Quantity::from_units(1) } else { divisor },
        })
    })
}

fn resource_field(item: &Item<'_>) -> Read<ResourceField> {
    let text = item.text()?;
    let name = |name: &str| match name {
        "cpu" => Some(ResourceName::Cpu),
        "memory" => Some(ResourceName::Memory),
        "ephemeral-storage" => Some(ResourceName::EphemeralStorage),
        _ => Some(ResourceName::HugePages(name.strip_prefix("hugepages-")?.to_owned())),
    };
    let field = match text.split_once('.') {
        Some(("limits", of)) => name(of).map(ResourceField::Limit),
        Some(("requests", of)) => name(of).map(ResourceField::Request),
        _ => None,
    };
    let names = "cpu, memory, ephemeral-storage, hugepages-<size>";
    field.ok_or_else(|| {
        item.fault(format!("{text:?} is not limits. or requests. with one of {names}"))
    })
}

/// A unit, and nothing else: `validateContainerResourceDivisor`.
fn divisor(item: &Item<'_>, of_cpu: bool) -> Read<Quantity> {
    let value = item.quantity()?;
    let (one, milli) = (Quantity::from_units(1), Quantity::from_milli(1));
    let powers = |base: i64| (1..=6).map(move |n| Quantity::from_units(base.pow(n)));
    let mut units = powers(1000).chain(powers(1024));
    let is_unit = match of_cpu {
        true => value == milli,
        false => units.any(|unit| unit == value),
    };
    if value == Quantity::ZERO || value == one || is_unit {
        return Ok(value);
    }
    let known =
        if of_cpu { "1m, 1" } else { "1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei" };
    Err(item.fault(format!("is not one of {known}")))
}

/// One entry of `envFrom`.
pub fn from(item: &Item<'_>) -> Read<EnvFrom> {
    item.object(|f| {
        let prefix = f.word_or("prefix", |i| i.checked(env_name_fault), String::new())?;
        let reference = |i: &Item<'_>| {
            i.object(|f| {
                Ok((f.need("name", |i| i.checked(ids::subdomain_fault))?, f.flag("optional")?))
            })
        };
        let map = f.opt("configMapRef", reference)?;
        let secret = f.opt("secretRef", reference)?;
        let (source, optional) = match (map, secret) {
            (Some((name, optional)), None) => (ObjectSource::ConfigMap(name), optional),
            (None, Some((name, optional))) => (ObjectSource::Secret(name), optional),
            _ => {
                return Err(f.here().fault("exactly one of configMapRef, secretRef must be given"));
            }
        };
        Ok(EnvFrom { prefix, source, optional })
    })
}

/// Why `name` cannot name a variable, or `None` if it can: printable ASCII without `=` (the
/// relaxed rule that the API server has had since 1.32).
pub fn env_name_fault(name: &str) -> Option<&'static str> {
    let ok = !name.is_empty() && name.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b'=');
    (!ok).then_some("is not the name of a variable: printable ASCII without '='")
}
