//! What is refused, by its name.

use super::*;

fn image(name: &str, container: &str) -> MountSpec {
    let image = ImageSpec { image: name.into(), ..ImageSpec::default() };
    MountSpec { readonly: true, image: Some(image), ..mount("", container) }
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    use SecurityProfile::{Localhost, RuntimeDefault, Unconfined};
    let asked: [Asked; 49] = [
        ("nothing", None, |_| {}),
        ("name", Some(Kind::Invalid), |c| c.config.name.clear()),
        ("image", Some(Kind::Invalid), |c| c.config.image.image.clear()),
        ("run_as_group", Some(Kind::Invalid), |c| c.config.security.run_as_group = Some(1)),
        ("privileged", Some(Kind::Invalid), |c| c.config.security.privileged = true),
        ("both privileged", None, |c| {
            c.config.security.privileged = true;
            c.pod.security.privileged = true;
        }),
        ("CDI_devices: \"b=c\" is no device", Some(Kind::Invalid), |c| {
            c.config.cdi_devices = texts(&["b=c"])
        }),
        ("permissions", Some(Kind::Invalid), |c| {
            c.config.devices = vec![DeviceSpec { permissions: "x".into(), ..Default::default() }];
        }),
        ("`=`", Some(Kind::Invalid), |c| {
            c.config.envs = vec![EnvVar { name: "A=B".into(), ..Default::default() }];
        }),
        ("log_path \"../x.log\"", Some(Kind::Invalid), |c| c.config.log_path = "../x.log".into()),
        ("log_path \"/x.log\"", Some(Kind::Invalid), |c| c.config.log_path = "/x.log".into()),
        ("log_path a/0.log", None, |c| c.config.log_path = "a/0.log".into()),
        ("cpu_shares -7", Some(Kind::Invalid), |c| {
            c.config.resources = Some(Resources { cpu_shares: -7, ..Default::default() });
        }),
        ("no quota", None, |c| {
            let unlimited = Resources { cpu_quota: -1, memory_limit: -1, ..Default::default() };
            c.config.resources = Some(unlimited);
        }),
        ("host_path", Some(Kind::Invalid), |c| c.config.mounts = vec![mount("", "/a")]),
        ("absolute", Some(Kind::Invalid), |c| c.config.mounts = vec![mount("a", "/a")]),
        ("readonly", Some(Kind::Invalid), |c| {
            let mount = MountSpec { recursive_read_only: true, ..mount("/a", "/a") };
            c.config.mounts = vec![mount];
        }),
        ("propagation", Some(Kind::Invalid), |c| {
            c.config.mounts = vec![MountSpec {
                recursive_read_only: true,
                readonly: true,
                propagation: MountPropagation::HostToContainer,
                ..mount("/a", "/a")
            }];
        }),
        ("image: no image given", Some(Kind::Invalid), |c| {
            c.config.mounts = vec![image("", "/a")];
        }),
        ("an image", None, |c| c.config.mounts = vec![image("i", "/a")]),
        ("mount /a: readonly is false", Some(Kind::Invalid), |c| {
            c.config.mounts = vec![MountSpec { readonly: false, ..image("i", "/a") }];
        }),
        ("host_path beside image", Some(Kind::Invalid), |c| {
            c.config.mounts = vec![MountSpec { host_path: "/h".into(), ..image("i", "/a") }];
        }),
        ("container_path is empty", Some(Kind::Invalid), |c| {
            c.config.mounts = vec![image("i", "")]
        }),
        ("an image in which the host mounts nothing", None, |c| {
            let propagation = MountPropagation::HostToContainer;
            c.config.mounts = vec![MountSpec { propagation, ..image("i", "/a") }];
        }),
        ("propagation Bidirectional: nothing", Some(Kind::Invalid), |c| {
            let propagation = MountPropagation::Bidirectional;
            c.config.mounts = vec![MountSpec { propagation, ..image("i", "/a") }];
        }),
        ("image.runtime_handler", Some(Kind::Invalid), |c| {
            c.config.mounts = vec![image("i", "/a")];
            c.config.mounts[0].image.as_mut().unwrap().runtime_handler = "kata".into();
        }),
        ("image_sub_path \"a/../b\"", Some(Kind::Invalid), |c| {
            let image_sub_path = "a/../b".into();
            c.config.mounts = vec![MountSpec { image_sub_path, ..image("i", "/a") }];
        }),
        ("image_sub_path \"/a\"", Some(Kind::Invalid), |c| {
            let image_sub_path = "/a".into();
            c.config.mounts = vec![MountSpec { image_sub_path, ..image("i", "/a") }];
        }),
        ("15 are images, and 14 may be", Some(Kind::Invalid), |c| {
            c.config.mounts = (0..15).map(|n| image("i", &format!("/{n}"))).collect();
        }),
        ("no user namespace of its own", Some(Kind::Invalid), |c| {
            let uid_mappings = vec![IdMapping::default()];
            c.config.mounts = vec![MountSpec { uid_mappings, ..image("i", "/a") }];
        }),
        ("gidMappings are not those of the pod", Some(Kind::Invalid), |c| {
            c.pod.security.namespaces.userns = Some(users());
            let (uid_mappings, gid_mappings) = (users().uids, Vec::new());
            c.config.mounts = vec![MountSpec { uid_mappings, gid_mappings, ..mount("/a", "/a") }];
        }),
        ("userns_options are not those of the pod", Some(Kind::Invalid), |c| {
            c.config.security.namespaces.userns = Some(users());
        }),
        ("userns_options are not those of the pod", Some(Kind::Invalid), |c| {
            c.pod.security.namespaces.userns = Some(users());
            let mode = NamespaceMode::Node;
            let userns = UserNamespace { mode, ..UserNamespace::default() };
            c.config.security.namespaces.userns = Some(userns);
        }),
        ("mappings", Some(Kind::Invalid), |c| {
            c.config.security.namespaces.userns = Some(UserNamespace::default());
        }),
        ("user namespace mode", Some(Kind::Invalid), |c| {
            let mode = NamespaceMode::Container;
            let userns = UserNamespace { mode, ..UserNamespace::default() };
            c.config.security.namespaces.userns = Some(userns);
        }),
        ("AppArmor", Some(Kind::Invalid), |c| {
            c.config.security.apparmor = Some(Localhost("p".into()));
        }),
        ("annotations: cdi.k8s.io/x: \"\" is no device", Some(Kind::Invalid), |c| {
            c.config.annotations.insert("cdi.k8s.io/x".into(), "a/b=c,".into());
        }),
        ("image.runtime_handler", Some(Kind::Invalid), |c| {
            c.config.image.runtime_handler = "kata".into();
        }),
        ("image_sub_path", Some(Kind::Invalid), |c| {
            let image_sub_path = "a".into();
            c.config.mounts = vec![MountSpec { image_sub_path, ..mount("/a", "/a") }];
        }),
        ("run_as_user and run_as_username", Some(Kind::Invalid), |c| {
            c.config.security.run_as_user = Some(5);
            c.config.security.run_as_username = "web".into();
        }),
        ("namespace_options.network Node: the pod has Pod", Some(Kind::Invalid), |c| {
            c.config.security.namespaces.network = NamespaceMode::Node;
        }),
        ("namespace_options.ipc Container: the pod has Pod", Some(Kind::Invalid), |c| {
            c.config.security.namespaces.ipc = NamespaceMode::Container;
        }),
        ("nothing said in a pod of the host's network", None, |c| {
            c.pod.security.namespaces.network = NamespaceMode::Node;
        }),
        ("namespace_options.target_id", Some(Kind::Invalid), |c| {
            c.config.security.namespaces.target_id = "abc".into();
        }),
        ("namespace_options.target_id", Some(Kind::Invalid), |c| {
            c.config.security.namespaces.pid = NamespaceMode::Target;
        }),
        ("selinux_options", Some(Kind::Invalid), |c| {
            let kind = "container_t".into();
            c.config.security.selinux = Some(SeLinux { kind, ..SeLinux::default() });
        }),
        ("an empty label", None, |c| c.config.security.selinux = Some(SeLinux::default())),
        ("no AppArmor", None, |c| c.config.security.apparmor = Some(RuntimeDefault)),
        ("new field wins", None, |c| {
            c.config.security.apparmor = Some(Unconfined);
            c.config.security.apparmor_profile = "localhost/p".into();
        }),
    ];
    for (name, kind, change) in asked {
        let case = case(change);
        match (
            check::container(&case.pod, &case.config, &Lsm::default(), &Default::default()),
            kind,
        ) {
            (Ok(()), None) => {}
            (Err(error), Some(kind)) => {
                assert_eq!(error.kind(), kind, "{name}: {error}");
                assert!(error.to_string().contains(name), "{name}: {error}");
            }
            (result, _) => panic!("{name}: {result:?}"),
        }
    }
}

#[test]
fn an_image_is_not_mounted_where_something_else_is() {
    for other in [mount("/h", "/a/"), image("j", "/a/./")] {
        let refused = built(|case| case.config.mounts = vec![other, image("i", "/a")]);
        let refused = refused.unwrap_err();
        assert_eq!(refused.kind(), Kind::Invalid);
        assert!(refused.to_string().starts_with("mount /a: "), "{refused}");
    }
    built(|case| case.config.mounts = vec![image("i", "/a"), mount("/h", "/a/b")]).unwrap();
}
