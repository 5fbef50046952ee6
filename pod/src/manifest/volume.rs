//! `spec.volumes`.

use super::env::{field_ref, resource_ref};
use super::fields::{Fields, Item, Read};
use super::values::{
    PULL_POLICIES, data_key_fault, default_pull_policy, image_name, local_path_fault,
};
use crate::ids;
use crate::model::{
    DownwardContent, DownwardItem, EmptyDir, HostPathType, KeyToPath, Medium, PodField, Projection,
    PullPolicy, Volume, VolumeSource,
};

/// Sources that only a cluster, a cloud or a driver can serve.
pub const REMOTE: &[&str] = &[
    "awsElasticBlockStore",
    "azureDisk",
    "azureFile",
    "cephfs",
    "cinder",
    "csi",
    "ephemeral",
    "fc",
    "flexVolume",
    "flocker",
    "gcePersistentDisk",
    "gitRepo",
    "glusterfs",
    "iscsi",
    "nfs",
    "photonPersistentDisk",
    "portworxVolume",
    "quobyte",
    "rbd",
    "scaleIO",
    "storageos",
    "vsphereVolume",
];

const DEFAULT_MODE: u32 = 0o644;

/// What a cluster's admission puts into every pod: its service account's token and the cluster's
/// certificates.
const ACCOUNT_VOLUME: &str = "kube-api-access-";

/// One volume; `Err` of its name if it is one that only a cluster fills, which is noted.
pub fn volume(item: &Item<'_>) -> Read<Result<Volume, String>> {
    item.object(|f| {
        let name = f.need("name", |i| i.checked(ids::label_fault))?;
        if name.starts_with(ACCOUNT_VOLUME) && f.get("projected").is_some() {
            f.note(&format!("{} is left out: only a cluster has that token", f.here().path));
            f.leave();
            return Ok(Err(name));
        }
        f.refuse_kinds(REMOTE)?;
        let mut found = Vec::new();
        found.extend(f.opt("emptyDir", empty_dir)?);
        found.extend(f.opt("hostPath", host_path)?);
        found.extend(f.opt("configMap", |i| object(i, Object::ConfigMap))?);
        found.extend(f.opt("secret", |i| object(i, Object::Secret))?);
        found.extend(f.opt("downwardAPI", downward)?);
        found.extend(f.opt("projected", projected)?);
        found.extend(f.opt("image", image)?);
        found.extend(f.opt("persistentVolumeClaim", claim)?);
        if found.len() > 1 {
            return Err(f.here().fault("may not name more than one kind of volume"));
        }
        // No source at all is an emptyDir, as the API server defaults it.
        let source = found.pop().unwrap_or(VolumeSource::EmptyDir(EmptyDir::default()));
        Ok(Ok(Volume { name, source }))
    })
}

fn empty_dir(item: &Item<'_>) -> Read<VolumeSource> {
    item.object(|f| {
        let medium = f.word("medium", |i| match i.text()?.as_str() {
            "Memory" => Ok(Medium::Memory),
            other if other.starts_with("HugePages") => {
                Err(i.fault(format!("not supported yet: medium {other}")))
            }
            other => Err(i.fault(format!("{other:?} is not one of \"\", Memory"))),
        })?;
        let size_limit = f.opt("sizeLimit", Item::quantity)?;
        Ok(VolumeSource::EmptyDir(EmptyDir { medium: medium.unwrap_or_default(), size_limit }))
    })
}

/// `hostPath`.
pub fn host_path(item: &Item<'_>) -> Read<VolumeSource> {
    let kinds = [
        ("", HostPathType::Unset),
        ("DirectoryOrCreate", HostPathType::DirectoryOrCreate),
        ("Directory", HostPathType::Directory),
        ("FileOrCreate", HostPathType::FileOrCreate),
        ("File", HostPathType::File),
        ("Socket", HostPathType::Socket),
        ("CharDevice", HostPathType::CharDevice),
        ("BlockDevice", HostPathType::BlockDevice),
    ];
    item.object(|f| {
        let path = f.need("path", |i| {
            let path = i.text()?;
            if !path.starts_with('/') {
                return Err(
                    i.fault("must be an absolute path: a manifest has no working directory")
                );
            }
            if path.split('/').any(|part| part == "..") || path.contains('\0') {
                return Err(i.fault("must not contain '..'"));
            }
            Ok(path)
        })?;
        let kind = f.or("type", |i| i.one_of(&kinds), HostPathType::Unset)?;
        Ok(VolumeSource::HostPath { path, kind })
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Object {
    ConfigMap,
    Secret,
}

fn object(item: &Item<'_>, object: Object) -> Read<VolumeSource> {
    item.object(|f| {
        // A secret volume names its object by `secretName`, everything else by `name`.
        let key = if object == Object::Secret { "secretName" } else { "name" };
        let name = f.need(key, |i| i.checked(ids::subdomain_fault))?;
        let items = f.list("items", key_to_path)?;
        let optional = f.flag("optional")?;
        let source = match object {
            Object::ConfigMap => Projection::ConfigMap { name, items, optional },
            Object::Secret => Projection::Secret { name, items, optional },
        };
        Ok(VolumeSource::Projected {
            sources: vec![source],
            default_mode: f.or("defaultMode", Item::mode, DEFAULT_MODE)?,
            in_memory: object == Object::Secret,
        })
    })
}

fn downward(item: &Item<'_>) -> Read<VolumeSource> {
    item.object(|f| {
        Ok(VolumeSource::Projected {
            sources: vec![Projection::DownwardApi(f.list("items", downward_item)?)],
            default_mode: f.or("defaultMode", Item::mode, DEFAULT_MODE)?,
            in_memory: true,
        })
    })
}

fn projected(item: &Item<'_>) -> Read<VolumeSource> {
    item.object(|f| {
        Ok(VolumeSource::Projected {
            sources: f.list("sources", projection)?.into_iter().flatten().collect(),
            default_mode: f.or("defaultMode", Item::mode, DEFAULT_MODE)?,
            in_memory: true,
        })
    })
}

/// One source; one that names nothing adds nothing.
fn projection(item: &Item<'_>) -> Read<Option<Projection>> {
    item.object(|f| {
        f.refuse_kinds(&["serviceAccountToken", "clusterTrustBundle", "podCertificate"])?;
        let parts = |f: &mut Fields<'_>| -> Read<(String, Vec<KeyToPath>, bool)> {
            let name = f.need("name", |i| i.checked(ids::subdomain_fault))?;
            Ok((name, f.list("items", key_to_path)?, f.flag("optional")?))
        };
        let mut found = Vec::new();
        if let Some((name, items, optional)) = f.opt("configMap", |i| i.object(parts))? {
            found.push(Projection::ConfigMap { name, items, optional });
        }
        if let Some((name, items, optional)) = f.opt("secret", |i| i.object(parts))? {
            found.push(Projection::Secret { name, items, optional });
        }
        let items = |i: &Item<'_>| i.object(|f| f.list("items", downward_item));
        found.extend(f.opt("downwardAPI", items)?.map(Projection::DownwardApi));
        if found.len() > 1 {
            let all = "configMap, secret, downwardAPI";
            return Err(f.here().fault(format!("only one of {all} may be given")));
        }
        Ok(found.pop())
    })
}

fn key_to_path(item: &Item<'_>) -> Read<KeyToPath> {
    item.object(|f| {
        Ok(KeyToPath {
            key: f.need("key", |i| i.checked(data_key_fault))?,
            path: f.need("path", |i| i.checked(target_fault))?,
            mode: f.opt("mode", Item::mode)?,
        })
    })
}

fn downward_item(item: &Item<'_>) -> Read<DownwardItem> {
    item.object(|f| {
        let path = f.need("path", |i| i.checked(target_fault))?;
        let mode = f.opt("mode", Item::mode)?;
        let field = f.opt("fieldRef", |i| {
            let field = field_ref(i)?;
            match field.0 {
                PodField::NodeName
                | PodField::ServiceAccountName
                | PodField::HostIp
                | PodField::HostIps
                | PodField::PodIp
                | PodField::PodIps => {
                    Err(i.fault("this field is not served to volumes, only to environments"))
                }
                _ => Ok(DownwardContent::Field(field)),
            }
        })?;
        let resource = f.opt("resourceFieldRef", |i| {
            let reference = resource_ref(i)?;
            if reference.container.is_none() {
                return Err(i.fault("containerName is required in a volume"));
            }
            Ok(DownwardContent::Resource(reference))
        })?;
        let content = match (field, resource) {
            (Some(content), None) | (None, Some(content)) => content,
            _ => {
                return Err(f
                    .here()
                    .fault("exactly one of fieldRef, resourceFieldRef must be given"));
            }
        };
        Ok(DownwardItem { path, content, mode })
    })
}

fn claim(item: &Item<'_>) -> Read<VolumeSource> {
    item.object(|f| {
        let claim = f.need("claimName", |i| i.checked(ids::subdomain_fault))?;
        Ok(VolumeSource::Claim { claim, read_only: f.flag("readOnly")? })
    })
}

fn image(item: &Item<'_>) -> Read<VolumeSource> {
    item.object(|f| {
        let reference = f.need("reference", image_name)?;
        let default = default_pull_policy(&reference);
        let pull_policy: PullPolicy =
            f.word_or("pullPolicy", |i| i.one_of(PULL_POLICIES), default)?;
        Ok(VolumeSource::Image { reference, pull_policy })
    })
}

/// As for any local path, and nothing may start with `..`: the writer's own names do.
fn target_fault(path: &str) -> Option<&'static str> {
    local_path_fault(path).or_else(|| path.starts_with("..").then_some("must not start with '..'"))
}
